package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"

	"github.com/smartcloudops/gate/pipeline/dagger/internal/dagger"
)

// judging is a bench with a ledger that has the evidence.
func (m *Gate) judging(e claimed) *dagger.Container {
	args := []string{"gate", "evidence", "import", "/work/evidence", "--commit", e.commit, "--nonce", e.nonce, "--since", e.since}
	if e.until != "" {
		args = append(args, "--until", e.until)
	}
	return always(m.built(e.commit).WithMountedDirectory("/work/evidence", e.evidence)).WithExec(args)
}

// always keeps what follows from being taken out of Dagger's cache.
func always(c *dagger.Container) *dagger.Container {
	return c.WithEnvVariable("GATE_CALL", rand.Text())
}

func readDecision(text string, code int, why func() string) (*Decision, error) {
	var d struct {
		Verdict, Release, Environment string
		Criteria                      []struct{ ID, Verdict, Got, Want, Why, Next string }
	}
	if err := json.Unmarshal([]byte(text), &d); err != nil || d.Verdict == "" {
		return nil, fmt.Errorf("nothing was decided (gate ended with %d): %s", code, why())
	}
	out := &Decision{Verdict: d.Verdict, Release: d.Release, Environment: d.Environment, Exit: code, Json: text}
	for _, c := range d.Criteria {
		out.Criteria = append(out.Criteria, Criterion{Name: c.ID, Verdict: c.Verdict, Got: c.Got, Want: c.Want, Why: c.Why, Next: c.Next})
	}
	return out, nil
}

// claimed is evidence, and what it must agree with.
type claimed struct {
	evidence                    *dagger.Directory
	nonce, since, until, commit string
}

func (m *Gate) decide(ctx context.Context, e claimed) (*Decision, error) {
	decided := m.judging(e).
		WithExec([]string{"gate", "decide", string(m.Environment), "--output", "json"}, anyExit)
	code, err := decided.ExitCode(ctx)
	if err != nil {
		return nil, err
	}
	text, err := decided.Stdout(ctx)
	if err != nil {
		return nil, err
	}
	return readDecision(text, code, func() string { return said(ctx, decided) })
}
