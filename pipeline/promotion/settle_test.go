package promotion

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/smartcloudops/gate/pipeline/ledger"
)

// branch is what env/production says now, and how many commits it has.
func (s *scene) branch() (q ledger.Request, message string, commits int) {
	s.t.Helper()
	repo := s.ledger.Repository()
	if text := gitIn(s.t, repo, "ls-tree", "--name-only", "env/production", "request.json"); text != "" {
		must(s.t, json.Unmarshal([]byte(gitIn(s.t, repo, "show", "env/production:request.json")), &q))
	}
	message = gitIn(s.t, repo, "log", "-1", "--format=%an: %B", "env/production")
	_, err := fmt.Sscan(gitIn(s.t, repo, "rev-list", "--count", "env/production"), &commits)
	must(s.t, err)
	return q, message, commits
}

// idle runs the engine as often as a loop would that did not stop.
func (s *stage) idle() {
	s.t.Helper()
	for range 3 {
		must(s.t, s.engine.once(s.t.Context()))
	}
}

func TestARefusedRequestIsSettledOnce(t *testing.T) {
	s := newStage(t)
	s.serves('a')
	s.release(releaseRecord('b'))
	must(t, s.journal.Hold(t.Context(), Hold{Environment: "production", Reason: "freeze", By: "bob"}))
	request := s.ask("production", 'b', func(r *Request) { r.By = "Ann <ann@example.org>" })
	s.idle()
	q, message, n := s.branch()
	if q.Release != digest('a') || q.Commit != commitOf('a') || q.Rollback || n != 2 {
		t.Errorf("after %d commits it says %+v", n, q)
	}
	for _, want := range []string{"gate: release aaaaaaaaaaaa runs in production: request " + request[:12] + " was refused", request, "Ann <ann@example.org>", "held by bob: freeze"} {
		if !strings.Contains(message, want) {
			t.Errorf("the message lacks %q:\n%s", want, message)
		}
	}
	if n := len(s.view().Environment("production").Consumed); n != 2 {
		t.Errorf("%d requests were consumed: what settles is no request", n)
	}
	// Not by another process either, nor after a crash between record and commit.
	other := &stage{scene: sceneIn(t, s.dir, nil), target: s.target}
	other.engine = other.scene.engine("production", s.target)
	other.idle()
	gitIn(t, s.ledger.Repository(), "update-ref", "refs/heads/env/production", "refs/heads/env/production~1")
	other.idle()
	s.idle()
	if q, _, n := s.branch(); q.Release != digest('a') || n != 2 {
		t.Errorf("after %d commits it says %+v", n, q)
	}
	// What was refused may be asked for again.
	must(t, s.journal.Hold(t.Context(), Hold{Environment: "production", By: "bob"}))
	s.ask("production", 'b')
	s.idle()
	if q, _, n := s.branch(); q.Release != digest('b') || n != 3 {
		t.Errorf("after %d commits it says %+v", n, q)
	}
}

func TestSettlingSaysWhatBecameOfIt(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(s *stage)
		says string
	}{
		"rolled back": {func(s *stage) { s.target.samples[digest('b')] = [2]int64{3000, 600} }, "was rolled back"},
		"failed":      {func(s *stage) { s.target.unready = digest('b') }, "has failed"},
		"aborted": {func(s *stage) {
			s.target.samples[digest('b')] = [2]int64{3, 0}
		}, "was aborted"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.serves('a')
			s.release(releaseRecord('b'))
			c.set(s)
			s.ask("production", 'b')
			s.idle()
			q, message, n := s.branch()
			if q.Release != digest('a') || n != 2 || !strings.Contains(message, c.says) {
				t.Errorf("after %d commits it says %+v: %s", n, q, message)
			}
		})
	}
}

