package promotion

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	coin "math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/promotion/analysis"
	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/policies"
)

// canary takes the release through the declared comparisons. ended: the promotion
// is over. The figures of what was beside it are returned, for the soak.
func (e *Engine) canary(ctx context.Context, t *Transition, rec *ReleaseRecord, rev target.Revision) (ended bool, stable *target.Arm, err error) {
	steps := rev.Environment.Promotion.Comparisons()
	t.Rounds = len(steps)
	cursor := int64(0) // of what was observed
	for i, c := range steps {
		t.Round, t.Weight = i+1, c.Weight
		if ended, stable, err = e.round(ctx, t, rec, rev, c, &cursor); ended || err != nil {
			return ended, nil, err
		}
	}
	t.Weight = 0
	return false, stable, nil
}

// round gives the release its share of the traffic, and compares it with what is
// stable until the policy can tell, or the declared limit has come.
func (e *Engine) round(ctx context.Context, t *Transition, rec *ReleaseRecord, rev target.Revision, c environments.Canary, cursor *int64) (ended bool, stable *target.Arm, err error) {
	if err := e.record(ctx, t, Canary, ""); err != nil {
		return false, nil, err
	}
	var before *target.Arm
	if c.Weight == environments.AllTraffic {
		// Nothing is beside it: it is compared with what was before it.
		arms, err := e.Target.Arms(ctx)
		if err != nil {
			return true, nil, e.withdraw(ctx, *t, Errored, CodeInternal, oneLine(err))
		}
		before = &arms.Stable
	}
	why, err := e.unlessStopped(ctx, func(ctx context.Context) error { return e.Target.StartCanary(ctx, t.Token, rev, c.Weight) })
	if why != "" {
		return true, nil, e.withdraw(ctx, *t, Aborted, CodeLocked, why)
	}
	if err != nil {
		state, code := broken(err)
		return true, nil, e.withdraw(ctx, *t, state, code, oneLine(err))
	}
	t.Synthetic = c.Synthetic > 0
	if err := e.record(ctx, t, Analyse, ""); err != nil {
		return false, nil, err
	}
	stop := e.synthesize(ctx, rec, c)
	defer stop()
	inputs := e.measure(ctx, rec, t.Round, t.From)
	defer inputs.stop()

	deadline := time.NewTimer(c.Limit.D())
	defer deadline.Stop()
	tick := time.NewTicker(e.Tick)
	defer tick.Stop()
	late := false
	// Each round is compared anew: what shows under more traffic only must not
	// have to make up for what went well before.
	judge, err := e.comparison(rec, t.Round)
	if err != nil {
		return true, nil, e.withdraw(ctx, *t, Errored, CodeInternal, oneLine(err))
	}
	for {
		select {
		case <-ctx.Done():
			return false, nil, ctx.Err()
		case <-deadline.C:
			late = true
		case <-tick.C:
		}
		if why := cmp.Or(e.stopAsked(ctx), e.holdAsked(ctx)); why != "" {
			return true, nil, e.withdraw(ctx, *t, Aborted, CodeLocked, why)
		}
		arms, err := e.Target.Arms(ctx)
		if err != nil {
			return true, nil, e.withdraw(ctx, *t, Errored, CodeInternal, oneLine(err))
		}
		known := Comparison{Arms: arms, Whole: before != nil, Inputs: inputs.latest()}
		if before != nil {
			known.Stable = *before
		} else if o, ok := e.Target.(target.Observer); ok {
			seen, next, lost, err := o.Observe(ctx, *cursor)
			if err != nil {
				return true, nil, e.withdraw(ctx, *t, Errored, CodeInternal, oneLine(err))
			}
			*cursor = next
			judge.Lost(lost)
			for _, x := range seen {
				judge.Add(analysis.Observation(x))
			}
			f := judge.Figures()
			known.Figures = &f
		}
		d, err := e.analyse(ctx, rec, t.Round, known)
		if err != nil {
			return true, nil, e.withdraw(ctx, *t, Errored, CodeInternal, oneLine(err))
		}
		verdict := d.Decision.Verdict
		// What was lost, or can't be judged now, can't be later.
		hopeless := verdict == policies.Error || known.Figures != nil && !known.Figures.Sound
		if !late && !hopeless && verdict != policies.Fail && !verdict.Promotes() {
			continue
		}
		// Traffic before paper: a canary that failed is gone before its decision
		// is written.
		if verdict == policies.Fail {
			t.Decision = d.Decision.ID
			err = e.withdraw(ctx, *t, RolledBack, CodeRolledBack, Unmet(d.Decision))
		}
		id, derr := e.Journal.Decision(ctx, d)
		if derr != nil {
			return true, nil, derr
		}
		t.Decision = id
		switch {
		case verdict == policies.Fail:
			return true, nil, err
		case verdict.Promotes():
			// What was as fresh and got as much is what it is compared with on: of
			// what is stable, little or nothing may have been left.
			beside := known.Stable
			if known.Baseline.Release != "" {
				beside = known.Baseline
			}
			return false, &beside, nil
		case verdict == policies.Inconclusive:
			why := Unmet(d.Decision)
			if !hopeless {
				why = fmt.Sprintf("after %s: %s", c.Limit, why)
			}
			return true, nil, e.withdraw(ctx, *t, Aborted, CodeInconclusive, why)
		default:
			return true, nil, e.withdraw(ctx, *t, Errored, CodeInternal, Unmet(d.Decision))
		}
	}
}

