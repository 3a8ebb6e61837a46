package policies

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
)

var stages = []Stage{Admission, Readiness, Promotion, Canary}

func TestReadyReleasePassesEveryStage(t *testing.T) {
	t.Parallel()
	for _, stage := range stages {
		d := evaluate(t, embedded(t), ready(t, stage))
		if d.Verdict != Pass {
			t.Errorf("%s: %+v", stage, d)
		}
		ids := []string{}
		for _, c := range d.Criteria {
			ids = append(ids, c.ID)
			if c.Title == "" || c.Got == "" || c.Want == "" {
				t.Errorf("%s: %s lacks title, got or want: %+v", stage, c.ID, c)
			}
		}
		if diff := cmp.Diff(Required[stage], ids); diff != "" {
			t.Errorf("%s: %s", stage, diff)
		}
		id, err := d.Digest()
		if err != nil || id != d.ID || d.PolicyDigest != embedded(t).Digest() || !strings.HasPrefix(d.InputDigest, "sha256:") {
			t.Errorf("%s: digests %s %s %s, error %v", stage, d.ID, d.PolicyDigest, d.InputDigest, err)
		}
	}
}

// TestHostileInput changes one thing of an input that passes and names the
// verdict that must come of it.
func TestHostileInput(t *testing.T) {
	t.Parallel()
	record := func(change func(*Record)) func(*Input) {
		return func(in *Input) {
			for i := range in.Evidence {
				change(&in.Evidence[i])
			}
		}
	}
	payload := func(text string) func(*Input) {
		return record(func(r *Record) { r.Payload = json.RawMessage(text) })
	}
	cases := map[string]struct {
		change func(*Input)
		want   Verdict
	}{
		"no evidence":            {func(in *Input) { in.Evidence = nil }, Inconclusive},
		"empty evidence":         {func(in *Input) { in.Evidence = []Record{} }, Inconclusive},
		"zero records":           {func(in *Input) { in.Evidence = make([]Record, 9) }, Inconclusive},
		"no expectation":         {func(in *Input) { in.Expected = nil }, Inconclusive},
		"empty expectation":      {func(in *Input) { in.Expected["tests"] = Expected{} }, Error},
		"no thresholds":          {func(in *Input) { in.Thresholds = nil }, Error},
		"threshold is a string":  {func(in *Input) { in.Thresholds["tests"]["max_failed"] = "0" }, Error},
		"threshold is null":      {func(in *Input) { in.Thresholds["tests"]["max_failed"] = nil }, Error},
		"threshold is negative":  {func(in *Input) { in.Thresholds["tests"]["min_passed"] = -1 }, Error},
		"threshold of no sample": {func(in *Input) { in.Thresholds["tests"]["min_passed"] = 0 }, Error},
		"unknown threshold":      {func(in *Input) { in.Thresholds["tests"]["max_fialed"] = 1 }, Error},
		"no release":             {func(in *Input) { in.Release = "" }, Error},
		"no environment":         {func(in *Input) { in.Environment = "" }, Error},
		"other release":          {func(in *Input) { in.Release = "sha256:dddd" }, Error},
		"no commit":              {func(in *Input) { in.Commit = "" }, Inconclusive},
		"dirty":                  {func(in *Input) { in.Dirty = true }, Fail},
		"payload missing":        {payload(""), Error},
		"payload null":           {payload("null"), Error},
		"payload empty":          {payload("{}"), Error},
		"payload a list":         {payload("[]"), Error},
		"payload a string":       {payload(`"fine"`), Error},
		"payload true":           {payload("true"), Error},
		"strings for numbers":    {payload(`{"exit_code":"0","passed":"40","failed":"0","skipped":"0"}`), Error},
		"negative numbers":       {payload(`{"exit_code":0,"passed":40,"failed":-1,"skipped":0}`), Error},
		"huge numbers":           {payload(`{"exit_code":0,"passed":1e300,"failed":0,"skipped":0}`), Error},
		"NaN as a string":        {payload(`{"exit_code":0,"passed":"NaN","failed":0,"skipped":0}`), Error},
		"other digest":           {record(func(r *Record) { r.Subject = "sha256:other" }), Inconclusive},
		"other key":              {record(func(r *Record) { r.Key = "sha256:other" }), Inconclusive},
		"no key":                 {record(func(r *Record) { r.Key = "" }), Inconclusive},
		"other environment":      {record(func(r *Record) { r.Environment = "elsewhere" }), Inconclusive},
		"other version":          {record(func(r *Record) { r.Version++ }), Inconclusive},
		"other scope":            {record(func(r *Record) { r.Scope = "service" }), Inconclusive},
		"untrusted":              {record(func(r *Record) { r.Trusted = false }), Inconclusive},
		"trust change":           {record(func(r *Record) { r.Trust = "change" }), Inconclusive},
		"no trust":               {record(func(r *Record) { r.Trust = "" }), Error},
		"stale by its age":       {record(func(r *Record) { r.AgeSeconds = 1e9 }), Inconclusive},
		"stale by the clock":     {record(func(r *Record) { r.Finished = now.AddDate(-1, 0, 0) }), Inconclusive},
		"future-dated":           {record(func(r *Record) { r.Finished = now.Add(time.Minute) }), Inconclusive},
		"never finished":         {record(func(r *Record) { r.Finished = time.Time{} }), Error},
		"no statement":           {record(func(r *Record) { r.Digests = nil }), Error},
		"no run":                 {record(func(r *Record) { r.Runs = 0 }), Error},
		"status error":           {record(func(r *Record) { r.Status = "error" }), Error},
		"status invalid":         {record(func(r *Record) { r.Status = "invalid" }), Inconclusive},
		"status unavailable":     {record(func(r *Record) { r.Status = "unavailable" }), Inconclusive},
		"status not applicable":  {record(func(r *Record) { r.Status = "not_applicable" }), Inconclusive},
		"status unknown":         {record(func(r *Record) { r.Status = "success" }), Error},
		"status empty":           {record(func(r *Record) { r.Status = "" }), Error},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			in := ready(t, Promotion)
			c.change(&in)
			d := evaluate(t, embedded(t), in)
			if d.Verdict != c.want {
				t.Errorf("verdict %s, want %s: %+v", d.Verdict, c.want, d.Criteria)
			}
			for _, k := range d.Criteria {
				if !k.Verdict.Promotes() && (k.Why == "" || k.Next == "") {
					t.Errorf("%s is %s without why or next: %+v", k.ID, k.Verdict, k)
				}
			}
		})
	}
}

