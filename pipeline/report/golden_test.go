package report

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/policies"
)

var update = flag.Bool("update", false, "write testdata/*.golden anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v: go test ./pipeline/report -update writes it", err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", file, d)
	}
}

func TestGolden(t *testing.T) {
	last := transitions()[1]
	failing := decision(policies.Readiness)
	verdict(&failing.Decision, "update", policies.Inconclusive, "no evidence that counts", "the measurement was not sound", "gate verify staging --check update (about 20 s)")
	explained := failing
	explained.Input.Evidence[0].Payload = payload(t, checks.TestsPayload{Findings: findingsOfATest()})
	unsound := loadPayload(t)
	unsound.Generator.Dropped = 3
	for name, write := range map[string]func(io.Writer) error{
		"run-pass":         func(w io.Writer) error { return Text(w, passed(t)) },
		"run-warn":         func(w io.Writer) error { return Text(w, warned(t)) },
		"run-fail":         func(w io.Writer) error { return Text(w, failed(t)) },
		"run-inconclusive": func(w io.Writer) error { return Text(w, inconclusive(t)) },
		"run-rolled-back":  func(w io.Writer) error { return Text(w, rolledBack(t)) },
		"run-reused":       func(w io.Writer) error { return Text(w, reused(t)) },
		"run-unbuilt":      func(w io.Writer) error { return Text(w, unbuilt(t)) },
		"run-verified":     func(w io.Writer) error { return Text(w, verified(t)) },
		"run-one-criterion": func(w io.Writer) error {
			r := passed(t)
			last := &r.Decisions[len(r.Decisions)-1]
			last.Decision = last.Decision.Of([]string{"tests", "update"})
			r.Through, r.Environment, r.Promotions = "staging", nil, nil
			return Text(w, r)
		},
		"run-json":      func(w io.Writer) error { return JSON(w, unbuilt(t)) },
		"decision":      func(w io.Writer) error { return Decision(w, failing.Decision) },
		"decision-json": func(w io.Writer) error { return JSON(w, failing.Decision) },
		"decision-error": func(w io.Writer) error {
			return Decision(w, policies.Decision{Environment: "staging", Release: id("ab"), Stage: policies.Canary, Verdict: policies.Error})
		},
		"explain":     func(w io.Writer) error { return Explain(w, explained, &last) },
		"transition":  func(w io.Writer) error { return Transition(w, rolledBack(t).Promotions[1]) },
		"status":      func(w io.Writer) error { return Status(w, environmentsOf()) },
		"status-json": func(w io.Writer) error { return JSON(w, environmentsOf()) },
		"history":     func(w io.Writer) error { return History(w, transitions()) },
		"operations": func(w io.Writer) error {
			return Operations(w, []target.Operation{
				{Kind: target.Scaling, What: "instances", From: "2", To: "3", Why: "70 requests at once, 35 an instance, at most 20 may be", At: epoch.Add(time.Minute)},
				{Kind: target.Rotation, What: "secret API_KEY", Why: "its value has changed\x1b[2J: 2 instances were replaced one by one", At: epoch},
			})
		},
		"operations-none": func(w io.Writer) error { return Operations(w, nil) },
		"history-none":    func(w io.Writer) error { return History(w, nil) },
		"evidence": func(w io.Writer) error {
			var all []promotion.Signed
			for _, m := range inconclusive(t).Evidence {
				all = append(all, promotion.Signed{Digest: m.Digest, Evidence: m.Evidence})
			}
			return Evidence(w, all)
		},
		"evidence-none": func(w io.Writer) error { return Evidence(w, nil) },
		"load":          func(w io.Writer) error { return Load(w, loadPayload(t), checks.Completed, "") },
		"load-invalid": func(w io.Writer) error {
			return Load(w, unsound, checks.Invalid, "3 requests that were due could not be sent from this machine")
		},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := write(&b); err != nil {
				t.Fatal(err)
			}
			golden(t, name, b.Bytes())
		})
	}
}

// TestColour keeps what a terminal gets, as it is sent.
func TestColour(t *testing.T) {
	var b bytes.Buffer
	p := &printer{w: &b, sheet: sheet{width: 120, color: true}}
	p.run(failed(t))
	if err := p.end(); err != nil {
		t.Fatal(err)
	}
	golden(t, "run-fail-colour", b.Bytes())
}