// comparison is what the round, from 1, of the canary is compared by.
func (e *Engine) comparison(rec *ReleaseRecord, round int) (*analysis.Judge, error) {
	if e.compare != nil {
		return analysis.New(analysis.Options{}), nil
	}
	r, j := e.inRound(rec, round)
	return j.Analysis(r, e.Environment)
}

// analyse asks the policy about the round, from 1, of the canary.
func (e *Engine) analyse(ctx context.Context, rec *ReleaseRecord, round int, c Comparison) (DecisionRecord, error) {
	if e.compare != nil {
		return e.compare(ctx, rec, round, c.Arms)
	}
	r, j := e.inRound(rec, round)
	return j.Compare(ctx, r, e.Environment, c)
}

// inRound are release and judge as if the round were all that is declared: each
// has its own demands, of the release's declarations and of the base's.
func (e *Engine) inRound(rec *ReleaseRecord, round int) (*ReleaseRecord, *Judge) {
	r, j := *rec, *e.Judge
	r.Declarations = inRound(rec.Declarations, e.Environment, round)
	if j.Base != nil {
		j.Base = inRound(j.Base, e.Environment, round)
	}
	j.rounds = max(1, len(rec.Revision(e.Environment).Environment.Promotion.Comparisons()))
	return &r, &j
}

// inRound are the declarations as if the environment declared the round alone.
func inRound(d *environments.Declarations, environment string, round int) *environments.Declarations {
	c := *d
	c.Environments = slices.Clone(d.Environments)
	for i, own := range c.Environments {
		steps := own.Promotion.Comparisons()
		if own.Name != environment || len(steps) == 0 {
			continue
		}
		one := *own
		one.Promotion.Canary, one.Promotion.Steps = &steps[min(max(round, 1), len(steps))-1], nil
		c.Environments[i] = &one
	}
	return &c
}

