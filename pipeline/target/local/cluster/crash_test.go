package cluster

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// writer inserts rows until ctx ends and returns those that were acknowledged.
func writer(ctx context.Context, c *Cluster, first int, count *atomic.Int64) (acked []int) {
	var conn *pgx.Conn
	for id := first; ctx.Err() == nil; id++ {
		if conn == nil || conn.IsClosed() {
			var err error
			if conn, err = pgx.Connect(ctx, c.AppURL()); err != nil {
				conn = nil
				continue
			}
		}
		if _, err := conn.Exec(ctx, "INSERT INTO journal VALUES ($1)", id); err == nil {
			acked = append(acked, id)
			count.Add(1)
		}
	}
	if conn != nil {
		hangUp(conn)
	}
	return acked
}

func TestKilledServerUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	log := &notes{}
	c := open(t, options(folder(t), log))
	must(t, connect(t, c.MigratorURL()), "CREATE TABLE journal (id int PRIMARY KEY)")
	ctx, cancel := context.WithCancel(deadline(t))
	defer cancel()
	const writers, kills = 4, 3
	var count atomic.Int64
	acked := make([][]int, writers)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() { acked[w] = writer(ctx, c, w*1_000_000_000/writers, &count) })
	}
	var slowest time.Duration
	for n := 1; n <= kills; n++ {
		goal := count.Load() + 100
		until(t, "rows are written", func() bool { return count.Load() >= goal })
		dead := c.PID()
		if err := syscall.Kill(dead, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		until(t, "the server is started again", func() bool {
			if err := c.EnsureRunning(ctx); err != nil {
				t.Fatal(err)
			}
			return c.Restarts() == n
		})
		slowest = max(slowest, time.Since(begin))
		if c.PID() == dead {
			t.Fatal("same pid after a kill")
		}
	}
	goal := count.Load() + 100
	until(t, "rows are written after the last restart", func() bool { return count.Load() >= goal })
	cancel()
	wg.Wait()

	rows, err := connect(t, c.AppURL()).Query(deadline(t), "SELECT id FROM journal")
	if err != nil {
		t.Fatal(err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		t.Fatal(err)
	}
	there := make(map[int]bool, len(ids))
	for _, id := range ids {
		there[id] = true
	}
	total, lost := 0, 0
	for _, some := range acked {
		for _, id := range some {
			total++
			if !there[id] {
				lost++
			}
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d acknowledged rows are lost", lost, total)
	}
	if slowest > 10*time.Second {
		t.Errorf("a restart took %v", slowest)
	}
	t.Logf("%d kills, %d rows acknowledged, %d lost, slowest restart %v\n%s", kills, total, lost, slowest, log)
}

func TestWhatADeadServerLeavesBehind(t *testing.T) {
	t.Parallel()
	dir, log := folder(t), &notes{}
	c := open(t, options(dir, log))
	orphanedBackend(t, c, log)
	stalePIDFile(t, c, dir)
}

// A backend that is stopped cannot notice that its server is dead, and keeps
// the shared memory in use.
func orphanedBackend(t *testing.T, c *Cluster, log *notes) {
	t.Helper()
	conn := connect(t, c.AppURL())
	backendPID := ask[int](t, conn, "SELECT pg_backend_pid()")
	if got := c.classify(backendPID); got != backend {
		t.Fatalf("a backend is taken for %v", got)
	}
	if err := syscall.Kill(backendPID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Should the test fail, a stopped process would stay for ever.
		if c.classify(backendPID) == backend {
			t.Error(syscall.Kill(backendPID, syscall.SIGKILL))
		}
	})
	if err := syscall.Kill(c.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "the server is started again", func() bool {
		if err := c.EnsureRunning(deadline(t)); err != nil {
			t.Fatal(err)
		}
		return c.Restarts() == 1
	})
	if err := c.Ping(deadline(t)); err != nil {
		t.Error(err)
	}
	if k := c.classify(backendPID); k != stranger {
		t.Errorf("the orphan, pid %d, is still there", backendPID)
	}
	if !strings.Contains(log.String(), "outlive their server") {
		t.Errorf("the log says nothing of it:\n%s", log)
	}
}

// After a reboot the pid in postmaster.pid may be anybody's, another
// PostgreSQL's even; and a full disk may have left the file empty.
func stalePIDFile(t *testing.T, c *Cluster, dir string) {
	t.Helper()
	crash := func(c *Cluster) string {
		t.Helper()
		if err := syscall.Kill(c.PID(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		until(t, "the server is dead", func() bool { return !c.alive(c.PID()) })
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(c.data(), "postmaster.pid"))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	neighbour := exec.Command("sleep", "60")
	neighbour.SysProcAttr = c.runner.attr()
	if err := neighbour.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := neighbour.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = neighbour.Wait() // it was killed
	}()
	path := filepath.Join(c.data(), "postmaster.pid")
	for _, first := range []string{strconv.Itoa(neighbour.Process.Pid), "", "odd"} {
		_, text, _ := strings.Cut(crash(c), "\n")
		if text = first + "\n" + text; first == "" {
			text = ""
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c = open(t, options(dir, nil))
		if err := c.Ping(deadline(t)); err != nil {
			t.Errorf("with postmaster.pid %q: %v", text, err)
		}
	}
	if err := neighbour.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the neighbour was touched: %v", err)
	}
}
