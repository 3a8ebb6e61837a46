package runner

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func goCommand(args ...string) ([]byte, error) { return exec.Command("go", args...).Output() }

// says whether the call has all of these words, in any order, and none of those
// that begin with an exclamation mark.
func says(calls []string, n int, words ...string) bool {
	if n >= len(calls) {
		return false
	}
	for _, w := range words {
		not, turned := strings.CutPrefix(w, "!")
		if turned && strings.Contains(calls[n], not) || !turned && !strings.Contains(" "+strings.ReplaceAll(calls[n], "=", " ")+" ", " "+w+" ") {
			return false
		}
	}
	return true
}

func itoa(n int64) string { return fmt.Sprint(n) }

// TestAChangeIsMeasuredAndJudgedApart goes from a pull request to its verdict,
// and from its merge to signed evidence.
func TestAChangeIsMeasuredAndJudgedApart(t *testing.T) {
	s := newStage(t, nil)
	base := s.git("rev-parse", "HEAD")
	s.git("switch", "-q", "-c", "feature")
	s.write("x", "x")
	head := s.commit("a change")
	s.git("push", "-q", "origin", "feature")
	s.Wait(patience)
	if n := len(s.Runs()); n != 0 {
		t.Fatalf("a branch starts %d runs", n)
	}
	number := s.OpenPull("feature", "main", "dev", "a change")
	s.Wait(patience)
	run := s.concluded("commit.yml", Success)
	if run.HeadSHA != head || run.SHA == head || run.Ref != "refs/pull/1/merge" {
		t.Errorf("the run is of another commit:\n%s", run)
	}
	if n := s.artifacts(run.ID); n != 1 {
		t.Errorf("%d artefacts", n)
	}
	published := s.concluded("publish.yml", Success)
	if j := published.Job("protected"); j.Conclusion != Skipped {
		t.Errorf("the job that signs has run for a pull request:\n%s", published)
	}
	calls := s.called()
	nonce := fmt.Sprintf("%d-%d-1-%s", s.repository, run.ID, head)
	if len(calls) != 2 || !says(calls, 0, "-C head run", "--through staging", "--apart", "--commit "+head, "--base "+base, "--nonce "+nonce, "--evidence", "!TOKEN", "!KEY") ||
		!says(calls, 1, "github publish", "--run "+itoa(run.ID), "GATE_APP_ID 4711", "GATE_APP_KEY the key of the App", "GITHUB_TOKEN", "!SIGNING") {
		t.Errorf("calls: %q", calls)
	}

	merged, err := s.Merge(number, "lead")
	if err != nil {
		t.Fatal(err)
	}
	s.Wait(patience)
	run = s.concluded("commit.yml", Success)
	published = s.concluded("publish.yml", Success)
	if run.HeadSHA != merged || run.Event != "push" || published.Job("change").Conclusion != Skipped {
		t.Errorf("the merge is not measured:\n%s\n%s", run, published)
	}
	calls = s.called()
	if len(calls) != 2 || !says(calls, 0, "--commit "+merged, "!--base") || !says(calls, 1, "GATE_SIGNING_KEY key of evidence") {
		t.Errorf("calls: %q", calls)
	}
	if made := s.Made(); len(made) > 0 {
		t.Errorf("GitHub made the environments %v", made)
	}
	for _, r := range s.Runs() {
		for _, j := range r.Jobs {
			if j.Deployed || len(j.Left) > 0 {
				t.Errorf("job %s shows a deployment (%v), or left %v", j.ID, j.Deployed, j.Left)
			}
		}
	}
}

