package checks

import (
	"context"
	"math"
	"sync"
	"time"
)

// A phase that may stop early does so by Wald's sequential probability ratio
// test (A. Wald, Annals of Mathematical Statistics 16, 1945) of the share of
// requests that fail, 0.2% against 1%, and of the share that is slower than
// LoadLimit, 2.5% against the 5% by which p95 would be. A service that is bad
// must look good in both phases to be taken for good, one that is good only
// once bad to be taken for bad: so the risk of that is halved.
const (
	earlyGood     = 0.002
	earlyBad      = 0.01
	earlySlowGood = 0.025
	earlySlowBad  = 0.05
	earlyRisk     = 0.01 // of either mistake, in both phases together
)

// earlyGuarantee is what a verdict before time is worth.
const earlyGuarantee = "if requests fail independently of each other, at most 1% of services of which 1% or more of the requests fail are taken for good, and at most 1% of those with 0.2% or less for bad"

// Verdicts of a sequential test.
const (
	earlyIsGood = "good"
	earlyIsBad  = "bad"
	earlyOpen   = "open" // the time was up first
)

// LoadEarly is what sequential tests made of a measurement that was allowed to
// stop before its time. Such a measurement never promotes: it has a key of its
// own.
type LoadEarly struct {
	Bad       float64   `json:"bad"`  // share of failed requests at which a service is bad
	Risk      float64   `json:"risk"` // that a bad one is called good, or a good one bad
	Guarantee string    `json:"guarantee"`
	Closed    EarlyStop `json:"closed"`
	Open      EarlyStop `json:"open"`
}

// EarlyStop is the test of one phase.
type EarlyStop struct {
	Verdict  string `json:"verdict"` // good, bad; open: the time was up first
	Stopped  bool   `json:"stopped"` // before its time
	Requests int64  `json:"requests"`
	Failed   int64  `json:"failed"`
	Slow     int64  `json:"slow"`
}

func (e *LoadEarly) worse(o *LoadEarly) *LoadEarly {
	if e == nil || o == nil {
		// Runs of one key all were allowed to stop early, or none was.
		return nil
	}
	sum := *e
	for _, s := range []struct{ to, from *EarlyStop }{{&sum.Closed, &o.Closed}, {&sum.Open, &o.Open}} {
		rank := map[string]int{earlyIsBad: 2, earlyOpen: 1, earlyIsGood: 0}
		if rank[s.from.Verdict] > rank[s.to.Verdict] {
			s.to.Verdict = s.from.Verdict
		}
		s.to.Stopped = s.to.Stopped || s.from.Stopped
		s.to.Requests += s.from.Requests
		s.to.Failed += s.from.Failed
		s.to.Slow += s.from.Slow
	}
	return &sum
}

// ratio is a sequential test of one share.
type ratio struct {
	hit, miss float64 // what one more adds
	sum       float64
}

func newRatio(good, bad float64) ratio {
	return ratio{hit: math.Log(bad / good), miss: math.Log((1 - bad) / (1 - good))}
}

func (r *ratio) add(hit bool) {
	if hit {
		r.sum += r.hit
	} else {
		r.sum += r.miss
	}
}

// verdict stays open until one of Wald's bounds is reached.
func (r *ratio) verdict() string {
	switch {
	case r.sum >= math.Log((1-earlyRisk)/(earlyRisk/2)):
		return earlyIsBad
	case r.sum <= math.Log(earlyRisk/(1-earlyRisk/2)):
		return earlyIsGood
	}
	return earlyOpen
}

// loadWatch follows the requests of a phase in the order in which they were
// sent, so that those that hang are not left out for the quick ones. Its zero
// value, and nil, never end a phase.
type loadWatch struct {
	mu      sync.Mutex
	sent    []loadSent
	next    int // the first that is not judged
	fails   ratio
	slows   ratio
	stop    EarlyStop
	decided chan struct{}
	at      time.Time // when it was
}

type loadSent struct {
	at                 time.Time
	known, fails, slow bool
}

func newLoadWatch() *loadWatch {
	return &loadWatch{
		fails: newRatio(earlyGood, earlyBad), slows: newRatio(earlySlowGood, earlySlowBad),
		stop: EarlyStop{Verdict: earlyOpen}, decided: make(chan struct{}),
	}
}

// begin notes a request that was due; end says what came of it.
func (w *loadWatch) begin(at time.Time) int {
	if w == nil {
		return 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = append(w.sent, loadSent{at: at})
	return len(w.sent) - 1
}

func (w *loadWatch) end(i int, s loadSample) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if e := &w.sent[i]; !e.known {
		e.known, e.fails, e.slow = true, s.why != "", s.latency >= LoadLimit
	}
	w.judge(time.Now())
}

// judge goes on with the test as far as outcomes are known. Who has waited for
// LoadLimit has failed, whatever comes. The caller holds w.mu.
func (w *loadWatch) judge(now time.Time) {
	for w.stop.Verdict == earlyOpen && w.next < len(w.sent) {
		e := &w.sent[w.next]
		if !e.known && now.Sub(e.at) >= LoadLimit {
			e.known, e.fails, e.slow = true, true, true
		}
		if !e.known {
			return
		}
		w.next++
		w.stop.Requests++
		if e.fails {
			w.stop.Failed++
		}
		if e.slow {
			w.stop.Slow++
		}
		w.fails.add(e.fails)
		w.slows.add(e.slow)
		f, s := w.fails.verdict(), w.slows.verdict()
		switch {
		case f == earlyIsBad || s == earlyIsBad:
			w.stop.Verdict = earlyIsBad
		case f == earlyIsGood && s == earlyIsGood:
			w.stop.Verdict = earlyIsGood
		default:
			continue
		}
		w.at = now
		close(w.decided)
	}
}

// follow judges from time to time until ctx ends: requests that hang end
// nothing by themselves.
func (w *loadWatch) follow(ctx context.Context) {
	if w == nil {
		return
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.decided:
			return
		case <-tick.C:
			w.mu.Lock()
			w.judge(time.Now())
			w.mu.Unlock()
		}
	}
}

// done is closed once the test has decided; nil without a test.
func (w *loadWatch) done() <-chan struct{} {
	if w == nil {
		return nil
	}
	return w.decided
}

// over says whether the test has decided.
func (w *loadWatch) over() bool {
	select {
	case <-w.done():
		return true
	default:
		return false
	}
}

// result is the test's; stopped says whether it ended the phase.
func (w *loadWatch) result(stopped bool) EarlyStop {
	if w == nil {
		return EarlyStop{Verdict: earlyOpen}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.stop
	r.Stopped = stopped
	return r
}