// soak watches the new release with all traffic on it and says why it must go
// back, or nil, and by which decision. Too few requests are no reason: the canary
// had enough.
func (e *Engine) soak(ctx context.Context, rec *ReleaseRecord, d time.Duration, baseline *target.Arm) (*withdrawal, *DecisionRecord, error) {
	back := func(state State, code int, why string) (*withdrawal, *DecisionRecord, error) {
		return &withdrawal{state: state, code: code, why: why}, nil, ctx.Err()
	}
	broke := func(err error) (*withdrawal, *DecisionRecord, error) {
		return back(Errored, CodeInternal, oneLine(err))
	}
	rounds := len(rec.Revision(e.Environment).Environment.Promotion.Comparisons())
	start, err := e.Target.Status(ctx)
	if err != nil {
		return broke(err)
	}
	end := time.NewTimer(d)
	defer end.Stop()
	tick := time.NewTicker(e.Tick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-end.C:
			return nil, nil, nil
		case <-tick.C:
		}
		if why := e.stopAsked(ctx); why != "" {
			return back(RolledBack, CodeRolledBack, why)
		}
		s, err := e.Target.Status(ctx)
		if err != nil {
			return broke(err)
		}
		if n := unasked(s) - unasked(start); n > 0 {
			return back(RolledBack, CodeRolledBack, fmt.Sprintf("%d of its instances ended unasked while it was watched", n))
		}
		if baseline == nil {
			continue
		}
		arms, err := e.Target.Arms(ctx)
		if err != nil {
			return broke(err)
		}
		dec, err := e.analyse(ctx, rec, rounds, Comparison{Whole: true, watched: true, Arms: target.Arms{Since: arms.Since, Stable: *baseline, Canary: arms.Stable}})
		if err != nil {
			return broke(err)
		}
		if dec.Decision.Verdict == policies.Fail {
			w, _, err := back(RolledBack, CodeRolledBack, Unmet(dec.Decision))
			return w, &dec, err
		}
	}
}

// unasked is how often instances of what is stable have ended unasked.
func unasked(s target.Status) (n int) {
	for _, in := range s.Instances {
		if in.Role == "stable" {
			n += in.Restarts
		}
	}
	return n
}

// synthesize sends declared safe requests to the arms that are compared, at the
// declared rate a second and arm, until the returned function is called, which
// waits.
func (e *Engine) synthesize(ctx context.Context, rec *ReleaseRecord, c environments.Canary) (stop func()) {
	rate, arms := c.Synthetic, []string{"baseline", "canary"}
	if c.Weight == environments.AllTraffic {
		arms = []string{"canary"}
	}
	p, ok := e.Target.(Prober)
	var safe []environments.Endpoint
	for _, ep := range rec.Declarations.App.Load.Endpoints {
		if ep.Safe {
			safe = append(safe, ep)
		}
	}
	if !ok || rate <= 0 || len(safe) == 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	run := "canary-" + rand.Text()[:8]
	// Requests go out on the schedule whether or not earlier ones have answered,
	// within a bound that a hung arm can't pass.
	slots := map[string]chan struct{}{}
	for _, arm := range arms {
		slots[arm] = make(chan struct{}, 4*rate)
	}
	wg.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			ask := filled(safe[n%len(safe)], run, n, e.Now())
			for _, arm := range drawn(arms) {
				select {
				case slots[arm] <- struct{}{}:
				default:
					continue
				}
				wg.Go(func() {
					defer func() { <-slots[arm] }()
					_ = p.Probe(ctx, arm, ask) // what came of it, the target has counted
				})
			}
		}
	})
	var once sync.Once
	return func() {
		once.Do(func() { cancel(); wg.Wait() })
	}
}

// drawn are the arms in an order that a coin decides: both get the same request,
// and who is second finds caches warm.
func drawn(arms []string) []string {
	out := slices.Clone(arms)
	if coin.IntN(2) == 0 {
		slices.Reverse(out)
	}
	return out
}

// filled is the request number n of a run. What it stores or asks for is known
// by the run's name, wherever the endpoint declares ${RUN}.
func filled(ep environments.Endpoint, run string, n int, now time.Time) environments.Endpoint {
	values := map[string]string{
		"USER": "0", "SEQ": strconv.Itoa(n), "RUN": run, "NOW": now.UTC().Format(time.RFC3339Nano),
	}
	headers := map[string]string{}
	for k, v := range ep.Headers {
		headers[k] = environments.Expand(v, values)
	}
	ep.Path, ep.Body, ep.Headers = environments.Expand(ep.Path, values), environments.Expand(ep.Body, values), headers
	ep.Expect.Body = environments.Expand(ep.Expect.Body, values)
	return ep
}
