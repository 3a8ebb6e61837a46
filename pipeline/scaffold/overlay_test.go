package scaffold

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"path"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/format"
	"github.com/open-policy-agent/opa/v1/tester"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/policies"
)

func compiled(t *testing.T, overlay fs.FS) *policies.Policies {
	t.Helper()
	p, err := policies.New(t.Context(), overlay)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// admission is what is known of a release before it enters its first
// environment: everything is in order, and some tests were skipped.
func admission(t *testing.T, p *policies.Policies, skipped int) policies.Input {
	t.Helper()
	limits, err := p.Thresholds(nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 1, 8, 0, 0, 0, 0, time.UTC)
	in := policies.Input{
		At: now, Stage: policies.Admission, Environment: "staging", Release: "sha256:aaaa", Commit: strings.Repeat("0", 40),
		Expected: map[string]policies.Expected{}, Thresholds: limits,
	}
	for check, payload := range map[string]any{
		"tests":  checks.TestsPayload{Command: []string{"go", "test"}, Passed: 40, Skipped: skipped},
		"scan":   checks.ScanPayload{DatabaseDate: now.Add(-24 * time.Hour), Files: 30, Modules: 12},
		"leaks":  checks.LeaksPayload{Files: 80},
		"config": checks.ConfigPayload{Environments: []string{"staging"}, Values: 9},
		"runbooks": checks.RunbooksPayload{
			Folder: "docs/runbooks", Alerts: []string{"unavailable"}, Missing: []string{}, Template: true,
			Runbooks: []checks.Runbook{{Alert: "unavailable", File: "docs/runbooks/unavailable.md", Owner: "ops", Severity: "page", Review: "2099-01-01", Steps: 3}},
			Incident: checks.Procedure{File: "docs/runbooks/incident-response.md", Present: true, Missing: []string{}},
		},
	} {
		text, err := json.Marshal(payload)
		if err != nil {
			t.Fatal(err)
		}
		want := policies.Expected{Version: 1, Scope: "release", Subject: in.Release, Key: "sha256:key-" + check}
		in.Expected[check] = want
		in.Evidence = append(in.Evidence, policies.Record{
			Digests: []string{"sha256:" + check}, Check: check, Version: 1, Scope: want.Scope, Subject: want.Subject, Key: want.Key,
			Status: "completed", Trust: "base", Trusted: true, Runs: 1, Finished: now.Add(-2 * time.Second), AgeSeconds: 2, Payload: text,
		})
	}
	return in
}

func judged(t *testing.T, p *policies.Policies, skipped int) policies.Decision {
	t.Helper()
	d, err := p.Evaluate(t.Context(), admission(t, p, skipped))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestExampleChangesNoDecision: what init writes compiles, and judges nothing
// until somebody asks for it.
func TestExampleChangesNoDecision(t *testing.T) {
	bare, own := compiled(t, nil), compiled(t, Example())
	if bare.Digest() == own.Digest() {
		t.Error("another criterion, the same digest: decisions would not say by what they were made")
	}
	a, b := judged(t, bare, 7), judged(t, own, 7)
	if a.Verdict != policies.Pass || b.Verdict != policies.Pass || len(a.Criteria) != len(b.Criteria) {
		t.Errorf("without %s of %d criteria, with %s of %d", a.Verdict, len(a.Criteria), b.Verdict, len(b.Criteria))
	}
}

// asked is the example with the list of criteria changed as its README says.
func asked(t *testing.T) fstest.MapFS {
	t.Helper()
	p, err := Policy(fstest.MapFS{}, "readiness/readiness.rego", false)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Files) != 1 || p.Files[0].Path != "policies/readiness/readiness.rego" || p.Files[0].Action != Write {
		t.Fatalf("got %+v", p.Files)
	}
	text := string(p.Files[0].Text)
	for _, change := range [][2]string{
		{"import data.gate.readiness.source\n", "import data.gate.readiness.skipped\nimport data.gate.readiness.source\n"},
		{`"admission": ["source", `, `"admission": ["skipped", "source", `},
		{"\n# METADATA\n# title: The decision\n", "\nfound[\"skipped\"] := skipped.criterion\n\n# METADATA\n# title: The decision\n"},
	} {
		if !strings.Contains(text, change[0]) {
			t.Fatalf("readiness.rego has no %q any more: mend the README of the overlay as well", change[0])
		}
		text = strings.Replace(text, change[0], change[1], 1)
	}
	all := fstest.MapFS{"readiness/readiness.rego": {Data: []byte(text)}}
	err = fs.WalkDir(Example(), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			b, rerr := fs.ReadFile(Example(), name)
			all[name], err = &fstest.MapFile{Data: b}, rerr
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestExampleJudgesOnceItIsAsked(t *testing.T) {
	p := compiled(t, asked(t))
	for _, tt := range []struct {
		skipped int
		want    policies.Verdict
	}{{0, policies.Pass}, {1, policies.Warn}} {
		d := judged(t, p, tt.skipped)
		if d.Verdict != tt.want || len(d.Criteria) != 6 || d.Criteria[0].ID != "skipped" || d.Criteria[0].Verdict != tt.want {
			t.Errorf("%d skipped: %+v", tt.skipped, d)
		}
	}
	in := admission(t, p, 0)
	for i := range in.Evidence {
		if in.Evidence[i].Check == "tests" {
			in.Evidence = append(in.Evidence[:i:i], in.Evidence[i+1:]...)
			break
		}
	}
	if d, err := p.Evaluate(t.Context(), in); err != nil || d.Criteria[0].Verdict != policies.Inconclusive || !strings.Contains(d.Criteria[0].Next, "gate verify staging --check tests") {
		t.Errorf("without evidence: %v, %+v", err, d.Criteria)
	}
}

// TestAnOverlayMayNotLeaveOutWhatIsRequired: more criteria, never fewer.
func TestAnOverlayMayNotLeaveOutWhatIsRequired(t *testing.T) {
	all := asked(t)
	text := string(all["readiness/readiness.rego"].Data)
	all["readiness/readiness.rego"].Data = []byte(strings.Replace(text, `"admission": ["skipped", "source", "tests"`, `"admission": ["skipped", "source"`, 1))
	p := compiled(t, all)
	if d, err := p.Evaluate(t.Context(), admission(t, p, 0)); !errors.Is(err, policies.ErrEvaluation) || d.Verdict != policies.Error {
		t.Errorf("got %s, %v", d.Verdict, err)
	}
}

// TestExampleTests runs the Rego test beside the example, as opa test does with
// gate's library.
func TestExampleTests(t *testing.T) {
	modules := map[string]*ast.Module{}
	for at, tree := range map[string]fs.FS{"gate": policies.Embedded, "own": Example()} {
		err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
			own := at == "own" && path.Ext(name) == ".rego"
			if err != nil || d.IsDir() || !own && (path.Dir(name) != "lib" || strings.HasSuffix(name, "_test.rego")) {
				return err
			}
			text, err := fs.ReadFile(tree, name)
			if err != nil {
				return err
			}
			if formatted, err := format.Source(name, text); err != nil || own && string(formatted) != string(text) {
				t.Errorf("%s is not formatted as opa fmt does it: %v", name, err)
			}
			m, err := ast.ParseModuleWithOpts(name, string(text), ast.ParserOptions{ProcessAnnotation: true, RegoVersion: ast.RegoV1})
			modules[at+"/"+name] = m
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	results, err := tester.NewRunner().SetModules(maps.Clone(modules)).RunTests(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for r := range results {
		ran++
		if !r.Pass() {
			t.Errorf("%s: %s.%s: %v", r.Location, r.Package, r.Name, r.Error)
		}
	}
	if ran != 4 {
		t.Errorf("%d tests ran, want 4", ran)
	}
}

func TestPolicyCopies(t *testing.T) {
	for _, name := range []string{"thresholds.yaml", "policies/thresholds.yaml", "readiness/tests/tests.rego", "lib/text.rego"} {
		p, err := Policy(fstest.MapFS{}, name, false)
		if err != nil {
			t.Fatal(err)
		}
		want, _ := fs.ReadFile(policies.Embedded, strings.TrimPrefix(name, "policies/"))
		if len(p.Files) != 1 || string(p.Files[0].Text) != string(want) || len(want) == 0 {
			t.Errorf("%s: got %d files", name, len(p.Files))
		}
		// A copy that is not changed changes no decision.
		overlay := fstest.MapFS{strings.TrimPrefix(p.Files[0].Path, "policies/"): {Data: p.Files[0].Text}}
		if compiled(t, overlay).Digest() != compiled(t, nil).Digest() {
			t.Errorf("%s: the copy has another digest", name)
		}
	}
	there := fstest.MapFS{"policies/thresholds.yaml": {Data: []byte("mine")}}
	if p, err := Policy(there, "thresholds.yaml", false); err != nil || p.Changes() {
		t.Errorf("a changed copy is written over: %v", err)
	}
	if p, err := Policy(there, "thresholds.yaml", true); err != nil || p.Files[0].Action != Replace {
		t.Errorf("it is not replaced where it shall be: %v", err)
	}
	for _, name := range []string{"", ".", "lib", "../go.mod", "/etc/passwd", "readiness/none.rego"} {
		if _, err := Policy(fstest.MapFS{}, name, false); !errors.Is(err, ErrPolicy) || !strings.Contains(err.Error(), "readiness/readiness.rego") {
			t.Errorf("%q: %v", name, err)
		}
	}
}
