package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/policies"
)

// recipe is the shell of docs/audit.md, as people copy it.
func recipe(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../../docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "```sh\n")
	script, _, ended := strings.Cut(rest, "```\n")
	if !found || !ended {
		t.Fatal("docs/audit.md holds no shell")
	}
	return script
}

// verify unpacks the bundle, lets change spoil it, and runs the recipe on it.
func verify(t *testing.T, bundle string, change func(dir string)) (out string, ok bool) {
	t.Helper()
	for _, tool := range []string{"bash", "openssl", "jq", "sha256sum", "git", "tar"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s is missing, without which nothing shows that the recipe of docs/audit.md verifies (Debian: apt-get install %s)", tool, tool)
		}
	}
	dir := t.TempDir()
	if out, err := exec.Command("tar", "-xf", bundle, "-C", dir).CombinedOutput(); err != nil {
		t.Fatalf("unpack: %v %s", err, out)
	}
	if change != nil {
		change(dir)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", recipe(t))
	cmd.Dir = dir
	b, err := cmd.CombinedOutput()
	return string(b), err == nil && strings.HasSuffix(string(b), "verified\n")
}

// TestAudit: what stands behind a promotion is bundled, verified with plain tools
// alone, made again, judged otherwise, and waived.
func TestAudit(t *testing.T) {
	drill(t)
	w := emptyWorld(t)
	w.copyTree("testdata/foreign")
	w.usePorts()
	w.git("init", "-q", "-b", "main")
	w.commit("begin")
	// Whatever comes of measuring there: what was decided before is enough here.
	w.gate("run", "--through", "staging")
	w.want(promotion.CodeUsage, "audit", "0123456789ab", "--env", "staging")
	commit := w.git("rev-parse", "HEAD")
	file := filepath.Join(t.TempDir(), "bundle.tar")
	a := parsed[promotion.Audit](t, w.want(promotion.CodePass, "--output", "json", "audit", commit, "--env", "staging", "--bundle", file))
	roles := map[string]int{}
	for _, s := range a.Statements {
		roles[s.Role]++
	}
	if roles["release"] != 1 || roles["decision"] == 0 || roles["evidence"] < 3 || roles["policies"] != 1 || roles["transition"] == 0 || len(a.Missing) > 0 {
		t.Fatalf("the audit holds %v, misses %v", roles, a.Missing)
	}
	if r := w.want(promotion.CodePass, "audit", commit, "--env", "staging"); !strings.Contains(r.out, "promotion into staging: succeeded") {
		t.Errorf("the audit says\n%s", r)
	}
	if out, ok := verify(t, file, nil); !ok {
		t.Errorf("the recipe does not verify the bundle:\n%s", out)
	}
	for name, change := range map[string]func(t *testing.T, dir string){
		"a bit of the SBOM": func(t *testing.T, dir string) { flip(t, filepath.Join(dir, "release", "sbom.tar")) },
		"the manifest":      func(t *testing.T, dir string) { flip(t, filepath.Join(dir, "release", "manifest.json")) },
		"a statement":       func(t *testing.T, dir string) { flip(t, anEnvelope(t, dir)) },
		"an input": func(t *testing.T, dir string) {
			flip(t, filepath.Join(dir, "inputs", strings.TrimPrefix(a.Decisions[0].Decision.InputDigest, "sha256:")+".json"))
		},
		"its signatures": func(t *testing.T, dir string) {
			edit(t, anEnvelope(t, dir), func(v map[string]any) { v["signatures"] = []any{} })
		},
		"the list": func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, "audit.json"), func(v map[string]any) { v["statements"] = []any{} })
		},
		"a signer": func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, "audit.json"), func(v map[string]any) {
				v["statements"].([]any)[0].(map[string]any)["signers"] = []any{"ed25519:00"}
			})
		},
	} {
		out, ok := verify(t, file, func(dir string) {
			change(t, dir)
			// Sums that were made anew hide nothing.
			sums := exec.Command("bash", "-c", "find . -type f ! -name SHA256SUMS | sed 's|^./||' | sort | xargs sha256sum >SHA256SUMS")
			sums.Dir = dir
			if out, err := sums.CombinedOutput(); err != nil {
				t.Fatalf("%v %s", err, out)
			}
		})
		if ok {
			t.Errorf("%s was changed, and the recipe says\n%s", name, out)
		}
	}
	w.replays(t, a.Decisions[0].Decision.ID)
	w.whatIf(t)
	w.waives(t)
}

// flip changes one bit of the file.
func flip(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err == nil {
		text[len(text)/2] ^= 1
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// edit changes the JSON object of the file.
func edit(t *testing.T, file string, change func(map[string]any)) {
	t.Helper()
	v := map[string]any{}
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &v)
	}
	if err == nil {
		change(v)
		text, err = json.Marshal(v)
	}
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func anEnvelope(t *testing.T, dir string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "envelopes", "*.json"))
	if err != nil || len(found) == 0 {
		t.Fatal("no envelopes", err)
	}
	return found[0]
}

