package cluster

import (
	"errors"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// denied checks that a statement fails for want of privilege, and not by a
// mistake in the statement.
func denied(t *testing.T, conn *pgx.Conn, who, statement string) {
	t.Helper()
	_, err := conn.Exec(deadline(t), statement)
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != stateNoPrivilege {
		t.Errorf("%s: %s: %v, want no privilege", who, statement, err)
	}
}

func checkPrivileges(t *testing.T, c *Cluster) {
	t.Helper()
	migrator := connect(t, c.MigratorURL())
	must(t, migrator,
		"CREATE TABLE items (id serial PRIMARY KEY, name text)",
		"ALTER TABLE items ADD COLUMN price int",
		"CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'",
		"CREATE SCHEMA extra", "CREATE TABLE extra.items (id int)",
		"CREATE TEMP TABLE t (id int)",
		"CREATE TABLE gone (id int)", "TRUNCATE gone", "DROP TABLE gone")
	app := connect(t, c.AppURL())
	must(t, app,
		"INSERT INTO items (name) VALUES ('a')", "UPDATE items SET price = 1", "SELECT setval('items_id_seq', 10)",
		"SELECT one()", "SELECT * FROM extra.items", "DELETE FROM items")
	for _, s := range []string{
		"CREATE TABLE mine (id int)", "ALTER TABLE items ADD COLUMN mine int", "DROP TABLE items", "TRUNCATE items",
		"CREATE TEMP TABLE mine (id int)", "CREATE SCHEMA mine", "CREATE ROLE mine", "CREATE DATABASE mine", "CREATE TABLE extra.mine (id int)",
		"SELECT * FROM pg_authid", "COPY items TO PROGRAM 'true'", "SET ROLE " + c.migratorRole(),
		"CREATE INDEX mine ON items (name)",
	} {
		denied(t, app, "app", s)
	}
	denied(t, migrator, "migrator", "CREATE ROLE mine")
	denied(t, migrator, "migrator", "COPY items TO PROGRAM 'true'")
	must(t, migrator, "DROP TABLE items, extra.items", "DROP SCHEMA extra", "DROP FUNCTION one()")
}

func TestRolesOfAnOwnClusterHaveLeastPrivilege(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	c := open(t, options(dir, nil))
	checkPrivileges(t, c)
	for _, database := range []string{"postgres", "template1"} {
		u, err := url.Parse(c.AppURL())
		if err != nil {
			t.Fatal(err)
		}
		u.Path = "/" + database
		if conn, err := pgx.Connect(deadline(t), u.String()); err == nil {
			hangUp(conn)
			t.Errorf("the app may enter database %s", database)
		}
	}

	// What a migration took away stays away when the cluster is opened again.
	must(t, connect(t, c.MigratorURL()), "CREATE TABLE audit (id int)", "REVOKE UPDATE, DELETE ON audit FROM "+c.appRole())
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = open(t, options(dir, nil))
	app := connect(t, c.AppURL())
	must(t, app, "INSERT INTO audit VALUES (1)")
	denied(t, app, "app", "DELETE FROM audit")

	// A role that somebody has made mighty is not used.
	must(t, connect(t, c.AdminURL()), "ALTER ROLE "+c.appRole()+" CREATEROLE")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := Open(deadline(t), options(dir, nil))
	if err == nil || !strings.Contains(err.Error(), "more than it should") {
		t.Fatalf("Open with a mighty app role: %v", err)
	}
	oneLiner(t, err)
	must(t, connect(t, c.AdminURL()), "ALTER ROLE "+c.appRole()+" NOCREATEROLE")
	open(t, options(dir, nil))
}

func TestExternalServer(t *testing.T) {
	t.Parallel()
	server := open(t, options(folder(t), nil))
	admin := connect(t, server.adminURL("postgres"))
	must(t, admin,
		"CREATE ROLE boss LOGIN CREATEROLE CREATEDB PASSWORD 'hunter2/'",
		"CREATE ROLE weak LOGIN PASSWORD 'hunter2/'",
		"CREATE ROLE rolesonly LOGIN CREATEROLE PASSWORD 'hunter2/'",
		"GRANT CONNECT ON DATABASE postgres TO boss, weak, rolesonly")
	u, err := url.Parse(server.AppURL())
	if err != nil {
		t.Fatal(err)
	}
	urlOf := func(user, password string) string {
		v := *u
		v.User, v.Path = url.UserPassword(user, password), "/postgres"
		return v.String()
	}
	external := func(dir, name, user string) Options {
		return Options{Dir: dir, Name: name, URL: urlOf(user, "hunter2/")}
	}

	dir := filepath.Join(t.TempDir(), "db")
	log := &notes{}
	o := external(dir, "crm_staging", "boss")
	o.Log = log
	c := open(t, o)
	if empty, err := c.Empty(deadline(t)); err != nil || !empty {
		t.Errorf("Empty = %v, %v", empty, err)
	}
	checkPrivileges(t, c)
	if err := errors.Join(c.Ping(deadline(t)), c.EnsureRunning(deadline(t))); err != nil {
		t.Error(err)
	}
	if want := "external, PostgreSQL "; !strings.HasPrefix(c.Describe(), want) || c.PID() != 0 {
		t.Errorf("Describe = %q, PID = %d", c.Describe(), c.PID())
	}
	if strings.Contains(log.String()+c.String(), "hunter2") {
		t.Error("the URL's password is printed")
	}

	// A second environment does not see the first, and a second Open of the first
	// finds everything as it was.
	second := open(t, external(filepath.Join(t.TempDir(), "db"), "crm_production", "boss"))
	other := *mustParse(t, second.AppURL())
	other.Path = "/crm_staging"
	if conn, err := pgx.Connect(deadline(t), other.String()); err == nil {
		hangUp(conn)
		t.Error("production's app may enter staging's database")
	}
	must(t, connect(t, c.MigratorURL()), "CREATE TABLE kept (id int)")
	before := c.AppURL()
	stop(t, c)
	c = open(t, o)
	if c.AppURL() != before {
		t.Error("another URL after the second Open")
	}
	must(t, connect(t, c.AppURL()), "SELECT * FROM kept")

	for name, test := range map[string]struct {
		options Options
		want    error
	}{
		"another state folder": {external(filepath.Join(t.TempDir(), "db"), "crm_staging", "boss"), ErrTaken},
		"wrong password":       {Options{Dir: t.TempDir(), Name: "crm_x", URL: urlOf("boss", "hunter2-wrong")}, ErrRefused},
		"no privileges":        {external(t.TempDir(), "crm_x", "weak"), ErrPrivileges},
		"no CREATEDB":          {external(t.TempDir(), "crm_x", "rolesonly"), ErrPrivileges},
		"nobody there":         {Options{Dir: t.TempDir(), Name: "crm_x", URL: "postgres://boss:hunter2@" + closedPort(t) + "/postgres"}, ErrUnreachable},
		"no such host":         {Options{Dir: t.TempDir(), Name: "crm_x", URL: "postgres://boss:hunter2@db.invalid/postgres"}, ErrUnreachable},
	} {
		bad, err := Open(deadline(t), test.options)
		if err == nil {
			stop(t, bad)
		}
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
			continue
		}
		oneLiner(t, err, "hunter2")
	}
	// The refused folder has not touched the other's passwords.
	connect(t, before)
}

