package checks

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/smartcloudops/gate/environments"
)

// loadTestArrivals are what a queue of one server that answers capacity requests
// a second makes of arrivals at a rate.
func loadTestArrivals(r *rand.Rand, rate, capacity float64, whole time.Duration) loadOpenResult {
	res := loadOpenResult{lag: loadHistogram(), lasted: whole}
	free := time.Duration(0)
	for _, at := range loadSchedule(r, rate, whole) {
		free = max(free, at) + time.Duration(r.ExpFloat64()/capacity*float64(time.Second))
		s := loadSample{at: at, latency: free - at}
		if s.latency >= LoadLimit {
			s.why = loadSlow
		}
		res.samples = append(res.samples, s)
	}
	return res
}

// loadTestSearch searches for the knee of such a queue in n steps.
func loadTestSearch(r *rand.Rand, need, capacity, guess float64, n int) LoadKnee {
	var steps []KneeStep
	for len(steps) < n {
		rate, more := kneeNext(steps, kneeStart*need, guess)
		if !more {
			break
		}
		s := loadStep(rate, loadTestArrivals(r, rate, capacity, 5*time.Second))
		if s.State == stepSaturated {
			s.Limit = limitService
		}
		steps = append(steps, s)
	}
	return loadKneeOf(steps)
}

func TestLoadKneeHoldsTheCapacityOfAQueue(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(9971, 1))
	missed, wide, trials := 0, 0, 0
	for _, capacity := range []float64{40, 60, 110, 150, 400, 3000} {
		for range 20 {
			trials++
			k := loadTestSearch(r, 50, capacity, 0.8*capacity, 8)
			// What is sustained may be above capacity by loadMaxGrowth, no more.
			if k.Lower > capacity*(1+loadMaxGrowth)+1e-9 || k.Upper > 0 && k.Upper < 0.9*capacity {
				missed++
			}
			if k.Upper == 0 || k.Lower == 0 || k.Upper > 2*k.Lower || k.Rate < k.Lower || k.Rate > k.Upper {
				wide++
				t.Logf("capacity %.0f: %s, %d steps", capacity, &k, len(k.Steps))
			}
		}
	}
	if missed > trials/20 || wide > trials/10 {
		t.Errorf("of %d searches %d missed the capacity and %d ended wide", trials, missed, wide)
	}
}

// loadTestStall is how long who comes at a time waits for the end of a stall.
func loadTestStall(at, from, long time.Duration) time.Duration {
	if at < from || at >= from+long {
		return 0
	}
	return from + long - at
}

func TestLoadStepStates(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(5, 5))
	steady := loadTestArrivals(r, 200, 400, 5*time.Second)
	spoil := func(res loadOpenResult, change func(i int, s *loadSample)) loadOpenResult {
		samples := make([]loadSample, len(res.samples))
		for i, s := range res.samples {
			change(i, &s)
			samples[i] = s
		}
		res.samples = samples
		return res
	}
	gaveUp := steady
	gaveUp.gaveUp = true
	for name, c := range map[string]struct {
		res  loadOpenResult
		want string
	}{
		"half of capacity":  {steady, stepSustained},
		"a tenth above":     {loadTestArrivals(r, 220, 200, 5*time.Second), stepSaturated},
		"gave up":           {gaveUp, stepSaturated},
		"nothing":           {loadOpenResult{lag: loadHistogram(), lasted: time.Second}, stepUnclear},
		"few, none failed":  {loadTestArrivals(r, 40, 400, 5*time.Second), stepSustained},
		"too few to tell":   {loadTestArrivals(r, 5, 400, time.Second), stepUnclear},
		"3% fail fast":      {spoil(steady, func(i int, s *loadSample) { s.why = map[bool]string{true: "status 503"}[i%33 == 0] }), stepSaturated},
		"1% fail":           {spoil(steady, func(i int, s *loadSample) { s.why = map[bool]string{true: "status 503"}[i%100 == 0] }), stepUnclear},
		"slow but steady":   {spoil(steady, func(_ int, s *loadSample) { s.latency += 3 * time.Second; s.why = loadSlow }), stepSaturated},
		"one stall of 0.4s": {spoil(steady, func(_ int, s *loadSample) { s.latency += loadTestStall(s.at, 2*time.Second, 400*time.Millisecond) }), stepSustained},
	} {
		if s := loadStep(200, c.res); s.State != c.want || (s.Why == "") != (c.want == stepSustained) {
			t.Errorf("%s: %s (%s), want %s; %+v", name, s.State, s.Why, c.want, s)
		}
	}
}

