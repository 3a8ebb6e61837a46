package promotion

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/target"
)

// Prober sends a declared synthetic request to one side of a canary, "stable",
// "baseline" or "canary". A target offers it or not; without it an idle environment can't
// decide.
type Prober interface {
	// Probe sends the request as it stands. An answer that is not the endpoint's
	// declared one, or comes too late, counts as an error of the arm.
	Probe(ctx context.Context, arm string, request environments.Endpoint) error
}

// maxPause is how long the engine at most waits after trouble, before it tries
// again. Whoever wants it sooner pokes.
const maxPause = 10 * time.Second

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
	// Provide sees to it that the release is where the target takes it from; nil:
	// it always is.
	Provide func(ctx context.Context, rec *ReleaseRecord) error
	// Refresh brings up to date what the judge looks at beside the ledger, before a
	// request that goes forward; nil: there is nothing.
	Refresh func(ctx context.Context) error
	// Current fails where policies or trust are no longer those that this engine
	// judges by: then nothing goes forward; nil: they always are.
	Current func(ctx context.Context) error
	// Claim takes the environment over from an executor elsewhere, and ends what
	// that has left unfinished. It must be gone for good.
	Claim bool
	// Degraded is why what serves is degraded, as far as is known; nil: nobody looks.
	Degraded func() []Reason

	again atomic.Bool // somebody has seen that the target lost what is desired

	inputsEvery time.Duration // between two measurements of an input; 0: inputsEvery

	restored bool // the target was seen to serve what is desired, or made to
	mending  bool // what is desired is to be brought back, unless somebody holds the environment
	back     *withdrawal

	// Stand in for Judge where promotions are simulated; nil: nothing does.
	decide  func(ctx context.Context, v *View, rec *ReleaseRecord) (DecisionRecord, error)
	compare func(ctx context.Context, rec *ReleaseRecord, round int, arms target.Arms) (DecisionRecord, error)
}

// Run carries out requests until ctx ends. A promotion that ctx, or anything
// else, interrupts is finished or undone before the next request is looked at.
// Trouble never ends it: the environment serves beside it and must go on.
func (e *Engine) Run(ctx context.Context) error {
	said, pause := "", e.Tick
	for {
		err := e.once(ctx)
		if ctx.Err() != nil {
			e.farewell(context.WithoutCancel(ctx))
			return nil
		}
		// The same trouble is said once, not twice a second.
		if now := fmt.Sprint(err); err != nil && now != said {
			e.Log.Error("requests can't be carried out", "environment", e.Environment, "error", err)
			said = now
		} else if err == nil {
			said = ""
		}
		pause = min(2*pause, maxPause)
		if err == nil {
			pause = e.Tick
		}
		select {
		case <-ctx.Done():
			e.farewell(context.WithoutCancel(ctx))
			return nil
		case <-time.After(pause):
		case <-e.Poke:
		}
	}
}

// once brings to its end what was interrupted, or else takes the next request
// that nobody has consumed.
func (e *Engine) once(ctx context.Context) error {
	v, err := e.Journal.View(ctx)
	if err != nil {
		return err
	}
	if v, err = e.mine(ctx, v); err != nil {
		return err
	}
	if v.Environment(e.Environment).Active != nil {
		return e.resume(ctx, v)
	}
	if e.again.Swap(false) {
		e.mending = true
	}
	if r, ok := e.wayBack(ctx, v); ok {
		return e.carryOut(ctx, v, r)
	}
	var lost error
	// Whoever holds an environment stops what goes by itself.
	if !e.restored || e.mending && v.Environment(e.Environment).Hold == nil {
		lost = e.restore(ctx, v)
		e.restored = e.restored || lost == nil
		e.mending = e.mending && lost != nil
	}
	pending, err := e.Journal.Pending(ctx, v, e.Environment)
	if err != nil {
		return err
	}
	if len(pending) == 0 {
		return errors.Join(lost, e.settle(ctx, v))
	}
	// Also where what is desired can't be brought back: the request may be the
	// one that mends it.
	r, ok := e.next(v, pending)
	if !ok {
		return lost // every one of them waits for approval
	}
	if e.Current != nil && !r.Rollback {
		if err := e.Current(ctx); err != nil {
			return errors.Join(lost, err)
		}
	}
	return e.carryOut(ctx, v, r)
}

