package balancer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// crowd are clients of three kinds that use the service until they are stopped.
type crowd struct {
	stop     chan struct{}
	wg       sync.WaitGroup
	requests [3]atomic.Int64
	posts    atomic.Int64
	mu       sync.Mutex
	failures []string
	moved    atomic.Int64 // strict clients that were asked to connect anew, and did
	polite   bool         // Connection: close on a complete answer is no failure
}

var kinds = [3]string{"strict keep-alive", "Go client", "one connection a request"}

func (c *crowd) fail(kind int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failures = append(c.failures, fmt.Sprintf("%s: %v", kinds[kind], err))
}

func (c *crowd) running() bool {
	select {
	case <-c.stop:
		return false
	default:
		return true
	}
}

// gather starts n clients of each kind.
func gather(t *testing.T, f *fixture, n int, polite bool) *crowd {
	t.Helper()
	c := &crowd{stop: make(chan struct{}), polite: polite}
	for range n {
		c.wg.Go(func() { c.beStrict(f) })
		client := f.client(t, false)
		c.wg.Go(func() { c.beGo(f, client, 1) })
		single := f.client(t, false)
		single.Transport.(*http.Transport).DisableKeepAlives = true
		c.wg.Go(func() { c.beGo(f, single, 2) })
	}
	return c
}

func (c *crowd) beStrict(f *fixture) {
	s, err := dialStrict(f.addr, f.roots)
	if err != nil {
		c.fail(0, err)
		return
	}
	defer func() { s.close() }()
	for c.running() {
		method, body := http.MethodGet, ""
		if rand.IntN(3) == 0 {
			method, body = http.MethodPost, "some body"
			c.posts.Add(1)
		}
		c.requests[0].Add(1)
		status, err := s.do(method, "/", body)
		if c.polite && errors.Is(err, errToldToClose) {
			s.close()
			c.moved.Add(1)
			if s, err = dialStrict(f.addr, f.roots); err != nil {
				c.fail(0, err)
				return
			}
		}
		if err != nil || status != http.StatusOK {
			c.fail(0, fmt.Errorf("%s: status %d, %w", method, status, err))
			return
		}
	}
}

func (c *crowd) beGo(f *fixture, client *http.Client, kind int) {
	for c.running() {
		c.requests[kind].Add(1)
		c.posts.Add(1)
		res, err := client.Post("https://"+f.addr+"/", "text/plain", contents("some body"))
		if err == nil {
			_, err = io.Copy(io.Discard, res.Body)
			res.Body.Close()
			if res.StatusCode != http.StatusOK {
				err = fmt.Errorf("status %d, %w", res.StatusCode, err)
			}
		}
		if err != nil {
			c.fail(kind, err)
			return
		}
	}
}

func (c *crowd) disperse(t *testing.T) {
	t.Helper()
	close(c.stop)
	c.wg.Wait()
	for _, f := range c.failures {
		t.Error(f)
	}
	for k, name := range kinds {
		n := c.requests[k].Load()
		t.Logf("%s: %d requests", name, n)
		if n < 20 {
			t.Errorf("%s: only %d requests: the test shows nothing", name, n)
		}
	}
}

// Every 20 ms another set; the instances of the one before are drained and
// killed at once, as an update, a canary and a rollback do it in turn.
func TestSwapsUnderLoadFailNothing(t *testing.T) {
	f := start(t)
	var posts atomic.Int64
	fresh := func(i int, release string) *instance {
		return startInstance(t, fmt.Sprintf("%s%d", release, i), release, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				posts.Add(1)
			}
			_, _ = io.Copy(io.Discard, r.Body)
			if i%3 == 0 { // a service that says goodbye to the balancer is none of the client's business
				w.Header().Set("Connection", "close")
			}
			_, _ = io.WriteString(w, "hello")
		})
	}
	current := []*instance{fresh(0, "a"), fresh(0, "b")}
	f.swap(t, Set{Stable: backends(current...)})
	c := gather(t, f, 4, false)
	var slowest time.Duration
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	swaps := 0
	for end := time.Now().Add(2500 * time.Millisecond); time.Now().Before(end); swaps++ {
		<-tick.C
		next := []*instance{fresh(swaps+1, "a"), fresh(swaps+1, "b")}
		s := Set{Stable: backends(next...)}
		if swaps%3 == 1 {
			s = Set{Stable: backends(next[0]), Canary: backends(next[1]), Weight: 30}
		}
		begin := time.Now()
		f.swap(t, s)
		slowest = max(slowest, time.Since(begin))
		for _, in := range current {
			if err := f.Drain(within(t, 5*time.Second), in.ID); err != nil {
				t.Fatal(err)
			}
			in.kill()
		}
		current = next
	}
	c.disperse(t)
	t.Logf("%d swaps, the slowest took %v", swaps, slowest)
	if got, want := posts.Load(), c.posts.Load(); got != want {
		t.Errorf("%d POSTs were sent, %d executed", want, got)
	}
	if swaps < 15 {
		t.Errorf("only %d swaps", swaps)
	}
	if a := f.Arms(); a.Stable.Errors+a.Canary.Errors != 0 || f.Counts().Errors != 0 {
		t.Errorf("%+v", a)
	}
}

