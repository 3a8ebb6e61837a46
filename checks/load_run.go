package checks

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/smartcloudops/gate/environments"
)

// errLoadOptions: what RunLoad was given can't be run.
var errLoadOptions = errors.New("load cannot start")

// LoadOptions says what RunLoad does. Only Address and Scenario are needed.
type LoadOptions struct {
	Address string         // host:port
	Name    string         // name of the server: Host header and certificate; empty: the host of Address
	Roots   *x509.CertPool // nil: the system's
	Plain   bool           // HTTP without TLS

	// Scenario is who sends what; all of it is used. Open may be 0, then there is
	// no open phase; without Step there is none without think time, and without
	// Step or Knee no search for the knee.
	Scenario environments.Load

	Seed     uint64                             // of choices, think times and schedule
	Restarts func(context.Context) (int, error) // of instances, ever; nil: not known
	Progress func(note string)                  // about once a second; may be nil

	Gauges     func(context.Context) (Gauges, error) // what the environment uses; nil: nobody can look
	Early      bool                                  // closed and open model may stop once their answer is clear
	Checkpoint func(context.Context) error           // forced in the middle of the open model; nil: none is

	fault loadFault
}

// loadFault breaks the meter in tests, which must show that it is noticed.
type loadFault struct {
	latency func(time.Duration) time.Duration // what the clock claims
	think   func(time.Duration) time.Duration // how long a user really thinks
	start   func()                            // before an open request starts
	dial    error                             // why no connection can be made

	// Wider bounds, since tests run on machines with other things to do; 0: the
	// real ones.
	maxLag time.Duration
	maxLaw float64
}

// LoadURL is the options for loading one URL with GET requests: users with a
// mean think time of a second, a sixth of the duration to warm up, half of it
// for the closed and a third for the open model. An answer must be 200.
func LoadURL(raw string, users int, duration time.Duration) (LoadOptions, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return LoadOptions{}, fmt.Errorf("load %s: %w", raw, err)
	}
	port := map[string]string{"http": "80", "https": "443"}[u.Scheme]
	if port == "" || u.Hostname() == "" {
		return LoadOptions{}, fmt.Errorf("load %s: want a URL such as https://host:port/path", raw)
	}
	if u.Port() != "" {
		port = u.Port()
	}
	d := environments.Duration(duration)
	return LoadOptions{
		Address: net.JoinHostPort(u.Hostname(), port),
		Name:    u.Hostname(),
		Plain:   u.Scheme == "http",
		Scenario: environments.Load{
			Users: users, Think: environments.Duration(time.Second),
			Warmup: d / 6, Closed: d / 2, Open: d - d/6 - d/2,
			Endpoints: []environments.Endpoint{{
				Name: u.RequestURI(), Method: http.MethodGet, Path: u.RequestURI(), Weight: 1,
				Expect: environments.Expect{Status: http.StatusOK}, Safe: true,
			}},
		},
	}, nil
}

