package analysis

import (
	"math"
	"time"

	"gonum.org/v1/gonum/floats"
)

// bets is a test martingale: a mixture, with equal weights, of players who each
// stake a fixed share of what they have. Where the null hypothesis holds their
// mean capital is never expected to grow, so that it ever reaches 1/α has a
// probability of at most α (Ville).
type bets struct {
	shares []float64
	logs   []float64 // of each player's capital
}

// stakes are players on outcomes of which the null says that their mean is at
// most 0; most is the share that can't lose everything.
func stakes(most float64, shares ...float64) bets {
	b := bets{logs: make([]float64, len(shares))}
	for _, s := range shares {
		b.shares = append(b.shares, s*most)
	}
	return b
}

// votes are players on blocks' z, of which the null says that they are
// symmetric around 0 or lower.
func votes() bets { return stakes(1, 0.2, 0.4, 0.8, 1.6, 3.2) }

func (b *bets) bet(x float64) {
	for i, s := range b.shares {
		b.logs[i] += math.Log1p(s * x)
	}
}

// vote bets tanh(share·z): odd, growing and within ±1, so that its mean is at
// most 0 under the null, and the best bet there is where z is normal.
func (b *bets) vote(z float64) {
	z = max(-limitOfZ, min(limitOfZ, z))
	for i, s := range b.shares {
		b.logs[i] += math.Ln2 - math.Log1p(math.Exp(-2*s*z)) // = log(1+tanh(s·z))
	}
}

// log is the logarithm of the mean capital.
func (b *bets) log() float64 {
	return floats.LogSumExp(b.logs) - math.Log(float64(len(b.logs)))
}

// sum is a weighted mean of e-processes, which is one again.
type sum []part

type part struct {
	weight float64
	bets
}

func (s sum) log() float64 {
	logs := make([]float64, len(s))
	for i := range s {
		logs[i] = s[i].log() + math.Log(s[i].weight)
	}
	return floats.LogSumExp(logs)
}

// tempered is the process with each player's gains to the power of 1/by.
func (s sum) tempered(by float64) sum {
	out := make(sum, len(s))
	for i, p := range s {
		logs := make([]float64, len(p.logs))
		for k, l := range p.logs {
			if logs[k] = l; l > 0 {
				logs[k] = l / by
			}
		}
		out[i] = part{p.weight, bets{p.shares, logs}}
	}
	return out
}

// needs is how many pairs more it takes until the logarithm reaches the given
// one, if each player goes on as over the first n pairs. ok: there is an end.
func (s sum) needs(to float64, n int64) (more int64, ok bool) {
	if s.log() >= to {
		return 0, true
	}
	if n == 0 {
		return 0, false
	}
	best := math.Inf(1)
	for _, p := range s {
		for _, l := range p.logs {
			if l <= 0 {
				continue
			}
			// This player alone must bring what all together have to be.
			lack := to - math.Log(p.weight/float64(len(p.logs))) - l
			best = min(best, max(0, lack)/l*float64(n))
		}
	}
	if best > furthest {
		return 0, false
	}
	return max(1, int64(math.Ceil(best))), true
}

// furthest is how many pairs a forecast may be about.
const furthest = 1e9

// group is the mean of a few pairs, of half a second or so: a moment in which one
// arm starts up, or collects garbage, has one bet.
type group struct {
	total float64
	n     int
	begun time.Time
	bets  [steps*2 + 1]int64 // how many there were of each mean
}

// steps are those in which a group's mean is counted, rounded down: what lies
// between speaks for the canary.
const steps = 10

func (g *group) add(x float64, o *Options) (mean float64, full bool) {
	if g.n == 0 && o.Now != nil {
		g.begun = o.Now()
	}
	g.total += x
	g.n++
	if g.n < grossPairs || o.Now != nil && o.Now().Sub(g.begun).Seconds() < o.GroupSeconds {
		return 0, false
	}
	step := math.Floor(steps*g.total/float64(g.n) + 1e-9)
	g.bets[int(step)+steps]++
	g.total, g.n = 0, 0
	return step / steps, true
}

func sign(x float64) float64 {
	switch {
	case x > 0:
		return 1
	case x < 0:
		return -1
	}
	return 0
}
