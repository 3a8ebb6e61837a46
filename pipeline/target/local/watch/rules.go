package watch

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/smartcloudops/gate/checks"
)

// Limits of the rules.
const (
	failedInARow   = 3 // probes, one a second
	errorWindow    = 60
	errorRequests  = 50
	errorShare     = 0.05
	budget         = 0.001 // of 99.9%
	burnFast       = 14.4  // over 1 h and 5 min
	burnSlow       = 6.0   // over 6 h and 30 min
	instancesPause = 30 * time.Second
	restartWindow  = 10 * time.Minute
	restartCount   = 5
	databasePause  = 5 * time.Second
	certificateIn  = 14 * 24 * time.Hour
	diskAhead      = 24 * time.Hour
	diskFree       = 0.05
	routePause     = 5 * time.Minute
)

// Look is what one look at the environment showed. What is not known is left
// out, and neither raises nor ends an alert.
type Look struct {
	At       time.Time // by a clock that nobody sets
	Wall     time.Time
	Serving  bool   // something is meant to serve
	Probed   bool   // a probe has ended since the last look
	Failure  string // why it failed; empty: it did not
	NotAfter time.Time
	Requests int64 // since the daemon's start, the probes left out
	Errors   int64
	Ready    int
	Want     int
	Restarts int
	Database string // problem
	Disks    []DiskUse
	Backup   *Backup
	Routes   map[string]time.Time // that take nothing → since when
	Beat     time.Duration        // since when the heartbeat is not taken; 0: it is
	Burn     Burn
	Notices  []Notice
	Noticed  bool // Notices are all that there are now
}

// Burn are failed seconds of the last minutes.
type Burn struct{ M5, M30, H1, H6 int }

// DiskUse is how full something is.
type DiskUse struct {
	Path        string
	Used, Limit uint64        // bytes
	Span        time.Duration // over how long a growth must have lasted to be believed
}

// Backup is how backups stand.
type Backup struct {
	Newest  time.Time // zero: there is none
	MaxAge  time.Duration
	Problem string
}

// condition is what a rule says: true raises the alert once it has lasted.
type condition struct {
	alert   string
	detail  string // tells several of one kind apart
	holds   bool
	summary string
	pause   time.Duration // that it must have lasted
}

func (c condition) fingerprint() string {
	if c.detail == "" {
		return c.alert
	}
	return c.alert + ":" + c.detail
}

// Rules say of one look after the other what is wrong.
type Rules struct {
	wrong, right int // probes in a row
	counts       []count
	restarts     []count
	ramps        map[string]*ramp
	pending      map[string]time.Time
	active       map[string]bool
}

type count struct {
	at          time.Time
	total, some int64
}

// NewRules are rules that know which alerts fire already, by fingerprint.
func NewRules(firing []string) *Rules {
	r := &Rules{ramps: map[string]*ramp{}, pending: map[string]time.Time{}, active: map[string]bool{}}
	for _, f := range firing {
		r.active[f] = true
	}
	return r
}

// Change is an alert that begins or ends.
type Change struct {
	Alert, Fingerprint, Summary string
	Fires                       bool
}

// Look takes a look into account and says what it changes.
func (r *Rules) Look(l Look) []Change {
	var out []Change
	seen := map[string]bool{}
	for _, c := range r.conditions(l) {
		fp := c.fingerprint()
		seen[fp] = true
		if !c.holds {
			delete(r.pending, fp)
			if r.active[fp] {
				delete(r.active, fp)
				out = append(out, Change{Alert: c.alert, Fingerprint: fp, Summary: c.summary})
			}
			continue
		}
		if r.active[fp] {
			continue
		}
		since, ok := r.pending[fp]
		if !ok {
			since = l.At
			r.pending[fp] = since
		}
		if l.At.Sub(since) >= c.pause {
			delete(r.pending, fp)
			r.active[fp] = true
			out = append(out, Change{Alert: c.alert, Fingerprint: fp, Summary: c.summary, Fires: true})
		}
	}
	for fp := range r.pending {
		if !seen[fp] {
			delete(r.pending, fp) // what is not known has not lasted
		}
	}
	return out
}

// Forget ends what can't be looked at any more, as a folder that is gone.
func (r *Rules) Forget(fingerprint string) bool {
	was := r.active[fingerprint]
	delete(r.active, fingerprint)
	delete(r.pending, fingerprint)
	return was
}

func (r *Rules) conditions(l Look) []condition {
	var out []condition
	add := func(c ...condition) { out = append(out, c...) }
	if l.Serving {
		add(r.available(l)...)
		add(r.errors(l)...)
		add(burning(l.Burn)...)
		add(condition{alert: "instances", holds: l.Ready < l.Want, pause: instancesPause, summary: fmt.Sprintf("%d of %d instances are ready", l.Ready, l.Want)})
	}
	add(r.restarting(l))
	add(condition{alert: "database", holds: l.Database != "", pause: databasePause, summary: told("the database can be reached", l.Database)})
	if !l.NotAfter.IsZero() {
		left := l.NotAfter.Sub(l.Wall)
		add(condition{alert: "certificate", holds: left < certificateIn, summary: fmt.Sprintf("the certificate ends on %s, in %.1f days", l.NotAfter.UTC().Format("2006-01-02"), left.Hours()/24)})
	}
	add(r.disks(l)...)
	if b := l.Backup; b != nil {
		add(backedUp(*b, l.Wall))
	}
	for _, route := range slices.Sorted(maps.Keys(l.Routes)) {
		since := l.Routes[route]
		add(condition{alert: "route", detail: route, holds: !since.IsZero() && l.Wall.Sub(since) > routePause, summary: fmt.Sprintf("alerts by %s are delivered late or not at all", route)})
	}
	add(r.noticed(l)...)
	add(condition{alert: "heartbeat", holds: l.Beat > routePause, summary: fmt.Sprintf("the heartbeat has not been taken for %s", l.Beat.Round(time.Second))})
	return out
}

