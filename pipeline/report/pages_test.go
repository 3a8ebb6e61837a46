package report

import (
	"bytes"
	"io"
	"testing"

	"github.com/smartcloudops/gate/policies"
)

const reportAddress = "https://github.com/smartcloudops/gate/actions/runs/1?check=a&b=(c)"

// judged is a decision with every verdict.
func judged() policies.Decision {
	d := decision("change").Decision
	verdict(&d, "scan", policies.Warn, "database 9.1 days old", "the vulnerability database is 9.1 days old, at most 7 days", "gate verify staging --check scan")
	verdict(&d, "config", policies.Error, "no result", "the policy could not be evaluated", "gate explain staging")
	verdict(&d, "update", policies.Inconclusive, "no evidence that counts", "the measurement was not sound: the generator dropped 3 requests", "gate verify staging --check update (about 20 s)")
	verdict(&d, "load", policies.Fail, "p95 2.31 s (≤ 2.6), p99 4.9 s (≤ 6.2), success ≥ 97.2% of 3561",
		"open query: p95 2.31 s, must be below 2; open query: 71 of 1391 requests failed", "gate verify staging --check load (about 100 s)")
	return d
}

// TestPages keeps what is published.
func TestPages(t *testing.T) {
	d, passing := judged(), decision(policies.Readiness).Decision
	plan := planOf()
	for name, write := range map[string]func(io.Writer) error{
		"markdown":      func(w io.Writer) error { return Markdown(w, d) },
		"markdown-pass": func(w io.Writer) error { return Markdown(w, passing) },
		"markdown-none": func(w io.Writer) error { return Markdown(w, policies.Decision{}) },
		"check-run":     func(w io.Writer) error { return CheckRun(w, d.Of([]string{"load"}), reportAddress) },
		"comment": func(w io.Writer) error {
			return Comment(w, CommentData{Commit: commit, Binding: true, Decision: &d, Next: "gate explain staging", Plan: &plan, Report: reportAddress})
		},
		"comment-pass": func(w io.Writer) error { return Comment(w, CommentData{Commit: commit, Decision: &passing}) },
		"comment-none": func(w io.Writer) error {
			return Comment(w, CommentData{Commit: commit, Problem: "the change alters a workflow: an owner must approve this commit", Plan: &Plan{Problem: "it does not build"}})
		},
		"plan":                 func(w io.Writer) error { return PlanText(w, plan) },
		"plan-none":            func(w io.Writer) error { return PlanText(w, Plan{App: "smartcloudops", Commit: commit}) },
		"plan-json":            func(w io.Writer) error { return JSON(w, plan) },
		"summary":              func(w io.Writer) error { return Summary(w, failed(t), reportAddress) },
		"summary-rolled-back":  func(w io.Writer) error { return Summary(w, rolledBack(t), "") },
		"summary-unbuilt":      func(w io.Writer) error { return Summary(w, unbuilt(t), "") },
		"summary-inconclusive": func(w io.Writer) error { return Summary(w, inconclusive(t), "") },
		"junit":                func(w io.Writer) error { return JUnit(w, passing, d) },
		"junit-none":           func(w io.Writer) error { return JUnit(w) },
		"sarif":                func(w io.Writer) error { return SARIF(w, scanned(t)) },
		"sarif-unbuilt":        func(w io.Writer) error { return SARIF(w, unbuilt(t)) },
		"markdown-hostile":     func(w io.Writer) error { return Markdown(w, hostileDecision()) },
		"comment-hostile":      func(w io.Writer) error { return Comment(w, hostileComment()) },
		"summary-hostile":      func(w io.Writer) error { return Summary(w, poison(t), "javascript:alert(1)") },
		"junit-hostile":        func(w io.Writer) error { return JUnit(w, hostileDecision()) },
		"sarif-hostile":        func(w io.Writer) error { return SARIF(w, poison(t)) },
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := write(&b); err != nil {
				t.Fatal(err)
			}
			golden(t, name, b.Bytes())
		})
	}
}
