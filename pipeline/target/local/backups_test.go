package local

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smartcloudops/gate/checks"
)

// TestBackupsByTheSocket: what the checks ask for goes through the daemon's
// socket, and a copy lasts as long as who asked for it.
func TestBackupsByTheSocket(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "one")
	ctx := t.Context()
	if err := p.Complete(ctx, 1, p.rev("one")); err != nil {
		t.Fatal(err)
	}
	owner, err := pgx.Connect(ctx, p.database().MigratorURL())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := owner.Exec(ctx, "CREATE TABLE orders AS SELECT generate_series(1, 7) AS id"); err != nil {
		t.Fatal(err)
	}
	owner.Close(ctx)

	c := NewClient(p.opt.Paths)
	await := func(what string, ok func() bool) {
		t.Helper()
		for began := time.Now(); !ok(); time.Sleep(20 * time.Millisecond) {
			if time.Since(began) > time.Minute {
				t.Fatalf("waited in vain until %s", what)
			}
		}
	}
	await("there is a base backup", func() bool {
		f, err := c.BackupFacts(ctx)
		return err == nil && f.Kept && f.Bases == 1 && f.Streaming
	})
	if b := p.now().Backup; b == nil || !b.Kept || b.Base.IsZero() || !b.Streaming || b.Problem != "" {
		t.Errorf("status says %+v", b)
	}
	m, err := c.MarkBackup(ctx)
	if err != nil || len(m.Database.Tables) != 1 || m.Database.Tables[0].Rows != 7 {
		t.Fatalf("mark %+v, %v", m, err)
	}
	copied, err := c.RestoreBackup(ctx, checks.BackupPoint{LSN: m.LSN, Verify: true})
	if err != nil {
		t.Fatal(err)
	}
	f, err := copied.Inspect(ctx, m)
	if err != nil || !f.Before || f.After || len(f.Database.Tables) != 1 || f.Database.Tables[0] != m.Database.Tables[0] {
		t.Errorf("copy %+v, %v", f, err)
	}
	if said, err := copied.Amcheck(ctx); err != nil || said != "" {
		t.Errorf("amcheck %q, %v", said, err)
	}
	address, err := copied.Serve(ctx)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.Get("http://" + address + "/")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil || string(body) != "one" {
		t.Errorf("answered %q, %v", body, err)
	}
	if n, err := copied.Sessions(ctx); err != nil || n != 0 {
		t.Errorf("an app without a database has %d sessions, %v", n, err)
	}
	if s := p.now(); len(s.Instances) != 2 {
		t.Errorf("the instance on the copy is among %d", len(s.Instances))
	}
	if err := copied.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := http.Get("http://" + address + "/"); err == nil {
		t.Error("the instance on the copy outlives it")
	}

	// Who asked for this one dies: its end of the socket is closed by the kernel.
	lost, err := c.restore(ctx, checks.BackupPoint{})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(ctx, lost.OwnerURL())
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if err := conn.QueryRow(ctx, "SELECT count(*) FROM orders").Scan(&n); err != nil || n != 7 {
		t.Errorf("%d orders, %v", n, err)
	}
	conn.Close(context.Background())
	lost.cancel()
	await("the copy is gone", func() bool {
		left, err := os.ReadDir(p.opt.Paths.dir("copies"))
		return err == nil && len(left) == 0
	})

	// The server loses the slot: that is an alert, and a new base backup.
	admin, err := p.database().Connect(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	await("the slot is gone", func() bool {
		var gone bool
		err := admin.QueryRow(ctx, "SELECT count(pg_terminate_backend(active_pid)) = 0 FROM pg_replication_slots WHERE active_pid > 0").Scan(&gone)
		if err == nil && gone {
			_, err = admin.Exec(ctx, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
		}
		return err == nil && gone
	})
	admin.Close(ctx)
	await("the loss is an alert", func() bool {
		s, err := p.Watch(ctx)
		return err == nil && slices.ContainsFunc(s.Firing, func(a checks.FiringAlert) bool {
			return a.Alert == "backup" && strings.Contains(a.Summary, "the slot of the archive was lost")
		})
	})
	await("there is a new base backup, and the alert is over", func() bool {
		f, err := c.BackupFacts(ctx)
		s, werr := p.Watch(ctx)
		return err == nil && werr == nil && f.Bases == 2 && f.Streaming && f.Problem == "" && len(s.Firing) == 0
	})

	// Down gives up the slot before the server goes.
	p.down()
	if left, _ := filepath.Glob(p.opt.Paths.dir("postgres", "data", "pg_replslot", "*")); len(left) > 0 {
		t.Errorf("slots left: %v", left)
	}
	p.open()
}
