package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/report"
	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/pipeline/target/local/watch"
)

// DriftCmd compares what runs with what is desired.
type DriftCmd struct {
	Environment string `arg:"" optional:"" help:"One environment alone."`
}

// driftOf is what gate drift says of one environment.
type driftOf struct {
	Environment string                 `json:"environment"`
	Drift       []promotion.Difference `json:"drift"`
}

// Run ends with 3 where there is a difference, and with 1 where it can't be told.
func (c *DriftCmd) Run(ctx context.Context, g *Globals) error {
	s, err := g.open(ctx, c.Environment)
	if err != nil {
		return err
	}
	defer s.close()
	all := []driftOf{}
	differs, unknown := false, []string{}
	for _, e := range s.decl.Environments {
		if c.Environment != "" && e.Name != c.Environment {
			continue
		}
		v, err := s.journal.View(ctx)
		if err != nil {
			return err
		}
		if c.Environment == "" && !v.Environment(e.Name).Begun() {
			continue // nothing was ever asked to run there
		}
		f, err := s.overseer(e).Look(ctx)
		if err != nil {
			return fmt.Errorf("drift of %s is not known: %w", e.Name, err)
		}
		for _, d := range f.Drift {
			if differs = differs || !d.Unknown; d.Unknown {
				unknown = append(unknown, d.What+" of "+e.Name)
			}
		}
		all = append(all, driftOf{e.Name, f.Drift})
		if s.Output != "json" {
			if err := report.Drift(s.Out, e.Name, f.Drift); err != nil {
				return err
			}
		}
	}
	switch {
	case s.Output == "json":
		if err := report.JSON(s.Out, all); err != nil {
			return err
		}
	case len(all) == 0:
		fmt.Fprintln(s.Out, "nothing is desired anywhere yet: gate run")
	}
	if differs {
		return &Exit{Code: promotion.CodeFail}
	}
	if len(unknown) > 0 {
		return &Exit{promotion.CodeInternal, fmt.Errorf("not known: %s", strings.Join(unknown, ", "))}
	}
	return nil
}

// overseeEvery is how often the daemon compares what runs with what is desired.
const overseeEvery = 20 * time.Second

// overseer looks at the environment by its daemon.
func (s *session) overseer(e *environments.Environment) *promotion.Overseer {
	judge := *s.judge
	x := s.executor(e.Name)
	return &promotion.Overseer{
		Environment: e, Journal: s.journal, Judge: &judge, Status: x.Status, Log: s.log, Now: time.Now, Every: overseeEvery,
		Certificate: func(ctx context.Context, e *environments.Environment) string { return s.presented(ctx, e) },
	}
}

// presented is why the certificate at the environment's address is not the
// declared one; empty: it is.
func (s *session) presented(ctx context.Context, e *environments.Environment) string {
	_, roots, _, err := s.executor(e.Name).Trust(e)
	if err != nil {
		return err.Error()
	}
	for _, name := range e.TLS.Names {
		d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: &tls.Config{MinVersion: tls.VersionTLS12, ServerName: name, RootCAs: roots}}
		conn, err := d.DialContext(ctx, "tcp", e.Listen)
		if err != nil {
			return strings.Join(strings.Fields(err.Error()), " ")
		}
		conn.Close()
	}
	return ""
}

// noticesOf are the alerts that the overseer knows of.
func noticesOf(o *promotion.Overseer) func() ([]watch.Notice, bool) {
	return func() ([]watch.Notice, bool) {
		f := o.Last()
		if f == nil {
			return nil, false
		}
		all := []watch.Notice{}
		for _, w := range f.Overrides {
			all = append(all, watch.Notice{Alert: "override", Detail: w.ID, Summary: fmt.Sprintf("%s lets release %s past what is declared: %s; somebody else approves it with gate approve %s --to %s", w.By, short(w.Release), w.Reason, short(w.Release), w.Environment)})
		}
		if n := len(f.Drift); n > 0 {
			all = append(all, watch.Notice{Alert: "drift", Summary: fmt.Sprintf("%s (%d in all)", f.Drift[0], n)})
		}
		if n := len(f.Degraded); n > 0 {
			all = append(all, watch.Notice{Alert: "degraded", Summary: fmt.Sprintf("%s: %s (%d in all)", f.Degraded[0].About, f.Degraded[0].Why, n)})
		}
		return all, true
	}
}

// people adds what people have to do with the environment, and why what serves
// is degraded. waits is whether a request is on its way.
func (s *session) people(ctx context.Context, one *report.Environment) (waits bool, err error) {
	v, err := s.journal.View(ctx)
	if err != nil {
		return false, err
	}
	now := s.journal.Now()
	rules := v.Rules(one.Name, "")
	if w, until := environments.Frozen(rules.Freeze, now); w != nil {
		one.Frozen = &report.Frozen{Reason: w.Reason, Until: promotion.Until(*w, until)}
	}
	one.Overrides = v.Pressing(one.Name, s.ledger.Trust(), now)
	pending, err := s.journal.Pending(ctx, v, one.Name)
	if err != nil {
		return false, err
	}
	for _, r := range pending {
		t := promotion.Transition{Request: r.ID, Kind: promotion.Promote, Environment: one.Name, Release: r.Release, Commit: r.Commit, By: r.By, At: r.At, State: promotion.Waiting}
		switch why := s.journal.Waits(v, r); {
		case one.Active != nil && one.Active.Request == r.ID:
		case why != "":
			t.Why, t.Code = why, promotion.CodeApproval
			one.Waiting = append(one.Waiting, t)
		default:
			waits = one.Actual != nil // else nobody is there who takes it
			one.Queued = append(one.Queued, t)
		}
	}
	if a := one.Active; one.Actual != nil && a != nil && one.Actual.Canary != "" {
		// Without figures there is as much to see as there was.
		if arms, err := s.client(one.Name).Arms(ctx); err == nil {
			one.Arms = &arms
		}
	}
	if one.Actual == nil || one.Active != nil {
		return waits, nil
	}
	e, err := s.environment(one.Name)
	if err != nil {
		return waits, err
	}
	// As the daemon and gate drift look at it.
	o := s.overseer(e)
	o.Status = func(context.Context) (target.Status, error) { return *one.Actual, nil }
	f, err := o.Look(ctx)
	if err == nil && f.Problem != "" {
		err = errors.New(f.Problem)
	}
	if err != nil {
		return waits, err
	}
	one.Degraded = f.Degraded
	return waits, nil
}
