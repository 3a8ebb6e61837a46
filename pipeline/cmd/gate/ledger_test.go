package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/smartcloudops/gate/pipeline/promotion"
)

// TestLedgerVerify: a ledger that lost its mark is refused until a person has
// accepted it, and one that was cut shows.
func TestLedgerVerify(t *testing.T) {
	w := emptyWorld(t)
	w.copyTree("testdata/foreign")
	w.git("init", "-q", "-b", "main")
	w.commit("begin")
	w.want(promotion.CodePass, "build")
	if r := w.want(promotion.CodePass, "ledger", "verify"); !strings.Contains(r.out, "every signature and link right") {
		t.Errorf("%s", r)
	}
	// A look at what is on record leaves nothing in the clone.
	if r := w.gate("report"); !strings.Contains(r.out, filepath.Join(w.state, "reports")) {
		t.Errorf("%s", r)
	}
	if changed := w.git("status", "--porcelain"); changed != "" {
		t.Errorf("the clone was written to: %s", changed)
	}
	mark := filepath.Join(w.state, "ledger.mark")
	kept, err := os.ReadFile(mark)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(mark); err != nil {
		t.Fatal(err)
	}
	if r := w.want(promotion.CodeFail, "ledger", "verify"); !strings.Contains(r.err, "--accept") {
		t.Errorf("the next action is not named\n%s", r)
	}
	w.want(promotion.CodePass, "ledger", "verify", "--accept")
	w.want(promotion.CodePass, "ledger", "verify")

	// Back to the genesis, as somebody would who wants to undo what is on record.
	repository := filepath.Join(w.state, "ledger.git")
	root := strings.Fields(w.git("-C", repository, "rev-list", "--max-parents=0", "gate/ledger"))[0]
	w.git("-C", repository, "update-ref", "refs/heads/gate/ledger", root)
	if err := os.WriteFile(mark, kept, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := w.want(promotion.CodeFail, "ledger", "verify"); !strings.Contains(r.err, "truncated") {
		t.Errorf("truncation does not show\n%s", r)
	}
}
