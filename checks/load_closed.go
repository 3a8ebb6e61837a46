package checks

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// loadPause is the least that a user waits after a request without an answer:
// a user without think time must not spin on a service that is down.
const loadPause = 10 * time.Millisecond

// loadClosedResult is what the closed model saw in its kept part.
type loadClosedResult struct {
	samples      []loadSample
	rate         float64 // requests started a second
	law          float64
	lag          *hdrhistogram.Histogram // microseconds
	cpu          float64
	dropped      int64
	thinkUnsound string // the drawn think times were not what was declared
	lasted       time.Duration
	stopped      bool // before its time
}

// loadUser is one user of the closed model, and what became of it.
type loadUser struct {
	number  int
	client  *loadClient
	think   float64 // mean, in nanoseconds
	random  *rand.Rand
	samples []loadSample
	lags    []time.Duration
	// accounted is the part of the kept time that measured responses and drawn
	// think times explain.
	accounted float64
	thinks    int
	thought   float64 // seconds drawn
	dropped   int64
}

// loadWork is who works in the closed model, and for how long.
type loadWork struct {
	name         string
	users        int
	think        time.Duration
	warmup, kept time.Duration
	stream       uint64     // of random numbers
	watch        *loadWatch // that may end it early; nil: none
}

// closed runs the closed model with these clients and, where there are too few,
// new ones. All come back open, also with an error.
func (g *loadGenerator) closed(ctx context.Context, s loadWork, clients []*loadClient) (loadClosedResult, []*loadClient, error) {
	var wg sync.WaitGroup
	users := make([]*loadUser, s.users)
	start := time.Now()
	from := start.Add(s.warmup)
	to := from.Add(s.kept)
	stop := g.narrate(s.name, s.warmup+s.kept)
	for i := range users {
		if i == len(clients) {
			clients = append(clients, &loadClient{dialer: g.dialer})
		}
		u := &loadUser{
			number: i,
			client: clients[i],
			think:  float64(s.think),
			random: rand.New(rand.NewPCG(g.opt.Seed, s.stream<<32+uint64(i)+1)),
		}
		users[i] = u
		wg.Go(func() { g.work(ctx, u, start, from, to, s.watch) })
	}
	following, unfollow := context.WithCancel(ctx)
	wg.Go(func() { s.watch.follow(following) })
	cpu := loadShare(ctx, from, to, s.watch.done())
	r := loadClosedResult{lag: loadHistogram(), cpu: cpu, lasted: s.kept}
	if s.watch.over() && s.watch.at.Before(to) {
		r.lasted, r.stopped = s.watch.at.Sub(from), true
	}
	unfollow()
	wg.Wait()
	stop()
	if err := ctx.Err(); err != nil {
		return loadClosedResult{}, clients, err
	}

	var accounted, thought float64
	var thinks int
	for _, u := range users {
		r.samples = append(r.samples, u.samples...)
		r.dropped += u.dropped
		accounted += u.accounted
		thought += u.thought
		thinks += u.thinks
		for _, l := range u.lags {
			loadRecord(r.lag, l)
		}
	}
	r.rate = float64(len(r.samples)) / r.lasted.Seconds()
	if r.rate == 0 {
		// Every user waited for one and the same answer all the while: that is the
		// rate of a service that never answers.
		r.rate = float64(s.users) / (s.think + loadTimeout).Seconds()
	}
	r.law = accounted / (r.lasted.Seconds() * float64(s.users))
	r.thinkUnsound = loadThinkUnsound(s.think.Seconds(), thought, thinks)
	return r, clients, nil
}

// loadThinkUnsound compares the mean of exponential draws with the declared
// one. Their standard error is mean ÷ √n; four of them are exceeded by chance
// once in 16,000 runs.
func loadThinkUnsound(mean, sum float64, n int) string {
	if mean <= 0 || n == 0 {
		return ""
	}
	off := math.Abs(sum/float64(n)/mean - 1)
	if off > max(loadMaxLaw, 4/math.Sqrt(float64(n))) {
		return fmt.Sprintf("the users' mean think time was %.3f s instead of %.3f s", sum/float64(n), mean)
	}
	return ""
}

// work is a user's day: think, ask, wait for the answer, and again. It ends
// when the next request would start after to, or when watch has seen enough, or
// with ctx.
func (g *loadGenerator) work(ctx context.Context, u *loadUser, start, from, to time.Time, watch *loadWatch) {
	timer := loadTimer()
	defer timer.Stop()
	mean := u.think
	think := func(least time.Duration) time.Duration {
		drawn := time.Duration(u.random.ExpFloat64() * mean)
		if mean > 0 {
			u.thinks++
			u.thought += drawn.Seconds()
		}
		return max(drawn, least)
	}
	oversleep := g.opt.fault.think
	if oversleep == nil {
		oversleep = func(d time.Duration) time.Duration { return d }
	}
	// Thinking comes first, or all users would ask in step.
	began, ended, explained, thought := start, start, time.Duration(0), think(0)
	for {
		due := ended.Add(thought)
		wake := ended.Add(oversleep(thought))
		explained += thought
		if wake.After(to) {
			u.account(began, wake, from, to, explained)
			return
		}
		stopped, err := loadSleepUnless(ctx, timer, wake, watch.done())
		if err != nil {
			return
		}
		if stopped || watch.over() {
			u.account(began, wake, from, watch.at, explained)
			return
		}
		now := time.Now()
		u.account(began, now, from, to, explained)

		endpoint := g.plan.choose(u.random)
		kept := !now.Before(from)
		number := 0
		if kept {
			number = watch.begin(now)
		}
		answer := g.plan.send(ctx, u.client, endpoint, u.number, now.Add(loadTimeout))
		if ctx.Err() != nil {
			return
		}
		began, ended = now, time.Now()
		explained = ended.Sub(began)
		if f := g.opt.fault.latency; f != nil {
			explained = f(explained)
		}
		if kept {
			u.lags = append(u.lags, now.Sub(due))
		}
		least := time.Duration(0)
		if !answer.answered {
			least = loadPause
		}
		thought = think(least)
		if answer.dropped {
			if kept {
				u.dropped++
			}
			continue
		}
		sample := g.sample(endpoint, now.Sub(from), explained, answer)
		if kept {
			watch.end(number, sample)
			u.samples = append(u.samples, sample)
		}
	}
}

// account books a cycle, from the start of one request to the start of the
// next. Of the part that lies between from and to, as much is explained as the
// response and the think time are of the whole.
func (u *loadUser) account(began, ended, from, to time.Time, explained time.Duration) {
	whole := ended.Sub(began)
	if began.Before(from) {
		began = from
	}
	if ended.After(to) {
		ended = to
	}
	inside := ended.Sub(began)
	if inside <= 0 || whole <= 0 {
		return
	}
	u.accounted += inside.Seconds() * float64(explained) / float64(whole)
}
