package promotion

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/smartcloudops/gate/environments"
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
		if s.target.probed["stable"] > 0 && s.target.probed["canary"] > 0 {
			s.target.samples[digest('b')] = [2]int64{300, 0}
		}
		return s.target.samples[digest('b')][0] == 300
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

func TestServesAlready(t *testing.T) {
	s := newStage(t)
	s.serves('a')
	s.expect(s.promote('a'), Succeeded, CodePass, "it serves already")
	s.called()
	s.sound(digest('a'))
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

func TestRefusals(t *testing.T) {
	adopting := func(r *ReleaseRecord) { r.Declarations.Environment("production").Database.Adopt = true }
	for name, c := range map[string]struct {
		set    func(s *stage)
		ask    func(r *Request)
		state  State
		code   int
		why    string
		served string
	}{
		"held": {
			func(s *stage) {
				s.release(releaseRecord('b'))
				must(s.t, s.journal.Hold(s.t.Context(), Hold{Environment: "production", Reason: "freeze", By: "bob"}))
			},
			nil, Refused, CodeLocked, "held by bob: freeze", "a",
		},
		"unknown": {
			func(*stage) {}, nil, Refused, CodeUsage, "gate build", "a",
		},
		"declared nowhere": {
			func(s *stage) {
				s.release(releaseRecord('b', func(r *ReleaseRecord) { r.Declarations.Environments = r.Declarations.Environments[:1] }))
			},
			nil, Refused, CodeUsage, "does not declare the environment production", "a",
		},
		"dirty": {
			func(s *stage) { s.release(releaseRecord('b', func(r *ReleaseRecord) { r.Dirty = true })) },
			nil, Failed, CodeFail, "uncommitted changes", "a",
		},
		"not measured": {
			func(s *stage) {
				_, err := s.journal.Release(s.t.Context(), releaseRecord('b'))
				must(s.t, err)
			},
			nil, Aborted, CodeInconclusive, "no evidence of check tests", "a",
		},
		"a rollback to what never served": {
			func(s *stage) { s.release(releaseRecord('b')) },
			back, Refused, CodeUsage, "has never served in production", "a",
		},
		"a rollback to a configuration that never served": {
			func(s *stage) {
				s.release(releaseRecord('b', func(r *ReleaseRecord) {
					r.Declarations.Environment("production").Config["LOG_LEVEL"] = "debug"
				}))
				other := s.release(releaseRecord('b', func(r *ReleaseRecord) { r.Commit = commitOf('c') }))
				_, err := s.journal.Record(s.t.Context(), Transition{Request: "r0", Environment: "production", Record: other, Release: digest('b'), Step: End, State: Succeeded})
				must(s.t, err)
			},
			back, Refused, CodeUsage, "with this configuration", "a",
		},
		"the target does not answer": {
			func(s *stage) {
				s.release(releaseRecord('b'))
				s.engine.restored = true
				s.target.fail["status"] = errors.New("boom")
			},
			nil, Errored, CodeInternal, "boom", "a",
		},
		"a first release on somebody's database": {
			func(s *stage) {
				s.release(releaseRecord('b'))
				s.target.notEmpty = true
			},
			nil, Failed, CodeFail, "not known to be empty", "",
		},
		"a first release on a database to adopt": {
			func(s *stage) {
				s.release(releaseRecord('b', adopting))
				s.target.notEmpty = true
			},
			nil, Succeeded, CodePass, "", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			if c.served != "" {
				s.serves('a')
			}
			c.set(s)
			var change []func(*Request)
			if c.ask != nil {
				change = append(change, c.ask)
			}
			s.expect(s.promote('b', change...), c.state, c.code, c.why)
			if c.state != Succeeded {
				s.called()
			}
		})
	}
}

// TestAskingAgainProvesNothing: the refusal of a first release is no history
// that would let the second request in.
func TestAskingAgainProvesNothing(t *testing.T) {
	s := newStage(t)
	s.release(releaseRecord('a'))
	s.target.notEmpty = true
	s.expect(s.promote('a'), Failed, CodeFail, "not known to be empty")
	s.expect(s.settled("production", s.ask("production", 'a')), Failed, CodeFail, "not known to be empty")
	s.called()
}

