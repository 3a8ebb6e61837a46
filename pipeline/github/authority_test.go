package github_test

import (
	"strings"
	"testing"
	"time"

	"github.com/smartcloudops/gate/pipeline/github"
	"github.com/smartcloudops/gate/pipeline/github/githubtest"
)

func TestWithoutTheAppItIsAdvisory(t *testing.T) {
	s := githubtest.New(t, githubtest.Options{})
	g := workflow(t, s, map[string]string{"checks": "write"})
	if g.Authority() != github.Advisory {
		t.Fatalf("authority %s", g.Authority())
	}
	if _, err := g.PublishVerdict(t.Context(), verdict(s.Clock.Now(), "pass")); err != nil {
		t.Fatal(err)
	}
	c := s.View().Commits[commitA].Check(githubtest.ActionsSlug, "gate")
	if c == nil || !strings.HasPrefix(c.Title, "advisory: ") || !strings.Contains(c.Summary, "**Advisory**") || c.Conclusion != "success" {
		t.Fatalf("%+v", c)
	}
	// What the App is required to say, it does not say.
	s.AddRuleset(githubtest.Ruleset{Name: "main", Branches: []string{"main"}, Rules: []map[string]any{githubtest.RequiredChecks(githubtest.AppID, "gate")}})
	if r := s.Required(commitA, "main"); len(r) != 1 || r[0].Holds {
		t.Errorf("%+v", r)
	}
	if _, err := app(t, s).PublishVerdict(t.Context(), verdict(s.Clock.Now(), "pass")); err != nil {
		t.Fatal(err)
	}
	if r := s.Required(commitA, "main"); len(r) != 1 || !r[0].Holds {
		t.Errorf("%+v", r)
	}
	// And what others say in gate's name changes nothing of the App's.
	late := verdict(s.Clock.Now().Add(time.Hour), "pass")
	if _, err := g.PublishVerdict(t.Context(), late); err != nil {
		t.Fatal(err)
	}
	if out, err := app(t, s).PublishVerdict(t.Context(), verdict(s.Clock.Now().Add(time.Minute), "fail")); err != nil || out.Obsolete {
		t.Errorf("%+v, %v", out, err)
	}
	if r := s.Required(commitA, "main"); r[0].Holds {
		t.Errorf("%+v", r)
	}
}

func TestIdentity(t *testing.T) {
	s := githubtest.New(t, githubtest.Options{})
	for _, c := range []struct {
		client *github.Client
		login  string
	}{
		{app(t, s), "smartcloudops-gate[bot]"}, {workflow(t, s, nil), "github-actions[bot]"},
		{client(t, s, func(o *github.Options) { o.Token = s.UserToken("somebody") }), "somebody"},
	} {
		if me, err := c.client.Identity(t.Context()); err != nil || me.Login != c.login {
			t.Errorf("%+v, %v; want %s", me, err, c.login)
		}
	}
	if me, err := app(t, s, func(o *github.Options) { o.AppID = 12 }).Identity(t.Context()); err == nil {
		t.Errorf("another App's id: %+v", me)
	}
}

func TestAVerdictThatIsNoneIsRefused(t *testing.T) {
	s := githubtest.New(t, githubtest.Options{})
	for name, change := range map[string]func(*github.Verdict){
		"short commit":      func(v *github.Verdict) { v.Commit = "abc" },
		"another commit":    func(v *github.Verdict) { v.Decision.Commit = commitB },
		"other environment": func(v *github.Verdict) { v.Environment = "production" },
		"no digest":         func(v *github.Verdict) { v.Decision.ID = "" },
		"no time":           func(v *github.Verdict) { v.Decision.At = time.Time{} },
		"twice":             func(v *github.Verdict) { v.Decision.Criteria = append(v.Decision.Criteria, v.Decision.Criteria[0]) },
		"odd criterion":     func(v *github.Verdict) { v.Decision.Criteria[0].ID = "tests\n" },
		"odd address":       func(v *github.Verdict) { v.DetailsURL = "javascript:alert(1)" },
	} {
		v := verdict(s.Clock.Now(), "pass")
		change(&v)
		if _, err := app(t, s).PublishVerdict(t.Context(), v); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if n := len(s.View().Commits); n != 0 {
		t.Errorf("%d commits have check runs", n)
	}
}

// TestAPassThatItsCriteriaBelieIsNone: the aggregate is green only over green.
func TestAPassThatItsCriteriaBelieIsNone(t *testing.T) {
	s := githubtest.New(t, githubtest.Options{})
	for i, change := range []func(*github.Verdict){
		func(v *github.Verdict) { v.Decision.Criteria[0].Verdict = "fail" },
		func(v *github.Verdict) { v.Decision.Criteria[0].Verdict = "warn" },
		func(v *github.Verdict) { v.Decision.Criteria[0].Verdict = "" },
		func(v *github.Verdict) { v.Decision.Criteria = nil },
		func(v *github.Verdict) { v.Decision.Verdict = "" },
		func(v *github.Verdict) { v.Decision.Verdict = "passed" },
	} {
		v := verdict(s.Clock.Now().Add(time.Duration(i)*time.Minute), "pass", "pass")
		change(&v)
		if _, err := app(t, s).PublishVerdict(t.Context(), v); err != nil {
			t.Fatal(err)
		}
		if c := s.View().Commits[commitA].Check(githubtest.AppSlug, "gate"); c.Conclusion != "action_required" {
			t.Errorf("change %d: %s", i, c.Conclusion)
		}
	}
}
