package checks

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// loadOpenResult is what the open model saw.
type loadOpenResult struct {
	samples []loadSample
	lag     *hdrhistogram.Histogram // microseconds
	cpu     float64
	dropped int64
	lasted  time.Duration // until the last request was due
	gaveUp  bool          // it was ended early: too much was in flight
	stopped bool          // likewise: enough was seen
}

// loadCrowd is the open model at work: clients that come and go, and what they
// saw.
type loadCrowd struct {
	mu       sync.Mutex
	idle     []*loadClient // the last one used is the first to be used again
	inFlight int
	rate     float64 // at which requests arrive, a second
	result   loadOpenResult
}

// loadSchedule is when requests are due, since the phase began: a Poisson
// process, as many independent people make one, given that exactly rate × d
// requests come. Its moments are then uniform order statistics.
func loadSchedule(r *rand.Rand, rate float64, d time.Duration) []time.Duration {
	due := make([]time.Duration, max(1, int(math.Round(rate*d.Seconds()))))
	for i := range due {
		due[i] = time.Duration(r.Float64() * float64(d))
	}
	slices.Sort(due)
	return due
}

// loadArrivals says how requests of the open model arrive.
type loadArrivals struct {
	name   string
	rate   float64 // a second
	whole  time.Duration
	stream uint64 // of random numbers
	// patience ends the phase early once so long's arrivals are in flight; 0:
	// nothing does.
	patience time.Duration
	watch    *loadWatch // that may end it early; nil: none
}

// open runs the open model. Nothing bounds the requests in flight but their
// time limit. It takes over the clients and returns all that there are at its
// end. Ended, if there is one, is called when nothing more will be sent and
// answers may still be outstanding.
func (g *loadGenerator) open(ctx context.Context, a loadArrivals, clients []*loadClient, ended func()) (loadOpenResult, []*loadClient, error) {
	random := rand.New(rand.NewPCG(g.opt.Seed, a.stream<<32))
	due := loadSchedule(random, a.rate, a.whole)
	crowd := &loadCrowd{idle: clients, rate: a.rate, result: loadOpenResult{lag: loadHistogram(), lasted: a.whole}}
	stop := g.narrate(a.name, a.whole)

	var wg sync.WaitGroup
	meter := startLoadMeter()
	start := time.Now()
	timer := loadTimer()
	defer timer.Stop()
	following, unfollow := context.WithCancel(ctx)
	defer unfollow()
	wg.Go(func() { a.watch.follow(following) })
	for i, d := range due {
		stopped, err := loadSleepUnless(ctx, timer, start.Add(d), a.watch.done())
		if err != nil {
			break
		}
		if stopped || a.watch.over() {
			crowd.result.lasted, crowd.result.stopped = a.watch.at.Sub(start), true
			break
		}
		if a.patience > 0 && float64(crowd.waiting()) > a.rate*a.patience.Seconds()+1 {
			crowd.result.lasted, crowd.result.gaveUp = max(d, time.Millisecond), true
			break
		}
		endpoint := g.plan.choose(random)
		number := a.watch.begin(start.Add(d))
		wg.Go(func() {
			if s, ok := g.arrive(ctx, crowd, start, d, endpoint, i%g.opt.Scenario.Users); ok {
				a.watch.end(number, s)
			}
		})
	}
	unfollow()
	if !crowd.result.gaveUp && !crowd.result.stopped {
		_ = loadSleep(ctx, timer, start.Add(a.whole)) // ctx's end is returned below
	}
	cpu := meter.share()
	if ended != nil {
		ended()
	}
	wg.Wait()
	stop()
	crowd.result.cpu = cpu
	return crowd.result, crowd.idle, ctx.Err()
}

// arrive is one request of the open model, due at a time since start, and false
// where there was none.
func (g *loadGenerator) arrive(ctx context.Context, crowd *loadCrowd, start time.Time, at time.Duration, endpoint, user int) (loadSample, bool) {
	if f := g.opt.fault.start; f != nil {
		f()
	}
	due := start.Add(at)
	lag := time.Since(due)
	client := crowd.take(g.dialer)
	answer := g.plan.send(ctx, client, endpoint, user, due.Add(loadTimeout))
	latency := time.Since(due)

	crowd.mu.Lock()
	defer crowd.mu.Unlock()
	crowd.idle = append(crowd.idle, client)
	waiting := crowd.inFlight
	crowd.inFlight--
	loadRecord(crowd.result.lag, lag)
	if ctx.Err() != nil {
		return loadSample{}, false
	}
	if answer.dropped && float64(waiting) > crowd.rate*LoadLimit.Seconds() {
		// This machine's means ran out because the service owes more answers than
		// one that keeps the limit ever would (Little's law). That is the service's
		// doing and counts as its failure, with the time it would have had.
		answer = loadAnswer{why: loadUnanswered}
		latency = loadTimeout
	}
	if answer.dropped {
		crowd.result.dropped++
		return loadSample{}, false
	}
	s := g.sample(endpoint, at, latency, answer)
	crowd.result.samples = append(crowd.result.samples, s)
	return s, true
}

// waiting is how many requests have no answer yet.
func (c *loadCrowd) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.inFlight
}

// take is a client that nobody uses, a new one if need be.
func (c *loadCrowd) take(d *loadDialer) *loadClient {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inFlight++
	if n := len(c.idle); n > 0 {
		client := c.idle[n-1]
		c.idle = c.idle[:n-1]
		return client
	}
	return &loadClient{dialer: d}
}
