package promotion

import (
	"context"
	"errors"
	"fmt"

	"github.com/smartcloudops/gate/pipeline/target"
)

func (e *Engine) transition(v *View, r Request) Transition {
	t := Transition{
		Request: r.ID, Kind: Promote, Environment: e.Environment, Record: r.Record,
		Release: r.Release, Commit: r.Commit, By: r.By, From: v.Environment(e.Environment).Desired,
	}
	if r.Rollback {
		t.Kind = Rollback
	}
	return t
}

// carryOut takes a request to its end: refused, judged and found wanting, or
// promoted.
func (e *Engine) carryOut(ctx context.Context, v *View, r Request) error {
	if !r.Rollback {
		if err := e.Journal.Forward(); err != nil {
			return err
		}
		// Forward only by what everybody knows; back, nobody is asked.
		var err error
		if v, err = e.upToDate(ctx, v); err != nil || v.Environment(e.Environment).Consumed[r.ID] != nil || v.Environment(e.Environment).Active != nil {
			return err
		}
		r.Record = v.recordFor(e.Environment, r)
	}
	t := e.transition(v, r)
	if code, why := e.objection(v, r, t.Kind); why != "" {
		if code == CodeApproval {
			return nil // it waits
		}
		return e.end(ctx, t, Refused, code, why)
	}
	t.Override = v.overrideOf(r, e.Now())
	rec := v.Releases[r.Record]
	rev := rec.Revision(e.Environment)
	status, err := e.Target.Status(ctx)
	if err != nil {
		return e.end(ctx, t, Errored, CodeInternal, oneLine(err))
	}
	if status.Revision == rev.ID() && status.Canary == "" {
		return e.end(ctx, t, Succeeded, CodePass, "it serves already")
	}
	if e.unproved(v, status) && !rev.Environment.Database.Adopt {
		// Only once is an environment taken for new, and only by proof.
		return e.end(ctx, t, Failed, CodeFail, "this ledger has never served here, but the database is not known to be empty: name another, or declare database.adopt if its tables are the app's own")
	}
	if stopped, err := e.provide(ctx, t, rec); err != nil || stopped {
		return err
	}
	if t.Kind == Promote {
		d, err := e.judged(ctx, v, rec)
		if err != nil {
			return e.end(ctx, t, Errored, CodeInternal, oneLine(err))
		}
		if t.Decision, err = e.Journal.Decision(ctx, d); err != nil {
			return err
		}
		if !d.Decision.Verdict.Promotes() {
			return e.end(ctx, t, stateOf(d.Decision.Verdict), CodeOf(d.Decision.Verdict), Unmet(d.Decision))
		}
	}
	t.Token, err = e.begin(ctx, &t)
	if errors.Is(err, ErrLost) {
		return e.end(ctx, t, Refused, CodeLocked, oneLine(err))
	}
	if err != nil {
		return err
	}
	if t.Kind == Promote {
		if begun, err := e.publish(ctx, t); err != nil || !begun {
			return err
		}
	}
	return e.take(ctx, t, rec, status)
}

func (e *Engine) judged(ctx context.Context, v *View, rec *ReleaseRecord) (DecisionRecord, error) {
	if e.decide != nil {
		return e.decide(ctx, v, rec)
	}
	return e.Judge.Decide(ctx, v, rec, e.Environment, StageFor(rec.Declarations.Environment(e.Environment)))
}

// objection is why the request can't even be judged, "" if it can.
func (e *Engine) objection(v *View, r Request, kind Kind) (code int, why string) {
	rec, hold := v.Releases[r.Record], v.Environment(e.Environment).Hold
	switch {
	case r.Err != nil:
		return CodeUsage, oneLine(r.Err)
	case rec == nil:
		return CodeUsage, "the request names a release that the ledger does not know: build it with gate build"
	case rec.Declarations.Environment(e.Environment) == nil:
		return CodeUsage, fmt.Sprintf("commit %.12s does not declare the environment %s", rec.Commit, e.Environment)
	case kind == Promote && hold != nil:
		return CodeLocked, held(e.Environment, hold)
	case kind == Rollback:
		// It needs no decision, and must not be a way around it.
		why = v.NoWayBackTo(e.Environment, r.Record)
	default:
		if why = v.NoWayTo(e.Environment, r.Release); why == "" && v.ContractDue(e.Environment, rec) != nil {
			if _, ok := e.Target.(Contractor); !ok {
				why = errNoContracts.Error()
			}
		}
	}
	if why != "" {
		return CodeUsage, why
	}
	if kind == Promote {
		if code, why := v.Withheld(r, e.Journal.records().Trust(), e.Now()); code != 0 || e.Degraded == nil {
			return code, why
		}
		if why := v.heldBack(r, e.Degraded()); why != "" {
			return CodeLocked, why
		}
	}
	return 0, ""
}

func held(environment string, h *Hold) string {
	return fmt.Sprintf("held by %s: %s; lift it with gate unhold %s", h.By, h.Reason, environment)
}

// unproved says whether a first release would meet a database of somebody else.
// Once a promotion has begun here, its tables are the app's own.
func (e *Engine) unproved(v *View, s target.Status) bool {
	return s.Stable == "" && !s.Empty && !v.Environment(e.Environment).Begun()
}

// begin is where two promotions at once are told apart: whoever's entry is
// written while none is active has won, and its number fences the target.
func (e *Engine) begin(ctx context.Context, t *Transition) (int64, error) {
	t.Step, t.State, t.At = Begin, Running, e.Now().UTC()
	begun := *t
	return e.Journal.RecordIf(ctx, begun, func(v *View) error { return v.hinders(begun) })
}

// stopAsked is why a promotion under way must stop: somebody wants to go back.
// Empty, it goes on.
func (e *Engine) stopAsked(ctx context.Context) string {
	v, err := e.Journal.View(ctx)
	if err != nil {
		return ""
	}
	pending, err := e.Journal.Pending(ctx, v, e.Environment)
	if err != nil {
		return ""
	}
	for _, r := range pending {
		if _, why := e.objection(v, r, Rollback); r.Rollback && why == "" {
			return fmt.Sprintf("%s asked for a rollback to release %s", r.By, short(r.Release))
		}
	}
	return ""
}

// holdAsked is why a promotion under way must not go forward: somebody holds
// the environment. Empty, it may.
func (e *Engine) holdAsked(ctx context.Context) string {
	v, err := e.Journal.View(ctx)
	if err != nil {
		return ""
	}
	if h := v.Environment(e.Environment).Hold; h != nil {
		return held(e.Environment, h)
	}
	return ""
}

// refuse ends the requests that lost to the winner.
func (e *Engine) refuse(ctx context.Context, late []Request, winner Transition) error {
	if len(late) == 0 {
		return nil
	}
	v, err := e.Journal.View(ctx)
	if err != nil {
		return err
	}
	why := fmt.Sprintf("another request was first: %.12s by %s for release %s", winner.Request, winner.By, short(winner.Release))
	for _, r := range late {
		if r.ID == winner.Request || r.Rollback {
			continue // to go back is never too late
		}
		if err := e.end(ctx, e.transition(v, r), Refused, CodeLocked, why); err != nil {
			return err
		}
	}
	return nil
}
