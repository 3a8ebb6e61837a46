package runner

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/smartcloudops/gate/pipeline/github/githubtest"
)

// askpass is a program that answers git with the token.
func askpass(t *testing.T, token string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "askpass")
	if err := os.WriteFile(file, []byte("#!/bin/sh\ncase \"$1\" in Username*) echo x-access-token ;; *) echo "+token+" ;; esac\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestPushesAreRefused for what GitHub refuses them for.
func TestPushesAreRefused(t *testing.T) {
	s := newStage(t, func(o *Options) { o.Bypass = []string{"admin"} })
	s.hub.AddRuleset(githubtest.Ruleset{Name: "main", Branches: []string{"main"}, Rules: []map[string]any{{"type": "pull_request", "parameters": map[string]any{}}, {"type": "non_fast_forward"}, {"type": "deletion"}}})
	s.hub.AddRuleset(githubtest.Ruleset{Name: "ledger", Branches: []string{"gate/ledger"}, Rules: []map[string]any{{"type": "non_fast_forward"}, {"type": "deletion"}}})
	person := s.clone.env
	refused := func(want string, args ...string) {
		t.Helper()
		_, err := s.clone.line(append([]string{"push", "-q", "origin"}, args...)...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("push %v: got %v, want %q", args, err, want)
		}
	}
	s.commit("another")
	refused("rule violations", "main")
	s.clone.env = nil
	refused("nobody says who pushes", "main:x")
	s.clone.env = []string{"GIT_ASKPASS=" + askpass(t, "wrong")}
	refused("Authentication failed", "main:x")
	reader := s.token(&Job{Permissions: map[string]string{"contents": "read"}}, nil)
	s.clone.env = []string{"GIT_ASKPASS=" + askpass(t, reader)}
	refused("denied to github-actions[bot]", "main:x")

	writer := s.token(&Job{Permissions: map[string]string{"contents": "write"}}, nil)
	s.clone.env = []string{"GIT_ASKPASS=" + askpass(t, writer)}
	s.git("push", "-q", "origin", "main:gate/ledger")
	refused("rule violations", "+main~1:gate/ledger")
	refused("rule violations", ":gate/ledger")
	b, err := os.ReadFile(filepath.Join(s.clone.dir, ".github/workflows/env.yml"))
	if err != nil {
		t.Fatal(err)
	}
	s.git("switch", "-q", "--orphan", "env/staging")
	s.write(".github/workflows/env.yml", string(b))
	s.commit("the very same")
	s.git("push", "-q", "origin", "env/staging")
	s.write(".github/workflows/env.yml", string(b)+"# changed\n")
	s.commit("another")
	refused("without `workflows` permission", "env/staging")
	s.expire(writer)
	refused("Authentication failed", "env/staging")

	s.clone.env = person
	s.git("push", "-q", "origin", "env/staging")
	s.clone.env = s.Credentials("admin")
	s.git("push", "-q", "origin", "main")
	s.Wait(patience)
}

// TestANewerHeadEndsTheOlderOnesRun, and no commit of the protected branch ends
// another one's.
func TestANewerHeadEndsTheOlderOnesRun(t *testing.T) {
	s := newStage(t, func(o *Options) {
		machine := o.Machine
		o.Slots = 4
		o.Machine = func(dir string) []string { return append(machine(dir), "SLOW=1") }
	})
	s.git("switch", "-q", "-c", "feature")
	s.commit("one")
	s.git("push", "-q", "origin", "feature")
	s.OpenPull("feature", "main", "dev", "a change")
	if !s.until(patience, func() bool {
		return len(s.Runner.runs) > 0 && len(s.Runner.runs[0].Jobs) > 0 && len(s.Runner.runs[0].Jobs[0].Steps) >= 4
	}) {
		t.Fatal("it does not begin")
	}
	newer := s.commit("two")
	s.git("push", "-q", "origin", "feature")
	s.Wait(patience)
	all := s.Of("commit.yml")
	if len(all) != 2 || all[0].Conclusion != Cancelled || all[1].Conclusion != Success || all[1].HeadSHA != newer {
		t.Fatalf("%v", all)
	}
	if all[1].Event != "pull_request" {
		t.Errorf("%s", all[1])
	}
	s.git("switch", "-q", "main")
	for range 2 {
		s.commit("on main")
		s.git("push", "-q", "origin", "main")
	}
	s.Wait(patience)
	for _, run := range s.Of("commit.yml")[2:] {
		if run.Conclusion != Success {
			t.Errorf("%s", run)
		}
	}
}

// TestPausedRunsGoTogether: what the test holds back begins at once later.
func TestPausedRunsGoTogether(t *testing.T) {
	s := newStage(t, nil)
	s.Pause("publish.yml")
	for range 2 {
		s.commit("on main")
		s.git("push", "-q", "origin", "main")
	}
	s.Wait(patience)
	if all := s.Of("publish.yml"); len(all) != 2 || all[0].Status != Queued || all[1].Status != Queued {
		t.Fatalf("%v", all)
	}
	s.Resume("publish.yml")
	s.Wait(patience)
	for _, run := range s.Of("publish.yml") {
		if run.Conclusion != Success {
			t.Errorf("%s", run)
		}
	}
}

// recorder is a test that only notes what goes wrong.
type recorder struct {
	testing.TB
	said []string
}

func (r *recorder) Errorf(format string, args ...any) { r.said = append(r.said, format) }

func TestSecretsThatShowAreFound(t *testing.T) {
	m := &masks{all: map[string]string{"the-secret": "KEY"}}
	var told []string
	l := newLog(m, func(name string) { told = append(told, name) })
	for _, line := range []string{"one the-sec", "ret two\n", "::add-mask::another-one\n", "another-one\n", "::error::bad the-secret\n", "::stop-commands::pause\n::set-env name=x::y\n::pause::\n"} {
		if _, err := l.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	if got := l.String(); strings.Contains(got, "the-secret") || strings.Contains(got, "another-one") || len(told) != 3 {
		t.Errorf("told %v of %q", told, got)
	}
	if l.err != nil {
		t.Errorf("a stopped command was carried out: %v", l.err)
	}
	if _, err := l.Write([]byte("::set-env name=x::y\n")); err != nil || l.err == nil {
		t.Error("an unknown command was passed over")
	}
}

func TestTheTestFailsWhenASecretShows(t *testing.T) {
	s := newStage(t, nil)
	r := &recorder{TB: t}
	s.Runner.t = r
	s.git("switch", "-q", "-c", "leak")
	b, err := os.ReadFile(filepath.Join(s.clone.dir, ".github/workflows/hold.yml"))
	if err != nil {
		t.Fatal(err)
	}
	s.write(".github/workflows/hold.yml", strings.Replace(string(b), "run: gate hold", "run: echo $GATE_SIGNING_KEY && gate hold", 1))
	s.commit("leak")
	s.git("switch", "-q", "main")
	s.git("merge", "-q", "leak")
	s.git("push", "-q", "origin", "main")
	if err := s.Dispatch("ops", "main", "hold.yml", map[string]string{"environment": "production", "reason": "x"}); err != nil {
		t.Fatal(err)
	}
	s.Wait(patience)
	s.Runner.t = t
	if len(r.said) == 0 || strings.Contains(s.Last("hold.yml").Log(), "key of the way back") {
		t.Errorf("nobody noticed (%v):\n%s", r.said, s.Last("hold.yml"))
	}
}

// TestAJobEndsInTime, and leaves nothing.
func TestAJobEndsInTime(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED under -short: GitHub asks a job to end for ten seconds")
	}
	s := newStage(t, func(o *Options) {
		machine := o.Machine
		o.Limit = 2 * time.Second
		o.Machine = func(dir string) []string { return append(machine(dir), "SLOW=60") }
	})
	if err := s.Dispatch("ops", "main", "hold.yml", map[string]string{"environment": "production", "reason": "x"}); err != nil {
		t.Fatal(err)
	}
	s.Wait(patience)
	run := s.concluded("hold.yml", Cancelled)
	if !strings.Contains(run.Job("hold").Why, "too long") {
		t.Errorf("%s", run)
	}
}
