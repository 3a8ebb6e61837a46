package checks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"
)

// vulnMessage is one message of govulncheck -format json.
type vulnMessage struct {
	Config *struct {
		DB             string     `json:"db"`
		DBLastModified *time.Time `json:"db_last_modified"`
	} `json:"config"`
	OSV *struct {
		ID      string `json:"id"`
		Summary string `json:"summary"`
	} `json:"osv"`
	Finding *struct {
		OSV          string `json:"osv"`
		FixedVersion string `json:"fixed_version"`
		Trace        []struct {
			Module   string `json:"module"`
			Version  string `json:"version"`
			Package  string `json:"package"`
			Function string `json:"function"`
			Receiver string `json:"receiver"`
			Position *struct {
				Filename string `json:"filename"`
				Line     int    `json:"line"`
			} `json:"position"`
		} `json:"trace"`
	} `json:"finding"`
}

func scanVulns(ctx context.Context, in Input, env []string, program string, p *ScanPayload) ([]Finding, error) {
	args := []string{"-format", "json"}
	if db := os.Getenv("GOVULNDB"); db != "" {
		args = append(args, "-db", db)
	}
	stdout, stderr, code, err := toolsRun(ctx, in.Source, env, program, append(args, in.Declarations.App.Build.Package)...)
	if err != nil {
		return nil, fmt.Errorf("govulncheck: %w", err)
	}
	if code != 0 {
		said := toolsLastLine(stderr)
		for _, away := range []string{"dial tcp", "no such host", "connection refused", "HTTP GET", "i/o timeout", "fetching vulnerabilities"} {
			if strings.Contains(string(stderr), away) {
				return nil, &scanAway{"the vulnerability database can't be reached (" + said + "): set GOVULNDB to a copy, as file:///folder"}
			}
		}
		return nil, fmt.Errorf("govulncheck (exit %d): %s", code, said)
	}
	summaries := map[string]string{}
	reachable, imported := map[string]Finding{}, map[string]Finding{}
	sawConfig := false
	dec := json.NewDecoder(bytes.NewReader(stdout))
	for {
		var m vulnMessage
		if err := dec.Decode(&m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("govulncheck: %w", err)
		}
		switch {
		case m.Config != nil:
			sawConfig = true
			if m.Config.DBLastModified != nil {
				p.DatabaseDate = m.Config.DBLastModified.UTC()
			}
		case m.OSV != nil:
			summaries[m.OSV.ID] = m.OSV.Summary
		case m.Finding != nil && len(m.Finding.Trace) > 0:
			first, last := m.Finding.Trace[0], m.Finding.Trace[len(m.Finding.Trace)-1]
			f := Finding{
				Tool: "govulncheck", Rule: m.Finding.OSV, Severity: "low",
				Message: fmt.Sprintf("%s@%s: %s", first.Module, first.Version, summaries[m.Finding.OSV]),
			}
			switch {
			case m.Finding.FixedVersion == "":
				f.Fix = "no version is fixed yet: stop using it, or waive it"
			case first.Module == "stdlib":
				f.Fix = "build with Go " + strings.TrimPrefix(m.Finding.FixedVersion, "v") + " or newer (build.toolchain in app.yaml)"
			default:
				f.Fix = "go get " + first.Module + "@" + m.Finding.FixedVersion
			}
			if first.Function == "" {
				if _, ok := imported[f.Rule]; !ok {
					imported[f.Rule] = f
				}
				continue
			}
			f.Severity = "high"
			f.Message += "; " + first.Package + "." + first.Function + " is called"
			if last.Position != nil {
				f.File, f.Line = scanRelative(in.Source, filepath.Join(in.Source, last.Position.Filename)), last.Position.Line
				if filepath.IsAbs(last.Position.Filename) {
					f.File = scanRelative(in.Source, last.Position.Filename)
				}
			}
			if old, ok := reachable[f.Rule]; !ok || old.File == "" {
				reachable[f.Rule] = f
			}
		}
	}
	if !sawConfig {
		return nil, errors.New("govulncheck said nothing of its database")
	}
	if p.DatabaseDate.IsZero() {
		if dir, ok := strings.CutPrefix(os.Getenv("GOVULNDB"), "file://"); ok {
			if p.DatabaseDate, err = scanDatabaseDate(dir); err != nil {
				return nil, err
			}
		}
	}
	var out []Finding
	for id, f := range reachable {
		delete(imported, id)
		out = append(out, f)
	}
	p.ReachableVulns, p.ImportedVulns = len(reachable), len(imported)
	for _, f := range imported {
		out = append(out, f)
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].Severity != out[j].Severity {
			return out[i].Severity == "high"
		}
		return out[i].Rule < out[j].Rule
	})
	return out, nil
}

// scanDatabaseDate is when a database in a folder last changed: what its index
// says, else the newest modification that one of its entries states.
func scanDatabaseDate(dir string) (time.Time, error) {
	var index struct {
		Modified time.Time `json:"modified"`
	}
	if b, err := os.ReadFile(filepath.Join(dir, "index", "db.json")); err == nil && json.Unmarshal(b, &index) == nil {
		return index.Modified.UTC(), nil
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) == 0 {
		return time.Time{}, fmt.Errorf("GOVULNDB: %s holds no vulnerability database", dir)
	}
	// As they stand in the database's own repository, entries have no date of
	// modification yet.
	var newest time.Time
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return time.Time{}, fmt.Errorf("GOVULNDB: %w", err)
		}
		var entry struct{ Modified, Published time.Time }
		if json.Unmarshal(b, &entry) != nil {
			continue
		}
		for _, t := range []time.Time{entry.Modified, entry.Published} {
			if t.After(newest) {
				newest = t
			}
		}
	}
	return newest.UTC(), nil
}
