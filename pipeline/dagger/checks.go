package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/smartcloudops/gate/pipeline/dagger/internal/dagger"
	"github.com/smartcloudops/gate/pipeline/dagger/plain"
)

// Run the commit's own tests, as app.yaml declares them.
//
// Returns evidence: how many passed, failed and were skipped.
//
// +check
// +cache="never"
func (m *Gate) Test(
	ctx context.Context,
	// Commit to measure (default: what is checked out, with what is not committed).
	// +optional
	commit string,
	// Commit that the change is to go into: its policies and thresholds judge.
	// +optional
	base string,
	// What the evidence repeats; 8 characters or more that no other call has (default: at random).
	// +optional
	nonce string,
) (*Evidence, error) {
	return m.one(ctx, "tests", nonce, commit, base, nil)
}

// Scan for unsafe code and known vulnerabilities.
//
// gosec and govulncheck, on the packages that are shipped.
//
// Returns evidence: counts by severity, findings with file and line, and the date of the database.
//
// +check
// +cache="never"
func (m *Gate) Scan(
	ctx context.Context,
	// Commit to measure (default: what is checked out, with what is not committed).
	// +optional
	commit string,
	// Commit that the change is to go into: its policies and thresholds judge.
	// +optional
	base string,
	// What the evidence repeats; 8 characters or more that no other call has (default: at random).
	// +optional
	nonce string,
) (*Evidence, error) {
	return m.one(ctx, "scan", nonce, commit, base, nil, gosec, govulncheck)
}

// Look for secrets in the files of the commit (gitleaks).
//
// Returns evidence: how many files were read and where secrets are, never the secrets.
//
// +cache="never"
func (m *Gate) Leaks(
	ctx context.Context,
	// Commit to measure (default: what is checked out, with what is not committed).
	// +optional
	commit string,
	// Commit that the change is to go into: its policies and thresholds judge.
	// +optional
	base string,
	// What the evidence repeats; 8 characters or more that no other call has (default: at random).
	// +optional
	nonce string,
) (*Evidence, error) {
	return m.one(ctx, "leaks", nonce, commit, base, nil, gitleaks)
}

// Check the environment's configuration.
//
// It must be valid, without addresses and secrets in plain text, and differ from the others only where that is declared.
//
// Returns evidence.
//
// +cache="never"
func (m *Gate) Config(
	ctx context.Context,
	// Commit to measure (default: what is checked out, with what is not committed).
	// +optional
	commit string,
	// Commit that the change is to go into: its policies and thresholds judge.
	// +optional
	base string,
	// What the evidence repeats; 8 characters or more that no other call has (default: at random).
	// +optional
	nonce string,
) (*Evidence, error) {
	return m.one(ctx, "config", nonce, commit, base, nil)
}

// Put the declared load on the commit in an environment.
//
// The environment and its PostgreSQL are gone when the call ends. It takes some minutes. Evidence of tests, scan, leaks and config must be given, which admits the commit to the environment.
//
// Returns evidence: rates in requests a second, latencies in seconds with bounds, errors.
//
// +cache="never"
func (m *Gate) LoadTest(
	ctx context.Context,
	// Evidence of the same nonce that admits the commit: one folder or several.
	with []*dagger.Directory,
	// Commit to measure (default: what is checked out, with what is not committed).
	// +optional
	commit string,
	// Commit that the change is to go into: its policies and thresholds judge.
	// +optional
	base string,
	// What the evidence repeats; 8 characters or more that no other call has (default: at random).
	// +optional
	nonce string,
) (*Evidence, error) {
	return m.one(ctx, "load", nonce, commit, base, with, gosec, govulncheck, gitleaks)
}

