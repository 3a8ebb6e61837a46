package checks

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"
)

const (
	// kneeStart is the first rate as a multiple of what the users ask for: a little
	// more than the double, so that rounding does not put it below.
	kneeStart = 2.1
	// kneeClose is how near the two ends need to come.
	kneeClose = 1.1
	// kneeMaxRate is beyond what a generator on the service's own machine can say
	// anything about.
	kneeMaxRate = 20000.0
	// kneeMinRate is the least rate that is tried.
	kneeMinRate = 1.0
)

// LoadKnee is where the service's capacity lies: between the highest rate that
// it was seen to sustain and the lowest that was seen to be too much, each with
// 95% confidence. Rates are requests a second.
type LoadKnee struct {
	Lower    float64    `json:"lower"` // 0: no rate was sustained
	Upper    float64    `json:"upper"` // 0: no rate was too much for the service
	Rate     float64    `json:"rate"`  // most right answers a second that were seen, within the two
	Limit    string     `json:"limit"` // cpu, connections, locks, service, generator, neighbours, unknown; empty: nothing was reached
	Because  string     `json:"because,omitempty"`
	Restarts *int       `json:"restarts,omitempty"` // of instances meanwhile; absent: nobody counted
	Steps    []KneeStep `json:"steps"`
}

// loadKneeOf reads the knee off the steps, of one run or several: the relevant
// lower and upper bound of RFC 9971 (Multiple Loss Ratio Search, which searches
// for a throughput in trials of a fixed time). Lower is the highest sustained
// rate below upper: a rate that was too much once is not made good by a higher
// one that was not. A step at which the meter gave out says nothing of the
// service, so it bounds nothing: the knee is then known from below alone.
func loadKneeOf(steps []KneeStep) LoadKnee {
	k := LoadKnee{Steps: steps}
	best := 0.0
	for _, s := range steps {
		if s.State != stepSaturated {
			continue
		}
		if own := loadOwn(s.Limit); own && (k.Upper == 0 || s.Rate < k.Upper) {
			k.Upper, k.Limit, k.Because = s.Rate, s.Limit, s.Because
		} else if !own && k.Upper == 0 {
			k.Limit, k.Because = s.Limit, s.Because
		}
	}
	for _, s := range steps {
		below := k.Upper == 0 || s.Rate < k.Upper
		if s.State == stepSustained && below {
			k.Lower = max(k.Lower, s.Rate)
		}
		best = max(best, s.Carried)
	}
	k.Rate = max(best, k.Lower)
	if k.Upper > 0 {
		k.Rate = min(k.Rate, k.Upper)
	}
	return k
}

// kneeNext is the rate to try next, and false when the ends are near enough.
// The search begins at twice what the users ask for, looks next where the users
// without think time got to, then rises by half until a rate is too much, and
// halves what is between on a scale of ratios. What was unclear is tried once
// more, and then left as a ceiling for the search, though it bounds nothing.
func kneeNext(steps []KneeStep, start, guess float64) (float64, bool) {
	if len(steps) == 0 {
		return min(max(start, kneeMinRate), kneeMaxRate), true
	}
	lower, upper, highest := 0.0, math.Inf(1), 0.0
	saturated := false
	unclear := map[float64]int{}
	for _, s := range steps {
		highest = max(highest, s.Rate)
		switch s.State {
		case stepSaturated:
			upper, saturated = min(upper, s.Rate), true
		case stepUnclear:
			if unclear[s.Rate]++; unclear[s.Rate] > 1 {
				upper = min(upper, s.Rate)
			}
		}
	}
	for _, s := range steps {
		if s.State == stepSustained && s.Rate < upper {
			lower = max(lower, s.Rate)
		}
	}
	last := steps[len(steps)-1]
	if last.State == stepUnclear && unclear[last.Rate] == 1 && last.Rate < upper && last.Rate > lower {
		return last.Rate, true
	}
	var next float64
	switch {
	case math.IsInf(upper, 1) && len(steps) == 1 && guess > 1.5*lower:
		next = guess
	case math.IsInf(upper, 1):
		next = 1.5 * lower
	case !saturated:
		// Unclear is near: a little more must be too much.
		return min(1.25*highest, kneeMaxRate), highest < kneeMaxRate
	case lower == 0:
		next = upper / 2
	case upper <= kneeClose*lower:
		return 0, false
	default:
		next = math.Sqrt(lower * upper)
	}
	next = min(next, kneeMaxRate)
	return next, next >= kneeMinRate && next > lower
}

// knee searches for it in steps of the declared length, for no longer than is
// declared. Need is what the users ask for, guess where the search may well look
// second. A step is begun only if it can end in time; answers that are still
// outstanding then are waited for, so that no step inherits another's.
func (g *loadGenerator) knee(ctx context.Context, need, guess float64, clients []*loadClient) (*LoadKnee, []*loadClient, error) {
	before, err := g.restarts(ctx)
	if err != nil {
		return nil, clients, err
	}
	var steps []KneeStep
	end := time.Now().Add(g.opt.Scenario.Knee.D())
	for time.Now().Add(g.opt.Scenario.Step.D()).Before(end) || len(steps) == 0 {
		rate, more := kneeNext(steps, kneeStart*need, guess)
		if !more {
			break
		}
		var s KneeStep
		if s, clients, err = g.step(ctx, len(steps)+1, rate, clients); err != nil {
			return nil, clients, err
		}
		steps = append(steps, s)
		g.note("load: knee, step %d: %.0f/s %s", len(steps), rate, s.State)
		if g.opt.Early && s.State == stepSustained && rate >= kneeStart*need {
			break // it is where it has to be
		}
	}
	k := loadKneeOf(steps)
	k.Restarts, err = g.restartsSince(ctx, before)
	return &k, clients, err
}

func (k *LoadKnee) add(o *LoadKnee) *LoadKnee {
	sum := loadKneeOf(slices.Concat(k.Steps, o.Steps))
	sum.Restarts = loadAddRestarts(k.Restarts, o.Restarts)
	return &sum
}

// loadNeed is the rate that so many users ask for at most: each asks again once
// it has thought, however fast the answer was. The measured rate of the closed
// model counts where it is more; a slow service must not lower what is needed.
func loadNeed(users int, think time.Duration, rate float64) float64 {
	if think <= 0 {
		return rate
	}
	return max(rate, float64(users)/think.Seconds())
}

// Need is the rate that the users ask for, in requests a second: the knee is
// compared with it.
func (p LoadPayload) Need() float64 {
	return loadNeed(p.Users, time.Duration(p.ThinkSeconds*float64(time.Second)), p.Closed.Rate)
}

func (k *LoadKnee) String() string {
	upper := "no upper bound was reached"
	if k.Upper > 0 {
		upper = fmt.Sprintf("below %.0f/s", k.Upper)
	}
	return fmt.Sprintf("at least %.0f/s, %s", k.Lower, upper)
}
