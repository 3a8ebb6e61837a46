package checks

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"
)

// States of a step.
const (
	stepSustained = "sustained" // the service keeps up with the rate, with 95% confidence
	stepSaturated = "saturated" // it does not, with 95% confidence
	stepUnclear   = "unclear"
)

const (
	// loadMaxGrowth is by how much answers may get later each second in a step
	// that is sustained. Arrivals at rate λ to a service of capacity C < λ wait for
	// λ/C − 1 longer each second: so a sustained rate is at most 5% above capacity.
	loadMaxGrowth = 0.05
	// loadSuccess is the share of right answers below which a step is too much.
	loadSuccess = 0.99
	// gaugeEvery is the time between two readings.
	gaugeEvery = 250 * time.Millisecond
	// gaugePatience ends a reading that takes longer.
	gaugePatience = 2 * time.Second
)

// KneeStep is one rate of the search for the knee. Bounds are one-sided, 95%.
type KneeStep struct {
	Rate         float64        `json:"rate"` // requests due a second
	Seconds      float64        `json:"seconds"`
	Requests     int64          `json:"requests"`
	Succeeded    int64          `json:"succeeded"`
	Carried      float64        `json:"carried"` // right answers a second, while it lasted
	P95          float64        `json:"p95"`
	P95Lower     float64        `json:"p95_lower"`
	P95Upper     float64        `json:"p95_upper"`
	SuccessLower float64        `json:"success_lower"`
	SuccessUpper float64        `json:"success_upper"`
	Growth       float64        `json:"growth"` // seconds by which answers get later each second
	GrowthLower  float64        `json:"growth_lower"`
	GrowthUpper  float64        `json:"growth_upper"`
	State        string         `json:"state"` // sustained, saturated, unclear
	Why          string         `json:"why,omitempty"`
	Limit        string         `json:"limit,omitempty"` // of a saturated one
	Because      string         `json:"because,omitempty"`
	Usage        *Usage         `json:"usage,omitempty"`
	Generator    GeneratorFacts `json:"generator"`
}

// step runs one rate.
func (g *loadGenerator) step(ctx context.Context, n int, rate float64, clients []*loadClient) (KneeStep, []*loadClient, error) {
	reading, stop := context.WithCancel(ctx)
	defer stop()
	gauges := g.watch(reading)
	began := time.Now()
	var used *Usage
	var share float64
	meter := startLoadMeter()
	res, clients, err := g.open(ctx, loadArrivals{
		name: fmt.Sprintf("knee, step %d at %.0f/s,", n, rate), rate: rate, whole: g.opt.Scenario.Step.D(),
		stream: uint64(n) + 100, patience: LoadLimit,
	}, clients, func() {
		stop()
		share = meter.machine()
		used = usage(gauges(), time.Since(began).Seconds(), share)
	})
	if err != nil {
		return KneeStep{}, clients, err
	}
	s := loadStep(rate, res)
	s.Usage = used
	s.Generator = GeneratorFacts{
		CPUShare: res.cpu, Dropped: res.dropped,
		MaxLagSeconds: loadSeconds(res.lag.Max()), P99LagSeconds: loadSeconds(res.lag.ValueAtQuantile(99)),
	}
	if s.State == stepSaturated {
		s.Limit, s.Because = loadLimitOf(s.Generator, used)
	} else if res.dropped > 0 {
		s.State, s.Why = stepUnclear, loadUnsound(s.Generator, loadMaxLag)
	}
	return s, clients, nil
}

// watch reads the gauges, first before it returns, until ctx ends, and once
// more when its result is called. Without any it yields none.
func (g *loadGenerator) watch(ctx context.Context) func() []Gauges {
	if g.opt.Gauges == nil {
		return func() []Gauges { return nil }
	}
	var all []Gauges
	read := func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, gaugePatience)
		defer cancel()
		// A reading that fails is one less; what too few of them can't tell is said.
		if r, err := g.opt.Gauges(ctx); err == nil {
			all = append(all, r)
		}
	}
	read(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(gaugeEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				read(ctx)
			}
		}
	})
	return func() []Gauges {
		wg.Wait()
		read(context.WithoutCancel(ctx))
		return all
	}
}

