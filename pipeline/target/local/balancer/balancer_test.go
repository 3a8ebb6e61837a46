package balancer

import (
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

func TestWithoutAnInstance(t *testing.T) {
	f := start(t)
	r := get(t, f, f.client(t, false))
	if r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" || strings.Contains(r.body, "127.0.0.1") {
		t.Fatalf("%+v", r)
	}
	if c := f.Counts(); c.Requests != 1 || c.Errors != 1 || c.InFlight != 0 {
		t.Fatalf("%+v", c)
	}
}

func TestNamesWhoAnswered(t *testing.T) {
	f := start(t)
	one := startInstance(t, "1", "sha256:aa", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(HeaderRelease, "forged")
	})
	f.swap(t, Set{Stable: backends(one)})
	for _, h2 := range []bool{false, true} {
		r := get(t, f, f.client(t, h2))
		if r.header.Get(HeaderRelease) != "sha256:aa" || r.header.Get(HeaderInstance) != "1" || len(r.header[HeaderRelease]) != 1 {
			t.Errorf("%+v", r)
		}
		if (r.proto == 2) != h2 {
			t.Errorf("protocol HTTP/%d", r.proto)
		}
	}
}

func TestHeadersOfTheRequest(t *testing.T) {
	f := start(t)
	var mu sync.Mutex
	var got *http.Request
	one := startInstance(t, "1", "r", func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		got = r
	})
	f.swap(t, Set{Stable: backends(one)})
	r := f.request(t, http.MethodGet, "/a%2Fb?x=1;y=%zz", nil,
		"X-Gate-Arm", "canary", "X-Gate-Synthetic", "wrong", "x-gate-anything", "1",
		"X-Forwarded-For", "8.8.8.8", "X-Forwarded-Proto", "ftp", "X-Forwarded-Host", "evil", "X-Forwarded-Port", "1",
		"Forwarded", "for=8.8.8.8", "X-Real-IP", "8.8.8.8", "Connection", "X-Keep", "X-Keep", "hop", "X-Mine", "kept")
	r.Host = "shop.example"
	do(t, f.client(t, false), r)
	mu.Lock()
	defer mu.Unlock()
	for k := range got.Header {
		if strings.HasPrefix(k, "X-Gate-") {
			t.Errorf("%s reached the instance", k)
		}
	}
	for k, want := range map[string]string{
		"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "shop.example",
		"X-Forwarded-Port": "", "Forwarded": "", "X-Real-Ip": "", "X-Keep": "", "X-Mine": "kept", "Accept-Encoding": "gzip",
	} {
		if v := strings.Join(got.Header[k], ","); v != want {
			t.Errorf("%s: %q, want %q", k, v, want)
		}
	}
	if got.Host != "shop.example" || got.RequestURI != "/a%2Fb?x=1;y=%zz" {
		t.Errorf("host %q, URI %q", got.Host, got.RequestURI)
	}
}

func TestSyntheticRequestsChooseTheirArm(t *testing.T) {
	f := start(t)
	old, fresh := startInstance(t, "1", "old", nil), startInstance(t, "2", "new", nil)
	f.swap(t, Set{Stable: backends(old), Canary: backends(fresh), Weight: 0})
	c := f.client(t, false)
	for _, x := range []struct {
		arm, key, want string
	}{
		{"canary", key, "new"}, {"stable", key, "old"}, {"canary", "wrong", "old"}, {"canary", "", "old"}, {"canary", key + " ", "new"},
	} {
		if r := get(t, f, c, HeaderArm, x.arm, HeaderSynthetic, x.key); r.header.Get(HeaderRelease) != x.want {
			t.Errorf("%+v: %+v", x, r)
		}
	}
	if r := get(t, f, c, HeaderArm, "canary", HeaderSynthetic, key, HeaderSynthetic, key); r.header.Get(HeaderRelease) != "old" {
		t.Errorf("two keys: %+v", r)
	}
	if r := get(t, f, c, HeaderArm, "both", HeaderSynthetic, key); r.status != http.StatusBadRequest {
		t.Errorf("an arm that there is not: %+v", r)
	}
	a := f.Arms()
	if a.Canary.Synthetic != 2 || a.Canary.Requests != 2 || a.Stable.Synthetic != 1 || a.Stable.Requests != 4 {
		t.Errorf("%+v", a)
	}
	// Without a canary a request for it must not be measured on the other arm.
	f.swap(t, Set{Stable: backends(old)})
	if r := get(t, f, c, HeaderArm, "canary", HeaderSynthetic, key); r.status != http.StatusServiceUnavailable {
		t.Errorf("no canary: %+v", r)
	}
}

func TestNoKeyMeansNoSyntheticRequest(t *testing.T) {
	f := start(t, func(o *Options) { o.SyntheticKey = "" })
	old, fresh := startInstance(t, "1", "old", nil), startInstance(t, "2", "new", nil)
	f.swap(t, Set{Stable: backends(old), Canary: backends(fresh)})
	if r := get(t, f, f.client(t, false), HeaderArm, "canary", HeaderSynthetic, ""); r.header.Get(HeaderRelease) != "old" {
		t.Fatalf("%+v", r)
	}
}

