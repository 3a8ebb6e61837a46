package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/smartcloudops/gate/pipeline/dagger/internal/dagger"
	"github.com/smartcloudops/gate/pipeline/dagger/plain"
)

// Fail unless the check has measured, and what it measured has not failed.
//
// Returns the evidence.
func (e *Evidence) Sync() (*Evidence, error) {
	switch {
	case e.Status != "completed" && e.Status != "not_applicable":
		return nil, fmt.Errorf("%s: %s: %s", e.Check, e.Status, e.Reason)
	case e.Exit == codeFail:
		return nil, fmt.Errorf("%s: fail; call … directory export --path=out, and see out/result.json", e.Check)
	}
	return e, nil
}

// codeFail is gate's exit code for a failing verdict.
const codeFail = 3

// errNothing: a check left no evidence, since what it needs did not come about.
var errNothing = errors.New("nothing was measured")

// anyExit keeps what an exec wrote, whatever it ended with.
var anyExit = dagger.ContainerWithExecOpts{Expect: dagger.ReturnTypeAny}

// measure measures one check. with is evidence of the same call, which admits the
// commit to the environment.
func (m *Gate) measure(ctx context.Context, check string, c plain.Call, with []*dagger.Directory, tools ...tool) (*Evidence, error) {
	base := m.machine()
	if slices.Contains(running, check) {
		base = m.withPostgres()
	}
	on, err := m.withTools(ctx, m.measuring(base, c), tools...)
	if err != nil {
		return nil, err
	}
	args := append([]string{"gate", "verify", string(m.Environment), "--check", check}, c.Flags()...)
	if check == "tests" {
		args = append([]string{"gate", "test"}, c.Flags()...)
	}
	on, args = withEvidence(on, args, with)
	ended := on.WithExec(args, anyExit)
	code, err := ended.ExitCode(ctx)
	if err != nil {
		return nil, err
	}
	out := ended.Directory(plain.OutDir)
	files, err := out.Glob(ctx, "evidence/"+check+"*.json")
	if err != nil {
		return nil, err
	}
	if len(files) != 1 {
		return nil, fmt.Errorf("%s: %w (gate ended with %d): %s", check, errNothing, code, said(ctx, ended))
	}
	text, err := out.File(files[0]).Contents(ctx)
	if err != nil {
		return nil, err
	}
	var e struct{ Check, Status, Reason, Nonce string }
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		return nil, fmt.Errorf("%s: evidence: %w", check, err)
	}
	if e.Check != check || e.Nonce != c.Nonce {
		return nil, fmt.Errorf("%s: the evidence is of check %.80q in another call", check, e.Check)
	}
	return &Evidence{Directory: out, Check: e.Check, Status: e.Status, Reason: e.Reason, Nonce: e.Nonce, Exit: code, Json: text}, nil
}

// running are the checks that need the environment to serve.
var running = []string{"load", "update", "rollback", "restart", "scaling", "migration", "backup", "alerting", "tls", "network", "secrets"}

// withEvidence mounts evidence and names it to gate.
func withEvidence(on *dagger.Container, args []string, with []*dagger.Directory) (*dagger.Container, []string) {
	for i, d := range with {
		at := "/work/with/" + strconv.Itoa(i)
		on, args = on.WithMountedDirectory(at, d), append(args, "--with", at)
	}
	return on, args
}

// said is why gate stopped: the summary of what it wrote, else the last that it
// told people.
func said(ctx context.Context, c *dagger.Container) string {
	if text, err := c.File(plain.OutDir + "/result.json").Contents(ctx); err == nil {
		var r struct{ Summary string }
		if json.Unmarshal([]byte(text), &r) == nil && r.Summary != "" {
			return r.Summary
		}
	}
	text, err := c.Stderr(ctx)
	if err != nil {
		return err.Error()
	}
	var last []string
	for line := range strings.Lines(text) {
		if why, ok := strings.CutPrefix(strings.TrimSpace(line), "gate: "); ok {
			last = append(last, why)
		}
	}
	return strings.Join(last, "; ")
}