// TestAMeasurementThatFailsIsPublished: the artefact is uploaded whatever
// happened, and publish.yml runs.
func TestAMeasurementThatFailsIsPublished(t *testing.T) {
	s := newStage(t, nil)
	if err := os.WriteFile(s.calls+".fail", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s.commit("another")
	s.git("push", "-q", "origin", "main")
	s.Wait(patience)
	run := s.concluded("commit.yml", Failure)
	if s.artifacts(run.ID) != 1 {
		t.Errorf("nothing was uploaded:\n%s", run)
	}
	if p := s.concluded("publish.yml", Failure); !strings.Contains(p.Log(), "exit code 6") {
		t.Errorf("%s", p)
	}
	if err := os.Remove(s.calls + ".fail"); err != nil {
		t.Fatal(err)
	}
	s.called()
	s.Rerun(run)
	s.Wait(patience)
	again := s.concluded("commit.yml", Success)
	s.concluded("publish.yml", Success)
	if again.ID != run.ID || again.Attempt != 2 || s.artifacts(run.ID) != 2 {
		t.Errorf("%s", again)
	}
	if calls := s.called(); !says(calls, 0, fmt.Sprintf("--nonce %d-%d-2-%s", s.repository, run.ID, run.SHA)) {
		t.Errorf("calls: %q", calls)
	}
}

func TestByHand(t *testing.T) {
	s := newStage(t, nil)
	start := func(ref, file string, inputs map[string]string) {
		t.Helper()
		if err := s.Dispatch("ops", ref, file, inputs); err != nil {
			t.Fatal(err)
		}
		s.Wait(patience)
	}
	t.Run("promote waits for a reviewer", func(t *testing.T) {
		start("main", "promote.yml", map[string]string{"environment": "production", "release": "sha256:0", "reason": "because"})
		run := s.Last("promote.yml")
		if j := run.Job("promote"); j.Status != Waiting || len(s.called()[0]) > 0 {
			t.Fatalf("it does not wait:\n%s", run)
		}
		if err := s.Approve(run, "promote", "ops"); err == nil {
			t.Error("anybody may approve")
		}
		if err := s.Approve(run, "promote", "lead"); err != nil {
			t.Fatal(err)
		}
		s.Wait(patience)
		run = s.concluded("promote.yml", Success)
		if strings.TrimSpace(run.Title) != "promote sha256:0 to production" || run.Job("refuse").Conclusion != Skipped {
			t.Errorf("%s", run)
		}
		calls := s.called()
		if len(calls) != 2 || !says(calls, 0, "promote", "sha256:0", "--to production", "--remote", "--reason because", "GATE_SIGNING_KEY key of production") ||
			!says(calls, 1, "github deployments", "production", "!SIGNING") {
			t.Errorf("calls: %q", calls)
		}
	})
	t.Run("a way back waits for nobody", func(t *testing.T) {
		start("main", "rollback.yml", map[string]string{"environment": "production", "reason": "it burns"})
		s.concluded("rollback.yml", Success)
		start("main", "hold.yml", map[string]string{"environment": "production", "reason": "it burns"})
		run := s.concluded("hold.yml", Success)
		if run.Job("lift").Conclusion != Skipped || strings.TrimSpace(run.Title) != "hold production" {
			t.Errorf("%s", run)
		}
		calls := s.called()
		if len(calls) != 3 || !says(calls, 0, "rollback", "production", "--remote", "--reason it burns") || !says(calls, 2, "hold", "production", "--remote", "--reason it burns", "GATE_SIGNING_KEY key of the way back") {
			t.Errorf("calls: %q", calls)
		}
		start("main", "hold.yml", map[string]string{"environment": "staging", "reason": "over", "lift": "true"})
		s.concluded("hold.yml", Success)
		if calls := s.called(); len(calls) != 1 || !says(calls, 0, "unhold", "staging", "--remote") {
			t.Errorf("calls: %q", calls)
		}
	})
	t.Run("from another branch nothing is given", func(t *testing.T) {
		s.git("push", "-q", "origin", "main:other")
		start("other", "promote.yml", map[string]string{"environment": "staging", "release": "sha256:0", "reason": "because"})
		run := s.concluded("promote.yml", Failure)
		if run.Job("promote").Conclusion != Skipped || !slices.Contains(run.Job("refuse").Steps[0].Errors, "start this from the branch main") {
			t.Errorf("%s", run)
		}
		// Somebody who takes the condition out is stopped by the environment.
		s.git("switch", "-q", "-c", "other")
		b, err := os.ReadFile(s.clone.dir + "/.github/workflows/promote.yml")
		if err != nil {
			t.Fatal(err)
		}
		s.write(".github/workflows/promote.yml", strings.Replace(string(b), "    if: github.ref == 'refs/heads/main'\n", "", 1))
		s.commit("open it")
		s.git("push", "-q", "origin", "other")
		start("other", "promote.yml", map[string]string{"environment": "staging", "release": "sha256:0", "reason": "because"})
		run = s.concluded("promote.yml", Failure)
		if why := run.Job("promote").Why; !strings.Contains(why, "not allowed to deploy to staging") || s.called()[0] != "" {
			t.Errorf("%s: %s", why, run)
		}
		s.git("switch", "-q", "main")
	})
	t.Run("explain, drills, and publish again", func(t *testing.T) {
		start("main", "explain.yml", map[string]string{"environment": "staging"})
		s.concluded("explain.yml", Success)
		s.Schedule("23 2 * * 1-6")
		s.Wait(patience)
		run := s.concluded("drills.yml", Success)
		s.concluded("publish.yml", Success)
		calls := s.called()
		if len(calls) != 3 || !says(calls, 1, "verify", "staging", "--fresh", "--check scan", "--check leaks", "--apart", "--commit "+run.SHA) || !says(calls, 2, "GATE_SIGNING_KEY key of evidence") {
			t.Errorf("calls: %q", calls)
		}
		s.Schedule("23 2 * * 0")
		s.Wait(patience)
		if calls := s.called(); len(calls) != 2 || !says(calls, 0, "verify", "staging", "--fresh", "--apart", "!--check") {
			t.Errorf("calls: %q", calls)
		}
		start("main", "publish.yml", map[string]string{"run": itoa(run.ID)})
		p := s.concluded("publish.yml", Success)
		if p.Job("change").Conclusion != Success || p.Job("protected").Conclusion != Skipped {
			t.Errorf("%s", p)
		}
	})
	t.Run("what is not declared is refused", func(t *testing.T) {
		for _, inputs := range []map[string]string{{"environment": "staging"}, {"environment": "staging", "release": "x", "reason": "x", "more": "x"}} {
			if err := s.Dispatch("ops", "main", "promote.yml", inputs); err == nil {
				t.Errorf("%v was taken", inputs)
			}
		}
		if err := s.Dispatch("ops", "main", "commit.yml", nil); err == nil {
			t.Error("commit.yml can be started by hand")
		}
	})
}

// TestRequests: a request on env/<environment> calls the protected branch's
// workflow, unless a workflow has pushed it.
func TestRequests(t *testing.T) {
	s := newStage(t, nil)
	env, err := os.ReadFile(s.clone.dir + "/.github/workflows/env.yml")
	if err != nil {
		t.Fatal(err)
	}
	s.git("switch", "-q", "--orphan", "env/staging")
	s.write(".github/workflows/env.yml", string(env))
	s.commit("a request")
	s.git("push", "-q", "origin", "env/staging")
	s.Wait(patience)
	run := s.concluded("env.yml", Success)
	j := run.Job("request / follow")
	if j == nil || j.Conclusion != Success || fmt.Sprint(j.Permissions) != "map[contents:read deployments:write]" {
		t.Fatalf("%s", run)
	}
	if calls := s.called(); len(calls) != 1 || !says(calls, 0, "github deployments", "staging", "--follow") {
		t.Errorf("calls: %q", calls)
	}

	token := s.Runner.token(&Job{Permissions: map[string]string{"contents": "write"}}, nil)
	s.clone.env = []string{"GIT_ASKPASS=" + askpass(t, token)}
	s.commit("by a workflow")
	s.git("push", "-q", "origin", "env/staging")
	s.Wait(patience)
	if n := len(s.Of("env.yml")); n != 1 {
		t.Errorf("what a workflow pushes has started %d workflows", n-1)
	}
}

func TestCommentsStartWorkflows(t *testing.T) {
	s := newStage(t, nil)
	s.git("switch", "-q", "-c", "feature")
	s.commit("a change")
	s.git("push", "-q", "origin", "feature")
	number := s.OpenPull("feature", "main", "dev", "a change")
	s.Wait(patience)
	s.called()
	s.Comment(number, "dev", "nice")
	s.Comment(number, "robot[bot]", "/gate rerun")
	s.Wait(patience)
	for _, run := range s.Of("commands.yml") {
		if run.Conclusion != Skipped {
			t.Errorf("%s", run)
		}
	}
	s.Comment(number, "dev", "/gate rerun")
	s.Wait(patience)
	s.concluded("commands.yml", Success)
	if calls := s.called(); len(calls) != 1 || !says(calls, 0, "github command", "GITHUB_TOKEN") {
		t.Errorf("calls: %q", calls)
	}
}
