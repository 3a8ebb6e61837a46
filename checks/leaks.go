package checks

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// leaksRules are gitleaks' own, whatever the commit brings along: a commit must
// not be able to excuse itself.
const leaksRules = "[extend]\nuseDefault = true\n"

// Leaks looks for secrets in every file of the commit, docs and archives
// included, but for what gitleaks' own rules leave out: lock files, images and
// other binaries, vendored code. Comments and ignore files of the commit that
// would hide one have no say, so that a deliberate one, in a test, has to be put
// together when the test runs.
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

// leaksProbe is a made-up access key that is planted beside the commit: a search
// that does not find it has searched nothing. It stands here in two parts, or
// gate would find it in itself.
const leaksProbe = "AKIA" + "Z7VRSQ5TJN2XMWLP"

// leaksFound is one entry of gitleaks' report. Secret and Match are not even
// read.
type leaksFound struct {
	RuleID, Description, File string
	StartLine                 int
}

func leaksMeasure(ctx context.Context, in Input) (Measurement, error) {
	if in.Source == "" {
		return Measurement{Status: Unavailable, Reason: "the source of the commit is not at hand"}, nil
	}
	program, err := toolsInstalled(ctx, in.Tools, toolsGitleaks, "", in.Note)
	if err != nil {
		return toolsOutcome(ctx, err)
	}
	work, err := os.MkdirTemp("", "gate-leaks-")
	if err != nil {
		return Measurement{}, fmt.Errorf("gitleaks: %w", err)
	}
	defer os.RemoveAll(work)
	staged, err := leaksStage(ctx, in.Source, filepath.Join(work, "searched"))
	if err != nil {
		return Measurement{}, fmt.Errorf("copy the commit to search it: %w", err)
	}
	found, err := leaksSearch(ctx, program, work)
	if err != nil {
		return Measurement{}, fmt.Errorf("gitleaks: %w", err)
	}
	p, probed := LeaksPayload{Files: len(staged)}, false
	for _, f := range found {
		name, inner, packed := strings.Cut(f.File, "!")
		if name == "probe.txt" {
			probed = true
			continue
		}
		file, ok := staged[name]
		if !ok {
			// A file whose own name has an exclamation mark.
			if file, ok = staged[f.File]; !ok {
				return Measurement{}, fmt.Errorf("gitleaks found a secret in %q, which it was not given", f.File)
			}
			packed = false
		}
		finding := Finding{
			Tool: "gitleaks", Rule: f.RuleID, Severity: "high", File: file, Line: f.StartLine,
			Message: f.Description, Fix: "revoke it, and refer to it as a secret of the environment",
		}
		if packed {
			finding.Line, finding.Message = 0, finding.Message+" (in "+inner+")"
		}
		p.Findings = append(p.Findings, finding)
	}
	if !probed {
		return Measurement{Status: Invalid, Reason: "gitleaks did not find the key that gate planted for it"}, nil
	}
	slices.SortFunc(p.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Message, b.Message))
	})
	p.Secrets = len(p.Findings)
	return Measurement{Status: Completed, Tools: map[string]string{"gitleaks": toolsGitleaks.version}, Payload: p}, nil
}

// leaksSearch searches the folder searched in work.
func leaksSearch(ctx context.Context, program, work string) ([]leaksFound, error) {
	rules, report := filepath.Join(work, "rules.toml"), filepath.Join(work, "report.json")
	if err := os.WriteFile(rules, []byte(leaksRules), 0o600); err != nil {
		return nil, err
	}
	// Searched from within, so that no file's fate hangs on where the folder is.
	_, stderr, code, err := toolsRun(ctx, filepath.Join(work, "searched"), toolsEnviron(os.Environ()), program, "dir", ".",
		"--config", rules, "--gitleaks-ignore-path", work, "--ignore-gitleaks-allow", "--max-archive-depth", "3",
		"--report-format", "json", "--report-path", report, "--redact=100", "--exit-code", "0", "--no-banner", "--no-color", "--log-level", "error")
	if err != nil {
		return nil, err
	}
	if code != 0 {
		return nil, fmt.Errorf("exit %d: %s", code, toolsLastLine(stderr))
	}
	b, err := os.ReadFile(report)
	if err != nil {
		return nil, fmt.Errorf("no report: %w", err)
	}
	var found []leaksFound
	if err := json.Unmarshal(b, &found); err != nil {
		return nil, err
	}
	return found, nil
}

// leaksStage puts the files of the commit into dir, where the search finds no
// ignore file, and returns their names there with the ones that they have in
// the commit. gitleaks passes over every file with its own name in the path.
func leaksStage(ctx context.Context, source, dir string) (map[string]string, error) {
	staged := map[string]string{}
	err := filepath.WalkDir(source, func(file string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		rel, err := filepath.Rel(source, file)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		name := "commit/" + strings.ReplaceAll(rel, "gitleaks", "git~leaks")
		for staged[name] != "" {
			name = "commit/again/" + strings.TrimPrefix(name, "commit/")
		}
		staged[name] = rel
		return leaksCopy(file, filepath.Join(dir, filepath.FromSlash(name)))
	})
	if err != nil {
		return nil, err
	}
	return staged, os.WriteFile(filepath.Join(dir, "probe.txt"), []byte(leaksProbe+"\n"), 0o600)
}

func leaksCopy(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	r, err := os.Open(from) // #nosec G304 -- a file of the commit
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) // #nosec G304 -- in a folder of gate's own
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, w.Close())
}
