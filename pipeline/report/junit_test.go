package report

import (
	"bytes"
	"encoding/xml"
	"strings"
	"testing"

	"github.com/smartcloudops/gate/policies"
)

func junitOf(t testing.TB, all ...policies.Decision) junitSuites {
	t.Helper()
	var b bytes.Buffer
	if err := JUnit(&b, all...); err != nil {
		t.Fatal(err)
	}
	var out junitSuites
	if err := xml.Unmarshal(b.Bytes(), &out); err != nil {
		t.Fatalf("%v in\n%s", err, b.String())
	}
	elements(t, strings.TrimPrefix(b.String(), xml.Header))
	return out
}

func TestJUnitCountsWhatItHolds(t *testing.T) {
	hostile := hostileDecision(forged)
	odd := policies.Decision{Verdict: policies.Fail, Criteria: []policies.Criterion{{ID: "a", Verdict: policies.Pass}}}
	got := junitOf(t, judged(), hostile, policies.Decision{}, policies.Decision{Verdict: policies.Pass}, odd)
	var all junitCounts
	for _, s := range got.Suites {
		var c junitCounts
		for _, x := range s.Cases {
			c.Tests++
			if x.Failure != nil {
				c.Failures++
			}
			if x.Error != nil {
				c.Errors++
			}
			if x.Failure != nil && x.Error != nil {
				t.Errorf("%s is both", x.Name)
			}
		}
		if c != s.junitCounts {
			t.Errorf("%s holds %v and says %v", s.Name, c, s.junitCounts)
		}
		all.Tests, all.Failures, all.Errors = all.Tests+c.Tests, all.Failures+c.Failures, all.Errors+c.Errors
	}
	if all != got.junitCounts {
		t.Errorf("it holds %v and says %v", all, got.junitCounts)
	}
	for i, want := range []junitCounts{{7, 1, 2, 0}, {3, 1, 1, 0}, {1, 0, 1, 0}, {1, 0, 1, 0}, {2, 1, 0, 0}} {
		if got.Suites[i].junitCounts != want {
			t.Errorf("suite %d: %v, want %v", i, got.Suites[i].junitCounts, want)
		}
	}
}

func TestJUnitSaysWhy(t *testing.T) {
	got := junitOf(t, judged()).Suites[0]
	for _, c := range got.Cases {
		switch c.Name {
		case "scan":
			if c.Failure != nil || c.Error != nil || c.Out == nil || !strings.Contains(c.Out.Text, "verdict: warn\n") || !strings.Contains(c.Out.Text, "why: the vulnerability database is 9.1 days old") {
				t.Errorf("%+v", c)
			}
		case "load":
			if c.Failure == nil || !strings.Contains(c.Failure.Text, "next: gate verify staging --check load") {
				t.Errorf("%+v", c)
			}
		case "config", "update":
			if c.Error == nil {
				t.Errorf("%+v", c)
			}
		}
	}
}