func (w *world) replays(t *testing.T, id string) {
	t.Helper()
	r := parsed[replayed](t, w.want(promotion.CodePass, "--output", "json", "replay", id))
	if !r.Reproduces || len(r.Differs) > 0 || r.Engine != policies.Engine() {
		t.Errorf("%+v", r)
	}
	if r := w.want(promotion.CodePass, "replay", id[:20]); !strings.Contains(r.out, "reproduces bit for bit") {
		t.Errorf("%s", r)
	}
	w.want(promotion.CodeUsage, "replay", "sha256:0123456789abcdef")
	// Other policies in the clone change nothing of what was decided.
	w.write("policies/thresholds.yaml", strictTests(t))
	w.want(promotion.CodePass, "replay", id)
	if err := os.RemoveAll(w.path("policies")); err != nil {
		t.Fatal(err)
	}
}

// strictTests are gate's thresholds, but for the number of tests that must pass.
func strictTests(t *testing.T) string {
	t.Helper()
	text, err := policies.Embedded.ReadFile("thresholds.yaml")
	if err != nil {
		t.Fatal(err)
	}
	strict := strings.Replace(string(text), "min_passed: {default: 1,", "min_passed: {default: 100000,", 1)
	if strict == string(text) {
		t.Fatal("thresholds.yaml has no min_passed of 1")
	}
	return strict
}

func (w *world) whatIf(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "thresholds.yaml"), []byte(strictTests(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	before := w.want(promotion.CodePass, "--output", "json", "ledger", "verify").out
	r := parsed[struct {
		Differs []string `json:"differs"`
	}](t, w.want(promotion.CodePass, "--output", "json", "what-if", "staging", "--policies", dir))
	if said := strings.Join(r.Differs, "\n"); !strings.Contains(said, "tests: verdict: pass, now inconclusive") {
		t.Errorf("what-if says\n%s", said)
	}
	if r := w.want(promotion.CodePass, "what-if", "staging", "--policies", t.TempDir()); !strings.Contains(r.out, "nothing differs") {
		t.Errorf("%s", r)
	}
	if after := w.want(promotion.CodePass, "--output", "json", "ledger", "verify").out; after != before {
		t.Errorf("the ledger was\n%s and is\n%s", before, after)
	}
	if err := os.WriteFile(filepath.Join(dir, "thresholds.yaml"), []byte("thresholds: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.want(promotion.CodeUsage, "what-if", "staging", "--policies", dir)
}

func (w *world) waives(t *testing.T) {
	t.Helper()
	refused := func(says []string, args ...string) {
		t.Helper()
		r := w.want(promotion.CodeUsage, args...)
		for _, s := range says {
			if !strings.Contains(r.err, s) {
				t.Errorf("gate %v does not say %q\n%s", args, s, r)
			}
		}
	}
	w.git("config", "user.name", "Ann")
	w.git("config", "user.email", "ann@example.com")
	day := func(n int) string { return time.Now().UTC().AddDate(0, 0, n).Format(time.DateOnly) }
	// Nothing of the new commit was measured: its tests are inconclusive.
	w.append("go.mod", "\n// changed\n")
	w.commit("change")
	w.want(promotion.CodePass, "build")
	tests := func(r result) (c policies.Criterion) {
		var d policies.Decision
		if err := json.Unmarshal([]byte(r.out), &d); err != nil {
			t.Fatalf("%v\n%s", err, r)
		}
		for _, one := range d.Criteria {
			if one.ID == "tests" {
				c = one
			}
		}
		return c
	}
	if c := tests(w.gate("--output", "json", "decide", "staging")); c.Verdict != policies.Inconclusive {
		t.Fatalf("without a waiver: %+v", c)
	}
	refused([]string{"environments/waivers/tests-staging.yaml", "30 days at most"}, "waive", "tests", "--env", "staging", "--until", day(31), "--reason", "the runner is down")
	refused([]string{"environments/waivers/tls-staging.yaml", "can't be waived"}, "waive", "tls", "--env", "staging", "--until", day(3), "--reason", "the runner is down")
	refused([]string{`"tets" does not exist`}, "waive", "tets", "--env", "staging", "--until", day(3), "--reason", "the runner is down")
	refused([]string{"is no day"}, "waive", "tests", "--env", "staging", "--until", "soon", "--reason", "the runner is down")
	w.want(promotion.CodePass, "waive", "tests", "--env", "staging", "--until", day(30), "--reason", "the runner is down")
	refused([]string{"is there already"}, "waive", "tests", "--env", "staging", "--until", day(3), "--reason", "the runner is down")
	c := tests(w.gate("--output", "json", "decide", "staging"))
	if c.Verdict != policies.Warn || c.Waiver != "tests-staging" || !strings.Contains(c.Why, "the runner is down") {
		t.Errorf("with a waiver: %+v", c)
	}
	if r := w.want(promotion.CodePass, "status", "staging"); !strings.Contains(r.out, "waived") || !strings.Contains(r.out, "in force") {
		t.Errorf("status does not show the waiver\n%s", r)
	}
	if r := w.want(promotion.CodePass, "explain", "staging"); !strings.Contains(r.out, "waived by") {
		t.Errorf("explain does not show the waiver\n%s", r)
	}
	w.replace("environments/waivers/tests-staging.yaml", "since: "+day(0), "since: "+day(-10), "until: "+day(30), "until: "+day(0))
	if c := tests(w.gate("--output", "json", "decide", "staging")); c.Verdict != policies.Fail || !strings.Contains(c.Why, "has expired") {
		t.Errorf("with an expired waiver: %+v", c)
	}
	if r := w.want(promotion.CodePass, "status", "staging"); !strings.Contains(r.out, "expired") {
		t.Errorf("status does not show that the waiver has expired\n%s", r)
	}
}
