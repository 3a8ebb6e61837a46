package local

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/target"
)

func TestCanarySize(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ weight, stable, most, want int }{
		{50, 8, 10, 4}, {50, 7, 10, 4}, {10, 8, 10, 1}, {13, 8, 10, 2}, {25, 8, 10, 2}, {1, 1, 1, 1}, {50, 1, 10, 1}, {5, 0, 10, 1},
		{50, 8, 3, 3}, {100, 8, 10, 8}, {100, 8, 6, 6},
	} {
		rev := target.Revision{Environment: &environments.Environment{Instances: environments.Instances{Min: 1, Max: tt.most}}}
		if got := canarySize(rev, tt.weight, tt.stable); got != tt.want {
			t.Errorf("%d%% beside %d instances of %d at most: %d, want %d", tt.weight, tt.stable, tt.most, got, tt.want)
		}
	}
}

// TestArmsGrowBeforeTheTraffic: a step to half of the traffic has half as many
// instances at each arm as serve, ready before a request more comes.
func TestArmsGrowBeforeTheTraffic(t *testing.T) {
	t.Parallel()
	p := serving(t, func(e *environments.Environment) {
		quick(e)
		e.Scaling.DownAfter = environments.Duration(time.Hour)
		e.Promotion.From = "elsewhere"
	}, "one", "two")
	s := p.snapshot()
	p.op.Lock()
	err := p.scaler.add(t.Context(), s.Stable, 2)
	p.op.Unlock()
	p.must(err)
	p.must(p.Retire(t.Context(), 1))
	if _, err := p.Replace(t.Context(), p.releases["two"]); err == nil || !strings.Contains(err.Error(), "promoted into") {
		t.Errorf("another release went around the promotion: %v", err)
	}
	if n, err := p.Replace(t.Context(), ""); err != nil || n != 4 {
		t.Errorf("its own instances: %d, %v", n, err)
	}
	p.must(p.StartCanary(t.Context(), 2, p.rev("two"), 20))
	first := p.pids("canary")
	if len(first) != 1 || len(p.pids("baseline")) != 1 {
		t.Errorf("at 20%% of 4 instances: canary %v, baseline %v", first, p.pids("baseline"))
	}
	// Whoever looks while the weight grows sees no arm that is too small for it.
	var over atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !over.Load() {
			p.mu.Lock()
			weight, canary, baseline := p.st.Weight, len(p.st.Canary.Instances), len(p.st.Baseline.Instances)
			p.mu.Unlock()
			if weight == 50 && (canary < 2 || baseline < 2) {
				t.Errorf("half of the traffic goes to a canary of %d beside a baseline of %d", canary, baseline)
				return
			}
			time.Sleep(time.Millisecond)
		}
	})
	err = p.StartCanary(t.Context(), 2, p.rev("two"), 50)
	over.Store(true)
	wg.Wait()
	p.must(err)
	canary := p.pids("canary")
	if len(canary) != 2 || len(p.pids("baseline")) != 2 || !slices.Contains(canary, first[0]) {
		t.Errorf("at half of 4 instances: canary %v, before %v, baseline %v", canary, first, p.pids("baseline"))
	}
	if got := p.answers(40); got["one"] == 0 || got["two"] == 0 {
		t.Errorf("half of the traffic each: %v", got)
	}
}
