package report

import (
	"io"
	"strings"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/policies"
)

// CommentMarker is the first line of the one comment that gate keeps up to date
// in a pull request. Nothing that others wrote can look like it.
const CommentMarker = "<!-- gate:comment -->"

// CommentData is what that comment tells.
type CommentData struct {
	Commit string // head of the change, in full
	// Binding says that gate's own app publishes the check runs, so that a
	// protected branch can ask for them. Else all of it is advisory.
	Binding  bool
	Decision *policies.Decision // nil: none was made, and Problem says why
	Problem  string
	Next     string // what to do now
	Plan     *Plan  // nil: none was made
	Report   string // address of the whole report
}

// Comment writes at most 64,512 bytes, which leaves room for a line before them
// in the 65,536 that GitHub takes. Their first line is CommentMarker; what does
// not fit is counted at the end.
func Comment(w io.Writer, c CommentData) error {
	m := &markdown{most: mostText}
	verdict, about := policies.Error, "nothing was decided"
	if c.Decision != nil {
		verdict, about = Standing(*c.Decision), m.about(*c.Decision)
	}
	head := CommentMarker + "\n## gate: " + symbolOf(verdict) + ": " + about + "\n\n" + "Commit " + orNone(m.code(c.Commit))
	if c.Decision != nil && c.Decision.Release != "" {
		head += ", release " + m.code(short(c.Decision.Release)) + ", decided " + stamp(c.Decision.At)
	}
	head += ".\n\n"
	if !c.Binding {
		head += "**Advisory**: not published by gate's own app, so a protected branch must not rely on it.\n\n"
	}
	if c.Problem != "" {
		head += "**Problem**: " + m.prose(c.Problem) + "\n\n"
	}
	if c.Next != "" {
		head += "**Next**: " + m.code(c.Next) + "\n\n"
	}
	parts := []part{{items: []string{head}, what: "heading"}}
	var behind []part
	if c.Decision != nil {
		all := m.criteria(*c.Decision)
		parts, behind = append(parts, all[:len(all)-1]...), all[len(all)-1:]
	}
	parts = append(append(parts, m.plan(c.Plan)...), behind...)
	return write(w, "the comment", joined(mostComment, parts, m.ending(c.Report, "`gate explain` and `gate plan` show all of it")))
}

// plan are the parts that tell what the change would do.
func (m *markdown) plan(p *Plan) []part {
	head := "### Plan\n\n"
	if p == nil {
		return []part{{items: []string{head + "None was made.\n\n"}, what: "heading"}}
	}
	if p.Problem != "" {
		head += "**Problem**: " + m.prose(p.Problem) + "\n\n"
	}
	if len(p.Environments) == 0 {
		head += "No environment is planned.\n\n"
	}
	table := part{open: tableOf("environment", "now", "by this change"), close: "\n", what: "environment"}
	notes := part{close: "\n", what: "note"}
	migrations := part{open: tableOf("environment", "migration added", "finding"), close: "\n", what: "migration line"}
	changes := part{open: tableOf("environment", "configuration", "change", "now", "by this change"), close: "\n", what: "configuration difference"}
	for _, e := range p.Environments {
		table.items = append(table.items, row(m.strong(e.Name), m.side(e.now()), m.side(e.next())))
		for _, note := range [][2]string{{"problem", e.Problem}, {"held", e.Held}} {
			if note[1] != "" {
				notes.items = append(notes.items, "- "+m.strong(e.Name)+", "+note[0]+": "+m.prose(note[1])+"\n")
			}
		}
		for _, g := range e.Migrations {
			for _, f := range g.Findings {
				place := placeOf(f)
				if place == "" {
					place = g.File
				}
				migrations.items = append(migrations.items, row(m.prose(e.Name), m.code(place), m.prose(inOneLine(f))))
			}
			if len(g.Findings) == 0 {
				migrations.items = append(migrations.items, row(m.prose(e.Name), m.code(g.File), "none"))
			}
		}
		for _, c := range e.Changes {
			from, to := c.sides()
			changes.items = append(changes.items, row(m.prose(e.Name), m.code(c.Name), m.prose(string(c.Change)), m.side(from), m.side(to)))
		}
	}
	return []part{{items: []string{head}, what: "heading"}, table, notes, migrations, changes}
}

// side is a cell of the plan: names as code, and words as words.
func (m *markdown) side(s side) string {
	if s.value == "" {
		return orNone(s.word)
	}
	return m.code(s.value)
}

// inOneLine is a finding without its place.
func inOneLine(f checks.Finding) string {
	s, _, _ := strings.Cut(strings.TrimSpace(f.Message), "\n")
	if f.Rule != "" {
		s = f.Rule + ": " + s
	}
	if f.Severity != "" {
		s = f.Severity + ": " + s
	}
	if f.Fix != "" {
		s += "; fix: " + f.Fix
	}
	return s
}
