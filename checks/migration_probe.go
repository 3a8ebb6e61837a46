package checks

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	probeTables = 4 // of the largest; each gets a reader and a writer
	probePause  = 2 * time.Millisecond
)

// tableProbes read and write rows of the copy's tables, as the app does.
type tableProbes struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	count    int64
	failures map[string]int
	longest  time.Duration
}

// probe begins to read and write. It returns when each has done so once.
func probe(ctx context.Context, url string, tables []TableFacts) (*tableProbes, error) {
	ctx, cancel := context.WithCancel(ctx)
	p := &tableProbes{cancel: cancel, failures: map[string]int{}}
	var begun sync.WaitGroup
	fail := func(err error) (*tableProbes, error) {
		p.end()
		return nil, err
	}
	for _, t := range tables[:min(len(tables), probeTables)] {
		for _, write := range []bool{false, true} {
			conn, err := migrationConnect(ctx, url)
			if err != nil {
				return fail(err)
			}
			sql, err := probeSQL(ctx, conn, t.Table, write)
			if err != nil {
				migrationHangUp(conn)
				return fail(err)
			}
			if sql == "" {
				migrationHangUp(conn)
				continue // not the app's to touch
			}
			begun.Add(1)
			p.wg.Go(func() {
				first := sync.OnceFunc(begun.Done)
				defer first()
				defer migrationHangUp(conn)
				for ctx.Err() == nil {
					p.one(ctx, conn, sql)
					first()
					if migrationPause(ctx, probePause) != nil {
						return
					}
				}
			})
		}
	}
	begun.Wait()
	return p, nil
}

func (p *tableProbes) one(ctx context.Context, conn *pgx.Conn, sql string) {
	start := time.Now()
	_, err := conn.Exec(ctx, sql)
	took := time.Since(start)
	p.mu.Lock()
	defer p.mu.Unlock()
	// One that is cut off at the end has waited all the same.
	p.longest = max(p.longest, took)
	if ctx.Err() != nil {
		return
	}
	p.count++
	if err == nil {
		return
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		if pg.Code == "42P01" || pg.Code == "42703" {
			return // the table or column is gone, by the migration; that the app can live with it is shown elsewhere
		}
		p.failures[pg.Code+" "+pg.Message]++
		return
	}
	p.failures["connection"]++
}

func (p *tableProbes) end() {
	p.cancel()
	p.wg.Wait()
}

// probeSQL is a statement that touches one row of the table, and changes
// nothing; empty where the app's role may not.
func probeSQL(ctx context.Context, conn *pgx.Conn, table string, write bool) (string, error) {
	name := pgx.Identifier(strings.Split(table, ".")).Sanitize()
	want := "SELECT"
	if write {
		want = "UPDATE"
	}
	var may bool
	if err := conn.QueryRow(ctx, "SELECT has_table_privilege($1, 'SELECT') AND has_table_privilege($1, $2)", name, want).Scan(&may); err != nil {
		return "", fmt.Errorf("privileges on %s: %w", table, err)
	}
	if !may {
		return "", nil
	}
	if !write {
		return "SELECT count(*) FROM (SELECT FROM " + name + " LIMIT 10) x", nil
	}
	var column *string
	err := conn.QueryRow(ctx, `SELECT min(attname) FILTER (WHERE attgenerated = '' AND attidentity = '') FROM pg_attribute
		WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped`, name).Scan(&column)
	if err != nil {
		return "", fmt.Errorf("columns of %s: %w", table, err)
	}
	if column == nil {
		return "", nil
	}
	c := pgx.Identifier{*column}.Sanitize()
	return "UPDATE " + name + " SET " + c + " = " + c + " WHERE ctid = (SELECT ctid FROM " + name + " LIMIT 1 FOR UPDATE SKIP LOCKED)", nil
}

// migrationPause waits; the error is ctx's.
func migrationPause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
