package checks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// vulnMessage is one message of govulncheck -format json.
type vulnMessage struct {
	Config *struct {
		DB             string     `json:"db"`
		DBLastModified *time.Time `json:"db_last_modified"`
		GoVersion      string     `json:"go_version"`
		ScanLevel      string     `json:"scan_level"`
	} `json:"config"`
	SBOM *struct {
		Modules []struct{} `json:"modules"`
		Roots   []string   `json:"roots"`
	} `json:"SBOM"`
	OSV *struct {
		ID      string `json:"id"`
		Summary string `json:"summary"`
	} `json:"osv"`
	Finding *vulnFinding `json:"finding"`
}

// vulnFinding has one frame for a module or package that is vulnerable, and the
// whole way from the vulnerable symbol to an entry point for one that is called.
type vulnFinding struct {
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
}

// scanVulns asks for the vulnerabilities of what goes into the release. It names
// the database to govulncheck, which itself knows no GOVULNDB.
func scanVulns(ctx context.Context, in Input, env []string, program string, p *ScanPayload) ([]Finding, error) {
	args := []string{"-format", "json"}
	db := os.Getenv("GOVULNDB")
	if db != "" {
		args = append(args, "-db", db)
	}
	dir, local := scanDatabaseFolder()
	var date time.Time
	if local {
		// govulncheck takes any folder for a database that knows of nothing.
		var err error
		if date, err = scanDatabaseDate(dir); err != nil {
			return nil, &toolsAway{err.Error()}
		}
	}
	stdout, stderr, code, err := toolsRun(ctx, in.Source, env, program, append(args, in.Declarations.App.Build.Package)...)
	if err != nil {
		return nil, fmt.Errorf("govulncheck: %w", err)
	}
	if code != 0 {
		said := toolsLastLine(stderr)
		if strings.Contains(said, "creating client:") || strings.Contains(said, "fetching vulnerabilities:") {
			return nil, &toolsAway{"the vulnerability database can't be reached (" + said + "): set GOVULNDB to a copy, as file:///folder"}
		}
		return nil, fmt.Errorf("govulncheck (exit %d): %s", code, said)
	}
	v, err := vulnRead(stdout)
	if err != nil {
		return nil, fmt.Errorf("govulncheck: %w", err)
	}
	switch want := in.Declarations.App.Build.Toolchain; {
	case v.ScanLevel != "symbol" || len(v.Roots) == 0 || v.modules == 0:
		return nil, errors.New("govulncheck did not look at what is called")
	case v.GoVersion != want:
		return nil, fmt.Errorf("govulncheck judged the standard library of %s, the release has that of %s", v.GoVersion, want)
	}
	p.Modules, p.DatabaseDate = v.modules, date
	if v.DBLastModified != nil && !v.DBLastModified.IsZero() {
		p.DatabaseDate = v.DBLastModified.UTC()
	}
	var out []Finding
	reachable, imported := v.findings(in.Source)
	p.ReachableVulns, p.ImportedVulns = len(reachable), len(imported)
	for _, m := range []map[string]Finding{reachable, imported} {
		for _, id := range slices.Sorted(maps.Keys(m)) {
			out = append(out, m[id])
		}
	}
	return out, nil
}

// vulnReport is what govulncheck said, in whatever order it said it.
type vulnReport struct {
	ScanLevel, GoVersion string
	DBLastModified       *time.Time
	Roots                []string
	modules              int
	summaries            map[string]string
	found                []*vulnFinding
}

func vulnRead(stdout []byte) (*vulnReport, error) {
	v := &vulnReport{summaries: map[string]string{}}
	for dec := json.NewDecoder(bytes.NewReader(stdout)); ; {
		var m vulnMessage
		if err := dec.Decode(&m); errors.Is(err, io.EOF) {
			return v, nil
		} else if err != nil {
			return nil, err
		}
		switch {
		case m.Config != nil:
			v.ScanLevel, v.GoVersion, v.DBLastModified = m.Config.ScanLevel, m.Config.GoVersion, m.Config.DBLastModified
		case m.SBOM != nil:
			v.modules, v.Roots = len(m.SBOM.Modules), m.SBOM.Roots
		case m.OSV != nil:
			v.summaries[m.OSV.ID] = m.OSV.Summary
		case m.Finding != nil:
			if len(m.Finding.Trace) == 0 {
				return nil, fmt.Errorf("%s was found nowhere", m.Finding.OSV)
			}
			v.found = append(v.found, m.Finding)
		}
	}
}

