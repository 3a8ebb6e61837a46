package promotion

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/smartcloudops/gate/pipeline/target"
)

var steps = map[string]Step{"migrate": Migrate, "canary": Canary, "complete": Complete, "retire": Retire}

// stage is a scene with an engine for production and its target.
type stage struct {
	*scene
	target *fake
	engine *Engine
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := newScene(t)
	f := newFake("production")
	return &stage{scene: s, target: f, engine: s.engine("production", f)}
}

// watched fails the test when a command comes before its step is on record, as
// another process would read it.
func (s *stage) watched() {
	other := sceneIn(s.t, s.dir, nil)
	s.target.before = func(op string) {
		a := other.view().Environment("production").Active
		switch want := steps[op]; {
		case a == nil:
			s.t.Errorf("%s came without a promotion on record", op)
		case op == "withdraw" && a.Step == Withdraw:
			s.t.Errorf("it was written before the traffic was back")
		case op != "withdraw" && a.Step != want:
			s.t.Errorf("%s came when the record said %s", op, a.Step)
		}
	}
}

// serves makes the release of commit c what production serves, with a history.
func (s *stage) serves(c byte) string {
	s.t.Helper()
	record := s.release(releaseRecord(c))
	rev := releaseRecord(c).Revision("production")
	s.target.serve(&rev)
	s.target.migrated[rev.Release] = 1
	_, err := s.journal.Record(s.t.Context(), Transition{Request: "first", Environment: "production", Record: record, Release: digest(c), Step: End, State: Succeeded})
	must(s.t, err)
	return record
}

// promote asks for the release of commit c and waits for what comes of it.
func (s *stage) promote(c byte, change ...func(*Request)) Transition {
	s.t.Helper()
	id := s.ask("production", c, change...)
	s.run(s.engine)
	return s.settled("production", id)
}

func (s *stage) expect(got Transition, state State, code int, why ...string) {
	s.t.Helper()
	if got.State != state || got.Code != code {
		s.t.Errorf("%s with code %d: %s; want %s with code %d", got.State, got.Code, got.Why, state, code)
	}
	for _, w := range why {
		if !strings.Contains(got.Why, w) {
			s.t.Errorf("it says %q, want %q in it", got.Why, w)
		}
	}
}

func (s *stage) called(want ...string) {
	s.t.Helper()
	if d := cmp.Diff(want, s.target.ops()); d != "" {
		s.t.Error(d)
	}
}

// sound checks what must hold whatever has happened.
func (s *stage) sound(serving string) {
	s.t.Helper()
	v := s.view()
	e := v.Environment("production")
	if e.Active != nil {
		s.t.Errorf("request %s is under way for ever", e.Active.Request)
	}
	f := s.target
	if released(f.stable) != serving || f.canary != nil || f.warm != nil || f.weight != 0 {
		s.t.Errorf("it serves %.12s, canary %.12s, warm %.12s, weight %d; want %.12s alone", released(f.stable), released(f.canary), released(f.warm), f.weight, serving)
	}
	if r := v.Releases[e.Desired]; serving != "" && (r == nil || r.Release != serving) {
		s.t.Errorf("desired is %v, and %.12s serves", r, serving)
	}
	if _, err := s.ledger.Verify(context.Background()); err != nil {
		s.t.Error(err)
	}
}

func TestBootstrap(t *testing.T) {
	s := newStage(t)
	s.watched()
	s.release(releaseRecord('a'))
	got := s.promote('a')
	s.expect(got, Succeeded, CodePass)
	s.called("migrate", "complete", "retire")
	s.sound(digest('a'))
	if got.Decision == "" || s.view().Decisions[got.Decision] == "" {
		t.Error("the decision is not on record")
	}
	for _, c := range s.target.calls {
		if c.Token != got.Token || got.Token == 0 {
			t.Errorf("%s came with token %d, want %d", c.Op, c.Token, got.Token)
		}
	}
}

