package policies

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/format"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
)

const licencesDeclared = `criteria:
  licences:
    stages: [readiness, promotion]
    thresholds:
      max_denied: {default: 0, kind: count, says: modules with a licence that is not accepted}
      max_age_seconds: {default: 604800, kind: number, says: age at which the evidence no longer counts}
`

func withLicences(t testing.TB, declared string) fstest.MapFS {
	t.Helper()
	return fstest.MapFS{
		"criteria.yaml":                    {Data: []byte(declared)},
		"readiness/licences/licences.rego": {Data: []byte(guide(t, "package gate.readiness.licences\n"))},
	}
}

// guide is the one block of checks/README.md that begins so.
func guide(t testing.TB, begin string) string {
	t.Helper()
	text, err := os.ReadFile("../checks/README.md")
	if err != nil {
		t.Fatal(err)
	}
	found, block, in := "", "", false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimPrefix(line, "   ")
		switch {
		case !strings.HasPrefix(line, "```"):
			block += line
			continue
		case in && strings.HasPrefix(block, begin):
			found += block
		}
		block, in = "", !in
	}
	if found == "" || strings.Count(found, begin) != 1 {
		t.Fatalf("checks/README.md does not have one block that begins with %q", begin)
	}
	return found
}

// TestGuide: what checks/README.md says to copy compiles, judges, and passes the
// tests that it says to write.
func TestGuide(t *testing.T) {
	t.Parallel()
	p, err := New(t.Context(), withLicences(t, guide(t, "# policies/criteria.yaml\n")))
	if err != nil {
		t.Fatal(err)
	}
	for _, stage := range []Stage{Admission, Readiness, Promotion, Serving, Proposal} {
		if ids := p.more.at(stage); !slices.Equal(ids, []string{"licences"}) {
			t.Errorf("%s asks for %v", stage, ids)
		}
	}
	all := map[string]*ast.Module{}
	for name, text := range map[string]string{
		"licences.rego": guide(t, "package gate.readiness.licences\n"), "licences_test.rego": guide(t, "package gate.readiness.licences_test\n"),
		"evidence.rego": embeddedText(t, "lib/evidence.rego"), "shape.rego": embeddedText(t, "lib/shape.rego"),
		"verdict.rego": embeddedText(t, "lib/verdict.rego"), "text.rego": embeddedText(t, "lib/text.rego"), "latency.rego": embeddedText(t, "lib/latency.rego"),
	} {
		if all[name], err = ast.ParseModuleWithOpts(name, text, ast.ParserOptions{ProcessAnnotation: true, RegoVersion: ast.RegoV1}); err != nil {
			t.Fatal(err)
		}
		if formatted, err := format.Source(name, []byte(text)); err != nil || string(formatted) != text {
			t.Errorf("%s of the guide is not formatted as opa fmt does it: %v", name, err)
		}
	}
	store := inmem.NewFromObject(testData(t, nil))
	txn := storage.NewTransactionOrDie(t.Context(), store)
	defer store.Abort(t.Context(), txn)
	results, err := tester.NewRunner().SetCompiler(ast.NewCompiler().WithRewriteTestRules(true)).SetModules(all).SetStore(store).RunTests(t.Context(), txn)
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for r := range results {
		if ran++; !r.Pass() {
			t.Errorf("%s: %v", r.Name, r.Error)
		}
	}
	if said := fmt.Sprintf("PASS: %d/%d", ran, ran); ran == 0 || !strings.Contains(guide(t, "$ opa test"), said) {
		t.Errorf("the guide says otherwise than %s", said)
	}
}

