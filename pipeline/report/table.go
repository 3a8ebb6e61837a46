package report

import (
	"slices"
	"strings"

	"charm.land/lipgloss/v2"
)

const (
	gap = 2 // columns between cells
	// longWord is where a column rather breaks a word than grows with it.
	longWord = 40
)

// table writes rows with aligned columns; the widest cells are wrapped until
// the rows fit. Cells in the column verdicts are painted; -1: none.
func (p *printer) table(verdicts int, rows [][]string) { p.tableWith(verdicts, rows, nil) }

// tableWith calls below after each row, so that what is too long for a cell can
// stand there.
func (p *printer) tableWith(verdicts int, rows [][]string, below func(row int)) {
	n := 0
	for _, r := range rows {
		n = max(n, len(r))
	}
	for _, r := range rows {
		for i := range r {
			r[i] = clean(r[i])
		}
	}
	widths := fit(rows, n, p.width-gap*(n-1))
	for i, r := range rows {
		p.row(r, widths, verdicts)
		if below != nil {
			below(i)
		}
	}
}

func (p *printer) row(r []string, widths []int, verdicts int) {
	cells := make([][]string, len(r))
	height := 0
	for i, text := range r {
		indent := text[:len(text)-len(strings.TrimLeft(text, " "))]
		cells[i] = wrap(text, widths[i]-len(indent), true)
		for j := range cells[i] {
			cells[i][j] = indent + cells[i][j]
		}
		height = max(height, len(cells[i]))
	}
	for line := range height {
		var b strings.Builder
		pad := 0
		for i := range r {
			text := ""
			if line < len(cells[i]) {
				text = cells[i][line]
			}
			if text != "" {
				b.WriteString(strings.Repeat(" ", pad))
				pad = 0
				if i == verdicts {
					b.WriteString(string(p.paint(text)))
				} else {
					b.WriteString(text)
				}
			}
			pad += widths[i] - lipgloss.Width(text) + gap
		}
		p.b.WriteString(b.String() + "\n")
	}
}

// fit gives every column what it needs, and where that is more than there is,
// takes from the widest ones; never so much that common words break.
func fit(rows [][]string, n, room int) []int {
	widths, least := make([]int, n), make([]int, n)
	for _, r := range rows {
		for i, text := range r {
			widths[i] = max(widths[i], lipgloss.Width(text))
			for _, word := range together(text) {
				least[i] = max(least[i], min(lipgloss.Width(word), longWord))
			}
		}
	}
	for sum(widths) > room {
		widest := -1
		for i := range widths {
			if widths[i] > least[i] && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
	}
	return widths
}

func sum(all []int) int {
	n := 0
	for _, x := range all {
		n += x
	}
	return n
}

// sorted are the keys of m in order, so that the same figures look the same.
func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