func mustParse(t *testing.T, raw string) *url.URL {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// closedPort is an address where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestFingerprint: whatever somebody does to the schema shows, and what only
// moves rows does not.
func TestFingerprint(t *testing.T) {
	t.Parallel()
	c := open(t, options(folder(t), nil))
	migrator := connect(t, c.MigratorURL())
	seen := map[string]string{}
	look := func(string) string {
		t.Helper()
		f, err := c.Fingerprint(deadline(t))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	seen[look("nothing")] = "nothing"
	for _, s := range []string{
		"CREATE TABLE items (id serial PRIMARY KEY, name text)", "ALTER TABLE items ADD COLUMN price int", "ALTER TABLE items ALTER COLUMN price SET NOT NULL",
		"ALTER TABLE items ALTER COLUMN price SET DEFAULT 1", "CREATE INDEX cheap ON items (price)", "ALTER TABLE items ADD CONSTRAINT paid CHECK (price > 0)",
		"CREATE VIEW dear AS SELECT id FROM items WHERE price > 9", "CREATE OR REPLACE VIEW dear AS SELECT id FROM items WHERE price > 99",
		"CREATE SCHEMA extra", "CREATE TABLE extra.items (id int)",
	} {
		must(t, migrator, s)
		f := look(s)
		if s == "CREATE SCHEMA extra" {
			continue
		}
		if other, is := seen[f]; is {
			t.Errorf("%s: as after %s", s, other)
		}
		seen[f] = s
	}
	before := look("")
	must(t, migrator, "INSERT INTO items (name) VALUES ('a')", "VACUUM items", "ANALYZE", "CREATE TABLE gate_sentinel (id text)", "REINDEX TABLE items")
	if look("") != before {
		t.Error("what changes no schema, or is gate's own, shows")
	}
	must(t, migrator, "DROP INDEX cheap")
	dropped := look("")
	must(t, migrator, "CREATE INDEX cheap ON items (price)")
	if dropped == before || look("") != before {
		t.Error("the same schema has another digest")
	}
}
