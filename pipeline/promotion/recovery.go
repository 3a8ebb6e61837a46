package promotion

import (
	"context"
	"fmt"
	"time"
)

// resume finishes or undoes a promotion that was left in the middle: by an
// earlier process, or by this one when it could not go on.
func (e *Engine) resume(ctx context.Context, v *View) error {
	ev := v.Environment(e.Environment)
	t, rec := *ev.Active, v.Releases[ev.Active.Record]
	if b := e.back; b != nil && b.token == t.Token {
		t.Decision = b.decision
		return e.withdraw(ctx, t, b.state, b.code, b.why)
	}
	if t.Step == Withdraw {
		if t.Ending == "" {
			t.Ending, t.Code = RolledBack, CodeRolledBack
		}
		return e.withdraw(ctx, t, t.Ending, t.Code, t.Why)
	}
	if ev.Reached == Contract && t.Overdue {
		t.ContractFailed = true // it may have been: it is tried again
	}
	if !ev.touched() {
		return e.end(ctx, t, Aborted, CodeInternal, "gate was stopped before any traffic moved; ask again")
	}
	revision := v.runs(e.Environment, t.Record)
	if revision == "" {
		return e.withdraw(ctx, t, Errored, CodeInternal, fmt.Sprintf("gate was stopped in the middle of the promotion, and its release record %s does not count any more", short(t.Record)))
	}
	if t.Kind == Rollback {
		// It was asked for to get away from something: it goes on.
		return e.complete(ctx, t, rec, false)
	}
	status, err := e.Target.Status(ctx)
	if err != nil {
		return fmt.Errorf("%s: finish what was interrupted: %w", e.Environment, err)
	}
	// Where the release has the traffic, it was given it by a verdict; where it
	// has lost it again, or never had it, that stands.
	serves := status.Revision == revision && status.Canary == ""
	switch ev.Reached {
	case Contract:
		// There is no way back.
		return e.complete(ctx, t, rec, false)
	case Complete, Soak, Retire:
		if serves {
			return e.finish(ctx, t, rec, status.Warm != "" && ev.Reached != Retire)
		}
	}
	const why = "gate was stopped in the middle of the promotion"
	if ev.Reached == Soak || ev.Reached == Retire {
		// It had the traffic. That was taken from it, and why is not on record.
		return e.withdraw(ctx, t, RolledBack, CodeRolledBack, why)
	}
	return e.withdraw(ctx, t, Aborted, CodeInternal, why+"; ask again")
}

// touched says whether traffic may have moved.
func (ev *EnvironmentView) touched() bool {
	switch ev.Reached {
	case Begin:
		return ev.Active.Kind == Rollback
	case Migrate:
		return false
	case Contract:
		return !ev.Active.Overdue
	}
	return true
}

// Fate is what becomes of the promotion under way if nobody goes on with it now:
// the next one who does, does this.
func (ev *EnvironmentView) Fate() string {
	switch ev.Reached {
	case Complete, Soak, Retire, Contract:
		if ev.Active.Step != Withdraw {
			return "finished if the release has all traffic, else undone"
		}
	case Begin:
		if ev.Active.Kind == Rollback {
			return "finished"
		}
	}
	return "undone"
}

// farewell says what is left of a promotion when the engine is stopped.
func (e *Engine) farewell(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	v, err := e.Journal.View(ctx)
	if err != nil {
		return
	}
	if ev := v.Environment(e.Environment); ev.Active != nil {
		e.Log.Warn("stopped in the middle of a promotion", "environment", e.Environment, "release", short(ev.Active.Release), "step", ev.Reached,
			"will be", ev.Fate(), "by", "gate resume "+e.Environment+", or the daemon's next start")
	}
}

// restore brings back what is desired where the target has lost it, or was left
// with something else in the middle of a measurement.
func (e *Engine) restore(ctx context.Context, v *View) error {
	desired := v.Releases[v.Environment(e.Environment).Desired]
	if desired == nil {
		return nil
	}
	s, err := e.Target.Status(ctx)
	if err != nil {
		return fmt.Errorf("bring back what is desired in %s: %w", e.Environment, err)
	}
	rev := desired.Revision(e.Environment)
	if s.Revision == rev.ID() {
		if s.Warm == "" {
			return nil
		}
		return e.Target.Retire(ctx, s.Token)
	}
	if e.Provide != nil {
		if err := e.Provide(ctx, desired); err != nil {
			return fmt.Errorf("bring back release %s in %s: %w", short(rev.Release), e.Environment, err)
		}
	}
	if s.Revision == "" && desired.Declarations.App.Migrate != nil {
		if err := e.Target.Migrate(ctx, s.Token, rev); err != nil {
			return fmt.Errorf("bring back release %s in %s: %w", short(rev.Release), e.Environment, err)
		}
	}
	if err := e.Target.Complete(ctx, s.Token, rev); err != nil {
		return fmt.Errorf("bring back release %s in %s: %w", short(rev.Release), e.Environment, err)
	}
	if s.Revision == "" {
		return nil
	}
	return e.Target.Retire(ctx, s.Token)
}