// loadStep makes a step's figures and its state out of what came of it.
func loadStep(rate float64, res loadOpenResult) KneeStep {
	s := KneeStep{Rate: rate, Seconds: res.lasted.Seconds(), Requests: int64(len(res.samples))}
	h := loadHistogram()
	carried := 0
	for _, x := range res.samples {
		loadRecord(h, x.latency)
		if x.why == "" {
			s.Succeeded++
		}
		if (x.why == "" || x.why == loadSlow) && x.at+x.latency <= res.lasted {
			carried++
		}
	}
	s.Carried = float64(carried) / s.Seconds
	s.P95, s.P95Lower, s.P95Upper = loadSeconds(h.ValueAtQuantile(95)), loadOrderLower(h, 0.95), loadOrderUpper(h, 0.95)
	s.SuccessLower = loadSuccessLower(s.Succeeded, s.Requests)
	s.SuccessUpper = 1 - loadSuccessLower(s.Requests-s.Succeeded, s.Requests)
	trend, clear := loadGrowth(res.samples, res.lasted)
	s.Growth, s.GrowthLower, s.GrowthUpper = trend[0], trend[1], trend[2]

	limit := LoadLimit.Seconds()
	switch {
	case res.gaveUp:
		s.State, s.Why = stepSaturated, fmt.Sprintf("after %.1f s more requests waited than %.0f s bring", s.Seconds, limit)
	case s.Requests == 0:
		s.State, s.Why = stepUnclear, "no request was sent"
	case s.SuccessUpper < loadSuccess:
		s.State, s.Why = stepSaturated, fmt.Sprintf("%d of %d requests failed", s.Requests-s.Succeeded, s.Requests)
	case s.P95Lower >= limit:
		s.State, s.Why = stepSaturated, fmt.Sprintf("p95 is %.2f s", s.P95)
	case clear && s.GrowthLower > loadMaxGrowth:
		s.State, s.Why = stepSaturated, fmt.Sprintf("answers came %.0f ms later each second", s.Growth*1000)
	case !clear || s.GrowthUpper > loadMaxGrowth:
		s.State, s.Why = stepUnclear, fmt.Sprintf("answers may have come up to %.0f ms later each second", s.GrowthUpper*1000)
	case s.SuccessLower < loadSuccess && s.Succeeded < s.Requests:
		// Where none failed, few requests say little, and how many there were is
		// judged by the policy: low rates are tried to find the knee.
		s.State, s.Why = stepUnclear, fmt.Sprintf("success is only sure to be ≥ %.2f%% of %d requests", s.SuccessLower*100, s.Requests)
	case s.P95Upper >= limit:
		s.State, s.Why = stepUnclear, fmt.Sprintf("p95 is only sure to be ≤ %.2f s", s.P95Upper)
	default:
		s.State = stepSustained
	}
	return s
}

// loadBatches is how many batch means a step yields; 10 to 30 are enough to
// tell their spread (B. Schmeiser, Operations Research 30, 1982).
const loadBatches = 10

// loadGrowth is the slope of latency over time, in seconds each second, with
// its one-sided 95% bounds below and above: least squares through the medians
// of ten batches, so that one stall is no trend, with Student's t of their
// spread. It is not clear where not every batch has a request.
func loadGrowth(samples []loadSample, lasted time.Duration) (slope [3]float64, clear bool) {
	batches := make([][]float64, loadBatches)
	for _, s := range samples {
		i := int(min(max(float64(s.at)/float64(lasted), 0)*loadBatches, loadBatches-1))
		batches[i] = append(batches[i], s.latency.Seconds())
	}
	x, y := make([]float64, loadBatches), make([]float64, loadBatches)
	for i, b := range batches {
		if len(b) == 0 {
			return slope, false
		}
		slices.Sort(b)
		x[i] = (float64(i) + 0.5) * lasted.Seconds() / loadBatches
		y[i] = stat.Quantile(0.5, stat.Empirical, b, nil)
	}
	base, rise := stat.LinearRegression(x, y, nil, false)
	var residual, spread float64
	mean := stat.Mean(x, nil)
	for i := range x {
		off, from := y[i]-base-rise*x[i], x[i]-mean
		residual += off * off
		spread += from * from
	}
	const freedom = loadBatches - 2
	off := distuv.StudentsT{Sigma: 1, Nu: freedom}.Quantile(loadConfidence) * math.Sqrt(residual/freedom/spread)
	return [3]float64{rise, rise - off, rise + off}, true
}
