package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/smartcloudops/gate/app/internal/pgtest"
)

func TestFromNothingToServing(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	digest := "sha256:" + strings.Repeat("0f", 32)
	p := serveProgram(t, db.App, "RELEASE_DIGEST="+digest, "SHUTDOWN_SETTLE=0s")
	p.becomes(t, 503, "no schema yet; run migrate")
	if code, out := run(t, "migrate", "postgres://nobody@127.0.0.1:1/absent?sslmode=disable"); code != 1 || strings.Count(out, "\n") != 1 {
		t.Errorf("migrate without a database ended with %d, want 1 and one line: %s", code, out)
	}
	migrated(t, db)
	p.becomes(t, 200, "ready")
	pgtest.Exec(t, db.Migrator, `DELETE FROM goose_db_version WHERE version_id = 2`)
	p.becomes(t, 503, "the schema has version 1, this release needs 2; run migrate")
	pgtest.Exec(t, db.Migrator, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (2, true), (3, true)`)
	p.becomes(t, 200, "ready")
	if status, body := p.get(t, "/version"); status != 200 || !strings.Contains(body, digest) || !strings.Contains(body, `"environment":"test"`) {
		t.Errorf("/version answers %d %s", status, body)
	}
	if status, _ := p.get(t, "/livez"); status != 200 {
		t.Errorf("/livez answers %d", status)
	}
	p.stop(t)
	if log := p.said(); !strings.Contains(log, `"msg":"stopped"`) || strings.Contains(log, "/livez") {
		t.Errorf("the log lacks its end, or is full of probes: %s", log)
	}
	if code, out := run(t, "import", db.App); code != 2 {
		t.Errorf("an unknown verb ended with %d, want 2: %s", code, out)
	}
}

// TestUpdateDropsNothing does what a load balancer does: strict clients keep
// their connections, open the next one where /readyz says so, and never retry.
func TestUpdateDropsNothing(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	migrated(t, db)
	old, next := serveProgram(t, db.App, "SHUTDOWN_SETTLE=1s"), serveProgram(t, db.App, "SHUTDOWN_SETTLE=1s")
	var target atomic.Pointer[program]
	target.Store(old)

	var clients sync.WaitGroup
	var acknowledged, afterwards atomic.Int64
	failures := make(chan error, 10)
	stop := make(chan struct{})
	for c := range cap(failures) {
		clients.Go(func() {
			var conn *strictConn
			for seq := 0; ; seq++ {
				select {
				case <-stop:
					return
				default:
				}
				if conn == nil {
					var err error
					if conn, err = connect(target.Load().addr); err != nil {
						failures <- err
						return
					}
				}
				at := time.Date(2026, 1, 2, 0, 0, seq, 0, time.UTC).Format(time.RFC3339)
				closes, err := conn.post(fmt.Sprintf(`{"samples":[{"source":"client-%d","metric":"m","time":"%s","value":%d}]}`, c, at, seq))
				if err != nil {
					failures <- fmt.Errorf("client %d, request %d: %w", c, seq, err)
					conn.Close()
					return
				}
				acknowledged.Add(1)
				if target.Load() == next {
					afterwards.Add(1)
				}
				if closes {
					conn.Close()
					conn = nil
				}
			}
		})
	}
	reach := func(n *atomic.Int64, want int64) {
		t.Helper()
		for deadline := time.Now().Add(15 * time.Second); n.Load() < want && len(failures) == 0; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Errorf("only %d requests", n.Load())
				return
			}
		}
	}
	reach(&acknowledged, 300)
	old.signal(t, syscall.SIGTERM)
	old.becomes(t, 503, "shutting down")
	target.Store(next)
	if err := old.wait(t); err != nil {
		t.Errorf("the old instance ended with %v", err)
	}
	reach(&afterwards, 300)
	close(stop)
	clients.Wait()
	close(failures)
	for err := range failures {
		t.Errorf("dropped: %v", err)
	}
	if n := pgtest.Value[int64](t, db.App, `SELECT count(*) FROM metric_samples`); n != acknowledged.Load() {
		t.Errorf("%d samples stored, %d acknowledged", n, acknowledged.Load())
	}
	next.stop(t)
}

// strictConn is one connection whose requests are never retried.
type strictConn struct {
	net.Conn
	r *bufio.Reader
}

func connect(addr string) (*strictConn, error) {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	return &strictConn{conn, bufio.NewReader(conn)}, nil
}

// post returns whether the connection ends with the answer.
func (c *strictConn) post(body string) (bool, error) {
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return false, err
	}
	if _, err := fmt.Fprintf(c, "POST /api/v1/metrics HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body); err != nil {
		return false, err
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return false, err
	}
	if resp.StatusCode != 200 || string(answer) != "{\"accepted\":1}\n" {
		return false, fmt.Errorf("%d %s", resp.StatusCode, answer)
	}
	return resp.Close, nil
}

func TestDatabaseGoesAndComesBack(t *testing.T) {
	t.Parallel()
	cluster := pgtest.Start(t)
	db := cluster.Database(t)
	migrated(t, db)
	p := serveProgram(t, db.App, "SHUTDOWN_SETTLE=0s")
	p.becomes(t, 200, "ready")
	if err := cluster.Stop(); err != nil {
		t.Fatal(err)
	}
	p.becomes(t, 503, "the database does not answer")
	if status, _ := p.get(t, "/livez"); status != 200 {
		t.Errorf("/livez answers %d while the database is gone: a restart would not help", status)
	}
	if status, body := p.get(t, "/api/v1/metrics"); status != 503 || !strings.Contains(body, "may be sent again") {
		t.Errorf("a query answers %d %s", status, body)
	}

	if err := cluster.Start(); err != nil {
		t.Fatal(err)
	}
	p.becomes(t, 200, "ready")
	if status, body := p.get(t, "/api/v1/metrics"); status != 200 {
		t.Errorf("a query answers %d %s once the database is back", status, body)
	}
	p.stop(t)
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	migrated(t, db)
	p := serveProgram(t, db.App, "SHUTDOWN_SETTLE=60s")
	p.becomes(t, 200, "ready")
	p.signal(t, syscall.SIGINT)
	p.becomes(t, 503, "shutting down")
	p.signal(t, syscall.SIGTERM)
	if err := p.wait(t); err == nil || !slices.Contains([]string{"signal: terminated", "exit status 2"}, err.Error()) {
		t.Errorf("ended with %v, want the second signal", err)
	}
}
