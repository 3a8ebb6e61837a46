// Package scaling decides how many instances an environment needs: it tracks a
// target of concurrency or processor time for each instance. It only decides;
// what it sees is given to it, and what it wants is done by others.
package scaling

import (
	"fmt"
	"math"
	"time"
)

// tolerance is how far an instance's value may be off its target before
// anything changes: without it the number would follow every breath of the load.
const tolerance = 0.1

// Rule is what to track, and within which bounds.
type Rule struct {
	Metric    string  // for people
	Target    float64 // of the metric for each instance
	Min, Max  int
	UpAfter   time.Duration // more must have been needed for so long
	DownAfter time.Duration // fewer must have been enough for so long
}

// Reading is the metric at a moment, of all instances together.
type Reading struct {
	Total float64
	Known bool   // false: there is no figure, which is not the same as none
	Why   string // there is none
}

// Decision is how many instances there should be.
type Decision struct {
	Desired int
	Why     string
}

// Tracker remembers what was wanted of late. Its zero value is ready for use; it
// is not safe for concurrent use.
type Tracker struct {
	wants []want // oldest first
}

type want struct {
	at    time.Time
	n     int
	known bool
}

// Forget begins anew, as after a change: what was read before it says nothing of
// what is needed now, and the spans of the rule are so its cooldowns.
func (t *Tracker) Forget() { t.wants = nil }

// Look takes a reading with actual instances there, and decides. More instances
// come once every reading of UpAfter wanted more: as many as the most modest of
// them did, and at most twice as many as there are. Fewer stay once every
// reading of DownAfter was there and wanted fewer: as many as the greediest of
// them did.
func (t *Tracker) Look(now time.Time, r Rule, actual int, in Reading) Decision {
	stay := func(format string, a ...any) Decision { return Decision{actual, fmt.Sprintf(format, a...)} }
	switch {
	case actual < r.Min:
		return Decision{r.Min, fmt.Sprintf("at least %d are declared", r.Min)}
	case actual > r.Max:
		return Decision{r.Max, fmt.Sprintf("at most %d are declared", r.Max)}
	}
	in.Known = in.Known && !math.IsNaN(in.Total) && !math.IsInf(in.Total, 0) && in.Total >= 0
	t.add(now, want{now, r.wanted(actual, in.Total), in.Known}, max(r.UpAfter, r.DownAfter))
	if !in.Known {
		return stay("no figure of %s (%s): nothing is taken away", r.Metric, in.Why)
	}
	each := in.Total / float64(max(1, actual))
	figure := fmt.Sprintf("%s %.1f for each of %d, target %.0f", r.Metric, each, actual, r.Target)
	if low, _, whole := t.over(now, r.UpAfter); whole && low > actual {
		return Decision{min(low, 2*actual, r.Max), figure}
	}
	if _, high, whole := t.over(now, r.DownAfter); whole && high < actual {
		return Decision{max(high, r.Min), figure}
	}
	switch n := r.wanted(actual, in.Total); {
	case r.Min == r.Max:
		return stay("%s; instances.min and instances.max are both %d", figure, r.Min)
	case n > actual:
		return stay("%s; %d once it has lasted %s", figure, n, r.UpAfter)
	case n < actual:
		return stay("%s; %d once it has lasted %s", figure, n, r.DownAfter)
	case actual == r.Max && in.Total > r.Target*float64(actual)*(1+tolerance):
		return stay("%s; no more are declared", figure)
	}
	return stay("%s", figure)
}

func (r Rule) wanted(actual int, total float64) int {
	if r.Target <= 0 || math.IsNaN(total) {
		return actual
	}
	if ratio := total / (r.Target * float64(max(1, actual))); math.Abs(ratio-1) <= tolerance {
		return actual
	}
	// Bounded first: what is beyond them may be beyond an int, too.
	return max(r.Min, int(math.Ceil(min(total/r.Target, float64(r.Max)))))
}

func (t *Tracker) add(now time.Time, w want, keep time.Duration) {
	for len(t.wants) > 1 && now.Sub(t.wants[1].at) > keep {
		t.wants = t.wants[1:]
	}
	t.wants = append(t.wants, w)
}

// over is the least and the most that was wanted in the span that ends now.
// Whole: there are readings for all of it, none without a figure.
func (t *Tracker) over(now time.Time, span time.Duration) (low, high int, whole bool) {
	low = math.MaxInt
	for i := len(t.wants) - 1; i >= 0; i-- {
		w := t.wants[i]
		if !w.known {
			return 0, 0, false
		}
		low, high = min(low, w.n), max(high, w.n)
		if now.Sub(w.at) >= span {
			return low, high, true
		}
	}
	return 0, 0, false
}
