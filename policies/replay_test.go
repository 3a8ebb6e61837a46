package policies

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// TestReplay: a decision that went through JSON comes out the same bit for bit,
// and each thing that was changed is named.
func TestReplay(t *testing.T) {
	t.Parallel()
	p := embedded(t)
	text := encode(t, map[string]any{"decision": evaluate(t, p, ready(t, Readiness)), "input": ready(t, Readiness), "kept": p.Kept()})
	for name, c := range map[string]struct {
		change func(d *Decision, in *Input, k *Kept)
		says   string // empty: it reproduces
	}{
		"nothing":            {func(*Decision, *Input, *Kept) {}, ""},
		"the verdict":        {func(d *Decision, _ *Input, _ *Kept) { d.Verdict = Fail }, "verdict: fail, now pass"},
		"a word":             {func(d *Decision, _ *Input, _ *Kept) { d.Criteria[1].Got = "41 passed" }, "tests: got: 41 passed, now 40 passed"},
		"a criterion":        {func(d *Decision, _ *Input, _ *Kept) { d.Criteria = d.Criteria[1:] }, "source: was not judged, now pass"},
		"the evidence cited": {func(d *Decision, _ *Input, _ *Kept) { d.Criteria[1].Evidence = []string{"sha256:x"} }, "tests: evidence"},
		"the input's clock":  {func(_ *Decision, in *Input, _ *Kept) { in.At = in.At.Add(time.Second) }, "input: what was kept has the digest"},
		"the evidence": {func(_ *Decision, in *Input, _ *Kept) {
			spoil(in, "tests", func(r *Record) { r.Payload = json.RawMessage(`{}`) })
		}, "tests: verdict: pass, now error"},
		"a threshold":    {func(_ *Decision, in *Input, _ *Kept) { in.Thresholds["tests"]["min_passed"] = 41.0 }, "tests: verdict: pass, now inconclusive"},
		"other policies": {func(d *Decision, _ *Input, _ *Kept) { d.PolicyDigest = "sha256:x" }, "policies: those that were kept have the digest"},
	} {
		var kept struct {
			Decision Decision
			Input    Input
			Kept     Kept
		}
		if err := json.Unmarshal(text, &kept); err != nil {
			t.Fatal(err)
		}
		c.change(&kept.Decision, &kept.Input, &kept.Kept)
		differs, err := Replay(context.Background(), kept.Decision, kept.Input, kept.Kept)
		if err != nil || (len(differs) == 0) != (c.says == "") || !strings.Contains(strings.Join(differs, "\n"), c.says) {
			t.Errorf("%s: %q, error %v, want %q", name, differs, err, c.says)
		}
	}
}

func TestKeptPoliciesAreWhatTheirDigestNames(t *testing.T) {
	t.Parallel()
	k := embedded(t).Kept()
	k.Files = maps.Clone(k.Files)
	k.Files["thresholds.yaml"] += "\n"
	if _, err := k.Policies(context.Background()); !errors.Is(err, ErrPolicy) {
		t.Errorf("error %v", err)
	}
	// Of another engine: the files are proved by its version, and judge on this one.
	other := embedded(t).Kept()
	other.Engine = "1.0.0"
	files := map[string][]byte{}
	for name, text := range other.Files {
		files[name] = []byte(text)
	}
	other.Digest = digestOf(other.Engine, files)
	d := evaluate(t, embedded(t), ready(t, Readiness))
	d.PolicyDigest = other.Digest
	var err error
	if d.ID, err = d.Digest(); err != nil {
		t.Fatal(err)
	}
	if differs, err := Replay(context.Background(), d, ready(t, Readiness), other); err != nil || len(differs) > 0 {
		t.Errorf("%q, %v", differs, err)
	}
}

// TestWaiversThatThereAreNot: policies that excuse without a waiver, or what
// must not be excused, decide nothing.
func TestWaiversThatThereAreNot(t *testing.T) {
	t.Parallel()
	waiver := Waiver{Name: "w", Criterion: "canary", Environment: "staging", Since: now.Add(-time.Hour), Until: now.Add(time.Hour), Reason: "r", Author: "a"}
	for name, c := range map[string]struct {
		verdict string
		waivers []Waiver
	}{
		"none":          {"warn", nil},
		"what is firm":  {"warn", []Waiver{waiver}},
		"into a pass":   {"pass", []Waiver{waiver}},
		"somebody else": {"warn", []Waiver{{Name: "w", Criterion: "tests", Environment: "staging"}}},
	} {
		rule := `decision := {"verdict": "` + c.verdict + `", "criteria": [{"id": "canary", "title": "", "verdict": "` + c.verdict + `", "got": "", "want": "", "why": "", "next": "", "evidence": [], "waiver": "w"}]}`
		p, err := New(context.Background(), fstest.MapFS{"readiness/readiness.rego": {Data: []byte("package gate.readiness\n\n" + rule + "\n")}})
		if err != nil {
			t.Fatal(err)
		}
		in := ready(t, Canary)
		in.Waivers = c.waivers
		if d, err := p.Evaluate(context.Background(), in); !errors.Is(err, ErrEvaluation) || d.Verdict != Error {
			t.Errorf("%s: verdict %s, error %v", name, d.Verdict, err)
		}
	}
}
