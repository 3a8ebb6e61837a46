package report

import (
	"fmt"
	"io"
	"net/url"
	"strings"
)

// Bytes that GitHub takes of a text. It counts characters, of which there are
// never more.
const (
	mostCheckRun = 65_535
	mostComment  = 65_536 - 1024 // whoever publishes it puts a line of its own before
	mostSummary  = 1 << 20
	// mostText is what one text may take of a page that is bounded, so that none
	// displaces the others.
	mostText = 2_000
)

// part is a piece of a page. Its items, one or more lines each, stand between
// open and close, which stand only where an item does.
type part struct {
	open, close string
	items       []string
	what        string // one item, for the statement of what was cut
}

// joined are the parts with at most limit bytes, 0 for all of them, and the tail
// at the end, which is told what was cut. Items are cut from the end of a part,
// so what matters most comes first in it; half of the page is shared alike, so
// that no part displaces all that follow.
func joined(limit int, parts []part, tail func(cut []string) string) string {
	var worst, cut []string
	for _, p := range parts {
		worst = append(worst, plural(len(p.items), p.what))
	}
	room := limit - len(tail(worst))
	kept, used := make([]int, len(parts)), make([]int, len(parts))
	for _, share := range []int{room / (2*len(parts) + 1), room} {
		for i, p := range parts {
			for kept[i] < len(p.items) {
				more := len(p.items[kept[i]])
				if kept[i] == 0 {
					more += len(p.open) + len(p.close)
				}
				if used[i]+more > share && limit > 0 || more > room && limit > 0 {
					break
				}
				kept[i], used[i], room = kept[i]+1, used[i]+more, room-more
			}
		}
	}
	var b strings.Builder
	for i, p := range parts {
		if kept[i] > 0 {
			b.WriteString(p.open + strings.Join(p.items[:kept[i]], "") + p.close)
		}
		if n := len(p.items) - kept[i]; n > 0 {
			cut = append(cut, plural(n, p.what))
		}
	}
	b.WriteString(tail(cut))
	return b.String()
}

// markdown writes the texts of a page.
type markdown struct {
	most      int // bytes of one text; 0: as many as it has
	shortened int // texts that had more
}

func (m *markdown) prose(s string) string  { return m.fit(s, prose) }
func (m *markdown) code(s string) string   { return m.fit(s, code) }
func (m *markdown) strong(s string) string { return "<b>" + m.fit(s, prose) + "</b>" }

// fit shortens s until as makes at most m.most bytes of it.
func (m *markdown) fit(s string, as func(string) string) string {
	if m.most == 0 {
		return as(s)
	}
	if len(s) <= m.most {
		if out := as(s); len(out) <= m.most {
			return out
		}
	}
	m.shortened++
	head := []rune(s[:min(len(s), m.most)])
	for keep := len(head); ; keep = keep * 3 / 4 {
		if out := as(string(head[:keep]) + "…"); len(out) <= m.most || keep == 0 {
			return out
		}
	}
}

// row is one row of a table.
func row(cells ...string) string { return "| " + strings.Join(cells, " | ") + " |\n" }

// tableOf is the head of a table.
func tableOf(heads ...string) string {
	return row(heads...) + strings.Repeat("| --- ", len(heads)) + "|\n"
}

// folded is a part that is opened by a click.
func folded(title string, p part) part {
	p.open = "<details>\n<summary>" + escape(title) + "</summary>\n\n" + p.open
	if p.close = strings.TrimRight(p.close, "\n"); p.close != "" {
		p.close += "\n"
	}
	p.close += "\n</details>\n\n"
	return p
}

// preformatted are lines as a terminal shows them.
func preformatted(what string, write func(p *printer)) part {
	p := &printer{sheet: sheet{width: pipeWidth}}
	write(p)
	out := part{open: "<pre>\n", close: "</pre>\n\n", what: what}
	for line := range strings.Lines(p.b.String()) {
		out.items = append(out.items, escape(strings.TrimRight(line, "\n"))+"\n")
	}
	return out
}

// link leads to an address on the web. One that is none is shown as it is.
func link(title, address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
		return prose(title) + " " + code(address)
	}
	var b strings.Builder
	for _, c := range []byte(u.String()) {
		switch {
		case c == '&':
			b.WriteString("&amp;")
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-._~:/?#@!$',;=+%", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return "[" + references(clean(title)) + "](" + b.String() + ")"
}

// ending is the tail of a page: what was cut, and where all of it is.
func (m *markdown) ending(address, otherwise string) func(cut []string) string {
	return func(cut []string) string {
		if m.shortened > 0 {
			cut = append(cut[:len(cut):len(cut)], plural(m.shortened, "long text"))
		}
		all := otherwise
		if address != "" {
			all = link("the report", address) + " has all of it"
		}
		if len(cut) == 0 {
			if address == "" {
				return ""
			}
			return link("The report", address) + " has what was measured.\n"
		}
		return "> Cut to fit: " + strings.Join(cut, ", ") + " left out or shortened; " + all + ".\n"
	}
}

func write(w io.Writer, what, text string) error {
	if _, err := io.WriteString(w, uncommanded(text, "&#58;", "&#35;")); err != nil {
		return fmt.Errorf("write %s: %w", what, err)
	}
	return nil
}