// wayBack is a request to go back that need not wait until what is desired is
// brought back. Where nothing serves at all that comes first: what is gone back to
// finds its database by it.
func (e *Engine) wayBack(ctx context.Context, v *View) (Request, bool) {
	if e.restored && !e.mending {
		return Request{}, false // nothing stands before it
	}
	pending, err := e.Journal.Pending(ctx, v, e.Environment)
	if err != nil {
		return Request{}, false // found again, and told
	}
	r, ok := e.next(v, pending)
	if !ok || !r.Rollback {
		return Request{}, false
	}
	s, err := e.Target.Status(ctx)
	return r, err == nil && s.Revision != ""
}

// next is the oldest request, but one that goes back is never kept waiting by
// one that goes forward, nor any by one that waits for approval.
func (e *Engine) next(v *View, pending []Request) (Request, bool) {
	for _, r := range pending {
		if _, why := e.objection(v, r, Rollback); r.Rollback && why == "" {
			return r, true
		}
	}
	for _, r := range pending {
		if e.Journal.Waits(v, r) == "" {
			return r, true
		}
	}
	return Request{}, false
}

// Reconcile has the engine bring back what is desired.
func (e *Engine) Reconcile() { e.again.Store(true) }

// take goes through the steps of a promotion that has begun.
func (e *Engine) take(ctx context.Context, t Transition, rec *ReleaseRecord, before target.Status) error {
	rev := rec.Revision(e.Environment)
	if before.Warm != "" {
		// Left over from an earlier promotion: a withdrawal would go back to it.
		if err := e.Target.Retire(ctx, t.Token); err != nil {
			return e.failed(ctx, t, err)
		}
	}
	if stop, err := e.overdue(ctx, &t); stop || err != nil {
		return err
	}
	if t.Kind == Promote && rec.Declarations.App.Migrate != nil {
		if err := e.record(ctx, &t, Migrate, ""); err != nil {
			return err
		}
		if err := e.Target.Migrate(ctx, t.Token, rev); err != nil {
			return e.failed(ctx, t, err)
		}
	}
	if before.Stable != "" && t.Kind == Promote {
		ended, arm, err := e.canary(ctx, &t, rec, rev)
		if err != nil || ended {
			return err
		}
		if arm != nil {
			arm.Histogram = "" // it is too long for a record
			t.Baseline = arm
		}
	}
	return e.complete(ctx, t, rec, before.Stable != "")
}

// complete gives the release all traffic. behind: another one served before,
// which can be gone back to.
func (e *Engine) complete(ctx context.Context, t Transition, rec *ReleaseRecord, behind bool) error {
	if err := e.record(ctx, &t, Complete, ""); err != nil {
		return err
	}
	why, err := "", error(nil)
	if do := func(ctx context.Context) error { return e.Target.Complete(ctx, t.Token, rec.Revision(e.Environment)) }; t.Kind == Rollback {
		err = do(ctx)
	} else if why, err = e.unlessStopped(ctx, do); why != "" {
		return e.withdraw(ctx, t, Aborted, CodeLocked, why)
	}
	if err != nil {
		there := false
		if t.Kind == Rollback {
			// Nobody wants to go back to what it flees from. What was said may be about
			// the answer alone.
			s, serr := e.Target.Status(ctx)
			if serr != nil {
				return errors.Join(err, serr)
			}
			there = s.Revision == rec.Revision(e.Environment).ID() && s.Canary == ""
		}
		if !there {
			state, code := broken(err)
			return e.withdraw(ctx, t, state, code, oneLine(err))
		}
		e.Log.Warn("it serves, whatever the target says", "environment", e.Environment, "release", short(t.Release), "error", err)
	}
	return e.finish(ctx, t, rec, behind)
}

// finish watches a release that has all traffic, and lets go of the one before.
// A rollback is not watched: what it fled from is nothing to go back to.
func (e *Engine) finish(ctx context.Context, t Transition, rec *ReleaseRecord, behind bool) error {
	soak := rec.Revision(e.Environment).Environment.Promotion.Soak.D()
	if soak > 0 && behind && t.Kind == Promote {
		if err := e.record(ctx, &t, Soak, ""); err != nil {
			return err
		}
		back, d, err := e.soak(ctx, rec, soak, t.Baseline)
		if err != nil {
			return err
		}
		if d != nil {
			t.Decision = d.Decision.ID
		}
		if back != nil {
			err := e.withdraw(ctx, t, back.state, back.code, back.why)
			if d == nil {
				return err
			}
			_, derr := e.Journal.Decision(ctx, *d)
			return errors.Join(err, derr)
		}
	}
	t.Baseline = nil
	if err := e.record(ctx, &t, Retire, ""); err != nil {
		return err
	}
	if err := e.Target.Retire(ctx, t.Token); err != nil {
		e.Log.Warn("the previous release's instances did not stop", "error", err)
		e.restored = false // looked after once this has ended
	}
	return e.contract(ctx, t, rec)
}

