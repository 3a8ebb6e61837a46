package backup

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smartcloudops/gate/checks"
)

func (w *world) restore(p checks.BackupPoint) *Copy {
	w.t.Helper()
	c, err := w.k.Restore(w.t.Context(), p)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) discard(c *Copy) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := c.Close(ctx); err != nil {
		w.t.Error(err)
	}
}

func TestRestoreToTheEndAndToAMoment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.based(1)
	w.exec("CREATE TABLE orders (id int PRIMARY KEY); INSERT INTO orders SELECT generate_series(1, 10)")
	time.Sleep(2 * time.Millisecond) // the clock's moment lies strictly between the two transactions
	moment := time.Now()
	time.Sleep(2 * time.Millisecond)
	w.exec("INSERT INTO orders VALUES (11)")

	c := w.restore(checks.BackupPoint{Verify: true})
	if n := count(t, c.OwnerURL(), "orders"); n != 11 {
		t.Errorf("to the end: %d orders", n)
	}
	if f := c.Facts(); !f.Verified || f.BaseTime.IsZero() || f.RestoreSeconds <= 0 || f.Bytes < 1<<20 {
		t.Errorf("facts %+v", f)
	}
	then := w.restore(checks.BackupPoint{At: moment})
	if n := count(t, then.AppURL(), "orders"); n != 10 {
		t.Errorf("to the moment: %d orders", n)
	}

	// The copy can be written to as its owner, and the source sees nothing of it.
	execOn(t, then.OwnerURL(), "DROP TABLE orders")
	if n := count(t, w.db.AppURL(), "orders"); n != 11 {
		t.Errorf("source: %d orders", n)
	}

	// It is alone, and nobody has its passwords.
	admin, err := then.db.Connect(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"listen_addresses": "127.0.0.1", "archive_mode": "off", "max_wal_senders": "0", "primary_conninfo": "",
		"unix_socket_directories": "", "max_logical_replication_workers": "0",
	} {
		var got string
		if err := admin.QueryRow(t.Context(), "SELECT current_setting($1)", name).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, %v", name, got, err)
		}
	}
	admin.Close(t.Context())
	old, _ := url.Parse(w.db.AppURL())
	at, _ := url.Parse(then.AppURL())
	at.User = old.User
	if conn, err := pgx.Connect(t.Context(), at.String()); err == nil {
		conn.Close(t.Context())
		t.Error("the source's password opens the copy")
	}

	pid := then.db.PID()
	w.discard(then)
	w.discard(c)
	if _, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid))); err == nil {
		t.Error("the copy's server still runs")
	}
	if left, _ := os.ReadDir(filepath.Join(w.dir, "copies")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestACopyOfADaemonThatWasKilledIsRemoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.based(1)
	c := w.restore(checks.BackupPoint{})
	pid := c.db.PID()
	// The daemon is gone without a word: its lock is, and its handle of the copy.
	delete(w.k.copies, c)
	c.db.Close()
	w.close()
	w.open()
	if b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status")); err == nil && !strings.Contains(string(b), "State:\tZ") {
		t.Error("the copy's server still runs")
	}
	if left, _ := os.ReadDir(filepath.Join(w.dir, "copies")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
