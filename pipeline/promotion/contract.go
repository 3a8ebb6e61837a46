package promotion

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/target"
)

// Contractor runs a release's contract, after which no earlier release can serve.
// Run again, it does nothing. A target offers it or not; without it, a release
// that declares one is refused.
type Contractor interface {
	// Contract is fenced as every command is. Errors: target.ErrMigration.
	Contract(ctx context.Context, token int64, rev target.Revision) error
}

// ContractDue is the contract that the release would begin in the environment;
// nil: it declares none, or one that was carried out there before.
func (v *View) ContractDue(environment string, r *ReleaseRecord) *environments.Contract {
	if r == nil || r.Declarations == nil || r.Declarations.App == nil || r.Declarations.App.Migrate == nil {
		return nil
	}
	c := r.Declarations.App.Migrate.Contract
	if c == nil {
		return nil
	}
	for _, t := range v.Environment(environment).History {
		if t.Contract == c.Name && !t.ContractFailed {
			return nil
		}
	}
	return c
}

// NoReturn says, before a release is promoted, that no earlier one can be gone
// back to after it; empty where one can.
func (v *View) NoReturn(environment string, r *ReleaseRecord) string {
	serves := v.Releases[v.Environment(environment).Desired]
	if serves == nil {
		return ""
	}
	if c := v.left(environment, serves, r.Release); c != nil {
		return fmt.Sprintf("the contract %s, which release %s has left, begins before release %s: from then on %s can't go back to any release before %s", c.Name, short(serves.Release), short(r.Release), environment, short(serves.Release))
	}
	c := v.ContractDue(environment, r)
	if c == nil {
		return ""
	}
	when := "after its soak"
	if deferred(r, environment) {
		when = "when the next one is promoted"
	}
	return fmt.Sprintf("release %s begins the contract %s %s: from then on %s can't go back to any release before it", short(r.Release), c.Name, when, environment)
}

// deferred says whether releases are still drilled back and forth in the
// environment after their promotion, so that a contract must wait for the next.
func deferred(r *ReleaseRecord, environment string) bool {
	e := r.Declarations.Environment(environment)
	return e != nil && e.Promotion.From == ""
}

// left is the contract that the release that serves has left for the promotion of
// the next one; nil: none, or that one is from before, and needs what would be
// taken away.
func (v *View) left(environment string, serves *ReleaseRecord, next string) *environments.Contract {
	c := v.ContractDue(environment, serves)
	if c == nil || !deferred(serves, environment) {
		return nil
	}
	if slices.ContainsFunc(v.Environment(environment).History, func(h Transition) bool { return h.State == Succeeded && h.Release == next }) {
		return nil
	}
	return c
}

// contract takes away what only earlier releases need, once the release has
// proved itself, and ends the promotion. The release serves whatever comes of it.
func (e *Engine) contract(ctx context.Context, t Transition, rec *ReleaseRecord) error {
	v, err := e.Journal.View(ctx)
	if err != nil {
		return err
	}
	c := v.ContractDue(e.Environment, rec)
	if c == nil || t.Kind != Promote || deferred(rec, e.Environment) {
		return e.end(ctx, t, Succeeded, CodePass, "")
	}
	if why := cmp.Or(e.stopAsked(ctx), e.holdAsked(ctx)); why != "" {
		return e.end(ctx, t, Succeeded, CodePass, fmt.Sprintf("it serves; its contract %s was not begun: %s; the next promotion of a release that declares it begins it", c.Name, why))
	}
	t.Contract, t.Overdue = c.Name, false
	if err := e.record(ctx, &t, Contract, "no release before it can be gone back to from here on"); err != nil {
		return err
	}
	if err := e.contracted(ctx, t.Token, rec); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		t.ContractFailed = true
		return e.end(ctx, t, Succeeded, CodePass, fmt.Sprintf("it serves, but its contract %s failed: %s; the next promotion of a release that declares it tries again", c.Name, oneLine(err)))
	}
	return e.end(ctx, t, Succeeded, CodePass, "")
}

// overdue carries out what the release that serves has left for the next one.
// stop: the promotion has ended by it.
func (e *Engine) overdue(ctx context.Context, t *Transition) (stop bool, err error) {
	v, err := e.Journal.View(ctx)
	if err != nil {
		return false, err
	}
	serves := v.Releases[t.From]
	c := v.left(e.Environment, serves, t.Release)
	if c == nil || t.Kind != Promote {
		return false, nil
	}
	t.Contract, t.Overdue = c.Name, true
	if err := e.record(ctx, t, Contract, "left by release "+short(serves.Release)); err != nil {
		return false, err
	}
	if err := e.contracted(ctx, t.Token, serves); err != nil {
		t.ContractFailed = true
		return true, e.failed(ctx, *t, fmt.Errorf("contract %s of release %s, which serves: %w", c.Name, short(serves.Release), err))
	}
	return false, nil
}

var errNoContracts = errors.New("this target can't carry out a contract: leave migrate.contract out of environments/app.yaml")

func (e *Engine) contracted(ctx context.Context, token int64, rec *ReleaseRecord) error {
	c, ok := e.Target.(Contractor)
	if !ok {
		return errNoContracts
	}
	return c.Contract(ctx, token, rec.Revision(e.Environment))
}
