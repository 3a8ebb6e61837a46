package checks

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/smartcloudops/gate/environments"
)

const (
	// drillClients is the number of connections, fewer at a lower rate, so that
	// each is used at least once a second.
	drillClients = 50
	// drillStalled is the failure of a request that was never sent because its
	// client still waited for an answer until the request would have timed out.
	drillStalled = "stalled"
	// drillCrowd is the number of the first user of a crowd.
	drillCrowd = 1000
)

// drillLoad is the load under which drills disturb the service. Requests come at
// a fixed rate, whether answers come or not, over a fixed set of keep-alive
// connections on which nothing is sent twice.
type drillLoad struct {
	rate    int
	plan    *loadPlan
	dialer  *loadDialer
	write   *environments.Write // nil: what is stored can't be found again
	writeAt int                 // its endpoint
	seed    uint64
	// strict clients don't look whether an idle connection is still there before
	// they use it: a connection that the server closes without having said so
	// costs the request that finds it closed. A "Connection: close" on the answer
	// before is an orderly farewell.
	strict atomic.Bool

	started time.Time
	all     context.Context // ends requests under way, too
	waiting context.Context // ends with the load
	end     context.CancelFunc
	wg      sync.WaitGroup
	passed  []atomic.Int64 // of each client: every request due before that was recorded, in ns since started

	mu        sync.Mutex
	samples   []drillSample
	dropped   []time.Time // when requests were due that this machine could not send
	announced int64
}

// drillSample is one request.
type drillSample struct {
	due, sent, done time.Time
	lag             time.Duration // -1: it was never sent
	why             string
	answered        bool
	instance        string
	seq             int64
	values          *loadValues // of a write that can be found again
	other           bool        // it may have written, and nobody knows where
}

func newDrillLoad(in Input) (*drillLoad, error) {
	app := in.Declarations.App
	endpoints := slices.Clone(loadEndpoints(in.Environment, app.Load.Endpoints))
	l := &drillLoad{rate: app.Update.Rate, seed: loadSeed(in.Release)}
	if app.Drills.Write != nil && loadAudience(in.Environment) == "all" {
		weights := 0
		for _, e := range endpoints {
			weights += e.Weight
		}
		l.write, l.writeAt = app.Drills.Write, len(endpoints)
		endpoints = append(endpoints, l.write.Endpoint(max(1, weights/4)))
	}
	for i := range endpoints {
		// By it the access log tells each request of this run.
		endpoints[i].Headers = maps.Clone(endpoints[i].Headers)
		if endpoints[i].Headers == nil {
			endpoints[i].Headers = map[string]string{}
		}
		endpoints[i].Headers["X-Gate-Run"] = "${RUN}.${SEQ}"
	}
	var err error
	l.plan, l.dialer, err = newLoadRequests(LoadOptions{
		Address: in.Address, Name: in.Name, Roots: in.Roots, Scenario: environments.Load{Endpoints: endpoints},
	})
	return l, err
}

// start begins the load. It goes on until finish is called or ctx ends.
func (l *drillLoad) start(ctx context.Context) {
	l.started, l.all = time.Now(), ctx
	l.strict.Store(true)
	// Whoever waits for its next request stops at once; one under way is still
	// answered, since connections hang on ctx itself.
	l.waiting, l.end = context.WithCancel(ctx)
	clients := min(drillClients, l.rate)
	l.passed = make([]atomic.Int64, clients)
	for i := range clients {
		l.wg.Go(func() { l.client(i, clients) })
	}
}

// finish ends the load and waits for the answers that are due.
func (l *drillLoad) finish() {
	l.end()
	l.wg.Wait()
}

