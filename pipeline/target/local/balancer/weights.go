package balancer

import "sync/atomic"

// weights deals requests out to the arms: of every hundred in a row exactly
// weight go to the canary, one in each stretch of about 100/weight. Where in
// its stretch is random: with a fixed stride a client that cycles through a
// few endpoints would show the canary only one of them, and the arms would be
// compared on different work. The count goes on over swaps, so that a set
// swapped often does not starve the canary.
type weights struct {
	seed uint64
	n    atomic.Uint64
}

// deal says which arm the next request goes to. With a baseline canary and
// baseline get percent each: of twice as many stretches two in a row make a pair,
// and a coin says which of the pair is the canary's, so that no rhythm of a client
// can set the arms apart.
func (w *weights) deal(percent int, paired bool) int {
	if !paired {
		if w.canary(percent) {
			return canary
		}
		return stable
	}
	if percent <= 0 {
		return stable
	}
	n, share := w.n.Add(1)-1, 2*uint64(percent)
	if !dealt(w.seed, n, share) {
		return stable
	}
	k := n/100*share + (n%100*share+share-1)/100
	if mix(^w.seed^k/2)&1 == k&1 {
		return canary
	}
	return baseline
}

func (w *weights) canary(percent int) bool {
	switch {
	case percent <= 0:
		return false
	case percent >= 100:
		return true
	}
	n := w.n.Add(1) - 1
	if percent > 50 { // two would fall in one stretch: deal out the stable arm's share instead
		return !dealt(w.seed, n, 100-uint64(percent))
	}
	return dealt(w.seed, n, uint64(percent))
}

// dealt says whether the n-th request is the chosen one of its stretch. The
// k-th of a hundred's stretches begins at ⌊100k/share⌋.
func dealt(seed, n, share uint64) bool {
	t := n % 100
	k := ((t+1)*share - 1) / 100
	begin, end := 100*k/share, 100*(k+1)/share
	return t == begin+mix(seed^(n/100*share+k))%(end-begin)
}

// mix is the finalizer of SplitMix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
