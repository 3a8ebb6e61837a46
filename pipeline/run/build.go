package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/release"
)

// built is the release that the same source has become already, "" if none, or
// if the store has lost it.
func (s *state) built(ctx context.Context) (string, error) {
	v, err := s.Journal.View(ctx)
	if err != nil {
		return "", err
	}
	want := inputs(release.BuilderVersion, s.decl, s.source)
	for _, r := range v.Releases {
		if inputs(r.Builder, r.Declarations, r.SourceDigest) != want {
			continue
		}
		ok, err := s.Store.Has(r.Release)
		if err != nil {
			return "", err
		}
		if ok {
			return r.Release, nil
		}
	}
	return "", nil
}

// inputs is all that a release's digest depends on.
func inputs(builder int, d *environments.Declarations, source string) string {
	return environments.Digest([]any{builder, source, d.App.Name, d.App.Build, d.App.Serve, d.App.Migrate})
}

func (s *state) build(known string) func(context.Context, func(string)) (bool, error) {
	return func(ctx context.Context, note func(string)) (bool, error) {
		digest := known
		if digest == "" {
			r, err := release.Make(ctx, s.exported, s.decl.App, s.Store, release.Options{Environ: s.Environ, Progress: note})
			var broken *release.BuildError
			if errors.As(err, &broken) {
				s.mu.Lock()
				s.result.Findings = broken.Findings
				s.mu.Unlock()
				return false, &Stop{Code: promotion.CodeFail, Summary: broken.Error(), Next: "mend it and run again; nothing was changed"}
			}
			if err != nil {
				return false, err
			}
			digest = r.Digest
		}
		note(digest)
		rec := &promotion.ReleaseRecord{
			Release: digest, Commit: s.exported.Commit, Subject: s.result.Subject, Authors: s.authors, Committed: s.committed, Dirty: s.exported.Dirty,
			SourceDigest: s.source, TreeDigest: s.exported.TreeDigest, Builder: release.BuilderVersion, Declarations: s.decl,
		}
		at, err := s.Journal.Release(ctx, rec)
		if err != nil {
			return false, err
		}
		s.mu.Lock()
		s.record, s.digest, s.result.Release = rec, at, digest
		s.mu.Unlock()
		close(s.hasBuilt)
		return known != "", nil
	}
}

// input is what the checks look at. previous is the release that is replaced;
// empty: the first of those that may be.
func (s *state) input(ctx context.Context, e *environments.Environment, previous string) (checks.Input, error) {
	v, err := s.Journal.View(ctx)
	if err != nil {
		return checks.Input{}, err
	}
	in, err := s.Judge.Input(v, s.record, e.Name)
	if err != nil {
		return in, err
	}
	in.Source, in.Tools, in.Proposal = s.exported.Dir, s.Tools, s.proposal()
	in.Previous = cmp.Or(previous, in.Previous)
	return in, nil
}

// predecessors are the releases for each of which one of the checks has to be
// taken: where several environments are promoted into, each may serve another one.
func (s *state) predecessors(ctx context.Context, e *environments.Environment, cs ...checks.Check) ([]string, error) {
	if !s.hasRelease() {
		return []string{""}, nil
	}
	v, err := s.Journal.View(ctx)
	if err != nil {
		return nil, err
	}
	var out, keys []string
	for _, p := range v.Predecessors(s.record, e.Name) {
		in, err := s.input(ctx, e, p)
		if err != nil {
			return nil, err
		}
		for _, c := range cs {
			if key := c.Key(in); !slices.Contains(keys, key) {
				keys = append(keys, key)
				if !slices.Contains(out, p) {
					out = append(out, p)
				}
			}
		}
	}
	return out, nil
}

// check measures, unless the same has been measured and may still stand.
func (s *state) check(c checks.Check, e *environments.Environment, name string, needs []string) step {
	st := step{name: name, needs: needs, exclusive: c.Exclusive}
	if c.Estimate != nil {
		st.estimate = c.Estimate(checks.Input{Declarations: s.decl, Environment: e})
	}
	st.do = func(ctx context.Context, note func(string)) (bool, error) {
		ps, err := s.predecessors(ctx, e, c)
		if err != nil {
			return false, err
		}
		reused := true
		for _, p := range ps {
			m, err := s.measure(ctx, c, e, p, note)
			if err != nil {
				return false, fmt.Errorf("%s: %w", name, err)
			}
			s.mu.Lock()
			s.result.Evidence = append(s.result.Evidence, m)
			s.mu.Unlock()
			reused = reused && m.Reused
		}
		return reused, nil
	}
	return st
}

// drills are the checks that share one run of load. One alone is a check like
// any other.
func (s *state) drills(cs []checks.Check, e *environments.Environment, name string, needs []string) step {
	st := step{name: name, needs: needs, exclusive: true}
	for _, c := range cs {
		if c.Estimate != nil {
			st.estimate += c.Estimate(checks.Input{Declarations: s.decl, Environment: e})
		}
	}
	st.do = func(ctx context.Context, note func(string)) (bool, error) {
		ps, err := s.predecessors(ctx, e, cs...)
		if err != nil {
			return false, err
		}
		var all []Measured
		for _, p := range ps {
			some, err := s.drill(ctx, cs, e, p, note)
			if err != nil {
				return false, fmt.Errorf("%s: %w", name, err)
			}
			all = append(all, some...)
		}
		reused := true
		for _, m := range all {
			reused = reused && m.Reused
		}
		s.mu.Lock()
		s.result.Evidence = append(s.result.Evidence, all...)
		s.mu.Unlock()
		return reused, nil
	}
	return st
}
