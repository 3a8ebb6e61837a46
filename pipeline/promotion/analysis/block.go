package analysis

import (
	"cmp"
	"iter"
	"maps"
	"math"
	"strings"
)

func keys[V any](m map[class]V) iter.Seq[class] { return maps.Keys(m) }

func (c class) compare(d class) int {
	if n := strings.Compare(c.name, d.name); n != 0 {
		return n
	}
	flag := map[bool]int{true: 1}
	return cmp.Compare(flag[c.synthetic], flag[d.synthetic])
}

// stratum are the latencies of a block's pairs in one class, sorted. There are
// as many of each arm, so that exchanging the arms changes nothing but the sign
// of what is computed of them.
type stratum struct {
	baseline, canary []float64
}

// shift says by how many standard errors the canary is slower than the baseline
// times ratio and slack more: Mann and Whitney's test in each class, added up as
// van Elteren does.
func shift(strata []stratum, ratio, slack float64) float64 {
	total, variance := 0.0, 0.0
	for _, s := range strata {
		n := len(s.canary)
		below, ties, u := 0, 0, 0.0
		for _, c := range s.canary {
			for below < n && s.baseline[below]*ratio+slack < c {
				below++
			}
			for ties = max(ties, below); ties < n && s.baseline[ties]*ratio+slack <= c; ties++ {
			}
			u += float64(below) + float64(ties-below)/2
		}
		f := float64(n)
		total += (u - f*f/2) / (2*f + 1)
		variance += f * f / 12 / (2*f + 1)
	}
	return total / math.Sqrt(variance)
}

// tail says the same of the slow requests: of how many more than half of those
// above the quantile of both arms together the canary has.
func tail(strata []stratum, ratio, slack float64) float64 {
	more, all := 0, 0
	for _, s := range strata {
		n := len(s.canary)
		slow := max(1, int(float64(2*n)*(1-tailShare)+0.5))
		// From the slowest down; those that are as slow as each other come together,
		// or not at all if others came before.
		b, c, atB, atC := n, n, n, n
		for taken, first := 0, true; taken < slow; first = false {
			top := math.Inf(-1)
			if b > 0 {
				top = s.baseline[b-1]*ratio + slack
			}
			if c > 0 {
				top = max(top, s.canary[c-1])
			}
			was := b + c
			for b > 0 && s.baseline[b-1]*ratio+slack == top {
				b--
			}
			for c > 0 && s.canary[c-1] == top {
				c--
			}
			if taken += was - b - c; taken <= slow || first {
				atB, atC = b, c
			}
		}
		more += (n - atC) - (n - atB)
		all += (n - atC) + (n - atB)
	}
	if all == 0 {
		return 0
	}
	return float64(more) / math.Sqrt(float64(all))
}
