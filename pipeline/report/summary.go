package report

import (
	"io"
	"strings"

	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/run"
)

// Summary writes a run as the summary of a job, in Markdown within the 1 MiB
// that GitHub takes of one. Report is the address of the whole report; it may be
// empty.
func Summary(w io.Writer, r *run.Result, report string) error {
	m := &markdown{most: mostText}
	parts := []part{m.headOf(r)}
	if len(r.Findings) > 0 {
		parts = append(parts, preformatted("line on the build", func(p *printer) { p.findings("", r.Findings) }))
	}
	if n := len(r.Decisions); n > 0 {
		parts = append(parts, m.decision("###", r.Decisions[n-1].Decision)...)
		parts = append(parts, m.earlier(r.Decisions[:n-1]))
	}
	parts = append(parts, m.promotions(r), m.addresses(r), m.measured(r))
	if lines := preformatted("line on findings", func(p *printer) { found(p, r) }); len(lines.items) > 0 {
		parts = append(parts, folded("What was found", lines))
	}
	parts = append(parts, m.steps(r))
	return write(w, "the summary", joined(mostSummary, parts, m.ending(report, "`gate report` shows all of it")))
}

// runSymbols are the words for how a run ended, as they catch the eye. Any other
// is an error.
var runSymbols = map[string]string{
	"PASS": "✅ ", "WARN": "⚠️ ", "FAIL": "❌ ", "ROLLED BACK": "❌ ", "INCONCLUSIVE": "❔ ",
	"WAITING FOR APPROVAL": "⏳ ", "HELD OR LOCKED": "✋ ", "DONE": "",
}

// headOf says what was run, and how it ended.
func (m *markdown) headOf(r *run.Result) part {
	word := verdictOf(r)
	symbol, ok := runSymbols[word]
	if !ok {
		symbol = "⛔ "
	}
	ended := r.Summary
	if ended == "" {
		ended = outcome(r)
	}
	head := "## " + symbol + word + ": " + orNone(m.prose(r.App))
	if r.Through != "" {
		head += " through " + m.prose(r.Through)
	}
	head += "\n\n" + m.prose(ended) + "\n\n"
	if r.Next != "" {
		head += "**Next**: " + m.code(r.Next) + "\n\n"
	}
	head += "- commit " + orNone(m.code(r.Commit))
	if r.Dirty {
		head += " with uncommitted changes"
	}
	if r.Subject != "" {
		head += ": " + m.prose(r.Subject)
	}
	head += "\n"
	if r.Release != "" {
		head += "- release " + m.code(r.Release) + "\n"
	}
	head += "- " + stamp(r.Started)
	if r.Finished.After(r.Started) {
		head += ", took " + seconds(r.Finished.Sub(r.Started))
	}
	return part{items: []string{head + "\n\n"}, what: "heading"}
}

// earlier are the decisions that led to the last one.
func (m *markdown) earlier(all []promotion.DecisionRecord) part {
	out := part{open: "Decided before in this run:\n\n", close: "\n", what: "decision"}
	for _, d := range all {
		out.items = append(out.items, "- "+symbolOf(Standing(d.Decision))+": "+m.about(d.Decision)+", "+m.code(short(d.Decision.ID))+"\n")
	}
	return out
}

func (m *markdown) promotions(r *run.Result) part {
	out := part{open: "### Promotions\n\n" + tableOf("environment", "what", "state", "why"), close: "\n", what: "promotion"}
	for _, t := range r.Promotions {
		why := m.prose(t.Why)
		if t.Synthetic {
			why = strings.TrimSpace(why + " Compared with the help of declared synthetic requests.")
		}
		what := "promotion of "
		if t.Kind == promotion.Rollback {
			what = "rollback to "
		}
		out.items = append(out.items, row(m.strong(t.Environment), what+orNone(m.code(short(t.Release))), m.prose(words(string(t.State))), why))
	}
	return out
}

func (m *markdown) addresses(r *run.Result) part {
	out := part{open: "### Addresses\n\n" + tableOf("environment", "address", "serves"), close: "\n", what: "address"}
	for _, e := range r.Environment {
		what := orNone(m.code(short(e.Release)))
		if r.Release != "" && e.Release != r.Release {
			what += ", not this release"
		}
		out.items = append(out.items, row(m.strong(e.Name), m.code(e.URL), what))
	}
	return out
}

func (m *markdown) measured(r *run.Result) part {
	out := part{open: tableOf("check", "status", "measured", "took", "statement"), what: "measurement"}
	for _, e := range byCheck(r.Evidence) {
		status := m.prose(words(string(e.Evidence.Status)))
		if e.Reused {
			status += ", reused"
		}
		status += pooled(e.Runs)
		figures := figuresOf(e.Evidence)
		if e.Evidence.Reason != "" {
			figures = strings.TrimSuffix(e.Evidence.Reason+"; "+figures, "; ")
		}
		took := seconds(e.Evidence.Finished.Sub(e.Evidence.Started))
		out.items = append(out.items, row(m.strong(nameOf(e.Evidence)), status, m.prose(figures), took, m.code(short(e.Digest))))
	}
	return folded("What was measured", out)
}

// found writes the findings of the checks.
func found(p *printer, r *run.Result) {
	for _, e := range byCheck(r.Evidence) {
		if all := findings(e.Evidence.Payload); len(all) > 0 {
			p.f("%s: %s\n", nameOf(e.Evidence), plural(len(all), "finding"))
			p.findings("  ", all)
		}
	}
}

func (m *markdown) steps(r *run.Result) part {
	out := part{open: tableOf("step", "state", "begun after", "took", "note"), what: "step"}
	for _, s := range r.Steps {
		cells := []string{m.strong(s.Name), "not begun", "", "", m.prose(s.Note)}
		if s.State != run.Skipped {
			cells[1], cells[2], cells[3] = m.prose(string(s.State)), seconds(s.Offset), seconds(s.Took)
		}
		out.items = append(out.items, row(cells...))
	}
	return folded("Steps and their times", out)
}
