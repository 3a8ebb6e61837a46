package checks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// scanLiveFor is how long evidence from the live vulnerability database stands:
// it changes daily, and asking it would take as long as a scan.
const scanLiveFor = 24 * time.Hour

// Scan looks at the packages of the main module that go into the release:
// gosec for unsafe code, govulncheck for known vulnerabilities. The database is
// the one that GOVULNDB names, else the live one.
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
	dir, local := strings.CutPrefix(os.Getenv("GOVULNDB"), "file://")
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
	env := append(toolsEnviron(os.Environ()), "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0", "GOTOOLCHAIN="+in.Declarations.App.Build.Toolchain)
	folders, modules, err := scanPackages(ctx, in, env)
	if err != nil {
		return Measurement{}, err
	}
	p := ScanPayload{Modules: modules}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var unavailable, broken error
	each := func(t toolsTool, f func(program string) error) {
		wg.Go(func() {
			program, err := toolsInstalled(ctx, in.Tools, t, in.Note)
			if err != nil {
				mu.Lock()
				unavailable = errors.Join(unavailable, err)
				mu.Unlock()
				return
			}
			if err := f(program); err != nil {
				mu.Lock()
				defer mu.Unlock()
				var away *scanAway
				if errors.As(err, &away) {
					unavailable = errors.Join(unavailable, err)
				} else {
					broken = errors.Join(broken, err)
				}
			}
		})
	}
	var unsafe, vulnerable []Finding
	each(toolsGosec, func(program string) (err error) {
		unsafe, err = scanGosec(ctx, in, env, program, folders, &p)
		return err
	})
	each(toolsGovulncheck, func(program string) (err error) {
		vulnerable, err = scanVulns(ctx, in, env, program, &p)
		return err
	})
	wg.Wait()
	switch {
	case ctx.Err() != nil:
		return Measurement{}, ctx.Err()
	case broken != nil:
		return Measurement{}, broken
	case unavailable != nil:
		return Measurement{Status: Unavailable, Reason: scanOneLine(unavailable)}, nil
	}
	p.Findings = append(vulnerable, unsafe...)
	return Measurement{
		Status: Completed, Payload: p,
		Tools: map[string]string{
			"gosec": toolsGosec.version, "govulncheck": toolsGovulncheck.version, "vulnerability database": p.DatabaseDate.Format(time.RFC3339),
		},
	}, nil
}

// scanAway marks that a tool could not get at what it needs.
type scanAway struct{ why string }

func (e *scanAway) Error() string { return e.why }

// scanPackages are the folders of the main module's packages in the release,
// and how many modules are in it.
func scanPackages(ctx context.Context, in Input, env []string) (folders []string, modules int, err error) {
	const format = `{{if not .Standard}}{{with .Module}}{{.Path}}{{"\t"}}{{.Main}}{{end}}{{"\t"}}{{.Dir}}{{end}}`
	out, stderr, code, err := toolsRun(ctx, in.Source, env, "go", "list", "-deps", "-f", format, in.Declarations.App.Build.Package)
	if err != nil || code != 0 {
		return nil, 0, fmt.Errorf("list the packages of %s: %s", in.Declarations.App.Build.Package, toolsLastLine(append(stderr, []byte(fmt.Sprint(err))...)))
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		if len(f) != 3 {
			continue
		}
		seen[f[0]] = true
		if f[1] == "true" {
			folders = append(folders, f[2])
		}
	}
	if len(folders) == 0 {
		return nil, 0, fmt.Errorf("%s has no package of its own to scan", in.Declarations.App.Build.Package)
	}
	return folders, len(seen), nil
}

// gosecReport is what gosec -fmt=json writes.
type gosecReport struct {
	Errors map[string]json.RawMessage `json:"Golang errors"`
	Issues []struct {
		Severity string `json:"severity"`
		RuleID   string `json:"rule_id"`
		Details  string `json:"details"`
		File     string `json:"file"`
		Line     string `json:"line"`
		CWE      struct {
			ID string `json:"id"`
		} `json:"cwe"`
		Autofix string `json:"autofix"`
	}
	Stats struct {
		Files int `json:"files"`
	}
}

func scanGosec(ctx context.Context, in Input, env []string, program string, folders []string, p *ScanPayload) ([]Finding, error) {
	args := append([]string{"-fmt=json", "-quiet", "-no-fail", "-concurrency=1"}, folders...)
	stdout, stderr, code, err := toolsRun(ctx, in.Source, env, program, args...)
	if err != nil {
		return nil, fmt.Errorf("gosec: %w", err)
	}
	var r gosecReport
	if err := json.Unmarshal(stdout, &r); err != nil {
		// Quiet, it writes nothing at all when it found nothing: then it is asked
		// again for its count of files, since nothing is no proof.
		if len(strings.TrimSpace(string(stdout))) > 0 {
			return nil, fmt.Errorf("gosec (exit %d): %w: %s", code, err, toolsLastLine(stderr))
		}
		stdout, stderr, code, err = toolsRun(ctx, in.Source, env, program, append([]string{"-fmt=json", "-no-fail", "-concurrency=1"}, folders...)...)
		if err != nil {
			return nil, fmt.Errorf("gosec: %w", err)
		}
		if err := json.Unmarshal(stdout, &r); err != nil {
			return nil, fmt.Errorf("gosec (exit %d): %w: %s", code, err, toolsLastLine(stderr))
		}
	}
	for file, e := range r.Errors {
		return nil, fmt.Errorf("gosec could not read %s: %.200s", scanRelative(in.Source, file), e)
	}
	p.Files = r.Stats.Files
	var out []Finding
	for _, i := range r.Issues {
		line, _, _ := strings.Cut(i.Line, "-")
		n, _ := strconv.Atoi(line)
		f := Finding{Tool: "gosec", Rule: i.RuleID, Severity: strings.ToLower(i.Severity), File: scanRelative(in.Source, i.File), Line: n, Message: i.Details}
		if i.CWE.ID != "" {
			f.Message += " (CWE-" + i.CWE.ID + ")"
		}
		f.Fix = i.Autofix
		switch f.Severity {
		case "high":
			p.High++
		case "medium":
			p.Medium++
		default:
			p.Low++
		}
		out = append(out, f)
	}
	return out, nil
}

func scanRelative(source, file string) string {
	real, err := filepath.EvalSymlinks(source)
	if err != nil {
		real = source
	}
	for _, root := range []string{source, real} {
		if rel, err := filepath.Rel(root, file); err == nil && !strings.HasPrefix(rel, "..") {
			return filepath.ToSlash(rel)
		}
	}
	return file
}

func scanOneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
