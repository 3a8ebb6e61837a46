package githubtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// bare is a repository whose branch main has the files, and change others.
func bare(t *testing.T, main, change map[string]string) (path, mainSHA, changeSHA string) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("SKIPPED FOR WANT OF A TOOL: git")
	}
	work := t.TempDir()
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", args...)
		cmd.Dir = work
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	write := func(files map[string]string) {
		for name, text := range files {
			file := filepath.Join(work, name)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		git("add", "-A")
		git("commit", "-q", "-m", "x")
	}
	git("init", "-q", "-b", "main")
	write(main)
	mainSHA = git("rev-parse", "HEAD")
	git("checkout", "-q", "-b", "change")
	write(change)
	return filepath.Join(work, ".git"), mainSHA, git("rev-parse", "HEAD")
}

func TestTriggersReadTheFileThatGitHubReads(t *testing.T) {
	path, main, change := bare(t, map[string]string{
		".github/workflows/commit.yml":  "name: Commit\non:\n  pull_request:\n  push:\n    branches: [main, 'release/**', '!release/old']\n  merge_group:\n",
		".github/workflows/publish.yml": "name: Publish\non:\n  workflow_run:\n    workflows: [Commit]\n    types: [completed]\n",
		".github/workflows/cmd.yaml":    "on:\n  issue_comment:\n    types: [created]\n",
		".github/workflows/drills.yml":  "name: Drills\non:\n  schedule:\n    - cron: '7 3 * * 1'\n  workflow_dispatch:\n    inputs:\n      x: {required: true}\n",
		".github/workflows/README.md":   "no workflow",
		"a.go":                          "package a",
	}, map[string]string{
		".github/workflows/publish.yml": "name: Publish\non: [pull_request, workflow_run]\n",
		".github/workflows/cmd.yaml":    "on: push\n",
		"a.go":                          "package b",
	})
	s := New(t, Options{Git: path})
	for _, c := range []struct {
		e    Event
		want []string
		at   string
	}{
		{Event{Name: "pull_request", SHA: change, MergeSHA: change, Base: "main"}, []string{"commit", "publish"}, change},
		{Event{Name: "pull_request", SHA: change, Base: "main"}, nil, ""},
		{Event{Name: "pull_request", SHA: change, MergeSHA: change, Base: "main", Action: "labeled"}, nil, ""},
		{Event{Name: "push", SHA: main, Ref: "refs/heads/main"}, []string{"commit"}, main},
		{Event{Name: "push", SHA: main, Ref: "refs/heads/main", ByToken: true}, nil, ""},
		{Event{Name: "push", SHA: main, Ref: "refs/heads/release/1/2"}, []string{"commit"}, main},
		{Event{Name: "push", SHA: main, Ref: "refs/heads/release/old"}, nil, ""},
		{Event{Name: "push", SHA: main, Ref: "refs/heads/other"}, nil, ""},
		{Event{Name: "push", SHA: change, Ref: "refs/heads/change"}, []string{"cmd"}, change},
		{Event{Name: "merge_group", SHA: main, Base: "main"}, []string{"commit"}, main},
		{Event{Name: "workflow_run", SHA: change, Workflow: "Commit", Branch: "change"}, []string{"publish"}, main},
		{Event{Name: "workflow_run", SHA: change, Workflow: "Other"}, nil, ""},
		{Event{Name: "workflow_run", SHA: change, Workflow: "Commit", Action: "requested"}, nil, ""},
		{Event{Name: "issue_comment", SHA: change}, []string{"cmd"}, main},
		{Event{Name: "issue_comment", SHA: change, Action: "edited"}, nil, ""},
		{Event{Name: "schedule", Cron: "7 3 * * 1"}, []string{"drills"}, main},
		{Event{Name: "workflow_dispatch", Ref: "main", Workflow: "drills.yml", ByToken: true}, []string{"drills"}, main},
		{Event{Name: "workflow_dispatch", Ref: "main", Workflow: "commit.yml"}, nil, ""},
	} {
		got, err := s.Triggers(c.e)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, g := range got {
			name := strings.TrimPrefix(g.Path, ".github/workflows/")
			names = append(names, name[:strings.IndexByte(name, '.')])
			if g.At != c.at {
				t.Errorf("%+v is read at %s, want %s", c.e, g.At, c.at)
			}
		}
		slices.Sort(names)
		if !slices.Equal(names, c.want) {
			t.Errorf("%+v starts %v, want %v", c.e, names, c.want)
		}
	}
	if got, _ := s.Triggers(Event{Name: "pull_request", SHA: change, MergeSHA: change, Fork: true}); len(got) == 0 || got[0].Secrets {
		t.Errorf("a fork's pull request sees secrets: %+v", got)
	}
	n := s.AddPull(Pull{HeadSHA: change, HeadBranch: "change"})
	s.mu.Lock()
	defer s.mu.Unlock()
	if all := s.files(s.state.pull(int64(n))); len(all) != 3 {
		t.Errorf("files of the pull request: %v", all)
	}
}

func TestFaultsAreTheSameForASeed(t *testing.T) {
	kinds := func() []Fault {
		s := New(t, Options{})
		defer s.Close()
		s.Inject(3, 0.5, Broken, TooMany, Secondary)
		token := s.ActionsToken(nil)
		var out []Fault
		for range 30 {
			send(t, s, token, "GET", "/repos/smartcloudops/gate/pulls", nil)
		}
		for _, r := range s.Requests() {
			out = append(out, r.Fault)
		}
		return out
	}
	a, b := kinds(), kinds()
	if !slices.Equal(a, b) || !slices.Contains(a, TooMany) || !slices.Contains(a, None) {
		t.Errorf("%v\n%v", a, b)
	}
}
