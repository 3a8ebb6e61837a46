package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/policies"
)

// measured is a folder with evidence of the world's commit, measured apart.
func (w *world) measured(nonce string, args ...string) string {
	w.t.Helper()
	dir := filepath.Join(w.root, "evidence-"+nonce)
	w.runs(promotion.CodePass, append([]string{"--apart", "--nonce", nonce, "--evidence", dir}, args...)...)
	return dir
}

func TestApartMeasuresForSomebodyElseToSign(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED under -short: measures a commit. Without it nothing here shows that evidence of another call is refused")
	}
	t.Parallel()
	w := newWorld(t)
	began := time.Now().Add(-time.Second).UTC().Format(time.RFC3339)
	head := w.git("rev-parse", "HEAD")
	dir := w.measured("call-0001")
	for name := range map[string]bool{"claim.json": true, "result.json": true, "report.html": true} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(w.state); !os.IsNotExist(err) {
		t.Errorf("working apart has touched the state directory (%v)", err)
	}
	if left := w.processes(); len(left) > 0 {
		t.Errorf("working apart has left processes: %v", left)
	}

	imports := func(dir, commit, nonce, since string) result {
		return w.gate("evidence", "import", dir, "--commit", commit, "--nonce", nonce, "--since", since)
	}
	forge := func(name, old, new string) string {
		t.Helper()
		forged := filepath.Join(w.root, name)
		if err := os.CopyFS(forged, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(forged, "evidence", "load.staging.json")
		b, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(b), old) {
			t.Fatalf("%s does not hold %q (%v)", file, old, err)
		}
		if err := os.WriteFile(file, []byte(strings.Replace(string(b), old, new, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
		return forged
	}
	w.append("app/store.go", "\n// another commit\n")
	w.commit("another")
	other := w.git("rev-parse", "HEAD")
	for name, r := range map[string]result{
		"a foreign nonce":   imports(dir, head, "call-0002", began),
		"an earlier call's": imports(dir, head, "call-0001", time.Now().Add(-time.Second).UTC().Format(time.RFC3339)),
		"another commit's":  imports(dir, other, "call-0001", began),
		"another key":       imports(forge("forged-key", `"key": "sha256:`, `"key": "sha256:0`), head, "call-0001", began),
		"another version":   imports(forge("forged-version", `"version": `, `"version": 9`), head, "call-0001", began),
	} {
		if r.code != promotion.CodeFail || !strings.Contains(r.err, "claim refused") {
			t.Errorf("evidence that is %s was not refused:\n%s", name, r)
		}
	}
	if r := w.want(promotion.CodeInconclusive, "decide", "staging", "--release", head); !strings.Contains(r.out, "no evidence") {
		t.Errorf("a refused claim left something:\n%s", r)
	}
	if r := imports(dir, head, "call-0001", began); r.code != promotion.CodePass {
		t.Fatalf("honest evidence was refused:\n%s", r)
	}
	w.want(promotion.CodePass, "decide", "staging", "--release", head)
}

func TestApartTakesEvidenceOfTheSameCall(t *testing.T) {
	drill(t)
	t.Parallel()
	w := newWorld(t)
	first := filepath.Join(w.root, "first")
	call := []string{"--apart", "--nonce", "call-0007"}
	w.want(promotion.CodeInconclusive, append([]string{"verify", "staging", "--check", "tls"}, call...)...)
	for _, check := range []string{"tests", "scan", "leaks", "config", "runbooks"} {
		call = append(call, "--with", filepath.Join(first, check))
		w.gate("verify", "staging", "--check", check, "--apart", "--nonce", "call-0007", "--evidence", filepath.Join(first, check))
	}
	w.want(promotion.CodePass, append([]string{"verify", "staging", "--check", "tls"}, call...)...)
}

func TestABaseJudgesWhatAChangeDoes(t *testing.T) {
	drill(t)
	t.Parallel()
	w := newWorld(t)
	judged := func(code int, criterion string, verdict policies.Verdict) policies.Criterion {
		t.Helper()
		var o outcome
		if code == promotion.CodeInconclusive { // it stays so, and need not be asked again
			r := w.want(code, "--output", "json", "run", "--apart", "--base", "main")
			if err := json.Unmarshal([]byte(r.out), &o); err != nil {
				t.Fatal(err)
			}
		} else {
			o = w.runs(code, "--apart", "--base", "main")
		}
		c := o.criterion(criterion)
		if c.Verdict != verdict {
			t.Errorf("%s: criterion %s is %s (%s), want %s", w.git("log", "-1", "--format=%s"), criterion, c.Verdict, c.Why, verdict)
		}
		return c
	}
	w.git("checkout", "-q", "-b", "weaker")
	w.append("environments/staging.yaml", "  tests: {max_failed: 5}\n")
	w.write("app/planted_test.go", "package app\n\nimport \"testing\"\n\nfunc TestPlanted(t *testing.T) { t.Error(\"planted\") }\n")
	w.commit("weaken a threshold, and need it")
	judged(promotion.CodeFail, "tests", policies.Fail)

	w.git("checkout", "-q", "-B", "owned", "main")
	w.append("policies/README.md", "\nharmless\n")
	w.append("app/store.go", "\n// harmless\n")
	w.commit("touch what an owner has to see")
	if c := judged(promotion.CodeInconclusive, "change", policies.Inconclusive); !strings.Contains(c.Why, "policies/README.md") {
		t.Errorf("it does not name the file: %s", c.Why)
	}

	w.git("checkout", "-q", "-B", "plain", "main")
	w.append("app/store.go", "\n// harmless\n")
	w.commit("touch the app alone")
	judged(promotion.CodePass, "change", policies.Pass)
}
