package main

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/promotion"
)

// TestDrillsShareOneRun takes a commit to production and looks at what the
// drills have recorded: four pieces of evidence of one run of load. Then one
// drill alone is measured by name.
func TestDrillsShareOneRun(t *testing.T) {
	drill(t)
	w := newWorld(t)
	o := w.runs(promotion.CodePass, "--through", "production")
	together := []string{"update", "rollback", "restart", "scaling"}
	for _, id := range together {
		if c := o.criterion(id); id == "update" && !c.Verdict.Promotes() {
			t.Errorf("%s: %+v", id, c)
		}
	}
	for _, d := range o.Decisions {
		for _, c := range d.Criteria {
			if slices.Contains(together, c.ID) {
				t.Logf("%s %s: %s: %s (%s)", d.Stage, c.ID, c.Verdict, c.Got, c.Why)
			}
		}
	}
	var seen []string
	for _, e := range o.Evidence {
		var p struct {
			Drills []string `json:"drills"`
		}
		if !slices.Contains(together, e.Evidence.Check) {
			continue
		}
		t.Logf("%s: %s", e.Evidence.Check, e.Evidence.Payload)
		if err := json.Unmarshal(e.Evidence.Payload, &p); err != nil || !slices.Equal(p.Drills, together) {
			t.Errorf("%s shared a run with %v (%v)", e.Evidence.Check, p.Drills, err)
		}
		seen = append(seen, e.Evidence.Check)
	}
	if !slices.Equal(seen, together) {
		t.Fatalf("evidence of %v", seen)
	}

	r := w.gate("verify", "staging", "--check", "restart", "--fresh", "--output", "json")
	if r.code != promotion.CodePass {
		t.Fatalf("the drill alone: %s", r)
	}
	var alone outcome
	if err := json.Unmarshal([]byte(r.out), &alone); err != nil || len(alone.Evidence) != 1 {
		t.Fatalf("the drill alone: %v, %d pieces of evidence", err, len(alone.Evidence))
	}
	var p checks.RestartPayload
	if err := json.Unmarshal(alone.Evidence[0].Evidence.Payload, &p); err != nil || !slices.Equal(p.Drills, []string{"restart"}) || len(p.Faults) != 3 {
		t.Errorf("%v: %s", err, alone.Evidence[0].Evidence.Payload)
	}
	w.want(promotion.CodePass, "ledger", "verify")
}
