package balancer

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// hangUp is an instance that reads a request's head and closes, like one that
// is killed at work. It counts what it was sent.
func hangUp(t *testing.T, id, release string) (Backend, *atomic.Int64) {
	t.Helper()
	var n atomic.Int64
	in := startInstance(t, id, release, func(w http.ResponseWriter, _ *http.Request) {
		n.Add(1)
		c, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = c.Close()
		}
	})
	return in.Backend, &n
}

// nobody is an address that refuses connections.
func nobody(t *testing.T, id, release string) Backend {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return Backend{ID: id, Address: l.Addr().String(), Release: release}
}

func TestRefusedConnectionsCostNobodyAnything(t *testing.T) {
	f := start(t)
	live := startInstance(t, "live", "r", nil)
	dead := nobody(t, "dead", "r")
	f.swap(t, Set{Stable: []Backend{dead, live.Backend}})
	c := f.client(t, false)
	for range 20 {
		r := do(t, c, f.request(t, http.MethodPost, "/", contents("a body")))
		if r.status != http.StatusOK || r.body != "live 6" {
			t.Fatalf("%+v", r)
		}
	}
	if n := live.posts.Load(); n != 20 {
		t.Fatalf("20 POSTs, %d executed", n)
	}
	if a := f.Arms().Stable; a.Errors != 0 || a.Requests != 20 {
		t.Fatalf("%+v", a)
	}
}

func TestRefusingInstanceIsSparedAndTakenBack(t *testing.T) {
	var mu sync.Mutex
	var attempts []int
	f := start(t, func(o *Options) {
		o.Eject = 50 * time.Millisecond
		o.Access = func(r AccessRecord) { mu.Lock(); defer mu.Unlock(); attempts = append(attempts, r.Attempts) }
	})
	live := startInstance(t, "live", "r", nil)
	dead := nobody(t, "dead", "r")
	f.swap(t, Set{Stable: []Backend{dead, live.Backend}})
	c := f.client(t, false)
	begin := time.Now()
	for range 50 {
		get(t, f, c)
	}
	mu.Lock()
	second := 0
	for _, n := range attempts {
		second += n - 1
	}
	mu.Unlock()
	if limit := int(time.Since(begin)/(50*time.Millisecond)) + 2; second < 1 || second > limit {
		t.Fatalf("%d of 50 requests tried the dead instance, want 1 to %d", second, limit)
	}
	l, err := net.Listen("tcp", dead.Address)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	defer func() { _ = s.Close(); <-done }()
	until(t, "it is taken back", func() bool { return get(t, f, c).header.Get(HeaderInstance) == "dead" })
}

func TestAllRefuse(t *testing.T) {
	f := start(t)
	f.swap(t, Set{Stable: []Backend{nobody(t, "1", "r"), nobody(t, "2", "r")}})
	r := get(t, f, f.client(t, false))
	if r.status != http.StatusBadGateway || strings.Contains(r.body, "refused") || strings.Contains(r.body, "127.0.0.1") {
		t.Fatalf("%+v", r)
	}
	if a := f.Arms().Stable; a.Errors != 1 || a.Requests != 1 {
		t.Fatalf("%+v", a)
	}
}

func TestBrokenOffRequests(t *testing.T) {
	for _, c := range []struct {
		method, body, header string
		status               int
		sent                 int64 // to the one that hangs up
	}{
		{http.MethodGet, "", "", 200, 1},
		{http.MethodHead, "", "", 200, 1},
		{http.MethodOptions, "", "", 200, 1},
		{http.MethodGet, "body", "", 502, 1},
		{http.MethodPost, "", "", 502, 1},
		{http.MethodPost, "body", "", 502, 1},
		{http.MethodPost, "", "Idempotency-Key", 502, 1},
		{http.MethodDelete, "", "X-Idempotency-Key", 502, 1},
		{http.MethodPut, "body", "", 502, 1},
		{http.MethodPatch, "body", "", 502, 1},
		{http.MethodDelete, "", "", 502, 1},
	} {
		t.Run(c.method+c.body+c.header, func(t *testing.T) {
			f := start(t)
			broken, n := hangUp(t, "broken", "r")
			live := startInstance(t, "live", "r", nil)
			f.swap(t, Set{Stable: []Backend{broken}})
			// Rotation begins at the second of two.
			f.swap(t, Set{Stable: []Backend{live.Backend, broken}})
			var body io.Reader
			if c.body != "" {
				body = contents(c.body)
			}
			req := f.request(t, c.method, "/", body)
			if c.header != "" {
				req.Header.Set(c.header, "1")
			}
			r := do(t, f.client(t, false), req)
			if r.status != c.status || n.Load() != c.sent {
				t.Fatalf("%+v; sent %d times to the broken one", r, n.Load())
			}
			if total := n.Load() + live.served.Load(); c.status == 502 && total != 1 {
				t.Fatalf("sent %d times in all", total)
			}
		})
	}
}

