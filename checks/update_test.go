package checks

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/smartcloudops/gate/environments"
)

// updateTestSite is an environment of two instances behind one address. Its
// way of replacing them is the test's choice.
type updateTestSite struct {
	t       *testing.T
	ca      *loadTestCA
	address string
	next    atomic.Int64
	live    atomic.Pointer[[2]string] // names of the instances
	closing atomic.Bool               // answers say "Connection: close"
	wrong   atomic.Bool               // answers are wrong
	seen    sync.Map                  // names of instances that have answered

	mu       sync.Mutex
	server   *http.Server
	done     chan struct{}
	releases []string
	swap     func(ctx context.Context, s *updateTestSite, release string) (int, error)
}

func newUpdateTestSite(t *testing.T) *updateTestSite {
	t.Helper()
	s := &updateTestSite{t: t, ca: newLoadTestCA(t), address: "127.0.0.1:0"}
	s.live.Store(&[2]string{"a", "b"})
	s.swap = func(ctx context.Context, s *updateTestSite, _ string) (int, error) {
		n := s.next.Add(2)
		if err := s.allSeen(ctx); err != nil {
			return 0, err
		}
		s.live.Store(&[2]string{fmt.Sprint(n), fmt.Sprint(n + 1)})
		return 2, s.allSeen(ctx)
	}
	if err := s.listen(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	return s
}

// allSeen waits until every instance has answered a request.
func (s *updateTestSite) allSeen(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for _, name := range s.live.Load() {
		for {
			if _, ok := s.seen.Load(name); ok {
				break
			}
			if err := loadSleep(ctx, loadTimer(), time.Now().Add(5*time.Millisecond)); err != nil {
				return fmt.Errorf("instance %s has no requests: %w", name, err)
			}
		}
	}
	return nil
}

func (s *updateTestSite) listen() error {
	l, err := net.Listen("tcp", s.address)
	if err != nil {
		return err
	}
	s.address = l.Addr().String()
	config := &tls.Config{Certificates: []tls.Certificate{s.ca.issue(loadTestName, time.Now().Add(time.Hour))}}
	server := &http.Server{Handler: s, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	s.server, s.done = server, done
	go func() {
		defer close(done)
		_ = server.Serve(tls.NewListener(l, config))
	}()
	return nil
}

func (s *updateTestSite) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.server.Close()
	<-s.done
}

func (s *updateTestSite) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	name := s.live.Load()[s.next.Add(1)%2]
	s.seen.Store(name, true)
	w.Header().Set("X-Gate-Instance", name)
	if s.closing.Load() {
		w.Header().Set("Connection", "close")
	}
	if s.wrong.Load() {
		w.WriteHeader(http.StatusBadGateway)
	}
	_, _ = w.Write([]byte(`{"ok":true}`))
}

// Replace makes the site a Replacer.
func (s *updateTestSite) Replace(ctx context.Context, release string) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.releases = append(s.releases, release)
	return s.swap(ctx, s, release)
}

func (s *updateTestSite) run(ctx context.Context, change func(*Input)) (Measurement, []string, error) {
	in := loadTestInput(s.ca, s.address, loadTestScenario(1, 0, 0, 0, 0))
	in.Target = s
	var mu sync.Mutex
	var notes []string
	in.Progress = func(n string) { mu.Lock(); defer mu.Unlock(); notes = append(notes, n) }
	if change != nil {
		change(&in)
	}
	if in.Declarations != nil {
		in.Declarations.App.Drills.Lead = environments.Duration(400 * time.Millisecond)
	}
	all, err := measureDrillsIn(ctx, []Check{Update()}, in, time.Now, 5*time.Second)
	if err != nil {
		return Measurement{}, notes, err
	}
	return all[0].Measurement, notes, nil
}

func (s *updateTestSite) measure(t *testing.T, change func(*Input), want Status) (UpdatePayload, Measurement, []string) {
	t.Helper()
	m, notes, err := s.run(t.Context(), change)
	if err != nil || m.Status != want {
		t.Fatalf("status %s (%s), error %v, want %s", m.Status, m.Reason, err, want)
	}
	p, _ := m.Payload.(UpdatePayload)
	return p, m, notes
}

// updateTestLost are the failures other than those of a busy machine.
func updateTestLost(p UpdatePayload) int64 { return p.Failed - int64(p.Failures[loadSlow]) }

