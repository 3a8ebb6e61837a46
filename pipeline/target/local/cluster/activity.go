package cluster

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// Activity is what the server's statistics say of connections at a moment.
type Activity struct {
	Connections int // of the app's role to the app's database
	Active      int // of those, in a statement or a transaction
	Waiting     int // of those, for a lock that another one holds
	Server      int // of everybody
	Limit       int // that the server gives to anybody but superusers
}

// Activity reads the server's statistics. On an external server the role may
// not see others' states: then Active is 0.
func (c *Cluster) Activity(ctx context.Context) (Activity, error) {
	conn, err := c.connect(ctx, c.AdminURL())
	if err != nil {
		return Activity{}, c.explain(err, "read the database's activity")
	}
	defer hangUp(conn)
	var a Activity
	// The own connection is nobody's load.
	err = conn.QueryRow(ctx, `SELECT
		count(*) FILTER (WHERE mine),
		count(*) FILTER (WHERE mine AND state IN ('active', 'idle in transaction', 'idle in transaction (aborted)', 'fastpath function call')),
		count(*) FILTER (WHERE mine AND wait_event_type = 'Lock'),
		count(*),
		current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
		FROM (SELECT *, usename = $1 AND datname = $2 AS mine FROM pg_catalog.pg_stat_activity
			WHERE backend_type = 'client backend' AND pid <> pg_catalog.pg_backend_pid()) AS others`,
		c.appRole(), c.name).Scan(&a.Connections, &a.Active, &a.Waiting, &a.Server, &a.Limit)
	return a, c.explain(err, "read the database's activity")
}

// Checkpoint forces a CHECKPOINT and returns when it is done. On an external
// server the role needs to be a superuser, or a member of pg_checkpoint.
func (c *Cluster) Checkpoint(ctx context.Context) error {
	conn, err := c.connect(ctx, c.AdminURL())
	if err != nil {
		return c.explain(err, "force a CHECKPOINT")
	}
	defer hangUp(conn)
	_, err = conn.Exec(ctx, "CHECKPOINT")
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == stateNoPrivilege {
		return fmt.Errorf("force a CHECKPOINT: %w at %s: the URL's user needs GRANT pg_checkpoint", ErrPrivileges, c.where())
	}
	return c.explain(err, "force a CHECKPOINT")
}
