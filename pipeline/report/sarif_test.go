package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/run"
)

func sarifOf(t testing.TB, r *run.Result) (sarifLog, []byte) {
	t.Helper()
	var b bytes.Buffer
	if err := SARIF(&b, r); err != nil {
		t.Fatal(err)
	}
	var out sarifLog
	if err := json.Unmarshal(b.Bytes(), &out); err != nil {
		t.Fatal(err)
	}
	return out, b.Bytes()
}

func found1(all ...checks.Finding) *run.Result {
	r := &run.Result{Findings: all}
	for _, check := range finders {
		r.Evidence = append(r.Evidence, run.Measured{Evidence: checks.Evidence{Check: check, Status: checks.Completed}})
	}
	return r
}

// TestSARIFIsValid by the schema that OASIS publishes with the standard (errata 01).
func TestSARIFIsValid(t *testing.T) {
	f, err := os.Open("testdata/sarif-schema-2.1.0.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	doc, err := jsonschema.UnmarshalJSON(f)
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("sarif.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("sarif.json")
	if err != nil {
		t.Fatal(err)
	}
	var many []checks.Finding
	for i := range 7000 {
		many = append(many, checks.Finding{Tool: "gosec", Rule: fmt.Sprintf("G%d", i%40), Severity: "low", File: "a.go", Line: i, Message: "x"})
	}
	for name, r := range map[string]*run.Result{
		"scanned": scanned(t), "failed": failed(t), "unbuilt": unbuilt(t), "empty": {}, "nothing": found1(), "many": found1(many...),
		"hostile": hostileRun(t, forged), "poisoned": poison(t),
		"odd": found1(checks.Finding{}, checks.Finding{File: "\xff\xfe/\x00 ?#%[", Line: -1, Severity: "none"}, checks.Finding{Message: strings.Repeat("long ", 1<<18)}),
	} {
		log, text := sarifOf(t, r)
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(v); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if len(log.Runs) != 1 || len(log.Runs[0].Results) > mostResults {
			t.Errorf("%s: %d runs", name, len(log.Runs))
		}
		ids := map[string]bool{}
		for _, rule := range log.Runs[0].Tool.Driver.Rules {
			ids[rule.ID] = true
		}
		prints := map[string]bool{}
		for _, res := range log.Runs[0].Results {
			uri := res.Locations[0].Physical.Artifact.URI
			if strings.HasPrefix(uri, "/") || strings.HasPrefix(uri, "..") || strings.Contains(uri, "://") || strings.ContainsAny(uri, " \\?#") {
				t.Errorf("%s: the place %q is none in the commit", name, uri)
			}
			if !ids[res.Rule] {
				t.Errorf("%s: there is no rule %q", name, res.Rule)
			}
			print := res.Prints["primaryLocationLineHash"]
			if prints[print] {
				t.Errorf("%s: the fingerprint %s stands twice", name, print)
			}
			prints[print] = true
			if strings.Contains(res.Message.Text, "](") {
				t.Errorf("%s: a message holds a link: %s", name, res.Message.Text)
			}
		}
	}
}

// TestSARIFHoldsNoSecret: what a payload says beside its findings is not read.
func TestSARIFHoldsNoSecret(t *testing.T) {
	_, text := sarifOf(t, scanned(t))
	if bytes.Contains(text, []byte("AKIAWHATEVER")) {
		t.Errorf("the secret is in\n%s", text)
	}
}

func TestSARIFIsTheSameInAnyOrder(t *testing.T) {
	_, want := sarifOf(t, scanned(t))
	for range 20 {
		r := scanned(t)
		rand.Shuffle(len(r.Evidence), func(i, j int) { r.Evidence[i], r.Evidence[j] = r.Evidence[j], r.Evidence[i] })
		for i, m := range r.Evidence {
			if all := findings(m.Evidence.Payload); len(all) > 0 {
				rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
				r.Evidence[i].Evidence.Payload = payload(t, map[string]any{"findings": all})
			}
		}
		if _, got := sarifOf(t, r); !bytes.Equal(got, want) {
			t.Fatalf("another order:\n%s", got)
		}
	}
}

// TestFingerprintsStay when a finding moves within its file, and are others for
// another one.
func TestFingerprintsStay(t *testing.T) {
	base := checks.Finding{Tool: "gosec", Rule: "G101", File: "a.go", Line: 3, Message: "one\nmore"}
	moved, below := base, base
	moved.Line, below.Message = 90, "one\nother"
	for _, f := range []checks.Finding{moved, below} {
		if fingerprint(f) != fingerprint(base) {
			t.Errorf("%v is another finding", f)
		}
	}
	for i, change := range []func(*checks.Finding){
		func(f *checks.Finding) { f.Tool = "x" }, func(f *checks.Finding) { f.Rule = "x" }, func(f *checks.Finding) { f.File = "x" }, func(f *checks.Finding) { f.Message = "x" },
	} {
		f := base
		change(&f)
		if fingerprint(f) == fingerprint(base) {
			t.Errorf("change %d makes no other finding", i)
		}
	}
}

func TestSARIFSaysWhatWasNotMeasured(t *testing.T) {
	whole := scanned(t)
	if gaps := Unmeasured(whole); len(gaps) > 0 {
		t.Errorf("gaps: %v", gaps)
	}
	broken := scanned(t)
	for i := range broken.Evidence {
		if e := &broken.Evidence[i].Evidence; e.Check == "scan" {
			e.Status, e.Reason = checks.Unavailable, "no vulnerability database"
		}
	}
	broken.Evidence = slices.DeleteFunc(broken.Evidence, func(m run.Measured) bool { return m.Evidence.Check == "leaks" })
	log, _ := sarifOf(t, broken)
	call := log.Runs[0].Invocations[0]
	if call.Successful || len(call.Notifications) != 2 || call.Notifications[0].Message.Text != "leaks: not measured" || call.Notifications[1].Message.Text != "scan: unavailable: no vulnerability database" {
		t.Errorf("%+v", call)
	}
	var many []checks.Finding
	for i := range mostResults + 7 {
		many = append(many, checks.Finding{Tool: "gosec", Severity: []string{"low", "high"}[i%2], File: "a.go", Line: i})
	}
	log, _ = sarifOf(t, found1(many...))
	if call := log.Runs[0].Invocations[0]; call.Successful || len(log.Runs[0].Results) != mostResults || log.Runs[0].Results[0].Level != "error" {
		t.Errorf("%+v with %d results", call, len(log.Runs[0].Results))
	}
}
