package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/policies"
)

// migrated is what the run's check of migrations has measured.
func (o outcome) migrated(t *testing.T) checks.MigrationPayload {
	t.Helper()
	for _, e := range o.Evidence {
		if e.Evidence.Check != "migration" {
			continue
		}
		var p checks.MigrationPayload
		if err := json.Unmarshal(e.Evidence.Payload, &p); err != nil {
			t.Fatalf("%v: %s", err, e.Evidence.Status)
		}
		t.Logf("%s", e.Evidence.Payload)
		return p
	}
	t.Fatal("no evidence of migration")
	return checks.MigrationPayload{}
}

// onMigration is what the run has decided on its migrations.
func (o outcome) onMigration() policies.Criterion {
	for _, d := range o.Decisions {
		for _, c := range d.Criteria {
			if c.ID == "migration" {
				return c
			}
		}
	}
	return policies.Criterion{Verdict: "absent"}
}

// TestMigrationsAreRehearsed puts a first release in an environment, then one
// with a migration that the first can live with, then one with a migration that
// the second can't live with, and one that keeps everybody from a big table.
func TestMigrationsAreRehearsed(t *testing.T) {
	drill(t)
	w := newWorld(t)
	if err := os.Remove(filepath.Join(w.clone, "environments/production.yaml")); err != nil {
		t.Fatal(err)
	}
	w.commit("staging alone")
	measure := func(code int) (checks.MigrationPayload, policies.Criterion) {
		t.Helper()
		w.want(promotion.CodePass, "deploy", "staging")
		r := w.gate("verify", "staging", "--check", "migration", "--output", "json")
		var o outcome
		if err := json.Unmarshal([]byte(r.out), &o); err != nil || r.code != code {
			t.Fatalf("%v: %s", err, r)
		}
		return o.migrated(t), o.onMigration()
	}
	migration := func(name, sql string) {
		if err := os.WriteFile(filepath.Join(w.clone, "app/postgres/migrations", name), []byte("-- +goose Up\n"+sql+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		w.commit(name)
	}

	p, c := measure(promotion.CodePass)
	if c.Verdict != policies.Warn || !strings.Contains(c.Why, "first release") || p.Rehearsal != nil || p.Files != 2 {
		t.Errorf("first release: %+v %+v", c, p)
	}
	if p.ACID.Acknowledged == 0 || p.ACID.Lost+p.ACID.Partial > 0 || p.ACID.Crashes != 2 || p.App == nil || p.App.Acknowledged == 0 || p.App.Lost > 0 {
		t.Errorf("first release: %+v %+v", p.ACID, p.App)
	}

	migration("00003_unit.sql", "ALTER TABLE metric_samples ADD COLUMN unit text;")
	p, c = measure(promotion.CodePass)
	if p.Pending != 1 || p.Statements != 1 || p.Rehearsal == nil || p.Rehearsal.Changes == 0 || p.Copy.At.IsZero() || p.RollbackUntil != "every migration" {
		t.Errorf("second release: %+v %+v", c, p)
	}

	migration("00004_gone.sql", "ALTER TABLE metric_samples RENAME COLUMN value TO reading;\n"+
		"INSERT INTO metric_samples (source, metric, sampled_at, reading) SELECT 'fill', 'm' || n, now(), n FROM generate_series(1, 150000) n;")
	w.replace("app/postgres/store.go", "sampled_at, value)", "sampled_at, reading)", "sampled_at, value FROM", "sampled_at, reading FROM")
	w.commit("the app follows")
	p, c = measure(promotion.CodeFail)
	if c.Verdict != policies.Fail || !strings.Contains(c.Why, "00004_gone.sql:2") || !strings.Contains(c.Why, "previous release fail on the new schema") || p.RollbackUntil != "no migration" {
		t.Errorf("third release: %+v %+v", c, p)
	}

	// ACCESS EXCLUSIVE on what is a big table by now, and for long.
	migration("00005_narrow.sql", "ALTER TABLE metric_samples ALTER COLUMN source TYPE varchar(200);\nSELECT pg_sleep(1.2);")
	p, c = measure(promotion.CodeFail)
	if c.Verdict != policies.Fail || !strings.Contains(c.Why, "00005_narrow.sql:2") {
		t.Errorf("fourth release: %+v %+v", c, p)
	}
	if h := p.Rehearsal; h == nil || h.LockSeconds < 1 || len(h.Locks) == 0 || h.Locks[0].Mode != "AccessExclusiveLock" || h.Locks[0].Relation != "public.metric_samples" {
		t.Errorf("fourth release: %+v", p.Rehearsal)
	}
}
