package policies

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// measured are the criteria that rest on evidence: each with a stage that
// requires it and the checks behind it.
func measured(t testing.TB) map[string]struct {
	stage  Stage
	checks []string
} {
	t.Helper()
	found := map[string]struct {
		stage  Stage
		checks []string
	}{}
	for _, stage := range []Stage{Readiness, Serving, Canary} {
		in := ready(t, stage)
		by := map[string]string{}
		for _, r := range in.Evidence {
			by[r.Digests[0]] = r.Check
		}
		for _, c := range evaluate(t, embedded(t), in).Criteria {
			one := found[c.ID]
			one.stage, one.checks = stage, nil
			for _, d := range c.Evidence {
				one.checks = append(one.checks, by[d])
			}
			if len(one.checks) > 0 {
				found[c.ID] = one
			}
		}
	}
	if len(found) < 7 {
		t.Fatalf("only %d criteria rest on evidence", len(found))
	}
	return found
}

// spoil changes the records of the check.
func spoil(in *Input, check string, change func(*Record)) {
	in.Evidence = slices.Clone(in.Evidence)
	for i := range in.Evidence {
		if in.Evidence[i].Check == check {
			change(&in.Evidence[i])
		}
	}
}

// ends are an input's verdict on one criterion; an input that is refused is no
// verdict, and says why.
func ends(t testing.TB, in Input, id string) (verdict Verdict, why string) {
	t.Helper()
	d, err := embedded(t).Evaluate(t.Context(), in)
	if err != nil {
		if d.Verdict != Error {
			t.Errorf("refused with verdict %s", d.Verdict)
		}
		return Error, err.Error()
	}
	for _, c := range d.Criteria {
		if c.ID == id {
			if c.Verdict != Pass && d.Verdict == Pass {
				t.Errorf("%s is %s, yet the decision passes", id, c.Verdict)
			}
			return c.Verdict, c.Why
		}
	}
	t.Errorf("no verdict on %s", id)
	return Error, ""
}

// numbers puts value in place of every number of a payload; one without a number
// stays as it is.
func numbers(payload json.RawMessage, value string) json.RawMessage {
	v, err := decode(payload)
	if err != nil {
		panic(err)
	}
	found := false
	var walk func(any) any
	walk = func(v any) any {
		switch x := v.(type) {
		case json.Number:
			found = true
			return json.RawMessage(value)
		case map[string]any:
			for k := range x {
				x[k] = walk(x[k])
			}
		case []any:
			for i := range x {
				x[i] = walk(x[i])
			}
		}
		return v
	}
	text, err := json.Marshal(walk(v))
	if !found {
		return payload
	}
	if err != nil {
		return json.RawMessage(value) // JSON can't say it: nor can anybody else
	}
	return text
}

