package promotion

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/smartcloudops/gate/pipeline/ledger"
)

// ErrElsewhere: the environment is executed by somebody else.
var ErrElsewhere = errors.New("executed elsewhere")

// ErrUntrusted: what this machine would record does not count.
var ErrUntrusted = errors.New("this machine may not execute")

// machine is one with a key of its own.
type machine interface {
	Own() string
	TrustedFor(signers []string, action, environment string) bool
}

// Executes fails unless the machine may execute in the environment and is the
// one that does: by its key, or because its target has seen token, that of the
// newest promotion. Nobody executes yet where none has begun.
//
// Errors: ErrUntrusted, ErrElsewhere.
func (v *View) Executes(l machine, environment string, token int64) error {
	own := []string{l.Own()}
	if !l.TrustedFor(own, ledger.Daemon, environment) && !l.TrustedFor(own, ledger.Promote, environment) {
		return fmt.Errorf("%w in %s: its key %s is not listed for that: add it to environments/trust.yaml with may: [daemon]", ErrUntrusted, environment, l.Own())
	}
	e := v.Environment(environment)
	if len(e.Executor) == 0 || slices.Contains(e.Executor, l.Own()) || token != 0 && token == e.Token {
		return nil
	}
	return fmt.Errorf("%w: %s belongs to the daemon with key %s: ask it with --remote, or take it over with gate serve %s --claim once that daemon is gone for good", ErrElsewhere, environment, e.Executor[0], environment)
}

// mine fails unless the engine is the environment's one executor. With Claim it
// becomes that: what was left unfinished elsewhere is ended first.
func (e *Engine) mine(ctx context.Context, v *View) (*View, error) {
	l := e.Journal.records()
	err := v.Executes(l, e.Environment, 0)
	if errors.Is(err, ErrElsewhere) {
		s, serr := e.Target.Status(ctx)
		if serr != nil {
			return v, errors.Join(err, serr)
		}
		err = v.Executes(l, e.Environment, s.Token)
	}
	if !errors.Is(err, ErrElsewhere) || !e.Claim {
		return v, err
	}
	if a := v.Environment(e.Environment).Active; a != nil {
		t := *a
		t.Step, t.State, t.Code, t.At = End, Aborted, CodeInternal, e.Now().UTC()
		t.Why = "the executor that began it is gone; another has taken over"
		t.ContractFailed = t.Contract != "" // for all that is known: it is tried again
		if _, err := e.Journal.Record(ctx, t); err != nil {
			return v, err
		}
	}
	t := Transition{Environment: e.Environment, Step: Claim, State: Succeeded, At: e.Now().UTC(), Why: err.Error()}
	if _, err := e.Journal.Record(ctx, t); err != nil {
		return v, err
	}
	e.Log.Warn("environment taken over", "environment", e.Environment)
	return e.Journal.View(ctx)
}

// upToDate is the view after a sync. Without a remote that is v.
func (e *Engine) upToDate(ctx context.Context, v *View) (*View, error) {
	if e.Journal.records().Remote() == "" {
		return v, nil
	}
	why, err := e.unlessStopped(ctx, func(ctx context.Context) error {
		if _, err := e.Journal.Sync(ctx); err != nil || e.Refresh == nil {
			return err
		}
		if err := e.Refresh(ctx); err != nil {
			// Whether it matters, the judge says.
			e.Log.Warn("what is judged by is not up to date", "environment", e.Environment, "error", err)
		}
		return nil
	})
	if why != "" {
		err = errors.New(why)
	}
	if err != nil {
		return v, fmt.Errorf("nothing goes forward in %s before the ledger's remote knows of it: %w", e.Environment, err)
	}
	return e.Journal.View(ctx)
}

// publish brings the beginning of a promotion to the remote, before its first
// step: from then on it can't lose any more, and its token is what everybody
// knows. begun is false when it has ended instead.
func (e *Engine) publish(ctx context.Context, t Transition) (begun bool, err error) {
	if e.Journal.records().Remote() == "" {
		return true, nil
	}
	why, err := e.unlessStopped(ctx, func(ctx context.Context) error {
		_, err := e.Journal.Sync(ctx)
		return err
	})
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	v, verr := e.Journal.View(ctx)
	if verr != nil {
		return false, verr
	}
	ev := v.Environment(e.Environment)
	if ev.Active == nil || ev.Active.Request != t.Request || ev.Active.Token != t.Token {
		// The sync has recorded why.
		e.Log.Info("promotion has lost", "environment", e.Environment, "release", short(t.Release))
		return false, nil
	}
	switch {
	case why != "":
		return false, e.end(ctx, t, Aborted, CodeLocked, why+"; nothing was touched")
	case err != nil:
		return false, e.end(ctx, t, Errored, CodeInternal, "its beginning did not reach the ledger's remote: "+oneLine(err)+"; nothing was touched, ask again")
	}
	return true, nil
}

// provide has the release brought to where the target takes it from; a rollback
// that somebody asks for meanwhile does not wait for that.
func (e *Engine) provide(ctx context.Context, t Transition, rec *ReleaseRecord) (stopped bool, err error) {
	if e.Provide == nil {
		return false, nil
	}
	do := func(ctx context.Context) error { return e.Provide(ctx, rec) }
	why := ""
	if t.Kind == Rollback {
		err = do(ctx)
	} else {
		why, err = e.unlessStopped(ctx, do)
	}
	switch {
	case ctx.Err() != nil:
		return true, ctx.Err()
	case why != "":
		return true, e.end(ctx, t, Aborted, CodeLocked, why+"; nothing was touched")
	case err != nil:
		return true, e.end(ctx, t, Errored, CodeInternal, oneLine(err)+"; what served before serves on")
	}
	return false, nil
}

// unlessStopped does something that may take its time, until somebody asks to go
// back: why says so.
func (e *Engine) unlessStopped(ctx context.Context, do func(context.Context) error) (why string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- do(ctx) }()
	tick := time.NewTicker(e.Tick)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return "", err
		case <-tick.C:
			if why = e.stopAsked(ctx); why != "" {
				cancel()
				if err := <-done; err != nil {
					e.Log.Debug("stopped", "environment", e.Environment, "why", why, "error", err)
				}
				return why, nil
			}
		}
	}
}
