package balancer

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/smartcloudops/gate/pipeline/target"
)

func TestBaselineGetsAsMuchAsTheCanary(t *testing.T) {
	for weight := 1; weight <= 50; weight++ {
		w := weights{seed: uint64(weight)}
		runs := 0 // of the same arm, in a row
		last := stable
		for range 50 {
			var n [arms]int
			for range 100 {
				k := w.deal(weight, true)
				n[k]++
				if k != stable {
					if k == last {
						runs++
					}
					last = k
				}
			}
			if n[canary] != weight || n[baseline] != weight {
				t.Fatalf("weight %d: %v of a hundred", weight, n)
			}
		}
		// A coin for each pair: two in a row are the same in about a quarter of cases.
		if share := float64(runs) / float64(100*weight); weight > 4 && (share < 0.1 || share > 0.4) {
			t.Errorf("weight %d: %.2f of the requests go where the one before has gone", weight, share)
		}
	}
}

func TestStickyVisitorsStayWhileTheWeightGrows(t *testing.T) {
	f, again := start(t), start(t) // as after a restart
	one, base, two := startInstance(t, "1", "old", nil), startInstance(t, "2", "old", nil), startInstance(t, "3", "new", nil)
	clients := map[*fixture]*http.Client{f: f.client(t, false), again: again.client(t, false)}
	c := clients[f]
	by := func(f *fixture, weight int, visitor string) string {
		s := Set{Stable: backends(one), Canary: backends(two), Weight: weight, Sticky: "session"}
		if weight <= 50 {
			s.Baseline = backends(base)
		}
		f.swap(t, s)
		return get(t, f, clients[f], "Cookie", "a=b; session="+visitor).header.Get(HeaderInstance)
	}
	weights := []int{1, 10, 25, 50, 100}
	share := map[int]map[string]int{}
	for v := range 300 {
		visitor, last := fmt.Sprint("visitor-", v), "1"
		for _, w := range weights {
			at := by(f, w, visitor)
			if other := by(again, w, visitor); v < 20 && other != at {
				t.Fatalf("%s is at %s, and in another process at %s", visitor, at, other)
			}
			if last == "3" && at != "3" || last == "2" && at != "2" && w <= 50 {
				t.Fatalf("with weight %d %s went from %s to %s", w, visitor, last, at)
			}
			last = at
			if share[w] == nil {
				share[w] = map[string]int{}
			}
			share[w][at]++
		}
		if v == 0 {
			for range 10 {
				if at := by(f, 25, visitor); at != by(f, 25, visitor) {
					t.Fatal("the same visitor is at another arm each time")
				}
			}
		}
	}
	t.Logf("visitors by weight and instance: %v", share)
	for _, w := range []int{10, 25, 50} {
		for _, in := range []string{"2", "3"} {
			if n := share[w][in]; n < w*3-30 || n > w*3+30 {
				t.Errorf("weight %d: %d of 300 visitors at instance %s", w, n, in)
			}
		}
	}
	// With another release other visitors come first.
	moved := 0
	for v := range 60 {
		before := by(f, 25, fmt.Sprint("visitor-", v))
		two.Release = "newer"
		if by(f, 25, fmt.Sprint("visitor-", v)) != before {
			moved++
		}
		two.Release = "new"
	}
	if moved == 0 {
		t.Error("it is the same visitors who try each release")
	}
	// Without the cookie each request is dealt out.
	f.swap(t, Set{Stable: backends(one), Baseline: backends(base), Canary: backends(two), Weight: 50, Sticky: "session"})
	seen := map[string]int{}
	for range 40 {
		seen[get(t, f, c).header.Get(HeaderInstance)]++
	}
	if seen["2"] != 20 || seen["3"] != 20 {
		t.Errorf("without a cookie: %v", seen)
	}
}

func observe(t *testing.T, f *fixture, cursor int64) ([]target.Observation, int64, int64) {
	t.Helper()
	seen, next, lost, err := f.Observe(cursor)
	if err != nil {
		t.Fatal(err)
	}
	return seen, next, lost
}

