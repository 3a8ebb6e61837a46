package github_test

import (
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/smartcloudops/gate/pipeline/github"
	"github.com/smartcloudops/gate/pipeline/github/githubtest"
	"github.com/smartcloudops/gate/policies"
)

func commentOn(s *githubtest.Server, body string, at time.Duration) github.Comment {
	v := verdict(s.Clock.Now().Add(at), policies.Fail)
	return github.Comment{PullRequest: 1, Commit: commitA, Decision: v.Decision, Body: body, DetailsURL: v.DetailsURL}
}

func TestOneCommentIsUpdated(t *testing.T) {
	s := githubtest.New(t, githubtest.Options{PageSize: 2})
	s.AddPull(githubtest.Pull{Author: "somebody", HeadSHA: commitA})
	g := app(t, s)
	first := commentOn(s, "fail", 0)
	if _, err := g.UpdateComment(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	ours := s.View().Comments[1][0]
	// Others write what looks like it, one of them before it.
	for _, login := range []string{"mallory", "github-actions[bot]", "mallory"} {
		s.SayComment(1, login, ours.Body)
	}
	second := commentOn(s, "pass", time.Minute)
	if out, err := g.UpdateComment(t.Context(), second); err != nil || out.ID != ours.ID || out.Obsolete {
		t.Fatalf("%+v, %v", out, err)
	}
	all := s.View().Comments[1]
	if len(all) != 4 || !strings.HasSuffix(all[0].Body, "\npass") || all[1].Body != ours.Body {
		t.Fatalf("%+v", all)
	}
	// An older decision, delivered late, changes nothing.
	if out, err := g.UpdateComment(t.Context(), first); err != nil || !out.Obsolete {
		t.Fatalf("%+v, %v", out, err)
	}
	// Nor does one on a commit that is not the head any more.
	s.Push(1, commitB)
	if out, err := g.UpdateComment(t.Context(), commentOn(s, "late", time.Hour)); err != nil || !out.Obsolete || !strings.Contains(out.Why, "bbbbbbbbbbbb") {
		t.Fatalf("%+v, %v", out, err)
	}
	if got := s.View().Comments[1][0].Body; !strings.HasSuffix(got, "\npass") {
		t.Errorf("%q", got)
	}
}

func TestOneCommentWhateverFails(t *testing.T) {
	for seed := range uint64(25) {
		s := githubtest.New(t, githubtest.Options{PageSize: 2})
		s.AddPull(githubtest.Pull{Author: "somebody", HeadSHA: commitA})
		s.Inject(seed, 0.3)
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() {
				if _, err := app(t, s).UpdateComment(t.Context(), commentOn(s, "the verdict", 0)); err != nil {
					t.Errorf("seed %d: %v", seed, err)
				}
			})
		}
		all.Wait()
		s.Calm()
		if _, err := app(t, s).UpdateComment(t.Context(), commentOn(s, "the verdict", 0)); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if said := s.View().Comments[1]; len(said) != 1 || !strings.HasSuffix(said[0].Body, "the verdict") {
			t.Errorf("seed %d: %+v", seed, said)
		}
		s.Close()
	}
}

func TestLongCommentIsCutAndSaysSo(t *testing.T) {
	s := githubtest.New(t, githubtest.Options{})
	s.AddPull(githubtest.Pull{Author: "somebody", HeadSHA: commitA})
	if _, err := app(t, s).UpdateComment(t.Context(), commentOn(s, "# gate\n"+github.Block(strings.Repeat("é ```\n", 20000), 200000), 0)); err != nil {
		t.Fatal(err)
	}
	body := s.View().Comments[1][0].Body
	if n := utf8.RuneCountInString(body); n > 65536 || len(body) < 60000 || !strings.Contains(body, "the rest is in [the report](<https://") {
		t.Errorf("%d characters, ends %q", n, body[len(body)-200:])
	}
	// The fence that was cut is closed before the note.
	if strings.Count(body, "\n````") != 2 {
		t.Errorf("fences: %d", strings.Count(body, "\n````"))
	}
}

func TestAnswerAndReactionComeOnce(t *testing.T) {
	for seed := range uint64(10) {
		s := githubtest.New(t, githubtest.Options{})
		s.AddPull(githubtest.Pull{Author: "somebody", HeadSHA: commitA})
		id := s.SayComment(1, "somebody", "/gate explain")
		s.Inject(seed, 0.3)
		g := app(t, s)
		for range 2 {
			if err := g.React(t.Context(), id, github.Seen); err != nil {
				t.Fatal(err)
			}
			if err := g.Answer(t.Context(), 1, id, "because"); err != nil {
				t.Fatal(err)
			}
		}
		s.Calm()
		if err := g.Answer(t.Context(), 1, id, "because"); err != nil {
			t.Fatal(err)
		}
		said := s.View().Comments[1]
		if len(said) != 2 || len(said[0].Reactions) != 1 || !strings.HasSuffix(said[1].Body, "because") {
			t.Errorf("seed %d: %+v", seed, said)
		}
		if author, body, err := g.CommentText(t.Context(), id); err != nil || author != "somebody" || body != "/gate explain" {
			t.Errorf("%s %s %v", author, body, err)
		}
		s.Close()
	}
}

// TestWhatWasMadeSafeStaysSafe: a body's joints are no hidden characters to drop.
func TestWhatWasMadeSafeStaysSafe(t *testing.T) {
	s := githubtest.New(t, githubtest.Options{})
	s.AddPull(githubtest.Pull{Author: "somebody", HeadSHA: commitA})
	if _, err := app(t, s).UpdateComment(t.Context(), commentOn(s, github.Inline("@team #1 https://evil.example")+" \u202e", 0)); err != nil {
		t.Fatal(err)
	}
	body := s.View().Comments[1][0].Body
	for _, bad := range []string{"@team", "#1", "://", "\u202e"} {
		if strings.Contains(body, bad) {
			t.Errorf("%q is in %q", bad, body)
		}
	}
}
