package balancer

import "hash/fnv"

// seat is the arm of a visitor, by the value of the sticky cookie. It is the same
// in every process, and for as long as the canary is of the same release: visitors
// sit on a line of a hundred places, the canary has those from 0 on, the baseline
// those from 50 on. While the weight grows, nobody on either leaves it, until the
// canary has more than half and there is no baseline any more. With the next
// release visitors are mixed anew, so that it is not always the same ones who try.
func (st *state) seat(visitor string) int {
	h := fnv.New64a()
	_, _ = h.Write([]byte(st.arms[canary].figures.release)) // never fails
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(visitor))
	place := int(mix(h.Sum64()) >> 32 * 100 >> 32) // #nosec G115 -- below 100
	switch {
	case place < st.weight:
		return canary
	case place >= 50 && place-50 < st.weight:
		return baseline
	}
	return stable
}