func TestInputThatNobodyCanJudge(t *testing.T) {
	t.Parallel()
	cases := map[string]func(*Input){
		"unknown stage":         func(in *Input) { in.Stage = "release" },
		"no stage":              func(in *Input) { in.Stage = "" },
		"no clock":              func(in *Input) { in.At = time.Time{} },
		"age NaN":               func(in *Input) { in.Evidence[0].AgeSeconds = math.NaN() },
		"age infinite":          func(in *Input) { in.Evidence[0].AgeSeconds = math.Inf(1) },
		"threshold NaN":         func(in *Input) { in.Thresholds["load"]["success"] = math.NaN() },
		"threshold is a func":   func(in *Input) { in.Thresholds["load"]["success"] = func() {} },
		"payload is no JSON":    func(in *Input) { in.Evidence[0].Payload = json.RawMessage(`{"a":NaN}`) },
		"payload is two values": func(in *Input) { in.Evidence[0].Payload = json.RawMessage(`{} {}`) },
		"number out of range":   func(in *Input) { in.Evidence[0].Payload = json.RawMessage(`{"a":[1e999999]}`) },
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			in := ready(t, Readiness)
			change(&in)
			d, err := embedded(t).Evaluate(context.Background(), in)
			if !errors.Is(err, ErrInput) || d.Verdict != Error {
				t.Errorf("verdict %s, error %v", d.Verdict, err)
			}
		})
	}
}

