package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/smartcloudops/gate/pipeline/ledger"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/report"
	"github.com/smartcloudops/gate/pipeline/run"
)

// PromoteCmd asks for a release in an environment.
type PromoteCmd struct {
	Release string `arg:"" help:"Digest of the release or of its record, or its commit; eight characters are enough."`
	To      string `required:"" placeholder:"ENV" help:"The environment that is to run it."`
	Reason  string `help:"Why, for the history."`
	// Override goes past what people have declared, never past a verdict or a hold.
	Override bool `help:"Go past a freeze, a pause and missing approvals, once and within the hour: the owners are told, and somebody else must approve it before anything else is promoted."`
	RemoteFlags
}

// Run writes the request and follows it to its end.
func (c *PromoteCmd) Run(ctx context.Context, g *Globals) error {
	s, err := g.open(ctx, c.To)
	if err != nil {
		return err
	}
	defer s.close()
	// Forward only by what everybody knows.
	if c.Remote {
		err = s.forRemote(ctx)
	} else {
		err = s.fetched(ctx)
	}
	if err != nil {
		return err
	}
	v, err := s.journal.View(ctx)
	if err != nil {
		return err
	}
	found, rec, err := one(v, c.Release, c.To)
	if err != nil {
		return err
	}
	r := promotion.Request{Environment: c.To, Release: rec.Release, Commit: rec.Commit, Record: found, By: s.by(), Reason: c.Reason}
	if why := v.NoWayTo(c.To, rec.Release); why != "" {
		return &Exit{promotion.CodeUsage, errors.New(why)}
	}
	if c.Override {
		if err := s.mayOverride(v, r); err != nil {
			return err
		}
	}
	if why := v.NoReturn(c.To, rec); why != "" {
		fmt.Fprintln(s.Err, "gate: note:", why)
	}
	return s.ask(ctx, r, c.RemoteFlags, c.Override)
}

// RollbackCmd goes back.
type RollbackCmd struct {
	Environment string `arg:"" help:"The environment to roll back."`
	To          string `placeholder:"RELEASE" help:"Go to this release (default: the one before)."`
	Reason      string `help:"Why, for the history."`
	RemoteFlags
}

// Run writes a request that needs no decision.
func (c *RollbackCmd) Run(ctx context.Context, g *Globals) error {
	s, err := g.open(ctx, c.Environment)
	if err != nil {
		return err
	}
	defer s.close()
	// On the machine that executes, nothing stands before a way back.
	if c.Remote {
		if err := s.forRemote(ctx); err != nil {
			return err
		}
	}
	v, err := s.journal.View(ctx)
	if err != nil {
		return err
	}
	target := v.PreviousRecord(c.Environment)
	if ev := v.Environment(c.Environment); ev.Active != nil {
		// To go back in the middle of a promotion is to stop it.
		target = ev.Desired
	}
	if c.To != "" {
		target = ""
		for _, f := range v.Find(c.To) {
			if v.Served(c.Environment, f) {
				target = f
				break
			}
		}
		if why := v.NoWayBackTo(c.Environment, target); target != "" && why != "" {
			return &Exit{promotion.CodeUsage, errors.New(why)}
		}
		if target == "" {
			return &Exit{promotion.CodeUsage, fmt.Errorf("release %q has never served in %s: gate history %s shows those that have", c.To, c.Environment, c.Environment)}
		}
	}
	if target == "" {
		return &Exit{promotion.CodeUsage, fmt.Errorf("nothing served in %s before what serves now: gate history %s shows what did", c.Environment, c.Environment)}
	}
	rec := v.Releases[target]
	return s.ask(ctx, promotion.Request{Environment: c.Environment, Release: rec.Release, Commit: rec.Commit, By: s.by(), Reason: c.Reason, Rollback: true}, c.RemoteFlags, false)
}

