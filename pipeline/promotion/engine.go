package promotion

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/policies"
)

// Exit codes that an ended promotion hands to whoever asked for it.
const (
	CodePass         = 0
	CodeInternal     = 1
	CodeUsage        = 2
	CodeFail         = 3
	CodeInconclusive = 4
	CodeApproval     = 5
	CodeLocked       = 6
	CodeRolledBack   = 7
)

// CodeOf is the exit code for a verdict.
func CodeOf(v policies.Verdict) int {
	switch v {
	case policies.Pass, policies.Warn:
		return CodePass
	case policies.Fail:
		return CodeFail
	case policies.Inconclusive:
		return CodeInconclusive
	}
	return CodeInternal
}

// Prober sends a declared synthetic request to one side of a canary, "stable"
// or "canary". A target offers it or not; without it an idle environment can't
// decide.
type Prober interface {
	Probe(ctx context.Context, arm, method, path, body string, headers map[string]string) error
}

// Engine is the one executor of an environment.
type Engine struct {
	Environment string
	Journal     *Journal
	Judge       *Judge
	Target      target.Target
	Log         *slog.Logger
	Now         func() time.Time
	// Tick is how often the ledger is looked at, and a canary compared.
	Tick time.Duration
	// Poke asks for a look at once.
	Poke <-chan struct{}
}

// Run carries out requests until ctx ends. A promotion that ctx interrupts is
// finished or undone by the next Run.
func (e *Engine) Run(ctx context.Context) error {
	if err := e.recover(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("%s: finish what was interrupted: %w", e.Environment, err)
	}
	tick := time.NewTicker(e.Tick)
	defer tick.Stop()
	said := ""
	for {
		err := e.once(ctx)
		if ctx.Err() != nil {
			return nil
		}
		// The same trouble is said once, not twice a second.
		if now := fmt.Sprint(err); err != nil && now != said {
			e.Log.Error("requests can't be carried out", "environment", e.Environment, "error", err)
			said = now
		} else if err == nil {
			said = ""
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-e.Poke:
		}
	}
}

// once takes the oldest request that nobody has consumed.
func (e *Engine) once(ctx context.Context) error {
	v, err := e.Journal.View(ctx)
	if err != nil {
		return err
	}
	pending, err := e.Journal.Pending(ctx, v, e.Environment)
	if err != nil || len(pending) == 0 {
		return err
	}
	first := pending[0]
	if err := e.carryOut(ctx, v, first); err != nil {
		return err
	}
	return e.refuseLate(ctx, first)
}

// refuseLate refuses what was asked while the winner was under way: it was
// judged against a world that is gone.
func (e *Engine) refuseLate(ctx context.Context, winner Request) error {
	v, err := e.Journal.View(ctx)
	if err != nil {
		return err
	}
	end := v.Environment(e.Environment).Consumed[winner.ID]
	pending, err := e.Journal.Pending(ctx, v, e.Environment)
	if err != nil || end == nil {
		return err
	}
	for _, late := range pending {
		if late.At.After(end.At) {
			continue
		}
		why := fmt.Sprintf("another request was first: %.12s by %s for release %s", winner.ID, winner.By, short(winner.Release))
		if err := e.end(ctx, e.transition(v, late), Refused, CodeLocked, why); err != nil {
			return err
		}
	}
	return nil
}

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