func TestUpdateSeesNothingWhereNothingIsLost(t *testing.T) {
	t.Parallel()
	s := newUpdateTestSite(t)
	p, _, _ := s.measure(t, nil, Completed)
	if updateTestLost(p) != 0 || p.Requests < 50 || p.Replaced != 4 {
		t.Errorf("%+v", p)
	}
	if !slices.Equal(s.releases, []string{"sha256:old", "sha256:new"}) || p.From != "sha256:old" || p.To != "sha256:new" {
		t.Errorf("replaced by %v; from %s to %s", s.releases, p.From, p.To)
	}
	if len(p.Phases) != 2 || p.Phases[0].To != "sha256:old" || p.Phases[1].To != "sha256:new" ||
		p.Phases[0].Requests == 0 || p.Phases[0].Requests+p.Phases[1].Requests != p.Requests {
		t.Errorf("phases %+v", p.Phases)
	}
	sum := 0
	for _, n := range p.PerInstance {
		sum += n
	}
	// Two instances at first, and two new ones after each replacement.
	if len(p.PerInstance) != 6 || p.PerInstance["a"] == 0 || p.PerInstance["b"] == 0 || int64(sum) != p.Requests {
		t.Errorf("%d requests over %v", p.Requests, p.PerInstance)
	}
	if p.Together != 2 {
		t.Errorf("%d instances answered at a time", p.Together)
	}
	if p.P99 <= 0 || p.Rate < 10 || p.Rate > 110 {
		t.Errorf("p99 %g, rate %g", p.P99, p.Rate)
	}
}

// TestUpdateSeesALoadThatIsNotSpread: in all, as many instances answer as if it
// were.
func TestUpdateSeesALoadThatIsNotSpread(t *testing.T) {
	t.Parallel()
	s := newUpdateTestSite(t)
	s.live.Store(&[2]string{"a", "a"})
	s.swap = func(ctx context.Context, s *updateTestSite, _ string) (int, error) {
		n := fmt.Sprint(s.next.Add(2))
		s.live.Store(&[2]string{n, n})
		return 2, s.allSeen(ctx)
	}
	if p, _, _ := s.measure(t, nil, Completed); p.Together != 1 || len(p.PerInstance) < 3 || updateTestLost(p) != 0 {
		t.Errorf("%d at a time, %v, %d failed", p.Together, p.PerInstance, p.Failed)
	}
}

func TestUpdateOfTheFirstReleaseReplacesItByItself(t *testing.T) {
	t.Parallel()
	s := newUpdateTestSite(t)
	p, _, _ := s.measure(t, func(in *Input) { in.Previous = in.Release }, Completed)
	if !slices.Equal(s.releases, []string{"sha256:new"}) || len(p.Phases) != 1 || p.Replaced != 2 || p.From != p.To {
		t.Errorf("%v, %+v", s.releases, p)
	}
}

func TestUpdateCountsConnectionsDroppedWithoutAWord(t *testing.T) {
	t.Parallel()
	s := newUpdateTestSite(t)
	s.swap = func(_ context.Context, s *updateTestSite, _ string) (int, error) {
		// As fast as it goes: a client that looks before it sends would lose next
		// to nothing, a strict one loses a request on every connection.
		_ = s.server.Close()
		<-s.done
		return 2, s.listen()
	}
	p, _, _ := s.measure(t, nil, Completed)
	if p.Failed < drillClients/2 || p.Failures[loadClosed] < drillClients/2 || p.Phases[0].Failed == 0 || p.Phases[0].Failed+p.Phases[1].Failed != p.Failed {
		t.Errorf("%d failed, %v, %+v", p.Failed, p.Failures, p.Phases)
	}
}

func TestUpdateAcceptsAnnouncedCloses(t *testing.T) {
	t.Parallel()
	s := newUpdateTestSite(t)
	s.swap = func(ctx context.Context, s *updateTestSite, _ string) (int, error) {
		s.closing.Store(true)
		defer s.closing.Store(false)
		return 2, loadSleep(ctx, loadTimer(), time.Now().Add(200*time.Millisecond))
	}
	p, _, notes := s.measure(t, nil, Completed)
	if updateTestLost(p) != 0 {
		t.Errorf("%d failed: %v", p.Failed, p.Failures)
	}
	if last := notes[len(notes)-1]; strings.Contains(last, " 0 announced") || !strings.Contains(last, "announced closes") {
		t.Errorf("last note: %s", last)
	}
}

func TestUpdateBringsTheReleaseBackWhenAReplacementFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("instance 3 did not become ready")
	for name, c := range map[string]struct {
		fail   string // the release that can't be started
		wrong  bool   // and requests fail meanwhile
		none   bool   // no error, but nothing was replaced
		status Status
		calls  []string
	}{
		"on the way there":    {fail: "sha256:old", status: Errored, calls: []string{"sha256:old", "sha256:new"}},
		"on the way back":     {fail: "sha256:new", status: Errored, calls: []string{"sha256:old", "sha256:new", "sha256:new"}},
		"and requests fail":   {fail: "sha256:old", wrong: true, status: Completed, calls: []string{"sha256:old", "sha256:new"}},
		"nothing is replaced": {fail: "sha256:old", none: true, status: Errored, calls: []string{"sha256:old", "sha256:new"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newUpdateTestSite(t)
			s.wrong.Store(c.wrong)
			var failed bool
			s.swap = func(_ context.Context, _ *updateTestSite, release string) (int, error) {
				if release != c.fail || failed {
					return 2, nil
				}
				failed = true
				if c.none {
					return 0, nil
				}
				return 1, broken
			}
			p, m, _ := s.measure(t, func(in *Input) { in.Declarations.App.Update.Rate = 20 }, c.status)
			if !slices.Equal(s.releases, c.calls) {
				t.Errorf("replaced by %v, want %v", s.releases, c.calls)
			}
			if c.wrong != (p.Failed > 0) || (c.status == Errored) != (m.Reason != "") {
				t.Errorf("%d failed, reason %q", p.Failed, m.Reason)
			}
		})
	}
}

