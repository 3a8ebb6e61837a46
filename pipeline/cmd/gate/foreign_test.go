package main

import (
	"testing"

	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/policies"
)

// TestForeignService takes a service that gate knows nothing of to production,
// by its declarations alone: other health path, other variables, other migrate
// command, a module of its own, and a check of its own, which each stage asks for.
// Its second commit goes through a canary.
func TestForeignService(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED under -short: two whole runs of the pipeline")
	}
	w := emptyWorld(t)
	w.copyTree("testdata/foreign")
	w.adds()
	w.replace("environments/app.yaml", "think: 100ms", "think: 20ms", "closed: 3s", "closed: 4s", "open: 2s", "open: 4s")
	for _, e := range []string{"staging", "production"} {
		w.append("environments/"+e+".yaml", "thresholds:\n  load: {min_seconds: 3, min_users: 5, min_requests: 100, success: 0.95, min_headroom: 0.5}\n  update: {min_requests: 100, slack_seconds: 0.5}\n"+shortDrills)
	}
	w.usePorts()
	w.git("init", "-q", "-b", "main")
	w.commit("begin")

	first := w.runs(promotion.CodePass, "--through", "production")
	if got := w.serves("production"); got != first.Release {
		t.Fatalf("production serves %s, want %s", got, first.Release)
	}
	for _, id := range []string{"source", "tests", "scan", "config", "load", "update", "tls", "network", "secrets", "licences"} {
		if c := first.criterion(id); !c.Verdict.Promotes() || c.Verdict == policies.Error {
			t.Errorf("%s: %+v", id, c)
		}
	}
	w.append("notes.go", "\n// edition is another one.\nconst edition = 2\n\nfunc init() { println(edition) }\n")
	w.commit("another edition")
	second := w.runs(promotion.CodePass, "--through", "production")
	if second.Release == first.Release {
		t.Fatal("the second commit is no other release")
	}
	if got := w.serves("production"); got != second.Release {
		t.Errorf("production serves %s, want %s", got, second.Release)
	}
	w.want(promotion.CodePass, "ledger", "verify")
}
