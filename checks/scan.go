package checks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// scanLiveFor is how long evidence from the live vulnerability database stands:
// it changes daily, and asking it would take as long as a scan.
const scanLiveFor = 24 * time.Hour

// Scan looks at the commit's own packages that go into the release:
// gosec for unsafe code, govulncheck for known vulnerabilities. The database is
// the one that GOVULNDB names, else the live one. A #nosec counts only with the
// rule that it is about and a reason, and is shown.
func Scan() Check {
	return Check{
		Name: "scan", Criterion: "scan", Version: 1, Scope: OfRelease, Title: "unsafe code and known vulnerabilities",
		Parameters: func(in Input) map[string]string {
			return map[string]string{
				"source":      in.SourceDigest,
				"package":     in.Declarations.App.Build.Package,
				"toolchain":   in.Declarations.App.Build.Toolchain,
				"gosec":       toolsGosec.version,
				"govulncheck": toolsGovulncheck.version,
			}
		},
		Current:  scanCurrent,
		Estimate: func(Input) time.Duration { return 20 * time.Second },
		Measure:  scanMeasure,
		Pool: func(payloads [][]byte) ([]byte, error) {
			return poolWorst(payloads, func(a, b ScanPayload) ScanPayload {
				b.Files, b.Modules = min(a.Files, b.Files), min(a.Modules, b.Modules)
				b.High, b.Medium, b.Low = max(a.High, b.High), max(a.Medium, b.Medium), max(a.Low, b.Low)
				b.ReachableVulns, b.ImportedVulns = max(a.ReachableVulns, b.ReachableVulns), max(a.ImportedVulns, b.ImportedVulns)
				// The newer run has asked the newer database too.
				if a.DatabaseDate.After(b.DatabaseDate) {
					b.DatabaseDate = a.DatabaseDate
				}
				b.Findings = poolFindings(a.Findings, b.Findings)
				return b
			})
		},
	}
}

// scanCurrent: a newer database may know more of the same source.
func scanCurrent(_ Input, e Evidence) bool {
	dir, local := scanDatabaseFolder()
	if !local {
		return time.Since(e.Finished) < scanLiveFor
	}
	var p ScanPayload
	if json.Unmarshal(e.Payload, &p) != nil {
		return false
	}
	date, err := scanDatabaseDate(dir)
	return err == nil && !date.After(p.DatabaseDate)
}

func scanMeasure(ctx context.Context, in Input) (Measurement, error) {
	if in.Source == "" {
		return Measurement{Status: Unavailable, Reason: "the source of the commit is not at hand"}, nil
	}
	toolchain := in.Declarations.App.Build.Toolchain
	env, err := toolsGoEnviron(ctx, toolchain)
	if err != nil {
		return toolsOutcome(ctx, err)
	}
	env = append(env, "CGO_ENABLED=0")
	folders, files, err := scanPackages(ctx, in, env)
	if err != nil {
		return toolsOutcome(ctx, err)
	}
	var p ScanPayload
	var wg sync.WaitGroup
	var errs [2]error
	each := func(i int, t toolsTool, f func(program string) error) {
		wg.Go(func() {
			program, err := toolsInstalled(ctx, in.Tools, t, toolchain, in.Note)
			if err == nil {
				err = f(program)
			}
			errs[i] = err
		})
	}
	var unsafe, vulnerable []Finding
	each(0, toolsGosec, func(program string) (err error) {
		unsafe, err = scanGosec(ctx, in, env, program, folders, files, &p)
		return err
	})
	each(1, toolsGovulncheck, func(program string) (err error) {
		vulnerable, err = scanVulns(ctx, in, env, program, &p)
		return err
	})
	wg.Wait()
	for _, err := range errs {
		// One that broke counts before one that is away.
		var away *toolsAway
		if err != nil && !errors.As(err, &away) {
			return toolsOutcome(ctx, err)
		}
	}
	if err := errors.Join(errs[:]...); err != nil {
		return toolsOutcome(ctx, err)
	}
	p.Findings = slices.Concat(vulnerable, unsafe)
	return Measurement{
		Status: Completed, Payload: p,
		Tools: map[string]string{
			"gosec": toolsGosec.version, "govulncheck": toolsGovulncheck.version, "vulnerability database": p.DatabaseDate.Format(time.RFC3339),
		},
	}, nil
}

