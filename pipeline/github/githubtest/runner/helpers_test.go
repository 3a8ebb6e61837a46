package runner

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/smartcloudops/gate/pipeline/github/githubtest"
	"github.com/smartcloudops/gate/pipeline/github/workflows"
)

// stage is a repository with workflows, a GitHub, and a program in gate's place
// that writes down how it was called.
type stage struct {
	*Runner
	t     *testing.T
	hub   *githubtest.Server
	bare  string
	clone git
	calls string
}

const patience = 30 * time.Second

// stand is called as gate: it writes down its arguments and what of its
// environment matters, and leaves evidence where it is asked for.
const stand = `#!/bin/bash
set -eu
{ printf '%s' "$*" | tr '\n' ' '; for v in COMMIT RUN_ID ENVIRONMENT RELEASE REASON BRANCH GATE_APP_ID GATE_APP_KEY GATE_SIGNING_KEY GITHUB_TOKEN; do
	[ -z "${!v+set}" ] || printf ' %s=%s' "$v" "$(printf '%s' "${!v}" | tr '\n' ' ')"
done; echo; } >>"$CALLS"
while [ $# -gt 0 ]; do
	if [ "$1" = --evidence ]; then mkdir -p "$2/evidence"; echo '{}' >"$2/claim.json"; echo '{}' >"$2/evidence/tests.json"; fi
	shift
done
if [ -n "${SLOW:-}" ]; then sleep "$SLOW"; fi
if [ -f "$CALLS.fail" ]; then exit 6; fi
`

func newStage(t *testing.T, change func(*Options)) *stage {
	t.Helper()
	t.Parallel()
	root := t.TempDir()
	s := &stage{t: t, bare: filepath.Join(root, "o.git"), calls: filepath.Join(root, "calls")}
	p := workflows.Params{Repository: "o/r", Gate: "v1.2.3", Owners: []string{"@o/a"}, Engine: workflows.EngineNone, Environments: []string{"staging", "production"}, Go: "1.26.8"}
	if _, err := (git{dir: root}).output("init", "-q", "--bare", "-b", "main", s.bare); err != nil {
		t.Fatal(err)
	}
	if _, err := (git{dir: root}).output("clone", "-q", s.bare, "clone"); err != nil {
		t.Fatal(err)
	}
	s.clone = git{dir: filepath.Join(root, "clone")}
	files, err := workflows.Render(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		s.write(f.Path, string(f.Data))
	}
	s.git("switch", "-q", "-c", "main")
	s.commit("begin")
	s.git("push", "-q", "origin", "main")
	s.hub = githubtest.New(t, githubtest.Options{Repository: "o/r", Git: s.bare, Clock: githubtest.NewClock(time.Now())})
	binary := filepath.Join(root, "gate")
	if err := os.WriteFile(binary, []byte(stand), 0o755); err != nil {
		t.Fatal(err)
	}
	o := Options{
		GitHub: s.hub, Repository: "o/r", Git: s.bare, Gate: Gate{Binary: binary, Version: "v1.2.3"}, Limit: 20 * time.Second,
		Vars: map[string]string{"GATE_APP_ID": "4711"},
		Environments: map[string]Environment{
			"gate-app":        {Branches: []string{"main"}, Secrets: map[string]string{"GATE_APP_KEY": "the key of the App"}},
			"evidence":        {Branches: []string{"main"}, Secrets: map[string]string{"GATE_APP_KEY": "the key of the App", "GATE_SIGNING_KEY": "key of evidence"}},
			"staging":         {Branches: []string{"main"}, Secrets: map[string]string{"GATE_SIGNING_KEY": "key of staging"}},
			"production":      {Branches: []string{"main"}, Reviewers: []string{"lead"}, Secrets: map[string]string{"GATE_SIGNING_KEY": "key of production"}},
			"production-back": {Branches: []string{"main"}, Secrets: map[string]string{"GATE_SIGNING_KEY": "key of the way back"}},
		},
		Machine: func(string) []string {
			return []string{"CALLS=" + s.calls, "GOCACHE=" + goEnv(t, "GOCACHE"), "GOMODCACHE=" + goEnv(t, "GOMODCACHE"), "GOFLAGS=-mod=mod"}
		},
	}
	if change != nil {
		change(&o)
	}
	s.Runner = New(t, o)
	s.clone.env = s.Credentials("dev")
	return s
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	b, err := goCommand("env", name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func (s *stage) git(args ...string) string {
	s.t.Helper()
	out, err := s.clone.line(args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

func (s *stage) write(file, text string) {
	s.t.Helper()
	at := filepath.Join(s.clone.dir, file)
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) commit(message string) string {
	s.t.Helper()
	s.git("add", "-A")
	s.git("commit", "-q", "--allow-empty", "-m", message)
	return s.git("rev-parse", "HEAD")
}

// called are gate's calls so far, each on a line, and forgets them.
func (s *stage) called() []string {
	s.t.Helper()
	b, err := os.ReadFile(s.calls)
	if err != nil && !os.IsNotExist(err) {
		s.t.Fatal(err)
	}
	_ = os.Remove(s.calls)
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

// concluded fails unless the newest run of the file ended so.
func (s *stage) concluded(file, want string) *Run {
	s.t.Helper()
	run := s.Last(file)
	if run.Status != Completed || run.Conclusion != want {
		s.t.Fatalf("want %s of %s\n%s", want, file, run)
	}
	return run
}

func (s *stage) artifacts(run int64) int {
	s.t.Helper()
	var a struct {
		Artifacts []json.RawMessage `json:"artifacts"`
	}
	if err := s.ask("/actions/runs/"+itoa(run)+"/artifacts", &a); err != nil {
		s.t.Fatal(err)
	}
	return len(a.Artifacts)
}
