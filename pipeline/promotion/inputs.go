package promotion

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/policies"
)

// Input is what a declared input of a canary came to. Only policy judges it.
type Input struct {
	Name     string    `json:"name"`
	Kind     string    `json:"kind"`
	Known    bool      `json:"known"`
	Reason   string    `json:"reason"` // why it is not
	Value    float64   `json:"value"`
	Baseline *float64  `json:"baseline,omitempty"` // the same of the baseline, where it is compared with that
	At       time.Time `json:"at"`                 // when it began to be measured
}

// Names of inputs, and their kinds. Of some there are several, by their own names.
const (
	kindSaturation = "saturation"
	kindErrorLogs  = "error_logs"
	kindPrometheus = "prometheus"
	kindCommand    = "command"

	inputCPU    = kindSaturation + ".cpu"
	inputMemory = kindSaturation + ".memory"
)

// inputsEvery is between two measurements of an input.
const inputsEvery = 3 * time.Second

// inputs are those by which a canary of the release is judged: the base's, where
// there is one, since a change must not decide what is looked at.
func (j *Judge) inputs(r *ReleaseRecord, environment string) *environments.Canary {
	d := r.Declarations
	if j.Base != nil {
		d = j.Base
	}
	e := d.Environment(environment)
	if e == nil || e.Promotion.Canary == nil || e.Promotion.Canary.Inputs == nil {
		return nil
	}
	return e.Promotion.Canary
}

// bounds are what the policy wants of the inputs, by name.
func bounds(c *environments.Canary) map[string]policies.Bound {
	if c == nil {
		return nil
	}
	out := map[string]policies.Bound{}
	beside := func(name, kind string, ratio, slack float64) {
		if ratio > 0 {
			out[name] = policies.Bound{Kind: kind, Ratio: &ratio, Slack: slack}
		}
	}
	if s := c.Inputs.Saturation; s != nil {
		beside(inputCPU, kindSaturation, s.MaxCPURatio, environments.CPUSlack)
		beside(inputMemory, kindSaturation, s.MaxMemoryRatio, environments.MemorySlack)
	}
	if l := c.Inputs.ErrorLogs; l != nil {
		beside(kindErrorLogs, kindErrorLogs, l.MaxRatio, l.Lines())
	}
	for _, q := range c.Inputs.Prometheus {
		out[kindPrometheus+"."+q.Name] = policies.Bound{Kind: kindPrometheus, Max: q.Max, Min: q.Min}
	}
	for _, m := range c.Inputs.Command {
		b := policies.Bound{Kind: kindCommand, Max: m.Max, Min: m.Min}
		if !printed(m) {
			b.Max = new(float64) // of its exit status
		}
		out[kindCommand+"."+m.Name] = b
	}
	return out
}

// measuring are the inputs of one round while they are measured, each by itself
// and beside the comparison, which never waits for one.
type measuring struct {
	mu    sync.Mutex
	known map[string]Input
	stop  func() // ends what is measured, and waits for that
}

// latest are the inputs that were measured at all, as they were last.
func (m *measuring) latest() []Input {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Input
	for _, name := range slices.Sorted(maps.Keys(m.known)) {
		out = append(out, m.known[name])
	}
	return out
}

// measure begins to measure what is declared for the round, from 1, until stop.
func (e *Engine) measure(ctx context.Context, rec *ReleaseRecord, round int, stable string) *measuring {
	m := &measuring{known: map[string]Input{}, stop: func() {}}
	if e.compare != nil {
		return m
	}
	r, j := e.inRound(rec, round)
	c := j.inputs(r, e.Environment)
	if c == nil {
		return m
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	every := e.inputsEvery
	if every == 0 {
		every = inputsEvery
	}
	repeat := func(timeout environments.Duration, measure func(ctx context.Context) []Input) {
		if timeout == 0 {
			timeout = environments.DefaultInputTimeout
		}
		wg.Go(func() {
			for {
				begun := e.Now().UTC()
				limited, done := context.WithTimeout(ctx, timeout.D())
				got := measure(limited)
				done()
				if ctx.Err() != nil {
					return
				}
				m.mu.Lock()
				for _, in := range got {
					in.At = begun
					m.known[in.Name] = in
				}
				m.mu.Unlock()
				select {
				case <-ctx.Done():
					return
				case <-time.After(every):
				}
			}
		})
	}
	values := map[string]string{"RELEASE": rec.Release, "STABLE": stable, "ENVIRONMENT": e.Environment}
	if c.Inputs.Saturation != nil || c.Inputs.ErrorLogs != nil {
		i := &inspection{target: e.Target, least: int64(c.MinSamples), window: 2 * every, want: bounds(c)}
		repeat(0, i.measure)
	}
	for _, q := range c.Inputs.Prometheus {
		repeat(q.Timeout, func(ctx context.Context) []Input { return []Input{queried(ctx, q, values, e.Now())} })
	}
	for _, p := range c.Inputs.Command {
		repeat(p.Timeout, func(ctx context.Context) []Input { return []Input{ran(ctx, p, values)} })
	}
	m.stop = func() { cancel(); wg.Wait() }
	return m
}

// unknown is an input that can't be told.
func unknown(name, kind, why string) Input { return Input{Name: name, Kind: kind, Reason: why} }

// number is an input that came to v.
func number(name, kind string, v float64) Input {
	if !(v >= -greatestInput && v <= greatestInput) {
		return unknown(name, kind, "it is not a number that can be believed")
	}
	return Input{Name: name, Kind: kind, Known: true, Value: v}
}

// greatestInput is beyond what the policies believe.
const greatestInput = 1e12
