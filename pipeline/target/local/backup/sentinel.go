package backup

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smartcloudops/gate/checks"
)

// sentinels are in the database postgres, which is gate's: in the app's they
// would be a table that is not the app's.
const sentinels = "gate_sentinel"

const arrival = 15 * time.Second

// written is a sentinel that the archive has.
type written struct {
	id    string
	after LSN           // its commit ends before this
	took  time.Duration // from its commit until the archive had it
}

// sentinel writes a row and waits until the archive holds it: the bytes are
// there, and pg_receivewal has made them durable.
func (k *Keeper) sentinel(ctx context.Context) (written, error) {
	k.mark.Lock()
	defer k.mark.Unlock()
	conn, err := k.db.Connect(ctx, "")
	if err != nil {
		return written{}, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, "SET client_min_messages = warning; CREATE TABLE IF NOT EXISTS "+sentinels+" (id text PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())")
	if err == nil {
		_, err = conn.Exec(ctx, "DELETE FROM "+sentinels+" WHERE at < now() - interval '1 day'")
	}
	if err != nil {
		return written{}, fmt.Errorf("write a sentinel: %w", err)
	}
	// One that happens to lie across two pages, or files, has something between
	// its bytes.
	const attempts = 4
	for range attempts {
		var w written
		if w, err = k.send(ctx, conn); !errors.Is(err, errSplit) {
			return w, err
		}
	}
	return written{}, &checks.BackupFault{Kind: checks.FaultStale, What: "what was written and is said to be in the archive is not in its files"}
}

var errSplit = errors.New("the sentinel is in the archive in parts")

func (k *Keeper) send(ctx context.Context, conn *pgx.Conn) (written, error) {
	w := written{id: rand.Text()}
	var from, to string
	if err := conn.QueryRow(ctx, "SELECT pg_current_wal_insert_lsn()::text").Scan(&from); err != nil {
		return w, fmt.Errorf("write a sentinel: %w", err)
	}
	if _, err := conn.Exec(ctx, "SET synchronous_commit = on; INSERT INTO "+sentinels+" (id) VALUES ('"+w.id+"')"); err != nil {
		return w, fmt.Errorf("write a sentinel: %w", err)
	}
	committed := time.Now()
	var timeline uint32
	err := conn.QueryRow(ctx, "SELECT pg_current_wal_flush_lsn()::text, timeline_id FROM pg_control_checkpoint()").Scan(&to, &timeline)
	if err != nil {
		return w, fmt.Errorf("write a sentinel: %w", err)
	}
	begin, err := ParseLSN(from)
	if err != nil {
		return w, err
	}
	if w.after, err = ParseLSN(to); err != nil {
		return w, err
	}
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		var arrived bool
		err := conn.QueryRow(ctx, `SELECT coalesce(bool_or(r.flush_lsn >= $2::pg_lsn), false)
			FROM pg_replication_slots s JOIN pg_stat_replication r ON r.pid = s.active_pid WHERE s.slot_name = $1`, slot, to).Scan(&arrived)
		if err != nil {
			return w, fmt.Errorf("wait for a sentinel: %w", err)
		}
		if arrived {
			w.took = time.Since(committed)
			return w, k.look(timeline, begin, w)
		}
		if time.Since(committed) > k.arrival {
			why := "it is not connected"
			k.mu.Lock()
			switch {
			case k.streaming:
				why = "it is behind"
			case k.archiving != nil:
				why = k.archiving.Error()
			}
			k.mu.Unlock()
			return w, &checks.BackupFault{Kind: checks.FaultStale, What: fmt.Sprintf("what was written %s ago is not in the archive: %s", k.arrival, why)}
		}
		select {
		case <-ctx.Done():
			return w, ctx.Err()
		case <-tick.C:
		}
	}
}

// look finds the sentinel's bytes in the archive's files.
func (k *Keeper) look(timeline uint32, begin LSN, w written) error {
	g := k.generation()
	if g == nil {
		return errors.New("the archive has not begun yet; see gate status")
	}
	if g.segment(begin) != g.segment(w.after) {
		return errSplit
	}
	name := filepath.Join(g.wal(), g.segmentName(timeline, g.segment(begin)))
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		f, err = os.Open(name + ".partial")
	}
	if err != nil {
		return &checks.BackupFault{Kind: checks.FaultStale, What: "a sentinel is not in the archive: " + err.Error()}
	}
	defer f.Close()
	size := g.SegmentBytes
	at := int64(uint64(begin) % uint64(size))  // #nosec G115 -- below the size of a segment
	part := make([]byte, int64(w.after-begin)) // #nosec G115 -- within a segment
	if _, err := f.ReadAt(part, at); err != nil {
		return &checks.BackupFault{Kind: checks.FaultStale, What: "a sentinel is not in the archive: " + err.Error()}
	}
	if !bytes.Contains(part, []byte(w.id)) {
		return errSplit
	}
	return nil
}
