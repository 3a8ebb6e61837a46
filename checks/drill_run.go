package checks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"time"

	"github.com/smartcloudops/gate/environments"
)

// DrillRun is one run of load, with drills as its phases. A drill disturbs the
// service in a window of its own and is measured by the requests that were due
// in it.
type DrillRun struct {
	in     Input
	load   *drillLoad
	drills environments.Drills
	names  []string // of the drills that share the run
	quiet  float64  // p95 before the first disturbance
	maxLag time.Duration
	astray string // why the environment is not as it was; empty: it is
}

// drillCheck makes a check of a drill.
func drillCheck(c Check, drill func(context.Context, *DrillRun) (Measurement, error)) Check {
	c.InEnv, c.Exclusive, c.Drill = true, true, drill
	c.Measure = func(ctx context.Context, in Input) (Measurement, error) {
		all, err := measureDrills(ctx, []Check{c}, in, time.Now)
		if err != nil {
			return Measurement{}, err
		}
		return all[0].Measurement, nil
	}
	return c
}

// drillParameters are what every drill's figures depend on.
func drillParameters(in Input) map[string]string {
	p := map[string]string{
		"clients":  fmt.Sprint(drillClients),
		"limit":    LoadLimit.String(),
		"timeout":  loadTimeout.String(),
		"previous": in.Previous,
	}
	if in.Declarations != nil && in.Declarations.App != nil {
		p["update"] = environments.Digest(in.Declarations.App.Update)
		p["drills"] = environments.Digest(in.Declarations.App.Drills)
		p["requests"] = environments.Digest(in.Declarations.App.Load.Endpoints)
	}
	if in.Environment != nil {
		p["instances"] = loadInstances(in.Environment)
		p["endpoints"] = loadAudience(in.Environment)
	}
	return p
}

func drillsOf(in Input) environments.Drills {
	if in.Declarations == nil || in.Declarations.App == nil {
		return environments.Drills{}.WithDefaults()
	}
	return in.Declarations.App.Drills.WithDefaults()
}

// TakeDrills measures the drills, in their order, as phases of one run of load.
// The error is the context's, or that the run could not be begun.
func TakeDrills(ctx context.Context, cs []Check, in Input, now func() time.Time) ([]Taken, error) {
	all, err := measureDrills(ctx, cs, in, now)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return all, err
}

func measureDrills(ctx context.Context, cs []Check, in Input, now func() time.Time) ([]Taken, error) {
	return measureDrillsIn(ctx, cs, in, now, loadMaxLag)
}

func measureDrillsIn(ctx context.Context, cs []Check, in Input, now func() time.Time, maxLag time.Duration) ([]Taken, error) {
	taken := make([]Taken, len(cs))
	why := loadMissing(in)
	switch {
	case why != "":
	case in.Release == "":
		why = "no release is named"
	case in.Previous == "":
		why = "what the release replaces is not named; the first release replaces itself"
	case in.Declarations.App.Update.Rate < 1:
		why = fmt.Sprintf("app.yaml declares an update rate of %d requests a second", in.Declarations.App.Update.Rate)
	}
	if why != "" {
		for i := range taken {
			at := now().UTC()
			taken[i] = Taken{Measurement{Status: Unavailable, Reason: why}, at, at}
		}
		return taken, nil
	}
	load, err := newDrillLoad(in)
	if err != nil {
		return nil, err
	}
	r := &DrillRun{in: in, load: load, drills: drillsOf(in), maxLag: maxLag}
	for _, c := range cs {
		r.names = append(r.names, c.Name)
	}
	load.start(ctx)
	defer load.finish()
	for i, c := range cs {
		taken[i].Started = now().UTC()
		if r.astray != "" {
			taken[i].Measurement = Measurement{Status: Unavailable, Reason: r.astray}
		} else {
			taken[i].Measurement, err = r.one(ctx, c)
			if ctx.Err() != nil {
				return nil, errors.Join(ctx.Err(), err)
			}
			if err == nil {
				err = taken[i].Status.Valid()
			}
			if err != nil {
				taken[i].Measurement = Measurement{Status: Errored, Reason: err.Error()}
			}
		}
		taken[i].Finished = now().UTC()
		load.strict.Store(true)
	}
	return taken, nil
}

// one makes an error of a drill's panic.
func (r *DrillRun) one(ctx context.Context, c Check) (m Measurement, err error) {
	defer func() {
		if p := recover(); p != nil {
			r.astray = fmt.Sprintf("the drill %s before it broke down", c.Name)
			m, err = Measurement{}, fmt.Errorf("check %s panicked: %v\n%.1000s", c.Name, p, debug.Stack())
		}
	}()
	return c.Drill(ctx, r)
}