// Replace every instance under load, and count what clients notice.
//
// Evidence of tests, scan, leaks and config must be given, which admits the commit to the environment.
//
// Returns evidence: requests sent and failed, connections cut, time in seconds.
//
// +cache="never"
func (m *Gate) Update(
	ctx context.Context,
	// Evidence of the same nonce that admits the commit: one folder or several.
	with []*dagger.Directory,
	// Commit to measure (default: what is checked out, with what is not committed).
	// +optional
	commit string,
	// Commit that the change is to go into: its policies and thresholds judge.
	// +optional
	base string,
	// What the evidence repeats; 8 characters or more that no other call has (default: at random).
	// +optional
	nonce string,
) (*Evidence, error) {
	return m.one(ctx, "update", nonce, commit, base, with, gosec, govulncheck, gitleaks)
}

// Restore a backup of staging on the side, compare it row by row, and have the release serve from it.
//
// Evidence of tests, scan, leaks and config must be given, which admits the commit to the environment.
//
// Returns evidence: tables and rows compared, RPO, RTO, and every fault.
//
// +cache="never"
func (m *Gate) Backup(
	ctx context.Context,
	// Evidence of the same nonce that admits the commit: one folder or several.
	with []*dagger.Directory,
	// Commit to measure (default: what is checked out, with what is not committed).
	// +optional
	commit string,
	// Commit that the change is to go into: its policies and thresholds judge.
	// +optional
	base string,
	// What the evidence repeats; 8 characters or more that no other call has (default: at random).
	// +optional
	nonce string,
) (*Evidence, error) {
	return m.one(ctx, "backup", nonce, commit, base, with, gosec, govulncheck, gitleaks)
}

// Shake hands with the environment as a strict client does.
//
// Evidence of tests, scan, leaks and config must be given, which admits the commit to the environment.
//
// Returns evidence: versions, names, chain, and how many days the certificate is good for.
//
// +cache="never"
func (m *Gate) Tls(
	ctx context.Context,
	// Evidence of the same nonce that admits the commit: one folder or several.
	with []*dagger.Directory,
	// Commit to measure (default: what is checked out, with what is not committed).
	// +optional
	commit string,
	// Commit that the change is to go into: its policies and thresholds judge.
	// +optional
	base string,
	// What the evidence repeats; 8 characters or more that no other call has (default: at random).
	// +optional
	nonce string,
) (*Evidence, error) {
	return m.one(ctx, "tls", nonce, commit, base, with, gosec, govulncheck, gitleaks)
}

func (m *Gate) one(ctx context.Context, check, nonce, commit, base string, with []*dagger.Directory, tools ...tool) (*Evidence, error) {
	c, err := plain.NewCall(nonce, commit, base)
	if err != nil {
		return nil, err
	}
	return m.measure(ctx, check, c, with, tools...)
}

// Measure all of the environment's checks.
//
// Those of the code side by side; those of the running service one after the other, each in an environment of its own.
//
// Returns one folder of evidence, as gate evidence import takes it; an error names what is missing.
//
// +cache="never"
func (m *Gate) Verify(
	ctx context.Context,
	// Commit to measure (default: what is checked out, with what is not committed).
	// +optional
	commit string,
	// Commit that the change is to go into: its policies and thresholds judge.
	// +optional
	base string,
	// What the evidence repeats; 8 characters or more that no other call has (default: at random).
	// +optional
	nonce string,
) (*dagger.Directory, error) {
	c, err := plain.NewCall(nonce, commit, base)
	if err != nil {
		return nil, err
	}
	all, err := m.all(ctx, c)
	if err != nil {
		return nil, err
	}
	return merge(ctx, all)
}

// admission measures what admits a commit to an environment: checks of the code,
// side by side. What could be measured is there even when err is not nil.
func (m *Gate) admission(ctx context.Context, c plain.Call) ([]*Evidence, error) {
	wanted := []struct {
		check string
		tools []tool
	}{{"tests", nil}, {"scan", []tool{gosec, govulncheck}}, {"leaks", []tool{gitleaks}}, {"config", nil}}
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
	for _, check := range []string{"load", "update", "rollback", "restart", "scaling", "migration", "backup", "tls"} {
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