func TestSameInputSameDecision(t *testing.T) {
	t.Parallel()
	want := encode(t, evaluate(t, embedded(t), ready(t, Readiness)))
	fresh, err := New(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Input){
		"again":           func(*Input) {},
		"other order":     func(in *Input) { slices.Reverse(in.Evidence) },
		"other time zone": func(in *Input) { in.At = in.At.In(time.FixedZone("", 3600)) },
		"irrelevant records": func(in *Input) {
			in.Evidence = append(in.Evidence, Record{Check: "tests", Key: "sha256:other"}, Record{Check: "other"})
		},
		"only what is relevant": func(in *Input) { *in = Relevant(Relevant(*in)) },
		"read again from JSON": func(in *Input) {
			var again Input
			if err := json.Unmarshal(encode(t, *in), &again); err != nil {
				t.Fatal(err)
			}
			*in = again
		},
	} {
		in := ready(t, Readiness)
		change(&in)
		if diff := cmp.Diff(string(want), string(encode(t, evaluate(t, fresh, in)))); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	in := ready(t, Readiness)
	in.At = in.At.Add(time.Second)
	if d := evaluate(t, fresh, in); d.InputDigest == "" || strings.Contains(string(want), d.InputDigest) {
		t.Error("another clock gives the same input digest")
	}
}

func TestCancelledEvaluationIsNoPass(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	d, err := embedded(t).Evaluate(ctx, ready(t, Readiness))
	if err == nil || d.Verdict != Error {
		t.Errorf("verdict %s, error %v", d.Verdict, err)
	}
}

// TestPoliciesThatLie replaces the policies by ones that no decision may be
// built on.
func TestPoliciesThatLie(t *testing.T) {
	t.Parallel()
	criterion := func(id, verdict string) string {
		return fmt.Sprintf(`{"id": %q, "title": "", "verdict": %q, "got": "", "want": "", "why": "", "next": "", "evidence": []}`, id, verdict)
	}
	for name, rule := range map[string]string{
		"undefined":            `decision := {"verdict": "pass"} if input.stage == "never"`,
		"not an object":        `decision := true`,
		"no criteria":          `decision := {"verdict": "pass", "criteria": []}`,
		"criteria missing":     `decision := {"verdict": "pass"}`,
		"unknown field":        `decision := {"verdict": "pass", "criteria": [], "green": true}`,
		"unknown verdict":      `decision := {"verdict": "ok", "criteria": [` + criterion("canary", "ok") + `]}`,
		"required is missing":  `decision := {"verdict": "pass", "criteria": [` + criterion("other", "pass") + `]}`,
		"better than its part": `decision := {"verdict": "pass", "criteria": [` + criterion("canary", "fail") + `]}`,
		"criterion twice":      `decision := {"verdict": "pass", "criteria": [` + criterion("canary", "pass") + "," + criterion("canary", "pass") + `]}`,
		"evidence missing":     `decision := {"verdict": "pass", "criteria": [{"id": "canary", "verdict": "pass"}]}`,
		"evidence of numbers":  `decision := {"verdict": "pass", "criteria": [{"id": "canary", "verdict": "pass", "evidence": [1]}]}`,
		"verdict is a number":  `decision := {"verdict": 1, "criteria": []}`,
	} {
		t.Run(name, func(t *testing.T) {
			p, err := New(context.Background(), overlay("package gate.readiness\n\n"+rule+"\n"))
			if err != nil {
				t.Fatal(err)
			}
			d, err := p.Evaluate(context.Background(), ready(t, Canary))
			if !errors.Is(err, ErrEvaluation) || d.Verdict != Error {
				t.Errorf("verdict %s, error %v", d.Verdict, err)
			}
		})
	}
}

func overlay(readiness string) fstest.MapFS {
	return fstest.MapFS{"readiness/readiness.rego": {Data: []byte(readiness)}}
}

func TestPoliciesThatDoNotCompile(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"clock":           "package gate.readiness\n\ndecision := time.now_ns()\n",
		"network":         "package gate.readiness\n\ndecision := http.send({\"method\": \"get\", \"url\": \"http://127.0.0.1\"})\n",
		"randomness":      "package gate.readiness\n\ndecision := rand.intn(\"a\", 2)\n",
		"process":         "package gate.readiness\n\ndecision := opa.runtime()\n",
		"unused variable": "package gate.readiness\n\ndecision if { x := 1 }\n",
		"syntax":          "package gate.readiness\n\ndecision {\n",
		"misspelt input": "# METADATA\n# title: t\n# schemas:\n#   - input: schema.input\npackage gate.readiness\n\n" +
			"decision := input.relaese\n",
	} {
		if _, err := New(context.Background(), overlay(text)); !errors.Is(err, ErrPolicy) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestDigestNamesThePolicies(t *testing.T) {
	t.Parallel()
	plain := embedded(t).Digest()
	for name, c := range map[string]struct {
		files fstest.MapFS
		same  bool
	}{
		"a test beside":   {fstest.MapFS{"readiness/more_test.rego": {Data: []byte("package x\n")}}, true},
		"another file":    {fstest.MapFS{"readiness/README.md": {Data: []byte("x")}}, true},
		"another module":  {fstest.MapFS{"readiness/more.rego": {Data: []byte("package gate.more\n\nx := 1\n")}}, false},
		"other threshold": {fstest.MapFS{"thresholds.yaml": {Data: []byte("thresholds: {tests: {max_failed: {default: 1, kind: count, says: x}}}\n")}}, false},
	} {
		p, err := New(context.Background(), c.files)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if (p.Digest() == plain) != c.same {
			t.Errorf("%s: digest %s, embedded %s", name, p.Digest(), plain)
		}
	}
}