// TestFirstReleaseMayTryAgain: its own tables, from a first attempt, are no
// stranger's.
func TestFirstReleaseMayTryAgain(t *testing.T) {
	s := newStage(t)
	s.release(releaseRecord('a'))
	s.target.fail["complete"] = target.ErrNotReady
	s.expect(s.promote('a'), Failed, CodeFail, "not ready")
	_ = s.target.locked(func() error { delete(s.target.fail, "complete"); return nil })
	s.expect(s.settled("production", s.ask("production", 'a')), Succeeded, CodePass)
	s.sound(digest('a'))
}

// TestUnreadableRequest: what somebody botched on the branch is told, and does
// not stand in the way of the next one.
func TestUnreadableRequest(t *testing.T) {
	s := newScene(t)
	f := newFake("staging")
	s.release(releaseRecord('a'))
	s.ask("staging", 'a')
	botch(t, s)
	pending, err := s.journal.Pending(t.Context(), s.view(), "staging")
	must(t, err)
	last := s.ask("staging", 'a', func(r *Request) { r.Reason = "again" })
	e := s.engine("staging", f)
	// Before any promotion, so that it is not refused for being late.
	must(t, e.carryOut(t.Context(), s.view(), pending[1]))
	s.run(e)
	got := s.settled("staging", pending[1].ID)
	if got.State != Refused || got.Code != CodeUsage || !strings.Contains(got.Why, "request.json") {
		t.Errorf("got %+v", got)
	}
	s.settled("staging", last)
	if released(f.stable) != digest('a') {
		t.Errorf("%q serves", released(f.stable))
	}
}

func TestLateRequestIsRefused(t *testing.T) {
	s := newStage(t)
	s.serves('a')
	s.release(releaseRecord('b'))
	s.release(releaseRecord('c'))
	first := s.ask("production", 'b')
	late := s.ask("production", 'c')
	s.run(s.engine)
	s.expect(s.settled("production", first), Succeeded, CodePass)
	s.expect(s.settled("production", late), Refused, CodeLocked, "another request was first", first[:12], "ann@example.org", digest('b')[7:19])
	s.sound(digest('b'))
	// Whoever has seen how it ended is not late. (Its update must be proved anew.)
	s.prove(releaseRecord('c'))
	s.expect(s.settled("production", s.ask("production", 'c')), Succeeded, CodePass)
	s.sound(digest('c'))
}

// TestWhoNeverBeganIsNoWinner: a request that came to nothing does not refuse
// those behind it.
func TestWhoNeverBeganIsNoWinner(t *testing.T) {
	s := newStage(t)
	s.serves('a')
	s.release(releaseRecord('b'))
	nonsense := s.ask("production", 'd')
	good := s.ask("production", 'b')
	s.run(s.engine)
	s.expect(s.settled("production", nonsense), Refused, CodeUsage)
	s.expect(s.settled("production", good), Succeeded, CodePass)
}

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
func TestRollbackStopsAPromotion(t *testing.T) {
	s := newStage(t)
	s.serves('a')
	s.release(releaseRecord('b', func(r *ReleaseRecord) {
		r.Declarations.Environment("production").Promotion.Canary.Limit = environments.Duration(time.Hour)
	}))
	s.target.samples[digest('b')] = [2]int64{3, 0}
	forward := s.ask("production", 'b')
	s.run(s.engine)
	eventually(t, "the canary runs", func() bool { return slices.Contains(s.target.ops(), "canary") })
	// Nonsense stops nothing.
	nonsense := s.ask("production", 'd', back)
	backward := s.ask("production", 'a', back)
	s.expect(s.settled("production", forward), Aborted, CodeLocked, "asked for a rollback to release aaaa")
	s.expect(s.settled("production", nonsense), Refused, CodeUsage)
	s.expect(s.settled("production", backward), Succeeded, CodePass, "it serves already")
	s.sound(digest('a'))
}

