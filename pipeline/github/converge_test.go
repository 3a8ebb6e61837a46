package github_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/github"
	"github.com/smartcloudops/gate/pipeline/github/githubtest"
	"github.com/smartcloudops/gate/policies"
)

var conclusions = map[policies.Verdict]string{
	policies.Pass: "success", policies.Warn: "neutral", policies.Fail: "failure", policies.Inconclusive: "action_required", policies.Error: "action_required",
}

// expected are the check runs that a verdict must end as.
func expected(v github.Verdict) map[string]string {
	out := map[string]string{"gate": conclusions[v.Decision.Verdict]}
	for _, c := range v.Decision.Criteria {
		out[github.CriterionName(c.ID)] = conclusions[c.Verdict]
	}
	return out
}

// TestWhateverFailsTheNewestDecisionStands: several publishers, some at once,
// some of older decisions, some started again, against a GitHub that fails in
// every way. A check run ends as the newest decision has it, or without a
// conclusion that lets anything through.
func TestWhateverFailsTheNewestDecisionStands(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED in short mode: many publications")
	}
	githubtest.New(t, githubtest.Options{}) // skips here when it must
	rapid.Check(t, func(r *rapid.T) {
		s := githubtest.New(t, githubtest.Options{PageSize: rapid.SampledFrom([]int{2, 5, 100}).Draw(r, "page size")})
		defer s.Close()
		start := s.Clock.Now()
		kinds := []policies.Verdict{policies.Pass, policies.Warn, policies.Fail, policies.Inconclusive}
		criteria := rapid.IntRange(1, 3).Draw(r, "criteria")
		var verdicts []github.Verdict
		for i := range rapid.IntRange(1, 3).Draw(r, "decisions") {
			v := verdict(start.Add(time.Duration(i)*time.Minute), rapid.SliceOfN(rapid.SampledFrom(kinds), criteria, criteria).Draw(r, "verdicts")...)
			for j := range rapid.SampledFrom([]int{0, 3, 60, 120}).Draw(r, "findings") {
				v.Findings = append(v.Findings, checks.Finding{Tool: "tests", Rule: "test", Severity: "high", File: "a.go", Line: j + 1, Message: "failed"})
			}
			verdicts = append(verdicts, v)
		}
		// Each publisher publishes one of them; the newest is published by somebody.
		publishers := rapid.SliceOfN(rapid.IntRange(0, len(verdicts)-1), 1, 4).Draw(r, "publishers")
		publishers = append(publishers, len(verdicts)-1)
		atOnce := rapid.Bool().Draw(r, "at once")
		rate := rapid.SampledFrom([]float64{0, 0.05, 0.2, 0.4}).Draw(r, "rate")
		s.Inject(rapid.Uint64().Draw(r, "seed"), rate)
		var all sync.WaitGroup
		failed := make([]error, len(publishers))
		for i, n := range publishers {
			one := func() { _, failed[i] = app(t, s).PublishVerdict(t.Context(), verdicts[n]) }
			if atOnce {
				all.Go(one)
			} else {
				one()
			}
		}
		all.Wait()
		s.Calm()
		newest := verdicts[len(verdicts)-1]
		finished := false
		for i, n := range publishers {
			finished = finished || n == len(verdicts)-1 && failed[i] == nil
			if failed[i] != nil && !errors.Is(failed[i], github.ErrUnavailable) && !errors.Is(failed[i], github.ErrUnknownOutcome) && !errors.Is(failed[i], github.ErrContended) && !errors.Is(failed[i], github.ErrRateLimited) {
				r.Errorf("publisher %d: %v", i, failed[i])
			}
		}
		if finished {
			inspect(r, s, newest, rate == 0) // where nothing fails, nothing is left open either
		}
		// Published again in peace, everything is there, and exactly that.
		if _, err := app(t, s).PublishVerdict(t.Context(), newest); err != nil {
			r.Fatalf("in peace: %v", err)
		}
		inspect(r, s, newest, true)
		// An older one changes nothing any more.
		for _, v := range verdicts[:len(verdicts)-1] {
			got, err := app(t, s).PublishVerdict(t.Context(), v)
			if err != nil || !got.Obsolete {
				r.Fatalf("an older decision: %+v, %v", got, err)
			}
		}
		inspect(r, s, newest, true)
	})
}

func inspect(r *rapid.T, s *githubtest.Server, newest github.Verdict, whole bool) {
	commit := s.View().Commits[commitA]
	right := expected(newest)
	for _, c := range commit.Checks {
		if c.Contradiction {
			r.Errorf("%s: two runs of one decision contradict", c.Name)
		}
		if c.Status == "completed" && c.Conclusion != right[c.Name] && c.Conclusion != "cancelled" {
			r.Errorf("%s is %s, the newest decision says %s; runs %d, external id %s", c.Name, c.Conclusion, right[c.Name], c.Runs, c.External)
		}
		if whole && (c.Status != "completed" || c.Conclusion != right[c.Name]) {
			r.Errorf("%s is %s %s after all, want %s; external id %s", c.Name, c.Status, c.Conclusion, right[c.Name], c.External)
		}
	}
	if whole && len(commit.Checks) != len(right) {
		r.Errorf("%d checks, want %d", len(commit.Checks), len(right))
	}
	for _, v := range s.Violations() {
		r.Error(v)
	}
}