func (e *Engine) carryOut(ctx context.Context, v *View, r Request) error {
	t := e.transition(v, r)
	ev := v.Environment(e.Environment)
	rec := v.Releases[r.Record]
	switch {
	case r.Err != nil:
		return e.end(ctx, t, Refused, CodeUsage, oneLine(r.Err))
	case rec == nil:
		return e.end(ctx, t, Refused, CodeUsage, "the request names a release that the ledger does not know: build it with gate build")
	case rec.Declarations.Environment(e.Environment) == nil:
		return e.end(ctx, t, Refused, CodeUsage, fmt.Sprintf("commit %.12s does not declare the environment %s", rec.Commit, e.Environment))
	case ev.Hold != nil && t.Kind == Promote:
		return e.end(ctx, t, Refused, CodeLocked, fmt.Sprintf("held by %s: %s; lift it with gate unhold %s", ev.Hold.By, ev.Hold.Reason, e.Environment))
	}
	rev := rec.Revision(e.Environment)
	status, err := e.Target.Status(ctx)
	if err != nil {
		return e.end(ctx, t, Errored, CodeInternal, oneLine(err))
	}
	if status.Revision == rev.ID() && status.Canary == "" {
		return e.end(ctx, t, Succeeded, CodePass, "it serves already")
	}
	if status.Stable == "" && ev.Desired == "" && len(ev.History) == 0 && !status.Empty && !rev.Environment.Database.Adopt {
		// Only once is an environment taken for new, and only by proof.
		return e.end(ctx, t, Failed, CodeFail, "this ledger has never served here, but the database is not known to be empty: name another, or declare database.adopt if its tables are the app's own")
	}
	if t.Kind == Promote {
		stage := StageFor(rev.Environment)
		d, err := e.Judge.Decide(ctx, v, rec, e.Environment, stage)
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
	token, err := e.begin(ctx, &t)
	if err != nil {
		if errors.Is(err, ErrLost) {
			return e.end(ctx, t, Refused, CodeLocked, oneLine(err))
		}
		return err
	}
	t.Token = token
	return e.take(ctx, t, rec, status)
}

// begin is where two promotions at once are told apart: whoever's entry is
// written while none is active has won, and its number fences the target.
func (e *Engine) begin(ctx context.Context, t *Transition) (int64, error) {
	t.Step, t.State, t.At = Begin, Running, e.Now().UTC()
	from := t.From
	return e.Journal.RecordIf(ctx, *t, func(v *View) error {
		ev := v.Environment(e.Environment)
		if a := ev.Active; a != nil {
			return fmt.Errorf("request %.12s by %s for release %s is under way", a.Request, a.By, short(a.Release))
		}
		if ev.Desired != from {
			return fmt.Errorf("%s has changed since this was judged", e.Environment)
		}
		return nil
	})
}

// take goes through the steps of a promotion that has begun.
func (e *Engine) take(ctx context.Context, t Transition, rec *ReleaseRecord, before target.Status) error {
	rev := rec.Revision(e.Environment)
	runtimeHasMigrations := rec.Declarations.App.Migrate != nil && t.Kind == Promote
	if runtimeHasMigrations {
		if err := e.record(ctx, &t, Migrate, ""); err != nil {
			return err
		}
		if err := e.Target.Migrate(ctx, t.Token, rev); err != nil {
			return e.failed(ctx, t, err, "the database is as before and the old release serves on")
		}
	}
	canary := rev.Environment.Promotion.Canary
	var baseline *target.Arm
	if before.Stable != "" && canary != nil && t.Kind == Promote {
		ended, arm, err := e.canary(ctx, &t, rec, rev)
		if err != nil || ended {
			return err
		}
		baseline = arm
	}
	if err := e.record(ctx, &t, Complete, ""); err != nil {
		return err
	}
	if err := e.Target.Complete(ctx, t.Token, rev); err != nil {
		return e.withdraw(ctx, t, Failed, CodeFail, oneLine(err))
	}
	if soak := rev.Environment.Promotion.Soak.D(); soak > 0 && before.Stable != "" {
		if err := e.record(ctx, &t, Soak, ""); err != nil {
			return err
		}
		why, err := e.soak(ctx, rec, soak, baseline)
		if err != nil {
			return err
		}
		if why != "" {
			return e.withdraw(ctx, t, RolledBack, CodeRolledBack, why)
		}
	}
	if err := e.record(ctx, &t, Retire, ""); err != nil {
		return err
	}
	if err := e.Target.Retire(ctx, t.Token); err != nil {
		e.Log.Warn("the previous release's instances did not stop", "error", err)
	}
	return e.end(ctx, t, Succeeded, CodePass, "")
}

// failed ends a promotion that has not touched the traffic.
func (e *Engine) failed(ctx context.Context, t Transition, err error, state string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, target.ErrMigration) || errors.Is(err, target.ErrNotReady) {
		return e.end(ctx, t, Failed, CodeFail, oneLine(err)+"; "+state)
	}
	return e.end(ctx, t, Errored, CodeInternal, oneLine(err)+"; "+state)
}

