package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/smartcloudops/gate/pipeline/dagger/internal/dagger"
	"github.com/smartcloudops/gate/pipeline/dagger/plain"
)

// Take a commit through build, checks, environment and decision.
//
// It is what gate run does where there is no container engine.
//
// Returns one folder, whatever the verdict: claim.json and evidence/ for gate evidence import, decision.json, result.json, the reports, log, and exit with gate's exit code (0 pass, 3 fail, 4 not enough to tell). A step that is to fail with the verdict reads that file.
//
// +cache="never"
func (m *Gate) Run(
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
	on := m.measuring(c)
	// What does not build is not measured.
	began := time.Now().UTC()
	out, code, err := conclude(ctx, on, append([]string{"gate", "build"}, c.Flags()...))
	if err != nil || code != 0 {
		return out, err
	}
	// What is missing, the last step measures again: an error here is no end.
	all, missing := m.all(ctx, c)
	if on, err = m.withTools(ctx, on, gosec, govulncheck, gitleaks); err != nil {
		return nil, err
	}
	if on, err = m.withDatabase(ctx, on, c, "run"); err != nil {
		return nil, err
	}
	on, args := withEvidence(on, append([]string{"gate", "run", "--through", m.Environment}, c.Flags()...), directories(all))
	if out, _, err = conclude(ctx, on, args); err != nil {
		return nil, err
	}
	if missing != nil {
		out = out.WithNewFile("missing", missing.Error()+"\n")
	}
	return since(ctx, out, began)
}

// since is the folder with a claim that began then: gate knows of its last step
// alone.
func since(ctx context.Context, out *dagger.Directory, began time.Time) (*dagger.Directory, error) {
	if found, err := out.Glob(ctx, "claim.json"); err != nil || len(found) == 0 {
		return out, err
	}
	text, err := out.File("claim.json").Contents(ctx)
	if err != nil {
		return nil, err
	}
	var claim map[string]any
	if err := json.Unmarshal([]byte(text), &claim); err != nil {
		return nil, fmt.Errorf("claim.json: %w", err)
	}
	claim["started"] = began
	return withClaim(out, claim)
}

// conclude runs gate, and returns what it wrote, with how it ended.
func conclude(ctx context.Context, on *dagger.Container, args []string) (*dagger.Directory, int, error) {
	ended := on.WithExec(args, anyExit)
	code, err := ended.ExitCode(ctx)
	if err != nil {
		return nil, 0, err
	}
	log, err := ended.CombinedOutput(ctx)
	if err != nil {
		return nil, 0, err
	}
	out := ended.Directory(plain.OutDir).
		WithNewFile("exit", strconv.Itoa(code)+"\n").
		WithNewFile("log", log)
	names, err := out.Glob(ctx, "result.json")
	if err != nil || len(names) == 0 {
		return out, code, err
	}
	text, err := out.File("result.json").Contents(ctx)
	if err != nil {
		return nil, 0, err
	}
	var r struct{ Decisions []json.RawMessage }
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return nil, 0, fmt.Errorf("result.json: %w", err)
	}
	if n := len(r.Decisions); n > 0 {
		out = out.WithNewFile("decision.json", string(r.Decisions[n-1])+"\n")
	}
	return out, code, nil
}