func TestPromoteWithCanary(t *testing.T) {
	s := newStage(t)
	s.serves('a')
	s.release(releaseRecord('b', func(r *ReleaseRecord) { r.Declarations.Environment("production").Promotion.Canary.Synthetic = 100 }))
	s.watched()
	// Enough only once some synthetic requests have come.
	s.target.samples[digest('b')] = [2]int64{3, 0}
	s.ask("production", 'b')
	s.run(s.engine)
	eventually(t, "both arms are probed", func() bool {
		s.target.mu.Lock()
		defer s.target.mu.Unlock()
		if s.target.probed["baseline"] > 0 && s.target.probed["canary"] > 0 {
			s.target.samples[digest('b')] = [2]int64{3000, 0}
		}
		return s.target.samples[digest('b')][0] == 3000
	})
	eventually(t, "it serves", func() bool { return s.view().Environment("production").Active == nil })
	h := s.view().Environment("production").History
	s.expect(h[len(h)-1], Succeeded, CodePass)
	if !h[len(h)-1].Synthetic {
		t.Error("that synthetic requests took part is not said")
	}
	s.called("migrate", "canary", "complete", "retire")
	s.sound(digest('b'))
}

func TestFailures(t *testing.T) {
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		set   func(s *stage)
		state State
		code  int
		why   string
		ops   []string
	}{
		"the migration fails": {
			func(s *stage) { s.target.fail["migrate"] = fmt.Errorf("%w: no such column", target.ErrMigration) },
			Failed, CodeFail, "no such column; what served before serves on", []string{"migrate"},
		},
		"the migration can't be tried": {
			func(s *stage) { s.target.fail["migrate"] = boom },
			Errored, CodeInternal, "boom", []string{"migrate"},
		},
		"the canary is never ready": {
			func(s *stage) { s.target.fail["canary"] = fmt.Errorf("instance 3: %w", target.ErrNotReady) },
			Failed, CodeFail, "not ready", []string{"migrate", "canary", "withdraw"},
		},
		"the canary can't be started": {
			func(s *stage) { s.target.fail["canary"] = boom },
			Errored, CodeInternal, "boom", []string{"migrate", "canary", "withdraw"},
		},
		"the canary fails": {
			func(s *stage) { s.target.samples[digest('b')] = [2]int64{3000, 600} },
			RolledBack, CodeRolledBack, "all traffic was back", []string{"migrate", "canary", "withdraw"},
		},
		"the canary can't be told": {
			func(s *stage) { s.target.samples[digest('b')] = [2]int64{3, 0} },
			Aborted, CodeInconclusive, "after 60ms: ", []string{"migrate", "canary", "withdraw"},
		},
		"the figures can't be had": {
			func(s *stage) { s.target.fail["arms"] = boom },
			Errored, CodeInternal, "boom", []string{"migrate", "canary", "withdraw"},
		},
		"the rest is never ready": {
			func(s *stage) { s.target.fail["complete"] = target.ErrNotReady },
			Failed, CodeFail, "not ready", []string{"migrate", "canary", "complete", "withdraw"},
		},
		"it ends under all traffic": {
			func(s *stage) { s.target.crashing[digest('b')] = true },
			RolledBack, CodeRolledBack, "ended unasked while it was watched", []string{"migrate", "canary", "complete", "withdraw"},
		},
		"it fails under all traffic": {
			func(s *stage) {
				s.target.after = func(op string) {
					if op == "complete" {
						_ = s.target.locked(func() error { s.target.samples[digest('b')] = [2]int64{3000, 600}; return nil })
					}
				}
			},
			RolledBack, CodeRolledBack, "canary fail", []string{"migrate", "canary", "complete", "withdraw"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.serves('a')
			s.release(releaseRecord('b'))
			s.watched()
			c.set(s)
			s.expect(s.promote('b'), c.state, c.code, c.why)
			s.called(c.ops...)
			s.sound(digest('a'))
		})
	}
}

