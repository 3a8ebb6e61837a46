package analysis

import (
	"math"
	"slices"
	"time"
)

// said is what a rule has said in the end, and when.
type said struct {
	bad, good bool
	at        int // seconds
}

// rule is one of the ways to judge a canary that are compared.
type rule interface {
	tell(o Observation)
	// second ends the second t. The first thing that is said counts.
	second(t int) said
}

// ours is the policy's rule on this package's figures.
type ours struct {
	j     *Judge
	bound float64
	now   time.Time
}

// options are the defaults of thresholds.yaml, but for the clock.
func options() Options {
	return Options{Alpha: 0.01, ErrorMargin: 0.01, LatencyMargin: 0.1, BlockPairs: 100, BlockSeconds: 5}
}

func newOurs() rule {
	o := options()
	r := &ours{bound: math.Log(Splits / o.Alpha), now: time.Unix(0, 0)}
	o.Now = func() time.Time { return r.now }
	r.j = New(o)
	return r
}

func (o *ours) tell(x Observation) { o.j.Add(x) }

func (o *ours) second(t int) said {
	o.now = time.Unix(int64(t)+1, 0)
	switch {
	case o.j.worseErrors.log() >= o.bound || o.j.worseLatency.log() >= o.bound:
		return said{bad: true, at: t + 1}
	case o.j.pairs >= 300 && o.j.within().log() >= o.bound && o.j.withinLatency.log() >= o.bound && o.j.withinTail.log() >= o.bound:
		return said{good: true, at: t + 1}
	}
	return said{}
}

// minute are one minute's figures of an arm.
type minute struct {
	errors    float64
	latencies []float64
}

func (m *minute) tell(o Observation) {
	if o.Error {
		m.errors++
	}
	m.latencies = append(m.latencies, o.Seconds)
}

func (m *minute) rate() float64 { return m.errors / math.Max(1, float64(len(m.latencies))) }

func (m *minute) p99() float64 {
	slices.Sort(m.latencies)
	return m.latencies[len(m.latencies)*99/100]
}

func (m *minute) mean() float64 {
	sum := 0.0
	for _, x := range m.latencies {
		sum += x
	}
	return sum / math.Max(1, float64(len(m.latencies)))
}

// bound of what is called bad by rules that look at the canary alone: those of
// Flagger's documentation.
const (
	badErrors = 0.01
	badP99    = 0.5
)

// threshold is an alert: two bad minutes running.
type threshold struct {
	now  minute
	runs int
}

func (r *threshold) tell(o Observation) {
	if o.Arm == Canary {
		r.now.tell(o)
	}
}

func (r *threshold) second(t int) said {
	if (t+1)%60 != 0 {
		return said{}
	}
	if r.now.rate() > badErrors || r.now.p99() > badP99 {
		r.runs++
	} else {
		r.runs = 0
	}
	r.now = minute{}
	if r.runs == 2 {
		return said{bad: true, at: t + 1}
	}
	return said{good: t+1 == seconds, at: t + 1}
}

// flagger is its documented example: an interval of a minute, success rate ≥ 99%,
// p99 ≤ 500 ms, rolled back at the fifth failed check.
type flagger struct {
	now    minute
	failed int
}

func (r *flagger) tell(o Observation) {
	if o.Arm == Canary {
		r.now.tell(o)
	}
}

func (r *flagger) second(t int) said {
	if (t+1)%60 != 0 {
		return said{}
	}
	if r.now.rate() > badErrors || r.now.p99() > badP99 {
		r.failed++
	}
	r.now = minute{}
	if r.failed == 5 {
		return said{bad: true, at: t + 1}
	}
	return said{good: t+1 == seconds, at: t + 1}
}

// kayenta is its judge NetflixACAJudge-v1.0: Mann and Whitney's test at 98% of ten
// minutes' error rates and mean latencies of both arms, once, at the end.
type kayenta struct {
	now             [2]minute
	errors, latency [2][]float64
}

func (r *kayenta) tell(o Observation) {
	if o.Arm == Canary {
		r.now[1].tell(o)
	} else {
		r.now[0].tell(o)
	}
}

func (r *kayenta) second(t int) said {
	if (t+1)%60 != 0 {
		return said{}
	}
	for i := range r.now {
		r.errors[i] = append(r.errors[i], r.now[i].rate())
		r.latency[i] = append(r.latency[i], r.now[i].mean())
		r.now[i] = minute{}
	}
	if t+1 < seconds {
		return said{}
	}
	bad := higher(r.errors) || higher(r.latency)
	return said{bad: bad, good: !bad, at: t + 1}
}

// higher says whether the second sample is, by Mann and Whitney's test, normal
// approximation with ties and continuity, two-sided at 2%.
func higher(x [2][]float64) bool {
	n := float64(len(x[0]))
	u := 0.0
	ties := map[float64]float64{}
	for _, c := range x[1] {
		for _, b := range x[0] {
			u += (sign(c-b) + 1) / 2
		}
	}
	for _, v := range slices.Concat(x[0], x[1]) {
		ties[v]++
	}
	tied := 0.0
	for _, k := range ties {
		tied += k*k*k - k
	}
	sd := math.Sqrt(n * n / 12 * (2*n + 1 - tied/(2*n*(2*n-1))))
	return sd > 0 && (u-n*n/2-0.5)/sd > 2.326
}
