package backup

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smartcloudops/gate/checks"
)

// userSchema leaves out PostgreSQL's own, and what is temporary.
const userSchema = `n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'`

// settle makes rows read the same on both sides. The app may set defaults for
// its database and roles, but not for gate's sessions.
const settle = `SET timezone = 'UTC'; SET datestyle = 'ISO, YMD'; SET intervalstyle = 'iso_8601'; SET bytea_output = 'hex';
	SET extra_float_digits = 1; SET xmlbinary = 'base64'; SET client_min_messages = 'warning'; SET search_path = 'pg_catalog';
	SET row_security = off; SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET lc_monetary = 'C'`

// describe describes the database at the moment of the transaction's snapshot,
// but for sequences, which know no snapshot.
func describe(ctx context.Context, tx pgx.Tx) (d checks.DatabaseDigest, err error) {
	if d.Tables, err = tables(ctx, tx); err != nil {
		return d, err
	}
	for _, l := range []struct {
		into *[]string
		what string
		sql  string
	}{
		{&d.Indexes, "indexes", `SELECT pg_get_indexdef(i.indexrelid) || CASE WHEN i.indisvalid THEN '' ELSE ' (invalid)' END
			FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE ` + userSchema},
		{&d.Roles, "roles", `SELECT rolname || ' ' || concat_ws(' ', rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication,
			rolbypassrls, rolconnlimit, (SELECT string_agg(g.rolname, ',' ORDER BY g.rolname) FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid))
			FROM pg_roles r WHERE rolname !~ '^pg_'`},
		{&d.Extensions, "extensions", `SELECT extname || ' ' || extversion FROM pg_extension`},
		{&d.Objects, "objects", `
			SELECT 'constraint ' || n.nspname || '.' || c.relname || ' ' || o.conname || ' ' || pg_get_constraintdef(o.oid)
			FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE ` + userSchema + `
			UNION ALL SELECT pg_get_triggerdef(t.oid) || ' ' || t.tgenabled::text FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
			JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT t.tgisinternal AND ` + userSchema + `
			UNION ALL SELECT 'view ' || n.nspname || '.' || c.relname || ' ' || md5(pg_get_viewdef(c.oid))
			FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('v', 'm') AND ` + userSchema + `
			UNION ALL SELECT 'function ' || p.oid::regprocedure || ' ' || md5(pg_get_functiondef(p.oid))
			FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.prokind IN ('f', 'p') AND ` + userSchema},
	} {
		rows, err := tx.Query(ctx, "SELECT s FROM ("+l.sql+`) l(s) ORDER BY s COLLATE "C"`)
		if err == nil {
			*l.into, err = pgx.CollectRows(rows, pgx.RowTo[string])
		}
		if err != nil {
			return d, fmt.Errorf("list %s: %w", l.what, err)
		}
	}
	d.Sequences, err = sequences(ctx, tx)
	return d, err
}

// tables digests every table that holds rows, in whatever schema: the sums of
// two hashes of each row's text, which no order changes.
func tables(ctx context.Context, tx pgx.Tx) ([]checks.TableDigest, error) {
	rows, err := tx.Query(ctx, `SELECT n.nspname, c.relname, CASE
			WHEN c.relkind = 'f' THEN 'foreign: its rows are elsewhere'
			WHEN c.relpersistence = 'u' THEN 'unlogged: its rows are in no backup'
			WHEN NOT c.relispopulated THEN 'not populated' ELSE '' END
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'm', 'f') AND c.relpersistence <> 't' AND `+userSchema+`
		UNION ALL SELECT 'pg_catalog', 'pg_largeobject', '' WHERE EXISTS (SELECT FROM pg_largeobject_metadata)
		ORDER BY 1, 2`)
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	type table struct{ Schema, Name, Skipped string }
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[table])
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	out := make([]checks.TableDigest, 0, len(list))
	for _, t := range list {
		d := checks.TableDigest{Name: t.Schema + "." + t.Name, Skipped: t.Skipped}
		if t.Skipped == "" {
			err := tx.QueryRow(ctx, `SELECT count(*), coalesce(sum(hashtextextended(x, 0)::numeric), 0) || ':' || coalesce(sum(hashtextextended(x, 1)::numeric), 0)
				FROM (SELECT (t.*)::text AS x FROM ONLY `+pgx.Identifier{t.Schema, t.Name}.Sanitize()+` t OFFSET 0) s`).Scan(&d.Rows, &d.Digest)
			if err != nil {
				return nil, fmt.Errorf("read table %s: %w", d.Name, err)
			}
		}
		out = append(out, d)
	}
	return out, nil
}