// scanPackages are the folders of the commit's own packages in the release, and
// how many Go files are in them.
func scanPackages(ctx context.Context, in Input, env []string) (folders []string, files int, err error) {
	pkg := in.Declarations.App.Build.Package
	const format = `{{if not .Standard}}{{len .GoFiles}}{{"\t"}}{{.Dir}}{{end}}`
	out, stderr, code, err := toolsRun(ctx, in.Source, env, "go", "list", "-deps", "-f", format, pkg)
	if err != nil || code != 0 {
		if toolsUnreachable.Match(stderr) {
			return nil, 0, &toolsAway{fmt.Sprintf("the modules of %s can't be had (%s): reach the Go module proxy once, or fill the module cache", pkg, toolsSaid(stderr, err))}
		}
		return nil, 0, fmt.Errorf("list the packages of %s: %s", pkg, toolsSaid(stderr, err))
	}
	for line := range strings.Lines(string(out)) {
		count, dir, _ := strings.Cut(strings.TrimSpace(line), "\t")
		rel := scanRelative(in.Source, dir)
		// A module that stands beside the main one is the commit's own, too; what
		// is vendored is not.
		if dir == "" || filepath.IsAbs(rel) || strings.HasPrefix(rel, "vendor/") {
			continue
		}
		n, err := strconv.Atoi(count)
		if err != nil {
			return nil, 0, fmt.Errorf("list the packages of %s: %q", pkg, line)
		}
		folders, files = append(folders, dir), files+n
	}
	if files == 0 {
		return nil, 0, fmt.Errorf("%s has no code of its own to scan", pkg)
	}
	return folders, files, nil
}

// gosecReport is what gosec -fmt=json writes.
type gosecReport struct {
	Errors map[string][]struct {
		Line  int    `json:"line"`
		Error string `json:"error"`
	} `json:"Golang errors"`
	Issues []struct {
		Severity string `json:"severity"`
		RuleID   string `json:"rule_id"`
		Details  string `json:"details"`
		File     string `json:"file"`
		Line     string `json:"line"`
		CWE      struct {
			ID string `json:"id"`
		} `json:"cwe"`
		Autofix      string `json:"autofix"`
		Suppressions []struct {
			Justification string `json:"justification"`
		} `json:"suppressions"`
	}
	Stats struct {
		Files int `json:"files"`
	}
}

// scanGosec needs the count of files that gosec states: it skips what it can't
// load, and ends as if it had found nothing.
func scanGosec(ctx context.Context, in Input, env []string, program string, folders []string, files int, p *ScanPayload) ([]Finding, error) {
	args := append([]string{"-fmt=json", "-no-fail", "-track-suppressions", "-nosec-require-rules", "-nosec-require-justification", "-concurrency=1"}, folders...)
	stdout, stderr, code, err := toolsRun(ctx, in.Source, env, program, args...)
	if err != nil {
		return nil, fmt.Errorf("gosec: %w", err)
	}
	if code != 0 {
		return nil, fmt.Errorf("gosec (exit %d): %s", code, toolsLastLine(stderr))
	}
	var r gosecReport
	if err := json.Unmarshal(stdout, &r); err != nil {
		return nil, fmt.Errorf("gosec: %w: %s", err, toolsLastLine(stderr))
	}
	var out []Finding
	add := func(f Finding) {
		switch f.Severity {
		case "high":
			p.High++
		case "medium":
			p.Medium++
		default:
			f.Severity = "low"
			p.Low++
		}
		out = append(out, f)
	}
	for _, i := range r.Issues {
		line, _, _ := strings.Cut(i.Line, "-")
		n, _ := strconv.Atoi(line)
		f := Finding{Tool: "gosec", Rule: i.RuleID, Severity: strings.ToLower(i.Severity), File: scanRelative(in.Source, i.File), Line: n, Message: i.Details, Fix: i.Autofix}
		if i.CWE.ID != "" {
			f.Message += " (CWE-" + i.CWE.ID + ")"
		}
		if len(i.Suppressions) > 0 {
			f.Severity, f.Message = "low", f.Message+", suppressed: "+i.Suppressions[0].Justification
		}
		add(f)
	}
	for _, file := range slices.Sorted(maps.Keys(r.Errors)) {
		for _, e := range r.Errors[file] {
			if !strings.HasPrefix(e.Error, "invalid nosec directive") {
				return nil, fmt.Errorf("gosec could not read %s:%d: %s", scanRelative(in.Source, file), e.Line, toolsLastLine([]byte(e.Error)))
			}
			add(Finding{
				Tool: "gosec", Rule: "nosec", Severity: "low", File: scanRelative(in.Source, file), Line: e.Line,
				Message: "this #nosec does not count", Fix: "write it as #nosec G115 -- reason",
			})
		}
	}
	if p.Files = r.Stats.Files; p.Files < files {
		return nil, fmt.Errorf("gosec read %d of %d files: %s", p.Files, files, toolsLastLine(stderr))
	}
	return out, nil
}

// scanRelative is file as seen from source; a file elsewhere stays as it is.
func scanRelative(source, file string) string {
	real, err := filepath.EvalSymlinks(source)
	if err != nil {
		real = source
	}
	for _, root := range []string{source, real} {
		if rel, err := filepath.Rel(root, file); err == nil && filepath.IsLocal(rel) {
			return filepath.ToSlash(rel)
		}
	}
	return file
}
