package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/smartcloudops/gate/pipeline/dagger/internal/dagger"
	"github.com/smartcloudops/gate/pipeline/dagger/plain"
)

func (m *Gate) one(ctx context.Context, check, nonce, commit, base string, with []*dagger.Directory, tools ...tool) (*Evidence, error) {
	c, err := plain.NewCall(nonce, commit, base)
	if err != nil {
		return nil, err
	}
	if slices.Contains(running, check) && len(with) == 0 {
		all, err := m.admission(ctx, c)
		if err != nil {
			return nil, err
		}
		with = directories(all)
	}
	return m.measure(ctx, check, c, with, tools...)
}

// admission measures what admits a commit to an environment: checks of the code,
// side by side. What could be measured is there even when err is not nil.
func (m *Gate) admission(ctx context.Context, c plain.Call) ([]*Evidence, error) {
	wanted := []struct {
		check string
		tools []tool
	}{{"tests", nil}, {"scan", []tool{gosec, govulncheck}}, {"leaks", []tool{gitleaks}}, {"config", nil}, {"runbooks", nil}}
	found, errs := make([]*Evidence, len(wanted)), make([]error, len(wanted))
	var wg sync.WaitGroup
	for i, w := range wanted {
		wg.Go(func() { found[i], errs[i] = m.measure(ctx, w.check, c, nil, w.tools...) })
	}
	wg.Wait()
	var all []*Evidence
	for _, e := range found {
		if e != nil {
			all = append(all, e)
		}
	}
	return all, errors.Join(errs...)
}

// all measures every check. What could be measured is there even when err is
// not nil.
func (m *Gate) all(ctx context.Context, c plain.Call) ([]*Evidence, error) {
	all, err := m.admission(ctx, c)
	if err != nil {
		return all, err // nothing gets into an environment without them
	}
	with := directories(all)
	// What is measured under load must have the machine to itself.
	for _, check := range running {
		e, err := m.measure(ctx, check, c, with, gosec, govulncheck, gitleaks)
		if err != nil {
			return all, err
		}
		all = append(all, e)
	}
	return all, nil
}

func directories(all []*Evidence) []*dagger.Directory {
	var out []*dagger.Directory
	for _, e := range all {
		out = append(out, e.Directory)
	}
	return out
}

// merge makes one folder of several that are of one call. Its claim is from when
// the first began to when the last ended.
func merge(ctx context.Context, all []*Evidence) (*dagger.Directory, error) {
	out := dag.Directory()
	var claim map[string]any
	var began, ended time.Time
	for _, e := range all {
		text, err := e.Directory.File("claim.json").Contents(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Check, err)
		}
		var times struct{ Started, Finished time.Time }
		one := map[string]any{}
		if err := errors.Join(json.Unmarshal([]byte(text), &times), json.Unmarshal([]byte(text), &one)); err != nil {
			return nil, fmt.Errorf("%s: claim: %w", e.Check, err)
		}
		if claim == nil {
			claim, began, ended = one, times.Started, times.Finished
		}
		if times.Started.Before(began) {
			began = times.Started
		}
		if times.Finished.After(ended) {
			ended = times.Finished
		}
		out = out.WithDirectory("evidence", e.Directory.Directory("evidence"))
	}
	claim["started"], claim["finished"] = began, ended
	return withClaim(out, claim)
}

func withClaim(out *dagger.Directory, claim map[string]any) (*dagger.Directory, error) {
	b, err := json.MarshalIndent(claim, "", "  ")
	if err != nil {
		return nil, err
	}
	return out.WithNewFile("claim.json", string(b)+"\n"), nil
}