func TestWhatIsObserved(t *testing.T) {
	f := start(t)
	answer := func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/no") {
			w.WriteHeader(http.StatusNotFound)
		}
		if r.URL.Path == "/broken" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}
	one, base, two := startInstance(t, "1", "old", answer), startInstance(t, "2", "old", answer), startInstance(t, "3", "new", answer)
	if _, _, _, err := f.Observe(0); err == nil {
		t.Error("without a canary something is observed")
	}
	set := Set{Stable: backends(one), Baseline: backends(base), Canary: backends(two), Weight: 50, Observe: true, Anew: true, Health: []string{"/readyz"}}
	f.swap(t, set)
	c := f.client(t, false)
	var cursor int64
	for _, x := range []struct {
		method, path, class string
		failed              bool
	}{
		{"GET", "/api/v1/list", "GET /api", false},
		{"GET", "/api/other?a=b", "GET /api", false},
		{"POST", "/api/v1/list", "POST /api", false},
		{"GET", "/", "GET /", false},
		{"GET", "/broken", "GET /broken", true},
		{"GET", "/nowhere", "other", true},
		{"BREW", "/api", "other", false},
		{"GET", "/" + strings.Repeat("x", 100), "other", false},
	} {
		r := do(t, c, f.request(t, x.method, x.path, nil))
		var seen []target.Observation
		until(t, "it is observed", func() bool {
			var lost int64
			seen, cursor, lost = observe(t, f, cursor)
			if lost > 0 {
				t.Errorf("%d lost", lost)
			}
			return len(seen) > 0
		})
		arm := map[string]string{"2": "baseline", "3": "canary"}[r.header.Get(HeaderInstance)]
		if s := seen[0]; len(seen) != 1 || s.Arm != arm || s.Class != x.class || s.Error != x.failed || s.Synthetic || s.Seconds <= 0 {
			t.Errorf("%s %s: %+v, want class %q at %s", x.method, x.path, seen, x.class, arm)
		}
	}
	// What says how an instance is, and what the watch asks, counts in no arm; what
	// gate was told to send counts whatever it asks for.
	before, counted := f.Arms(), f.Counts().Requests
	for range 4 {
		do(t, c, f.request(t, "GET", "/readyz", nil))
		do(t, c, f.request(t, "GET", "/api", nil, HeaderSynthetic, key, HeaderArm, ArmWatch))
	}
	do(t, c, f.request(t, "GET", "/readyz", nil, HeaderSynthetic, key, HeaderArm, "baseline"))
	until(t, "all have ended", func() bool { return f.Counts().Requests == counted+5 })
	seen, next, _ := observe(t, f, cursor)
	if len(seen) != 1 || !seen[0].Synthetic || seen[0].Arm != "baseline" {
		t.Errorf("%+v", seen)
	}
	after := f.Arms()
	if after.Canary.Requests != before.Canary.Requests || after.Baseline.Requests != before.Baseline.Requests+1 || after.Stable.Requests != 0 {
		t.Errorf("%+v, and before %+v", after, before)
	}
	// A swap keeps it, also without what was observed last, and a new canary does not.
	set.Anew, set.Weight = false, 20
	f.swap(t, set)
	if seen, _, lost := observe(t, f, 0); len(seen) != 9 || lost != 0 {
		t.Errorf("%d observations, %d lost", len(seen), lost)
	}
	set.Anew = true
	f.swap(t, set)
	if seen, _, lost := observe(t, f, 0); len(seen) != 0 || lost != 0 {
		t.Errorf("%d observations, %d lost", len(seen), lost)
	}
	if _, _, lost := observe(t, f, next); lost == 0 {
		t.Error("a cursor of an earlier canary is as good as any")
	}
}

func TestHelpIsNotObserved(t *testing.T) {
	f := start(t)
	broken, _ := hangUp(t, "3", "new")
	one, base := startInstance(t, "1", "old", nil), startInstance(t, "2", "old", nil)
	f.swap(t, Set{Stable: backends(one), Baseline: backends(base), Canary: []Backend{broken}, Weight: 50, Observe: true, Anew: true})
	c := f.client(t, false)
	for range 20 {
		if r := get(t, f, c); r.status != http.StatusOK {
			t.Fatalf("%+v", r)
		}
	}
	var seen []target.Observation
	until(t, "all are observed", func() bool { seen, _, _ = observe(t, f, 0); return len(seen) >= 20 })
	n := map[target.Observation]int{}
	for _, s := range seen {
		n[target.Observation{Arm: s.Arm, Error: s.Error}]++
	}
	if len(seen) != 20 || n[target.Observation{Arm: "canary", Error: true}] != 10 || n[target.Observation{Arm: "baseline"}] != 10 {
		t.Errorf("%v", n)
	}
}

