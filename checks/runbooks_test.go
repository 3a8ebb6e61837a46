package checks

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/smartcloudops/gate/environments"
)

// bookshelf is a source with a runbook for each alert.
func bookshelf(t *testing.T) (dir string, measure func() RunbooksPayload) {
	t.Helper()
	dir = t.TempDir()
	put := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, a := range Alerts() {
		put(a.Name+".md", fmt.Sprintf("---\nalert: %s\nowner: ops\nseverity: %s\nreview: 2099-01-31\n---\n# %s\n\n## Steps\n\n1. look\n2. mend\n", a.Name, a.Severity, a.Name))
	}
	put(incidentFile, "# Incident\n\n## Who\nops\n\n## Severity\npage\n\n## Communication\nby mail\n\n## Timeline\n1. see it\n")
	put(templateFile, "# What happened\n")
	in := Input{Declarations: &environments.Declarations{App: &environments.App{Runbooks: "."}}, Source: dir}
	return dir, func() RunbooksPayload {
		t.Helper()
		m, err := Runbooks().Measure(t.Context(), in)
		if err != nil || m.Status != Completed {
			t.Fatalf("%s %s, %v", m.Status, m.Reason, err)
		}
		return m.Payload.(RunbooksPayload)
	}
}

func TestRunbooksComplete(t *testing.T) {
	_, measure := bookshelf(t)
	p := measure()
	if len(p.Runbooks) != len(Alerts()) || len(p.Missing) != 0 || len(p.Findings) != 0 || !p.Incident.Present || len(p.Incident.Missing) != 0 || !p.Template || p.Runbooks[0].Steps != 2 || p.Earliest == nil {
		t.Errorf("%+v", p)
	}
}

func TestRunbooksFaults(t *testing.T) {
	for name, c := range map[string]struct {
		file, old, new string
		says           string
	}{
		"missing":              {"disk.md", "", "", "the alert disk has no runbook"},
		"no owner":             {"disk.md", "owner: ops", `owner: ""`, "no owner"},
		"no steps":             {"disk.md", "1. look\n2. mend\n", "to be done\n", "no steps"},
		"steps in a comment":   {"disk.md", "1. look\n2. mend\n", "<!--\n1. look\n-->\n", "no steps"},
		"no review date":       {"disk.md", "review: 2099-01-31", "review: soon", "no review date"},
		"other severity":       {"disk.md", "severity: ticket", "severity: page", "severity"},
		"another alert":        {"disk.md", "alert: disk", "alert: test", "names the alert test"},
		"no front matter":      {"disk.md", "---\n", "", "no front matter"},
		"unknown front matter": {"disk.md", "owner: ops", "owner: ops\ncolour: red", "can't be read"},
		"no procedure":         {incidentFile, "", "", "no procedure"},
		"nothing of who":       {incidentFile, "## Who\nops\n", "## Who\n", "nothing of who"},
		"no template":          {templateFile, "", "", "no template"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, measure := bookshelf(t)
			file := filepath.Join(dir, c.file)
			if c.old == "" {
				if err := os.Remove(file); err != nil {
					t.Fatal(err)
				}
			} else {
				b, err := os.ReadFile(file)
				if err != nil || !strings.Contains(string(b), c.old) {
					t.Fatalf("no %q: %v", c.old, err)
				}
				if err := os.WriteFile(file, []byte(strings.Replace(string(b), c.old, c.new, 1)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			p := measure()
			if !slices.ContainsFunc(p.Findings, func(f Finding) bool { return strings.Contains(f.Message, c.says) }) {
				t.Errorf("want a finding that says %q: %+v", c.says, p.Findings)
			}
		})
	}
}

func TestRunbooksUndeclared(t *testing.T) {
	m, err := Runbooks().Measure(t.Context(), Input{Declarations: &environments.Declarations{App: &environments.App{}}, Source: t.TempDir()})
	if err != nil || m.Status != Unavailable {
		t.Errorf("%+v, %v", m, err)
	}
}
