package analysis

import (
	"math"
	"slices"
)

// Figures are what is known so far. Every number is finite.
type Figures struct {
	// Sound: nothing was lost and nothing unbelievable was told; Faults say why not.
	Sound  bool     `json:"sound"`
	Faults []string `json:"faults"`
	Lost   int64    `json:"lost"`

	Alpha        float64 `json:"alpha"`
	BlockPairs   int     `json:"block_pairs"`
	BlockSeconds float64 `json:"block_seconds"`
	GroupSeconds float64 `json:"group_seconds"`

	Baseline Arm   `json:"baseline"`
	Canary   Arm   `json:"canary"`
	Pairs    int64 `json:"pairs"`  // a request of each arm, of one class and one time
	Blocks   int64 `json:"blocks"` // of pairs, that have bet

	// Real are people's requests by themselves, paired or not.
	Real Real `json:"real"`
	// Overdispersion: how many times more the arms' failures differ, block by
	// block, than they would if they came one by one.
	Overdispersion float64 `json:"overdispersion"`
	// Votes are what the e-values were made of.
	Votes Votes `json:"votes"`

	// Errors: the canary's error rate less the baseline's. Latency: the canary's
	// over the baseline's.
	Errors  Measure `json:"errors"`
	Latency Measure `json:"latency"`

	// Needed is how many pairs more it takes at the present rate until something
	// can be said; Foreseen: as far as one can tell.
	Needed   int64 `json:"needed"`
	Foreseen bool  `json:"foreseen"`
}

// Real are requests that were not gate's own.
type Real struct {
	Baseline       Count   `json:"baseline"`
	Canary         Count   `json:"canary"`
	Pairs          int64   `json:"pairs"`
	Overdispersion float64 `json:"overdispersion"`
}

// Votes are enough to compute every e-value again, where there are not more
// blocks than are told.
type Votes struct {
	// Blocks are the last 500.
	Blocks []Block `json:"blocks"`
	// Discordant pairs, by the arm that failed alone; Credited: what pairs counted
	// for the canary, of -1, 0 and 1.
	Discordant [2]int64 `json:"discordant"`
	Credited   [3]int64 `json:"credited"`
	// Bunched is what divides the gains of the bet on errors within the margin.
	Bunched float64 `json:"bunched"`
	// GrossErrors and GrossLatency: how many groups had each mean, of -1, -0.9 … 1.
	GrossErrors  []int64 `json:"gross_errors"`
	GrossLatency []int64 `json:"gross_latency"`
}

// Block is what the pairs of one block have voted.
type Block struct {
	Pairs    int           `json:"pairs"`
	Baseline int           `json:"baseline"` // pairs in which it alone failed
	Canary   int           `json:"canary"`
	Latency  *BlockLatency `json:"latency,omitempty"`
	Real     *float64      `json:"real,omitempty"` // z of people's requests that failed
}

// BlockLatency are its z of latencies: of all requests and of the slow ones, beyond the
// margin, and of the slow ones beyond five times the margin.
type BlockLatency struct {
	Shift    float64 `json:"shift"`
	Tail     float64 `json:"tail"`
	SlowTail float64 `json:"slow_tail"`
}

// Measure is the comparison of one thing.
type Measure struct {
	Margin float64 `json:"margin"`
	Slack  float64 `json:"slack"`
	// Worse speaks against "no worse" (of latency: by more than the margin), Within
	// against "worse by the margin or more".
	Worse  Proof `json:"worse"`
	Within Proof `json:"within"`
	// Estimate with the bounds of a confidence sequence of level 1-α, which hold at
	// all times together. They are 0 and 1e9 where latency has none yet.
	Estimate float64 `json:"estimate"`
	Low      float64 `json:"low"`
	High     float64 `json:"high"`
}

// Proof is what speaks against a hypothesis.
type Proof struct {
	E    float64 `json:"e"` // e-value, up to 1e12
	LogE float64 `json:"log_e"`
	// Needed pairs more, at the present rate, until E is 4/α.
	Needed   int64 `json:"needed"`
	Foreseen bool  `json:"foreseen"`
}

