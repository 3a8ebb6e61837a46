package promotion

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/target"
)

func TestServesAlready(t *testing.T) {
	s := newStage(t)
	s.serves('a')
	s.expect(s.promote('a'), Succeeded, CodePass, "it serves already")
	s.called()
	s.sound(digest('a'))
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
				// That b is what is desired by this record is nothing to bring back here.
				s.engine.restored = true
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

func TestAskingAgainProvesNothing(t *testing.T) {
	s := newStage(t)
	s.release(releaseRecord('a'))
	s.target.notEmpty = true
	s.expect(s.promote('a'), Failed, CodeFail, "not known to be empty")
	s.expect(s.settled("production", s.ask("production", 'a')), Failed, CodeFail, "not known to be empty")
	s.called()
}

func TestFirstReleaseMayTryAgain(t *testing.T) {
	s := newStage(t)
	s.release(releaseRecord('a'))
	s.target.fail["complete"] = target.ErrNotReady
	s.expect(s.promote('a'), Failed, CodeFail, "not ready")
	_ = s.target.locked(func() error { delete(s.target.fail, "complete"); return nil })
	s.expect(s.settled("production", s.ask("production", 'a')), Succeeded, CodePass)
	s.sound(digest('a'))
}

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
