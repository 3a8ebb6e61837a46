// Package pgtest gives tests a real PostgreSQL: a cluster of their own, with
// roles and grants as the pipeline makes them.
package pgtest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Names of the roles.
const (
	admin    = "admin"
	Migrator = "migrator" // owns the databases and their schema
	App      = "app"      // reads and writes rows, no more
)

var shared struct {
	once    sync.Once
	cluster *Cluster
	err     error
}

// Main runs the tests of a package and stops the cluster that they shared. It
// returns the exit code for TestMain.
func Main(m *testing.M) int {
	code := m.Run()
	if shared.cluster != nil {
		if err := shared.cluster.remove(); err != nil {
			fmt.Fprintln(os.Stderr, "pgtest:", err)
			return 1
		}
	}
	return code
}

// New returns a database of its own, without a table, in the package's shared
// cluster. The test is skipped if there is no PostgreSQL.
func New(t testing.TB) Database {
	t.Helper()
	bin := find(t)
	shared.once.Do(func() { shared.cluster, shared.err = start(bin) })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.cluster.Database(t)
}

// Start returns a cluster that belongs to the test alone, so that it may be
// stopped. The test is skipped if there is no PostgreSQL.
func Start(t testing.TB) *Cluster {
	t.Helper()
	c, err := start(find(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.remove(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func find(t testing.TB) string {
	t.Helper()
	bin, err := binaries(os.Getenv)
	if err != nil {
		t.Skipf("SKIPPED FOR WANT OF POSTGRESQL: %v", err)
	}
	return bin
}

// Database is one database and how the roles reach it.
type Database struct {
	Name     string
	Migrator string // URLs
	App      string
}

var databases atomic.Int64

// Database makes a database in c.
func (c *Cluster) Database(t testing.TB) Database {
	t.Helper()
	name := fmt.Sprintf("test%d", databases.Add(1))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c.exec(ctx, t, "postgres", "CREATE DATABASE "+name+" OWNER "+Migrator)
	c.exec(ctx, t, name, "REVOKE ALL ON DATABASE "+name+" FROM PUBLIC; "+
		"GRANT CONNECT ON DATABASE "+name+" TO "+App+"; "+
		"ALTER DEFAULT PRIVILEGES FOR ROLE "+Migrator+" IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO "+App+"; "+
		"ALTER DEFAULT PRIVILEGES FOR ROLE "+Migrator+" IN SCHEMA public GRANT USAGE ON SEQUENCES TO "+App)
	return Database{Name: name, Migrator: c.url(Migrator, name), App: c.url(App, name)}
}

func (c *Cluster) exec(ctx context.Context, t testing.TB, database, sql string) {
	t.Helper()
	if err := execute(ctx, c.url(admin, database), sql); err != nil {
		t.Fatal(err)
	}
}

// Exec runs SQL as the role that url names.
func Exec(t testing.TB, url, sql string) {
	t.Helper()
	if err := execute(t.Context(), url, sql); err != nil {
		t.Fatal(err)
	}
}

func execute(ctx context.Context, url, sql string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("connect to the test cluster: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, sql); err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}

// Value runs a query as the role that url names and returns its one value.
func Value[T any](t testing.TB, url, sql string) T {
	t.Helper()
	var v T
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	if err := conn.QueryRow(t.Context(), sql).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func (c *Cluster) url(role, database string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(role, c.password), Path: "/" + database,
		RawQuery: url.Values{"host": {c.dir}}.Encode()}
	return u.String()
}