func TestOnlyOneMoreTry(t *testing.T) {
	f := start(t)
	a, na := hangUp(t, "a", "r")
	b, nb := hangUp(t, "b", "r")
	c, nc := hangUp(t, "c", "r")
	f.swap(t, Set{Stable: []Backend{a, b, c}})
	if r := get(t, f, f.client(t, false)); r.status != http.StatusBadGateway {
		t.Fatalf("%+v", r)
	}
	if n := na.Load() + nb.Load() + nc.Load(); n != 2 {
		t.Fatalf("sent %d times", n)
	}
}

// A kept connection that the instance closes just then is the case in which
// net/http's Transport repeats by itself.
func TestPostOnAStaleConnectionIsSentOnce(t *testing.T) {
	f := start(t)
	var posts atomic.Int64
	in := startInstance(t, "1", "r", func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			return
		}
		posts.Add(1)
		c, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = c.Close()
		}
	})
	f.swap(t, Set{Stable: backends(in)})
	c := f.client(t, false)
	for i := range 10 {
		get(t, f, c) // leaves a connection to reuse
		r := do(t, c, f.request(t, http.MethodPost, "/", nil, "Idempotency-Key", "k"))
		if r.status != http.StatusBadGateway || posts.Load() != int64(i+1) {
			t.Fatalf("%+v; executed %d times, want %d", r, posts.Load(), i+1)
		}
	}
}

func TestBrokenCanaryIsChargedAndHurtsNobody(t *testing.T) {
	f := start(t)
	broken, _ := hangUp(t, "2", "new")
	old := startInstance(t, "1", "old", nil)
	c := f.client(t, false)
	for _, canaryOf := range []Backend{broken, nobody(t, "3", "new")} {
		f.swap(t, Set{Stable: backends(old), Canary: []Backend{canaryOf}, Weight: 100})
		f.Reset()
		for range 5 {
			if r := get(t, f, c); r.status != http.StatusOK || r.header.Get(HeaderRelease) != "old" {
				t.Fatalf("%+v", r)
			}
		}
		a := f.Arms()
		if a.Canary.Requests != 5 || a.Canary.Errors != 5 || a.Stable.Requests != 5 || a.Stable.Errors != 0 {
			t.Fatalf("%+v", a)
		}
		if r := get(t, f, c, HeaderArm, "canary", HeaderSynthetic, key); r.status != http.StatusBadGateway {
			t.Fatalf("a synthetic request was measured on the other arm: %+v", r)
		}
	}
}

