// Package report renders what gate found: for a terminal, a pipe, a program, a
// browser. It is pure rendering: everything to show is handed in.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/run"
	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/policies"
)

// JSON writes v for programs. A run is written as its contract has it: the
// decision that it stands on, with the run around it.
func JSON(w io.Writer, v any) error {
	if r, ok := v.(*run.Result); ok {
		v = struct {
			*run.Result
			Decisions []policies.Decision `json:"decisions"`
		}{r, decisions(r)}
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}

func decisions(r *run.Result) []policies.Decision {
	out := []policies.Decision{}
	for _, d := range r.Decisions {
		out = append(out, d.Decision)
	}
	return out
}

// printer keeps the first error of many writes.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) f(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

func (p *printer) table(rows [][]string) {
	tw := tabwriter.NewWriter(p.w, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		if p.err == nil {
			_, p.err = fmt.Fprintln(tw, strings.TrimRight(strings.Join(r, "\t"), "\t"))
		}
	}
	if p.err == nil {
		p.err = tw.Flush()
	}
}

// Text writes the end of a run for people: the table of criteria, what was
// reused, and what serves now.
func Text(w io.Writer, r *run.Result) error {
	p := &printer{w: w}
	if r.Commit == "" {
		return nil
	}
	p.f("\n%s at commit %s", r.App, short(r.Commit))
	if r.Dirty {
		p.f(" with uncommitted changes")
	}
	if r.Subject != "" {
		p.f(" (%s)", r.Subject)
	}
	p.f("\n")
	if r.Release != "" {
		p.f("release %s\n", r.Release)
	}
	for _, f := range r.Findings {
		p.finding(f)
	}
	if n := len(r.Decisions); n > 0 {
		p.f("\n")
		p.decision(r.Decisions[n-1].Decision)
	}
	p.measured(r.Evidence, len(r.Decisions) == 0)
	for _, t := range r.Promotions {
		p.transition(t)
	}
	if len(r.Environment) > 0 {
		p.f("\n")
		var rows [][]string
		for _, e := range r.Environment {
			row := []string{e.Name, e.URL, "serves " + short(e.Release)}
			if e.CA != "" {
				row = append(row, "curl --cacert "+e.CA+" "+e.URL)
			}
			rows = append(rows, row)
		}
		p.table(rows)
	}
	p.f("\n%s in %s\n", verdictOf(r), seconds(r.Finished.Sub(r.Started)))
	if r.Summary != "" {
		p.f("why   %s\n", r.Summary)
	}
	if r.Next != "" {
		p.f("next  %s\n", r.Next)
	}
	return p.err
}

// measured says what was measured now and what stood already; the figures, too,
// where no table of criteria shows them.
func (p *printer) measured(all []run.Measured, figures bool) {
	if len(all) == 0 {
		return
	}
	var now, reused []string
	for _, m := range all {
		name := m.Evidence.Check
		if m.Evidence.Environment != "" {
			name += " (" + m.Evidence.Environment + ")"
		}
		if m.Evidence.Status != checks.Completed {
			name += ": " + string(m.Evidence.Status) + ", " + m.Evidence.Reason
		}
		if m.Reused {
			reused = append(reused, name)
		} else {
			now = append(now, name)
		}
	}
	p.f("\n")
	if len(now) > 0 {
		p.f("measured  %s\n", strings.Join(now, ", "))
	}
	if len(reused) > 0 {
		p.f("reused    %s\n", strings.Join(reused, ", "))
	}
	if figures {
		for _, m := range all {
			p.f("%s  %s  %s\n", m.Evidence.Check, m.Evidence.Status, m.Digest)
			for _, f := range findings(m.Evidence.Payload) {
				p.finding(f)
			}
		}
	}
}

func findings(payload json.RawMessage) []checks.Finding {
	var x struct {
		Findings []checks.Finding `json:"findings"`
	}
	if json.Unmarshal(payload, &x) != nil {
		return nil
	}
	return x.Findings
}

func (p *printer) finding(f checks.Finding) {
	place := f.File
	if f.Line > 0 {
		place = fmt.Sprintf("%s:%d", f.File, f.Line)
	}
	p.f("  %s  %s", place, strings.ReplaceAll(strings.TrimSpace(f.Message), "\n", "\n    "))
	if f.Rule != "" {
		p.f(" [%s]", f.Rule)
	}
	if f.Fix != "" {
		p.f("; fix: %s", f.Fix)
	}
	p.f("\n")
}

// verdictOf is the word for how a run ended.
func verdictOf(r *run.Result) string {
	switch r.Exit {
	case promotion.CodePass:
		if n := len(r.Decisions); n > 0 && r.Decisions[n-1].Decision.Verdict == policies.Warn {
			return "WARN"
		}
		if r.Release != "" && len(r.Decisions) == 0 {
			return "DONE"
		}
		return "PASS"
	case promotion.CodeFail:
		return "FAIL"
	case promotion.CodeInconclusive:
		return "INCONCLUSIVE"
	case promotion.CodeApproval:
		return "WAITING FOR APPROVAL"
	case promotion.CodeLocked:
		return "LOCKED"
	case promotion.CodeRolledBack:
		return "ROLLED BACK"
	}
	return "ERROR"
}

// Decision writes the table of criteria.
func Decision(w io.Writer, d policies.Decision) error {
	p := &printer{w: w}
	p.decision(d)
	return p.err
}

func (p *printer) decision(d policies.Decision) {
	p.f("%s: %s for release %s\n\n", d.Environment, d.Verdict, short(d.Release))
	rows := [][]string{{"CRITERION", "VERDICT", "GOT", "WANT"}}
	for _, c := range d.Criteria {
		rows = append(rows, []string{c.ID, string(c.Verdict), c.Got, c.Want})
	}
	p.table(rows)
	for _, c := range d.Criteria {
		if c.Verdict != policies.Pass {
			p.f("\n%s %s: %s\n", c.ID, c.Verdict, c.Why)
			if c.Next != "" {
				p.f("  next: %s\n", c.Next)
			}
		}
	}
}

// Explain writes everything behind a decision.
func Explain(w io.Writer, d promotion.DecisionRecord, last *promotion.Transition) error {
	p := &printer{w: w}
	p.f("%s, release %s, commit %s: %s (%s)\n", d.Decision.Environment, d.Decision.Release, short(d.Decision.Commit), d.Decision.Verdict, d.Decision.Stage)
	for _, c := range d.Decision.Criteria {
		p.f("\n%s: %s, %s\n", c.ID, c.Verdict, c.Title)
		rows := [][]string{{"  got", c.Got}, {"  want", c.Want}, {"  why", c.Why}}
		if c.Verdict != policies.Pass && c.Next != "" {
			rows = append(rows, []string{"  next", c.Next})
		}
		for _, e := range c.Evidence {
			rows = append(rows, []string{"  evidence", e})
		}
		p.table(rows)
		for _, r := range d.Input.Evidence {
			if len(r.Digests) > 0 && slices.Contains(c.Evidence, r.Digests[0]) {
				p.f("  measured by check %s, %d run(s), the newest %s ago\n", r.Check, r.Runs, seconds(time.Duration(r.AgeSeconds*float64(time.Second))))
				for _, f := range findings(r.Payload) {
					p.finding(f)
				}
			}
		}
	}
	p.f("\npolicies %s\ninput    %s\n", d.Decision.PolicyDigest, d.Decision.InputDigest)
	if last != nil {
		p.f("\nlast promotion there:\n")
		p.transition(*last)
	}
	return p.err
}

// Transition writes how a promotion ended.
func Transition(w io.Writer, t promotion.Transition) error {
	p := &printer{w: w}
	p.transition(t)
	return p.err
}

func (p *printer) transition(t promotion.Transition) {
	p.f("%s  %s of %s: %s", t.Environment, t.Kind, short(t.Release), t.State)
	if t.Why != "" {
		p.f(": %s", t.Why)
	}
	if t.Synthetic {
		p.f(" [compared with declared synthetic requests]")
	}
	p.f("\n")
}

// Environment is what there is to say of one environment.
type Environment struct {
	Name          string                `json:"name"`
	Address       string                `json:"address"`
	Desired       string                `json:"desired,omitempty"`
	DesiredCommit string                `json:"desired_commit,omitempty"`
	Actual        *target.Status        `json:"actual,omitempty"`
	Active        *promotion.Transition `json:"active,omitempty"`
	Last          *promotion.Transition `json:"last,omitempty"`
	Hold          *promotion.Hold       `json:"hold,omitempty"`
	Problem       string                `json:"problem,omitempty"`
}

// Health says in one of the field's words how the environment is.
func (e Environment) Health() target.Health {
	switch {
	case e.Actual == nil:
		return target.Unknown
	case e.Active != nil:
		return target.Progressing
	case e.Actual.Problem != "" || e.Desired != e.Actual.Stable:
		return target.Degraded
	case e.Hold != nil:
		return target.Paused
	}
	for _, in := range e.Actual.Instances {
		if in.Health != target.Healthy {
			return target.Degraded
		}
	}
	return target.Healthy
}

// Status writes what runs where.
func Status(w io.Writer, all []Environment) error {
	p := &printer{w: w}
	for i, e := range all {
		if i > 0 {
			p.f("\n")
		}
		p.f("%s  %s  %s\n", e.Name, e.Health(), e.Address)
		if e.Problem != "" {
			p.f("  %s\n", e.Problem)
		}
		if e.Desired == "" {
			p.f("  nothing was promoted here yet\n")
		} else {
			p.f("  desired   %s (commit %s)\n", short(e.Desired), short(e.DesiredCommit))
		}
		if e.Hold != nil {
			p.f("  held      by %s since %s: %s\n", e.Hold.By, stamp(e.Hold.At), e.Hold.Reason)
		}
		if e.Active != nil {
			p.f("  promoting %s by %s: %s since %s\n", short(e.Active.Release), e.Active.By, e.Active.Step, stamp(e.Active.At))
		}
		if a := e.Actual; a != nil {
			if a.Stable != "" && a.Stable != e.Desired {
				p.f("  serves    %s, which is not what is desired\n", short(a.Stable))
			}
			if a.Canary != "" {
				p.f("  canary    %s with %d%% of the traffic\n", short(a.Canary), a.Weight)
			}
			p.f("  database  %s\n", a.Database)
			if a.Problem != "" {
				p.f("  problem   %s\n", a.Problem)
			}
			rows := [][]string{}
			for _, in := range a.Instances {
				rows = append(rows, []string{"  instance " + in.ID, in.Role, string(in.Health), short(in.Release), in.Address, fmt.Sprintf("pid %d", in.PID), fmt.Sprintf("%d restarts", in.Restarts)})
			}
			p.table(rows)
		}
		if e.Last != nil && e.Last.State != promotion.Succeeded {
			p.f("  last: ")
			p.transition(*e.Last)
		}
	}
	return p.err
}

// History writes ended promotions in the order given.
func History(w io.Writer, all []promotion.Transition) error {
	p := &printer{w: w}
	rows := [][]string{{"AT", "KIND", "RELEASE", "COMMIT", "STATE", "BY", "WHY"}}
	for _, t := range all {
		rows = append(rows, []string{stamp(t.At), string(t.Kind), short(t.Release), short(t.Commit), string(t.State), t.By, t.Why})
	}
	p.table(rows)
	return p.err
}

// Evidence writes a line for each run.
func Evidence(w io.Writer, all []promotion.Signed) error {
	p := &printer{w: w}
	rows := [][]string{{"AT", "CHECK", "STATUS", "ABOUT", "WHERE", "TOOK", "STATEMENT"}}
	for _, s := range all {
		e := s.Evidence
		rows = append(rows, []string{
			stamp(e.Finished), e.Check, string(e.Status), string(e.Subject.Scope) + " " + short(e.Subject.Digest), e.Environment,
			seconds(e.Finished.Sub(e.Started)), short(s.Digest),
		})
	}
	p.table(rows)
	return p.err
}

func short(id string) string {
	if _, hex, ok := strings.Cut(id, ":"); ok {
		id = hex
	}
	if len(id) > 12 {
		id = id[:12]
	}
	return id
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

func seconds(d time.Duration) string {
	switch {
	case d < 100*time.Millisecond:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// Load writes the figures of one load measurement.
func Load(w io.Writer, x checks.LoadPayload, s checks.Status, reason string) error {
	p := &printer{w: w}
	if s != checks.Completed {
		p.f("%s: %s\n", s, reason)
	}
	rows := [][]string{{"PHASE", "ENDPOINT", "REQUESTS", "SUCCEEDED", "AT LEAST", "P50", "P95", "P99", "MAX"}}
	for _, ph := range []struct {
		name string
		f    checks.LoadPhase
	}{{"closed", x.Closed}, {"open", x.Open}} {
		for _, e := range append(ph.f.Endpoints, ph.f.All) {
			rows = append(rows, []string{
				ph.name, e.Name, fmt.Sprint(e.Requests), fmt.Sprint(e.Succeeded), fmt.Sprintf("%.2f%%", 100*e.SuccessLower),
				milliseconds(e.P50), milliseconds(e.P95), milliseconds(e.P99), milliseconds(e.Max),
			})
		}
	}
	p.table(rows)
	p.f("%.1f requests/s closed, %.1f open; generator used %.0f%% of the processors\n", x.Closed.Rate, x.Open.Rate, 100*x.Generator.CPUShare)
	return p.err
}

func milliseconds(s float64) string { return fmt.Sprintf("%.1f ms", s*1000) }
