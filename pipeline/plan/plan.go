// Package plan says what a commit would change where its app runs.
package plan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/report"
)

// Clone is what a plan needs of the repository.
type Clone interface {
	// Files are the paths of the commit's files that match one of the patterns,
	// with the digest of each one's content.
	Files(ctx context.Context, commit string, patterns []string) (map[string]string, error)
	// Contents are what is in the files at the paths.
	Contents(ctx context.Context, commit string, paths []string) (map[string][]byte, error)
}

// Make compares the release with what each environment is to serve now.
func Make(ctx context.Context, c Clone, v *promotion.View, next *promotion.ReleaseRecord, base string) report.Plan {
	p := report.Plan{App: next.Declarations.App.Name, Commit: next.Commit, Base: base, Release: next.Release, Environments: []report.PlanEnvironment{}}
	for _, e := range next.Declarations.Environments {
		p.Environments = append(p.Environments, environment(ctx, c, v, next, e))
	}
	return p
}

func environment(ctx context.Context, c Clone, v *promotion.View, next *promotion.ReleaseRecord, e *environments.Environment) report.PlanEnvironment {
	ev := v.Environment(e.Name)
	out := report.PlanEnvironment{Name: e.Name, Next: next.Release, NextCommit: next.Commit}
	if ev.Hold != nil {
		out.Held = ev.Hold.Reason
	}
	out.NoReturn, out.Refused = v.NoReturn(e.Name, next), v.NoWayTo(e.Name, next.Release)
	now := v.Releases[ev.Desired]
	if now == nil && ev.Desired != "" {
		out.Problem = fmt.Sprintf("what it serves now is not known: the ledger has no release record %.19s that counts: gate doctor", ev.Desired)
		return out
	}
	if now == nil {
		now = &promotion.ReleaseRecord{Declarations: &environments.Declarations{App: &environments.App{}}}
	}
	out.Now, out.NowCommit = now.Release, now.Commit
	if was := now.Declarations.Environment(e.Name); was != nil {
		out.Changes = append(changes("app", now.Declarations.App, next.Declarations.App), changes("", was, e)...)
	}
	var err error
	if out.Migrations, err = migrations(ctx, c, now, next); err != nil {
		out.Problem = err.Error()
	}
	return out
}

// migrations are the files that next has and now has not. One that has been
// carried out already must stay as it is, whether next still declares it or not.
func migrations(ctx context.Context, c Clone, now, next *promotion.ReleaseRecord) ([]report.PlanMigration, error) {
	var files []string
	if m := next.Declarations.App.Migrate; m != nil {
		if files = m.Files; len(files) == 0 {
			return nil, fmt.Errorf("which migrations it brings is not known: list their files in environments/app.yaml, migrate.files")
		}
	}
	if a := now.Declarations.App; a != nil && a.Migrate != nil {
		files = slices.Concat(files, a.Migrate.Files)
	}
	if len(files) == 0 {
		return nil, nil
	}
	have, err := c.Files(ctx, next.Commit, files)
	if err != nil {
		return nil, fmt.Errorf("migrations of commit %.12s: %w", next.Commit, err)
	}
	had := map[string]string{}
	if now.Commit != "" {
		if had, err = c.Files(ctx, now.Commit, files); err != nil {
			return nil, fmt.Errorf("migrations of commit %.12s, which serves now: %w", now.Commit, err)
		}
	}
	return look(ctx, c, next, checks.ComparePending(have, had))
}

// look reads the migrations that are new. What is wrong with one is said of it,
// whatever the size of its tables: here nobody knows it.
func look(ctx context.Context, c Clone, next *promotion.ReleaseRecord, p checks.PendingMigrations) ([]report.PlanMigration, error) {
	content, err := c.Contents(ctx, next.Commit, p.Added)
	if err != nil {
		return nil, fmt.Errorf("migrations of commit %.12s: %w", next.Commit, err)
	}
	_, findings, err := checks.LintMigrations(next.Declarations.App, p.Added, func(name string) ([]byte, error) {
		b, ok := content[name]
		if !ok {
			return nil, errors.New("it can't be read")
		}
		return b, nil
	})
	if err != nil {
		return nil, err
	}
	of := map[string][]checks.Finding{}
	for _, f := range slices.Concat(p.Findings(), findings) {
		of[f.File] = append(of[f.File], f.Finding)
	}
	var out []report.PlanMigration
	for _, name := range slices.Concat(p.Added, p.Altered, p.Gone) {
		out = append(out, report.PlanMigration{File: name, Findings: of[name]})
	}
	slices.SortFunc(out, func(a, b report.PlanMigration) int { return strings.Compare(a.File, b.File) })
	return out, nil
}