func sequences(ctx context.Context, tx pgx.Tx) ([]checks.SequenceDigest, error) {
	rows, err := tx.Query(ctx, `SELECT n.nspname, c.relname, s.seqincrement
		FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relpersistence = 'p' AND `+userSchema+` ORDER BY 1, 2`)
	if err != nil {
		return nil, fmt.Errorf("list sequences: %w", err)
	}
	type sequence struct {
		Schema, Name string
		Step         int64
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[sequence])
	if err != nil {
		return nil, fmt.Errorf("list sequences: %w", err)
	}
	out := make([]checks.SequenceDigest, 0, len(list))
	for _, s := range list {
		d := checks.SequenceDigest{Name: s.Schema + "." + s.Name, Step: s.Step}
		if err := tx.QueryRow(ctx, "SELECT last_value FROM "+pgx.Identifier{s.Schema, s.Name}.Sanitize()).Scan(&d.First); err != nil {
			return nil, fmt.Errorf("read sequence %s: %w", d.Name, err)
		}
		d.Last = d.First
		out = append(out, d)
	}
	return out, nil
}

// Mark describes the source at a moment that a copy can be restored to.
func (k *Keeper) Mark(ctx context.Context) (m checks.BackupMark, err error) {
	conn, err := k.db.Connect(ctx, k.db.Name())
	if err != nil {
		return m, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, settle); err != nil {
		return m, fmt.Errorf("describe the source: %w", err)
	}
	if err := k.db.GiveWay(ctx, conn); err != nil {
		return m, err
	}
	readOnly := pgx.TxOptions{AccessMode: pgx.ReadOnly}
	var first, last []checks.SequenceDigest
	// Sequences come before the sentinel, whose commit makes durable what they
	// have said; a copy must not be behind that.
	err = pgx.BeginTxFunc(ctx, conn, readOnly, func(tx pgx.Tx) (err error) {
		first, err = sequences(ctx, tx)
		return err
	})
	if err != nil {
		return m, err
	}
	before, err := k.sentinel(ctx)
	if err != nil {
		return m, err
	}
	m.Before = before.id
	tx, err := k.moment(ctx, conn, &m)
	if err != nil {
		return m, err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	// Something must come after the moment, for a recovery to stop before it.
	after, err := k.sentinel(ctx)
	if err != nil {
		return m, err
	}
	m.After, m.RPOSeconds = after.id, max(before.took, after.took).Seconds()
	if m.Database, err = describe(ctx, tx); err != nil {
		return m, err
	}
	if err := tx.Rollback(ctx); err != nil {
		return m, fmt.Errorf("describe the source: %w", err)
	}
	err = pgx.BeginTxFunc(ctx, conn, readOnly, func(tx pgx.Tx) (err error) {
		last, err = sequences(ctx, tx)
		return err
	})
	if err != nil {
		return m, err
	}
	for i := range m.Database.Sequences {
		s := &m.Database.Sequences[i]
		for _, f := range first {
			if f.Name == s.Name {
				s.First = f.First
			}
		}
		for _, l := range last {
			if l.Name == s.Name {
				s.Last = l.Last
			}
		}
	}
	return m, nil
}

// moment begins a transaction with a snapshot at a moment when nothing became
// durable: what is flushed is then what is visible, but for transactions
// between the two, which Inspect finds.
func (k *Keeper) moment(ctx context.Context, conn *pgx.Conn, m *checks.BackupMark) (pgx.Tx, error) {
	const attempts = 200
	for n := 1; ; n++ {
		var flushed string
		if err := conn.QueryRow(ctx, "SELECT pg_current_wal_flush_lsn()::text").Scan(&flushed); err != nil {
			return nil, fmt.Errorf("find a moment of the source: %w", err)
		}
		tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
		if err != nil {
			return nil, fmt.Errorf("find a moment of the source: %w", err)
		}
		err = tx.QueryRow(ctx, "SELECT pg_current_snapshot()::text, pg_current_wal_flush_lsn()::text, clock_timestamp()").Scan(&m.Snapshot, &m.LSN, &m.At)
		if err != nil {
			return nil, fmt.Errorf("find a moment of the source: %w", err)
		}
		if m.LSN == flushed || n == attempts {
			m.At = m.At.UTC().Truncate(time.Microsecond)
			return tx, nil
		}
		if err := tx.Rollback(ctx); err != nil {
			return nil, fmt.Errorf("find a moment of the source: %w", err)
		}
	}
}
