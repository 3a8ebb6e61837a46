package cluster

import "context"

// EndSessions ends every session of the app's role, as a database that has
// failed does, and returns how many there were.
func (c *Cluster) EndSessions(ctx context.Context) (int, error) {
	conn, err := c.connect(ctx, c.AdminURL())
	if err != nil {
		return 0, c.explain(err, "connect")
	}
	defer hangUp(conn)
	var n int
	err = conn.QueryRow(ctx, "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = $1 AND datname = current_database()", c.appRole()).Scan(&n)
	if err != nil {
		return 0, c.explain(err, "end the app's sessions")
	}
	return n, nil
}