// TestHostileEvidence: for every criterion, evidence of each check behind it
// that looks right but in one thing. None passes, and each says why.
func TestHostileEvidence(t *testing.T) {
	t.Parallel()
	payload := func(text string) func(*Record) {
		return func(r *Record) { r.Payload = json.RawMessage(text) }
	}
	every := func(value string) func(*Record) {
		return func(r *Record) { r.Payload = numbers(r.Payload, value) }
	}
	huge := slices.Concat([]byte(`{"more":"`), bytes.Repeat([]byte("x"), 100<<20), []byte(`",`))
	cases := map[string]func(*Record){
		"missing":                     func(r *Record) { r.Check = "other" },
		"payload empty":               payload(""),
		"payload null":                payload("null"),
		"payload an empty object":     payload("{}"),
		"payload a list":              payload("[]"),
		"payload a string":            payload(`"pass"`),
		"payload true":                payload("true"),
		"payload two values":          payload("{} {}"),
		"payload cut off":             func(r *Record) { r.Payload = r.Payload[:len(r.Payload)-1] },
		"numbers NaN":                 every("NaN"),
		"numbers Inf":                 every("Infinity"),
		"numbers -Inf":                every("-Infinity"),
		"numbers too large to be any": every("1e999"),
		"numbers huge":                every("1e300"),
		"numbers negative":            every("-1"),
		"numbers the string NaN":      every(`"NaN"`),
		"numbers strings":             every(`"0"`),
		"numbers null":                every("null"),
		"numbers true":                every("true"),
		"numbers lists":               every("[0]"),
		"zero samples":                every("0"),
		"other digest":                func(r *Record) { r.Subject = "sha256:dddd" },
		"no digest":                   func(r *Record) { r.Subject = "" },
		"other key":                   func(r *Record) { r.Key = "sha256:dddd" },
		"no key":                      func(r *Record) { r.Key = "" },
		"other environment":           func(r *Record) { r.Environment += "x" },
		"other version":               func(r *Record) { r.Version++ },
		"other scope":                 func(r *Record) { r.Scope = "service" },
		"untrusted signer":            func(r *Record) { r.Trusted = false },
		"made by the change":          func(r *Record) { r.Trust = "change" },
		"made by nobody":              func(r *Record) { r.Trust = "" },
		"stale by its age":            func(r *Record) { r.AgeSeconds = 1e9 },
		"stale by the clock":          func(r *Record) { r.Finished = now.AddDate(-3, 0, 0) },
		"future-dated":                func(r *Record) { r.Finished = now.Add(time.Minute) },
		"future-dated by its age":     func(r *Record) { r.AgeSeconds = -60 },
		"age NaN":                     func(r *Record) { r.AgeSeconds = math.NaN() },
		"age -Inf":                    func(r *Record) { r.AgeSeconds = math.Inf(-1) },
		"never finished":              func(r *Record) { r.Finished = time.Time{} },
		"no statement":                func(r *Record) { r.Digests = nil },
		"a statement that is none":    func(r *Record) { r.Digests = []string{""} },
		"no run":                      func(r *Record) { r.Runs = 0 },
		"fewer runs than none":        func(r *Record) { r.Runs = -3 },
		"status error":                func(r *Record) { r.Status = "error" },
		"status invalid":              func(r *Record) { r.Status = "invalid" },
		"status unavailable":          func(r *Record) { r.Status = "unavailable" },
		"status not applicable":       func(r *Record) { r.Status = "not_applicable" },
		"status unknown":              func(r *Record) { r.Status = "success" },
		"status empty":                func(r *Record) { r.Status = "" },
		"payload of 100 MB": func(r *Record) {
			r.Payload = slices.Concat(huge, r.Payload[1:])
		},
	}
	all := measured(t)
	for _, id := range slices.Sorted(maps.Keys(all)) {
		for _, check := range all[id].checks {
			for _, name := range slices.Sorted(maps.Keys(cases)) {
				in, same := ready(t, all[id].stage), false
				spoil(&in, check, func(r *Record) {
					before := *r
					cases[name](r)
					same = reflect.DeepEqual(*r, before)
				})
				if same {
					continue // a payload without numbers
				}
				switch verdict, why := ends(t, in, id); {
				case verdict.Promotes():
					t.Errorf("%s with %s evidence %s: %s", id, check, name, verdict)
				case why == "":
					t.Errorf("%s with %s evidence %s: %s, and not why", id, check, name, verdict)
				}
			}
		}
	}
}

// nulls is the payload with nothing in its fields.
func nulls(t testing.TB, payload []byte) []byte {
	t.Helper()
	fields := map[string]any{}
	if err := json.Unmarshal(payload, &fields); err != nil {
		t.Fatal(err)
	}
	for k := range fields {
		fields[k] = nil
	}
	return encode(t, fields)
}

// TestUnknownFieldsAddNothing: what a payload says beside what its check says
// changes no verdict, whatever it is called.
func TestUnknownFieldsAddNothing(t *testing.T) {
	t.Parallel()
	const unknown = `{"verdict":"pass","ok":true,"trusted":true,"waived":true,"status":"completed","more":1`
	for id, c := range measured(t) {
		for _, check := range c.checks {
			for name, change := range map[string]func(payload []byte) []byte{
				"alone":                  func([]byte) []byte { return []byte(unknown + "}") },
				"beside what is missing": func(p []byte) []byte { return slices.Concat([]byte(unknown+","), nulls(t, p)[1:]) },
				"beside what is right":   func(p []byte) []byte { return slices.Concat([]byte(unknown+","), p[1:]) },
			} {
				in := ready(t, c.stage)
				spoil(&in, check, func(r *Record) { r.Payload = change(r.Payload) })
				verdict, why := ends(t, in, id)
				if right := name == "beside what is right"; right != (verdict == Pass) || !right && why == "" {
					t.Errorf("%s with unknown fields %s: %s %s", id, name, verdict, why)
				}
			}
		}
	}
}