func embeddedText(t testing.TB, name string) string {
	t.Helper()
	text, err := Embedded.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// licensed is ready with evidence of the runs.
func licensed(t testing.TB, p *Policies, stage Stage, runs string) Input {
	t.Helper()
	in := ready(t, stage)
	var err error
	if in.Thresholds, err = p.Thresholds(nil); err != nil {
		t.Fatal(err)
	}
	in.Expected["licences"] = Expected{Version: 1, Scope: "release", Subject: release, Key: "sha256:key-licences"}
	r := in.Evidence[0]
	r.Check, r.Key, r.Digests, r.Scope, r.Subject, r.Environment = "licences", "sha256:key-licences", []string{"sha256:licences"}, "release", release, ""
	r.Payload = json.RawMessage(runs)
	in.Evidence = append(in.Evidence, r)
	return in
}

func TestARepositoryAddsACriterion(t *testing.T) {
	t.Parallel()
	p, err := New(context.Background(), withLicences(t, licencesDeclared))
	if err != nil {
		t.Fatal(err)
	}
	for runs, want := range map[string]Verdict{
		`{"runs":[{"denied":0,"modules":3}]}`:                          Pass,
		`{"runs":[{"denied":1,"modules":3}]}`:                          Fail,
		`{"runs":[{"denied":1,"modules":3},{"denied":0,"modules":3}]}`: Fail, // retried until lucky
		`{"runs":[{"denied":0,"modules":0}]}`:                          Inconclusive,
		`{"runs":[{"denied":"0","modules":3}]}`:                        Error,
		`{"runs":[]}`:                                                  Error,
		`{}`:                                                           Error,
	} {
		d := evaluate(t, p, licensed(t, p, Readiness, runs))
		last := d.Criteria[len(d.Criteria)-1]
		if d.Verdict != want || last.ID != "licences" || last.Verdict != want {
			t.Errorf("%s: %s, %+v", runs, d.Verdict, last)
		}
	}
	in := ready(t, Readiness)
	if in.Thresholds, err = p.Thresholds(nil); err != nil {
		t.Fatal(err)
	}
	if d := evaluate(t, p, in); d.Verdict != Inconclusive {
		t.Errorf("without evidence: %s", d.Verdict)
	}
	in.Stage = Admission
	if d := evaluate(t, p, in); d.Verdict != Pass {
		t.Errorf("at a stage that does not require it: %s", d.Verdict)
	}
	kept, err := p.Kept().Policies(context.Background())
	if err != nil || kept.Digest() != p.Digest() || p.Digest() == embedded(t).Digest() {
		t.Errorf("kept: %v", err)
	}
}

func TestCriteriaThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ old, new, says string }{
		"one of gate's own":      {"licences:", "tests:", "gate's own"},
		"one with thresholds":    {"licences:", "canary:", "gate's own"},
		"no policy":              {"licences:", "others:", "others has no policy"},
		"an odd name":            {"licences:", "Li-cences:", "is no name"},
		"no stage":               {"[readiness, promotion]", "[]", "at no stage"},
		"an unknown stage":       {"[readiness, promotion]", "[someday]", "someday"},
		"a canary":               {"[readiness, promotion]", "[canary]", "canary"},
		"a stage twice":          {"[readiness, promotion]", "[readiness, readiness]", "twice"},
		"evidence of any age":    {"max_age_seconds", "max_age", "max_age_seconds"},
		"an odd default":         {"default: 0", "default: none", "max_denied"},
		"an unknown field":       {"stages:", "waived: true\n    stages:", "waived"},
		"a criterion taken away": {"criteria:\n", "remove: [tests]\ncriteria:\n", "remove"},
		"nothing":                {licencesDeclared, "criteria: {}\n", "no criteria"},
	} {
		text := strings.Replace(licencesDeclared, c.old, c.new, 1)
		if text == licencesDeclared {
			t.Fatalf("%s: nothing changed", name)
		}
		if _, err := New(context.Background(), withLicences(t, text)); !errors.Is(err, ErrPolicy) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error %v, want one that says %q", name, err, c.says)
		}
	}
}

// TestPoliciesThatForgetWhatWasAdded: a readiness.rego that leaves an added
// criterion out decides nothing.
func TestPoliciesThatForgetWhatWasAdded(t *testing.T) {
	t.Parallel()
	files := withLicences(t, licencesDeclared)
	text, err := Embedded.ReadFile("readiness/readiness.rego")
	if err != nil {
		t.Fatal(err)
	}
	files["readiness/readiness.rego"] = &fstest.MapFile{Data: []byte(strings.Replace(string(text), "array.concat(required[input.stage], added)", "required[input.stage]", 1))}
	p, err := New(context.Background(), files)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := p.Evaluate(context.Background(), licensed(t, p, Readiness, `{"runs":[{"denied":1,"modules":3}]}`)); !errors.Is(err, ErrEvaluation) || d.Verdict != Error {
		t.Errorf("verdict %s, error %v", d.Verdict, err)
	}
}