// ask writes the request, with an override if that is wanted, and follows it.
func (s *session) ask(ctx context.Context, r promotion.Request, f RemoteFlags, override bool) error {
	e, err := s.environment(r.Environment)
	if err != nil {
		return err
	}
	v, err := s.journal.View(ctx)
	if err != nil {
		return err
	}
	// Said early to whoever is late; what decides is the executor's own look.
	if a := v.Environment(r.Environment).Active; a != nil && !r.Rollback {
		return &Exit{promotion.CodeLocked, fmt.Errorf("%s is locked: request %.12s by %s for release %.19s is under way (%s); gate status %s follows it", r.Environment, a.Request, a.By, a.Release, a.Step, r.Environment)}
	}
	if f.Remote {
		return s.askRemote(ctx, r, f.Timeout, override)
	}
	if err := s.executes(ctx, r.Environment); err != nil {
		return err
	}
	x := s.executor(r.Environment)
	ensure := x.Ensure
	if r.Rollback {
		ensure = s.wake
	}
	if err := ensure(ctx, e); err != nil {
		return err
	}
	id, err := s.written(ctx, r, override)
	if err != nil {
		return err
	}
	err = s.follow(ctx, r, "", func(note func(string)) (promotion.Transition, error) {
		return run.Follow(ctx, s.journal, x, r.Environment, id, note)
	})
	s.carried(ctx)
	return err
}

// follow shows what comes of a request, and ends with its code. stands says what
// there is to say to somebody who does not wait for that; empty: what the ledger
// says.
func (s *session) follow(ctx context.Context, r promotion.Request, stands string, wait func(note func(string)) (promotion.Transition, error)) error {
	live := report.NewLive(s.Err, s.Output == "json")
	name := "promote to " + r.Environment
	if r.Rollback {
		name = "roll back " + r.Environment
	}
	t, err := wait(func(note string) { live.Say(name, note) })
	live.Close()
	if err != nil {
		if errors.Is(err, context.Canceled) {
			return &Exit{promotion.CodeInternal, fmt.Errorf("stopped following; %s", cmp.Or(stands, s.standing(ctx, r)))}
		}
		return err
	}
	if s.Output == "json" {
		err = report.JSON(s.Out, t)
	} else {
		err = report.Transition(s.Out, t)
	}
	if err == nil && t.Code != promotion.CodePass {
		return &Exit{Code: t.Code}
	}
	return err
}

// HoldCmd stops promotions.
type HoldCmd struct {
	Environment string `arg:"" help:"The environment to hold."`
	Reason      string `required:"" help:"Why, for those who are stopped by it."`
	Remote      bool   `help:"Hold it on another machine: the hold must reach the ledger's remote."`
}

// Run records the hold. It needs nobody.
func (c *HoldCmd) Run(ctx context.Context, g *Globals) error {
	// An empty reason on record is the end of a hold.
	if strings.TrimSpace(c.Reason) == "" {
		return &Exit{promotion.CodeUsage, fmt.Errorf("--reason is blank: those who are stopped by the hold read it; gate unhold %s lifts one", c.Environment)}
	}
	return g.hold(ctx, c.Environment, c.Reason, c.Remote)
}

// UnholdCmd lifts a hold.
type UnholdCmd struct {
	Environment string `arg:"" help:"The environment whose hold is lifted."`
	Remote      bool   `help:"Lift it on another machine: that must reach the ledger's remote."`
}

// Run records the end of the hold.
func (c *UnholdCmd) Run(ctx context.Context, g *Globals) error {
	return g.hold(ctx, c.Environment, "", c.Remote)
}

func (g *Globals) hold(ctx context.Context, environment, reason string, remote bool) error {
	s, err := g.open(ctx, environment)
	if err != nil {
		return err
	}
	defer s.close()
	if remote {
		if err := s.forRemote(ctx); err != nil {
			return err
		}
	}
	if own := s.ledger.Own(); !s.ledger.TrustedFor([]string{own}, ledger.Promote, environment) {
		return &Exit{promotion.CodeUsage, fmt.Errorf("a hold by this machine would not count: its key %s is not listed in environments/trust.yaml with may: [promote] for %s", own, environment)}
	}
	h := promotion.Hold{Environment: environment, Reason: reason, By: s.by(), At: s.journal.Now().UTC()}
	if err := s.journal.Hold(ctx, h); err != nil {
		return err
	}
	if remote {
		if err := s.fetched(ctx); err != nil {
			return fmt.Errorf("%w; it stands on this machine alone, and the next sync takes it along", err)
		}
	} else {
		s.carried(ctx)
	}
	if s.Output == "json" {
		return report.JSON(s.Out, h)
	}
	word := "is held: " + reason
	if reason == "" {
		word = "is no longer held"
	}
	_, err = fmt.Fprintf(s.Out, "%s %s\n", environment, word)
	return err
}
