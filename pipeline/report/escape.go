package report

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// escape makes text that others wrote safe at every place of a page that GitHub
// shows: in a paragraph, in a cell of a table, and between HTML tags. Whatever
// could open, close or link something becomes a character reference, which
// Markdown and HTML show and never obey. It is one line, and the caller's tags
// around it say what it is.
func escape(s string) string { return references(clean(s)) }

// references is escape of what is clean already.
func references(s string) string {
	var b strings.Builder
	lead := true // a number at the beginning of a line and a point after it make a list
	all := []rune(s)
	for i, r := range all {
		switch {
		case r == '@':
			// A comment on the left, or what reads like an address of mail is made
			// a link, whether or not its characters were references.
			b.WriteString("<!-- -->&#64;")
		case r < unicode.MaxASCII && (unicode.IsPunct(r) || unicode.IsSymbol(r)) && (lead || !quiet(all, i)):
			fmt.Fprintf(&b, "&#%d;", r)
		default:
			b.WriteRune(r)
		}
		lead = lead && (r == ' ' || unicode.IsDigit(r))
	}
	return b.String()
}

// quiet says whether the mark at i means nothing within a line: "a.b" may be a
// host, and "a:b" the name of an emoji or of a protocol.
func quiet(all []rune, i int) bool {
	switch all[i] {
	case ',', '(', ')', '%', ';', '/', '+', '-', '=', '?', '\'':
		return true
	case '.':
		return i+1 == len(all) || all[i+1] == ' ' || unicode.IsDigit(all[i+1])
	case ':':
		return i+1 == len(all) || all[i+1] == ' '
	}
	return false
}

// plainText has nothing in it but words, figures and the marks of a sentence.
var plainText = regexp.MustCompile(`^[\p{Latin}0-9 ,.;:!?'"()%/+=<>≤≥±×–µ-]*$`)

// linked is what GitHub makes a link or a picture of when it has rendered a
// page, so that no escaping helps: commits, issues, hosts, emoji.
var linked = regexp.MustCompile(`(?i)\b[0-9a-f]{7,}\b|gh-[0-9]|www\.|:(\S|$)`)

// prose is text within a paragraph or a cell. What is more than a sentence is
// shown as code, the only place where GitHub looks for no mention, no link, no
// emoji and no formula.
func prose(s string) string {
	s = strings.Join(strings.Fields(clean(s)), " ")
	if s == "" || plainText.MatchString(s) && !linked.MatchString(s) {
		return references(s)
	}
	return "<code>" + references(s) + "</code>"
}

// bare is what can stand between backticks as it is.
var bare = regexp.MustCompile(`^[\p{Latin}0-9_./:;=,+() -]+$`)

// code is a name, a digest or a command within a paragraph or a cell.
func code(s string) string {
	s = strings.Join(strings.Fields(clean(s)), " ")
	switch {
	case s == "":
		return ""
	case bare.MatchString(s):
		return "`" + s + "`"
	}
	return "<code>" + references(s) + "</code>"
}

// Line is text that others wrote as a line of a log, which neither a terminal
// nor the runner of a workflow obeys.
func Line(s string) string { return uncommanded(clean(s), `\x3a`, `\x23`) }

// uncommanded is a text without what the runner of a workflow, which reads the
// lines of its log, would take for a command: two colons at the beginning of a
// line, or two number signs and a bracket anywhere. Colon and hash take the
// place of one of them, as the format writes a character by its number.
func uncommanded(s, colon, hash string) string {
	s = strings.ReplaceAll(s, "##[", "#"+hash+"[")
	if !strings.Contains(s, "::") {
		return s
	}
	var b strings.Builder
	for line := range strings.Lines(s) {
		text := strings.TrimLeftFunc(line, unicode.IsSpace)
		if rest, ok := strings.CutPrefix(text, "::"); ok {
			line = line[:len(line)-len(text)] + colon + ":" + rest
		}
		b.WriteString(line)
	}
	return b.String()
}
