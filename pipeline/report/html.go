package report

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/run"
	"github.com/smartcloudops/gate/policies"
)

//go:embed report.html
var htmlText string

var htmlTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"short": short, "stamp": stamp, "seconds": seconds, "ms": milliseconds, "pct": percent, "round": func(share float64) string { return fmt.Sprintf("%.0f%%", 100*share) },
	"class": classOf, "place": placeOf, "counts": counts, "words": func(s any) string { return words(fmt.Sprint(s)) },
	"figures": figuresOf, "all": figuresIn, "tools": toolsOf,
	"share": func(n, of int64) string {
		if of == 0 {
			return "–"
		}
		return percent(float64(n) / float64(of))
	},
}).Parse(htmlText))

// plain is clean for a whole page, which keeps its lines: what escaping leaves
// could still turn around or hide what stands beside it.
func plain(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = clean(lines[i])
	}
	return strings.Join(lines, "\n")
}

// classOf is the colour of an outcome.
func classOf(word any) string {
	if kind := kindOf(fmt.Sprint(word)); kind != "" {
		return "v-" + kind
	}
	return "v-none"
}

func toolsOf(m map[string]string) string {
	var all []string
	for _, k := range sorted(m) {
		all = append(all, k+" "+m[k])
	}
	return strings.Join(all, ", ")
}

// page is what the template is given: everything in the order in which it is
// shown.
type page struct {
	Run      *run.Result
	Word     string
	Ended    string
	Decision *policies.Decision
	Earlier  []policies.Decision
	Evidence []run.Measured
	Loads    []loadPage
	Updates  []updatePage
	Findings []checks.Finding
	Gantt    *chart
}

type loadPage struct {
	Where       string
	Reused      bool
	Payload     checks.LoadPayload
	Percentiles *chart
	Phases      []phasePage
}

type phasePage struct {
	Title     string
	Phase     checks.LoadPhase
	Timeline  *chart
	Endpoints *chart
}

type updatePage struct {
	Where   string
	Payload checks.UpdatePayload
}

// HTML writes a run as one file that needs nothing from anywhere else: no
// script, no font, no image.
func HTML(w io.Writer, r *run.Result) error {
	p := page{Run: r, Word: verdictOf(r), Ended: r.Summary, Findings: slices.Clone(r.Findings), Gantt: gantt(r), Evidence: byCheck(r.Evidence)}
	if p.Ended == "" {
		p.Ended = outcome(r)
	}
	for _, d := range r.Decisions {
		p.Earlier = append(p.Earlier, d.Decision)
	}
	if n := len(p.Earlier); n > 0 {
		p.Decision, p.Earlier = &p.Earlier[n-1], p.Earlier[:n-1]
	}
	for _, m := range p.Evidence {
		p.Findings = append(p.Findings, findings(m.Evidence.Payload)...)
		where := nameOf(m.Evidence)
		switch m.Evidence.Check {
		case "load":
			var x checks.LoadPayload
			if len(m.Evidence.Payload) > 0 && json.Unmarshal(m.Evidence.Payload, &x) == nil {
				id := "load" + strconv.Itoa(len(p.Loads))
				p.Loads = append(p.Loads, loadPage{where, m.Reused, x, bothModels(id, x, limitOf(r)), phasePages(id, x, limitOf(r))})
			}
		case "update":
			var x checks.UpdatePayload
			if len(m.Evidence.Payload) > 0 && json.Unmarshal(m.Evidence.Payload, &x) == nil {
				p.Updates = append(p.Updates, updatePage{where, x})
			}
		}
	}
	slices.SortStableFunc(p.Findings, func(a, b checks.Finding) int { return rank(a.Severity) - rank(b.Severity) })
	var b strings.Builder
	err := htmlTemplate.Execute(&b, p)
	if err == nil {
		_, err = io.WriteString(w, uncommanded(plain(b.String()), "&#58;", "&#35;"))
	}
	if err != nil {
		return fmt.Errorf("write HTML: %w", err)
	}
	return nil
}

// rank puts the worst first, and what has no severity, as a failed test has
// none, before all.
func rank(severity string) int {
	if i := slices.Index([]string{"high", "medium", "low"}, severity); i >= 0 {
		return i + 1
	}
	return 0
}

// bothModels puts the two models beside each other: where they part, a closed
// model alone would have hidden how long people wait.
func bothModels(id string, x checks.LoadPayload, limit float64) *chart {
	var all []distribution
	for _, ph := range phases(x) {
		if d, ok := distributionOf(ph.name+" model", ph.All); ok {
			all = append(all, d)
		}
	}
	return percentiles(id+"-models", "Latency by percentile in both models", all, limit)
}

func phasePages(id string, x checks.LoadPayload, limit float64) []phasePage {
	var out []phasePage
	for _, ph := range phases(x) {
		var all []distribution
		for _, e := range ph.Endpoints {
			if d, ok := distributionOf(e.Name, e); ok {
				all = append(all, d)
			}
		}
		if len(all) == 1 {
			all = nil // it would show what both models together have shown
		}
		id := id + "-" + ph.name
		out = append(out, phasePage{
			Title: ph.title, Phase: ph.LoadPhase,
			Timeline:  timeline(id+"-time", ph.name+" model", ph.Timeline),
			Endpoints: percentiles(id+"-endpoints", "Latency by percentile of each endpoint, "+ph.name+" model", all, limit),
		})
	}
	return out
}

// limitOf is the latency in seconds that the decision judged by; 0 where it is
// not known.
func limitOf(r *run.Result) float64 {
	if len(r.Decisions) == 0 {
		return 0
	}
	load := r.Decisions[len(r.Decisions)-1].Input.Thresholds["load"]
	v, err := strconv.ParseFloat(fmt.Sprint(load["p99_seconds"]), 64)
	if err != nil || !(v > 0) || v > 3600 {
		return 0
	}
	return v
}
