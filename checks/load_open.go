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
}

// loadCrowd is the open model at work: clients that come and go, and what they
// saw.
type loadCrowd struct {
	mu       sync.Mutex
	idle     []*loadClient // the last one used is the first to be used again
	inFlight int
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

// open runs the open model at rate requests a second. Nothing bounds the
// requests in flight but their time limit. It takes over the clients and
// returns all that there are at its end.
func (g *loadGenerator) open(ctx context.Context, rate float64, clients []*loadClient) (loadOpenResult, []*loadClient, error) {
	random := rand.New(rand.NewPCG(g.opt.Seed, 0))
	whole := g.opt.Scenario.Open.D()
	due := loadSchedule(random, rate, whole)
	crowd := &loadCrowd{idle: clients, result: loadOpenResult{lag: loadHistogram()}}
	stop := g.narrate("open", whole)

	var cpu float64
	var wg sync.WaitGroup
	start := time.Now()
	wg.Go(func() { cpu = loadShare(ctx, start, start.Add(whole)) })
	timer := loadTimer()
	defer timer.Stop()
	for i, d := range due {
		if loadSleep(ctx, timer, start.Add(d)) != nil {
			break
		}
		endpoint := g.plan.choose(random)
		wg.Go(func() { g.arrive(ctx, crowd, start, d, rate, endpoint, i%g.opt.Scenario.Users) })
	}
	wg.Wait()
	stop()
	crowd.result.cpu = cpu
	return crowd.result, crowd.idle, ctx.Err()
}

// arrive is one request of the open model, due at a time since start.
func (g *loadGenerator) arrive(ctx context.Context, crowd *loadCrowd, start time.Time, at time.Duration, rate float64, endpoint, user int) {
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
		return
	}
	if answer.dropped && float64(waiting) > rate*LoadLimit.Seconds() {
		// This machine's means ran out because the service owes more answers than
		// one that keeps the limit ever would (Little's law). That is the service's
		// doing and counts as its failure, with the time it would have had.
		answer = loadAnswer{why: loadUnanswered}
		latency = loadTimeout
	}
	if answer.dropped {
		crowd.result.dropped++
		return
	}
	crowd.result.samples = append(crowd.result.samples, g.sample(endpoint, at, latency, answer))
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
