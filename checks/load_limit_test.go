package checks

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/smartcloudops/gate/pipeline/target/local/cluster"
)

// TestLoadLimitsOfARealDatabase: from what PostgreSQL itself says while more is
// asked of it than it can do, the resource that was short is named.
func TestLoadLimitsOfARealDatabase(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED with -short: that a real PostgreSQL's connections and locks are named as limits is NOT tested; takes 8 s")
	}
	t.Parallel()
	dir, err := os.MkdirTemp("", "gl-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil { // PostgreSQL's user passes through
		t.Fatal(err)
	}
	c, err := cluster.Open(t.Context(), cluster.Options{Dir: dir, Name: "shop", Path: os.Getenv("PATH"), BinDir: os.Getenv("GATE_POSTGRES_BIN")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Stop(context.Background()) })
	owner, err := pgx.Connect(t.Context(), c.MigratorURL())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := owner.Exec(t.Context(), "CREATE TABLE counter (id int PRIMARY KEY, n int); INSERT INTO counter VALUES (1, 0)"); err != nil {
		t.Fatal(err)
	}
	owner.Close(t.Context())

	for _, x := range []struct {
		name        string
		connections int32
		users       int
		ask, want   string
	}{
		{"more users than connections", 4, 16, "SELECT pg_sleep(0.05)", limitConnections},
		{"all of them want one row", 8, 16, "WITH one AS (UPDATE counter SET n = n + 1 WHERE id = 1 RETURNING n) SELECT pg_sleep(0.03) FROM one", limitLocks},
		{"connections enough", 16, 2, "SELECT pg_sleep(0.05)", limitService},
	} {
		u := loadTestUsage(t, c, x.connections, x.users, x.ask)
		if limit, why := loadLimitOf(GeneratorFacts{}, u); limit != x.want {
			t.Errorf("%s: %s (%s), want %s; %+v", x.name, limit, why, x.want, u)
		} else {
			t.Log(why)
		}
	}
}

// loadTestUsage has users ask the database through a pool for a second, and says
// what that used. How busy the machine is, other tests decide: it counts as idle.
func loadTestUsage(t *testing.T, c *cluster.Cluster, connections int32, users int, ask string) *Usage {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(c.AppURL())
	if err != nil {
		t.Fatal(err)
	}
	cfg.MaxConns, cfg.MinConns = connections, connections
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for range users {
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := pool.Exec(ctx, ask); err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
	read := func() Gauges {
		a, err := c.Activity(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return Gauges{Processors: 1000, Database: &DatabaseGauge{Connections: a.Connections, Active: a.Active, Waiting: a.Waiting, Server: a.Server, Limit: a.Limit}}
	}
	// Until all connections are there.
	for began := time.Now(); read().Database.Connections < int(connections); {
		if time.Since(began) > 20*time.Second {
			t.Fatal("the pool does not fill")
		}
	}
	var all []Gauges
	for began := time.Now(); time.Since(began) < time.Second || len(all) < 10; {
		all = append(all, read())
		time.Sleep(20 * time.Millisecond)
	}
	return usage(all, 1, 0)
}