// TestWithdrawsBeforeItWrites: nothing about a canary that failed is on record
// before the traffic is back, and then all is.
func TestWithdrawsBeforeItWrites(t *testing.T) {
	s := newStage(t)
	s.serves('a')
	s.release(releaseRecord('b'))
	s.target.samples[digest('b')] = [2]int64{3000, 600}
	other := sceneIn(t, s.dir, nil)
	var decisions, at int
	s.target.before = func(op string) {
		v := other.view()
		switch op {
		case "canary":
			decisions = len(v.Decisions)
		case "withdraw":
			at = len(v.Decisions)
			if a := v.Environment("production").Active; a.Step != Analyse {
				t.Errorf("the record says %s, want analyse", a.Step)
			}
		}
	}
	got := s.promote('b')
	s.expect(got, RolledBack, CodeRolledBack)
	if at != decisions {
		t.Errorf("%d decisions when the traffic went back, want %d: traffic before paper", at, decisions)
	}
	eventually(t, "the decision is on record", func() bool { return s.view().Decisions[got.Decision] != "" })
}

// TestAskingAgainProvesNothing: the refusal of a first release is no history
// that would let the second request in.
// TestFirstReleaseMayTryAgain: its own tables, from a first attempt, are no
// stranger's.
// TestUnreadableRequest: what somebody botched on the branch is told, and does
// not stand in the way of the next one.
// TestWhoNeverBeganIsNoWinner: a request that came to nothing does not refuse
// those behind it.
func TestRollback(t *testing.T) {
	s := newStage(t)
	s.serves('a')
	s.release(releaseRecord('b'))
	s.expect(s.promote('b'), Succeeded, CodePass)
	must(t, s.journal.Hold(t.Context(), Hold{Environment: "production", Reason: "incident", By: "bob"}))
	// Even one that ends at once, and that nothing proves any more, is gone back to.
	_ = s.target.locked(func() error { s.target.crashing[digest('a')] = true; s.target.calls = nil; return nil })
	got := s.settled("production", s.ask("production", 'a', back))
	s.expect(got, Succeeded, CodePass)
	if got.Kind != Rollback || got.Decision != "" {
		t.Errorf("got %+v", got)
	}
	s.called("complete", "retire")
	s.sound(digest('a'))
}

// TestRollbackStopsAPromotion: who wants to go back is not kept waiting.
// TestWithdrawalIsTriedAgain: as long as traffic may be where it must not be,
// nothing ends, nothing else begins, and the engine goes on.
// TestRestoreThatFailsBlocksNothing: the next release may be what mends it.
// TestWarmLeftovers: an earlier promotion's previous release, that could not be
// retired, is not what a later withdrawal goes back to.
func TestWarmLeftovers(t *testing.T) {
	s := newStage(t)
	s.serves('b')
	older := releaseRecord('a').Revision("production")
	s.target.warm = &older
	s.release(releaseRecord('c'))
	s.target.samples[digest('c')] = [2]int64{3000, 600}
	s.expect(s.promote('c'), RolledBack, CodeRolledBack)
	s.sound(digest('b'))
}

func TestOverlappingTokenIsFenced(t *testing.T) {
	s := newStage(t)
	s.serves('a')
	s.release(releaseRecord('b'))
	got := s.promote('b')
	s.expect(got, Succeeded, CodePass)
	rev := releaseRecord('a').Revision("production")
	for op, err := range map[string]error{
		"migrate":  s.target.Migrate(t.Context(), got.Token-1, rev),
		"canary":   s.target.StartCanary(t.Context(), got.Token-1, rev, 20),
		"complete": s.target.Complete(t.Context(), got.Token-1, rev),
		"withdraw": s.target.Withdraw(t.Context(), got.Token-1),
		"retire":   s.target.Retire(t.Context(), got.Token-1),
	} {
		if !errors.Is(err, target.ErrFenced) {
			t.Errorf("%s: %v, want ErrFenced", op, err)
		}
	}
	s.sound(digest('b'))
}

// TestOvertakenPromotionTouchesNothing: the target has seen a newer promotion's
// token when this one's first command comes.
func TestOvertakenPromotionTouchesNothing(t *testing.T) {
	s := newStage(t)
	s.serves('a')
	s.release(releaseRecord('b'))
	s.target.token = 1 << 40
	s.expect(s.promote('b'), Errored, CodeInternal, "a newer promotion has taken over")
	s.called("migrate")
	s.sound(digest('a'))
}

// TestResumeKeepsTheReason: killed between a withdrawal and the end of its
// promotion, why it was withdrawn is not forgotten.
