package report

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/run"
	"github.com/smartcloudops/gate/policies"
)

func decoded(t *testing.T, v any) any {
	t.Helper()
	var b bytes.Buffer
	if err := JSON(&b, v); err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(b.Bytes(), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestDecisionKeysAreAContract: programs read these keys. Some were added; none
// is ever renamed or taken away.
func TestDecisionKeysAreAContract(t *testing.T) {
	d := decoded(t, decision(policies.Readiness).Decision).(map[string]any)
	contract(t, "decision", d, []string{"decision", "release", "environment", "verdict", "at", "policy_digest", "input_digest", "criteria"}, []string{"commit", "stage"})
	for _, c := range d["criteria"].([]any) {
		c := c.(map[string]any)
		contract(t, "criterion", c, []string{"id", "verdict", "got", "want", "evidence", "why", "next"}, []string{"title"})
		if _, ok := c["evidence"].([]any); !ok {
			t.Errorf("evidence of %v is %T, not a list", c["id"], c["evidence"])
		}
	}
	if d["at"] != "2026-01-02T03:06:05Z" || d["decision"] != id("de") {
		t.Errorf("decision %v at %v", d["decision"], d["at"])
	}
}

func contract(t *testing.T, what string, got map[string]any, keys, added []string) {
	t.Helper()
	all := slices.Sorted(slices.Values(append(keys, added...)))
	if d := cmp.Diff(all, sorted(got)); d != "" {
		t.Errorf("keys of a %s (-want +got):\n%s", what, d)
	}
}

func TestRunHoldsItsDecisionsAndNoNull(t *testing.T) {
	r := decoded(t, passed(t)).(map[string]any)
	all := r["decisions"].([]any)
	if len(all) != 2 || all[1].(map[string]any)["stage"] != "readiness" {
		t.Errorf("decisions: %v", all)
	}
	empty := decoded(t, &run.Result{}).(map[string]any)
	for _, key := range []string{"decisions", "steps", "evidence", "promotions", "environments"} {
		if _, ok := empty[key].([]any); !ok {
			t.Errorf("%s of an empty run is %v, not a list", key, empty[key])
		}
	}
	if _, ok := decoded(t, []promotion.Transition(nil)).([]any); !ok {
		t.Error("no history is not a list")
	}
	before := passed(t)
	before.Promotions = nil
	decoded(t, before)
	if before.Promotions != nil {
		t.Error("writing a run changes it")
	}
}
