package policies

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/fstest"
)

const licences = `package gate.readiness.licences

import data.gate.lib

# METADATA
# title: Licences
# description: only licences that we accept
# custom:
#   remediation: replace the module
criterion := lib.conclude({
	"id": "licences",
	"meta": rego.metadata.rule(),
	"weighed": [evidence],
	"judged": [judge(run) | some r in evidence.admitted; some run in r.payload.runs],
	"want": sprintf("at most %d denied", [limits.max_denied]),
	"next": {"inconclusive": lib.measure("licences"), "error": lib.measure("licences")},
})

limits := input.thresholds.licences

evidence := lib.weighed("licences", "licences")

shape := {"denied": "count", "modules": "count"}

judge(run) := lib.mistyped(lib.faults(run, shape, "payload")) if {
	count(lib.faults(run, shape, "payload")) > 0
} else := lib.ruled(
	[
		lib.row(run.denied <= limits.max_denied, "fail", sprintf("%d denied", [run.denied])),
		lib.row(run.modules > 0, "inconclusive", "no module was looked at"),
	],
	sprintf("%d denied of %d", [run.denied, run.modules]), "",
)
`

const licencesDeclared = `criteria:
  licences:
    stages: [readiness, promotion]
    thresholds:
      max_denied: {default: 0, kind: count, says: modules with a licence that is not accepted}
      max_age_seconds: {default: 604800, kind: number, says: age at which the evidence no longer counts}
`

func withLicences(declared string) fstest.MapFS {
	return fstest.MapFS{
		"criteria.yaml":                    {Data: []byte(declared)},
		"readiness/licences/licences.rego": {Data: []byte(licences)},
	}
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
	p, err := New(context.Background(), withLicences(licencesDeclared))
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
		if _, err := New(context.Background(), withLicences(text)); !errors.Is(err, ErrPolicy) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error %v, want one that says %q", name, err, c.says)
		}
	}
}

// TestPoliciesThatForgetWhatWasAdded: a readiness.rego that leaves an added
// criterion out decides nothing.
func TestPoliciesThatForgetWhatWasAdded(t *testing.T) {
	t.Parallel()
	files := withLicences(licencesDeclared)
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
