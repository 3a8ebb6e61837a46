package scaffold

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// page is a YAML file that explains itself.
type page struct{ strings.Builder }

// width is where comments are broken.
const width = 100

// note writes a comment, indented by so many levels, broken at spaces.
func (p *page) note(level int, format string, args ...any) {
	lead := strings.Repeat("  ", level) + "#"
	at := lead
	for _, word := range strings.Fields(clean(fmt.Sprintf(format, args...))) {
		if len(at)+1+len(word) > width && at != lead {
			p.WriteString(at + "\n")
			at = lead
		}
		at += " " + word
	}
	p.WriteString(at + "\n")
}

// off writes a line that is commented out.
func (p *page) off(level int, format string, args ...any) {
	p.WriteString(strings.Repeat("  ", level) + "# " + clean(fmt.Sprintf(format, args...)) + "\n")
}

func (p *page) line(level int, format string, args ...any) {
	p.WriteString(strings.Repeat("  ", level) + fmt.Sprintf(format, args...) + "\n")
}

func (p *page) gap() { p.WriteString("\n") }

// clean keeps what stands in somebody's source from ending a comment.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == '\ufeff' || r == unicode.ReplacementChar {
			return '?'
		}
		return r
	}, s)
}

// plain is text that YAML reads as that text, in a list in brackets as well.
var plain = regexp.MustCompile(`^[A-Za-z./][A-Za-z0-9_./-]*$`)

// quote writes s so that YAML reads it as that text.
func quote(s string) string {
	switch strings.ToLower(s) {
	case "true", "false", "null", "yes", "no", "on", "off", "y", "n", ".inf", ".nan":
	default:
		if plain.MatchString(s) {
			return s
		}
	}
	b, _ := json.Marshal(s) // a string can always be written
	return string(b)
}

func list(all []string) string {
	quoted := make([]string, len(all))
	for i, s := range all {
		quoted[i] = quote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// places names settings with where they stand, three at most.
func places(all []setting) string {
	var s []string
	for i, f := range all {
		if i == 3 {
			s = append(s, fmt.Sprintf("and %d more", len(all)-3))
			break
		}
		s = append(s, f.shown()+" ("+f.at+")")
	}
	return strings.Join(s, ", ")
}

func (s setting) shown() string {
	if s.flag {
		return "--" + s.name
	}
	return s.name
}
