package analysis

import (
	"math"
	"slices"
)

// Count are requests of one arm.
type Count struct {
	Requests int64 `json:"requests"`
	Errors   int64 `json:"errors"`
	GivenUp  int64 `json:"given_up"`
}

func (c *Count) add(o Observation) {
	c.Requests++
	switch {
	case o.Error:
		c.Errors++
	case o.GivenUp:
		c.GivenUp++
	}
}

func (c Count) failed() float64 { return float64(c.Errors + c.GivenUp) }

// totals are requests of both arms, whether or not they found a partner.
type totals struct {
	arms, block [2]Count // baseline, canary
	// Squares of the blocks' differences, and what failed in them.
	squares, single float64
}

func (t *totals) add(o Observation) {
	k := 0
	if o.Arm == Canary {
		k = 1
	}
	t.arms[k].add(o)
	t.block[k].add(o)
}

// close ends the block, unless an arm has had nothing in it yet, and says by how
// many standard errors more of the canary's requests failed. Exchanging the arms
// changes nothing but its sign.
func (t *totals) close() (z float64, told bool) {
	b, c := t.block[0], t.block[1]
	if b.Requests == 0 || c.Requests == 0 {
		return 0, false
	}
	n, m := float64(b.Requests), float64(c.Requests)
	t.squares, t.single = t.varied()
	t.block = [2]Count{}
	if b.failed()+c.failed() == 0 {
		return 0, false
	}
	rate := (b.failed() + c.failed()) / (n + m)
	return (c.failed()/m - b.failed()/n) / math.Sqrt(rate*(1/n+1/m)), true
}

// varied are squares and single with the block that is not over.
func (t *totals) varied() (squares, single float64) {
	b, c := t.block[0].failed(), t.block[1].failed()
	return t.squares + (c-b)*(c-b), t.single + b + c
}

// overdispersion says how many times more the arms' failures differ than they
// would if they came one by one.
func (t *totals) overdispersion() float64 { return bunched(t.varied()) }

// bunched of squares of differences, and how many there were. A few say nothing
// of it.
func bunched(squares, single float64) float64 {
	const few = 10
	return max(1, (squares+few)/(single+few))
}

// usual knows how long requests take at most, usually, of both arms alike: a
// bound of its own would forgive a slow arm its clients' patience.
type usual struct {
	seconds [200]float64
	n       int
}

func (u *usual) add(seconds float64) {
	u.seconds[u.n%len(u.seconds)] = seconds
	u.n++
}

func (u *usual) exceeded(seconds float64) bool {
	n := min(u.n, len(u.seconds))
	if n == 0 {
		return true
	}
	sorted := slices.Clone(u.seconds[:n])
	slices.Sort(sorted)
	return seconds > sorted[int(tailShare*float64(n-1))]
}

// Audience are those who sent an arm's requests, where that is told: then a coin
// was thrown for each of them, and not for each request.
type Audience struct {
	Visits   int64 `json:"visits"`
	Visitors int64 `json:"visitors"`
	// Greatest is how many of the visits are the most frequent visitor's.
	Greatest int64 `json:"greatest"`
}

// guests are how often visitors came.
type guests map[uint32]int64

// known is how many visitors are told apart.
const known = 20_000

func (v *Audience) see(g guests, visitor uint32) {
	if visitor == 0 {
		return
	}
	v.Visits++
	if len(g) >= known && g[visitor] == 0 {
		return
	}
	g[visitor]++
	v.Visitors = int64(len(g))
	v.Greatest = max(v.Greatest, g[visitor])
}
