package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"

	"github.com/smartcloudops/gate/pipeline/dagger/internal/dagger"
)

// What the policies make of a release's evidence.
type Decision struct {
	// Verdict on all of it: pass, warn, fail, inconclusive or error. Only pass and warn promote.
	Verdict string
	// Digest of the release that was judged.
	Release string
	// Environment that it was judged for.
	Environment string
	// Verdicts on each criterion.
	Criteria []Criterion
	// Exit code of gate decide: 0 pass or warn, 3 fail, 4 not enough to tell, 1 error.
	Exit int
	// The decision as gate wrote it.
	Json string
}

// Verdict on one criterion.
type Criterion struct {
	// Name of the criterion.
	Name string
	// pass, warn, fail, inconclusive or error.
	Verdict string
	// What was measured.
	Got string
	// What was wanted.
	Want string
	// Why the verdict is what it is.
	Why string
	// What to do next.
	Next string
}

// Decide on evidence, by the policies.
//
// It is imported into a ledger that is gone when the call ends: the commit is built again, none of its code runs, and whatever is not of this commit, this nonce and this time is refused.
//
// Returns the decision: the verdict in all, and on each criterion.
//
// +cache="never"
func (m *Gate) Decide(
	ctx context.Context,
	// Folder of evidence, as verify and run return it.
	evidence *dagger.Directory,
	// What the call that measured was given as its nonce.
	nonce string,
	// When that call began, as in 2026-01-02T03:04:05Z: nothing older is taken.
	since string,
	// When it ended (default: now).
	// +optional
	until string,
	// Commit that was to be measured.
	// +default="HEAD"
	commit string,
) (*Decision, error) {
	decided := m.judging(evidence, nonce, since, until, commit).
		WithExec([]string{"gate", "decide", m.Environment, "--output", "json"}, anyExit)
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

// judging is a bench with a ledger that has the evidence.
func (m *Gate) judging(evidence *dagger.Directory, nonce, since, until, commit string) *dagger.Container {
	args := []string{"gate", "evidence", "import", "/work/evidence", "--commit", commit, "--nonce", nonce, "--since", since}
	if until != "" {
		args = append(args, "--until", until)
	}
	return always(m.built(commit).WithMountedDirectory("/work/evidence", evidence)).WithExec(args)
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
