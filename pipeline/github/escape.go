package github

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// joint is put between characters that GitHub would else take together: it
// can't be seen, and breaks mentions, references, links, emoji and commands.
const joint = "\u200b"

// visible drops what could hide or turn around text: control and format
// characters, bidirectional ones among them, and what is no UTF-8. Line ends
// become \n.
func visible(s string) string { return strip(s, false) }

// markup is visible for text that has been through Inline or Block, whose joints
// must stay.
func markup(s string) string { return strip(s, true) }

func strip(s string, joints bool) string {
	s = strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n <= 1:
			b.WriteRune(unicode.ReplacementChar)
		case r == '\n' || r == '\t':
			b.WriteRune(r)
		case joints && string(r) == joint:
			b.WriteRune(r)
		case r == '\u2028' || r == '\u2029' || r == '\u0085':
			b.WriteByte('\n')
		case unicode.IsGraphic(r) && !unicode.Is(unicode.Cf, r) && !filler(r):
			b.WriteRune(r)
		case unicode.IsControl(r):
			b.WriteRune(unicode.ReplacementChar)
		}
		s = s[n:]
	}
	return b.String()
}

// filler are letters that show nothing.
func filler(r rune) bool {
	return r == '\u115f' || r == '\u1160' || r == '\u3164' || r == '\uffa0' || r == '\u2800'
}

// Line is s on one line of at most limit bytes, safe in a log, an error or a
// title: nothing hidden, no workflow command.
func Line(s string, limit int) string {
	return clip(commandless(strings.Join(strings.Fields(visible(s)), " ")), limit)
}

// commandless breaks what the runner of a workflow takes for a command.
func commandless(s string) string {
	for strings.Contains(s, "::") { // twice for an odd number of them
		s = strings.ReplaceAll(s, "::", ":"+joint+":")
	}
	return strings.ReplaceAll(s, "##[", "#"+joint+"#[")
}

// Log is s, line ends kept, safe to be printed in a workflow's log.
func Log(s string) string { return commandless(visible(s)) }

// Inline is untrusted text within a line of Markdown, a table's cell too: it
// shows as it is, and can't become a heading, link, image, tag, mention,
// reference, emoji or formula.
func Inline(s string) string {
	s = strings.Join(strings.Fields(visible(s)), " ")
	var b strings.Builder
	for i, r := range s {
		next := byte(0)
		if i+1 < len(s) {
			next = s[i+1]
		}
		switch {
		case r == '<':
			b.WriteString("&lt;")
		case r == '>':
			b.WriteString("&gt;")
		case r == '&':
			b.WriteString("&amp;")
		case r == '$':
			b.WriteString("<span>$</span>")
		case r == '@' || r == '#':
			b.WriteString("\\" + string(r) + joint)
		case r == ':' && next != ' ' && next != 0:
			b.WriteString(":" + joint)
		case r == '.' && i >= 3 && strings.EqualFold(s[i-3:i], "www"):
			b.WriteString("." + joint)
		case r == '-' && i >= 2 && strings.EqualFold(s[i-2:i], "gh"):
			b.WriteString("\\-" + joint)
		case strings.ContainsRune("\\`*_{}[]()+-!|~=\"'^", r):
			b.WriteString("\\" + string(r))
		case r == '.' && digits(s[:i]):
			b.WriteString("\\.") // else a numbered list
		default:
			b.WriteRune(r)
		}
	}
	return unlinked(b.String())
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// unlinked breaks long hexadecimal words, which GitHub links to commits of that
// name and thereby mentions there.
func unlinked(s string) string {
	f := strings.Split(s, " ")
	for i, w := range f {
		if len(w) >= 7 && len(w) <= 40 && strings.Trim(w, "0123456789abcdef") == "" {
			f[i] = w[:6] + joint + w[6:]
		}
	}
	return strings.Join(f, " ")
}

// Block is untrusted text of several lines as a fenced block of Markdown, of at
// most limit bytes, fence and note of what is left out included. The fence is
// longer than any within, so that the text can't end it.
func Block(s string, limit int) string {
	s = strings.Trim(commandless(visible(s)), "\n")
	longest, run := 2, 0
	for _, r := range s {
		if r == '`' {
			run++
			longest = max(longest, run)
		} else {
			run = 0
		}
	}
	fence := strings.Repeat("`", longest+1)
	room := limit - 2*len(fence) - len("text\n\n")
	if room <= 0 {
		return ""
	}
	return fence + "text\n" + clip(s, room) + "\n" + fence
}

// clip shortens s to limit bytes at a rune's end and says so.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	const more = "…"
	if limit < len(more) {
		return ""
	}
	s = s[:limit-len(more)]
	for len(s) > 0 {
		if r, n := utf8.DecodeLastRuneInString(s); r != utf8.RuneError || n > 1 {
			break
		}
		s = s[:len(s)-1]
	}
	return s + more
}