func TestAnswerCutShort(t *testing.T) {
	f := start(t)
	in := startInstance(t, "1", "r", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	f.swap(t, Set{Stable: backends(in)})
	res, err := f.client(t, false).Do(f.request(t, http.MethodGet, "/", nil))
	if err == nil { // so little may not have left the balancer's buffer
		defer res.Body.Close()
		_, err = io.ReadAll(res.Body)
	}
	if err == nil {
		t.Fatal("the client took half an answer for a whole one")
	}
	until(t, "counted", func() bool { return f.Counts().Requests == 1 })
	if a := f.Arms().Stable; a.Errors != 1 || f.Counts().InFlight != 0 {
		t.Fatalf("%+v", a)
	}
}

func TestInstanceThatHangs(t *testing.T) {
	f := start(t, func(o *Options) { o.AnswerTimeout = 50 * time.Millisecond })
	hold := make(chan struct{})
	in := startInstance(t, "1", "r", func(http.ResponseWriter, *http.Request) { <-hold })
	other := startInstance(t, "2", "r", func(http.ResponseWriter, *http.Request) { <-hold })
	defer close(hold)
	f.swap(t, Set{Stable: backends(in, other)})
	if r := get(t, f, f.client(t, false)); r.status != http.StatusGatewayTimeout {
		t.Fatalf("%+v", r)
	}
	if n := in.served.Load() + other.served.Load(); n != 1 {
		t.Fatalf("what overloads an instance was sent to %d", n)
	}
}

// trickle gives a byte at a time.
type trickle struct {
	n     int
	pause time.Duration
}

func (s *trickle) Read(p []byte) (int, error) {
	if s.n == 0 {
		return 0, io.EOF
	}
	time.Sleep(s.pause) // the slowness that is tested
	s.n--
	p[0] = 'x'
	return 1, nil
}

func TestSlowClientsAreServed(t *testing.T) {
	t.Parallel()
	const stall = 400 * time.Millisecond
	f := start(t, func(o *Options) { o.Stall = stall })
	big := bytes.Repeat([]byte("x"), 8<<20)
	in := startInstance(t, "1", "r", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if r.Method == http.MethodPost && (err != nil || len(body) != 10) {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		time.Sleep(2 * stall) // an instance may take its time: that is not the client's stall
		if r.Method == http.MethodGet {
			_, _ = w.Write(big)
		}
	})
	f.swap(t, Set{Stable: backends(in)})
	var wg sync.WaitGroup
	for _, h2 := range []bool{false, true} {
		c := f.client(t, h2)
		wg.Go(func() {
			r := do(t, c, f.request(t, http.MethodPost, "/", &trickle{n: 10, pause: stall / 5}))
			if r.status != http.StatusOK {
				t.Errorf("slow upload, HTTP/%d: %+v", r.proto, r)
			}
		})
		wg.Go(func() {
			res, err := c.Do(f.request(t, http.MethodGet, "/", nil))
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			n := 0
			for part := make([]byte, 1<<20); ; {
				k, err := io.ReadFull(res.Body, part)
				n += k
				if err != nil {
					break
				}
				time.Sleep(stall / 5) // the slowness that is tested
			}
			if n != len(big) {
				t.Errorf("slow download, h2 %v: %d bytes", h2, n)
			}
		})
	}
	wg.Wait()
}

// A deadline of the answer before must not hit what the server itself says on
// the same connection later.
func TestIdleConnectionHasNoDeadline(t *testing.T) {
	const stall = 50 * time.Millisecond
	f := start(t, func(o *Options) { o.Stall = stall })
	f.swap(t, Set{Stable: backends(startInstance(t, "1", "r", nil))})
	s, err := dialStrict(f.addr, f.roots)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if _, err := s.do(http.MethodGet, "/", ""); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * stall) // the idleness that is tested
	if status, err := s.do("NO SUCH", "/", ""); status != http.StatusBadRequest {
		t.Fatalf("status %d, %v", status, err)
	}
}

func TestStalledClientsAreCutOff(t *testing.T) {
	t.Parallel() // crypto/tls may take five seconds more to say goodbye to somebody who does not listen
	f := start(t, func(o *Options) { o.Stall = 100 * time.Millisecond })
	big := make([]byte, 64<<20)
	in := startInstance(t, "1", "r", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = w.Write(big)
	})
	f.swap(t, Set{Stable: backends(in)})
	for _, text := range []string{
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc", // never sends the rest
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",                           // never reads the answer
	} {
		c, err := dialStrict(f.addr, f.roots)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c.conn, text); err != nil {
			t.Fatal(err)
		}
		before := f.Counts().Requests
		until(t, "the request is over: "+text[:4], func() bool { return f.Counts().Requests > before })
		c.close()
	}
	if a := f.Arms().Stable; a.Errors != 0 || a.Requests != 2 {
		t.Fatalf("%+v", a)
	}
}
