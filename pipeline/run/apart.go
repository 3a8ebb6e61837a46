package run

import (
	"context"
	"fmt"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/claim"
)

func (s *state) nonce() string {
	if s.opts.Apart == nil {
		return ""
	}
	return s.opts.Apart.Nonce
}

// take records what other runs of the same call have measured: between machines
// that all run code of the change it is believed as this run's own.
func (s *state) take(ctx context.Context, note func(string)) (bool, error) {
	asked := claim.Asked{
		App: s.decl.App.Name, Commit: s.exported.Commit, Release: s.record.Release, Nonce: s.opts.Apart.Nonce,
		// The nonce alone binds them to the call, which began before this run.
		Since: s.record.At.AddDate(0, 0, -1), Until: s.Now(),
		Machines: []string{checks.Machine()}, Checks: s.Judge.Checks,
		Input: func(environment string) (checks.Input, error) { return s.inputFor(ctx, environment) },
	}
	n := 0
	for _, dir := range s.opts.Apart.Take {
		f, err := claim.Read(dir)
		if err != nil {
			return false, err
		}
		evidence, err := asked.Admit(f)
		if err != nil {
			return false, fmt.Errorf("%s: %w", dir, err)
		}
		for _, e := range evidence {
			if _, err := s.Journal.Evidence(ctx, e); err != nil {
				return false, err
			}
			n++
		}
	}
	note(fmt.Sprintf("%d", n))
	return false, nil
}

// inputFor is input of the named environment, of the first one where the
// evidence is of none.
func (s *state) inputFor(ctx context.Context, environment string) (checks.Input, error) {
	e := s.decl.Environments[0]
	if environment != "" {
		if e = s.decl.Environment(environment); e == nil {
			return checks.Input{}, fmt.Errorf("%w: environment %.80q at commit %.12s", environments.ErrNotDeclared, environment, s.exported.Commit)
		}
	}
	return s.input(ctx, e, "")
}

// Claim is what the run has measured, for somebody to sign.
func (r *Result) Claim(a *Apart) (claim.Claim, []checks.Evidence) {
	c := claim.Claim{
		App: r.App, Commit: r.Commit, Release: r.Release, Base: a.Base, Environment: r.Through,
		Machine: checks.Machine(), Nonce: a.Nonce, Started: r.Started, Finished: r.Finished,
	}
	var out []checks.Evidence
	for _, m := range r.Evidence {
		if m.Evidence.Subject.Scope == checks.OfService {
			continue // of an environment that is gone in a moment
		}
		out = append(out, m.Evidence)
	}
	return c, out
}
