package checks

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/smartcloudops/gate/checks/ddl"
	"github.com/smartcloudops/gate/environments"
)

// PendingMigrations is how the migrations of a release differ from those of
// what it replaces.
type PendingMigrations struct {
	Files   int      // that the release has
	Added   []string // files that only the release has, in the order of their names
	Altered []string // that have been carried out already and are others now
	Gone    []string // that have been carried out already and are no more
}

// ComparePending compares files, path → digest of the content.
func ComparePending(have, had map[string]string) PendingMigrations {
	p := PendingMigrations{Files: len(have)}
	for name, digest := range have {
		switch was, ok := had[name]; {
		case !ok:
			p.Added = append(p.Added, name)
		case was != digest:
			p.Altered = append(p.Altered, name)
		}
	}
	for name := range had {
		if _, ok := have[name]; !ok {
			p.Gone = append(p.Gone, name)
		}
	}
	slices.Sort(p.Added)
	slices.Sort(p.Altered)
	slices.Sort(p.Gone)
	return p
}

// Findings says what is wrong with migrations that have been carried out.
func (p PendingMigrations) Findings() []MigrationFinding {
	var out []MigrationFinding
	add := func(files []string, what string) {
		for _, f := range files {
			out = append(out, MigrationFinding{Finding: Finding{
				Tool: "migration", Rule: "applied-migration", Severity: "high", File: f, Message: what,
				Fix: "restore it as it was, and write a new migration",
			}})
		}
	}
	add(p.Altered, "has been carried out already and is another one now")
	add(p.Gone, "has been carried out already and is gone")
	return out
}

// LintMigrations looks at the files as statements on tables in use, and says
// how many statements it has read. Content is read by read.
func LintMigrations(app *environments.App, files []string, read func(name string) ([]byte, error)) (statements int, findings []MigrationFinding, err error) {
	var list []ddl.File
	for _, f := range slices.Sorted(slices.Values(files)) {
		b, err := read(f)
		if err != nil {
			return 0, nil, fmt.Errorf("read migration %s: %w", f, err)
		}
		list = append(list, ddl.File{Name: f, SQL: string(b)})
	}
	r := ddl.Lint(list, ddl.Options{LockTimeout: declaresLockTimeout(app)})
	for _, f := range r.Findings {
		findings = append(findings, MigrationFinding{
			Finding: Finding{Tool: "migration", Rule: f.Rule, Severity: f.Severity, File: f.File, Line: f.Line, Message: f.Message, Fix: f.Fix},
			Table:   f.Table,
		})
	}
	return r.Statements, findings, nil
}

// declaresLockTimeout: the command gets one by its environment or arguments.
func declaresLockTimeout(app *environments.App) bool {
	if app == nil || app.Migrate == nil {
		return false
	}
	for _, v := range app.Migrate.Env {
		if strings.Contains(v, "lock_timeout") {
			return true
		}
	}
	return slices.ContainsFunc(app.Migrate.Args, func(a string) bool { return strings.Contains(a, "lock_timeout") })
}

// migrationSource reads files below dir, and nothing that a link leads to
// outside of it.
func migrationSource(dir string) func(string) ([]byte, error) {
	return func(name string) ([]byte, error) {
		root, err := os.OpenRoot(dir)
		if err != nil {
			return nil, err
		}
		defer root.Close()
		return root.ReadFile(filepath.FromSlash(name))
	}
}

// carryOut runs the part of a migration that brings the schema forward, one
// statement after the other, in a transaction where it is written for one.
func carryOut(ctx context.Context, url, sql string) error {
	conn, err := migrationConnect(ctx, url)
	if err != nil {
		return err
	}
	defer migrationHangUp(conn)
	statements, one, err := ddl.Statements(sql)
	if err != nil {
		return err
	}
	if one {
		statements = append(append([]string{"BEGIN"}, statements...), "COMMIT")
	}
	for _, s := range statements {
		if _, err := conn.Exec(ctx, s); err != nil {
			return err
		}
	}
	return nil
}
