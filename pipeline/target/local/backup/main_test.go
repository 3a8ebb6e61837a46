package backup

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smartcloudops/gate/pipeline/target/local/cluster"
)

func TestMain(m *testing.M) {
	root, err := os.MkdirTemp("", "gb-")
	if err == nil {
		// PostgreSQL runs as another user when the tests run as root.
		err = os.Chmod(root, 0o711) // #nosec G302
	}
	if err == nil {
		err = os.Setenv("TMPDIR", root)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if left := under(root); len(left) > 0 {
		fmt.Fprintf(os.Stderr, "processes left behind: %v\n", left)
		code = 1
	}
	if err := os.RemoveAll(root); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// under lists processes that name root.
func under(root string) []string {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return []string{err.Error()}
	}
	var left []string
	for _, f := range files {
		b, _ := os.ReadFile(f)
		if bytes.Contains(b, []byte(root)) && !strings.Contains(f, fmt.Sprintf("/%d/", os.Getpid())) {
			left = append(left, f+" "+string(b))
		}
	}
	return left
}

// world is a cluster with its backups.
type world struct {
	t   *testing.T
	dir string
	db  *cluster.Cluster
	k   *Keeper
	end func() // of Run
}

func newWorld(t *testing.T, change ...func(*Options)) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "w-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil { // #nosec G302
		t.Fatal(err)
	}
	db, err := cluster.Open(t.Context(), cluster.Options{
		Dir: filepath.Join(dir, "postgres"), Name: "shop", Path: os.Getenv("PATH"), BinDir: os.Getenv("GATE_POSTGRES_BIN"),
	})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dir: dir, db: db}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		w.close()
		if err := w.db.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	w.open(change...)
	return w
}

// open begins to keep backups, as a daemon that starts does.
func (w *world) open(change ...func(*Options)) {
	w.t.Helper()
	o := Options{
		DB: w.db, Dir: filepath.Join(w.dir, "backup"), Scratch: filepath.Join(w.dir, "copies"), Every: time.Hour, Keep: 2,
		Log: slog.New(slog.NewTextHandler(w.t.Output(), nil)), Now: time.Now,
	}
	for _, f := range change {
		f(&o)
	}
	k, err := Open(w.t.Context(), o)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.Run(ctx)
	}()
	w.k = k
	w.end = func() { cancel(); <-done }
}

func (w *world) close() {
	if w.k == nil {
		return
	}
	if err := w.k.Close(); err != nil {
		w.t.Error(err)
	}
	w.end()
	w.k = nil
}

// until waits for a condition.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	for began := time.Now(); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			w.t.Fatalf("waited in vain until %s; facts %+v", what, w.k.Facts())
		}
	}
}

func (w *world) based(n int) {
	w.t.Helper()
	w.until(fmt.Sprintf("there are %d base backups", n), func() bool {
		f := w.k.Facts()
		return f.Streaming && f.Bases >= n && f.Problem == ""
	})
}

// exec runs SQL as the owner of the app's schema.
func (w *world) exec(sql string) {
	w.t.Helper()
	execOn(w.t, w.db.MigratorURL(), sql)
}

func execOn(t *testing.T, url, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, url, table string) (n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM "+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
