package balancer

import "hash/fnv"

// seat is the arm of a visitor, by the value of the sticky cookie. It is the same
// in every process, and for as long as the canary is of the same release: visitors
// sit on a line of a hundred places, the canary has those from 0 on, the baseline
// those from 50 on. While the weight grows, nobody on either leaves it, until the
// canary has more than half and there is no baseline any more. With the next
// release visitors are mixed anew, so that it is not always the same ones who try.
// The hash, which tells visitors apart and not who they are, is never 0.
func (st *state) seat(visitor string) (kind int, hash uint32) {
	h := fnv.New64a()
	_, _ = h.Write([]byte(st.arms[canary].figures.release)) // never fails
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(visitor))
	sum := mix(h.Sum64())
	place := int(sum >> 32 * 100 >> 32) // #nosec G115 -- below 100
	hash = max(1, uint32(sum))          // #nosec G115 -- its lower half
	switch {
	case place < st.weight:
		return canary, hash
	case place >= 50 && place-50 < st.weight:
		return baseline, hash
	}
	return stable, hash
}
