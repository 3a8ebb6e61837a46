package backup

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/target/local/cluster"
)

// change rewrites a file of a backup as its own user would.
func change(t *testing.T, file string, f func([]byte) []byte) {
	t.Helper()
	fi, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, f(b), fi.Mode().Perm()); err != nil {
		t.Fatal(err)
	}
}

// switched has the archive complete a segment, and returns the newest complete one.
func (w *world) switched() string {
	w.t.Helper()
	before := w.segments()
	if _, err := w.k.sentinel(w.t.Context()); err != nil { // an empty segment is not completed
		w.t.Fatal(err)
	}
	if _, err := w.k.switchSegment(w.t.Context(), 0); err != nil {
		w.t.Fatal(err)
	}
	w.until("a segment is complete", func() bool { return len(w.segments()) > len(before) })
	all := w.segments()
	return all[len(all)-1]
}

func (w *world) segments() []string {
	w.t.Helper()
	all, err := filepath.Glob(filepath.Join(w.k.generation().wal(), "????????????????????????"))
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

func (w *world) newest() *base {
	w.t.Helper()
	all, err := w.k.bases()
	if err != nil || len(all) == 0 {
		w.t.Fatalf("bases %v, %v", all, err)
	}
	return all[len(all)-1]
}

// TestEveryFaultIsFound spoils a backup in one way after the other, and mends it
// again in between.
func TestEveryFaultIsFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.based(1)
	w.exec("CREATE TABLE orders (id int); INSERT INTO orders SELECT generate_series(1, 1000)")
	w.switched()
	w.exec("INSERT INTO orders VALUES (1001)")
	segment := w.switched()
	w.exec("INSERT INTO orders VALUES (1002)")
	b := w.newest()
	control := filepath.Join(b.dir, "global", "pg_control")
	keep := func(file string) func() {
		saved, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return func() {
			if err := os.WriteFile(file, saved, 0o644); err != nil { // #nosec G306 -- a test's own
				t.Error(err)
			}
		}
	}
	var data string
	err := filepath.WalkDir(filepath.Join(b.dir, "base"), func(p string, d os.DirEntry, err error) error {
		if fi, ierr := d.Info(); err == nil && ierr == nil && !d.IsDir() && fi.Size() > 100<<10 {
			data = p
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}

	for _, c := range []struct {
		name  string
		file  string
		spoil func()
		kind  string
		says  string
	}{
		{"one bit of the base backup", data, func() {
			change(t, data, func(b []byte) []byte { b[9000] ^= 1; return b })
		}, checks.FaultCorrupt, "checksum mismatch"},
		{"a file missing in the base backup", filepath.Join(b.dir, "base", "1", "1259"), func() {
			_ = os.Remove(filepath.Join(b.dir, "base", "1", "1259"))
		}, checks.FaultCorrupt, "is present in the manifest but not on disk"},
		{"half a file of the base backup", data, func() {
			change(t, data, func(b []byte) []byte { return b[:len(b)/2] })
		}, checks.FaultCorrupt, "has size"},
		{"a base backup without what it should hold", filepath.Join(b.dir, "backup_manifest"), func() {
			_ = os.Remove(filepath.Join(b.dir, "backup_manifest"))
		}, checks.FaultCorrupt, "backup_manifest"},
		{"a base backup of another version", filepath.Join(b.dir, "PG_VERSION"), func() {
			change(t, filepath.Join(b.dir, "PG_VERSION"), func([]byte) []byte { return []byte("12\n") })
		}, checks.FaultVersion, `is of PostgreSQL "12"`},
		{"a base backup of another cluster", control, func() {
			change(t, control, func(b []byte) []byte {
				binary.NativeEndian.PutUint64(b, binary.NativeEndian.Uint64(b)+1)
				return b
			})
		}, checks.FaultDatabase, "is of the cluster"},
		{"a truncated segment", segment, func() {
			change(t, segment, func(b []byte) []byte { return b[:1<<20] })
		}, checks.FaultTruncated, "1048576 of 16777216 bytes"},
		{"a missing segment", segment, func() { _ = os.Remove(segment) }, checks.FaultMissing, filepath.Base(segment) + " is missing"},
		{"a segment of noise", segment, func() {
			change(t, segment, func(b []byte) []byte { clear(b[:8192]); return b })
		}, checks.FaultRecovery, "recovery ended before"},
	} {
		t.Run(c.name, func(t *testing.T) {
			mend := keep(c.file)
			defer mend()
			c.spoil()
			m, err := w.k.Mark(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			copied, err := w.k.Restore(t.Context(), checks.BackupPoint{LSN: m.LSN, Verify: true})
			if err == nil {
				w.discard(copied)
			}
			var fault *checks.BackupFault
			if !errors.As(err, &fault) || fault.Kind != c.kind || !strings.Contains(fault.What, c.says) {
				t.Errorf("got %v, want %s with %q", err, c.kind, c.says)
			}
		})
	}
	// All of that was mended: the test has spoilt what it says, and no more.
	m, err := w.k.Mark(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.discard(w.restore(checks.BackupPoint{LSN: m.LSN, Verify: true}))
}

func TestAPointBeforeAllBackupsIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.based(1)
	_, err := w.k.Restore(t.Context(), checks.BackupPoint{At: time.Now().Add(-time.Hour)})
	var fault *checks.BackupFault
	if !errors.As(err, &fault) || fault.Kind != checks.FaultNone {
		t.Errorf("got %v", err)
	}
	if _, err := w.k.Restore(t.Context(), checks.BackupPoint{At: time.Now().Add(time.Hour)}); err == nil || !strings.Contains(err.Error(), "in the future") {
		t.Errorf("got %v", err)
	}
}

// receiver is the process that fetches the archive.
func (w *world) receiver() int {
	w.t.Helper()
	pid := 0
	w.until("pg_receivewal runs", func() bool {
		files, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil {
			w.t.Fatal(err)
		}
		for _, f := range files {
			b, _ := os.ReadFile(f)
			if strings.Contains(string(b), "pg_receivewal") && strings.Contains(string(b), "--directory="+w.k.generation().wal()+"\x00") {
				pid, err = strconv.Atoi(filepath.Base(filepath.Dir(f)))
				return err == nil
			}
		}
		return false
	})
	return pid
}

// TestALostSlotForcesABaseBackup takes the slot away, once by hand and once as a
// server does that had to remove what nobody fetched.
func TestALostSlotForcesABaseBackup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.exec(shop)
	w.based(1)
	admin, err := w.db.Connect(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(t.Context())
	exec := func(sql string) {
		t.Helper()
		if _, err := admin.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	lost := func() (then checks.BackupFacts, next *base) {
		t.Helper()
		first := w.newest()
		w.until("the slot is said to be lost", func() bool {
			then = w.k.Facts()
			return strings.Contains(then.Problem, "slot of the archive was lost")
		})
		w.based(2)
		if next = w.newest(); next.gen.dir == first.gen.dir {
			t.Error("the archive goes on over the gap")
		}
		return then, next
	}
	w.close()
	exec("SELECT pg_drop_replication_slot('" + slot + "')")
	w.open(func(o *Options) { o.patience = 8 * time.Second })
	lost()

	w.k.arrival = 300 * time.Millisecond
	hung := w.receiver()
	if err := syscall.Kill(hung, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(hung, syscall.SIGCONT) }() // no harm where it is gone
	var stale *checks.BackupFault
	if _, err := w.k.Mark(t.Context()); !errors.As(err, &stale) || stale.Kind != checks.FaultStale {
		t.Errorf("an archive that stands still: %v", err)
	}
	w.k.arrival = arrival
	exec("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
	exec("SELECT pg_reload_conf()")
	for range 4 {
		exec("UPDATE gate_sentinel SET at = now()")
		exec("SELECT pg_switch_wal()")
	}
	// The server can't end the slot's connection before somebody reads from it.
	exec("CHECKPOINT")
	exec("ALTER SYSTEM RESET max_slot_wal_keep_size")
	exec("SELECT pg_reload_conf()")
	then, next := lost()
	// As the check sees it in between, whatever else is well by now.
	p := (&driller{w: w, facts: &then}).measure(t)
	if len(p.Faults) != 1 || p.Faults[0].Kind != checks.FaultKeeping || !strings.Contains(p.Faults[0].What, "was lost") {
		t.Errorf("faults %+v", p.Faults)
	}
	if !p.BaseTime.Equal(next.Begun) || p.Equal != p.Tables {
		t.Errorf("%+v", p)
	}
}

func TestDownGivesUpTheSlotAndTheArchiveGoesOnLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.based(1)
	gen := w.newest().gen.dir
	if err := w.k.Drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.end()
	w.k = nil
	admin, err := w.db.Connect(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(t.Context())
	var n int
	if err := admin.QueryRow(t.Context(), "SELECT count(*) FROM pg_replication_slots").Scan(&n); err != nil || n != 0 {
		t.Errorf("%d slots, %v", n, err)
	}
	w.open()
	w.based(1)
	if got := w.k.generation().dir; got != gen {
		t.Errorf("generation %s after %s", got, gen)
	}
	if f := w.k.Facts(); f.Problem != "" || f.Bases != 1 {
		t.Errorf("facts %+v", f)
	}
}

// TestARestoredDatabaseBeginsAnotherArchive: as docs/howto/restore.md puts it
// back by hand, behind a gate down that left nothing to be said of the slot.
func TestARestoredDatabaseBeginsAnotherArchive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.based(1)
	w.exec("CREATE TABLE orders (id int)")
	gen := w.newest().gen.dir
	if err := w.k.Drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.end()
	w.k = nil
	if _, err := w.db.Run(t.Context(), "/bin/sh", "-c", `touch "$0/recovery.signal" && printf '%s\n' "restore_command = '/bin/false'" 'hot_standby = off' >>"$0/postgresql.auto.conf"`, w.db.DataDir()); err != nil {
		t.Fatal(err)
	}
	if err := w.db.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	db, err := cluster.Open(t.Context(), cluster.Options{
		Dir: filepath.Join(w.dir, "postgres"), Name: "shop", Path: os.Getenv("PATH"), BinDir: os.Getenv("GATE_POSTGRES_BIN"),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.db = db
	w.open()
	w.based(2)
	if w.newest().gen.dir == gen {
		t.Error("the archive goes on, in which another history begins")
	}
	w.exec("INSERT INTO orders VALUES (1)")
	c := w.restore(checks.BackupPoint{Verify: true})
	defer w.discard(c)
	if n := count(t, c.OwnerURL(), "orders"); n != 1 {
		t.Errorf("%d orders in the copy", n)
	}
}

func TestOldBaseBackupsAndTheirWALGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.based(1)
	for range 2 {
		w.switched()
		if err := w.k.Base(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	all, err := w.k.bases()
	if err != nil || len(all) != 2 {
		t.Fatalf("%d bases, %v", len(all), err)
	}
	dirs, _ := filepath.Glob(filepath.Join(w.k.generation().base(), "*"))
	if len(dirs) != 2 {
		t.Errorf("on the disk: %v", dirs)
	}
	first := all[0].gen.segmentName(all[0].Timeline, all[0].gen.segment(all[0].Start))
	for _, s := range w.segments() {
		if filepath.Base(s) < first {
			t.Errorf("%s is kept, and nothing needs it before %s", s, first)
		}
	}
	w.discard(w.restore(checks.BackupPoint{Verify: true}))

	// By age: the newest stays, however old.
	w.close()
	w.open(func(o *Options) { o.Keep, o.MaxAge = 10, time.Millisecond })
	w.based(2)
	if err := w.k.Base(t.Context()); err != nil {
		t.Fatal(err)
	}
	if all, err = w.k.bases(); err != nil || len(all) != 1 {
		t.Errorf("%d bases, %v", len(all), err)
	}
}

// TestUnderWrites compares at a moment while others commit.
func TestUnderWrites(t *testing.T) {
	w := newWorld(t)
	w.exec(shop)
	w.based(1)
	stop, done := make(chan struct{}), make(chan struct{})
	for range 4 {
		go func() {
			defer func() { done <- struct{}{} }()
			conn, err := pgx.Connect(t.Context(), w.db.AppURL())
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close(t.Context())
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := conn.Exec(t.Context(), "INSERT INTO orders (what, price) VALUES ('more', 1)"); err != nil {
					t.Error(err)
					return
				}
			}
		}()
	}
	p := (&driller{w: w}).measure(t)
	close(stop)
	for range 4 {
		<-done
	}
	if len(p.Faults) > 0 || p.Equal != p.Tables || p.Rows < 525 || !p.Point {
		t.Errorf("%+v", p)
	}
	t.Logf("%d rows, %d retakes", p.Rows, p.Retakes)
}