// client sends every n-th request of the schedule, beginning with the i-th, one
// after the other on one connection. What is due while it waits is sent late,
// and timed from when it was due.
func (l *drillLoad) client(i, n int) {
	timer := loadTimer()
	defer timer.Stop()
	random := rand.New(rand.NewPCG(l.seed, uint64(i)))
	client := &loadClient{dialer: l.dialer}
	defer client.close()
	defer l.passed[i].Store(int64(time.Hour * 1e4))
	interval := time.Duration(n) * time.Second / time.Duration(l.rate)
	due := l.started.Add(time.Duration(i) * time.Second / time.Duration(l.rate))
	free := l.started
	for ; ; due = due.Add(interval) {
		l.passed[i].Store(int64(due.Sub(l.started)))
		if loadSleep(l.waiting, timer, due) != nil {
			return
		}
		endpoint := l.plan.choose(random)
		if free.Sub(due) > loadTimeout {
			l.record(drillSample{due: due, sent: free, done: free, lag: -1, why: drillStalled}, loadAnswer{})
			continue
		}
		if free = l.send(client, endpoint, i, due, free); free.IsZero() {
			return
		}
	}
}

// send sends one request that was due, when its client has been free since. It
// returns when it is free again, zero when the load was stopped.
func (l *drillLoad) send(client *loadClient, endpoint, user int, due, free time.Time) time.Time {
	client.strict = l.strict.Load()
	values := l.plan.values(user)
	s := drillSample{due: due, sent: time.Now(), seq: values.seq}
	if l.write != nil && endpoint == l.writeAt {
		s.values = &values
	} else if m := l.plan.endpoints[endpoint].method; m != "GET" && m != "HEAD" {
		s.other = true
	}
	answer := l.plan.sendAs(l.all, client, endpoint, values, s.sent.Add(loadTimeout))
	if l.all.Err() != nil {
		return time.Time{}
	}
	s.done = time.Now()
	s.lag = s.sent.Sub(due)
	if free.After(due) {
		s.lag = s.sent.Sub(free)
	}
	s.why, s.answered, s.instance = answer.why, answer.answered, answer.instance
	if s.why == "" && s.done.Sub(due) >= LoadLimit {
		s.why = loadSlow
	}
	l.record(s, answer)
	return s.done
}

func (l *drillLoad) record(s drillSample, a loadAnswer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a.announced {
		l.announced++
	}
	if a.dropped {
		l.dropped = append(l.dropped, s.due)
		return
	}
	l.samples = append(l.samples, s)
}

// crowd adds users without think time until stop is called, which waits for
// their answers.
func (l *drillLoad) crowd(n int) (stop func()) {
	waiting, end := context.WithCancel(l.waiting)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(l.seed, uint64(drillCrowd+i)))
			client := &loadClient{dialer: l.dialer}
			defer client.close()
			for waiting.Err() == nil {
				now := time.Now()
				done := l.send(client, l.plan.choose(random), drillCrowd+i, now, now)
				if done.IsZero() {
					return
				}
				if done.Sub(now) < time.Millisecond {
					// Refused at once: no user is that fast.
					_ = loadSleep(waiting, time.NewTimer(time.Hour), now.Add(20*time.Millisecond))
				}
			}
		})
	}
	return sync.OnceFunc(func() {
		end()
		wg.Wait()
	})
}

// settle waits until every request that was due before the moment is recorded.
func (l *drillLoad) settle(ctx context.Context, moment time.Time) error {
	timer := loadTimer()
	defer timer.Stop()
	for {
		behind := false
		for i := range l.passed {
			behind = behind || l.passed[i].Load() < int64(moment.Sub(l.started))
		}
		if !behind {
			return ctx.Err()
		}
		if err := loadSleep(ctx, timer, time.Now().Add(5*time.Millisecond)); err != nil {
			return err
		}
	}
}

// between are the requests that were due in the window.
func (l *drillLoad) between(from, to time.Time) []drillSample {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []drillSample
	for _, s := range l.samples {
		if !s.due.Before(from) && s.due.Before(to) {
			out = append(out, s)
		}
	}
	return out
}

// WriteCount says what became of the requests that store something.
type WriteCount struct {
	Declared     bool  `json:"declared"` // app.yaml says how writes are found again
	Other        int64 `json:"other"`    // requests that may have stored something that can't be found again
	Sent         int64 `json:"sent"`
	Acknowledged int64 `json:"acknowledged"`
	Found        int64 `json:"found"`   // of the acknowledged, stored once
	Missing      int64 `json:"missing"` // of the acknowledged, not stored
	Doubled      int64 `json:"doubled"` // stored more than once, acknowledged or not
}

