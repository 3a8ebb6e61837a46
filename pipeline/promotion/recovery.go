package promotion

import (
	"context"
	"fmt"
)

// resume finishes or undoes a promotion that was left in the middle: by an
// earlier process, or by this one when it could not go on.
func (e *Engine) resume(ctx context.Context, v *View) error {
	ev := v.Environment(e.Environment)
	t, rec := *ev.Active, v.Releases[ev.Active.Record]
	if ev.Reached == Begin && t.Kind == Promote || ev.Reached == Migrate {
		return e.end(ctx, t, Aborted, CodeInternal, "gate was stopped before any traffic moved; ask again")
	}
	if t.Step == Withdraw {
		return e.withdraw(ctx, t, RolledBack, CodeRolledBack, t.Why)
	}
	revision := v.runs(e.Environment, t.Record)
	if revision == "" {
		return e.withdraw(ctx, t, Errored, CodeInternal, fmt.Sprintf("gate was stopped in the middle of the promotion, and its release record %s does not count any more", short(t.Record)))
	}
	if t.Kind == Rollback {
		// It was asked for to get away from something: it goes on.
		return e.complete(ctx, t, rec, nil, false)
	}
	status, err := e.Target.Status(ctx)
	if err != nil {
		return fmt.Errorf("%s: finish what was interrupted: %w", e.Environment, err)
	}
	// Where the release has the traffic, it was given it by a verdict; where it
	// has lost it again, or never had it, that stands.
	switch ev.Reached {
	case Complete, Soak, Retire:
		if status.Revision == revision && status.Canary == "" {
			return e.finish(ctx, t, rec, nil, status.Warm != "" && ev.Reached != Retire)
		}
	}
	return e.withdraw(ctx, t, RolledBack, CodeRolledBack, "gate was stopped in the middle of the promotion")
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
		return nil
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