func TestAFirstRequestThatFailsLeavesNone(t *testing.T) {
	s := newStage(t)
	s.release(releaseRecord('a'))
	s.target.unready = digest('a')
	s.ask("production", 'a')
	s.idle()
	if q, message, n := s.branch(); q != (ledger.Request{}) || n != 2 || !strings.Contains(message, "nothing runs in production") {
		t.Errorf("after %d commits it says %+v: %s", n, q, message)
	}
	s.target.unready = ""
	s.expect(s.promote('a'), Succeeded, CodePass)
}

// TestPeopleOnASettledBranch: a revert and a merged proposal are requests as
// ever, and end with a branch that says what runs.
func TestPeopleOnASettledBranch(t *testing.T) {
	s := newStage(t)
	s.serves('a')
	s.release(releaseRecord('b'))
	s.ask("production", 'd') // unknown
	s.idle()
	clone := filepath.Join(t.TempDir(), "clone")
	gitIn(t, s.dir, "clone", "-q", "-b", "env/production", s.ledger.Repository(), clone)
	gitIn(t, clone, "checkout", "-qb", "proposal")
	must(t, os.WriteFile(filepath.Join(clone, "request.json"), []byte(`{"release":"`+digest('b')+`"}`), 0o600))
	gitIn(t, clone, "commit", "-qam", "b to production")
	gitIn(t, clone, "checkout", "-q", "env/production")
	gitIn(t, clone, "merge", "-q", "--no-ff", "-m", "Merge pull request #1", "proposal")
	gitIn(t, clone, "push", "-q", "origin", "env/production")
	s.idle()
	if released(s.target.stable) != digest('b') {
		t.Fatalf("the merged proposal was not carried out: %+v", s.view().Environment("production").History)
	}
	if _, _, n := s.branch(); n != 4 {
		t.Errorf("%d commits: what came to pass is not to be settled", n)
	}
	gitIn(t, clone, "revert", "-m", "1", "--no-edit", "HEAD")
	gitIn(t, clone, "push", "-q", "origin", "env/production")
	s.idle()
	h := s.view().Environment("production").History
	if last := h[len(h)-1]; released(s.target.stable) != digest('a') || last.Kind != Rollback || last.State != Succeeded {
		t.Errorf("the revert was not carried out: %+v", last)
	}
	// A revert of what settled asks for what was refused, and is refused as well.
	gitIn(t, clone, "revert", "--no-edit", "HEAD~2")
	gitIn(t, clone, "push", "-q", "origin", "env/production")
	s.idle()
	if q, message, _ := s.branch(); q.Release != digest('a') || !strings.Contains(message, "was refused") {
		t.Errorf("it says %+v: %s", q, message)
	}
	s.sound(digest('a'))
}

// TestSettlingTravels: the executor's commit reaches the others, who have nothing
// to do with it; one that came too late gives way to a person's request.
func TestSettlingTravels(t *testing.T) {
	f := newFleet(t, 2)
	a, b := f.machines[0], f.machines[1]
	a.release(releaseRecord('a'))
	stop := a.run(a.engine)
	a.expect(a.settled("production", a.ask("production", 'a')), Succeeded, CodePass)
	stop()
	f.syncAll()
	refused := b.ask("production", 'd')
	b.sync()
	a.sync()
	back := f.away()
	if err := a.engine.once(t.Context()); err == nil {
		t.Error("a request was refused that the others could not see being refused")
	}
	back()
	a.idle()
	if q, _, n := a.branch(); q.Release != digest('a') || n != 3 {
		t.Fatalf("after %d commits it says %+v", n, q)
	}
	// Before that is pushed, another request comes.
	again := b.ask("production", 'a')
	b.sync()
	a.sync()
	a.idle()
	f.agree()
	for _, m := range f.machines {
		ev := m.view().Environment("production")
		if ev.Consumed[refused].State != Refused || ev.Consumed[again].State != Succeeded {
			t.Errorf("%+v %+v", ev.Consumed[refused], ev.Consumed[again])
		}
		if q, _, n := m.branch(); q.Release != digest('a') || n != 3 {
			t.Errorf("after %d commits it says %+v", n, q)
		}
	}
}
