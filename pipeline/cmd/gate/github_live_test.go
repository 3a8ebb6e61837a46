package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/smartcloudops/gate/pipeline/github/githubtest"
	"github.com/smartcloudops/gate/pipeline/github/workflows"
)

// carrying is a clone of acme/notes with its files for GitHub, and that
// repository at GitHub.
func carrying(t *testing.T) (dir string, s *githubtest.Server) {
	t.Helper()
	dir = foreignClone(t)
	if code, out := initialised(t, dir, GithubInitCmd{Owners: []string{"@acme/ops"}, Version: "v1.2.3"}); code != 0 {
		t.Fatal(out)
	}
	s = githubtest.New(t, githubtest.Options{Repository: "acme/notes", Private: true, Clock: githubtest.NewClock(time.Now())})
	entries, err := os.ReadDir(filepath.Join(dir, workflows.Dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, workflows.Dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		s.SetWorkflow(e.Name(), string(b))
	}
	return dir, s
}

// on runs a verb in the clone, with GitHub as its environment names it.
func on(t *testing.T, dir string, s *githubtest.Server, env map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	getenv := func(name string) string {
		if name == "GITHUB_API_URL" {
			return s.URL
		}
		return env[name]
	}
	code = Run(t.Context(), append([]string{"-C", dir}, args...), Streams{Out: &out, Err: &errs, Getenv: getenv, Environ: gitEnv()})
	return code, out.String(), errs.String()
}

// TestACommentStartsAWorkflowAtGitHub with what commands.yml is granted.
func TestACommentStartsAWorkflowAtGitHub(t *testing.T) {
	dir, s := carrying(t)
	s.SetRole("octo", "write")
	s.SetRole("reader", "read")
	head := strings.Repeat("a", 40)
	number := s.AddPull(githubtest.Pull{Author: "octo", HeadSHA: head})
	token := s.ActionsToken(map[string]string{"actions": "write", "contents": "read", "pull_requests": "write"})
	for i, c := range []struct{ login, body, workflow string }{
		{"octo", "/gate hold production until the fix is in", "hold.yml"},
		{"octo", "/gate explain staging", "explain.yml"},
		{"octo", "/gate promote sha256:" + strings.Repeat("ab", 32) + " --to production", "promote.yml"},
		{"reader", "/gate explain staging", ""},
	} {
		id := s.SayComment(number, c.login, c.body)
		event := map[string]any{
			"action": "created",
			"comment": map[string]any{
				"id": id, "body": c.body, "html_url": "https://github.com/acme/notes/pull/1#issuecomment-1",
				"created_at": s.Clock.Now().Format(time.RFC3339), "user": map[string]any{"login": c.login, "type": "User"},
			},
			"issue":      map[string]any{"number": number, "pull_request": map[string]any{}},
			"sender":     map[string]any{"login": c.login, "type": "User"},
			"repository": map[string]any{"full_name": "acme/notes"},
		}
		b, err := json.Marshal(event)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "event.json")
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		env := map[string]string{"GITHUB_REPOSITORY": "acme/notes", "GITHUB_TOKEN": token, "GITHUB_EVENT_PATH": file}
		// A step that is run again does nothing again.
		for range 2 {
			if code, out, errs := on(t, dir, s, env, "github", "command"); code != 0 {
				t.Errorf("%s: %d: %s%s", c.body, code, out, errs)
			}
		}
		v := s.View()
		var started []string
		for _, d := range v.Dispatches {
			started = append(started, d.Workflow+" "+d.Ref)
		}
		want := c.workflow + " main"
		if c.workflow == "" && len(started) != 3 || c.workflow != "" && (len(started) != i+1 || started[i] != want) {
			t.Errorf("%s by %s: started %q", c.body, c.login, started)
		}
	}
}

// TestDoctorLooksAtGitHub: from a repository that nobody has set up to one that
// is as it should be.
func TestDoctorLooksAtGitHub(t *testing.T) {
	dir, s := carrying(t)
	env := map[string]string{"GATE_APP_ID": fmt.Sprint(githubtest.AppID), "GATE_APP_KEY": string(s.Key)}
	code, out, errs := on(t, dir, s, env, "doctor", "--github")
	if code != 3 || !strings.Contains(out, "MISS  main: required check") || !strings.Contains(out, "next: ") {
		t.Errorf("a bare repository: %d: %s%s", code, out, errs)
	}

	kept := []map[string]any{{"type": "non_fast_forward"}, {"type": "deletion"}}
	s.AddRuleset(githubtest.Ruleset{ID: 1, Name: "main", Branches: []string{"main"}, Bypass: []map[string]any{}, Rules: append(slices.Clone(kept),
		githubtest.RequiredChecks(githubtest.AppID, "gate"),
		map[string]any{"type": "pull_request", "parameters": map[string]any{
			"require_code_owner_review": true, "required_approving_review_count": 1, "dismiss_stale_reviews_on_push": true,
			"require_last_push_approval": false, "required_review_thread_resolution": false,
		}})})
	s.AddRuleset(githubtest.Ruleset{ID: 2, Name: "records", Branches: []string{"gate/ledger", "env/staging", "env/production"}, Bypass: []map[string]any{}, Rules: kept})
	for name, secrets := range map[string][]string{
		"gate-app": {"GATE_APP_KEY"}, "evidence": {"GATE_APP_KEY", "GATE_SIGNING_KEY"},
		"staging": {"GATE_SIGNING_KEY"}, "staging-back": {"GATE_SIGNING_KEY"}, "production-back": {"GATE_SIGNING_KEY"},
	} {
		s.AddEnvironment(githubtest.Environment{Name: name, Branches: "patterns", Patterns: []string{"main"}, Secrets: secrets})
	}
	s.AddEnvironment(githubtest.Environment{Name: "production", Branches: "patterns", Patterns: []string{"main"}, Secrets: []string{"GATE_SIGNING_KEY"}, Reviewers: []string{"octo"}})
	s.SetWorkflowToken("read", false)
	s.SetCodeowners()
	code, out, errs = on(t, dir, s, env, "doctor", "--github")
	if code != 0 || strings.Contains(out, "MISS") || strings.Contains(out, "?   ") {
		t.Errorf("a repository as it should be: %d: %s%s", code, out, errs)
	}

	// A token of a workflow sees little, and what it does not see is not fine.
	code, out, errs = on(t, dir, s, map[string]string{"GITHUB_TOKEN": s.ActionsToken(map[string]string{"contents": "read"}), "GATE_APP_ID": ""}, "doctor", "--github")
	if code != 4 || !strings.Contains(out, "?     environment evidence") {
		t.Errorf("without rights: %d: %s%s", code, out, errs)
	}
	code, out, _ = on(t, dir, s, env, "doctor", "--github", "--output", "json")
	var all []finding
	if err := json.Unmarshal([]byte(out), &all); err != nil || code != 0 || len(all) < 30 {
		t.Errorf("as JSON: %d: %v: %s", code, err, out)
	}
}
