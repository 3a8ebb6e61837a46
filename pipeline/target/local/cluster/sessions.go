package cluster

import (
	"context"
	"fmt"
	"time"
)

// EndSessions ends every session of the app's role, as a database that has
// failed does, and returns how many there were.
func (c *Cluster) EndSessions(ctx context.Context) (int, error) {
	return c.endSessions(ctx, c.appRole())
}

// EndMigrations ends every session of the role that migrates, waits until they have
// ended, and returns how many there were.
func (c *Cluster) EndMigrations(ctx context.Context) (int, error) {
	n, err := c.endSessions(ctx, c.migratorRole())
	for left, wait := n, 10*time.Millisecond; err == nil && left > 0; wait = min(2*wait, time.Second) {
		select {
		case <-ctx.Done():
			return n, fmt.Errorf("wait for the end of %d sessions that migrate: %w", left, context.Cause(ctx))
		case <-time.After(wait):
		}
		left, err = c.endSessions(ctx, c.migratorRole())
	}
	return n, err
}

func (c *Cluster) endSessions(ctx context.Context, role string) (int, error) {
	conn, err := c.connect(ctx, c.AdminURL())
	if err != nil {
		return 0, c.explain(err, "connect")
	}
	defer hangUp(conn)
	var n int
	err = conn.QueryRow(ctx, "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = $1 AND datname = current_database()", role).Scan(&n)
	if err != nil {
		return 0, c.explain(err, "end the sessions of "+role)
	}
	return n, nil
}
