package main

import (
	"os"
	"strings"
	"testing"

	"github.com/smartcloudops/gate/pipeline/promotion"
)

// TestADaemonJudgesByThePoliciesAsTheyStand: one that was started under weaker
// policies must not go on by them.
func TestADaemonJudgesByThePoliciesAsTheyStand(t *testing.T) {
	drill(t)
	t.Parallel()
	w := newWorld(t)
	w.runs(promotion.CodePass, "--through", "production")
	first := w.gate("--output", "json", "status", "production")
	w.replace("policies/thresholds.yaml", "min_passed: {default: 1,", "min_passed: {default: 100000,")
	w.append("app/store.go", "\nvar planted int\n\nfunc init() { planted++ }\n")
	w.commit("ask for more tests")
	if r := w.gate("run", "--through", "production"); r.code != promotion.CodeInconclusive && r.code != promotion.CodeFail {
		t.Fatalf("want no pass\n%s", r)
	}
	// And by a request alone, which no command of the new policies accompanies.
	r := w.gate("promote", w.git("rev-parse", "HEAD"), "--to", "staging")
	if r.code == promotion.CodePass || !strings.Contains(r.out+r.err, "tests") {
		t.Errorf("the daemon judged by what it had read when it began:\n%s", r)
	}
	if again := w.gate("--output", "json", "status", "production"); again.code != first.code {
		t.Errorf("production does not serve any more:\n%s", again)
	}
	if _, err := os.Stat(w.state); err != nil {
		t.Fatal(err)
	}
}
