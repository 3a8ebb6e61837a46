package checks

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	acidWriters  = 50
	acidCounters = 16 // rows that all writers raise
	// acidKill is how many transactions out of a hundred are cut off in the
	// middle, by their own client or by the server.
	acidKill = 8
	acidLook = 10 * time.Millisecond // between looks for parts of a transaction
	acidWait = 30 * time.Second      // for the copy to answer again
)

// acidDrill writes pairs of rows in two tables, in one transaction with a count
// that all writers raise, while connections and the server are killed.
type acidDrill struct {
	copied DatabaseCopy
	schema string

	mu       sync.RWMutex // held for writing while the server is made to crash: the URLs change
	ids      atomic.Int64
	kills    atomic.Int64
	reads    atomic.Int64
	partial  atomic.Int64
	acked    [acidWriters][]int64
	unsure   [acidWriters]int64
	fault    func(*pgx.ConnConfig)                                                   // spoils the sessions in tests
	transact func(context.Context, *acidDrill, *pgx.Conn, int64, bool) (bool, error) // in tests: how a pair is written
}

// runACID writes for so long and then looks what is there.
func runACID(ctx context.Context, copied DatabaseCopy, d time.Duration, spoil func(*acidDrill)) (f ACIDFigures, err error) {
	id := make([]byte, 4)
	_, _ = rand.Read(id) // never fails
	a := &acidDrill{copied: copied, schema: "gate_drill_" + hex.EncodeToString(id), transact: writePair}
	if spoil != nil {
		spoil(a)
	}
	if err := a.prepare(ctx); err != nil {
		return f, err
	}
	began := time.Now()
	crashes, err := a.write(ctx, d)
	if err != nil {
		return f, err
	}
	f = ACIDFigures{Writers: acidWriters, Crashes: crashes, Seconds: time.Since(began).Seconds()}
	f.Kills, f.Reads, f.Partial = int(a.kills.Load()), a.reads.Load(), a.partial.Load()
	return f, a.count(ctx, &f)
}

func (a *acidDrill) owner(ctx context.Context) (*pgx.Conn, error) {
	a.mu.RLock()
	url := a.copied.OwnerURL()
	a.mu.RUnlock()
	return migrationConnect(ctx, url)
}

// app opens a session as the app has it: what is set for its role or database
// holds here too.
func (a *acidDrill) app(ctx context.Context) (*pgx.Conn, error) {
	a.mu.RLock()
	url := a.copied.AppURL()
	a.mu.RUnlock()
	c, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, errors.New("the copy's URL is not valid")
	}
	c.ConnectTimeout = 5 * time.Second
	c.DefaultQueryExecMode = pgx.QueryExecModeExec
	c.RuntimeParams["application_name"] = migrationApp
	if a.fault != nil {
		a.fault(c)
	}
	return pgx.ConnectConfig(ctx, c)
}

func (a *acidDrill) prepare(ctx context.Context) error {
	conn, err := a.owner(ctx)
	if err != nil {
		return err
	}
	defer migrationHangUp(conn)
	_, err = conn.Exec(ctx, fmt.Sprintf(`
		DO $$ BEGIN
			CREATE SCHEMA %[1]s;
			CREATE TABLE %[1]s.half (id bigint PRIMARY KEY, at timestamptz NOT NULL DEFAULT now());
			CREATE TABLE %[1]s.other_half (id bigint PRIMARY KEY, body text NOT NULL);
			CREATE TABLE %[1]s.counter (id int PRIMARY KEY, n bigint NOT NULL);
			INSERT INTO %[1]s.counter SELECT i, 0 FROM generate_series(0, %[2]d - 1) i;
			GRANT USAGE ON SCHEMA %[1]s TO PUBLIC;
			GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA %[1]s TO PUBLIC;
		END $$`, a.schema, acidCounters))
	if err != nil {
		return fmt.Errorf("prepare the copy for writers: %w", err)
	}
	return nil
}

// write has all writers at work, kills, and makes the server crash at about two
// thirds of the time, if it can be made to.
func (a *acidDrill) write(ctx context.Context, d time.Duration) (crashes int, err error) {
	within, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	var wg sync.WaitGroup
	for w := range acidWriters {
		wg.Go(func() { a.writer(within, w) })
	}
	wg.Go(func() { a.looker(within) })
	wg.Go(func() { a.killer(within) })
	defer func() {
		cancel()
		wg.Wait()
		if err == nil {
			err = ctx.Err()
		}
	}()
	if migrationPause(within, d*2/3) != nil {
		return 0, ctx.Err()
	}
	crashing, ok := a.copied.(CrashingCopy)
	if !ok {
		<-within.Done()
		return 0, nil
	}
	crash := func() error {
		a.mu.Lock()
		defer a.mu.Unlock()
		c, cancel := context.WithTimeout(ctx, acidWait)
		defer cancel()
		if err := crashing.Crash(c); err != nil {
			return fmt.Errorf("crash the copy's server: %w", err)
		}
		return nil
	}
	if err := crash(); err != nil {
		return 0, err
	}
	<-within.Done()
	// Once more at the end: nothing that was acknowledged just now may be gone.
	cancel()
	wg.Wait()
	return 2, crash()
}