// RunLoad measures the closed model, the open one, the users without think time
// and the knee, and says whether the meter was sound: the status is Completed, or Invalid with the reason and the
// figures all the same. A service that is slow, wrong or down is Completed with
// bad figures. The error is ctx's, of bad options, or of Restarts.
//
// The meter is not sound when a request that was due was never sent, when it
// used more than 80% of its processor time, when the 99th percentile of its lag
// behind the schedule exceeds 100 ms, when the think times drawn miss their
// declared mean by more than 5% and four standard errors, or when the
// interactive response time law N = X·(R+Z) is off by more than 5% (Lazowska et
// al., Quantitative System Performance, 1984, section 3.3).
//
// The law is used as an account of time, which needs no tolerance for a short
// run: of every second of each user's kept time, the part spent in measured
// responses and drawn think times must add up to one. A clock that misses part
// of a response, a user that sleeps for longer than it was to think, or a user
// that is not there leaves time unaccounted for; a slow service does not.
func RunLoad(ctx context.Context, opt LoadOptions) (LoadPayload, Status, string, error) {
	g, err := newLoadGenerator(opt)
	if err != nil {
		return LoadPayload{}, "", "", err
	}
	before, err := g.restarts(ctx)
	if err != nil {
		return LoadPayload{}, "", "", err
	}
	s := opt.Scenario
	var early *LoadEarly
	var watches [2]*loadWatch
	if opt.Early {
		early = &LoadEarly{Bad: earlyBad, Risk: earlyRisk, Guarantee: earlyGuarantee}
		watches = [2]*loadWatch{newLoadWatch(), newLoadWatch()}
	}
	closed, clients, err := g.closed(ctx, loadWork{
		name: "closed", users: s.Users, think: s.Think.D(), warmup: s.Warmup.D(), kept: s.Closed.D(), watch: watches[0],
	}, nil)
	// The users' connections serve the other phases too: a crowd that has been at
	// work does not shake hands all at once.
	defer func() {
		for _, c := range clients {
			c.close()
		}
	}()
	if err != nil {
		return LoadPayload{}, "", "", err
	}
	var open loadOpenResult
	var checkpoint *LoadCheckpoint
	if s.Open > 0 {
		stirred := g.checkpoint(ctx, s.Open.D())
		open, clients, err = g.open(ctx, loadArrivals{name: "open", rate: closed.rate, whole: s.Open.D(), watch: watches[1]}, clients, nil)
		checkpoint = stirred(open.samples)
		if err != nil {
			return LoadPayload{}, "", "", err
		}
	}
	var rush loadClosedResult
	if s.Step > 0 {
		rush, clients, err = g.closed(ctx, loadWork{name: "without think time", users: s.Users, warmup: s.Step.D() / 5, kept: s.Step.D(), stream: 1}, clients)
		if err != nil {
			return LoadPayload{}, "", "", err
		}
	}
	restarts, err := g.restartsSince(ctx, before)
	if err != nil {
		return LoadPayload{}, "", "", err
	}
	var knee *LoadKnee
	if s.Step > 0 && s.Knee > 0 {
		knee, clients, err = g.knee(ctx, loadNeed(s.Users, s.Think.D(), closed.rate), 0.8*rush.rate, clients)
		if err != nil {
			return LoadPayload{}, "", "", err
		}
	}
	g.note("load: computing figures of %d requests", len(closed.samples)+len(open.samples))

	payload := LoadPayload{
		Users:        opt.Scenario.Users,
		ThinkSeconds: opt.Scenario.Think.D().Seconds(),
		Restarts:     restarts,
		Early:        early,
		Knee:         knee,
		Checkpoint:   checkpoint,
		LittleLaw:    closed.law,
		Synthetic:    true,
	}
	if early != nil {
		early.Closed, early.Open = watches[0].result(closed.stopped), watches[1].result(open.stopped)
	}
	lag := loadHistogram()
	lag.Merge(closed.lag)
	if open.lag != nil {
		lag.Merge(open.lag)
	}
	payload.Generator = GeneratorFacts{
		CPUShare:      max(closed.cpu, open.cpu),
		Dropped:       closed.dropped + open.dropped + rush.dropped,
		MaxLagSeconds: loadSeconds(lag.Max()),
		P99LagSeconds: loadSeconds(lag.ValueAtQuantile(99)),
	}
	names := g.plan.names()
	if payload.Closed, err = loadFigures(names, closed.samples, closed.lasted); err != nil {
		return LoadPayload{}, "", "", err
	}
	if payload.Open, err = loadFigures(names, open.samples, open.lasted); err != nil {
		return LoadPayload{}, "", "", err
	}
	if opt.Scenario.Step > 0 {
		phase, err := loadFigures(names, rush.samples, opt.Scenario.Step.D())
		if err != nil {
			return LoadPayload{}, "", "", err
		}
		payload.ZeroThink = &phase
	}
	reason := loadUnsound(payload.Generator, cmp.Or(opt.fault.maxLag, loadMaxLag))
	// Written so that NaN is off, too.
	if reason == "" && !(math.Abs(payload.LittleLaw-1) <= cmp.Or(opt.fault.maxLaw, loadMaxLaw)) {
		reason = fmt.Sprintf("throughput × (response + think) ÷ users is %.3f and not within 5%% of 1: the generator's clock or its users were off", payload.LittleLaw)
	}
	if reason == "" {
		reason = closed.thinkUnsound
	}
	if reason != "" {
		return payload, Invalid, reason + "; run it again on a machine with less to do", nil
	}
	return payload, Completed, "", nil
}

