package checks

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// leaksRules are gitleaks' own, whatever the commit brings along: a commit must
// not be able to excuse itself.
const leaksRules = "[extend]\nuseDefault = true\n"

// Leaks looks for secrets in every file of the commit, docs included. Comments
// and ignore files of the commit that would hide one have no say, so that a
// deliberate one, in a test, has to be put together when the test runs.
func Leaks() Check {
	return Check{
		Name: "leaks", Criterion: "scan", Version: 1, Scope: OfRelease, Title: "secrets in the files of the commit",
		Parameters: func(in Input) map[string]string {
			return map[string]string{"tree": in.TreeDigest, "gitleaks": toolsGitleaks.version}
		},
		Estimate: func(Input) time.Duration { return 3 * time.Second },
		Measure:  leaksMeasure,
		Pool: func(payloads [][]byte) ([]byte, error) {
			return poolWorst(payloads, func(a, b LeaksPayload) LeaksPayload {
				b.Files, b.Secrets = min(a.Files, b.Files), max(a.Secrets, b.Secrets)
				b.Findings = poolFindings(a.Findings, b.Findings)
				return b
			})
		},
	}
}

func leaksMeasure(ctx context.Context, in Input) (Measurement, error) {
	if in.Source == "" {
		return Measurement{Status: Unavailable, Reason: "the source of the commit is not at hand"}, nil
	}
	program, err := toolsInstalled(ctx, in.Tools, toolsGitleaks, in.Note)
	if err != nil {
		if ctx.Err() != nil {
			return Measurement{}, ctx.Err()
		}
		return Measurement{Status: Unavailable, Reason: err.Error()}, nil
	}
	work, err := os.MkdirTemp("", "gate-leaks-")
	if err != nil {
		return Measurement{}, fmt.Errorf("gitleaks: %w", err)
	}
	defer os.RemoveAll(work)
	rules, report := filepath.Join(work, "rules.toml"), filepath.Join(work, "report.json")
	if err := os.WriteFile(rules, []byte(leaksRules), 0o600); err != nil {
		return Measurement{}, fmt.Errorf("gitleaks: %w", err)
	}
	_, stderr, code, err := toolsRun(ctx, work, toolsEnviron(os.Environ()), program, "dir", in.Source,
		"--config", rules, "--gitleaks-ignore-path", work, "--ignore-gitleaks-allow",
		"--report-format", "json", "--report-path", report, "--redact=100", "--exit-code", "0", "--no-banner", "--no-color", "--log-level", "error")
	if err != nil {
		return Measurement{}, fmt.Errorf("gitleaks: %w", err)
	}
	if code != 0 {
		return Measurement{}, fmt.Errorf("gitleaks (exit %d): %s", code, toolsLastLine(stderr))
	}
	b, err := os.ReadFile(report)
	if err != nil {
		return Measurement{}, fmt.Errorf("gitleaks wrote no report: %w", err)
	}
	// Secret and Match are not even read.
	var found []struct {
		RuleID, Description, File string
		StartLine                 int
	}
	if err := json.Unmarshal(b, &found); err != nil {
		return Measurement{}, fmt.Errorf("gitleaks: %w", err)
	}
	p := LeaksPayload{Secrets: len(found)}
	for _, f := range found {
		p.Findings = append(p.Findings, Finding{
			Tool: "gitleaks", Rule: f.RuleID, Severity: "high", File: scanRelative(in.Source, f.File), Line: f.StartLine,
			Message: f.Description, Fix: "revoke it, and refer to it as a secret of the environment",
		})
	}
	err = filepath.WalkDir(in.Source, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			p.Files++
		}
		return err
	})
	if err != nil {
		return Measurement{}, fmt.Errorf("count the files of the commit: %w", err)
	}
	return Measurement{Status: Completed, Tools: map[string]string{"gitleaks": toolsGitleaks.version}, Payload: p}, nil
}
