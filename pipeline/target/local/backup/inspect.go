package backup

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/smartcloudops/gate/checks"
)

// Inspect describes the copy as Mark describes the source.
func (c *Copy) Inspect(ctx context.Context, m checks.BackupMark) (f checks.CopyFacts, err error) {
	conn, err := c.db.Connect(ctx, c.db.Name())
	if err != nil {
		return f, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, settle); err != nil {
		return f, fmt.Errorf("describe the copy: %w", err)
	}
	err = pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) (err error) {
		f.Database, err = describe(ctx, tx)
		return err
	})
	if err != nil {
		return f, damaged(err)
	}
	if f.Same, err = c.same(ctx, conn, m.Snapshot); err != nil {
		return f, err
	}
	own, err := c.db.Connect(ctx, "")
	if err != nil {
		return f, err
	}
	defer own.Close(context.WithoutCancel(ctx))
	err = own.QueryRow(ctx, "SELECT EXISTS (SELECT FROM "+sentinels+" WHERE id = $1), EXISTS (SELECT FROM "+sentinels+" WHERE id = $2)",
		m.Before, m.After).Scan(&f.Before, &f.After)
	if err != nil {
		return f, fmt.Errorf("look for sentinels in the copy: %w", err)
	}
	return f, nil
}

// damaged makes a fault of what the copy's server says of its own files: what
// can't be read was not backed up.
func damaged(err error) error {
	var said *pgconn.PgError
	// Classes of SQLSTATE: system error, which a missing file is, and internal
	// error, which a page is that can't be read.
	if errors.As(err, &said) && (strings.HasPrefix(said.Code, "58") || strings.HasPrefix(said.Code, "XX")) {
		return &checks.BackupFault{Kind: checks.FaultDamaged, What: fmt.Sprintf("the copy can't be read: %.300v", err)}
	}
	return err
}

// same says whether the transactions that are visible in the copy are those
// that were visible in the snapshot of the source.
func (c *Copy) same(ctx context.Context, conn *pgx.Conn, snapshot string) (bool, error) {
	source, err := c.k.db.Connect(ctx, c.k.db.Name())
	if err != nil {
		return false, err
	}
	defer source.Close(context.WithoutCancel(ctx))
	// A transaction that was long at work keeps the snapshot wide; what is wider
	// than this is not compared.
	const widest = 1 << 20
	var low, high int64
	err = source.QueryRow(ctx, `SELECT greatest(3, pg_snapshot_xmin($1::pg_snapshot)::text::bigint - 10000), pg_snapshot_xmax($1::pg_snapshot)::text::bigint`,
		snapshot).Scan(&low, &high)
	if err != nil {
		return false, fmt.Errorf("compare transactions: %w", err)
	}
	if high-low > widest {
		return false, nil
	}
	var was, is string
	err = source.QueryRow(ctx, `SELECT coalesce(md5(string_agg(x::text, ',' ORDER BY x)), '') FROM generate_series($2::bigint, $3::bigint - 1) x
		WHERE pg_visible_in_snapshot(x::text::xid8, $1::pg_snapshot) AND pg_xact_status(x::text::xid8) = 'committed'`, snapshot, low, high).Scan(&was)
	if err == nil {
		err = conn.QueryRow(ctx, `SELECT coalesce(md5(string_agg(x::text, ',' ORDER BY x)), '')
			FROM generate_series($1::bigint, $2::bigint - 1) x WHERE pg_xact_status(x::text::xid8) = 'committed'`, low, c.db.Recovered()).Scan(&is)
	}
	if err != nil {
		return false, fmt.Errorf("compare transactions: %w", err)
	}
	return was == is, nil
}

// Amcheck runs pg_amcheck over tables and indexes of the app's database, and
// returns what it complained of, or "".
func (c *Copy) Amcheck(ctx context.Context) (string, error) {
	if err := c.db.Login(); err != nil {
		return "", err
	}
	args := append(c.db.ConnectArgs(), "--install-missing", "--heapallindexed", "--database="+c.db.Name())
	out, err := c.db.Run(ctx, "pg_amcheck", args...)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "", nil
	case errors.As(err, &exit) && exit.ExitCode() == 2:
		return strings.TrimSpace(out[:min(len(out), 2000)]), nil
	}
	return "", err
}

// Sessions is how many connections the app has to the copy now.
func (c *Copy) Sessions(ctx context.Context) (n int64, err error) {
	conn, err := c.db.Connect(ctx, "")
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	err = conn.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND datname = $2", c.db.AppRole(), c.db.Name()).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("ask the copy for its sessions: %w", err)
	}
	return n, nil
}