func TestKilledInstanceLosesNoGet(t *testing.T) {
	f := start(t)
	var executed sync.Map // POST body → times
	handler := func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Method == http.MethodPost {
			n, _ := executed.LoadOrStore(string(body), new(atomic.Int64))
			n.(*atomic.Int64).Add(1)
		}
		_, _ = w.Write(body)
	}
	list := []*instance{startInstance(t, "1", "r", handler), startInstance(t, "2", "r", handler), startInstance(t, "3", "r", handler)}
	f.swap(t, Set{Stable: backends(list...)})
	var wg sync.WaitGroup
	var gets, posts, lostPosts atomic.Int64
	stop := make(chan struct{})
	for worker := range 8 {
		wg.Go(func() {
			s, err := dialStrict(f.addr, f.roots)
			if err != nil {
				t.Error(err)
				return
			}
			defer s.close()
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if i%2 == 0 {
					gets.Add(1)
					if status, err := s.do(http.MethodGet, "/", ""); err != nil || status != http.StatusOK {
						t.Errorf("GET lost: %d, %v", status, err)
						return
					}
					continue
				}
				posts.Add(1)
				status, err := s.do(http.MethodPost, "/", fmt.Sprintf("%d-%d", worker, i))
				if err != nil {
					t.Errorf("connection lost: %v", err)
					return
				}
				if status != http.StatusOK {
					lostPosts.Add(1)
				}
			}
		})
	}
	for i, in := range list[:2] {
		before := gets.Load()
		until(t, "more load", func() bool { return gets.Load() > before+200 })
		in.kill()
		before = gets.Load()
		until(t, fmt.Sprintf("load after kill %d", i), func() bool { return gets.Load() > before+200 })
	}
	close(stop)
	wg.Wait()
	twice := 0
	executed.Range(func(_, n any) bool {
		if n.(*atomic.Int64).Load() > 1 {
			twice++
		}
		return true
	})
	t.Logf("%d GETs, %d POSTs, %d POSTs lost in two kills", gets.Load(), posts.Load(), lostPosts.Load())
	if twice > 0 {
		t.Errorf("%d POSTs were executed twice", twice)
	}
	if lostPosts.Load() > 16 { // eight clients, two kills: no more than were in flight
		t.Errorf("%d POSTs lost", lostPosts.Load())
	}
}

// Between looking at the set and counting itself in, a request may be overtaken
// by a swap and the drain after it.
func TestNobodyGetsInAfterLeaving(t *testing.T) {
	o := Options{}
	defaults(&o)
	be := newBackend(Backend{ID: "1", Address: "127.0.0.1:1"}, &o)
	if !be.acquire() {
		t.Fatal("an instance in the set refuses")
	}
	be.leave()
	if be.acquire() {
		t.Fatal("an instance that has left takes another request")
	}
	select {
	case <-be.idle:
		t.Fatal("idle with a request in flight")
	default:
	}
	be.release()
	<-be.idle
}

func TestDrainWaits(t *testing.T) {
	f := start(t)
	hold := make(chan struct{})
	old := startInstance(t, "old", "r", func(w http.ResponseWriter, _ *http.Request) { <-hold; _, _ = io.WriteString(w, "done") })
	next := startInstance(t, "new", "r", nil)
	f.swap(t, Set{Stable: backends(old)})
	c := f.client(t, false)
	got := make(chan reply, 1)
	go func() { got <- get(t, f, c) }()
	until(t, "in flight", func() bool { return old.served.Load() == 1 })
	if err := f.Drain(t.Context(), "old"); !errors.Is(err, ErrServing) {
		t.Fatalf("it is still in the set: %v", err)
	}
	f.swap(t, Set{Stable: backends(next)})
	if err := f.Drain(within(t, 30*time.Millisecond), "old"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("drained with a request in flight: %v", err)
	}
	// It comes back, as at a rollback, and leaves again: both stays are waited for.
	f.swap(t, Set{Stable: backends(old)})
	f.swap(t, Set{Stable: backends(next)})
	if err := f.Drain(within(t, 30*time.Millisecond), "old"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("drained with a request in flight: %v", err)
	}
	close(hold)
	if err := f.Drain(within(t, 5*time.Second), "old"); err != nil {
		t.Fatal(err)
	}
	if r := <-got; r.body != "done" {
		t.Fatalf("%+v", r)
	}
	if err := f.Drain(t.Context(), "never seen"); err != nil {
		t.Fatal(err)
	}
}

