package promotion

import (
	"slices"
	"strings"
	"testing"

	"github.com/smartcloudops/gate/environments"
)

// TestSyntheticRequestsOfBothArms: the same ones at the same time, by which nobody
// is always second, tagged and with what is declared of their answers.
func TestSyntheticRequestsOfBothArms(t *testing.T) {
	s := newStage(t)
	rec := releaseRecord('b')
	stop := s.engine.synthesize(t.Context(), rec, environments.Canary{Weight: 20, Synthetic: 1000})
	eventually(t, "both arms are probed", func() bool {
		s.target.mu.Lock()
		defer s.target.mu.Unlock()
		return s.target.probed["baseline"] > 20 && s.target.probed["canary"] > 20
	})
	stop()
	asked := func(arm string) (all []string) {
		for _, r := range s.target.requests[arm] {
			if r.Expect.Status != 200 || "/list/"+r.Expect.Body != r.Path || !strings.HasPrefix(r.Headers["X-Tenant"], "gate-canary-") {
				t.Fatalf("%+v", r)
			}
			all = append(all, r.Path+r.Headers["X-Tenant"])
		}
		slices.Sort(all)
		return all
	}
	if b, c := asked("baseline"), asked("canary"); !slices.Equal(b, c) {
		t.Errorf("the baseline was asked for %v, the canary for %v", b, c)
	}
	first := map[string]bool{}
	for range 200 {
		first[drawn([]string{"baseline", "canary"})[0]] = true
	}
	if len(first) != 2 {
		t.Errorf("always first: %v", first)
	}
}
