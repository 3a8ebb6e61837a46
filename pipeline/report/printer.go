package report

import (
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"charm.land/lipgloss/v2"
	"golang.org/x/term"
)

// Columns that text is written for.
const (
	pipeWidth = 100 // where nobody says how wide it is
	minWidth  = 60
	maxWidth  = 120 // longer lines are hard to follow
)

// sheet is what text is written on.
type sheet struct {
	width int // columns
	color bool
}

// sheetOf looks at what w is. Colours are for a terminal whose owner has not
// set NO_COLOR (https://no-color.org).
func sheetOf(w io.Writer, getenv func(string) string) sheet {
	width, _, ok := terminalSize(w)
	if !ok {
		return sheet{width: pipeWidth}
	}
	return sheet{
		width: min(max(width, minWidth), maxWidth),
		color: getenv("NO_COLOR") == "" && getenv("TERM") != "dumb",
	}
}

// terminalSize is the size of the terminal that w is; ok says whether it is one.
func terminalSize(w io.Writer) (width, height int, ok bool) {
	f, isFile := w.(*os.File)
	if !isFile || !term.IsTerminal(int(f.Fd())) {
		return 0, 0, false
	}
	width, height, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		return 80, 24, true
	}
	return width, height, true
}

// printer gathers text and writes it at once.
type printer struct {
	w io.Writer
	b strings.Builder
	sheet
}

// newPrinter is the one place where the process's environment is read: what it
// says of colours is meant for whatever writes to the terminal.
func newPrinter(w io.Writer) *printer {
	return &printer{w: w, sheet: sheetOf(w, os.Getenv)}
}

func (p *printer) end() error {
	if _, err := io.WriteString(p.w, uncommanded(p.b.String(), `\x3a`, `\x23`)); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// painted is text with colours of our own, which is not cleaned any more.
type painted string

// f is Fprintf with every text cleaned.
func (p *printer) f(format string, args ...any) {
	for i, a := range args {
		if v := reflect.ValueOf(a); v.Kind() == reflect.String && v.Type() != reflect.TypeFor[painted]() {
			args[i] = clean(v.String())
		}
	}
	fmt.Fprintf(&p.b, format, args...)
}

// clean makes text safe for a terminal: commit subjects, findings and reasons
// are written by others, and must not move the cursor, hide or turn around what
// stands beside them.
func clean(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			b.WriteByte(' ')
		case strings.ContainsRune(blanks, r):
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		case unicode.IsGraphic(r):
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}

// blanks are letters and signs that show nothing.
const blanks = "\u115f\u1160\u2800\u3164\uffa0"

// Colours are the terminal's own sixteen, so that they fit its background.
var colors = map[string]lipgloss.Style{
	"pass":         lipgloss.NewStyle().Foreground(lipgloss.Green),
	"warn":         lipgloss.NewStyle().Foreground(lipgloss.Yellow),
	"fail":         lipgloss.NewStyle().Foreground(lipgloss.Red).Bold(true),
	"inconclusive": lipgloss.NewStyle().Foreground(lipgloss.Magenta),
}

// kindOf says which of the four colours an outcome has; "" is none.
func kindOf(word string) string {
	switch strings.ReplaceAll(strings.ToLower(word), "_", " ") {
	case "pass", "succeeded", "healthy":
		return "pass"
	case "warn", "paused", "progressing":
		return "warn"
	case "fail", "error", "failed", "errored", "rolled back", "degraded":
		return "fail"
	case "inconclusive", "aborted", "refused", "waiting for approval", "held or locked", "unknown",
		"unavailable", "invalid", "not applicable":
		return "inconclusive"
	}
	return ""
}

// paint gives a word the colour of what it says.
func (p *printer) paint(word string) painted {
	word = clean(word)
	style, ok := colors[kindOf(word)]
	if !p.color || !ok {
		return painted(word)
	}
	return painted(style.Render(word))
}

// hang writes text after a label, and further lines below its beginning. Words
// are never broken: commands and digests are there to be copied.
func (p *printer) hang(label, text string) {
	indent := lipgloss.Width(label)
	for i, line := range wrap(clean(text), p.width-indent, false) {
		if i > 0 {
			label = strings.Repeat(" ", indent)
		}
		p.b.WriteString(strings.TrimRight(label+line, " ") + "\n")
	}
}

// wrap breaks text between words so that lines have at most width columns, and
// inside of words only when they are longer than that and hard is set.
func wrap(text string, width int, hard bool) []string {
	var lines []string
	line := ""
	for _, word := range together(text) {
		switch {
		case line == "":
			line = word
		case lipgloss.Width(line)+1+lipgloss.Width(word) <= width:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
		for hard && lipgloss.Width(line) > width {
			head := cut(line, width)
			if head == "" {
				break
			}
			lines, line = append(lines, head), line[len(head):]
		}
	}
	return append(lines, line)
}

// together are the words of text, figures with what belongs to them: "≤ 0.041"
// and "60 s" are no place for a line to end.
func together(text string) []string {
	var out []string
	glue := false
	for _, word := range strings.Fields(text) {
		unit := strings.TrimRight(word, ".,;:)")
		if n := len(out); n > 0 && (glue || isFigure(out[n-1]) && slices.Contains([]string{"s", "ms", "min", "h", "days"}, unit)) {
			out[n-1] += " " + word
		} else {
			out = append(out, word)
		}
		glue = slices.Contains([]string{"≤", "≥", "<", ">", "±"}, strings.TrimLeft(word, "("))
	}
	return out
}

func isFigure(word string) bool { return word[len(word)-1] >= '0' && word[len(word)-1] <= '9' }

// cut is as much of the beginning of s as has at most width columns.
func cut(s string, width int) string {
	return lipgloss.NewStyle().Inline(true).MaxWidth(max(width, 1)).Render(s)
}
