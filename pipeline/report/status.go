package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/target"
)

// Environment is what there is to say of one environment.
type Environment struct {
	Name          string                `json:"name"`
	Address       string                `json:"address"`
	Desired       string                `json:"desired,omitempty"`
	DesiredCommit string                `json:"desired_commit,omitempty"`
	DesiredDirty  bool                  `json:"desired_dirty,omitempty"` // built with uncommitted changes
	Actual        *target.Status        `json:"actual,omitempty"`
	Active        *promotion.Transition `json:"active,omitempty"`
	Last          *promotion.Transition `json:"last,omitempty"`
	Hold          *promotion.Hold       `json:"hold,omitempty"`
	Problem       string                `json:"problem,omitempty"`
	Waivers       []Waiver              `json:"waivers,omitempty"`

	Waiting   []promotion.Transition `json:"waiting,omitempty"`  // requests, with what for
	Queued    []promotion.Transition `json:"queued,omitempty"`   // requests that the daemon has not taken yet
	Frozen    *Frozen                `json:"frozen,omitempty"`   // nothing goes forward now
	Overrides []promotion.Override   `json:"override,omitempty"` // that may be used, or are not approved yet
	Degraded  []promotion.Reason     `json:"degraded,omitempty"` // why what serves is
	Arms      *target.Arms           `json:"arms,omitempty"`     // of the canary that is under way
}

// Waiver is one that is on file for an environment.
type Waiver struct {
	Criterion string `json:"criterion"`
	State     string `json:"state"` // in force, expired, not yet in force
	Until     string `json:"until"`
	Reason    string `json:"reason"`
	Author    string `json:"author"`
}

// Frozen says until when nothing goes forward.
type Frozen struct {
	Until  string `json:"until"`
	Reason string `json:"reason"`
}

// Health says in one of the field's words how the environment is. Healthy is
// only what serves what is desired with instances that are all healthy.
func (e Environment) Health() target.Health {
	switch {
	case e.Actual == nil:
		return target.Unknown
	case e.Active != nil:
		return target.Progressing
	case e.Actual.Problem != "" || e.Desired != e.Actual.Stable:
		return target.Degraded
	case e.Actual.Stable == "":
		return target.Unknown
	case len(e.Actual.Instances) == 0:
		return target.Degraded
	}
	serving := 0
	for _, in := range e.Actual.Instances {
		switch {
		case in.Role == "starting" || in.Role == "leaving":
			// Comes or goes, as when the load has changed: those that serve count.
		case in.Health != target.Healthy:
			return target.Degraded
		default:
			serving++
		}
	}
	if serving == 0 || len(e.Degraded) > 0 {
		return target.Degraded
	}
	if e.Hold != nil {
		return target.Paused
	}
	return target.Healthy
}

// Status writes what runs where.
func Status(w io.Writer, all []Environment) error {
	p := newPrinter(w)
	for i, e := range all {
		if i > 0 {
			p.f("\n")
		}
		p.environment(e)
	}
	return p.end()
}

func (p *printer) environment(e Environment) {
	p.f("%s  %s  %s\n", e.Name, p.paint(string(e.Health())), e.Address)
	if e.Problem != "" {
		p.hang("  problem    ", e.Problem)
	}
	if e.Desired == "" {
		p.f("  desired    nothing yet: no promotion into %s has succeeded\n", e.Name)
	} else {
		with := ""
		if e.DesiredDirty {
			with = " with uncommitted changes"
		}
		p.f("  desired    %s (commit %s%s)\n", short(e.Desired), short(e.DesiredCommit), with)
	}
	if h := e.Hold; h != nil {
		p.hang("  held       ", fmt.Sprintf("by %s since %s: %s", h.By, stamp(h.At), h.Reason))
	}
	p.people(e)
	for _, w := range e.Waivers {
		p.hang("  waived     ", fmt.Sprintf("%s until %s (%s) by %s: %s", w.Criterion, w.Until, w.State, w.Author, w.Reason))
	}
	if t := e.Active; t != nil {
		by := ""
		if t.By != "" {
			by = " by " + t.By
		}
		p.hang("  promoting  ", fmt.Sprintf("%s%s: %s since %s", short(t.Release), by, t.Step, stamp(t.At)))
		p.arms(e.Arms)
	}
	if e.Actual != nil {
		p.actual(e)
	}
	if t := e.Last; t != nil && t.State != promotion.Succeeded {
		p.hang("  last       ", fmt.Sprintf("%s %s at %s: %s", nounOf(*t), words(string(t.State)), stamp(t.At), t.Why))
	}
}

func (p *printer) backup(b *target.BackupStatus) {
	switch {
	case b == nil:
	case !b.Kept:
		p.hang("  backup     ", "none: "+b.Why)
	case b.Problem != "":
		p.hang("  backup     ", b.Problem)
	case b.Base.IsZero():
		p.f("  backup     none yet\n")
	default:
		p.f("  backup     base of %s, and all since then\n", stamp(b.Base))
	}
}

func (p *printer) actual(e Environment) {
	a := e.Actual
	switch {
	case a.Stable == "":
		p.f("  serves     nothing\n")
	case a.Stable != e.Desired:
		p.f("  serves     %s, which is not what is desired\n", short(a.Stable))
	}
	if a.Canary != "" {
		p.f("  canary     %s with %d%% of the traffic\n", short(a.Canary), a.Weight)
	}
	if a.Warm != "" {
		p.f("  warm       %s, to go back to\n", short(a.Warm))
	}
	p.hang("  database   ", a.Database)
	p.backup(a.Backup)
	if a.Problem != "" {
		p.hang("  problem    ", a.Problem)
	}
	if w := a.Alerts; w != nil {
		p.alerts(w)
	}
	if v := a.Scaling; v != nil && v.Metric != "" {
		p.hang("  scaling    ", fmt.Sprintf("%d of %d to %d instances, %d wanted: %s; %.1f instance-hours saved since %s", v.Actual, v.Min, v.Max, v.Desired, v.Why, v.Saved, stamp(v.Since)))
	}
	if len(a.Instances) == 0 {
		p.f("  instances  none\n")
		return
	}
	rows := [][]string{{"  INSTANCE", "ROLE", "HEALTH", "RELEASE", "ADDRESS", "PID", "RESTARTS"}}
	for _, in := range a.Instances {
		rows = append(rows, []string{"  " + in.ID, in.Role, string(in.Health), short(in.Release), in.Address, fmt.Sprint(in.PID), fmt.Sprint(in.Restarts)})
	}
	p.table(2, rows)
}

// alerts says what fires, and who hears of it.
func (p *printer) alerts(w *target.Alerts) {
	told := "told by " + strings.Join(w.Routes, ", ")
	if len(w.Routes) == 0 {
		told = "nobody is told: declare alerts (docs/alerts.md)"
	}
	if w.Queued > 0 {
		told += fmt.Sprintf("; %d messages wait", w.Queued)
	}
	if w.Problem != "" {
		told += "; " + w.Problem
	}
	p.hang("  alerts     ", told)
	for _, f := range w.Firing {
		p.hang("  fires      ", fmt.Sprintf("%s (%s) since %s: %s", f.Alert, f.Severity, stamp(f.Since), f.Summary))
	}
}
