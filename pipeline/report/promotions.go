package report

import (
	"io"
	"strings"

	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/target"
)

// Transition writes how a promotion ended.
func Transition(w io.Writer, t promotion.Transition) error {
	p := newPrinter(w)
	p.transition(t)
	return p.end()
}

func (p *printer) transition(t promotion.Transition) {
	p.f("%s: %s %s", t.Environment, nounOf(t), p.paint(words(string(t.State))))
	if t.State == promotion.Running {
		p.f(" (%s)", t.Step)
	}
	p.f("\n")
	if t.Why != "" {
		p.hang("  why   ", t.Why)
	}
	if t.Synthetic {
		p.hang("  note  ", "compared with the help of declared synthetic requests")
	}
}

// nounOf is what was tried.
func nounOf(t promotion.Transition) string {
	if t.Kind == promotion.Rollback {
		return "rollback to " + short(t.Release)
	}
	return "promotion of " + short(t.Release)
}

// History writes ended promotions in the order given.
func History(w io.Writer, all []promotion.Transition) error {
	p := newPrinter(w)
	p.history(all)
	return p.end()
}

func (p *printer) history(all []promotion.Transition) {
	if len(all) == 0 {
		p.f("nothing was promoted here yet\n")
		return
	}
	// The reason is a sentence: it gets a line of its own below its row.
	rows := [][]string{{"AT", "KIND", "RELEASE", "COMMIT", "STATE", "BY"}}
	for _, t := range all {
		rows = append(rows, []string{stamp(t.At), string(t.Kind), short(t.Release), short(t.Commit), words(string(t.State)), t.By})
	}
	p.tableWith(4, rows, func(i int) {
		if i > 0 && all[i-1].Why != "" {
			p.hang("  why  ", all[i-1].Why)
		}
	})
}

// Operations writes what a daemon did by itself, in the order given.
func Operations(w io.Writer, all []target.Operation) error {
	p := newPrinter(w)
	p.operations(all)
	return p.end()
}

func (p *printer) operations(all []target.Operation) {
	if len(all) == 0 {
		return
	}
	p.f("\nby itself\n")
	rows := [][]string{{"AT", "KIND", "WHAT", "FROM", "TO"}}
	for _, o := range all {
		rows = append(rows, []string{stamp(o.At), o.Kind, o.What, o.From, o.To})
	}
	p.tableWith(-1, rows, func(i int) {
		if i > 0 && all[i-1].Why != "" {
			p.hang("  why  ", all[i-1].Why)
		}
	})
}

// words is a word of the records as people write it.
func words(s string) string { return strings.ReplaceAll(s, "_", " ") }
