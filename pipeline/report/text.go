package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/run"
	"github.com/smartcloudops/gate/policies"
)

// Text writes the end of a run for people: the table of criteria, what keeps it
// from passing and what to do, what was measured and what stood already, what
// was promoted and serves now, and on the last line how it ended.
func Text(w io.Writer, r *run.Result) error {
	p := newPrinter(w)
	p.run(r)
	return p.end()
}

func (p *printer) run(r *run.Result) {
	if r.Commit == "" {
		return // nothing was taken up, and why is the error's to say
	}
	p.f("\n")
	head := fmt.Sprintf("%s  commit %s", r.App, short(r.Commit))
	if r.Dirty {
		head += " with uncommitted changes"
	}
	if r.Subject != "" {
		head += ": " + r.Subject
	}
	p.hang("", head)
	if r.Release != "" {
		p.f("release %s\n", r.Release)
	}
	if len(r.Findings) > 0 {
		p.f("\n")
		p.findings("", r.Findings)
	}
	if n := len(r.Decisions); n > 0 {
		p.f("\n")
		p.decision(r.Decisions[n-1].Decision)
	}
	p.measured(r)
	if len(r.Promotions) > 0 {
		p.f("\n")
		for _, t := range r.Promotions {
			p.transition(t)
		}
	}
	p.serving(r)
	p.f("\n")
	if r.Next != "" {
		p.hang("next  ", r.Next)
	}
	p.conclusion(r)
}

// conclusion is the last line: the verdict, the duration, and how it ended.
func (p *printer) conclusion(r *run.Result) {
	word := verdictOf(r)
	label := fmt.Sprintf("%s in %s: ", word, seconds(r.Finished.Sub(r.Started)))
	text := r.Summary
	if text == "" {
		text = outcome(r)
	}
	lines := wrap(label+clean(text), p.width-2, false)
	lines[0] = string(p.paint(word)) + strings.TrimPrefix(lines[0], word)
	p.f("%s\n", painted(strings.Join(lines, "\n  ")))
}

// outcome says what a run that nothing stopped has come to.
func outcome(r *run.Result) string {
	for _, e := range r.Environment {
		if e.Name == r.Through && e.Release == r.Release && r.Release != "" && len(r.Decisions) > 0 {
			return fmt.Sprintf("%s serves release %s", e.Name, short(r.Release))
		}
	}
	if n := len(r.Decisions); n > 0 {
		d := r.Decisions[n-1].Decision
		if d.ID != "" {
			return fmt.Sprintf("%s for %s", d.Verdict, d.Environment)
		}
		var ids []string
		for _, c := range d.Criteria {
			ids = append(ids, c.ID)
		}
		return fmt.Sprintf("%s in %s: %s; nothing else was judged", strings.Join(ids, ", "), d.Environment, d.Verdict)
	}
	if len(r.Evidence) > 0 {
		return "measured, and not judged: gate decide " + r.Through
	}
	for _, t := range r.Promotions {
		return fmt.Sprintf("%s: %s %s", t.Environment, nounOf(t), words(string(t.State)))
	}
	if r.Release != "" {
		return "release " + short(r.Release) + " is in the store"
	}
	return "nothing was done"
}

// verdictOf is the word for how a run ended. Only a decision is called PASS.
func verdictOf(r *run.Result) string {
	switch r.Exit {
	case promotion.CodePass:
		n := len(r.Decisions)
		if n == 0 {
			return "DONE"
		}
		switch v := r.Decisions[n-1].Decision.Verdict; v {
		case policies.Pass, policies.Warn, policies.Fail, policies.Inconclusive:
			return strings.ToUpper(string(v))
		}
	case promotion.CodeFail:
		return "FAIL"
	case promotion.CodeInconclusive:
		return "INCONCLUSIVE"
	case promotion.CodeApproval:
		return "WAITING FOR APPROVAL"
	case promotion.CodeLocked:
		return "HELD OR LOCKED"
	case promotion.CodeRolledBack:
		return "ROLLED BACK"
	}
	return "ERROR"
}

// measured says what was measured now, what stood already, what could not be
// measured and what was not begun; the figures, too, where no table of criteria
// shows them.
func (p *printer) measured(r *run.Result) {
	var now, reused, broken, skipped []string
	for _, m := range byCheck(r.Evidence) {
		name := nameOf(m.Evidence)
		switch {
		case m.Evidence.Status != checks.Completed:
			broken = append(broken, fmt.Sprintf("%s (%s: %s)", name, m.Evidence.Status, m.Evidence.Reason))
		case m.Reused:
			reused = append(reused, fmt.Sprintf("%s (%s old%s)", name, seconds(r.Started.Sub(m.Evidence.Finished)), pooled(m.Runs)))
		default:
			now = append(now, fmt.Sprintf("%s (%s%s)", name, seconds(m.Evidence.Finished.Sub(m.Evidence.Started)), pooled(m.Runs)))
		}
	}
	for _, s := range r.Steps {
		if s.State == run.Skipped {
			skipped = append(skipped, s.Name)
		}
	}
	if len(now)+len(reused)+len(broken)+len(skipped) > 0 {
		p.f("\n")
	}
	for _, part := range []struct {
		label string
		all   []string
	}{{"measured      ", now}, {"reused        ", reused}, {"not measured  ", broken}, {"not begun     ", skipped}} {
		if len(part.all) > 0 {
			p.hang(part.label, strings.Join(part.all, ", "))
		}
	}
	if len(r.Decisions) == 0 {
		for _, m := range byCheck(r.Evidence) {
			p.f("\n")
			p.figures(m)
		}
	}
}

func pooled(runs int) string {
	if runs > 1 {
		return fmt.Sprintf(", %d runs", runs)
	}
	return ""
}

// serving lists the addresses, and how to reach them.
func (p *printer) serving(r *run.Result) {
	if len(r.Environment) == 0 {
		return
	}
	p.f("\n")
	var rows [][]string
	for _, e := range r.Environment {
		what := "serves " + short(e.Release)
		if r.Release != "" && e.Release != r.Release {
			what += ", not this release"
		}
		rows = append(rows, []string{e.Name, e.URL, what})
	}
	p.table(-1, rows)
	for _, e := range r.Environment {
		if e.CA != "" {
			p.hang("  ", "curl --cacert "+quote(e.CA)+" "+quote(e.URL))
		}
	}
}

// quote makes a word that a shell takes as it is.
func quote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./_-") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
