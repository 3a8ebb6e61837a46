package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/smartcloudops/gate/policies"
)

type junitSuites struct {
	XMLName xml.Name `xml:"testsuites"`
	Name    string   `xml:"name,attr"`
	junitCounts
	Suites []junitSuite `xml:"testsuite"`
}

type junitCounts struct {
	Tests    int `xml:"tests,attr"`
	Failures int `xml:"failures,attr"`
	Errors   int `xml:"errors,attr"`
	Skipped  int `xml:"skipped,attr"`
}

type junitSuite struct {
	Name      string `xml:"name,attr"`
	Timestamp string `xml:"timestamp,attr"`
	junitCounts
	Properties []junitProperty `xml:"properties>property"`
	Cases      []junitCase     `xml:"testcase"`
}

type junitProperty struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	Failure *junitProblem `xml:"failure"`
	Error   *junitProblem `xml:"error"`
	Out     *junitText    `xml:"system-out"`
}

// junitText keeps its lines as they are.
type junitText struct {
	Text string `xml:",cdata"`
}

type junitProblem struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr"`
	Text    string `xml:",cdata"`
}

// JUnit writes a test suite for each decision, and in it a test case for each
// criterion. Fail is a failure; inconclusive, error and what is no verdict are
// errors; warn has passed, and says why. No decision at all is an error, too.
func JUnit(w io.Writer, all ...policies.Decision) error {
	out := junitSuites{Name: "gate"}
	for _, d := range all {
		out.add(junitSuiteOf(d))
	}
	if len(all) == 0 {
		s := junitSuite{Name: "gate", Timestamp: time.Time{}.Format(junitTime)}
		s.add(policies.Criterion{ID: "decision", Verdict: policies.Error, Why: "nothing was decided"})
		out.add(s)
	}
	text, err := xml.MarshalIndent(out, "", "  ")
	if err != nil {
		return fmt.Errorf("write JUnit XML: %w", err)
	}
	return write(w, "JUnit XML", xml.Header+string(text)+"\n")
}

const junitTime = "2006-01-02T15:04:05"

func (s *junitSuites) add(suite junitSuite) {
	s.Tests, s.Failures, s.Errors = s.Tests+suite.Tests, s.Failures+suite.Failures, s.Errors+suite.Errors
	s.Suites = append(s.Suites, suite)
}

func junitSuiteOf(d policies.Decision) junitSuite {
	s := junitSuite{Name: Line(strings.TrimSpace(d.Environment + " " + string(d.Stage))), Timestamp: d.At.UTC().Format(junitTime)}
	for _, p := range [][2]string{
		{"release", d.Release}, {"commit", d.Commit}, {"verdict", string(d.Verdict)}, {"decision", d.ID}, {"policies", d.PolicyDigest}, {"input", d.InputDigest},
	} {
		if p[1] != "" {
			s.Properties = append(s.Properties, junitProperty{p[0], Line(p[1])})
		}
	}
	worst := policies.Pass
	for _, c := range d.Criteria {
		s.add(c)
		if badness(c.Verdict) < badness(worst) {
			worst = c.Verdict
		}
	}
	// A verdict that no criterion explains would be lost: nothing else in the
	// format holds it.
	if len(d.Criteria) == 0 {
		s.add(policies.Criterion{ID: "decision", Verdict: Standing(d), Why: "no criterion could be judged"})
	} else if badness(d.Verdict) < badness(worst) {
		s.add(policies.Criterion{ID: "decision", Verdict: d.Verdict, Why: "the decision is worse than its criteria"})
	}
	return s
}

func (s *junitSuite) add(c policies.Criterion) {
	out := junitCase{Name: Line(c.ID), Class: strings.ReplaceAll("gate "+s.Name, " ", ".")}
	text := said(c)
	s.Tests++
	switch c.Verdict {
	case policies.Pass, policies.Warn:
		out.Out = &junitText{text}
	case policies.Fail:
		s.Failures++
		out.Failure = &junitProblem{Line(c.Got), string(c.Verdict), text}
	default:
		s.Errors++
		out.Error = &junitProblem{Line(c.Got), Line(string(c.Verdict)), text}
	}
	s.Cases = append(s.Cases, out)
}

// said is everything about c, a line each, none of which begins with what others
// wrote.
func said(c policies.Criterion) string {
	lines := [][2]string{{"title: ", c.Title}, {"verdict: ", string(c.Verdict)}, {"got: ", c.Got}, {"want: ", c.Want}, {"why: ", c.Why}}
	if c.Verdict != policies.Pass {
		lines = append(lines, [2]string{"next: ", c.Next})
	}
	for _, digest := range c.Evidence {
		lines = append(lines, [2]string{"evidence: ", digest})
	}
	var b strings.Builder
	for _, l := range lines {
		if l[1] != "" {
			b.WriteString(l[0] + Line(l[1]) + "\n")
		}
	}
	return b.String()
}
