// Package plan says what a commit would change where its app runs.
package plan

import (
	"context"
	"fmt"
	"slices"

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
	var out []report.PlanMigration
	for name, digest := range have {
		switch was, ok := had[name]; {
		case !ok:
			out = append(out, report.PlanMigration{File: name})
		case was != digest:
			out = append(out, applied(name, "has been carried out already and is another one now"))
		}
	}
	for name := range had {
		if _, ok := have[name]; !ok {
			out = append(out, applied(name, "has been carried out already and is gone"))
		}
	}
	slices.SortFunc(out, func(a, b report.PlanMigration) int {
		if a.File < b.File {
			return -1
		}
		return 1
	})
	return out, nil
}

func applied(file, what string) report.PlanMigration {
	return report.PlanMigration{File: file, Findings: []checks.Finding{{
		Tool: "plan", Rule: "applied-migration", Severity: "high", File: file, Message: what,
		Fix: "restore it as it was, and write a new migration",
	}}}
}
