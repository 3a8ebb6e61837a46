package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// connect opens one connection. The errors of pgx are for explain.
func (c *Cluster) connect(ctx context.Context, url string) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, errors.New("the database URL is not valid")
	}
	config.ConnectTimeout = 5 * time.Second
	config.DefaultQueryExecMode = pgx.QueryExecModeExec // leaves nothing behind in a pooler
	config.RuntimeParams["application_name"] = "gate"
	if !c.external {
		// While the server is down another program may listen on its port: it must
		// not get the password by asking for it in clear.
		config.RequireAuth = "scram-sha-256"
	}
	return pgx.ConnectConfig(ctx, config)
}

// hangUp ends a connection that was only asked something. Whether the server
// heard of it changes nothing.
func hangUp(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}

func ident(name string) string { return pgx.Identifier{name}.Sanitize() }

// prepare brings database, roles and privileges to where they belong; nothing
// changes the second time.
func (c *Cluster) prepare(ctx context.Context) error {
	conn, err := c.connect(ctx, c.adminURL(""))
	if err != nil {
		return c.explain(err, "connect")
	}
	defer hangUp(conn)
	if err := c.checkVersion(ctx, conn); err != nil {
		return err
	}
	var super bool
	if err := conn.QueryRow(ctx, "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user").Scan(&super); err != nil {
		return c.explain(err, "read the own role")
	}
	exists, err := c.checkDatabase(ctx, conn)
	if err != nil {
		return err
	}
	for role, password := range map[string]string{c.migratorRole(): c.secrets.Migrator, c.appRole(): c.secrets.App} {
		if err := c.ensureRole(ctx, conn, role, password); err != nil {
			return err
		}
	}
	db, migrator := ident(c.name), ident(c.migratorRole())
	var steps []string
	if !super {
		// Who is no superuser hands things over only to a role that it is in.
		steps = append(steps, "GRANT "+migrator+" TO CURRENT_USER")
	}
	if !exists {
		steps = append(steps, "CREATE DATABASE "+db+" OWNER "+migrator+" ENCODING 'UTF8' TEMPLATE template0")
	}
	steps = append(steps,
		"ALTER DATABASE "+db+" OWNER TO "+migrator,
		"REVOKE ALL ON DATABASE "+db+" FROM PUBLIC",
		"GRANT CONNECT ON DATABASE "+db+" TO "+ident(c.appRole()),
		"COMMENT ON DATABASE "+db+" IS '"+claim+c.secrets.ID+"'")
	if !c.external {
		steps = append(steps, "REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC")
	}
	if err := c.each(ctx, conn, steps); err != nil {
		return err
	}
	if err := c.prepareSchema(ctx); err != nil {
		return err
	}
	for role, url := range map[string]string{c.migratorRole(): c.MigratorURL(), c.appRole(): c.AppURL()} {
		login, err := c.connect(ctx, url)
		if err != nil {
			return c.explain(err, "log in as "+role)
		}
		hangUp(login)
	}
	return nil
}

func (c *Cluster) checkVersion(ctx context.Context, conn *pgx.Conn) error {
	var version string
	var num int
	err := conn.QueryRow(ctx, "SELECT current_setting('server_version'), current_setting('server_version_num')::int").Scan(&version, &num)
	if err != nil {
		return c.explain(err, "ask for the version")
	}
	version, _, _ = strings.Cut(version, " ")
	if num < oldest*10000 {
		return fmt.Errorf("PostgreSQL %s at %s: %w; upgrade it to %d or newer", version, c.where(), ErrTooOld, oldest)
	}
	c.mu.Lock()
	c.version = version
	c.mu.Unlock()
	return nil
}

// claim begins the comment by which a database says whose it is.
const claim = "gate: belongs to the state folder "

// checkDatabase says whether the database is there, and refuses one that
// another state folder has claimed: two daemons would change each other's
// passwords.
func (c *Cluster) checkDatabase(ctx context.Context, conn *pgx.Conn) (bool, error) {
	var encoding, comment string
	err := conn.QueryRow(ctx, `SELECT pg_catalog.pg_encoding_to_char(encoding), coalesce(pg_catalog.shobj_description(oid, 'pg_database'), '')
		FROM pg_catalog.pg_database WHERE datname = $1`, c.name).Scan(&encoding, &comment)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, c.explain(err, "look for database "+c.name)
	}
	if encoding != "UTF8" {
		return true, fmt.Errorf("database %s at %s is encoded in %s, and UTF8 is needed; give this environment another server, or make the database anew with ENCODING 'UTF8'", c.name, c.where(), encoding)
	}
	if owner, found := strings.CutPrefix(comment, claim); found && owner != c.secrets.ID && c.external {
		return true, fmt.Errorf("%w: %s at %s says it is of state folder %s, and this one is %s; use another server, or if that folder is gone for good run: COMMENT ON DATABASE %s IS NULL", ErrTaken, c.name, c.where(), owner, c.secrets.ID, c.name)
	}
	return true, nil
}

