package report

import (
	"cmp"
	"io"
	"slices"
	"strings"

	"github.com/smartcloudops/gate/policies"
)

// Markdown writes a decision as GitHub shows it: the table of criteria, worst
// first, why some do not pass, and the statements that it stands on.
func Markdown(w io.Writer, d policies.Decision) error {
	m := &markdown{}
	return write(w, "Markdown", joined(0, m.decision("##", d), m.ending("", "")))
}

// CheckRun is Markdown within the 65,535 bytes that GitHub takes of a check run.
// Report is the address of the whole report; it may be empty.
func CheckRun(w io.Writer, d policies.Decision, report string) error {
	m := &markdown{most: mostText}
	parts := m.decision("##", d)
	return write(w, "Markdown", joined(mostCheckRun, parts, m.ending(report, "`gate explain` shows all of it")))
}

// symbols are the verdicts, worst first, as they catch the eye.
var symbols = []struct {
	verdict policies.Verdict
	symbol  string
}{
	{policies.Fail, "❌ fail"},
	{policies.Error, "⛔ error"},
	{policies.Inconclusive, "❔ inconclusive"},
	{policies.Warn, "⚠️ warn"},
	{policies.Pass, "✅ pass"},
}

// badness is the place of v in symbols; what is no verdict is an error.
func badness(v policies.Verdict) int {
	for i, s := range symbols {
		if s.verdict == v {
			return i
		}
	}
	return badness(policies.Error)
}

func symbolOf(v policies.Verdict) string { return symbols[badness(v)].symbol }

// Standing is what a page may say of d: never better than the worst of its
// criteria, and Error where none was judged.
func Standing(d policies.Decision) policies.Verdict {
	worst := badness(d.Verdict)
	for _, c := range d.Criteria {
		worst = min(worst, badness(c.Verdict))
	}
	if len(d.Criteria) == 0 {
		worst = min(worst, badness(policies.Error))
	}
	return symbols[worst].verdict
}

// decision are the parts of a page about d; level is that of its heading.
func (m *markdown) decision(level string, d policies.Decision) []part {
	head := level + " " + symbolOf(Standing(d)) + ": " + m.about(d) + "\n\n"
	head += "Release " + orNone(m.code(short(d.Release)))
	if d.Commit != "" {
		head += " of commit " + m.code(short(d.Commit))
	}
	head += ", decided " + stamp(d.At) + ".\n\n"
	if len(d.Criteria) == 0 {
		head += "No criterion could be judged.\n\n"
	}
	return append([]part{{items: []string{head}, what: "heading"}}, m.criteria(d)...)
}

// about is where a decision was made, and for what.
func (m *markdown) about(d policies.Decision) string {
	return orNone(m.prose(d.Environment + inParentheses(string(d.Stage))))
}

// criteria are the table, the reasons and the statements behind them.
func (m *markdown) criteria(d policies.Decision) []part {
	all := slices.Clone(d.Criteria)
	slices.SortStableFunc(all, func(a, b policies.Criterion) int { return cmp.Compare(badness(a.Verdict), badness(b.Verdict)) })
	table := part{open: tableOf("criterion", "verdict", "got", "want", "next"), close: "\n", what: "verdict"}
	reasons := part{close: "\n", what: "reason"}
	for _, c := range all {
		id, next := m.strong(c.ID), ""
		if c.Title != "" {
			id += "<br/>" + m.prose(c.Title)
		}
		if c.Verdict != policies.Pass {
			next = m.code(c.Next)
			if c.Why != "" {
				reasons.items = append(reasons.items, "- "+m.strong(c.ID)+": "+m.prose(c.Why)+"\n")
			}
		}
		table.items = append(table.items, row(id, symbolOf(c.Verdict), m.prose(c.Got), m.prose(c.Want), next))
	}
	return []part{table, reasons, m.statements(d)}
}

// statements are what the decision can be made again from.
func (m *markdown) statements(d policies.Decision) part {
	out := part{open: tableOf("of", "digest"), what: "statement"}
	for _, fact := range [][2]string{{"decision", d.ID}, {"policies", d.PolicyDigest}, {"input", d.InputDigest}} {
		if fact[1] != "" {
			out.items = append(out.items, row(fact[0], m.code(fact[1])))
		}
	}
	for _, c := range d.Criteria {
		for _, digest := range c.Evidence {
			out.items = append(out.items, row("evidence of "+m.prose(c.ID), m.code(digest)))
		}
	}
	return folded("What the decision stands on", out)
}

func orNone(s string) string {
	if strings.TrimSpace(s) == "" {
		return "none"
	}
	return s
}