// writer writes pairs until ctx ends, over connections that it may lose.
func (a *acidDrill) writer(ctx context.Context, w int) {
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			migrationHangUp(conn)
		}
	}()
	for ctx.Err() == nil {
		if conn == nil || conn.IsClosed() {
			var err error
			if conn, err = a.app(ctx); err != nil {
				conn = nil
				if migrationPause(ctx, 20*time.Millisecond) != nil {
					return
				}
				continue
			}
		}
		id := a.ids.Add(1)
		cut := mathrand.IntN(200) < acidKill
		// A transaction that has begun is brought to its end, or its answer would
		// be missing for no reason.
		one, cancel := context.WithTimeout(context.WithoutCancel(ctx), acidWait)
		sure, err := a.transact(one, a, conn, id, cut)
		cancel()
		switch {
		case err == nil && sure:
			a.acked[w] = append(a.acked[w], id)
		case sure:
			// It can't have been committed, and counts for nothing but its parts.
		default:
			a.unsure[w]++
		}
		if err != nil && !conn.IsClosed() {
			migrationHangUp(conn)
			conn = nil
		}
	}
}

var errCut = errors.New("cut off")

// writePair is one transaction. Sure says that it is known whether it was
// committed; with a nil error it was. Cut ends the connection in its middle.
func writePair(ctx context.Context, a *acidDrill, conn *pgx.Conn, id int64, cut bool) (sure bool, err error) {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return true, err
	}
	for i, sql := range []string{
		fmt.Sprintf("INSERT INTO %s.half (id) VALUES (%d)", a.schema, id),
		fmt.Sprintf("INSERT INTO %s.other_half VALUES (%d, repeat('x', 100))", a.schema, id),
		fmt.Sprintf("UPDATE %s.counter SET n = n + 1 WHERE id = %d", a.schema, id%acidCounters),
	} {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return true, err
		}
		if cut && i == int(id)%3 {
			a.kills.Add(1)
			_ = conn.PgConn().Conn().Close() // without a word to the server
			migrationHangUp(conn)
			return true, errCut
		}
	}
	if err := tx.Commit(ctx); err != nil {
		return errors.Is(err, pgx.ErrTxCommitRollback), err
	}
	return true, nil
}

// looker reads all that there is in one snapshot, again and again: of a
// transaction both halves are there, or none.
func (a *acidDrill) looker(ctx context.Context) {
	var conn *pgx.Conn
	for migrationPause(ctx, acidLook) == nil {
		if conn == nil || conn.IsClosed() {
			conn, _ = a.app(ctx)
		}
		if conn == nil {
			continue
		}
		var n int64
		if conn.QueryRow(ctx, a.partsSQL(), max(0, a.ids.Load()-2000)).Scan(&n) == nil {
			a.reads.Add(1)
			a.partial.Store(max(a.partial.Load(), n))
		}
	}
	if conn != nil {
		migrationHangUp(conn)
	}
}

func (a *acidDrill) partsSQL() string {
	return fmt.Sprintf(`SELECT count(*) FROM (SELECT id FROM %[1]s.half WHERE id >= $1::bigint) a
		FULL JOIN (SELECT id FROM %[1]s.other_half WHERE id >= $1::bigint) b USING (id) WHERE a.id IS NULL OR b.id IS NULL`, a.schema)
}

// killer ends backends that are in a transaction, as the app's own role may.
func (a *acidDrill) killer(ctx context.Context) {
	var conn *pgx.Conn
	for migrationPause(ctx, 25*time.Millisecond) == nil {
		if conn == nil || conn.IsClosed() {
			conn, _ = a.app(ctx)
		}
		if conn == nil {
			continue
		}
		var n int64
		if conn.QueryRow(ctx, `SELECT count(*) FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE usename = current_user AND pid <> pg_backend_pid() AND application_name = '`+migrationApp+`' AND xact_start < now() AND query LIKE '%INSERT%'
			ORDER BY random() LIMIT 1) k`).Scan(&n) == nil {
			a.kills.Add(n)
		}
	}
	if conn != nil {
		migrationHangUp(conn)
	}
}

// count compares what was acknowledged with what is there.
func (a *acidDrill) count(ctx context.Context, f *ACIDFigures) error {
	ctx, cancel := context.WithTimeout(ctx, acidWait)
	defer cancel()
	conn, err := a.owner(ctx)
	if err != nil {
		return err
	}
	defer migrationHangUp(conn)
	halves := [2]map[int64]bool{{}, {}}
	for i, table := range []string{"half", "other_half"} {
		rows, err := conn.Query(ctx, fmt.Sprintf("SELECT id FROM %s.%s", a.schema, table))
		if err != nil {
			return fmt.Errorf("count what was written: %w", err)
		}
		ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if err != nil {
			return fmt.Errorf("count what was written: %w", err)
		}
		for _, id := range ids {
			halves[i][id] = true
		}
	}
	var parts int64
	for i := range halves {
		for id := range halves[i] {
			if !halves[1-i][id] {
				parts++
			}
		}
	}
	f.Partial = max(f.Partial, parts)
	for w := range a.acked {
		f.Unanswered += a.unsure[w]
		for _, id := range a.acked[w] {
			f.Acknowledged++
			if halves[0][id] && halves[1][id] {
				f.Found++
			} else {
				f.Lost++
			}
		}
	}
	var n int64
	if err := conn.QueryRow(ctx, fmt.Sprintf("SELECT coalesce(sum(n), 0)::bigint FROM %s.counter", a.schema)).Scan(&n); err != nil {
		return fmt.Errorf("count what was written: %w", err)
	}
	f.Miscounted = max(n-int64(len(halves[0])), int64(len(halves[0]))-n)
	_, err = conn.Exec(ctx, "DROP SCHEMA "+a.schema+" CASCADE")
	if err != nil {
		return fmt.Errorf("tidy up the copy: %w", err)
	}
	return nil
}
