package watch

import (
	"time"

	"gonum.org/v1/gonum/stat"
)

// rampPoints is how many points a ramp is judged by at most.
const rampPoints = 120

// ramp is how something fills up.
type ramp struct {
	at   []time.Time
	used []uint64
}

// add takes a point in. Points stand so far apart that they reach over some
// spans; the newest is always there.
func (r *ramp) add(at time.Time, used uint64, span time.Duration) {
	gap := 6 * span / rampPoints
	if n := len(r.at); n >= 2 && r.at[n-1].Sub(r.at[n-2]) < gap {
		r.at, r.used = r.at[:n-1], r.used[:n-1]
	}
	r.at, r.used = append(r.at, at), append(r.used, used)
	if over := len(r.at) - rampPoints; over > 0 {
		r.at, r.used = r.at[over:], r.used[over:]
	}
}

// full says when the limit is reached if it goes on as it did, by a line through
// the points of the last span and of all: both must rise, so that neither one
// big file nor one pause makes a ramp.
func (r *ramp) full(limit uint64, span time.Duration) (left time.Duration, rises bool) {
	n := len(r.at)
	if n < 4 || r.at[n-1].Sub(r.at[0]) < span {
		return 0, false
	}
	from := n - 1
	for from > 0 && (r.at[n-1].Sub(r.at[from]) < span || n-from < 4) {
		from--
	}
	lately, all := slope(r.at[from:], r.used[from:]), slope(r.at, r.used)
	if lately <= 0 || all <= 0 {
		return 0, false
	}
	room := float64(limit) - float64(r.used[n-1])
	seconds := room / lately
	if seconds > (10 * 365 * 24 * time.Hour).Seconds() {
		return 0, false
	}
	return time.Duration(max(seconds, 0) * float64(time.Second)), true
}

// slope is in bytes a second.
func slope(at []time.Time, used []uint64) float64 {
	x, y := make([]float64, len(at)), make([]float64, len(at))
	for i := range at {
		x[i] = at[i].Sub(at[0]).Seconds()
		y[i] = float64(used[i])
	}
	_, b := stat.LinearRegression(x, y, nil, false)
	return b
}