func TestShutdownLetsRequestsEnd(t *testing.T) {
	f := start(t)
	hold := make(chan struct{})
	in := startInstance(t, "1", "r", func(w http.ResponseWriter, _ *http.Request) { <-hold; _, _ = io.WriteString(w, "done") })
	f.swap(t, Set{Stable: backends(in)})
	for _, h2 := range []bool{false, true} {
		c := f.client(t, h2)
		got := make(chan reply, 1)
		go func() { got <- get(t, f, c) }()
		defer func() {
			if r := <-got; r.body != "done" {
				t.Errorf("h2 %v: %+v", h2, r)
			}
		}()
	}
	until(t, "in flight", func() bool { return in.served.Load() == 2 })
	stopped := make(chan error, 1)
	go func() { stopped <- f.Shutdown(context.Background()) }()
	until(t, "nobody is let in", func() bool {
		s, err := dialStrict(f.addr, f.roots)
		if err == nil {
			s.close()
		}
		return err != nil
	})
	select {
	case err := <-stopped:
		t.Fatalf("shut down under two requests: %v", err)
	default:
	}
	close(hold)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
}

func TestShutdownBreaksOffWhatTakesTooLong(t *testing.T) {
	f := start(t)
	hold := make(chan struct{})
	defer close(hold)
	in := startInstance(t, "1", "r", func(http.ResponseWriter, *http.Request) { <-hold })
	f.swap(t, Set{Stable: backends(in)})
	s, err := dialStrict(f.addr, f.roots)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	ended := make(chan error, 1)
	go func() { _, err := s.do(http.MethodGet, "/", ""); ended <- err }()
	until(t, "in flight", func() bool { return in.served.Load() == 1 })
	b := f.Balancer
	if err := b.Shutdown(within(t, 30*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Fatal("an answer came from an instance that never gave one")
	}
	if n := b.Counts().InFlight; n != 0 {
		t.Fatalf("%d in flight after Shutdown", n)
	}
	b.life.shutErr = nil // the fixture asks again, and this time it is expected
}

// A second balancer on the same socket takes over while strict clients work.
func TestHandoverFailsNothing(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("h2 %v", h2), func(t *testing.T) { handover(t, h2) })
	}
}

func handover(t *testing.T, h2 bool) {
	f := start(t)
	in := startInstance(t, "1", "r", nil)
	f.swap(t, Set{Stable: backends(in)})
	l, err := shared(f.opt.Listener)
	if err != nil {
		t.Fatal(err)
	}
	second := start(t, func(o *Options) { _ = o.Listener.Close(); o.Listener = l; o.GetCertificate = f.opt.GetCertificate })
	second.swap(t, Set{Stable: backends(in)})
	if h2 {
		c := f.client(t, true)
		for i := range 60 {
			if r := get(t, f, c); r.status != http.StatusOK || r.proto != 2 {
				t.Fatalf("%+v", r)
			}
			if i == 20 {
				done := make(chan error, 1)
				go func() { done <- f.Handover(within(t, 5*time.Second), 3*time.Second) }()
				defer func() {
					if err := <-done; err != nil {
						t.Error(err)
					}
				}()
			}
		}
		return
	}
	c := gather(t, f, 4, true)
	n := func() int64 { return c.requests[0].Load() }
	until(t, "load", func() bool { return n() > 100 })
	if err := f.Handover(within(t, 5*time.Second), 3*time.Second); err != nil {
		t.Fatal(err)
	}
	before := n()
	until(t, "load on the second", func() bool { return n() > before+100 })
	c.disperse(t)
	if second.Counts().Requests == 0 || c.moved.Load() > 4 {
		t.Fatalf("second balancer: %+v; %d moves of 4 strict clients", second.Counts(), c.moved.Load())
	}
}
