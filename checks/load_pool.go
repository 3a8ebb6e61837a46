package checks

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/HdrHistogram/hdrhistogram-go"
)

var errLoadNothing = errors.New("no payload to pool")

// loadPool adds up what can be added: requests, failures, histograms, restarts,
// time, the steps towards the knee. Success bounds, quantiles and their order-statistic bounds are computed
// anew from the sums. A bootstrap bound needs the seconds that a histogram no
// longer has, so the worst run's bound stays below which the pooled one can't
// fall: measuring again makes it no better. Timelines are the newest run's.
func loadPool(payloads [][]byte) ([]byte, error) {
	if len(payloads) == 0 {
		return nil, fmt.Errorf("pool load: %w", errLoadNothing)
	}
	var sum LoadPayload
	for i, raw := range payloads {
		var p LoadPayload
		if err := json.Unmarshal(raw, &p); err != nil {
			return nil, fmt.Errorf("pool load: run %d: %w", i+1, err)
		}
		if i == 0 {
			sum = p
			continue
		}
		if p.Users != sum.Users || p.ThinkSeconds != sum.ThinkSeconds {
			return nil, fmt.Errorf("pool load: run %d had %d users thinking %g s, those before %d thinking %g s: they don't measure the same thing",
				i+1, p.Users, p.ThinkSeconds, sum.Users, sum.ThinkSeconds)
		}
		if err := sum.Closed.add(p.Closed); err != nil {
			return nil, fmt.Errorf("pool load: closed phase of run %d: %w", i+1, err)
		}
		if err := sum.Open.add(p.Open); err != nil {
			return nil, fmt.Errorf("pool load: open phase of run %d: %w", i+1, err)
		}
		var err error
		if sum.ZeroThink, err = loadAddPhases(sum.ZeroThink, p.ZeroThink); err != nil {
			return nil, fmt.Errorf("pool load: phase without think time of run %d: %w", i+1, err)
		}
		if (sum.Knee == nil) != (p.Knee == nil) {
			return nil, fmt.Errorf("pool load: run %d and those before it don't measure the same thing: not all searched for the knee", i+1)
		}
		if sum.Knee != nil {
			sum.Knee = sum.Knee.add(p.Knee)
		}
		if sum.Early, err = loadAddEarly(sum.Early, p.Early); err != nil {
			return nil, fmt.Errorf("pool load: run %d: %w", i+1, err)
		}
		sum.Checkpoint = sum.Checkpoint.worse(p.Checkpoint)
		sum.Restarts = loadAddRestarts(sum.Restarts, p.Restarts)
		if math.Abs(p.LittleLaw-1) > math.Abs(sum.LittleLaw-1) {
			sum.LittleLaw = p.LittleLaw
		}
		sum.Generator.add(p.Generator)
		sum.Synthetic = sum.Synthetic || p.Synthetic
	}
	return json.Marshal(sum)
}

func (f *GeneratorFacts) add(g GeneratorFacts) {
	f.CPUShare = max(f.CPUShare, g.CPUShare)
	f.Dropped += g.Dropped
	f.MaxLagSeconds = max(f.MaxLagSeconds, g.MaxLagSeconds)
	f.P99LagSeconds = max(f.P99LagSeconds, g.P99LagSeconds)
}

// loadAddRestarts adds up what was counted. Where not all did, none were
// counted, unless there were some.
func loadAddRestarts(a, b *int) *int {
	switch {
	case a != nil && b != nil:
		n := *a + *b
		return &n
	case a != nil && *a > 0:
		return a
	case b != nil && *b > 0:
		return b
	}
	return nil
}

func loadAddEarly(a, b *LoadEarly) (*LoadEarly, error) {
	if (a == nil) != (b == nil) {
		return nil, errors.New("not all runs might stop early: they don't measure the same thing")
	}
	return a.worse(b), nil
}

func loadAddPhases(a, b *LoadPhase) (*LoadPhase, error) {
	if a == nil && b == nil {
		return nil, nil
	}
	if a == nil || b == nil {
		return nil, errors.New("not all runs have it: they don't measure the same thing")
	}
	return a, a.add(*b)
}

func (p *LoadPhase) add(q LoadPhase) error {
	if len(p.Endpoints) != len(q.Endpoints) {
		return fmt.Errorf("%d endpoints, before it had %d", len(q.Endpoints), len(p.Endpoints))
	}
	for i := range p.Endpoints {
		if err := p.Endpoints[i].add(q.Endpoints[i]); err != nil {
			return err
		}
	}
	if err := p.All.add(q.All); err != nil {
		return err
	}
	p.Seconds += q.Seconds
	if p.Seconds > 0 {
		p.Rate = float64(p.All.Requests) / p.Seconds
	}
	p.Timeline = q.Timeline
	return nil
}

func (f *EndpointFigure) add(g EndpointFigure) error {
	if f.Name != g.Name {
		return fmt.Errorf("endpoint %q stands where %q stood before", g.Name, f.Name)
	}
	both := loadHistogram()
	for _, one := range []*EndpointFigure{f, &g} {
		if one.Requests == 0 {
			continue
		}
		h, err := hdrhistogram.Decode([]byte(one.Histogram))
		if err != nil {
			return fmt.Errorf("histogram of %s: %w", one.Name, err)
		}
		if h.TotalCount() != one.Requests || both.Merge(h) > 0 {
			return fmt.Errorf("histogram of %s does not hold its %d requests", one.Name, one.Requests)
		}
	}
	worst95, worst99 := max(f.P95Upper, g.P95Upper), max(f.P99Upper, g.P99Upper)
	f.Requests += g.Requests
	f.Succeeded += g.Succeeded
	f.Failures = loadAddCounts(f.Failures, g.Failures)
	if f.Requests == 0 {
		return nil
	}
	if err := f.fill(both); err != nil {
		return err
	}
	f.P95Upper, f.P99Upper = max(f.P95Upper, worst95), max(f.P99Upper, worst99)
	return nil
}

// loadAddCounts adds b to a, which may be nil.
func loadAddCounts(a, b map[string]int) map[string]int {
	for k, n := range b {
		if a == nil {
			a = map[string]int{}
		}
		a[k] += n
	}
	return a
}
