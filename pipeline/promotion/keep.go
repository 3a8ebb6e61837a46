package promotion

import (
	"maps"
	"slices"
)

// Keep are the releases that must stay in the store: of each environment the n
// that were accepted last, and the n that were built last.
func (v *View) Keep(n int) map[string]bool {
	keep := map[string]bool{}
	for _, d := range v.latest[max(0, len(v.latest)-n):] {
		keep[v.Releases[d].Release] = true
	}
	for _, e := range v.Environments {
		own := map[string]bool{}
		for _, t := range slices.Backward(e.History) {
			if t.State == Succeeded && len(own) < n {
				own[t.Release] = true
			}
		}
		if e.Active != nil {
			own[e.Active.Release] = true
		}
		maps.Copy(keep, own)
	}
	return keep
}