func TestUpdateSaysWhatItLacks(t *testing.T) {
	t.Parallel()
	s := newUpdateTestSite(t)
	for name, change := range map[string]func(*Input){
		"no replacer": func(in *Input) { in.Target = nil },
		"no address":  func(in *Input) { in.Address = "" },
		"no rate":     func(in *Input) { in.Declarations.App.Update.Rate = 0 },
		"no release":  func(in *Input) { in.Release = "" },
		"no previous": func(in *Input) { in.Previous = "" },
		"no app":      func(in *Input) { in.Declarations = nil },
		"promoted into": func(in *Input) {
			e := *in.Environment
			e.Promotion.From = "staging"
			in.Environment = &e
		},
	} {
		if m, _, err := s.run(t.Context(), change); err != nil || m.Status != Unavailable || m.Reason == "" {
			t.Errorf("%s: %s %q %v", name, m.Status, m.Reason, err)
		}
	}
	if len(s.releases) > 0 {
		t.Errorf("replaced by %v all the same", s.releases)
	}
}

func TestUpdateStoppedHalfWayLeavesTheRelease(t *testing.T) {
	s := newUpdateTestSite(t)
	current := goleak.IgnoreCurrent()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s.swap = func(within context.Context, _ *updateTestSite, release string) (int, error) {
		if release == "sha256:old" {
			cancel()
			<-within.Done()
			return 0, within.Err()
		}
		return 2, within.Err()
	}
	began := time.Now()
	_, _, err := s.run(ctx, nil)
	if !errors.Is(err, context.Canceled) || time.Since(began) > 3*time.Second {
		t.Errorf("%v after %s", err, time.Since(began))
	}
	if !slices.Equal(s.releases, []string{"sha256:old", "sha256:new"}) {
		t.Errorf("replaced by %v", s.releases)
	}
	// The server's own goroutines end with its connections.
	s.stop()
	goleak.VerifyNone(t, current)
}

func TestUpdatePool(t *testing.T) {
	t.Parallel()
	encode := func(p UpdatePayload) []byte {
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	good := UpdatePayload{From: "x", To: "y", Rate: 100, Seconds: 5, Requests: 500, Replaced: 2, Together: 2, PerInstance: map[string]int{"a": 500}, P99: 0.1, Phases: []UpdatePhase{{To: "y", Requests: 500}}}
	bad := good
	bad.Failed, bad.Failures, bad.P99, bad.Rate = 3, map[string]int{loadClosed: 3}, 0.5, 90
	bad.PerInstance, bad.Together = map[string]int{"a": 300, "b": 200}, 1
	for _, runs := range [][][]byte{{encode(good), encode(bad)}, {encode(bad), encode(good)}} {
		raw, err := updatePool(runs)
		if err != nil {
			t.Fatal(err)
		}
		var p UpdatePayload
		if err := json.Unmarshal(raw, &p); err != nil {
			t.Fatal(err)
		}
		if p.Failed != 3 || p.Failures[loadClosed] != 3 || p.Requests != 1000 || p.P99 != 0.5 || p.Rate != 90 || p.Replaced != 4 || p.Together != 1 ||
			p.PerInstance["a"] != 800 || p.PerInstance["b"] != 200 || len(p.Phases) != 2 || p.Seconds != 10 {
			t.Errorf("%+v", p)
		}
	}
	other := good
	other.From = "z"
	for name, runs := range map[string][][]byte{"nothing": nil, "no JSON": {[]byte("[")}, "another predecessor": {encode(good), encode(other)}} {
		if _, err := updatePool(runs); err == nil {
			t.Errorf("%s is pooled", name)
		}
	}
}

func TestUpdateParametersNameThePredecessor(t *testing.T) {
	t.Parallel()
	in := loadTestInput(newLoadTestCA(t), "127.0.0.1:1", loadTestScenario(1, 0, 0, 0, 0))
	one := Update().Parameters(in)
	in.Previous = "sha256:older"
	if two := Update().Parameters(in); one["previous"] == two["previous"] {
		t.Errorf("%v and %v", one, two)
	}
	if Update().Estimate(in) <= Update().Estimate(Input{Release: "x", Previous: "x"}) {
		t.Error("two replacements take no longer than one")
	}
}
