package checks

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/smartcloudops/gate/environments"
)

// updateStalled is the failure of a request that was never sent because its
// client still waited for an answer until the request would have timed out.
const updateStalled = "stalled"

// updateRun is what a measurement needs.
type updateRun struct {
	in     Input
	rate   int
	plan   *loadPlan
	dialer *loadDialer
}

func newUpdateRun(in Input) (*updateRun, error) {
	app := in.Declarations.App
	plan, dialer, err := newLoadRequests(LoadOptions{
		Address: in.Address,
		Name:    in.Name,
		Roots:   in.Roots,
		Scenario: environments.Load{
			Endpoints: loadEndpoints(in.Environment, app.Load.Endpoints),
		},
	})
	if err != nil {
		return nil, err
	}
	return &updateRun{in: in, rate: app.Update.Rate, plan: plan, dialer: dialer}, nil
}

// updateLoad is the load while it goes on. Its owner calls finish, and reads
// the figures after that.
type updateLoad struct {
	run     *updateRun
	started time.Time
	marks   []time.Time // when each phase began
	ended   time.Time
	end     context.CancelFunc
	meter   loadMeter
	cpu     float64
	wg      sync.WaitGroup

	mu        sync.Mutex
	samples   []loadSample
	instances map[string]int
	lag       *hdrhistogram.Histogram
	dropped   int64
	announced int64
}

// start begins the load. It goes on until finish is called or ctx ends.
func (r *updateRun) start(ctx context.Context) *updateLoad {
	l := &updateLoad{
		run:       r,
		started:   time.Now(),
		instances: map[string]int{},
		lag:       loadHistogram(),
		meter:     startLoadMeter(),
	}
	// Whoever waits for its next request stops at once; one under way is still
	// answered, since connections hang on ctx itself.
	waiting, end := context.WithCancel(ctx)
	l.end = end
	clients := min(updateClients, r.rate)
	for i := range clients {
		l.wg.Go(func() { l.client(ctx, waiting, i, clients) })
	}
	return l
}

// begin marks the beginning of the next phase.
func (l *updateLoad) begin() { l.marks = append(l.marks, time.Now()) }

// finish ends the load and waits for the answers that are due.
func (l *updateLoad) finish() {
	l.ended = time.Now()
	l.cpu = l.meter.share()
	l.end()
	l.wg.Wait()
}

// client sends every n-th request of the schedule, beginning with the i-th, one
// after the other on one connection. What is due while it waits is sent late,
// and timed from when it was due.
func (l *updateLoad) client(ctx, waiting context.Context, i, n int) {
	timer := loadTimer()
	defer timer.Stop()
	random := rand.New(rand.NewPCG(loadSeed(l.run.in.Release), uint64(i)))
	client := &loadClient{dialer: l.run.dialer, strict: true}
	defer client.close()
	interval := time.Duration(n) * time.Second / time.Duration(l.run.rate)
	due := l.started.Add(time.Duration(i) * time.Second / time.Duration(l.run.rate))
	free := l.started
	for ; ; due = due.Add(interval) {
		if loadSleep(waiting, timer, due) != nil {
			return
		}
		endpoint := l.run.plan.choose(random)
		if free.Sub(due) > loadTimeout {
			l.record(endpoint, due, free.Sub(due), nil, loadAnswer{why: updateStalled})
			continue
		}
		now := time.Now()
		answer := l.run.plan.send(ctx, client, endpoint, i, now.Add(loadTimeout))
		if ctx.Err() != nil {
			return
		}
		lag := now.Sub(due)
		if free.After(due) {
			lag = now.Sub(free)
		}
		free = time.Now()
		l.record(endpoint, due, free.Sub(due), &lag, answer)
	}
}

func (l *updateLoad) record(endpoint int, due time.Time, latency time.Duration, lag *time.Duration, a loadAnswer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lag != nil {
		loadRecord(l.lag, *lag)
	}
	if a.dropped {
		l.dropped++
		return
	}
	if a.announced {
		l.announced++
	}
	if a.instance != "" {
		l.instances[a.instance]++
	}
	if a.why == "" && latency >= LoadLimit {
		a.why = loadSlow
	}
	l.samples = append(l.samples, loadSample{endpoint, due.Sub(l.started), latency, a.why})
}

// payload is the figures. A request belongs to the phase in which it was due.
func (l *updateLoad) payload(replaced int, seconds []float64) UpdatePayload {
	steps := updateSteps(l.run.in)
	p := UpdatePayload{
		From:        steps[len(steps)-1].from,
		To:          l.run.in.Release,
		Seconds:     l.ended.Sub(l.started).Seconds(),
		Requests:    int64(len(l.samples)),
		Replaced:    replaced,
		PerInstance: l.instances,
		Generator: GeneratorFacts{
			CPUShare:      l.cpu,
			Dropped:       l.dropped,
			MaxLagSeconds: loadSeconds(l.lag.Max()),
			P99LagSeconds: loadSeconds(l.lag.ValueAtQuantile(99)),
		},
	}
	for i := range l.marks {
		phase := UpdatePhase{From: steps[i].from, To: steps[i].to}
		if i < len(seconds) {
			phase.Seconds = seconds[i]
		}
		p.Phases = append(p.Phases, phase)
	}
	latencies := loadHistogram()
	for _, s := range l.samples {
		loadRecord(latencies, s.latency)
		at := 0
		for at+1 < len(l.marks) && !l.started.Add(s.at).Before(l.marks[at+1]) {
			at++
		}
		if at < len(p.Phases) {
			p.Phases[at].Requests++
		}
		if s.why == "" {
			continue
		}
		p.Failed++
		if at < len(p.Phases) {
			p.Phases[at].Failed++
		}
		p.Failures = loadAddCounts(p.Failures, map[string]int{s.why: 1})
	}
	p.P99 = loadSeconds(latencies.ValueAtQuantile(99))
	if p.Seconds > 0 {
		p.Rate = float64(p.Requests) / p.Seconds
	}
	return p
}
