package httpapi_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/smartcloudops/gate/app/internal/pgtest"
)

// TestServeDrains holds a request in the store, ends the context, and sees the
// order: not ready, connections closed politely, listener closed, the held
// request answered.
func TestServeDrains(t *testing.T) {
	s := newService(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- s.api.Serve(ctx, ln, time.Second) }()

	idle := dial(t, ln.Addr())
	if resp := idle.get(t, "/version"); resp.Close {
		t.Fatal("a connection was closed before the shutdown")
	}
	pgtest.Exec(t, s.db.Migrator, `CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(2.5); RETURN NEW; END';
		CREATE TRIGGER slow BEFORE INSERT ON metric_samples FOR EACH ROW EXECUTE FUNCTION slow()`)
	held := dial(t, ln.Addr())
	held.send(t, fmt.Sprintf("POST /api/v1/metrics HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(one), one))
	eventually(t, "the request is in the database", func() bool {
		return pgtest.Value[int](t, s.db.App, `SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%INSERT INTO metric_samples%' AND state = 'active' AND pid <> pg_backend_pid()`) == 1
	})

	stop()
	eventually(t, "a new connection hears that the instance is not ready", func() bool {
		resp := dial(t, ln.Addr()).get(t, "/readyz")
		return resp.StatusCode == http.StatusServiceUnavailable && resp.Close
	})
	if resp := idle.get(t, "/version"); resp.StatusCode != 200 || !resp.Close {
		t.Errorf("an idle connection got %d, Connection: close %v; want its answer and to be closed after it", resp.StatusCode, resp.Close)
	}
	if resp := held.read(t); resp.StatusCode != 200 || !resp.Close {
		t.Errorf("the request in flight got %d, Connection: close %v", resp.StatusCode, resp.Close)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if conn, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		conn.Close()
		t.Error("the listener is still open")
	}
	if n := pgtest.Value[int](t, s.db.App, `SELECT count(*) FROM metric_samples`); n != 1 {
		t.Errorf("%d samples stored, want the one that was in flight", n)
	}
}

// client is one connection that is neither reopened nor retried.
type client struct {
	net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, addr net.Addr) *client {
	t.Helper()
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &client{conn, bufio.NewReader(conn)}
}

func (c *client) send(t *testing.T, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatal(err)
	}
}

func (c *client) read(t *testing.T) *http.Response {
	t.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp
}

func (c *client) get(t *testing.T, path string) *http.Response {
	t.Helper()
	c.send(t, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n")
	return c.read(t)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it did not come to this: %s", what)
		}
	}
}
