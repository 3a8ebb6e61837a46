package report

import (
	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
)

func planOf() Plan {
	index := PlanMigration{File: "app/postgres/migrations/00007_index.sql", Findings: []checks.Finding{{
		Tool: "migrations", Rule: "index-without-concurrently", Severity: "high", File: "app/postgres/migrations/00007_index.sql", Line: 3,
		Message: "writers wait until the index is built", Fix: "CREATE INDEX CONCURRENTLY, in a migration without a transaction",
	}}}
	column := PlanMigration{File: "app/postgres/migrations/00008_column.sql"}
	return Plan{
		App: "smartcloudops", Commit: commit, Base: "00112233445566778899", Release: id("ab"),
		Environments: []PlanEnvironment{
			{
				Name: "staging", Now: id("cd"), NowCommit: "00112233445566778899", Next: id("ab"), NextCommit: commit, Migrations: []PlanMigration{index, column},
				Changes: []PlanChange{
					{Name: "config.LOG_LEVEL", Change: Changed, From: "info", To: "debug"},
					{Name: "secrets.API_TOKEN", Change: Added, Secret: true, To: Reference(environments.Secret{Env: "STAGING_API_TOKEN"})},
				},
			},
			{Name: "production", Now: id("ef"), Next: id("ab"), Held: "by Bob: the freeze of the year's end", Changes: []PlanChange{
				{Name: "secrets.API_TOKEN", Change: Changed, Secret: true, From: "file:/etc/token", To: "s3cr3t-value"},
				{Name: "config.BANNER", Change: Removed, From: "a|b"}, {Name: "config.EMPTY", Change: Changed, From: "not set"},
			}},
			{Name: "demo", Now: id("ab"), Next: id("ab")},
			{Name: "fresh", Problem: "its declaration does not validate: demo.yaml:3: instances.max is missing"},
		},
	}
}
