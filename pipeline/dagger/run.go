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

// run has each check measured by itself, and then lets gate go through all of it
// with what they have found: it measures anew what is missing.
func (m *Gate) run(ctx context.Context, c plain.Call) (*dagger.Directory, error) {
	// What does not build is not measured.
	began := time.Now().UTC()
	out, code, err := conclude(ctx, m.measuring(m.machine(), c), append([]string{"gate", "build"}, c.Flags()...))
	if err != nil || code != 0 {
		return out, err
	}
	// What is missing, the last step measures again: an error here is no end.
	all, missing := m.all(ctx, c)
	on, err := m.withTools(ctx, m.measuring(m.withPostgres(), c), gosec, govulncheck, gitleaks)
	if err != nil {
		return nil, err
	}
	on, args := withEvidence(on, append([]string{"gate", "run", "--through", string(m.Environment)}, c.Flags()...), directories(all))
	if out, _, err = conclude(ctx, on, args); err != nil {
		return nil, err
	}
	if missing != nil {
		out = out.WithNewFile("missing", missing.Error()+"\n")
	}
	return since(ctx, out, began)
}