func (w *WriteCount) add(o WriteCount) {
	w.Declared = w.Declared && o.Declared
	w.Other += o.Other
	w.Sent += o.Sent
	w.Acknowledged += o.Acknowledged
	w.Found += o.Found
	w.Missing += o.Missing
	w.Doubled += o.Doubled
}

// count looks for what the requests have stored. None of them is still under way.
func (l *drillLoad) count(ctx context.Context, samples []drillSample) (WriteCount, error) {
	sum := WriteCount{Declared: l.write != nil}
	byUser := map[int][]drillSample{}
	for _, s := range samples {
		if s.other {
			sum.Other++
		}
		if s.values != nil {
			byUser[s.values.user] = append(byUser[s.values.user], s)
		}
	}
	if len(byUser) == 0 {
		return sum, nil
	}
	client := &loadClient{dialer: l.dialer}
	defer client.close()
	for user, writes := range byUser {
		text, err := l.stored(ctx, client, user)
		if err != nil {
			return sum, err
		}
		for _, s := range writes {
			n := strings.Count(text, l.plan.expand(*s.values)(l.write.Holds))
			sum.Sent++
			// Also one that was answered too late was acknowledged.
			acknowledged := s.why == "" || s.why == loadSlow
			if acknowledged {
				sum.Acknowledged++
			}
			switch {
			case n > 1:
				sum.Doubled++
			case acknowledged && n == 1:
				sum.Found++
			case acknowledged:
				sum.Missing++
			}
		}
	}
	return sum, nil
}

// stored is what the service answers when it is asked for all that the user has
// written. It is asked again for a while when it does not answer.
func (l *drillLoad) stored(ctx context.Context, client *loadClient, user int) (string, error) {
	timer := loadTimer()
	defer timer.Stop()
	path := l.plan.expand(loadValues{user: user, now: time.Now()})(l.write.Read)
	e, err := newLoadEndpoint(environments.Endpoint{
		Name: "drill-read", Method: "GET", Path: path, Headers: l.write.Headers, Weight: 1, Expect: environments.Expect{Status: 200},
	}, l.dialer.host())
	if err != nil {
		return "", err
	}
	e.keep = true
	for try := 0; ; try++ {
		a := client.do(ctx, &e, loadWire(nil, e.method, e.head, ""), time.Now().Add(loadTimeout))
		if a.why == "" {
			return string(a.body), nil
		}
		if try == 10 {
			return "", &drillUnreadable{path, a.why}
		}
		if err := loadSleep(ctx, timer, time.Now().Add(200*time.Millisecond)); err != nil {
			return "", err
		}
	}
}

type drillUnreadable struct{ path, why string }

func (e *drillUnreadable) Error() string {
	return "what was written can't be read at " + e.path + ": " + e.why + "; see drills.write.read in app.yaml"
}

// LogCount compares an access log with the requests that were sent.
type LogCount struct {
	Sent    int64 `json:"sent"`    // requests that were answered
	Logged  int64 `json:"logged"`  // of those, with exactly one line
	Missing int64 `json:"missing"` // without a line
	Doubled int64 `json:"doubled"` // with several
}

// logged looks for the line of every request that was answered. The log may be a
// moment behind.
func (l *drillLoad) logged(ctx context.Context, log AccessLogger, samples []drillSample) (LogCount, error) {
	timer := loadTimer()
	defer timer.Stop()
	for until := time.Now().Add(5 * time.Second); ; {
		lines, err := log.Logged(ctx, l.plan.run)
		if err != nil {
			return LogCount{}, err
		}
		var c LogCount
		for _, s := range samples {
			if !s.answered {
				continue
			}
			c.Sent++
			switch n := lines[s.seq]; {
			case n == 0:
				c.Missing++
			case n > 1:
				c.Doubled++
			default:
				c.Logged++
			}
		}
		if c.Missing == 0 || time.Now().After(until) {
			return c, nil
		}
		if err := loadSleep(ctx, timer, time.Now().Add(100*time.Millisecond)); err != nil {
			return c, err
		}
	}
}
