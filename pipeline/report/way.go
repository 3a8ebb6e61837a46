package report

import (
	"cmp"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/smartcloudops/gate/policies"
)

// Step is what would make one criterion hold.
type Step struct {
	Criterion string           `json:"criterion"`
	Verdict   policies.Verdict `json:"verdict"`
	Want      string           `json:"want"`
	Next      string           `json:"next"`
	// Seconds is about how long measuring takes; 0: it is not known. What has to
	// be mended before is not in it.
	Seconds float64 `json:"seconds"`
}

// Way is what would make the decision pass, cheapest first: what only has to be
// measured, the quickest first, then what has to be mended and measured, then
// what is a warning. costs is how long the checks of a criterion take.
func Way(d policies.Decision, costs map[string]time.Duration) []Step {
	rank := map[policies.Verdict]int{policies.Inconclusive: 0, policies.Error: 0, policies.Fail: 1, policies.Warn: 2}
	way := []Step{}
	for _, c := range d.Criteria {
		if c.Verdict != policies.Pass {
			way = append(way, Step{Criterion: c.ID, Verdict: c.Verdict, Want: c.Want, Next: c.Next, Seconds: costs[c.ID].Seconds()})
		}
	}
	slices.SortStableFunc(way, func(a, b Step) int {
		return cmp.Or(cmp.Compare(rank[a.Verdict], rank[b.Verdict]), cmp.Compare(a.Seconds, b.Seconds))
	})
	return way
}

// WayText writes the way for people; nothing where everything passes.
func WayText(w io.Writer, way []Step) error {
	p := newPrinter(w)
	if len(way) > 0 {
		p.f("\nwhat would pass, cheapest first:\n")
	}
	for i, s := range way {
		p.f("\n%d. %s is %s\n", i+1, s.Criterion, p.paint(string(s.Verdict)))
		p.hang("  want      ", s.Want)
		next := s.Next
		if s.Seconds > 0 && !strings.Contains(next, "(about ") {
			next += " (measuring takes about " + seconds(time.Duration(s.Seconds*float64(time.Second))) + ")"
		}
		p.hang("  next      ", next)
	}
	return p.end()
}
