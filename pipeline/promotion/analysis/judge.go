// Package analysis compares a canary with a baseline, request by request, and
// may be looked at after each of them: its e-values hold at every moment
// (docs/canary.md has the method and its sources). It tells figures. Policy
// judges them.
package analysis

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Arms of a comparison.
const (
	Baseline = "baseline"
	Canary   = "canary"
)

// Observation is one request that ended.
type Observation struct {
	Arm       string  // Baseline or Canary
	Class     string  // requests are compared within a class only: method and route
	Error     bool    // answered 5xx, or not answered
	Seconds   float64 // until it was answered
	Synthetic bool    // gate's own request
	GivenUp   bool    // the client left before an answer began
	Visitor   uint32  // who asked, where visitors are dealt out and not requests; 0: nobody is known
}

// Options say what is compared, and with what.
type Options struct {
	// Alpha bounds the share of comparisons that are wrong, all sides together.
	Alpha float64
	// ErrorMargin is the increase of the error rate that must be excluded: 0.01 is
	// a point.
	ErrorMargin float64
	// LatencyMargin is tolerated: 0.1 is 10% slower, and LatencySlack seconds more.
	LatencyMargin float64
	LatencySlack  float64
	// BlockPairs is the least of pairs, and BlockSeconds the least of time, that
	// bet together. Noise that lasts for less than a block averages out within it.
	BlockPairs   int
	BlockSeconds float64
	// GroupSeconds is the least time of the few pairs that bet on gross differences.
	GroupSeconds float64
	// Now is the clock of these; nil: blocks and groups are made by number alone.
	Now func() time.Time
}

// Splits of Alpha: a union bound over errors and latency, and over the sides
// "worse" and "within the margin".
const Splits = 4

const (
	classes    = 256    // beyond, requests are not paired
	greatest   = 20_000 // pairs that a block never exceeds, whatever the clock says
	kept       = 5      // requests of a class that wait for a partner beyond their block
	grossPairs = 10     // pairs that bet together where differences are gross, at least
	grossRate  = 0.1    // excess of errors that bets of few pairs are about
	grossRatio = 2      // slowdown that they are about
	tailShare  = 0.95   // requests above this quantile are the slow ones
	tailMargin = 5      // times the margin, by which the slow ones may be slower
	credit     = 2      // errors of the baseline alone that always count in a block
	told       = 500    // blocks that are told one by one, the last ones
	greatestE  = 1e12   // e-values are told up to here
	slowest    = 1e6    // seconds beyond which a latency is not believed
	limitOfZ   = 3      // standard errors that one block can show
)

// pair is one request of each arm.
type pair struct {
	baseline, canary Observation
}

type class struct {
	name      string
	synthetic bool
}

// waiting are requests without a partner yet; of one arm at a time.
type waiting struct {
	arm  string
	seen []Observation
}

// Arm counts the requests of one arm.
type Arm struct {
	Requests  int64 `json:"requests"`
	Synthetic int64 `json:"synthetic"`
	Errors    int64 `json:"errors"`
	GivenUp   int64 `json:"given_up"` // by clients, after longer than the tail of both arms
	Audience
}

// Judge compares two arms. It is not safe for concurrent use.
type Judge struct {
	opt    Options
	arms   map[string]*Arm
	who    map[string]guests
	faults []string
	lost   int64

	wait  map[class]*waiting
	block map[class][]pair
	begun time.Time
	size  int // pairs in block

	pairs, blocks int64
	diff          [3]int64 // pairs in which only the baseline failed, both or none, only the canary
	net, odd      int      // in block: pairs in which only the canary failed less those in which only the baseline did, and both
	gross         [2]group // errors, latency
	all, real     totals   // of requests, paired or not; real: without gate's own
	realPairs     int64
	usual         usual
	credits       [3]int64 // what pairs have counted for the canary, of -1, 0 and 1
	history       []Block
	// What errors of one arm alone add up to: the squares of blocks' differences,
	// and how many there were, which is the same where they come one by one.
	squares, single float64
	// e-processes
	worseErrors, worseLatency sum
	withinErrors              sum
	withinLatency, withinTail sum
	grid                      []rung
}