// withdraw gives the traffic back, and only then writes why.
func (e *Engine) withdraw(ctx context.Context, t Transition, state State, code int, why string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	verdict := e.Now()
	err := e.Target.Withdraw(ctx, t.Token)
	took := e.Now().Sub(verdict)
	if err != nil {
		// Not ended: the traffic may still be where it must not be, and the next
		// Run tries again.
		return fmt.Errorf("withdraw release %s from %s: %w", short(t.Release), e.Environment, err)
	}
	if err := e.record(ctx, &t, Withdraw, why); err != nil {
		return err
	}
	return e.end(ctx, t, state, code, fmt.Sprintf("%s; all traffic was back %s after the verdict", why, took.Round(time.Millisecond)))
}

func (e *Engine) record(ctx context.Context, t *Transition, s Step, why string) error {
	t.Step, t.State, t.Why, t.At = s, Running, why, e.Now().UTC()
	e.Log.Info("promotion", "environment", e.Environment, "step", s, "release", short(t.Release), "why", why)
	_, err := e.Journal.Record(ctx, *t)
	return err
}

func (e *Engine) end(ctx context.Context, t Transition, s State, code int, why string) error {
	t.Step, t.State, t.Code, t.Why, t.At = End, s, code, why, e.Now().UTC()
	e.Log.Info("promotion ended", "environment", e.Environment, "state", s, "release", short(t.Release), "why", why)
	_, err := e.Journal.Record(ctx, t)
	return err
}

// recover finishes or undoes what an earlier process left in the middle.
func (e *Engine) recover(ctx context.Context) error {
	v, err := e.Journal.View(ctx)
	if err != nil {
		return err
	}
	ev := v.Environment(e.Environment)
	if ev.Active == nil {
		return e.restore(ctx, v)
	}
	t := *ev.Active
	rec := v.Releases[t.Record]
	if rec == nil {
		return fmt.Errorf("request %.12s is under way, and its release record %s is missing", t.Request, short(t.Record))
	}
	switch ev.Reached {
	case Begin, Migrate:
		return e.end(ctx, t, Aborted, CodeInternal, "gate was stopped before any traffic moved; ask again")
	case Soak, Retire:
		if err := e.Target.Complete(ctx, t.Token, rec.Revision(e.Environment)); err != nil {
			return e.withdraw(ctx, t, RolledBack, CodeRolledBack, oneLine(err))
		}
		if err := e.Target.Retire(ctx, t.Token); err != nil {
			return err
		}
		return e.end(ctx, t, Succeeded, CodePass, "finished after an interruption")
	default:
		return e.withdraw(ctx, t, RolledBack, CodeRolledBack, "gate was stopped in the middle of the promotion")
	}
}

// restore brings back what is desired where the target has lost it.
func (e *Engine) restore(ctx context.Context, v *View) error {
	desired := v.Releases[v.Environment(e.Environment).Desired]
	if desired == nil {
		return nil
	}
	s, err := e.Target.Status(ctx)
	if err != nil || s.Revision != "" {
		return err
	}
	rev := desired.Revision(e.Environment)
	if desired.Declarations.App.Migrate != nil {
		if err := e.Target.Migrate(ctx, s.Token, rev); err != nil {
			return err
		}
	}
	return e.Target.Complete(ctx, s.Token, rev)
}

func stateOf(v policies.Verdict) State {
	switch v {
	case policies.Fail:
		return Failed
	case policies.Inconclusive:
		return Aborted
	}
	return Errored
}

// Unmet says in one line which criteria did not hold.
func Unmet(d policies.Decision) string {
	var s []string
	for _, c := range d.Criteria {
		if !c.Verdict.Promotes() {
			s = append(s, fmt.Sprintf("%s %s (%s)", c.ID, c.Verdict, c.Why))
		}
	}
	if len(s) == 0 {
		return fmt.Sprintf("the decision is %s", d.Verdict)
	}
	return strings.Join(s, "; ")
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

func short(digest string) string {
	if _, hex, ok := strings.Cut(digest, ":"); ok {
		digest = hex
	}
	return fmt.Sprintf("%.12s", digest)
}