func TestLoadLimitIsNamed(t *testing.T) {
	t.Parallel()
	base := Usage{Machine: 0.5, Instances: 0.2, Connections: 10, Active: 3, Server: 12, Limit: 97}
	with := func(change func(*Usage)) *Usage { u := base; change(&u); return &u }
	for name, c := range map[string]struct {
		g    GeneratorFacts
		u    *Usage
		want string
	}{
		"nobody looked":       {u: nil, want: limitUnknown},
		"no database":         {u: with(func(u *Usage) { u.Limit, u.Active = 0, 0 }), want: limitUnknown},
		"all has room":        {u: &base, want: limitService},
		"machine":             {u: with(func(u *Usage) { u.Machine = 0.95 }), want: limitProcessor},
		"machine and locks":   {u: with(func(u *Usage) { u.Machine, u.Waiting = 0.95, 3 }), want: limitProcessor},
		"one instance":        {u: with(func(u *Usage) { u.Busiest = 0.97 }), want: limitProcessor},
		"others' work":        {u: with(func(u *Usage) { u.Machine, u.Others = 0.99, 0.4 }), want: limitNeighbours},
		"locks":               {u: with(func(u *Usage) { u.Active, u.Waiting = 10, 9 }), want: limitLocks},
		"a pool all busy":     {u: with(func(u *Usage) { u.Active = 9.6 }), want: limitConnections},
		"a server all taken":  {u: with(func(u *Usage) { u.Server = 97 }), want: limitConnections},
		"a lagging generator": {g: GeneratorFacts{P99LagSeconds: 0.2}, u: with(func(u *Usage) { u.Machine = 0.99 }), want: limitGenerator},
		"a busy generator":    {g: GeneratorFacts{CPUShare: 0.85}, u: &base, want: limitGenerator},
		"requests not sent":   {g: GeneratorFacts{Dropped: 1}, u: &base, want: limitGenerator},
	} {
		if got, why := loadLimitOf(c.g, c.u); got != c.want || why == "" {
			t.Errorf("%s: %s (%s), want %s", name, got, why, c.want)
		}
	}
}

func TestUsageIsTheDifferenceOfReadings(t *testing.T) {
	t.Parallel()
	at := func(busy, used float64, pid, active int) Gauges {
		return Gauges{Processors: 2, Busy: busy, Balancer: busy / 10, Instances: []InstanceGauge{{ID: "a", PID: pid, Used: used, Processors: 1}},
			Database: &DatabaseGauge{Used: busy / 5, Connections: 10, Active: active, Waiting: 2, Server: 11, Limit: 97}}
	}
	u := usage([]Gauges{at(100, 50, 1, 4), at(105, 52, 1, 6), at(110, 54, 1, 8)}, 5, 0.1)
	want := Usage{Readings: 3, Machine: 1, Instances: 0.4, Database: 0.2, Balancer: 0.1, Generator: 0.1, Others: 0.2, Busiest: 0.8,
		Running: 1, Connections: 10, Active: 6, Waiting: 2, Server: 11, Limit: 97}
	if u.Others = float64(int(u.Others*1000+0.5)) / 1000; *u != want {
		t.Errorf("%+v\nwant %+v", *u, want)
	}
	// A new process counts from 0.
	if u := usage([]Gauges{at(100, 50, 1, 4), at(110, 1, 2, 4)}, 5, 0); u.Instances != 0.1 {
		t.Errorf("restarted: %+v", u)
	}
	if usage([]Gauges{at(1, 1, 1, 1)}, 5, 0) != nil || usage(nil, 5, 0) != nil {
		t.Error("a difference of less than two readings")
	}
}

func TestLoadKneePools(t *testing.T) {
	t.Parallel()
	step := func(rate float64, state, limit string) KneeStep {
		return KneeStep{Rate: rate, State: state, Limit: limit, Carried: min(rate, 240)}
	}
	lagged := loadKneeOf([]KneeStep{step(100, stepSustained, ""), step(150, stepSaturated, limitGenerator)})
	if lagged.Lower != 100 || lagged.Upper != 0 || lagged.Limit != limitGenerator {
		t.Errorf("%+v", lagged)
	}
	good := loadKneeOf([]KneeStep{step(100, stepSustained, ""), step(200, stepSustained, ""), step(300, stepSaturated, limitProcessor)})
	both := lagged.add(&good)
	if both.Lower != 200 || both.Upper != 300 || both.Rate != 240 || both.Limit != limitProcessor || both.Restarts != nil {
		t.Errorf("%+v", both)
	}
	bad := loadKneeOf([]KneeStep{step(100, stepSaturated, limitLocks)})
	if worst := good.add(&bad); worst.Lower != 0 || worst.Upper != 100 || worst.Limit != limitLocks {
		t.Errorf("a good run hides a bad one: %+v", worst)
	}
	if n := loadAddRestarts(new(1), nil); n == nil || *n != 1 {
		t.Error("restarts that were counted are lost")
	}
	if loadAddRestarts(new(0), nil) != nil {
		t.Error("what not everybody counted is taken for none")
	}
}