// ensureRole makes sure of a role that may log in and nothing else.
func (c *Cluster) ensureRole(ctx context.Context, conn *pgx.Conn, role, password string) error {
	var mighty bool
	var groups int
	err := conn.QueryRow(ctx, `SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls,
			(SELECT count(*)::int FROM pg_catalog.pg_auth_members WHERE member = r.oid)
		FROM pg_catalog.pg_roles r WHERE rolname = $1`, role).Scan(&mighty, &groups)
	verb := "ALTER"
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		verb = "CREATE"
	case err != nil:
		return c.explain(err, "look for role "+role)
	case mighty || groups > 0:
		return fmt.Errorf("role %s at %s may do more than it should (attributes or memberships); take them away, or drop the role for gate to make it anew", role, c.where())
	}
	hash, err := verifier(password)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, verb+" ROLE "+ident(role)+" LOGIN PASSWORD '"+hash+"'")
	return c.explain(err, strings.ToLower(verb)+" role "+role)
}

// prepareSchema gives the schema to the migrator and rows to the app. What the
// migrator makes from now on is covered by default privileges; what is there
// already is not touched, or a migration's own REVOKE would be undone.
func (c *Cluster) prepareSchema(ctx context.Context) error {
	conn, err := c.connect(ctx, c.AdminURL())
	if err != nil {
		return c.explain(err, "connect to database "+c.name)
	}
	defer hangUp(conn)
	app, migrator := ident(c.appRole()), ident(c.migratorRole())
	byDefault := "ALTER DEFAULT PRIVILEGES FOR ROLE " + migrator + " GRANT "
	return c.each(ctx, conn, []string{
		"ALTER SCHEMA public OWNER TO " + migrator,
		"REVOKE ALL ON SCHEMA public FROM PUBLIC",
		"GRANT USAGE ON SCHEMA public TO " + app,
		byDefault + "SELECT, INSERT, UPDATE, DELETE ON TABLES TO " + app,
		byDefault + "USAGE, SELECT, UPDATE ON SEQUENCES TO " + app,
		byDefault + "USAGE ON SCHEMAS TO " + app,
	})
}

// each runs statements that hold no secret, so an error may name the statement.
func (c *Cluster) each(ctx context.Context, conn *pgx.Conn, statements []string) error {
	for _, statement := range statements {
		_, err := conn.Exec(ctx, statement)
		var pg *pgconn.PgError
		if errors.As(err, &pg) && (pg.Code == stateDuplicateDB || pg.Code == stateDuplicateRole) {
			continue
		}
		if err != nil {
			return c.explain(err, statement)
		}
	}
	return nil
}

// Empty says whether the database holds no table of the app: none outside of
// PostgreSQL's own schemas and of extensions.
func (c *Cluster) Empty(ctx context.Context) (bool, error) {
	conn, err := c.connect(ctx, c.AdminURL())
	if err != nil {
		return false, c.explain(err, "look for tables")
	}
	defer hangUp(conn)
	var empty bool
	err = conn.QueryRow(ctx, `SELECT NOT EXISTS (
		SELECT FROM pg_catalog.pg_class t JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
		WHERE t.relkind IN ('r', 'p', 'm', 'f') AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\_%'
		  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
			WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = t.oid AND d.deptype = 'e'))`).Scan(&empty)
	if err != nil {
		return false, c.explain(err, "look for tables")
	}
	return empty, nil
}

// Bytes is the size of the database.
func (c *Cluster) Bytes(ctx context.Context) (int64, error) {
	conn, err := c.connect(ctx, c.AdminURL())
	if err != nil {
		return 0, c.explain(err, "ask for the size")
	}
	defer hangUp(conn)
	var n int64
	err = conn.QueryRow(ctx, "SELECT pg_catalog.pg_database_size(current_database())").Scan(&n)
	return n, c.explain(err, "ask for the size")
}