// An adopted canary's first requests are not known.
func TestWhatIsLostIsTold(t *testing.T) {
	r := newRing(false)
	if _, _, lost := r.since(0); lost != 1 {
		t.Errorf("%d lost before it began", lost)
	}
	r = newRing(true)
	record := func(n int) {
		for range n {
			r.record(canary, "GET", "/", 200, time.Duration(r.n+1), false, false, about{})
		}
	}
	check := func(cursor int64, first, n, gone int64) int64 {
		t.Helper()
		seen, next, lost := r.since(cursor)
		if int64(len(seen)) != n || lost != gone {
			t.Fatalf("%d observations and %d lost, want %d and %d", len(seen), lost, n, gone)
		}
		for i, s := range seen {
			if want := time.Duration(first + int64(i) + 1).Seconds(); s.Seconds != want {
				t.Fatalf("observation %d is that of %v, want %v", i, s.Seconds, want)
			}
		}
		if next >= 1<<53 {
			t.Errorf("cursor %d is not safe in JSON", next)
		}
		return next
	}
	record(10)
	early := check(0, 0, 10, 0)
	check(early, 10, 0, 0)
	record(ringSize - 10)
	check(0, 0, ringSize, 0)
	record(5)
	late := check(early, 10, ringSize-5, 0)
	check(0, 5, ringSize, 5)
	record(2*ringSize + 3)
	check(late, 2*ringSize+8, ringSize, ringSize+3)
	check(late+1, 2*ringSize+8, ringSize, ringSize+2)
	check((r.mark%(ringMarks-1)+1)<<cursorBits|7, 2*ringSize+8, ringSize, 1+2*ringSize+8) // of another canary
	// Classes are bounded, and a scanner takes none.
	r = newRing(true)
	for i := range 500 {
		r.record(canary, "GET", fmt.Sprint("/scan", i), 404, time.Second, false, false, about{})
	}
	for i := range 500 {
		r.record(canary, "GET", fmt.Sprint("/path", i), 200, time.Second, false, false, about{})
	}
	r.record(baseline, "GET", "/path0/x", 404, time.Second, false, false, about{})
	seen, _, _ := r.since(0)
	classes := map[string]bool{}
	for _, s := range seen {
		classes[s.Class] = true
	}
	if last := seen[len(seen)-1]; len(classes) != ringClasses || !classes["GET /path0"] || classes["GET /scan0"] || last.Class != "GET /path0" {
		t.Errorf("%d classes, the last is %q", len(classes), last.Class)
	}
}

func TestObservingMissesNothing(t *testing.T) {
	r := newRing(true)
	var wg sync.WaitGroup
	for k := range 4 {
		wg.Go(func() {
			for i := range 5000 {
				r.record(canary, "GET", "/", 200, time.Duration(k*5000+i+1), false, false, about{})
			}
		})
	}
	seen := map[float64]bool{}
	var cursor int64
	read := func() {
		list, next, lost := r.since(cursor)
		if lost > 0 {
			t.Errorf("%d lost", lost)
		}
		for _, s := range list {
			if seen[s.Seconds] {
				t.Errorf("%v was told twice", s.Seconds)
			}
			seen[s.Seconds] = true
		}
		cursor = next
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		read()
	}
	if len(seen) != 20000 {
		t.Errorf("%d of 20000", len(seen))
	}
}

func BenchmarkObserve(b *testing.B) {
	r := newRing(true)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			r.record(canary, "GET", "/api/v1/list", 200, time.Millisecond, false, false, about{})
		}
	})
}

// A connection to the balancer of before is answered by what its successor knows,
// under the client's own address, and then has to be made anew.
func TestWhoStaysConnectedIsPassedOn(t *testing.T) {
	for _, after := range []time.Duration{0, 300 * time.Millisecond} {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			var mu sync.Mutex
			var lines []AccessRecord
			access := func(o *Options) {
				o.Access = func(r AccessRecord) { mu.Lock(); defer mu.Unlock(); lines = append(lines, r) }
			}
			f := start(t, access)
			old := startInstance(t, "old", "r", nil)
			f.swap(t, Set{Stable: backends(old)})
			d := &tls.Dialer{NetDialer: &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}, Config: &tls.Config{RootCAs: f.roots, ServerName: "localhost"}}
			conn, err := d.DialContext(t.Context(), "tcp", f.addr)
			if err != nil {
				t.Fatal(err)
			}
			first, err := dialStrict(f.addr, f.roots)
			if err != nil {
				t.Fatal(err)
			}
			first.conn.Close()
			s := &strict{conn: conn, r: nil, host: f.addr}
			defer s.close()
			if f.Follow(f.addr, "k") {
				t.Fatal("it follows itself")
			}
			l, err := shared(f.opt.Listener)
			if err != nil {
				t.Fatal(err)
			}
			second := start(t, access, func(o *Options) {
				_ = o.Listener.Close()
				o.Listener, o.GetCertificate, o.Predecessor = l, f.opt.GetCertificate, "k"
			})
			asked := make(chan http.Header, 1)
			fresh := startInstance(t, "new", "s", func(w http.ResponseWriter, r *http.Request) {
				asked <- r.Header
				_, _ = io.WriteString(w, "fresh")
			})
			second.swap(t, Set{Stable: backends(fresh)})
			left := make(chan struct{})
			go func() { defer close(left); f.Leave(within(t, 20*time.Second), Linger) }()
			until(t, "it follows", func() bool { return f.Follow(f.addr, "k") })
			old.kill()
			time.Sleep(after) // the idleness that is tested
			head := "POST /x HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 6.6.6.6\r\nX-Gate-Predecessor: forged\r\nX-Gate-Run: 0123456789abcdef.7\r\nContent-Length: 2\r\n\r\nhi"
			if _, err := io.WriteString(conn, head); err != nil {
				t.Fatal(err)
			}
			raw, err := io.ReadAll(conn) // until it is closed
			text := string(raw)
			if err != nil || !strings.HasPrefix(text, "HTTP/1.1 200") || !strings.Contains(text, "Connection: close") || !strings.Contains(text, HeaderRelease+": s\r\n") || !strings.HasSuffix(text, "fresh") {
				t.Fatalf("%q, %v", text, err)
			}
			h := <-asked
			if got := h.Get("X-Forwarded-For"); got != "127.0.0.9" {
				t.Errorf("the instance is told that the client is %q", got)
			}
			for k := range h {
				if strings.HasPrefix(k, "X-Gate-") {
					t.Errorf("the instance got %s", k)
				}
			}
			<-left
			until(t, "it is written down", func() bool { mu.Lock(); defer mu.Unlock(); return len(lines) > 0 })
			mu.Lock()
			defer mu.Unlock()
			if len(lines) != 1 || lines[0].Run != "0123456789abcdef.7" || lines[0].Instance != "new" {
				t.Errorf("access log: %+v", lines)
			}
		})
	}
}