// New is a judge that has seen nothing. Options that nobody can judge by make
// its figures unsound.
func New(o Options) *Judge {
	j := &Judge{
		opt: o, arms: map[string]*Arm{Baseline: {}, Canary: {}}, who: map[string]guests{Baseline: {}, Canary: {}},
		wait: map[class]*waiting{}, block: map[class][]pair{}, grid: rungs(),
	}
	share := func(x float64) bool { return x >= 0 && x < 1 }
	if !share(o.Alpha) || o.Alpha == 0 || !share(o.ErrorMargin) || o.LatencyMargin < 0 || !(o.LatencyMargin <= 1000) ||
		o.LatencySlack < 0 || !(o.LatencySlack <= slowest) || o.BlockPairs < 1 || o.BlockPairs > greatest || !(o.BlockSeconds >= 0) || !(o.GroupSeconds >= 0) {
		j.fault("the options of the comparison make no sense")
		j.opt = Options{Alpha: 0.01, BlockPairs: 1}
	}
	// The bet is on long blocks and no difference, on what one need not wait for,
	// and on people's requests by themselves, of which many have no partner.
	j.worseErrors = sum{{weight: 0.4, bets: votes()}, {weight: 0.4, bets: stakes(1/(1+grossRate), 0.3, 0.6, 0.95)}, {weight: 0.2, bets: votes()}}
	j.worseLatency = sum{{weight: 0.5, bets: votes()}, {weight: 0.25, bets: votes()}, {weight: 0.25, bets: stakes(1, 0.3, 0.6, 0.95)}}
	j.withinErrors = sum{{weight: 1, bets: stakes(1/(1-j.opt.ErrorMargin), 0.05, 0.1, 0.2, 0.4, 0.7, 0.95)}}
	j.withinLatency, j.withinTail = sum{{weight: 1, bets: votes()}}, sum{{weight: 1, bets: votes()}}
	return j
}

func (j *Judge) fault(format string, args ...any) {
	if f := fmt.Sprintf(format, args...); len(j.faults) < 5 && !slices.Contains(j.faults, f) {
		j.faults = append(j.faults, f)
	}
}

// Lost says that n requests were not told. No comparison is sound after that.
func (j *Judge) Lost(n int64) {
	switch {
	case n < 0:
		j.fault("a negative number of requests was lost")
	case n > math.MaxInt64/2-j.lost:
		j.lost = math.MaxInt64 / 2
	default:
		j.lost += n
	}
}

// Add takes the next request, in the order in which they ended.
func (j *Judge) Add(o Observation) {
	a := j.arms[o.Arm]
	switch {
	case a == nil:
		j.fault("a request of an unknown arm")
		return
	case !(o.Seconds >= 0 && o.Seconds <= slowest):
		j.fault("a request that took no time that can be believed")
		return
	}
	a.Requests++
	if o.Error {
		a.Errors++
	}
	if o.Synthetic {
		a.Synthetic++
	}
	if o.GivenUp = o.GivenUp && !o.Error && j.usual.exceeded(o.Seconds); o.GivenUp {
		a.GivenUp++
	} else {
		j.usual.add(o.Seconds)
	}
	a.see(j.who[o.Arm], o.Visitor)
	j.all.add(o)
	if !o.Synthetic {
		j.real.add(o)
	}
	k := class{o.Class, o.Synthetic}
	w := j.wait[k]
	if w == nil {
		if len(j.wait) >= classes {
			return
		}
		w = &waiting{}
		j.wait[k] = w
	}
	if len(w.seen) == 0 || w.arm == o.Arm {
		w.arm, w.seen = o.Arm, append(w.seen, o)
		if len(w.seen) > j.opt.BlockPairs {
			w.seen = w.seen[1:] // what waited for so long is of another time
		}
		return
	}
	p := pair{baseline: w.seen[0], canary: o}
	if o.Arm == Baseline {
		p = pair{baseline: o, canary: w.seen[0]}
	}
	w.seen = w.seen[1:]
	j.pair(k, p)
}