// failed ends a promotion that has not touched the traffic.
func (e *Engine) failed(ctx context.Context, t Transition, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	state, code := broken(err)
	return e.end(ctx, t, state, code, oneLine(err)+"; what served before serves on")
}

// withdrawal is one that has been decided. It is kept until it is on record:
// neither a target that does not answer nor a full disk makes it forgotten.
type withdrawal struct {
	token    int64
	state    State
	code     int
	why      string
	decision string
	since    time.Time
}

// withdraw gives the traffic back, and only then writes why.
func (e *Engine) withdraw(ctx context.Context, t Transition, state State, code int, why string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if e.back == nil || e.back.token != t.Token {
		e.back = &withdrawal{t.Token, state, code, why, t.Decision, time.Now()}
	}
	err := e.Target.Withdraw(ctx, t.Token)
	// By the clock that nobody sets.
	took := time.Since(e.back.since)
	if err != nil {
		// Not ended: the traffic may still be where it must not be, and it is
		// tried again.
		return fmt.Errorf("withdraw release %s from %s: %w", short(t.Release), e.Environment, err)
	}
	if there, rec, err := e.nothingBehind(ctx, t); err != nil {
		return err
	} else if there {
		e.back = nil
		return e.finish(ctx, t, rec, false)
	}
	t.Ending, t.Code, t.Baseline = state, code, nil
	if err := e.record(ctx, &t, Withdraw, why); err != nil {
		return err
	}
	return e.end(ctx, t, state, code, fmt.Sprintf("%s; all traffic was back %s after the verdict", why, took.Round(time.Millisecond)))
}

// nothingBehind says whether a first release serves after all, and so stays: what
// was to be undone had come to its end meanwhile, and nothing is to go back to.
func (e *Engine) nothingBehind(ctx context.Context, t Transition) (there bool, rec *ReleaseRecord, err error) {
	if t.From != "" {
		return false, nil, nil
	}
	v, err := e.Journal.View(ctx)
	if err != nil {
		return false, nil, err
	}
	if rec = v.Releases[t.Record]; rec == nil {
		return false, nil, nil
	}
	s, err := e.Target.Status(ctx)
	return s.Revision == rec.Revision(e.Environment).ID(), rec, err
}

func (e *Engine) record(ctx context.Context, t *Transition, s Step, why string) error {
	t.Step, t.State, t.Why, t.At = s, Running, why, e.Now().UTC()
	e.Log.Info("promotion", "environment", e.Environment, "step", s, "release", short(t.Release), "why", why)
	_, err := e.Journal.RecordIf(ctx, *t, func(v *View) error {
		// It may have been claimed by somebody who took this one for dead.
		if a := v.Environment(e.Environment).Active; a == nil || a.Request != t.Request || a.Token != t.Token {
			return fmt.Errorf("the promotion of release %s by request %.12s is not under way any more", short(t.Release), t.Request)
		}
		return nil
	})
	if errors.Is(err, ErrLost) {
		return errors.Join(err, e.letGo(ctx, *t))
	}
	return err
}

// letGo gives the traffic back after the promotion has lost. What must serve now
// the ledger says.
func (e *Engine) letGo(ctx context.Context, t Transition) error {
	e.restored = false
	return e.Target.Withdraw(ctx, t.Token)
}

// end writes how the promotion ended. Requests that came while it was under way
// were made for a world that is gone, and are refused.
func (e *Engine) end(ctx context.Context, t Transition, s State, code int, why string) error {
	var late []Request
	if t.Token != 0 {
		// Looked for before the end is on record, so that a request of somebody
		// who has seen the end is not among them.
		v, err := e.Journal.View(ctx)
		if err != nil {
			return err
		}
		if late, err = e.Journal.Pending(ctx, v, e.Environment); err != nil {
			return err
		}
	}
	t.Step, t.State, t.Code, t.Why, t.At = End, s, code, why, e.Now().UTC()
	e.Log.Info("promotion ended", "environment", e.Environment, "state", s, "release", short(t.Release), "why", why)
	if _, err := e.Journal.Record(ctx, t); err != nil {
		return err
	}
	return e.refuse(ctx, late, t)
}
