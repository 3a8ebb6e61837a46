package github

import (
	"strings"
	"testing"
	"time"

	"github.com/smartcloudops/gate/policies"
)

// TestAWaiverIsShownInCheckRuns: in the one that counts, and in its criterion's.
func TestAWaiverIsShownInCheckRuns(t *testing.T) {
	t.Parallel()
	v := Verdict{Commit: strings.Repeat("a", 40), Environment: "staging", Decision: policies.Decision{
		Environment: "staging", Verdict: policies.Warn, At: time.Now(), Criteria: []policies.Criterion{
			{ID: "tests", Verdict: policies.Pass},
			{ID: "load", Verdict: policies.Warn, Waiver: "load-slow", Why: "waived by Ann until 2026-01-31: the fix is under way; without it fail: p95 2.31 s"},
		},
	}}
	all := v.sheets()
	for i, wants := range [][]string{{"load warn (waiver load-slow)"}, {}, {"waiver load-slow", "waived by Ann until 2026", "the fix is under way", "without it fail"}} {
		for _, want := range wants {
			if shown := all[i].title + all[i].summary; !strings.Contains(shown, want) {
				t.Errorf("%s does not say %q:\n%s", all[i].name, want, shown)
			}
		}
	}
	if strings.Contains(all[1].title+all[1].summary, "waive") {
		t.Errorf("%s is said to be waived", all[1].name)
	}
}