// loadTestNarrow answers capacity requests a second, one after the other.
func loadTestNarrow(capacity float64) http.Handler {
	var mu sync.Mutex
	free := time.Now()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		if now := time.Now(); free.Before(now) {
			free = now
		}
		free = free.Add(time.Duration(float64(time.Second) / capacity))
		turn := free
		mu.Unlock()
		time.Sleep(time.Until(turn))
		loadTestOK(w, r)
	})
}

func loadTestKnee(users int, think time.Duration) func(*LoadOptions) {
	return func(o *LoadOptions) {
		o.Scenario.Users, o.Scenario.Think = users, environments.Duration(think)
		o.Scenario.Step, o.Scenario.Knee = environments.Duration(2*time.Second), environments.Duration(10*time.Second)
	}
}

func TestLoadFindsAKneeBelowTwiceTheNeed(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED with -short: that a narrow service's knee is found is NOT tested; takes 15 s")
	}
	t.Parallel()
	// 20 users that think for 100 ms ask 200 times a second at most; the service
	// can do 250, and has room in everything that can be looked at.
	idle := Gauges{Processors: 1000, Database: &DatabaseGauge{Limit: 97}}
	p := loadTestRun(t, loadTestNarrow(250), loadTestScenario(1, 0, 200*time.Millisecond, time.Second, 500*time.Millisecond), func(o *LoadOptions) {
		loadTestKnee(20, 100*time.Millisecond)(o)
		o.Gauges = func(context.Context) (Gauges, error) { return idle, nil }
	}, Completed)
	if need := p.Need(); need < 200 || need > 230 {
		t.Errorf("need %g", need)
	}
	k := p.Knee
	if k.Upper == 0 || k.Upper > 2.2*p.Need() || k.Lower > 270 || k.Limit != limitService && k.Limit != limitGenerator {
		t.Errorf("%s, limited by %s (%s)\n%+v", k, k.Limit, k.Because, k.Steps)
	}
	if z := p.ZeroThink; z == nil || z.Rate < 150 || z.Rate > 260 || z.All.Requests == 0 {
		t.Errorf("without think time: %+v", z)
	}
}

func TestLoadGeneratorThatIsTheLimitBoundsNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED with -short: that a slow generator is no limit of the service is NOT tested; takes 10 s")
	}
	t.Parallel()
	// Every request of the open model starts late, ever later.
	var late atomic.Int64
	p := loadTestRun(t, http.HandlerFunc(loadTestOK), loadTestScenario(1, 0, 0, 500*time.Millisecond, 0), func(o *LoadOptions) {
		loadTestKnee(20, 100*time.Millisecond)(o)
		o.Scenario.Knee = environments.Duration(5 * time.Second)
		o.fault.start = func() { time.Sleep(time.Duration(late.Add(1)) * time.Millisecond) }
	}, Completed)
	if k := p.Knee; k.Upper != 0 || k.Limit != limitGenerator || !strings.Contains(k.Because, "behind its schedule") {
		t.Errorf("%s, limited by %s (%s)", k, k.Limit, k.Because)
	}
}

func TestLoadSeesAStallAtACheckpoint(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED with -short: that a stall at a CHECKPOINT shows is NOT tested; takes 9 s")
	}
	t.Parallel()
	var until atomic.Int64 // nanoseconds since 1970
	stalls := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(time.Until(time.Unix(0, until.Load())))
		loadTestOK(w, r)
	})
	p := loadTestRun(t, stalls, loadTestScenario(20, 100*time.Millisecond, 200*time.Millisecond, time.Second, 6*time.Second), func(o *LoadOptions) {
		o.Checkpoint = func(context.Context) error {
			until.Store(time.Now().Add(2500 * time.Millisecond).UnixNano())
			time.Sleep(100 * time.Millisecond)
			return nil
		}
	}, Completed)
	c := p.Checkpoint
	if !c.Forced || c.At < 2.9 || c.At > 4 || c.During.P95 < 2 || c.During.Requests < 50 || c.Before.P95 > 0.5 {
		t.Errorf("%+v", c)
	}
	p = loadTestRun(t, http.HandlerFunc(loadTestOK), loadTestScenario(5, 50*time.Millisecond, 0, 300*time.Millisecond, 600*time.Millisecond), func(o *LoadOptions) {
		o.Checkpoint = func(context.Context) error { return errors.New("the user may not") }
	}, Completed)
	if c := p.Checkpoint; c.Forced || c.Reason != "the user may not" {
		t.Errorf("%+v", c)
	}
}