func (j *Judge) pair(k class, p pair) {
	if j.size == 0 && j.opt.Now != nil {
		j.begun = j.opt.Now()
	}
	j.pairs++
	if !k.synthetic {
		j.realPairs++
	}
	x := 0
	if p.canary.Error {
		x++
	}
	if p.baseline.Error {
		x--
	}
	j.diff[x+1]++
	credit := j.credited(x)
	j.credits[credit+1]++
	j.withinErrors[0].bet(j.opt.ErrorMargin - float64(credit))
	if mean, full := j.gross[0].add(float64(x), &j.opt); full {
		j.worseErrors[1].bet(mean - grossRate)
	}
	if !p.canary.Error && !p.baseline.Error {
		if mean, full := j.gross[1].add(sign(p.canary.Seconds-grossRatio*p.baseline.Seconds-j.opt.LatencySlack), &j.opt); full {
			j.worseLatency[2].bet(mean)
		}
	}
	j.block[k] = append(j.block[k], p)
	j.size++
	if j.size < j.opt.BlockPairs {
		return
	}
	if j.opt.Now != nil && j.size < greatest && j.opt.Now().Sub(j.begun).Seconds() < j.opt.BlockSeconds {
		return
	}
	j.close()
}

// close bets with the block and begins the next one.
func (j *Judge) close() {
	j.blocks++
	b := Block{Pairs: j.size}
	plus, minus := 0, 0
	var strata []stratum
	for _, k := range slices.SortedFunc(keys(j.block), class.compare) {
		s := stratum{}
		for _, p := range j.block[k] {
			switch {
			case p.canary.Error && !p.baseline.Error:
				plus++
			case p.baseline.Error && !p.canary.Error:
				minus++
			}
			if !p.canary.Error && !p.baseline.Error {
				s.baseline, s.canary = append(s.baseline, p.baseline.Seconds), append(s.canary, p.canary.Seconds)
			}
		}
		if len(s.canary) > 0 {
			slices.Sort(s.baseline)
			slices.Sort(s.canary)
			strata = append(strata, s)
		}
		j.block[k] = j.block[k][:0]
	}
	b.Baseline, b.Canary = minus, plus
	if n := plus + minus; n > 0 {
		j.squares += float64((plus - minus) * (plus - minus))
		j.single += float64(n)
		j.worseErrors[0].vote(float64(plus-minus) / math.Sqrt(float64(n)))
	}
	if len(strata) > 0 {
		l := BlockLatency{
			Shift:    shift(strata, 1+j.opt.LatencyMargin, j.opt.LatencySlack),
			Tail:     tail(strata, 1+j.opt.LatencyMargin, j.opt.LatencySlack),
			SlowTail: tail(strata, 1+tailMargin*j.opt.LatencyMargin, j.opt.LatencySlack),
		}
		b.Latency = &l
		j.worseLatency[0].vote(l.Shift)
		j.withinLatency[0].vote(-l.Shift)
		j.worseLatency[1].vote(l.Tail)
		j.withinTail[0].vote(-l.SlowTail)
		for i := range j.grid {
			j.grid[i].vote(shift(strata, j.grid[i].ratio, 0))
		}
	}
	j.all.close()
	if z, ok := j.real.close(); ok {
		b.Real = &z
		j.worseErrors[2].vote(z)
	}
	// What is asked rarely finds its partner in another block. Of what is asked
	// often, that would only be of another time.
	for _, w := range j.wait {
		if n := len(w.seen); n > kept {
			w.seen = append(w.seen[:0], w.seen[n-kept:]...)
		}
	}
	j.size, j.net, j.odd = 0, 0, 0
	if j.history = append(j.history, b); len(j.history) > told {
		j.history = j.history[1:]
	}
}

// bunched says how many times more errors of one arm alone vary than they would if
// they came one by one.
func (j *Judge) bunched() float64 { return bunched(j.squares, j.single) }

// within is what speaks against more errors by the margin: pair by pair, and so
// too sure of itself where errors come in bunches, by as much as they do.
func (j *Judge) within() sum { return j.withinErrors.tempered(j.bunched()) }

// credited is x as it counts for the canary: when the baseline alone goes
// through a bad moment, that proves little about the canary. Counting less for
// it keeps the bet on the safe side.
func (j *Judge) credited(x int) int {
	if x == 0 {
		return 0
	}
	j.odd++
	if x < 0 && float64(j.net) <= -credit-math.Sqrt(float64(j.odd)) {
		return 0
	}
	j.net += x
	return x
}
