package promotion

import (
	"errors"
	"slices"
	"testing"

	"github.com/smartcloudops/gate/pipeline/target"
)

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

func TestRestoreOfWhatAMeasurementLeft(t *testing.T) {
	s := newStage(t)
	s.serves('a')
	other := releaseRecord('b').Revision("production")
	s.target.stable = &other
	s.run(s.engine)
	eventually(t, "what is desired serves again", func() bool { return slices.Contains(s.target.ops(), "retire") })
	s.called("complete", "retire")
	s.sound(digest('a'))
}

func TestRestoreThatFailsBlocksNothing(t *testing.T) {
	s := newStage(t)
	s.serves('a')
	s.release(releaseRecord('b', func(r *ReleaseRecord) { r.Declarations.App.Migrate = nil }))
	s.target.stable, s.target.serving = nil, nil
	s.target.fail["migrate"] = target.ErrMigration
	s.expect(s.promote('b'), Succeeded, CodePass)
	s.sound(digest('b'))
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
