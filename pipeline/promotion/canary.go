package promotion

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/promotion/analysis"
	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/policies"
)

// canary starts one instance and compares it with the stable ones until the
// policy can tell, or the declared limit has come. ended: the promotion is over.
// The stable arm's figures are returned as what the soak is compared with.
func (e *Engine) canary(ctx context.Context, t *Transition, rec *ReleaseRecord, rev target.Revision) (ended bool, stable *target.Arm, err error) {
	c := rev.Environment.Promotion.Canary
	if err := e.record(ctx, t, Canary, ""); err != nil {
		return false, nil, err
	}
	if err := e.Target.StartCanary(ctx, t.Token, rev, c.Weight); err != nil {
		state, code := broken(err)
		return true, nil, e.withdraw(ctx, *t, state, code, oneLine(err))
	}
	t.Synthetic = c.Synthetic > 0
	if err := e.record(ctx, t, Analyse, ""); err != nil {
		return false, nil, err
	}
	stop := e.synthesize(ctx, rec, c.Synthetic)
	defer stop()

	deadline := time.NewTimer(c.Limit.D())
	defer deadline.Stop()
	tick := time.NewTicker(e.Tick)
	defer tick.Stop()
	late := false
	judge, err := e.Judge.Analysis(rec, e.Environment)
	if err != nil {
		return true, nil, e.withdraw(ctx, *t, Errored, CodeInternal, oneLine(err))
	}
	cursor := int64(0)
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
		known := Comparison{Arms: arms}
		if o, ok := e.Target.(target.Observer); ok {
			seen, next, lost, err := o.Observe(ctx, cursor)
			if err != nil {
				return true, nil, e.withdraw(ctx, *t, Errored, CodeInternal, oneLine(err))
			}
			cursor = next
			judge.Lost(lost)
			for _, x := range seen {
				judge.Add(analysis.Observation(x))
			}
			f := judge.Figures()
			known.Figures = &f
		}
		d, err := e.Judge.Compare(ctx, rec, e.Environment, known)
		if err != nil {
			return true, nil, e.withdraw(ctx, *t, Errored, CodeInternal, oneLine(err))
		}
		verdict := d.Decision.Verdict
		if !late && verdict != policies.Fail && !verdict.Promotes() {
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
			return false, &arms.Stable, nil
		case verdict == policies.Inconclusive:
			return true, nil, e.withdraw(ctx, *t, Aborted, CodeInconclusive, fmt.Sprintf("after %s: %s", c.Limit, Unmet(d.Decision)))
		default:
			return true, nil, e.withdraw(ctx, *t, Errored, CodeInternal, Unmet(d.Decision))
		}
	}
}

// soak watches the new release with all traffic on it and says why it must go
// back, or "". Too few requests are no reason: the canary had enough.
func (e *Engine) soak(ctx context.Context, rec *ReleaseRecord, d time.Duration, baseline *target.Arm) (string, error) {
	start, err := e.Target.Status(ctx)
	if err != nil {
		return oneLine(err), nil
	}
	end := time.NewTimer(d)
	defer end.Stop()
	tick := time.NewTicker(e.Tick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-end.C:
			return "", nil
		case <-tick.C:
		}
		if why := e.stopAsked(ctx); why != "" {
			return why, nil
		}
		s, err := e.Target.Status(ctx)
		if err != nil {
			return oneLine(err), nil
		}
		if n := s.Restarts - start.Restarts; n > 0 {
			return fmt.Sprintf("%d of its instances ended unasked while it was watched", n), nil
		}
		if baseline == nil {
			continue
		}
		arms, err := e.Target.Arms(ctx)
		if err != nil {
			return oneLine(err), nil
		}
		dec, err := e.Judge.Compare(ctx, rec, e.Environment, Comparison{Whole: true, Arms: target.Arms{Since: arms.Since, Stable: *baseline, Canary: arms.Stable}})
		if err != nil {
			return oneLine(err), nil
		}
		if dec.Decision.Verdict == policies.Fail {
			return Unmet(dec.Decision), nil
		}
	}
}

// synthesize sends declared safe requests to both arms at the given rate a
// second and arm, until the returned function is called, which waits.
func (e *Engine) synthesize(ctx context.Context, rec *ReleaseRecord, rate int) (stop func()) {
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
	for _, arm := range []string{"stable", "canary"} {
		wg.Go(func() {
			tick := time.NewTicker(time.Second / time.Duration(rate))
			defer tick.Stop()
			// Requests go out on the schedule whether or not earlier ones have
			// answered, within a bound that a hung arm can't pass.
			slots := make(chan struct{}, 4*rate)
			for n := 0; ; n++ {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				select {
				case slots <- struct{}{}:
				default:
					continue
				}
				ep := safe[n%len(safe)]
				wg.Go(func() {
					defer func() { <-slots }()
					// What came of it, the balancer has counted.
					_ = probe(ctx, p, arm, ep, run, n, e.Now())
				})
			}
		})
	}
	var once sync.Once
	return func() {
		once.Do(func() { cancel(); wg.Wait() })
	}
}

func probe(ctx context.Context, p Prober, arm string, ep environments.Endpoint, run string, n int, now time.Time) error {
	values := map[string]string{
		"USER": "0", "SEQ": strconv.Itoa(n), "RUN": run, "NOW": now.UTC().Format(time.RFC3339Nano),
	}
	headers := map[string]string{}
	for k, v := range ep.Headers {
		headers[k] = environments.Expand(v, values)
	}
	return p.Probe(ctx, arm, ep.Method, environments.Expand(ep.Path, values), environments.Expand(ep.Body, values), headers)
}