// wait lets load go on for a while.
func (r *DrillRun) wait(ctx context.Context, d time.Duration) error {
	timer := loadTimer()
	defer timer.Stop()
	return loadSleep(ctx, timer, time.Now().Add(d))
}

// lead is load with nothing else, after which the quiet p95 of the run is known.
func (r *DrillRun) lead(ctx context.Context) error {
	from := time.Now()
	if err := r.wait(ctx, r.drills.Lead.D()); err != nil {
		return err
	}
	if r.quiet == 0 {
		latencies := loadHistogram()
		for _, s := range r.load.between(from, time.Now()) {
			loadRecord(latencies, s.done.Sub(s.due))
		}
		r.quiet = loadSeconds(latencies.ValueAtQuantile(95))
	}
	return nil
}

// window is the part of the run that one drill is measured by.
type window struct {
	run      *DrillRun
	from, to time.Time
	meter    loadMeter
	cpu      float64
	samples  []drillSample
}

func (r *DrillRun) open() *window {
	return &window{run: r, from: time.Now(), meter: startLoadMeter()}
}

// close waits for the answers that are due.
func (w *window) close(ctx context.Context) error {
	w.to = time.Now()
	w.cpu = w.meter.share()
	err := w.run.load.settle(ctx, w.to)
	w.samples = w.run.load.between(w.from, w.to)
	return err
}

// DrillFigures are what the clients saw in the window of one drill. Each request
// that was due in it is counted once.
type DrillFigures struct {
	Drills      []string       `json:"drills"` // that shared the run of load
	Rate        float64        `json:"rate"`
	Seconds     float64        `json:"seconds"`
	Requests    int64          `json:"requests"`
	Failed      int64          `json:"failed"`
	Failures    map[string]int `json:"failures,omitempty"`
	PerInstance map[string]int `json:"per_instance"` // requests by instance, from X-Gate-Instance
	QuietP95    float64        `json:"quiet_p95"`    // before anything was disturbed
	P95         float64        `json:"p95"`
	P99         float64        `json:"p99"`
	Generator   GeneratorFacts `json:"generator"`
}

func (w *window) figures() DrillFigures {
	f := DrillFigures{
		Drills: w.run.names, Seconds: w.to.Sub(w.from).Seconds(), Requests: int64(len(w.samples)),
		PerInstance: map[string]int{}, QuietP95: w.run.quiet,
	}
	latencies, lag := loadHistogram(), loadHistogram()
	for _, s := range w.samples {
		loadRecord(latencies, s.done.Sub(s.due))
		if s.lag >= 0 {
			loadRecord(lag, s.lag)
		}
		if s.instance != "" {
			f.PerInstance[s.instance]++
		}
		if s.why != "" {
			f.Failed++
			f.Failures = loadAddCounts(f.Failures, map[string]int{s.why: 1})
		}
	}
	f.P95, f.P99 = loadSeconds(latencies.ValueAtQuantile(95)), loadSeconds(latencies.ValueAtQuantile(99))
	if f.Seconds > 0 {
		f.Rate = float64(f.Requests) / f.Seconds
	}
	f.Generator = GeneratorFacts{CPUShare: w.cpu, MaxLagSeconds: loadSeconds(lag.Max()), P99LagSeconds: loadSeconds(lag.ValueAtQuantile(99))}
	w.run.load.mu.Lock()
	defer w.run.load.mu.Unlock()
	for _, due := range w.run.load.dropped {
		if !due.Before(w.from) && due.Before(w.to) {
			f.Generator.Dropped++
		}
	}
	return f
}

// sound is Completed, or Invalid where the meter was not. Requests that were
// refused, cut off or answered wrongly are no fault of the meter.
func (w *window) sound(f DrillFigures, m Measurement) Measurement {
	m.Status, m.Tools = Completed, loadTools()
	if why := loadUnsound(f.Generator, w.run.maxLag); why != "" && f.Failed == int64(f.Failures[loadSlow]) {
		m.Status, m.Reason = Invalid, why+"; run it again on a machine with less to do"
	}
	return m
}

// add pools another run: counts add up, of the rest the worst stays. The lowest
// quiet latency is the worst: what was slow before hides what a drill does.
func (f *DrillFigures) add(o DrillFigures) {
	for _, n := range o.Drills {
		if !slices.Contains(f.Drills, n) {
			f.Drills = append(f.Drills, n)
		}
	}
	f.Rate = min(f.Rate, o.Rate)
	f.Seconds += o.Seconds
	f.Requests += o.Requests
	f.Failed += o.Failed
	f.Failures = loadAddCounts(f.Failures, o.Failures)
	f.PerInstance = loadAddCounts(maps.Clone(f.PerInstance), o.PerInstance)
	f.QuietP95 = min(f.QuietP95, o.QuietP95)
	f.P95, f.P99 = max(f.P95, o.P95), max(f.P99, o.P99)
	f.Generator.add(o.Generator)
}
