package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/ledger"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/report"
	"github.com/smartcloudops/gate/pipeline/run"
	"github.com/smartcloudops/gate/pipeline/target"
)

// RemoteFlags are those of verbs that can ask an executor on another machine.
type RemoteFlags struct {
	Remote  bool          `help:"Ask the environment's daemon on another machine: write to the ledger, push, and follow by fetching."`
	Timeout time.Duration `default:"30m" help:"With --remote: follow for so long; with 0 do not follow, and end with 5."`
}

// syncEvery is how often a remote is asked while a command follows.
const syncEvery = 3 * time.Second

// carryPatience bounds a sync that only carries on what was done already.
const carryPatience = 20 * time.Second

// fetched brings the ledger up to date, where it has a remote. A rollback that
// keeps the sync away for a moment is no reason to stop.
func (s *session) fetched(ctx context.Context) error {
	got, err := s.journal.Sync(ctx)
	if errors.Is(err, ledger.ErrBusy) {
		return nil
	}
	if err == nil && got.Kept > 0 {
		s.log.Warn("entries stay on this machine", "entries", got.Kept, "why", got.Why)
	}
	return err
}

// carried brings what was done to the others. That it did not work yet is said,
// and no failure: it stands here, and the next sync takes it along.
func (s *session) carried(ctx context.Context) {
	if s.ledger.Remote() == "" {
		return
	}
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), carryPatience, fmt.Errorf("no answer within %s", carryPatience))
	defer cancel()
	if err := s.fetched(ctx); err != nil {
		say(s.Err, fmt.Errorf("%w; it stands on this machine, and the next sync takes it along", err))
	}
}

// forRemote checks that there is a remote to ask by, and brings the ledger up to
// date.
func (s *session) forRemote(ctx context.Context) error {
	if s.ledger.Remote() == "" {
		return &Exit{promotion.CodeUsage, errors.New("--remote asks by the ledger's remote, and none is declared: name it in environments/trust.yaml")}
	}
	return s.fetched(ctx)
}

// executes fails when this machine is not the one that executes in the
// environment, so that nothing would ever come of a request here.
func (s *session) executes(ctx context.Context, environment string) error {
	v, err := s.journal.View(ctx)
	if err != nil {
		return err
	}
	token, err := s.served(environment)
	if err != nil {
		return err
	}
	switch err := v.Executes(s.ledger, environment, token); {
	case errors.Is(err, promotion.ErrElsewhere):
		return &Exit{promotion.CodeLocked, err}
	case errors.Is(err, promotion.ErrUntrusted):
		return &Exit{promotion.CodeUsage, err}
	default:
		return err
	}
}

// remoteExecutor is an environment's daemon on another machine. It is asked and
// followed by the ledger alone.
type remoteExecutor struct {
	*session
	environment string

	mu     sync.Mutex
	synced time.Time // the last time that it worked
	tried  time.Time
}

var _ run.Executor = (*remoteExecutor)(nil)

// remote is the executor of the environment elsewhere.
func (s *session) remote(environment string) *remoteExecutor {
	return &remoteExecutor{session: s, environment: environment}
}

// lostAfter is how long the remote may fail while a command follows.
const lostAfter = 2 * time.Minute

// look syncs, but not too often. A remote that fails for a while only is waited
// for.
func (x *remoteExecutor) look(ctx context.Context, now bool) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !now && time.Since(x.tried) < syncEvery {
		return nil
	}
	err := x.fetched(ctx)
	x.tried = time.Now()
	if err == nil || x.synced.IsZero() {
		x.synced = x.tried
	}
	if err == nil || time.Since(x.synced) < lostAfter && errors.Is(err, ledger.ErrRemote) {
		return nil
	}
	return err
}

// Ensure sees to it that the remote can be asked; whether the daemon there runs,
// nobody can tell from here.
func (x *remoteExecutor) Ensure(ctx context.Context, _ *environments.Environment) error {
	return x.forRemote(ctx)
}

// Poke brings requests to the remote.
func (x *remoteExecutor) Poke(ctx context.Context) { _ = x.look(ctx, true) }

// Status is what the ledger knows of it: what is desired, since its daemon makes
// that so, and nothing of what runs.
func (x *remoteExecutor) Status(ctx context.Context) (target.Status, error) {
	st := target.Status{Environment: x.environment}
	if err := x.look(ctx, false); err != nil {
		return st, err
	}
	v, err := x.journal.View(ctx)
	if err != nil {
		return st, err
	}
	ev := v.Environment(x.environment)
	if rec := v.Releases[ev.Desired]; rec != nil {
		if rev := rec.Revision(x.environment); rev.Environment != nil {
			st.Revision, st.Stable, st.Commit, st.Address = rev.ID(), rec.Release, rec.Commit, rev.Environment.Listen
		}
	}
	st.Token = ev.Token
	return st, nil
}

// Trust is how to verify the environment's certificate. A private authority's is
// on the machine that has it.
func (x *remoteExecutor) Trust(e *environments.Environment) (name string, roots *x509.CertPool, file string, err error) {
	if e.TLS.Trust == "private" {
		return e.TLS.Names[0], nil, "", fmt.Errorf("%s has an authority of its own, which only the machine that executes it knows: measure there, or declare another trust in environments/%s.yaml", e.Name, e.Name)
	}
	return e.TLS.Names[0], nil, "", nil
}

// Drills are none: nobody commands an environment from elsewhere.
func (x *remoteExecutor) Drills() any { return nil }

// askRemote writes a request, brings it to the remote, and follows what comes of
// it there.
func (s *session) askRemote(ctx context.Context, r promotion.Request, timeout time.Duration, override bool) error {
	id, err := s.written(ctx, r, override)
	if err != nil {
		return err
	}
	if err := s.fetched(ctx); err != nil {
		return s.unpushed(ctx, r, id, err)
	}
	stands := fmt.Sprintf("request %.12s stands, and the daemon of %s goes on with it: gate status %s --remote", id, r.Environment, r.Environment)
	if timeout <= 0 {
		if s.Output == "json" {
			if err := report.JSON(s.Out, map[string]string{"request": id, "environment": r.Environment, "release": r.Release, "state": "waiting"}); err != nil {
				return err
			}
			return &Exit{Code: promotion.CodeApproval}
		}
		fmt.Fprintf(s.Out, "waiting: %s\n", stands)
		return &Exit{Code: promotion.CodeApproval}
	}
	waited := fmt.Errorf("nothing came of it within %s", timeout)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, waited)
	defer cancel()
	return s.follow(ctx, r, stands, func(note func(string)) (promotion.Transition, error) {
		t, err := run.Follow(ctx, s.journal, s.remote(r.Environment), r.Environment, id, note)
		if errors.Is(err, waited) {
			err = &Exit{promotion.CodeApproval, fmt.Errorf("%w; %s", waited, stands)}
		}
		return t, err
	})
}

// unpushed says that a request did not reach the remote. To go forward another
// day is not what was asked for: that request is taken back.
func (s *session) unpushed(ctx context.Context, r promotion.Request, id string, err error) error {
	ctx = context.WithoutCancel(ctx)
	what := fmt.Sprintf("request %.12s stands on this machine, and the next sync takes it along", id)
	if !r.Rollback {
		switch ok, rerr := s.ledger.Retract(ctx, r.Environment, id); {
		case rerr != nil:
			err = fmt.Errorf("%w; %w", err, rerr)
		case ok:
			what = "the request was taken back: ask again"
		}
	}
	return fmt.Errorf("%w; %s", err, what)
}