func TestWeightIsExact(t *testing.T) {
	for weight := 0; weight <= 100; weight++ {
		w := weights{seed: uint64(weight)}
		places := map[int]bool{}
		for block := range 50 {
			n := 0
			for i := range 100 {
				if w.canary(weight) {
					n++
					places[i] = true
				}
				if off := math.Abs(float64(n) - float64((i+1)*weight)/100); off >= 2 {
					t.Fatalf("weight %d: %d of the first %d", weight, n, i+1)
				}
			}
			if n != weight {
				t.Fatalf("weight %d: block %d had %d", weight, block, n)
			}
		}
		// A fixed stride would show the canary one endpoint of a client's cycle.
		if weight > 0 && weight < 50 && len(places) < 2*weight {
			t.Fatalf("weight %d: only %d places in a hundred are ever chosen", weight, len(places))
		}
	}
}

func TestWeightOfRealTraffic(t *testing.T) {
	f := start(t)
	s, c := startInstance(t, "1", "old", nil), startInstance(t, "2", "new", nil)
	f.swap(t, Set{Stable: backends(s), Canary: backends(c), Weight: 7})
	cl := f.client(t, false)
	for i := range 300 {
		if i%9 == 0 { // swaps must not disturb the count
			f.swap(t, Set{Stable: backends(s), Canary: backends(c), Weight: 7})
		}
		get(t, f, cl)
	}
	if n := c.served.Load(); n != 21 {
		t.Fatalf("the canary had %d of 300 at 7%%", n)
	}
	f.swap(t, Set{Canary: backends(c), Weight: 0}) // an empty arm's share goes to the other
	if r := get(t, f, cl); r.header.Get(HeaderRelease) != "new" {
		t.Fatalf("%+v", r)
	}
}

func TestSpreadsOverInstances(t *testing.T) {
	f := start(t)
	list := []*instance{startInstance(t, "1", "r", nil), startInstance(t, "2", "r", nil), startInstance(t, "3", "r", nil)}
	f.swap(t, Set{Stable: backends(list...)})
	c := f.client(t, false)
	for range 90 {
		get(t, f, c)
	}
	for _, in := range list {
		if n := in.served.Load(); n != 30 {
			t.Errorf("instance %s: %d of 90", in.ID, n)
		}
	}
}

func TestSlowInstanceGetsLess(t *testing.T) {
	f := start(t)
	hold := make(chan struct{})
	slow := startInstance(t, "slow", "r", func(http.ResponseWriter, *http.Request) { <-hold })
	quick := startInstance(t, "quick", "r", nil)
	f.swap(t, Set{Stable: backends(slow)})
	c := f.client(t, true)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { get(t, f, c) })
	}
	until(t, "three requests are held", func() bool { return slow.served.Load() == 3 })
	f.swap(t, Set{Stable: backends(slow, quick)})
	for range 20 {
		get(t, f, c)
	}
	close(hold)
	wg.Wait()
	if slow.served.Load() != 3 || quick.served.Load() != 20 {
		t.Fatalf("slow %d, quick %d", slow.served.Load(), quick.served.Load())
	}
}

func TestArmsFigures(t *testing.T) {
	f := start(t)
	slow := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(20 * time.Millisecond) // the latency that is to be measured
			w.WriteHeader(status)
		}
	}
	s, c := startInstance(t, "1", "old", nil), startInstance(t, "2", "new", slow(500))
	f.swap(t, Set{Stable: backends(s), Canary: backends(c), Weight: 50})
	cl := f.client(t, false)
	for range 40 {
		get(t, f, cl)
	}
	a := f.Arms()
	if a.Stable.Release != "old" || a.Canary.Release != "new" || a.Stable.Requests != 20 || a.Canary.Requests != 20 || a.Stable.Errors != 0 || a.Canary.Errors != 20 {
		t.Fatalf("%+v", a)
	}
	if a.Canary.P50 < 0.02 || a.Canary.P99 > 1 || a.Canary.Mean < 0.02 || a.Stable.P50 >= 0.02 || a.Stable.P95 < a.Stable.P50 {
		t.Fatalf("%+v", a)
	}
	h, err := hdrhistogram.Decode([]byte(a.Canary.Histogram))
	if err != nil || h.TotalCount() != 20 || h.Min() < 20000 {
		t.Fatalf("histogram: %v, %v", h, err)
	}
	f.Reset()
	if a = f.Arms(); a.Stable.Requests+a.Canary.Requests != 0 || a.Stable.Release != "old" {
		t.Fatalf("after Reset: %+v", a)
	}
	get(t, f, cl)
	get(t, f, cl)
	// The canary is withdrawn: its figures stay. Another release comes: they go.
	f.swap(t, Set{Stable: backends(s)})
	if a = f.Arms(); a.Canary.Requests != 1 || a.Canary.Release != "new" {
		t.Fatalf("withdrawn: %+v", a)
	}
	next := startInstance(t, "3", "newer", nil)
	f.swap(t, Set{Stable: backends(s), Canary: backends(next), Weight: 10})
	if a = f.Arms(); a.Canary.Requests != 0 || a.Canary.Release != "newer" || a.Stable.Requests != 1 {
		t.Fatalf("another release: %+v", a)
	}
}