func told(right, wrong string) string {
	if wrong != "" {
		return wrong
	}
	return right
}

// available is the fast rule. In between it stays as it was.
func (r *Rules) available(l Look) []condition {
	if l.Probed {
		if l.Failure != "" {
			r.wrong, r.right = r.wrong+1, 0
		} else {
			r.wrong, r.right = 0, r.right+1
		}
	}
	c := condition{alert: "unavailable"}
	switch {
	case r.wrong >= failedInARow:
		c.holds, c.summary = true, fmt.Sprintf("%d probes in a row failed: %s", r.wrong, told("no reason is known", l.Failure))
	case r.right >= failedInARow:
		c.summary = fmt.Sprintf("%d probes in a row were answered rightly", r.right)
	default:
		return nil
	}
	return []condition{c}
}

// errors looks at what clients got in the last minute.
func (r *Rules) errors(l Look) []condition {
	r.counts = within(append(r.counts, count{l.At, l.Requests, l.Errors}), l.At, errorWindow*time.Second)
	first := r.counts[0]
	n, bad := l.Requests-first.total, l.Errors-first.some
	if n < 0 || bad < 0 {
		r.counts = r.counts[len(r.counts)-1:] // counted anew
		return nil
	}
	share := 0.0
	if n > 0 {
		share = float64(bad) / float64(n)
	}
	return []condition{{alert: "errors", holds: n >= errorRequests && share > errorShare, summary: fmt.Sprintf("%d of %d requests of the last minute ended in errors", bad, n)}}
}

// within drops what is older than the window, but for the one that begins it.
func within(cs []count, now time.Time, window time.Duration) []count {
	i := 0
	for i+1 < len(cs) && now.Sub(cs[i+1].at) >= window {
		i++
	}
	return cs[i:]
}

// burning compares failed seconds with the budget of the whole windows: seconds
// that nobody looked at burn nothing, and a short life makes no false alarm.
func burning(b Burn) []condition {
	rate := func(failed, seconds int) float64 { return float64(failed) / float64(seconds) / budget }
	fast := min(rate(b.H1, 3600), rate(b.M5, 300))
	slow := min(rate(b.H6, 6*3600), rate(b.M30, 1800))
	return []condition{
		{alert: "burn-fast", holds: fast > burnFast, summary: fmt.Sprintf("the error budget burns %.1f times as fast as it may, over 1 h and 5 min", fast)},
		{alert: "burn-slow", holds: slow > burnSlow, summary: fmt.Sprintf("the error budget burns %.1f times as fast as it may, over 6 h and 30 min", slow)},
	}
}

func (r *Rules) restarting(l Look) condition {
	r.restarts = within(append(r.restarts, count{at: l.At, total: int64(l.Restarts)}), l.At, restartWindow)
	n := max(int64(l.Restarts)-r.restarts[0].total, 0)
	// One a second would pile up.
	if k := len(r.restarts); k >= 3 && r.restarts[k-2].total == r.restarts[k-1].total && r.restarts[k-3].total == r.restarts[k-1].total {
		r.restarts = slices.Delete(r.restarts, k-2, k-1)
	}
	return condition{alert: "restarts", holds: n >= restartCount, summary: fmt.Sprintf("instances ended unasked %d times within 10 minutes", n)}
}

func (r *Rules) disks(l Look) []condition {
	var out []condition
	for _, d := range l.Disks {
		p := r.ramps[d.Path]
		if p == nil {
			p = &ramp{}
			r.ramps[d.Path] = p
		}
		p.add(l.At, d.Used, d.Span)
		free := 1 - float64(d.Used)/float64(max(d.Limit, 1))
		left, rises := p.full(d.Limit, d.Span)
		c := condition{alert: "disk", detail: d.Path}
		switch {
		case free < diskFree:
			c.holds, c.summary = true, fmt.Sprintf("%s has %.1f%% left", d.Path, 100*max(free, 0))
		case rises && left < diskAhead:
			c.holds, c.summary = true, fmt.Sprintf("%s grows so that it is full in %s", d.Path, left.Round(time.Second))
		default:
			c.summary = fmt.Sprintf("%s has %.1f%% left and does not fill up", d.Path, 100*free)
		}
		out = append(out, c)
	}
	return out
}

func backedUp(b Backup, now time.Time) condition {
	c := condition{alert: "backup", summary: "the newest backup is from " + b.Newest.UTC().Format(time.RFC3339)}
	switch {
	case b.Problem != "":
		c.holds, c.summary = true, b.Problem
	case b.Newest.IsZero():
		// A new environment's first one takes a moment.
		c.holds, c.summary, c.pause = true, "there is no backup", 10*time.Minute
	case b.MaxAge > 0 && now.Sub(b.Newest) > b.MaxAge:
		c.holds = true
	}
	return c
}

// severity of an alert; one that is not listed is a mistake that must be seen.
func severity(alert string) string {
	if a, ok := checks.AlertNamed(alert); ok {
		return a.Severity
	}
	return checks.Page
}
