package github

import "strings"

// markdown gathers lines.
type markdown struct{ strings.Builder }

func (m *markdown) line(s string) {
	m.WriteString(s)
	m.WriteByte('\n')
}

func (m *markdown) fits(s string, limit int) bool { return m.Len()+len(s)+1 <= limit }

// code is a short text that can't be anything but itself: digests, names.
func code(s string) string {
	s = strings.NewReplacer("`", "'", "|", "\\|").Replace(Line(s, 300))
	if s == "" {
		return "–"
	}
	return "`" + s + "`"
}
