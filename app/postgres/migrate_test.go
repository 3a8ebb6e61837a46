package postgres

import (
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/sync/errgroup"

	"github.com/smartcloudops/gate/app/internal/pgtest"
)

const tables = `SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'goose_db_version'`

func TestMigrateTwiceAndByTwoAtOnce(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	var both errgroup.Group
	for range 2 {
		both.Go(func() error { return Migrate(t.Context(), db.Migrator, quiet) })
	}
	if err := both.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := Migrate(t.Context(), db.Migrator, quiet); err != nil {
		t.Fatalf("a repeat: %v", err)
	}
	if n := pgtest.Value[int](t, db.App, `SELECT count(*) FROM goose_db_version WHERE version_id > 0`); n != 2 {
		t.Errorf("the schema counts %d versions, want 2: each migration once", n)
	}
}

func TestFailedMigrationChangesNothing(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	steps := fstest.MapFS{
		"00001_fine.sql":   {Data: []byte("-- +goose Up\nCREATE TABLE fine (id bigint PRIMARY KEY);\n")},
		"00002_broken.sql": {Data: []byte("-- +goose Up\nCREATE TABLE half (id bigint PRIMARY KEY);\nINSERT INTO fine VALUES (1);\nALTER TABLE absent ADD COLUMN x int;\n")},
	}
	err := migrate(t.Context(), db.Migrator, steps, quiet)
	if err == nil {
		t.Fatal("a broken migration passed")
	}
	if !strings.Contains(err.Error(), "00002_broken.sql failed and changed nothing, 1 before it were applied") || strings.Contains(err.Error(), "\n") {
		t.Errorf("the error does not say in one line what failed: %q", err)
	}
	if n := pgtest.Value[int](t, db.Migrator, tables); n != 1 {
		t.Errorf("%d tables after the failure, want only that of the first migration", n)
	}
	if n := pgtest.Value[int](t, db.Migrator, `SELECT count(*) FROM fine`); n != 0 {
		t.Errorf("the failed migration left %d rows", n)
	}
	steps["00002_broken.sql"] = &fstest.MapFile{Data: []byte("-- +goose Up\nCREATE TABLE half (id bigint PRIMARY KEY);\n")}
	if err := migrate(t.Context(), db.Migrator, steps, quiet); err != nil {
		t.Errorf("the mended migration: %v", err)
	}
}

func TestMigrateNeedsTheOwner(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	if err := Migrate(t.Context(), db.App, quiet); err == nil {
		t.Fatal("the role of the service could migrate")
	}
}

func TestReady(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := open(t, db)
	if got := reason(t, s); !strings.Contains(got, "no schema yet") {
		t.Errorf("an empty database: %q", got)
	}
	steps, err := migrations()
	if err != nil {
		t.Fatal(err)
	}
	first, err := fsFile(steps, "00001_metric_samples.sql")
	if err != nil {
		t.Fatal(err)
	}
	if err := migrate(t.Context(), db.Migrator, first, quiet); err != nil {
		t.Fatal(err)
	}
	if got := reason(t, s); !strings.Contains(got, "version 1, this release needs 2") {
		t.Errorf("an older schema: %q", got)
	}
	if err := Migrate(t.Context(), db.Migrator, quiet); err != nil {
		t.Fatal(err)
	}
	if got := reason(t, s); got != "" {
		t.Errorf("the right schema: %q", got)
	}
	pgtest.Exec(t, db.Migrator, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (3, true)`)
	if got := reason(t, s); got != "" {
		t.Errorf("a newer schema must stay ready for a rollback: %q", got)
	}
	if err := Migrate(t.Context(), db.Migrator, quiet); err != nil {
		t.Errorf("an older release migrates a newer schema: %v", err)
	}
	pgtest.Exec(t, db.Migrator, `REVOKE SELECT ON goose_db_version FROM `+pgtest.App)
	if got := reason(t, s); !strings.Contains(got, "grant it SELECT") {
		t.Errorf("no privilege: %q", got)
	}
}

func TestServiceRoleCannotChangeTheSchema(t *testing.T) {
	t.Parallel()
	s, _ := migrated(t)
	for _, sql := range []string{
		`CREATE TABLE mine (id int)`,
		`ALTER TABLE metric_samples ADD COLUMN x int`,
		`DROP TABLE metric_samples`,
		`TRUNCATE metric_samples`,
		`CREATE SCHEMA mine`,
	} {
		_, err := s.pool.Exec(t.Context(), sql)
		if sqlState(err) != insufficientPrivilege {
			t.Errorf("%s: got %v, want insufficient privilege", sql, err)
		}
	}
}