func TestARequestCountsWhereItBegan(t *testing.T) {
	f := start(t)
	hold := make(chan struct{})
	s := startInstance(t, "1", "r", func(http.ResponseWriter, *http.Request) { <-hold })
	f.swap(t, Set{Stable: backends(s)})
	done := make(chan struct{})
	c := f.client(t, false)
	go func() { defer close(done); get(t, f, c) }()
	until(t, "in flight", func() bool { return s.served.Load() == 1 })
	f.Reset()
	close(hold)
	<-done
	until(t, "counted", func() bool { return f.Counts().Requests == 1 })
	if a := f.Arms(); a.Stable.Requests != 0 {
		t.Fatalf("a request from before Reset counts: %+v", a)
	}
}

func TestClientThatGivesUpIsNoError(t *testing.T) {
	var mu sync.Mutex
	var records []AccessRecord
	f := start(t, func(o *Options) {
		o.Access = func(r AccessRecord) { mu.Lock(); defer mu.Unlock(); records = append(records, r) }
	})
	s := startInstance(t, "1", "r", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	f.swap(t, Set{Stable: backends(s)})
	for i, h2 := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		req := f.request(t, http.MethodGet, "/p?secret=1", nil).WithContext(ctx)
		c, done := f.client(t, h2), make(chan error, 1)
		go func() {
			res, err := c.Do(req)
			if err == nil {
				res.Body.Close()
			}
			done <- err
		}()
		until(t, "in flight", func() bool { return s.served.Load() == int64(i+1) })
		cancel()
		if err := <-done; err == nil {
			t.Fatal("an answer came")
		}
		until(t, "over", func() bool { return f.Counts().Requests == int64(i+1) })
	}
	if a := f.Arms().Stable; a.Requests != 2 || a.Errors != 0 || f.Counts().Errors != 0 {
		t.Fatalf("%+v", a)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, r := range records {
		if r.Status != statusGone || r.Path != "/p" || r.Instance != "1" || r.Release != "r" || r.Method != http.MethodGet || r.Attempts != 1 {
			t.Errorf("%+v", r)
		}
	}
}

func TestAnswersStream(t *testing.T) {
	f := start(t)
	next := make(chan struct{})
	s := startInstance(t, "1", "r", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for range 3 {
			_, _ = io.WriteString(w, "data: x\n\n")
			_ = http.NewResponseController(w).Flush()
			<-next
		}
	})
	f.swap(t, Set{Stable: backends(s)})
	for _, h2 := range []bool{false, true} {
		res, err := f.client(t, h2).Do(f.request(t, http.MethodGet, "/", nil))
		if err != nil {
			t.Fatal(err)
		}
		for range 3 { // each part must come before the next one is written
			if _, err := io.ReadFull(res.Body, make([]byte, 9)); err != nil {
				t.Fatal(err)
			}
			next <- struct{}{}
		}
		res.Body.Close()
	}
}

func TestUpgrade(t *testing.T) {
	f := start(t)
	s := startInstance(t, "1", "r", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "echo" {
			http.Error(w, "no upgrade", http.StatusBadRequest)
			return
		}
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_, _ = io.Copy(c, rw)
	})
	f.swap(t, Set{Stable: backends(s)})
	c, err := dialStrict(f.addr, f.roots)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if _, err := io.WriteString(c.conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(c.r, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get(HeaderInstance) != "1" {
		t.Fatalf("%+v, %v", res, err)
	}
	for range 3 {
		buf := make([]byte, 4)
		if _, err := io.WriteString(c.conn, "ping"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c.r, buf); err != nil || string(buf) != "ping" {
			t.Fatalf("%q, %v", buf, err)
		}
	}
	f.swap(t, Set{})
	if err := f.Drain(within(t, 30*time.Millisecond), "1"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("an open upgraded connection is in flight: %v", err)
	}
	c.close()
	if err := f.Drain(within(t, 5*time.Second), "1"); err != nil {
		t.Fatal(err)
	}
}

func TestBadSetsAreRefused(t *testing.T) {
	f := start(t)
	one := startInstance(t, "1", "r", nil)
	f.swap(t, Set{Stable: backends(one)})
	for _, s := range []Set{
		{Stable: backends(one), Weight: 101},
		{Stable: backends(one), Weight: -1},
		{Stable: backends(one, one)},
		{Stable: backends(one), Canary: backends(one)},
		{Stable: []Backend{{ID: "2", Address: "nowhere"}}},
		{Stable: []Backend{{Address: one.Address}}},
	} {
		if err := f.Swap(s); err == nil {
			t.Errorf("%+v was accepted", s)
		}
	}
	if r := get(t, f, f.client(t, false)); r.status != http.StatusOK {
		t.Fatalf("%+v", r)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("no listener")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := New(Options{Listener: l}); err == nil {
		t.Error("no certificate")
	}
}
