package ddl

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// rules are what Lint finds, as "line rule table", low ones only when asked for.
func rules(r Report, low bool) []string {
	var out []string
	for _, f := range r.Findings {
		if f.Severity != Low || low {
			out = append(out, strings.TrimSpace(fmt.Sprintf("%d %s %s", f.Line, f.Rule, f.Table)))
		}
	}
	return out
}

func TestRules(t *testing.T) {
	for sql, want := range map[string][]string{
		// what stops users
		"ALTER TABLE a ALTER b TYPE bigint":                                {"1 column-type a"},
		"ALTER TABLE shop.a ALTER COLUMN b SET DATA TYPE text":             {"1 column-type shop.a"},
		"ALTER TABLE a ADD b uuid DEFAULT gen_random_uuid()":               {"1 volatile-default a"},
		"ALTER TABLE a ADD b float DEFAULT 1 + random()":                   {"1 volatile-default a"},
		"ALTER TABLE a ADD b bigserial":                                    {"1 volatile-default a"},
		"ALTER TABLE a ADD b int GENERATED ALWAYS AS (c + 1) STORED":       {"1 rewrite a"},
		"ALTER TABLE a ADD b int NOT NULL":                                 {"1 not-null-without-default a"},
		"ALTER TABLE a ADD b int UNIQUE":                                   {"1 constraint-builds-index a"},
		"ALTER TABLE a ADD b int CHECK (b > 0)":                            {"1 constraint-not-valid a"},
		"ALTER TABLE a ALTER b SET NOT NULL":                               {"1 set-not-null a"},
		"ALTER TABLE a ADD CONSTRAINT c CHECK (b > 0)":                     {"1 constraint-not-valid a"},
		"ALTER TABLE a ADD CONSTRAINT c FOREIGN KEY (b) REFERENCES d (e)":  {"1 constraint-not-valid a"},
		"ALTER TABLE a ADD CONSTRAINT c UNIQUE (b)":                        {"1 constraint-builds-index a"},
		"ALTER TABLE a ADD PRIMARY KEY (b)":                                {"1 constraint-builds-index a"},
		"ALTER TABLE a SET UNLOGGED":                                       {"1 rewrite a"},
		"CREATE INDEX i ON a (b)":                                          {"1 index-without-concurrently a"},
		"CREATE INDEX CONCURRENTLY i ON a (b)":                             {"1 concurrently-in-transaction"},
		"REINDEX TABLE a":                                                  {"1 reindex-without-concurrently a"},
		"CLUSTER a USING i":                                                {"1 cluster a"},
		"VACUUM (FULL) a":                                                  {"1 vacuum-full a"},
		"VACUUM FULL":                                                      {"1 vacuum-full"},
		"LOCK TABLE a":                                                     {"1 lock-table a"},
		"TRUNCATE a, b":                                                    {"1 truncate", "1 truncate", "1 several-locks a"},
		"UPDATE a SET b = 1":                                               {"1 whole-table a"},
		"DELETE FROM a":                                                    {"1 whole-table a"},
		"DROP INDEX i":                                                     {"1 drop-index-without-concurrently"},
		"ALTER TABLE a DROP b":                                             {"1 drop-column a"},
		"DROP TABLE a":                                                     {"1 drop-table a"},
		"ALTER TABLE a RENAME TO b":                                        {"1 rename"},
		"ALTER TABLE a RENAME b TO c":                                      {"1 rename"},
		"DO $$ BEGIN PERFORM 1; END $$":                                    {"1 hidden"},
		"ALTER TABLE a ADD b int;\nUPDATE a SET b = 1 WHERE c":             {"2 work-under-lock a"},
		"ALTER TABLE a ADD b int;\n\n-- why\nALTER TABLE c ADD b int;":     {"4 several-locks a"},
		"BEGIN; ALTER TABLE a ADD b int; COMMIT; UPDATE a SET b=1 WHERE c": nil,
		// what does not
		"ALTER TABLE a ADD b int":                                nil,
		"ALTER TABLE a ADD b timestamptz NOT NULL DEFAULT now()": nil,
		"ALTER TABLE a ADD b int NOT NULL DEFAULT 7":             nil,
		"ALTER TABLE a ADD CONSTRAINT c CHECK (b > 0) NOT VALID": nil,
		"ALTER TABLE a VALIDATE CONSTRAINT c":                    nil,
		"ALTER TABLE a ADD CONSTRAINT c UNIQUE USING INDEX i":    nil,
		"ALTER TABLE a ALTER b SET DEFAULT random()":             nil,
		"VACUUM a":                          nil,
		"LOCK TABLE a IN ACCESS SHARE MODE": nil,
		"UPDATE a SET b = 1 WHERE c = 2":    nil,
		"CREATE TABLE a (b int); CREATE INDEX i ON a (b); DROP INDEX i; UPDATE a SET b=1": nil,
		"CREATE TABLE public.a (b int); ALTER TABLE a ALTER b TYPE bigint; TRUNCATE a":    nil,
		"-- +goose NO TRANSACTION\n-- +goose Up\nCREATE INDEX CONCURRENTLY i ON a (b);":   nil,
		// what can't be read
		"ALTER TABLE a ADD b int;\nALTER TABEL a ADD c int;": {"2 unparsable"},
		"\\connect x":                  {"1 unparsable"},
		"-- nothing":                   {"1 empty"},
		"":                             {"1 empty"},
		"-- +goose Down\nDROP TABLE a": {"1 unreadable"},
		"-- +goose ENVSUB ON\n-- +goose Up\nSELECT 1": {"1 unreadable"},
	} {
		if diff := cmp.Diff(want, rules(Lint([]File{{"m.sql", sql}}, Options{}), false), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: %s", sql, diff)
		}
	}
}

