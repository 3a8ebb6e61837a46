package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/smartcloudops/gate/pipeline/github"
)

// deskFake is GitHub as a desk sees it.
type deskFake struct {
	author, body string
	may          github.Permission
	run          int64
	fail         error // of Dispatch

	dispatched []github.Dispatch
	reactions  []github.Reaction
	answers    []string
}

func (f *deskFake) CommentText(context.Context, int64) (string, string, error) {
	return f.author, f.body, nil
}

func (f *deskFake) Permission(_ context.Context, login string) (github.Permission, error) {
	if login != f.author {
		return github.None, nil
	}
	return f.may, nil
}

func (f *deskFake) PullRequest(_ context.Context, number int) (*github.PullRequest, error) {
	return &github.PullRequest{Number: number, Head: github.Head{SHA: "the head"}}, nil
}

func (f *deskFake) LatestRun(_ context.Context, workflow, head string) (int64, error) {
	if workflow != "commit.yml" || head != "the head" || f.run == 0 {
		return 0, github.ErrNotFound
	}
	return f.run, nil
}

func (f *deskFake) Dispatch(_ context.Context, d github.Dispatch) error {
	f.dispatched = append(f.dispatched, d)
	return f.fail
}

func (f *deskFake) React(_ context.Context, comment int64, r github.Reaction) error {
	if comment != 12 {
		return errors.New("another comment")
	}
	f.reactions = append(f.reactions, r)
	return nil
}

func (f *deskFake) Answer(_ context.Context, number int, comment int64, body string) error {
	if number != 7 || comment != 12 {
		return errors.New("another comment")
	}
	f.answers = append(f.answers, body)
	return nil
}

var askedAt = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// comment is the event of a comment by octo, who may write.
func comment(t *testing.T, body string, change func(map[string]any)) *commented {
	t.Helper()
	user := map[string]any{"login": "octo", "type": "User"}
	event := map[string]any{
		"action": "created",
		"comment": map[string]any{
			"id": 12, "body": body, "html_url": "https://github.com/o/r/pull/7#issuecomment-12", "user": user,
			"created_at": askedAt.Format(time.RFC3339), "performed_via_github_app": nil,
		},
		"issue":      map[string]any{"number": 7, "pull_request": map[string]any{"url": "…"}},
		"sender":     user,
		"repository": map[string]any{"full_name": "o/r"},
	}
	if change != nil {
		change(event)
	}
	b, err := json.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "event.json")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := readCommented(file)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func at(f *deskFake) *desk {
	return &desk{api: f, protected: "main", environments: []string{"staging", "production"}, actions: "https://github.com/o/r/actions/workflows/"}
}

func TestCommandsStartWorkflowsOnTheProtectedBranch(t *testing.T) {
	release := "sha256:" + strings.Repeat("ab", 32)
	by := "asked by octo in https://github.com/o/r/pull/7#issuecomment-12"
	for body, want := range map[string]github.Dispatch{
		"/gate promote " + release + " --to production": {Workflow: "promote.yml", Inputs: map[string]string{"environment": "production", "release": release, "reason": by}},
		"/gate rollback production":                     {Workflow: "rollback.yml", Inputs: map[string]string{"environment": "production", "release": "", "reason": by}},
		"/gate hold staging it burns":                   {Workflow: "hold.yml", Inputs: map[string]string{"environment": "staging", "reason": "it burns (" + by + ")"}},
		"/gate explain staging":                         {Workflow: "explain.yml", Inputs: map[string]string{"environment": "staging"}},
		"/gate rerun":                                   {Workflow: "publish.yml", Inputs: map[string]string{"run": "99"}},
	} {
		f := &deskFake{author: "octo", body: body, may: github.Write, run: 99}
		said, err := at(f).carryOut(t.Context(), comment(t, body, nil))
		if err != nil {
			t.Errorf("%s: %v", body, err)
		}
		want.Ref, want.Marker, want.Since = "main", "comment-12", askedAt
		want.Inputs["marker"] = "comment-12"
		if diff := cmp.Diff([]github.Dispatch{want}, f.dispatched); diff != "" {
			t.Errorf("%s: %s", body, diff)
		}
		if len(f.reactions) != 1 || f.reactions[0] != github.Accepted || len(f.answers) != 1 || f.answers[0] != said || strings.Contains(said, "\n") || !strings.Contains(said, "/actions/workflows/"+want.Workflow+")") {
			t.Errorf("%s: answered %q with %q", body, f.answers, f.reactions)
		}
	}
}

