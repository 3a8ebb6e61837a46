package report

import (
	"fmt"
	"io"
	"time"

	"github.com/smartcloudops/gate/pipeline/promotion"
)

// Figures writes what an environment's history adds up to.
func Figures(w io.Writer, f promotion.Figures) error {
	p := newPrinter(w)
	p.f("\nsince %s\n", stamp(f.Since))
	p.f("  changes        %d, %.1f a week\n", f.Changes, f.PerWeek)
	if f.Changes > 0 {
		p.f("  failed         %d (%.0f%%)\n", f.Failed, 100*f.FailureRate)
	}
	if f.Aborted > 0 {
		p.f("  aborted        %d with a share of the traffic, and no verdict\n", f.Aborted)
	}
	p.spans("  lead time      ", f.Lead)
	p.spans("  time to restore", f.Restore)
	if len(f.Criteria) > 0 {
		p.f("\n")
		rows := [][]string{{"CRITERION", "DECISIONS", "FAILED", "STOPPED ALONE", "RUNS", "MINUTES", "FLAKES"}}
		for _, c := range f.Criteria {
			rows = append(rows, []string{c.ID, fmt.Sprint(c.Decisions), fmt.Sprint(c.Failed), fmt.Sprint(c.Alone), fmt.Sprint(c.Runs), fmt.Sprintf("%.1f", c.Minutes), fmt.Sprintf("%d of %d", c.Flaked, c.Repeated)})
		}
		p.table(-1, rows)
	}
	return p.end()
}

func (p *printer) spans(label string, s promotion.Spans) {
	if s.N == 0 {
		return
	}
	p.f("%s  median %s, 90%% within %s (%d)\n", label, spent(s.Median), spent(s.P90), s.N)
}

func spent(x float64) string {
	d := time.Duration(x * float64(time.Second))
	if d < time.Minute {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
