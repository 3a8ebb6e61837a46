package checks

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// migrationTick is how often locks are looked at. What is held for less may be
// missed, and disturbs nobody.
const migrationTick = 4 * time.Millisecond

// migrationApp names the check's own sessions, which are not the migration's.
const migrationApp = "gate rehearsal"

// migrationConnect opens a session that is known as the check's own.
func migrationConnect(ctx context.Context, url string) (*pgx.Conn, error) {
	c, err := pgx.ParseConfig(url)
	if err != nil {
		// What the parser says may repeat the password.
		return nil, fmt.Errorf("the copy's URL is not valid")
	}
	c.ConnectTimeout = 5 * time.Second
	// Plans that are kept would break at a changed schema, which is not what is measured.
	c.DefaultQueryExecMode = pgx.QueryExecModeExec
	c.RuntimeParams["application_name"] = migrationApp
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("connect to the copy: %w", err)
	}
	return conn, nil
}

// hangUp ends a session; whether the server heard of it changes nothing.
func migrationHangUp(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}

// keepsOut says that a lock of the mode keeps readers or writers from a table.
func keepsOut(mode string) bool {
	switch mode {
	case "AccessExclusiveLock", "ExclusiveLock", "ShareRowExclusiveLock", "ShareLock":
		return true
	}
	return false
}

// The migration's sessions are those of the schema's owner that are not the
// check's own. Schemas of the system are left out: everybody locks them, and
// nobody is kept from his rows by it.
const migrationLocksSQL = `
	SELECT l.pid, l.virtualtransaction, n.nspname || '.' || c.relname, l.relation::bigint, c.relkind::text, l.mode, l.granted
	FROM pg_locks l
	JOIN pg_stat_activity a ON a.pid = l.pid
	JOIN pg_class c ON c.oid = l.relation
	JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE a.usename = current_user AND a.application_name <> '` + migrationApp + `' AND l.locktype = 'relation'
	  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
	  AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'`

// Who waits for the migration, and never the migration itself.
const migrationBlockedSQL = `
	WITH own AS (SELECT pid FROM pg_stat_activity WHERE usename = current_user AND application_name <> '` + migrationApp + `')
	SELECT w.pid FROM pg_locks w
	WHERE NOT w.granted AND w.pid NOT IN (SELECT pid FROM own) AND pg_blocking_pids(w.pid) && ARRAY(SELECT pid FROM own)`

type lockKey struct {
	pid         int32
	transaction string
	relation    int64
	mode        string
}

type lockSeen struct {
	name, kind          string
	first, last         time.Time // granted
	waitFirst, waitLast time.Time
}

// lockWatch looks at the locks of a migration while it runs.
type lockWatch struct {
	conn *pgx.Conn
	stop chan struct{}
	wg   sync.WaitGroup

	// until wg is done, the watcher's
	locks    map[lockKey]*lockSeen
	waiting  map[int32]time.Time
	blocked  map[int32]bool
	longest  time.Duration // that somebody waited
	samples  int
	interval time.Duration
	err      error
}

// watchLocks begins to look, as the schema's owner.
func watchLocks(ctx context.Context, url string) (*lockWatch, error) {
	conn, err := migrationConnect(ctx, url)
	if err != nil {
		return nil, err
	}
	w := &lockWatch{
		conn: conn, stop: make(chan struct{}),
		locks: map[lockKey]*lockSeen{}, waiting: map[int32]time.Time{}, blocked: map[int32]bool{},
	}
	if err := w.look(ctx); err != nil {
		migrationHangUp(conn)
		return nil, err
	}
	w.wg.Go(func() {
		tick := time.NewTicker(migrationTick)
		defer tick.Stop()
		last := time.Now()
		for {
			select {
			case <-w.stop:
				return
			case <-ctx.Done():
				w.err = ctx.Err()
				return
			case <-tick.C:
			}
			if w.err = w.look(ctx); w.err != nil {
				return
			}
			now := time.Now()
			w.interval, last = max(w.interval, now.Sub(last)), now
		}
	})
	return w, nil
}

func (w *lockWatch) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	rows, err := w.conn.Query(ctx, migrationLocksSQL)
	if err != nil {
		return fmt.Errorf("look at locks: %w", err)
	}
	now := time.Now()
	for rows.Next() {
		var k lockKey
		var name, kind string
		var granted bool
		if err := rows.Scan(&k.pid, &k.transaction, &name, &k.relation, &kind, &k.mode, &granted); err != nil {
			rows.Close()
			return fmt.Errorf("look at locks: %w", err)
		}
		s := w.locks[k]
		if s == nil {
			s = &lockSeen{name: name, kind: kind}
			w.locks[k] = s
		}
		first, last := &s.first, &s.last
		if !granted {
			first, last = &s.waitFirst, &s.waitLast
		}
		if first.IsZero() {
			*first = now
		}
		*last = now
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("look at locks: %w", err)
	}
	rows, err = w.conn.Query(ctx, migrationBlockedSQL)
	if err != nil {
		return fmt.Errorf("look at who waits: %w", err)
	}
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int32])
	if err != nil {
		return fmt.Errorf("look at who waits: %w", err)
	}
	now = time.Now()
	for pid, since := range w.waiting {
		if !slices.Contains(pids, pid) {
			w.longest = max(w.longest, now.Sub(since))
			delete(w.waiting, pid)
		}
	}
	for _, pid := range pids {
		w.blocked[pid] = true
		if _, ok := w.waiting[pid]; !ok {
			w.waiting[pid] = now
		}
		w.longest = max(w.longest, now.Sub(w.waiting[pid]))
	}
	w.samples++
	return nil
}

// end stops looking. Existing says which relations were there before.
func (w *lockWatch) end(existing map[int64]relationFacts, into *RehearsalFigures) error {
	close(w.stop)
	w.wg.Wait()
	migrationHangUp(w.conn)
	if w.err != nil {
		return w.err
	}
	tick := w.interval.Seconds()
	into.Samples, into.Interval, into.Blocked, into.WaitSeconds = w.samples, tick, len(w.blocked), w.longest.Seconds()
	for k, s := range w.locks {
		_, was := existing[k.relation]
		l := LockFigure{Relation: s.name, Mode: k.mode, Existing: was}
		if !s.first.IsZero() {
			l.Seconds = s.last.Sub(s.first).Seconds()
		}
		if !s.waitFirst.IsZero() {
			l.Waited = s.waitLast.Sub(s.waitFirst).Seconds()
		}
		into.WaitedFor = max(into.WaitedFor, l.Waited)
		if was && keepsOut(k.mode) && (s.kind == "r" || s.kind == "p" || s.kind == "m") {
			into.LockSeconds = max(into.LockSeconds, l.Seconds)
		}
		into.Locks = append(into.Locks, l)
	}
	// What matters first; the rest of a long list tells nothing.
	slices.SortFunc(into.Locks, func(a, b LockFigure) int {
		kept := func(l LockFigure) int {
			if l.Existing && keepsOut(l.Mode) {
				return 0
			}
			return 1
		}
		return cmp.Or(cmp.Compare(kept(a), kept(b)), cmp.Compare(b.Seconds, a.Seconds), cmp.Compare(a.Relation, b.Relation), cmp.Compare(a.Mode, b.Mode))
	})
	into.Locks = into.Locks[:min(len(into.Locks), 40)]
	return nil
}