// loadGenerator is one run.
type loadGenerator struct {
	opt    LoadOptions
	plan   *loadPlan
	dialer *loadDialer

	sent, failed atomic.Int64 // in the present phase, for progress
}

func newLoadGenerator(opt LoadOptions) (*loadGenerator, error) {
	s := opt.Scenario
	switch {
	case s.Users < 1:
		return nil, fmt.Errorf("%w: %d users; declare at least one", errLoadOptions, s.Users)
	case s.Closed <= 0:
		return nil, fmt.Errorf("%w: the closed phase lasts %s; declare some time for it", errLoadOptions, s.Closed)
	case s.Warmup < 0 || s.Open < 0 || s.Think < 0:
		return nil, fmt.Errorf("%w: warmup %s, open %s or think %s is negative", errLoadOptions, s.Warmup, s.Open, s.Think)
	}
	plan, dialer, err := newLoadRequests(opt)
	if err != nil {
		return nil, err
	}
	return &loadGenerator{opt: opt, plan: plan, dialer: dialer}, nil
}

// newLoadRequests makes ready what is sent and where to. Every run has an id of
// its own, for ${RUN}.
func newLoadRequests(opt LoadOptions) (*loadPlan, *loadDialer, error) {
	dialer, err := newLoadDialer(opt)
	if err != nil {
		return nil, nil, err
	}
	id := make([]byte, 8)
	_, _ = rand.Read(id) // never fails: crypto/rand ends the program instead
	plan, err := newLoadPlan(opt.Scenario.Endpoints, dialer.host(), hex.EncodeToString(id))
	return plan, dialer, err
}

// restarts is how often instances have ended unasked, ever; nil: nobody counts.
func (g *loadGenerator) restarts(ctx context.Context) (*int, error) {
	if g.opt.Restarts == nil {
		return nil, nil
	}
	n, err := g.opt.Restarts(ctx)
	if err != nil {
		return nil, fmt.Errorf("count restarts: %w", err)
	}
	return &n, nil
}

func (g *loadGenerator) restartsSince(ctx context.Context, before *int) (*int, error) {
	after, err := g.restarts(ctx)
	if err != nil || after == nil || before == nil {
		return nil, err
	}
	n := *after - *before
	if n < 0 {
		return nil, fmt.Errorf("count restarts: %d before the load and %d after it; was the environment set up anew meanwhile?", *before, *after)
	}
	return &n, nil
}

func (g *loadGenerator) note(format string, a ...any) {
	if g.opt.Progress != nil {
		g.opt.Progress(fmt.Sprintf(format, a...))
	}
}

// narrate tells once a second how a phase goes on, until the function that it
// returns is called.
func (g *loadGenerator) narrate(phase string, whole time.Duration) (stop func()) {
	g.sent.Store(0)
	g.failed.Store(0)
	if g.opt.Progress == nil {
		return func() {}
	}
	var wg sync.WaitGroup
	end := make(chan struct{})
	wg.Go(func() {
		start := time.Now()
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
				g.note("load: %s %.0f of %.0f s, %d requests, %d failed",
					phase, min(time.Since(start), whole).Seconds(), whole.Seconds(), g.sent.Load(), g.failed.Load())
			}
		}
	})
	return func() { close(end); wg.Wait() }
}

// loadSample is one request.
type loadSample struct {
	endpoint int
	at       time.Duration // when it started or was due, since the phase began
	latency  time.Duration
	why      string // it failed; empty: it succeeded
}

// sample judges an answer by its time.
func (g *loadGenerator) sample(endpoint int, at, latency time.Duration, a loadAnswer) loadSample {
	s := loadSample{endpoint, at, latency, a.why}
	if s.why == "" && latency >= LoadLimit {
		s.why = loadSlow
	}
	g.sent.Add(1)
	if s.why != "" {
		g.failed.Add(1)
	}
	return s
}
