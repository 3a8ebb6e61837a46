package report

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/policies"
)

// Decision writes the table of criteria, and for those that do not pass why and
// what to do.
func Decision(w io.Writer, d policies.Decision) error {
	p := newPrinter(w)
	p.decision(d)
	return p.end()
}

func (p *printer) decision(d policies.Decision) {
	p.f("%s%s: %s for release %s\n\n", d.Environment, inParentheses(string(d.Stage)), p.paint(string(d.Verdict)), short(d.Release))
	rows := [][]string{{"CRITERION", "VERDICT", "GOT", "WANT"}}
	for _, c := range d.Criteria {
		rows = append(rows, []string{c.ID, string(c.Verdict), c.Got, c.Want})
	}
	if len(d.Criteria) == 0 {
		p.f("no criterion could be judged\n")
		return
	}
	p.table(1, rows)
	for _, c := range d.Criteria {
		if c.Verdict == policies.Pass {
			continue
		}
		p.f("\n%s: %s\n", c.ID, p.paint(string(c.Verdict)))
		p.hang("  why   ", c.Why)
		if c.Next != "" {
			p.hang("  next  ", c.Next)
		}
	}
}

// Explain writes everything behind a decision. Last, the newest promotion into
// the environment, may be nil.
func Explain(w io.Writer, d promotion.DecisionRecord, last *promotion.Transition) error {
	p := newPrinter(w)
	p.explain(d, last)
	return p.end()
}

func (p *printer) explain(r promotion.DecisionRecord, last *promotion.Transition) {
	d := r.Decision
	p.f("%s%s: %s at %s\n", d.Environment, inParentheses(string(d.Stage)), p.paint(string(d.Verdict)), stamp(d.At))
	p.f("release   %s\n", d.Release)
	if d.Commit != "" {
		p.f("commit    %s\n", d.Commit)
	}
	for _, c := range d.Criteria {
		p.f("\n%s: %s", c.ID, p.paint(string(c.Verdict)))
		if c.Title != "" {
			p.f(", %s", c.Title)
		}
		p.f("\n")
		p.hang("  got       ", c.Got)
		p.hang("  want      ", c.Want)
		if c.Why != "" {
			p.hang("  why       ", c.Why)
		}
		if c.Verdict != policies.Pass && c.Next != "" {
			p.hang("  next      ", c.Next)
		}
		p.behind(c, r.Input.Evidence)
	}
	p.f("\ndecision  %s\npolicies  %s\ninput     %s\n", d.ID, d.PolicyDigest, d.InputDigest)
	if last != nil {
		p.f("\nlast promotion there, %s:\n", stamp(last.At))
		p.transition(*last)
	}
}

// behind writes the evidence that a criterion was judged by.
func (p *printer) behind(c policies.Criterion, all []policies.Record) {
	known := map[string]bool{}
	for _, r := range all {
		if !slices.ContainsFunc(r.Digests, func(d string) bool { return slices.Contains(c.Evidence, d) }) {
			continue
		}
		p.hang("  measured  ", sentence(r))
		for _, d := range r.Digests {
			known[d] = true
			p.f("  evidence  %s\n", d)
		}
		p.findings("            ", findings(r.Payload))
	}
	for _, d := range c.Evidence {
		if !known[d] {
			p.f("  evidence  %s\n", d)
		}
	}
}

// sentence says how a record was measured, and all that speaks against it.
func sentence(r policies.Record) string {
	s := "by check " + r.Check
	if r.Environment != "" {
		s += " in " + r.Environment
	}
	s += fmt.Sprintf(", %s, the newest %s before the decision", plural(max(r.Runs, 1), "run"), seconds(time.Duration(r.AgeSeconds*float64(time.Second))))
	if r.Status != string(checks.Completed) {
		s += fmt.Sprintf("; %s: %s", r.Status, r.Reason)
	}
	if !r.Trusted {
		s += "; not signed by a key that may measure there"
	}
	if r.Trust != string(checks.TrustBase) {
		s += "; measured by code of the change itself"
	}
	return s
}

func inParentheses(s string) string {
	if s == "" {
		return ""
	}
	return " (" + s + ")"
}
