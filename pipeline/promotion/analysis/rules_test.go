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
	tell(at float64, o Observation)
	// second ends the second t, with the ages of what is under way. The first thing
	// that is said counts.
	second(t int, oldest [2]float64) said
}

// ours is the policy's rule on this package's figures.
type ours struct {
	j     *Judge
	bound float64
	now   time.Time
}

// options are the defaults of thresholds.yaml, but for the clock.
func options() Options {
	return Options{Alpha: 0.01, ErrorMargin: 0.01, LatencyMargin: 0.1, BlockPairs: 100, BlockSeconds: 5, GroupSeconds: 0.5}
}

func newOurs() rule {
	o := options()
	r := &ours{bound: math.Log(Splits / o.Alpha), now: time.Unix(0, 0)}
	o.Now = func() time.Time { return r.now }
	r.j = New(o)
	return r
}

func (o *ours) tell(at float64, x Observation) {
	o.now = time.Unix(0, 0).Add(time.Duration(at * float64(time.Second)))
	o.j.Add(x)
}

// The thresholds' defaults, of the demands on what has no partner.
const (
	minErrors   = 5
	significant = 4
	minPaired   = 0.5
	maxUnpaired = 20
	maxOpen     = 10
	minVisitors = 50
	maxVisitor  = 0.1
)

func (o *ours) second(t int, oldest [2]float64) said {
	o.now = time.Unix(int64(t)+1, 0)
	j := o.j
	for _, a := range j.arms {
		if a.Visits > 0 && (a.Audience.Visitors < minVisitors || float64(a.Greatest) > maxVisitor*float64(a.Visits)) {
			return said{}
		}
	}
	if j.worseErrors.log() >= o.bound || j.worseLatency.log() >= o.bound || j.all.gross() || j.real.gross() {
		return said{bad: true, at: t + 1}
	}
	good := j.pairs >= 300 && j.within().log() >= o.bound && j.withinLatency.log() >= o.bound && j.withinTail.log() >= o.bound &&
		j.all.increase() <= j.opt.ErrorMargin && j.real.increase() <= j.opt.ErrorMargin &&
		j.all.paired(j.pairs) && j.real.paired(j.realPairs) && (oldest[1] <= maxOpen || oldest[0] > maxOpen)
	return said{good: good, at: t + 1}
}

func (t *totals) increase() float64 {
	return t.arms[1].failed()/math.Max(1, float64(t.arms[1].Requests)) - t.arms[0].failed()/math.Max(1, float64(t.arms[0].Requests))
}

func (t *totals) gross() bool {
	b, c := t.arms[0], t.arms[1]
	n, m := float64(b.Requests), float64(c.Requests)
	if n == 0 || m == 0 || c.failed() < minErrors || t.increase() <= options().ErrorMargin {
		return false
	}
	rate := (b.failed() + c.failed()) / (n + m)
	return t.increase()*t.increase() > significant*significant*rate*(1-rate)*(1/n+1/m)*t.overdispersion()
}

func (t *totals) paired(pairs int64) bool {
	n := max(t.arms[0].Requests, t.arms[1].Requests)
	return float64(n-pairs) <= max(maxUnpaired, (1-minPaired)*float64(n))
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

func (r *threshold) tell(_ float64, o Observation) {
	if o.Arm == Canary {
		r.now.tell(o)
	}
}

func (r *threshold) second(t int, _ [2]float64) said {
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

func (r *flagger) tell(_ float64, o Observation) {
	if o.Arm == Canary {
		r.now.tell(o)
	}
}

func (r *flagger) second(t int, _ [2]float64) said {
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

func (r *kayenta) tell(_ float64, o Observation) {
	if o.Arm == Canary {
		r.now[1].tell(o)
	} else {
		r.now[0].tell(o)
	}
}

func (r *kayenta) second(t int, _ [2]float64) said {
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
