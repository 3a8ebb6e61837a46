package github

import (
	"regexp"
	"strings"
)

// markdown gathers lines.
type markdown struct{ strings.Builder }

func (m *markdown) line(s string) {
	m.WriteString(s)
	m.WriteByte('\n')
}

func (m *markdown) fits(s string, limit int) bool { return m.Len()+len(s)+1 <= limit }

var plainCode = regexp.MustCompile(`^[A-Za-z0-9._/-]+(:? ?[A-Za-z0-9._/-]+)*$`)

// code sets digests and names as code; what is none is text.
func code(s string) string {
	switch {
	case s == "":
		return "–"
	case len(s) > 300 || !plainCode.MatchString(s):
		return Inline(clip(s, 300))
	}
	return "`" + s + "`"
}
