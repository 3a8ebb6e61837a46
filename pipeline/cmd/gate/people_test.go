package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/smartcloudops/gate/pipeline/promotion"
)

// TestPeople has releases wait for approval, meet a freeze, and go past it, on a
// real environment.
func TestPeople(t *testing.T) {
	drill(t)
	w := foreignWorld(t)
	w.replace("environments/app.yaml", `  - "**/*.md"`, "  - \"**/*.md\"\n  - environments/*")
	w.replace("environments/staging.yaml", "promotion:\n", "promotion:\n  approvals: {required: 1}\n")
	// A route, without which nobody may override.
	w.replace("environments/staging.yaml", "alerts: {local: true}", "alerts: {local: true, webhook: {url: \"http://127.0.0.1:9/\"}}")
	w.commit("approvals")

	r := w.want(promotion.CodeApproval, "deploy", "staging", "-o", "json")
	first := parsed[outcome](t, r).Release
	if !strings.Contains(r.out, "0 of 1 approvals are there: gate approve "+short(first)+" --to staging") {
		t.Fatalf("what it waits for is not said\n%s", r)
	}
	if r := w.want(0, "status", "staging"); !strings.Contains(r.out, "waiting") {
		t.Errorf("status does not say that it waits\n%s", r)
	}
	// Asking again follows the same request.
	w.want(promotion.CodeApproval, "promote", first, "--to", "staging")
	if r := w.want(0, "approve", first, "--to", "staging", "--reason", "looks good"); !strings.Contains(r.out, "approved for staging") || strings.Contains(r.out, "still waits") {
		t.Errorf("%s", r)
	}
	w.until(t, "it goes on by itself", func() bool { return w.serves("staging") == first })
	if h := w.history(t, "staging"); len(h) != 1 || h[0].State != "succeeded" {
		t.Errorf("history: %+v", h)
	}
	if r := w.want(0, "drift", "staging"); !strings.Contains(r.out, "staging runs what is desired") {
		t.Errorf("%s", r)
	}
	if r := w.want(0, "history", "staging", "--figures", "-o", "json"); parsed[promotion.Figures](t, r).Changes != 1 {
		t.Errorf("%s", r)
	}

	day := time.Now().UTC()
	w.replace("environments/staging.yaml", "  approvals: {required: 1}\n", "  freeze:\n    - {from: "+day.AddDate(0, 0, -2).Format(time.DateOnly)+", to: "+day.AddDate(0, 0, 3).Format(time.DateOnly)+", zone: Europe/Berlin, reason: holidays}\n")
	w.append("notes.go", "\n// edition is another one.\nconst edition = 2\n\nfunc init() { println(edition) }\n")
	w.commit("a freeze")
	r = w.want(promotion.CodeLocked, "deploy", "staging", "-o", "json")
	second := parsed[outcome](t, r).Release
	if !strings.Contains(r.out, "staging is frozen until") || !strings.Contains(r.out, "holidays") {
		t.Fatalf("%s", r)
	}
	w.want(promotion.CodeUsage, "promote", second, "--to", "staging", "--override")
	w.want(promotion.CodePass, "promote", second, "--to", "staging", "--override", "--reason", "customers wait")
	if got := w.serves("staging"); got != second {
		t.Fatalf("staging serves %s, want %s", got, second)
	}
	alerts := filepath.Join(w.state, "env", "staging", "alerts", "alerts.jsonl")
	told := func(state string) bool {
		b, _ := os.ReadFile(alerts)
		for line := range strings.Lines(string(b)) {
			if strings.Contains(line, `"override"`) && strings.Contains(line, state) && strings.Contains(line, "customers wait") || state == "resolved" && strings.Contains(line, `"override"`) && strings.Contains(line, state) {
				return true
			}
		}
		return false
	}
	w.until(t, "the owners are told", func() bool { return told("firing") })
	if r := w.want(promotion.CodeLocked, "promote", second, "--to", "staging", "--override", "--reason", "again"); !strings.Contains(r.err, "is not approved yet") {
		t.Errorf("%s", r)
	}
	// Back goes as ever.
	w.want(promotion.CodePass, "rollback", "staging")
	if got := w.serves("staging"); got != first {
		t.Errorf("staging serves %s, want %s", got, first)
	}
	w.want(0, "approve", second, "--to", "staging")
	w.until(t, "it is over", func() bool { return told("resolved") })
	if r := w.want(0, "history", "staging"); !strings.Contains(r.out, "failed         1 (50%)") || !strings.Contains(r.out, "time to restore") {
		t.Errorf("%s", r)
	}
	w.want(promotion.CodePass, "ledger", "verify")
}

// until waits, and fails when that takes unreasonably long.
func (w *world) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(90 * time.Second); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}