func TestNobodyElseIsAPredecessor(t *testing.T) {
	f := start(t, func(o *Options) { o.Predecessor = "the real one" })
	asked := make(chan string, 1)
	f.swap(t, Set{Stable: backends(startInstance(t, "1", "r", func(_ http.ResponseWriter, r *http.Request) { asked <- r.Header.Get("X-Forwarded-For") }))})
	get(t, f, f.client(t, false), headerBefore, "a guess", headerClient, "6.6.6.6:1")
	if got := <-asked; got != "127.0.0.1" {
		t.Errorf("the instance is told that the client is %q", got)
	}
}

// TestWhatIsOpenIsTold: a request that is never answered is seen before it ends,
// one that its client gave up says so, and a stream may stay open.
func TestWhatIsOpenIsTold(t *testing.T) {
	f := start(t)
	release := make(chan struct{})
	answer := func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hang":
			<-release
		case "/stream":
			w.Header().Set("Content-Type", "text/event-stream")
			w.(http.Flusher).Flush()
			<-release
		}
	}
	one, base, two := startInstance(t, "1", "old", answer), startInstance(t, "2", "old", answer), startInstance(t, "3", "new", answer)
	f.swap(t, Set{Stable: backends(one), Baseline: backends(base), Canary: backends(two), Weight: 50, Observe: true, Anew: true, Sticky: "session"})
	c := f.client(t, false)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	ask := func(ctx context.Context, path string, headers ...string) {
		wg.Go(func() {
			if res, err := c.Do(f.request(t, "GET", path, nil, headers...).WithContext(ctx)); err == nil {
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
			}
		})
	}
	for range 4 {
		ask(ctx, "/hang", HeaderSynthetic, key, HeaderArm, "canary")
	}
	ask(t.Context(), "/stream", HeaderSynthetic, key, HeaderArm, "baseline")
	until(t, "four are open for a while", func() bool {
		a := f.Arms()
		return a.Canary.Open == 4 && a.Canary.OldestOpen > 0.05 && a.Baseline.Open == 0 && a.Stable.Open == 0
	})
	cancel()
	var seen []target.Observation
	until(t, "they have ended", func() bool { seen, _, _ = observe(t, f, 0); return len(seen) == 4 })
	for _, s := range seen {
		if !s.GivenUp || s.Error || s.Arm != "canary" || s.Seconds <= 0 || s.Visitor != 0 {
			t.Errorf("%+v", s)
		}
	}
	if a := f.Arms(); a.Canary.Open != 0 || a.Canary.OldestOpen != 0 {
		t.Errorf("%+v", a.Canary)
	}
	close(release)
	wg.Wait()
	// Visitors are told apart, and stay the same.
	visitors := map[uint32]int{}
	for v := range 40 {
		for range 2 {
			do(t, c, f.request(t, "GET", "/", nil, "Cookie", fmt.Sprint("session=visitor-", v)))
		}
	}
	until(t, "all are observed", func() bool { seen, _, _ = observe(t, f, 0); return len(seen) == 4+1+80 })
	for _, s := range seen[5:] {
		visitors[s.Visitor]++
	}
	if len(visitors) != 40 || visitors[0] > 0 {
		t.Errorf("%v", visitors)
	}
	for v, n := range visitors {
		if n != 2 {
			t.Errorf("visitor %d came %d times", v, n)
		}
	}
}
