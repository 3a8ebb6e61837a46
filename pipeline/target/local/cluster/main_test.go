package cluster

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// childDir tells a re-executed test binary to be a daemon that opens the
// cluster in that folder and then does nothing, until it is killed.
const childDir = "GATE_CLUSTER_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		os.Exit(beDaemon(dir))
	}
	root, err := os.MkdirTemp("", "gc-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// PostgreSQL runs as another user when the tests run as root.
	err = os.Chmod(root, 0o711)
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

// under lists processes that stand in root or name it.
func under(root string) []string {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return []string{err.Error()}
	}
	var left []string
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		cwd, _ := os.Readlink(filepath.Join("/proc", e.Name(), "cwd"))
		cmdline, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if strings.HasPrefix(cwd, root) || bytes.Contains(cmdline, []byte(root)) {
			left = append(left, fmt.Sprintf("%d %s %q", pid, cwd, cmdline))
		}
	}
	return left
}

func beDaemon(dir string) int {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := Open(ctx, Options{Dir: dir, Name: "shop", Path: os.Getenv("PATH"), BinDir: os.Getenv("GATE_POSTGRES_BIN")})
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	fmt.Println("pid", c.PID())
	<-ctx.Done()
	return 1
}

// notes is a log that tests read while it is written.
type notes struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (n *notes) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.b.Write(p)
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.b.String()
}

// folder is a new folder that the user of PostgreSQL can enter.
func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "db")
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func options(dir string, log *notes) Options {
	o := Options{Dir: dir, Name: "shop", Path: os.Getenv("PATH"), BinDir: os.Getenv("GATE_POSTGRES_BIN")}
	if log != nil {
		o.Log = log
	}
	return o
}

// open opens a cluster and stops it at the end of the test.
func open(t *testing.T, o Options) *Cluster {
	t.Helper()
	c, err := Open(deadline(t), o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { stop(t, c) })
	return c
}

func stop(t *testing.T, c *Cluster) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := c.Stop(ctx); err != nil {
		t.Errorf("Stop: %v", err)
	}
	if c.external {
		return
	}
	if left, err := c.members(); err != nil || len(left) > 0 {
		t.Errorf("after Stop: processes %v, error %v", left, err)
	}
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(deadline(t), url)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(func() { hangUp(conn) })
	return conn
}

func must(t *testing.T, conn *pgx.Conn, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := conn.Exec(deadline(t), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func ask[T any](t *testing.T, conn *pgx.Conn, query string) T {
	t.Helper()
	var v T
	if err := conn.QueryRow(deadline(t), query).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

// until polls until ok is true.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("still waiting until %s", what)
		}
		if err := pause(context.Background(), 5*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
}

// oneLiner checks the shape of an error: one line without a password.
func oneLiner(t *testing.T, err error, secrets ...string) {
	t.Helper()
	if strings.Contains(strings.TrimSpace(err.Error()), "\n") {
		t.Errorf("error has several lines: %q", err)
	}
	for _, s := range secrets {
		if strings.Contains(err.Error(), s) {
			t.Errorf("error shows a secret: %v", err)
		}
	}
	t.Log(err)
}