// findings are the vulnerabilities, each once: those with a call path to them,
// and those without.
func (v *vulnReport) findings(source string) (reachable, imported map[string]Finding) {
	reachable, imported = map[string]Finding{}, map[string]Finding{}
	for _, m := range v.found {
		symbol, entry := m.Trace[0], m.Trace[len(m.Trace)-1]
		f := Finding{
			Tool: "govulncheck", Rule: m.OSV, Severity: "low",
			Message: m.OSV + " in " + strings.TrimSuffix(symbol.Module+"@"+symbol.Version, "@") + ": " + v.summaries[m.OSV],
		}
		switch {
		case m.FixedVersion == "":
			f.Fix = "no version is fixed yet: stop using it, or waive it"
		case symbol.Module == "stdlib":
			f.Fix = "build with Go " + strings.TrimPrefix(m.FixedVersion, "v") + " or newer (build.toolchain in app.yaml)"
		default:
			f.Fix = "go get " + symbol.Module + "@" + m.FixedVersion
		}
		if symbol.Function == "" {
			if _, ok := imported[f.Rule]; !ok {
				imported[f.Rule] = f
			}
			continue
		}
		f.Severity = "high"
		f.Message += "; " + strings.Join(slices.DeleteFunc([]string{symbol.Package, symbol.Receiver, symbol.Function}, func(s string) bool { return s == "" }), ".") + " is called"
		for _, frame := range m.Trace {
			// The first of the commit's own frames is where its code leaves it.
			if frame.Module == entry.Module && frame.Position != nil && frame.Position.Line > 0 {
				f.File, f.Line = frame.Position.Filename, frame.Position.Line
				if filepath.IsAbs(f.File) {
					f.File = scanRelative(source, f.File)
				}
				break
			}
		}
		if old, ok := reachable[f.Rule]; !ok || old.File == "" {
			reachable[f.Rule] = f
		}
	}
	for id := range reachable {
		delete(imported, id)
	}
	return reachable, imported
}

// scanDatabaseFolder is the folder that GOVULNDB names, if it names one.
func scanDatabaseFolder() (dir string, local bool) {
	u, err := url.Parse(os.Getenv("GOVULNDB"))
	if err != nil || u.Scheme != "file" {
		return "", false
	}
	return filepath.FromSlash(u.Path), true
}

// scanDatabaseDate is when a database in a folder last changed: what its index
// says, else the newest time that one of its entries states. Entries as they
// are kept in Git state no modification, but when they were published or
// withdrawn. A folder without any such time is no database.
func scanDatabaseDate(dir string) (time.Time, error) {
	var newest time.Time
	read := func(file string) error {
		var entry struct{ Modified, Published, Withdrawn time.Time }
		b, err := os.ReadFile(file) // #nosec G304 -- the operator names the database
		if err == nil {
			err = json.Unmarshal(b, &entry)
		}
		for _, t := range []time.Time{entry.Modified, entry.Published, entry.Withdrawn} {
			if t.After(newest) {
				newest = t
			}
		}
		return err
	}
	files := []string{filepath.Join(dir, "index", "db.json")}
	if !toolsExists(files[0]) {
		files, _ = filepath.Glob(filepath.Join(dir, "*.json"))
	}
	for _, f := range files {
		if err := read(f); err != nil {
			return time.Time{}, fmt.Errorf("the vulnerability database in %s can't be read (%w): set GOVULNDB to a sound copy, as file:///folder", dir, err)
		}
	}
	if newest.IsZero() {
		return time.Time{}, fmt.Errorf("%s holds no vulnerability database: set GOVULNDB to a copy, as file:///folder, or unset it", dir)
	}
	return newest.UTC(), nil
}
