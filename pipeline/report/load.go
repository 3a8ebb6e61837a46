package report

import (
	"fmt"
	"io"

	"github.com/smartcloudops/gate/checks"
)

// Load writes the figures of one load measurement.
func Load(w io.Writer, x checks.LoadPayload, s checks.Status, reason string) error {
	p := newPrinter(w)
	if s != checks.Completed {
		p.f("%s: ", p.paint(words(string(s))))
		p.hang("", reason)
	}
	p.load(x)
	return p.end()
}

// phase is one model of load, and what people call it.
type phase struct {
	name  string
	title string
	checks.LoadPhase
}

func phases(x checks.LoadPayload) []phase {
	return []phase{
		{"closed", "Closed model: each user waits for the answer", x.Closed},
		{"open", "Open model: latency from when a request was due", x.Open},
	}
}

// figuresIn are the figures of a phase's endpoints, then those of all. The
// slice is its own, since the payload is somebody else's.
func figuresIn(f checks.LoadPhase) []checks.EndpointFigure {
	all := f.All
	all.Name = "all"
	return append(append(make([]checks.EndpointFigure, 0, len(f.Endpoints)+1), f.Endpoints...), all)
}

func (p *printer) load(x checks.LoadPayload) {
	if x.Closed.All.Requests+x.Open.All.Requests == 0 {
		p.f("no request was measured\n")
		return
	}
	rows := [][]string{{"PHASE", "ENDPOINT", "REQUESTS", "SUCCEEDED", "AT LEAST", "P50", "P95", "P99", "MAX"}}
	for _, ph := range phases(x) {
		for _, e := range figuresIn(ph.LoadPhase) {
			rows = append(rows, []string{
				ph.name, e.Name, fmt.Sprint(e.Requests), fmt.Sprint(e.Succeeded), percent(e.SuccessLower),
				milliseconds(e.P50), milliseconds(e.P95), milliseconds(e.P99), milliseconds(e.Max),
			})
		}
	}
	if x.ZeroThink != nil {
		// Only all of them are judged: the step is short.
		e := x.ZeroThink.All
		rows = append(rows, []string{
			"no think", "all", fmt.Sprint(e.Requests), fmt.Sprint(e.Succeeded), percent(e.SuccessLower),
			milliseconds(e.P50), milliseconds(e.P95), milliseconds(e.P99), milliseconds(e.Max),
		})
	}
	p.table(-1, rows)
	for _, ph := range phases(x) {
		for _, e := range ph.Endpoints {
			if len(e.Failures) > 0 {
				p.hang("failed  ", fmt.Sprintf("%s %s: %s", ph.name, e.Name, counts(e.Failures)))
			}
		}
	}
	p.hang("", fmt.Sprintf("%.1f requests/s closed, %.1f open; the generator used %.0f%% of the processors and dropped %s; Little's law holds to %.3f",
		x.Closed.Rate, x.Open.Rate, 100*x.Generator.CPUShare, plural(int(x.Generator.Dropped), "request"), x.LittleLaw))
	p.beyond(x)
}

// beyond writes what was measured beyond what the users do.
func (p *printer) beyond(x checks.LoadPayload) {
	if c := x.Checkpoint; c != nil && c.Forced {
		p.hang("checkpoint  ", fmt.Sprintf("forced after %.0f s, took %.1f s: p95 %s before it, %s while it was written and a second after",
			c.At, c.Seconds, milliseconds(c.Before.P95), milliseconds(c.During.P95)))
	} else if c != nil {
		p.hang("checkpoint  ", "none was forced: "+c.Reason)
	}
	k := x.Knee
	if k == nil {
		return
	}
	limit := "nothing was too much"
	if k.Limit != "" {
		limit = fmt.Sprintf("limited by %s, %s", k.Limit, k.Because)
	}
	p.hang("knee  ", fmt.Sprintf("%s; the users ask for %.0f/s at most; %s", k, x.Need(), limit))
	rows := [][]string{{"STEP", "RATE/S", "RIGHT/S", "P95", "LATER", "STATE", "LIMIT"}}
	for i, s := range k.Steps {
		rows = append(rows, []string{
			fmt.Sprint(i + 1), fmt.Sprintf("%.0f", s.Rate), fmt.Sprintf("%.0f", s.Carried), milliseconds(s.P95),
			fmt.Sprintf("%+.1f ms/s", s.Growth*1000), s.State, s.Limit,
		})
	}
	p.table(-1, rows)
}