func TestHoldStopsACanary(t *testing.T) {
	s := newStage(t)
	s.serves('a')
	s.release(releaseRecord('b', func(r *ReleaseRecord) {
		r.Declarations.Environment("production").Promotion.Canary.Limit = environments.Duration(time.Hour)
	}))
	s.target.samples[digest('b')] = [2]int64{3, 0}
	forward := s.ask("production", 'b')
	s.run(s.engine)
	eventually(t, "the canary runs", func() bool { return slices.Contains(s.target.ops(), "canary") })
	must(t, s.journal.Hold(t.Context(), Hold{Environment: "production", Reason: "incident", By: "bob"}))
	s.expect(s.settled("production", forward), Aborted, CodeLocked, "held by bob: incident")
	s.sound(digest('a'))
}

// TestWithdrawalIsTriedAgain: as long as traffic may be where it must not be,
// nothing ends, nothing else begins, and the engine goes on.
func TestWithdrawalIsTriedAgain(t *testing.T) {
	s := newStage(t)
	s.serves('a')
	s.release(releaseRecord('b'))
	s.target.samples[digest('b')] = [2]int64{3000, 600}
	s.target.fail["withdraw"] = errors.New("boom")
	id := s.ask("production", 'b')
	s.run(s.engine)
	eventually(t, "it is tried again", func() bool {
		n := 0
		for _, op := range s.target.ops() {
			if op == "withdraw" {
				n++
			}
		}
		return n >= 3
	})
	e := s.view().Environment("production")
	if e.Active == nil || e.Active.Request != id || e.Consumed[id] != nil {
		t.Fatalf("it has ended: %+v", e.Consumed[id])
	}
	_ = s.target.locked(func() error { delete(s.target.fail, "withdraw"); return nil })
	s.expect(s.settled("production", id), RolledBack, CodeRolledBack)
	s.sound(digest('a'))
}

func TestRestore(t *testing.T) {
	s := newStage(t)
	s.serves('a')
	s.target.stable, s.target.serving, s.target.token = nil, nil, 77
	s.run(s.engine)
	eventually(t, "it serves again", func() bool { return len(s.target.served()) > 0 })
	s.called("migrate", "complete")
	s.sound(digest('a'))
	if s.target.calls[1].Token != 77 {
		t.Errorf("token %d, want the highest that was seen", s.target.calls[1].Token)
	}
}

// TestRestoreThatFailsBlocksNothing: the next release may be what mends it.
func TestRestoreThatFailsBlocksNothing(t *testing.T) {
	s := newStage(t)
	s.serves('a')
	s.release(releaseRecord('b', func(r *ReleaseRecord) { r.Declarations.App.Migrate = nil }))
	s.target.stable, s.target.serving = nil, nil
	s.target.fail["migrate"] = target.ErrMigration
	s.expect(s.promote('b'), Succeeded, CodePass)
	s.sound(digest('b'))
}

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

func TestEngineEndsWithItsContext(t *testing.T) {
	s := newStage(t)
	s.serves('a')
	s.release(releaseRecord('b'))
	s.target.samples[digest('b')] = [2]int64{3, 0}
	s.ask("production", 'b')
	stop := s.run(s.engine)
	eventually(t, "the canary runs", func() bool { return slices.Contains(s.target.ops(), "canary") })
	stop()
	if a := s.view().Environment("production").Active; a == nil {
		t.Error("an interrupted promotion was ended, and nobody has withdrawn it")
	}
}

// TestResumeKeepsTheReason: killed between a withdrawal and the end of its
// promotion, why it was withdrawn is not forgotten.
func TestResumeKeepsTheReason(t *testing.T) {
	s := newStage(t)
	from := s.serves('a')
	record := s.release(releaseRecord('b'))
	tr := Transition{Request: s.ask("production", 'b'), Kind: Promote, Environment: "production", Record: record, Release: digest('b'), From: from}
	token, err := s.engine.begin(t.Context(), &tr)
	must(t, err)
	tr.Token = token
	for _, step := range []Step{Complete, Soak, Withdraw} {
		must(t, s.engine.record(t.Context(), &tr, step, "2 of its instances ended"))
	}
	s.run(s.engine)
	s.expect(s.settled("production", tr.Request), RolledBack, CodeRolledBack, "2 of its instances ended")
	s.called("withdraw")
	s.sound(digest('a'))
}
