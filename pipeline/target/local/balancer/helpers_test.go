package balancer

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/smartcloudops/gate/pipeline/target/local/certs"
)

const key = "a-key-of-gate's-own"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		os.Exit(play(role))
	}
	goleak.VerifyTestMain(m)
}

// instance is a real HTTP server that stands for an instance of the app.
type instance struct {
	Backend
	server *http.Server
	served atomic.Int64
	posts  atomic.Int64
}

func startInstance(t *testing.T, id, release string, h http.HandlerFunc) *instance {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	in := &instance{Backend: Backend{ID: id, Address: l.Addr().String(), Release: release}}
	if h == nil {
		h = func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%s %d", id, len(body))
		}
	}
	in.server = &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in.served.Add(1)
		if r.Method == http.MethodPost {
			in.posts.Add(1)
		}
		h(w, r)
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = in.server.Serve(l) }()
	t.Cleanup(func() { in.kill(); <-done })
	return in
}

// kill closes the listener and every connection at once.
func (in *instance) kill() { _ = in.server.Close() }

type fixture struct {
	*Balancer
	addr  string
	roots *x509.CertPool
}

func start(t *testing.T, change ...func(*Options)) *fixture {
	t.Helper()
	ca, err := certs.Ensure(t.TempDir(), []string{"localhost", "127.0.0.1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Listener: l, GetCertificate: ca.GetCertificate, SyntheticKey: key}
	for _, c := range change {
		c(&o)
	}
	b, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- b.Serve() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := b.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return &fixture{Balancer: b, addr: l.Addr().String(), roots: ca.Roots()}
}

func (f *fixture) swap(t *testing.T, s Set) {
	t.Helper()
	if err := f.Swap(s); err != nil {
		t.Fatal(err)
	}
}

func backends(list ...*instance) []Backend {
	var out []Backend
	for _, in := range list {
		out = append(out, in.Backend)
	}
	return out
}

// client is Go's own; close it so that no connection outlives the test.
func (f *fixture) client(t *testing.T, h2 bool) *http.Client {
	t.Helper()
	var p http.Protocols
	p.SetHTTP1(!h2)
	p.SetHTTP2(h2)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: f.roots}, Protocols: &p, MaxIdleConnsPerHost: 64}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 10 * time.Second}
}

func (f *fixture) request(t *testing.T, method, path string, body io.Reader, headers ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "https://"+f.addr+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

type reply struct {
	status int
	header http.Header
	body   string
	proto  int
}

func do(t *testing.T, c *http.Client, r *http.Request) reply {
	t.Helper()
	res, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header, string(body), res.ProtoMajor}
}

// strict is an HTTP/1.1 client with one connection and no second chance:
// whatever is not an answer, a closed connection above all, is a failure.
type strict struct {
	conn net.Conn
	r    *bufio.Reader
	host string
}

var errToldToClose = errors.New("the server closes the connection")

func dialStrict(addr string, roots *x509.CertPool) (*strict, error) {
	d := &tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second},
		Config: &tls.Config{RootCAs: roots, ServerName: "localhost", NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS13}}
	c, err := d.DialContext(context.Background(), "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &strict{conn: c, r: bufio.NewReader(c), host: addr}, nil
}

// do sends one request and reads the whole answer. errToldToClose comes with a
// complete answer after which the server closes.
func (s *strict) do(method, path, body string) (int, error) {
	_ = s.conn.SetDeadline(time.Now().Add(10 * time.Second))
	head := method + " " + path + " HTTP/1.1\r\nHost: " + s.host + "\r\n"
	if body != "" || method == http.MethodPost {
		head += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	if _, err := io.WriteString(s.conn, head+"\r\n"+body); err != nil {
		return 0, err
	}
	res, err := http.ReadResponse(s.r, &http.Request{Method: method})
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return res.StatusCode, err
	}
	if res.Close {
		return res.StatusCode, errToldToClose
	}
	return res.StatusCode, nil
}

func (s *strict) close() { _ = s.conn.Close() }

func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(time.Millisecond) // between two looks at the condition
	}
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func get(t *testing.T, f *fixture, c *http.Client, headers ...string) reply {
	t.Helper()
	return do(t, c, f.request(t, http.MethodGet, "/", nil, headers...))
}

func contents(s ...string) io.Reader { return strings.NewReader(strings.Join(s, "")) }

// shared is a second listener on the same socket, as another process would get it.
func shared(l net.Listener) (net.Listener, error) {
	tl, ok := l.(*net.TCPListener)
	if !ok {
		return nil, errors.New("not a TCP listener")
	}
	f, err := tl.File()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return net.FileListener(f)
}