// Figures of what was added so far.
func (j *Judge) Figures() Figures {
	f := Figures{
		Faults: slices.Clone(j.faults), Lost: j.lost,
		Alpha: j.opt.Alpha, BlockPairs: j.opt.BlockPairs, BlockSeconds: j.opt.BlockSeconds, GroupSeconds: j.opt.GroupSeconds,
		Baseline: *j.arms[Baseline], Canary: *j.arms[Canary], Pairs: j.pairs, Blocks: j.blocks,
		Real:           Real{Baseline: j.real.arms[0], Canary: j.real.arms[1], Pairs: j.realPairs, Overdispersion: j.real.overdispersion()},
		Overdispersion: j.all.overdispersion(),
		Votes: Votes{
			Blocks: slices.Clone(j.history), Discordant: [2]int64{j.diff[0], j.diff[2]}, Credited: j.credits, Bunched: j.bunched(),
			GrossErrors: slices.Clone(j.gross[0].bets[:]), GrossLatency: slices.Clone(j.gross[1].bets[:]),
		},
	}
	if f.Votes.Blocks == nil {
		f.Votes.Blocks = []Block{}
	}
	if j.lost > 0 {
		f.Faults = append(f.Faults, "requests were lost before they could be compared")
	}
	if f.Faults == nil {
		f.Faults = []string{}
	}
	f.Sound = len(f.Faults) == 0
	f.Errors = Measure{
		Margin: j.opt.ErrorMargin, Worse: j.proof(j.worseErrors), Within: j.proof(j.within()),
	}
	if j.pairs > 0 {
		f.Errors.Estimate = float64(j.diff[2]-j.diff[0]) / float64(j.pairs)
	}
	f.Errors.Low, f.Errors.High = j.difference()
	f.Latency = Measure{
		Margin: j.opt.LatencyMargin, Slack: j.opt.LatencySlack, Worse: j.proof(j.worseLatency),
		Within: weaker(j.proof(j.withinLatency), j.proof(j.withinTail)),
	}
	f.Latency.Estimate, f.Latency.Low, f.Latency.High = j.ratio()

	// A pass takes both measures, a failure one. A lead that chance gives to the
	// other side must not make the way to a pass look shorter.
	e, l := f.Errors.Within, f.Latency.Within
	if f.Foreseen = e.Foreseen && l.Foreseen; f.Foreseen {
		f.Needed = max(e.Needed, l.Needed)
		return f
	}
	for _, p := range []Proof{f.Errors.Worse, f.Latency.Worse} {
		if p.Foreseen && (!f.Foreseen || p.Needed < f.Needed) {
			f.Needed, f.Foreseen = p.Needed, true
		}
	}
	return f
}

func (j *Judge) proof(s sum) Proof {
	log := s.log()
	p := Proof{LogE: log, E: min(math.Exp(min(log, 100)), greatestE)}
	p.Needed, p.Foreseen = s.needs(math.Log(Splits/j.opt.Alpha), j.pairs)
	return p
}

// weaker is what both prove: the lesser of each.
func weaker(a, b Proof) Proof {
	return Proof{
		E: min(a.E, b.E), LogE: min(a.LogE, b.LogE), Needed: max(a.Needed, b.Needed), Foreseen: a.Foreseen && b.Foreseen,
	}
}

// difference is a confidence sequence for the difference of the error rates:
// those that no bet on the pairs has refuted (Waudby-Smith and Ramdas).
func (j *Judge) difference() (low, high float64) {
	bound := math.Log(2 / j.opt.Alpha)
	refuted := func(d, side float64) bool {
		b := stakes(1/(1+side*d+1e-9), 0.05, 0.1, 0.2, 0.4, 0.8)
		for i, s := range b.shares {
			for k, n := range j.diff {
				b.logs[i] += float64(n) * math.Log1p(s*side*(float64(k-1)-d))
			}
		}
		return b.log() >= bound
	}
	search := func(side float64) float64 {
		in, out := side, -side // out on the far side may be refuted, in is not
		if !refuted(out+side*1e-6, side) {
			return out
		}
		for range 40 {
			if mid := (in + out) / 2; refuted(mid, side) {
				out = mid
			} else {
				in = mid
			}
		}
		return out
	}
	return search(1), search(-1)
}

// rung is one ratio of latencies, and what speaks against it.
type rung struct {
	ratio          float64
	total          float64
	above, beneath bets
}

func rungs() []rung {
	var out []rung
	for _, r := range []float64{
		0.1, 0.25, 0.5, 0.67, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 1, 1.025, 1.05, 1.075, 1.1, 1.125, 1.15, 1.2, 1.25, 1.3, 1.4, 1.5, 1.75, 2, 2.5, 3, 5, 10,
	} {
		out = append(out, rung{ratio: r, above: votes(), beneath: votes()})
	}
	return out
}

func (r *rung) vote(z float64) {
	r.total += z
	r.above.vote(z)
	r.beneath.vote(-z)
}

// unbounded is told for an upper bound that is not known.
const unbounded = 1e9

// ratio estimates by which ratio of latencies the blocks' votes are even, and
// its bounds are those ratios that they have refuted.
func (j *Judge) ratio() (estimate, low, high float64) {
	bound := math.Log(2 / j.opt.Alpha)
	high = unbounded
	for i, r := range j.grid {
		if r.above.log() >= bound {
			low = r.ratio
		}
		if r.beneath.log() >= bound {
			high = min(high, r.ratio)
		}
		if r.total > 0 {
			estimate = r.ratio
			if i+1 < len(j.grid) {
				if next := j.grid[i+1]; next.total <= 0 {
					estimate += (next.ratio - r.ratio) * r.total / (r.total - next.total)
				}
			}
		}
	}
	return estimate, low, high
}