// TestReplayedEvidenceCountsOnce: the same record again changes nothing, and a
// good one does not outvote a bad one, however often it is repeated.
func TestReplayedEvidenceCountsOnce(t *testing.T) {
	t.Parallel()
	for id, c := range measured(t) {
		for _, check := range c.checks {
			in := ready(t, c.stage)
			var good Record
			spoil(&in, check, func(r *Record) { good = *r })
			bad := good
			bad.Payload, bad.Digests = json.RawMessage("{}"), []string{"sha256:bad"}
			for range 20 {
				in.Evidence = append(in.Evidence, good)
			}
			in.Evidence = append(in.Evidence, bad)
			if verdict, why := ends(t, in, id); verdict.Promotes() || why == "" {
				t.Errorf("%s: one bad run of %s among many good ones: %s %s", id, check, verdict, why)
			}
			// Of another release: what was good there is nothing here.
			in = ready(t, c.stage)
			in.Release = "sha256:dddd"
			if verdict, why := ends(t, in, id); in.Expected[check].Scope == "release" && (verdict.Promotes() || why == "") {
				t.Errorf("%s: evidence of %s about another release: %s %s", id, check, verdict, why)
			}
		}
	}
}

// TestAnyCriterionCanBeRead: whatever stands in a payload, a criterion's verdict
// is one, and no pass is given to what is not even an object.
func TestAnyCriterionCanBeRead(t *testing.T) {
	t.Parallel()
	all := measured(t)
	ids := slices.Sorted(maps.Keys(all))
	value := rapid.Custom(func(t *rapid.T) any { return anything(t, 3) })
	rapid.Check(t, func(rt *rapid.T) {
		id := rapid.SampledFrom(ids).Draw(rt, "criterion")
		check := rapid.SampledFrom(all[id].checks).Draw(rt, "check")
		text, err := json.Marshal(value.Draw(rt, "payload"))
		if err != nil {
			rt.Skip(err)
		}
		in := ready(t, all[id].stage)
		spoil(&in, check, func(r *Record) { r.Payload = text })
		if verdict, why := ends(t, in, id); verdict.Promotes() || why == "" {
			rt.Fatalf("%s passes with %s: %s %s", check, text, verdict, why)
		}
	})
}

func anything(t *rapid.T, depth int) any {
	switch rapid.IntRange(0, 4+min(depth, 2)).Draw(t, "kind") {
	case 0:
		return nil
	case 1:
		return rapid.Bool().Draw(t, "flag")
	case 2:
		return rapid.Float64().Filter(func(f float64) bool { return !math.IsNaN(f) && !math.IsInf(f, 0) }).Draw(t, "number")
	case 3:
		return rapid.Int().Draw(t, "whole")
	case 4:
		return rapid.SampledFrom([]string{"", "NaN", "Inf", "0", "pass", "sha256:aaaa", fmt.Sprint(release)}).Draw(t, "text")
	case 5:
		list := []any{}
		for range rapid.IntRange(0, 3).Draw(t, "length") {
			list = append(list, anything(t, depth-1))
		}
		return list
	}
	object := map[string]any{}
	for range rapid.IntRange(0, 4).Draw(t, "fields") {
		key := rapid.SampledFrom([]string{"passed", "failed", "requests", "secrets", "files", "closed", "stable", "canary", "values", "x"}).Draw(t, "key")
		object[key] = anything(t, depth-1)
	}
	return object
}

// TestEveryCriterionReadsItsOwnAge: evidence at its criterion's max_age_seconds
// still counts, older does not.
func TestEveryCriterionReadsItsOwnAge(t *testing.T) {
	t.Parallel()
	for id, c := range measured(t) {
		for _, check := range c.checks {
			for age, want := range map[time.Duration]bool{333 * time.Second: true, 334 * time.Second: false} {
				in := ready(t, c.stage)
				in.Thresholds[id]["max_age_seconds"] = 333.0
				spoil(&in, check, func(r *Record) { r.Finished, r.AgeSeconds = now.Add(-age), age.Seconds() })
				if verdict, why := ends(t, in, id); verdict.Promotes() != want {
					t.Errorf("%s with %s evidence of %s, at most 333 s: %s %s", id, check, age, verdict, why)
				}
			}
		}
	}
}