func TestGooseAnnotations(t *testing.T) {
	const sql = `-- +goose Up
-- Ünïcode before it must not move the line.
-- +goose StatementBegin
CREATE FUNCTION f() RETURNS trigger AS $$
BEGIN
  DELETE FROM a; -- not carried out by the migration
  RETURN NEW;
END
$$ LANGUAGE plpgsql;
-- +goose StatementEnd

CREATE INDEX i
  ON a (b);

-- +goose Down
DROP TABLE a;
TRUNCATE c;
`
	r := Lint([]File{{"1.sql", sql}}, Options{})
	if diff := cmp.Diff([]string{"12 index-without-concurrently a"}, rules(r, false)); diff != "" {
		t.Error(diff)
	}
	if r.Statements != 2 {
		t.Errorf("%d statements", r.Statements)
	}
}

func TestAWayDownIsNotLookedAt(t *testing.T) {
	r := Lint([]File{{"1_a.up.sql", "CREATE TABLE a (b int)"}, {"1_a.down.sql", "DROP TABLE z"}}, Options{})
	if len(r.Findings) > 0 || r.Statements != 1 {
		t.Errorf("%+v", r)
	}
}

// TestNotNullInThreeSteps: what a validated check proves need not be read again.
func TestNotNullInThreeSteps(t *testing.T) {
	files := []File{
		{"1.sql", "ALTER TABLE a ADD CONSTRAINT n CHECK (b IS NOT NULL) NOT VALID"},
		{"2.sql", "ALTER TABLE a VALIDATE CONSTRAINT n"},
		{"3.sql", "ALTER TABLE a ALTER b SET NOT NULL"},
	}
	if r := Lint(files, Options{}); len(rules(r, false)) > 0 {
		t.Errorf("%+v", r.Findings)
	}
	if got := rules(Lint(slices.Delete(files, 1, 2), Options{}), false); !slices.Equal(got, []string{"1 set-not-null a"}) {
		t.Errorf("not validated, and yet %v", got)
	}
}

func TestLockTimeout(t *testing.T) {
	const alter = "ALTER TABLE a ADD b int"
	for sql, want := range map[string]bool{
		alter:                               true,
		"SET lock_timeout = '5s'; " + alter: false,
		"SET LOCAL lock_timeout = 5000; " + alter:                 false,
		"SET lock_timeout = 0; " + alter:                          true,
		"SET lock_timeout = '0'; " + alter:                        true,
		"RESET lock_timeout; " + alter:                            true,
		"SELECT set_config('lock_timeout', '5s', true); " + alter: false,
		"CREATE TABLE a (c int); " + alter:                        false,
	} {
		got := rules(Lint([]File{{"m.sql", sql}}, Options{}), true)
		if slices.Contains(got, "1 no-lock-timeout a") != want {
			t.Errorf("%s: %v", sql, got)
		}
	}
	if got := rules(Lint([]File{{"m.sql", alter}}, Options{LockTimeout: true}), true); len(got) > 0 {
		t.Errorf("set from outside, and yet %v", got)
	}
}

func FuzzLint(f *testing.F) {
	f.Add("-- +goose Up\nALTER TABLE a ADD b int;")
	f.Fuzz(func(t *testing.T, sql string) {
		if r := Lint([]File{{"m.sql", sql}}, Options{}); r.Statements == 0 && len(r.Findings) == 0 {
			t.Error("nothing was read, and nothing said")
		}
	})
}
