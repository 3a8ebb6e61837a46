package report

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/smartcloudops/gate/policies"
)

func TestTheCheapestWayIsFirst(t *testing.T) {
	d := policies.Decision{Criteria: []policies.Criterion{
		{ID: "source", Verdict: policies.Warn, Next: "commit"},
		{ID: "tests", Verdict: policies.Fail, Next: "mend", Want: "0 failed"},
		{ID: "scan", Verdict: policies.Pass},
		{ID: "load", Verdict: policies.Inconclusive, Next: "gate verify staging --check load (about 100 s)"},
		{ID: "tls", Verdict: policies.Error, Next: "gate verify staging --check tls"},
	}}
	way := Way(d, map[string]time.Duration{"load": 100 * time.Second, "tls": 2 * time.Second, "tests": time.Second})
	var ids []string
	for _, s := range way {
		ids = append(ids, s.Criterion)
	}
	if got := strings.Join(ids, " "); got != "tls load tests source" {
		t.Errorf("the way is %s", got)
	}
	var b bytes.Buffer
	if err := WayText(&b, way); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"1. tls is error", "--check tls (measuring takes about 2.0 s)", "--check load (about 100 s)\n", "want      0 failed"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("lacks %q:\n%s", want, b.String())
		}
	}
	b.Reset()
	if err := WayText(&b, Way(policies.Decision{Criteria: d.Criteria[2:3]}, nil)); err != nil || b.Len() > 0 {
		t.Errorf("%q, %v", b.String(), err)
	}
}
