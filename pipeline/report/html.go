package report

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"sort"
	"strings"
	"time"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/run"
	"github.com/smartcloudops/gate/policies"
)

//go:embed report.html
var htmlText string

var htmlTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"short": short, "stamp": stamp, "seconds": seconds, "word": verdictOf,
	"class": func(s any) string { return "v-" + strings.ReplaceAll(fmt.Sprint(s), "_", "-") },
	"pct":   func(v float64) float64 { return v * 100 },
	"ms":    func(v float64) string { return fmt.Sprintf("%.1f ms", v*1000) },
	"share": func(n, of int64) string {
		if of == 0 {
			return "–"
		}
		return fmt.Sprintf("%.3f%%", 100*float64(n)/float64(of))
	},
}).Parse(htmlText))

type page struct {
	Run       *run.Result
	Decision  *policies.Decision
	Earlier   []policies.Decision
	Loads     []loadFigures
	Updates   []updateFigures
	Findings  []checks.Finding
	Gantt     template.HTML
	Synthetic bool
}

type loadFigures struct {
	Title   string
	Phases  []phaseFigures
	Payload checks.LoadPayload
}

type phaseFigures struct {
	Name     string
	Phase    checks.LoadPhase
	Timeline template.HTML
}

type updateFigures struct {
	Payload checks.UpdatePayload
}

// HTML writes a run as one file that needs nothing from anywhere else.
func HTML(w io.Writer, r *run.Result) error {
	p := page{Run: r, Findings: r.Findings, Gantt: gantt(r)}
	for _, d := range r.Decisions {
		p.Earlier = append(p.Earlier, d.Decision)
	}
	if n := len(p.Earlier); n > 0 {
		p.Decision, p.Earlier = &p.Earlier[n-1], p.Earlier[:n-1]
	}
	for _, t := range r.Promotions {
		p.Synthetic = p.Synthetic || t.Synthetic
	}
	evidence := append([]run.Measured{}, r.Evidence...)
	sort.SliceStable(evidence, func(i, j int) bool {
		return evidence[i].Evidence.Check+evidence[i].Evidence.Environment < evidence[j].Evidence.Check+evidence[j].Evidence.Environment
	})
	for _, m := range evidence {
		p.Findings = append(p.Findings, findings(m.Evidence.Payload)...)
		switch m.Evidence.Check {
		case "load":
			var x checks.LoadPayload
			if json.Unmarshal(m.Evidence.Payload, &x) == nil {
				p.Loads = append(p.Loads, loadOf(m, x))
			}
		case "update":
			var x checks.UpdatePayload
			if json.Unmarshal(m.Evidence.Payload, &x) == nil {
				p.Updates = append(p.Updates, updateFigures{x})
			}
		}
	}
	if err := htmlTemplate.Execute(w, p); err != nil {
		return fmt.Errorf("write HTML: %w", err)
	}
	return nil
}

func loadOf(m run.Measured, x checks.LoadPayload) loadFigures {
	f := loadFigures{Title: fmt.Sprintf("%d users, think time %.3g s", x.Users, x.ThinkSeconds), Payload: x}
	for _, ph := range []phaseFigures{{Name: "closed model", Phase: x.Closed}, {Name: "open model, from the schedule", Phase: x.Open}} {
		ph.Timeline = timeline(ph.Phase.Timeline)
		f.Phases = append(f.Phases, ph)
	}
	if m.Reused {
		f.Title += ", measured " + stamp(m.Evidence.Finished)
	}
	return f
}

// timeline draws p50 and p99 of each second as inline SVG, and marks seconds in
// which requests failed.
func timeline(points []checks.TimelinePoint) template.HTML {
	if len(points) == 0 {
		return ""
	}
	const width, height, left, bottom = 760.0, 180.0, 60.0, 20.0
	top := 0.0
	for _, p := range points {
		top = max(top, p.P50, p.P99)
	}
	if top == 0 {
		top = 0.001
	}
	top *= 1.1
	last := float64(max(points[len(points)-1].Second, 1))
	x := func(s int) float64 { return left + (width-left-10)*float64(s)/last }
	y := func(v float64) float64 { return 10 + (height-bottom-10)*(1-v/top) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %g %g" role="img" aria-label="latency by second">`, width, height)
	for i := range 5 {
		v := top * float64(i) / 4
		fmt.Fprintf(&b, `<line class="grid" x1="%g" x2="%g" y1="%.1f" y2="%.1f"/><text class="tick" x="%g" y="%.1f" text-anchor="end">%.3g ms</text>`,
			left, width-10, y(v), y(v), left-6, y(v)+4, v*1000)
	}
	for _, p := range points {
		if p.Failed > 0 {
			fmt.Fprintf(&b, `<line class="failed" x1="%.1f" x2="%.1f" y1="10" y2="%.1f"><title>second %d: %d of %d failed</title></line>`, x(p.Second), x(p.Second), height-bottom, p.Second, p.Failed, p.Requests)
		}
	}
	for _, line := range []struct {
		class string
		value func(checks.TimelinePoint) float64
	}{{"p99", func(p checks.TimelinePoint) float64 { return p.P99 }}, {"p50", func(p checks.TimelinePoint) float64 { return p.P50 }}} {
		fmt.Fprintf(&b, `<polyline class="%s" points="`, line.class)
		for _, p := range points {
			fmt.Fprintf(&b, "%.1f,%.1f ", x(p.Second), y(line.value(p)))
		}
		b.WriteString(`"/>`)
	}
	fmt.Fprintf(&b, `<text class="tick" x="%g" y="%g">0 s</text><text class="tick" x="%g" y="%g" text-anchor="end">%.0f s</text></svg>`, left, height-4, width-10, height-4, last)
	return template.HTML(b.String()) //nolint:gosec // made of numbers alone
}

// gantt draws the steps of a run over its time.
func gantt(r *run.Result) template.HTML {
	var total time.Duration
	n := 0
	for _, s := range r.Steps {
		if s.State != run.Skipped {
			total = max(total, s.Offset+s.Took)
			n++
		}
	}
	if total == 0 {
		return ""
	}
	const width, row, left = 760.0, 20.0, 200.0
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %g %g" role="img" aria-label="steps over time">`, width, row*float64(n)+4)
	y := 0.0
	for _, s := range r.Steps {
		if s.State == run.Skipped {
			continue
		}
		x := left + (width-left-90)*s.Offset.Seconds()/total.Seconds()
		w := max(2, (width-left-90)*s.Took.Seconds()/total.Seconds())
		fmt.Fprintf(&b, `<text class="name" x="0" y="%g">%s</text><rect class="bar b-%s" x="%.1f" y="%g" width="%.1f" height="14" rx="2"/><text class="tick" x="%.1f" y="%g">%s</text>`,
			y+14, template.HTMLEscapeString(s.Name), s.State, x, y+3, w, x+w+5, y+14, seconds(s.Took))
		y += row
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String()) //nolint:gosec // names are escaped, the rest is numbers
}