// TestCommandsAreRefused: whatever is not a person's own, fresh, single command
// starts nothing.
func TestCommandsAreRefused(t *testing.T) {
	const good = "/gate explain staging"
	part := func(name, key string, v any) func(map[string]any) {
		return func(e map[string]any) { e[name].(map[string]any)[key] = v }
	}
	for name, c := range map[string]struct {
		body   string
		change func(map[string]any)
		fake   func(*deskFake)
		want   string // of the answer; empty: none
	}{
		"on an issue":            {change: part("issue", "pull_request", nil)},
		"by a bot":               {change: part("comment", "user", map[string]any{"login": "octo", "type": "Bot"})},
		"by an organization":     {change: part("comment", "user", map[string]any{"login": "octo", "type": "Organization"})},
		"by an app for somebody": {change: part("comment", "performed_via_github_app", map[string]any{"id": 1})},
		"quoted":                 {body: "> /gate explain staging"},
		"in a block of code":     {body: "```\n/gate explain staging\n```"},
		"edited":                 {change: func(e map[string]any) { e["action"] = "edited" }, want: "edited comment"},
		"deleted":                {change: func(e map[string]any) { e["action"] = "deleted" }, want: "edited comment"},
		"set off by another":     {change: part("sender", "login", "other"), want: "somebody else"},
		"edited before the look": {fake: func(f *deskFake) { f.body = "/gate promote" }, want: "changed in the meantime"},
		"of another by now":      {fake: func(f *deskFake) { f.author = "other" }, want: "write access"},
		"by a reader":            {fake: func(f *deskFake) { f.may = github.Read }, want: "write access"},
		"by a triager":           {fake: func(f *deskFake) { f.may = github.Triage }, want: "write access"},
		"by a stranger":          {fake: func(f *deskFake) { f.may = github.None }, want: "write access"},
		"by nobody known":        {fake: func(f *deskFake) { f.may = "" }, want: "write access"},
		"several":                {body: good + "\n/gate rerun", want: "several commands"},
		"with more text":         {body: good + "\nthanks", want: "on one line"},
		"of no environment":      {body: "/gate explain prod", want: "no such environment"},
		"by a short digest":      {body: "/gate promote sha256:abcd --to staging", want: "whole digest"},
		"unknown":                {body: "/gate destroy staging", want: "no such command"},
		"rerun of nothing":       {body: "/gate rerun", fake: func(f *deskFake) { f.run = 0 }, want: "no run of commit.yml"},
	} {
		body := c.body
		if body == "" {
			body = good
		}
		f := &deskFake{author: "octo", body: body, may: github.Admin, run: 99}
		if c.fake != nil {
			c.fake(f)
		}
		e := comment(t, body, func(e map[string]any) {
			if _, ok := e["sender"].(map[string]any); ok {
				// Not the same map as the comment's user.
				e["sender"] = map[string]any{"login": "octo", "type": "User"}
			}
			if c.change != nil {
				c.change(e)
			}
		})
		_, err := at(f).carryOut(t.Context(), e)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if len(f.dispatched) > 0 {
			t.Errorf("%s: started %+v", name, f.dispatched)
		}
		switch {
		case c.want == "" && len(f.answers)+len(f.reactions) > 0:
			t.Errorf("%s: answered %q", name, f.answers)
		case c.want != "" && (len(f.answers) != 1 || len(f.reactions) != 1 || !strings.Contains(f.answers[0], c.want) || f.reactions[0] == github.Accepted):
			t.Errorf("%s: answered %q with %q, want %q", name, f.answers, f.reactions, c.want)
		}
	}
}

func TestACommandThatCanNotBeStartedIsAnError(t *testing.T) {
	const body = "/gate explain staging"
	f := &deskFake{author: "octo", body: body, may: github.Write, fail: github.ErrForbidden}
	_, err := at(f).carryOut(t.Context(), comment(t, body, nil))
	if !errors.Is(err, github.ErrForbidden) || len(f.answers) != 1 || !strings.HasPrefix(f.answers[0], "Nothing was started") || f.reactions[0] != github.Confused {
		t.Errorf("%v, answered %q with %q", err, f.answers, f.reactions)
	}
}

func TestAnEventOfSomethingElseIsAMistake(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"empty": "", "push": `{"ref":"refs/heads/main"}`, "list": "[]"} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readCommented(file); err == nil {
			t.Errorf("%s is taken for a comment", name)
		}
	}
	if _, err := readCommented(""); err == nil || !strings.Contains(err.Error(), "issue_comment") {
		t.Errorf("without an event: %v", err)
	}
	if _, err := readCommented(filepath.Join(dir, "none")); err == nil {
		t.Error("an event that is not there is taken for one")
	}
}
