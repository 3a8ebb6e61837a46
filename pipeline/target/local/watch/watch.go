// Package watch looks at an environment every second, says what is wrong with
// it, and keeps the books of its uptime.
package watch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/target/local/durable"
	"github.com/smartcloudops/gate/pipeline/target/local/notify"
)

// Options of a Watcher. All are required but Record.
type Options struct {
	Dir         string // made when missing; belongs to the Watcher alone
	App         string
	Environment string
	Notifier    *notify.Notifier
	// Facts says what can be known without a probe. It must return soon.
	Facts func(ctx context.Context) Facts
	// Probe asks the public address, as clients do. It returns within Patience.
	Probe func(ctx context.Context) Probed
	// Record makes full hours part of the record; they are kept until it returns
	// nil. Nil: they are kept.
	Record func(ctx context.Context, hours []checks.UptimeHour) error
	Log    *slog.Logger
	Now    func() time.Time
}

// Facts are what the watch knows of the environment at one moment.
type Facts struct {
	Serving  bool // something is meant to serve
	Release  string
	Requests int64
	Errors   int64
	Ready    int
	Want     int
	Restarts int
	Database string // problem
	Disks    []DiskUse
	Backup   *Backup // nil: none is made here
	Routes   []string
	Runbook  func(alert string) string
	Notices  []Notice
	Noticed  bool   // Notices are all that there are now
	Exercise string // id of the exercise under way
}

// Probed is what came of a probe.
type Probed struct {
	Failure  string // empty: every answer was right
	NotAfter time.Time
	Took     time.Duration
}

const (
	// Patience is how long a probe may take: the service promises answers within
	// it.
	Patience  = 2 * time.Second
	interval  = time.Second
	inFlight  = 4 // probes at once; a second that finds none free is missed
	saveEvery = 10
)

// Watcher watches over one environment.
type Watcher struct {
	opt     Options
	meter   *Meter
	rules   *Rules
	started time.Time

	mu     sync.Mutex
	looked time.Time
	facts  Facts
	probed Probed
	probes struct{ ok, failed, missed int64 }
	active map[string]*firing
	beat   *checks.Beat
	beatAt time.Time // since when the heartbeat is not taken
}

// firing is an alert that has begun and not ended.
type firing struct {
	Alert       string    `json:"alert"`
	Fingerprint string    `json:"fingerprint"`
	Summary     string    `json:"summary"`
	Release     string    `json:"release"`
	Exercise    string    `json:"exercise,omitempty"`
	Since       time.Time `json:"since"`
	Told        bool      `json:"told"` // it is in the queue
	// Ended: the end is to be told, and then nothing is left of it.
	Ended time.Time `json:"ended,omitzero"`
	How   string    `json:"how,omitempty"`
}

// Open goes on where the last watch over the environment ended.
func Open(o Options) (*Watcher, error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("folder of the watch: %w", err)
	}
	m, err := OpenMeter(filepath.Join(o.Dir, "hours.json"), checks.ProberDaemon)
	if err != nil {
		o.Log.Error("uptime", "error", err)
	}
	w := &Watcher{opt: o, meter: m, started: o.Now().UTC(), active: map[string]*firing{}}
	if err := w.load(); err != nil {
		o.Log.Error("which alerts fire is not known; those that still do are told again", "error", err)
	}
	var fps []string
	for fp, f := range w.active {
		if f.Ended.IsZero() {
			fps = append(fps, fp)
		}
	}
	w.rules = NewRules(fps)
	return w, nil
}

func (w *Watcher) file() string { return filepath.Join(w.opt.Dir, "firing.json") }

func (w *Watcher) load() error {
	b, err := os.ReadFile(w.file())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var all []*firing
	if err == nil {
		err = json.Unmarshal(b, &all)
	}
	for _, f := range all {
		w.active[f.Fingerprint] = f
	}
	return err
}

// Run watches until ctx ends.
func (w *Watcher) Run(ctx context.Context) error {
	began := time.Now()
	type ended struct {
		slot Slot
		Probed
	}
	results := make(chan ended, inFlight)
	var wg sync.WaitGroup
	defer wg.Wait()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	busy := 0
	w.gather(ctx)
	w.settle()
	take := func(e ended) {
		busy--
		w.meter.End(e.slot, e.Failure == "")
		w.note(e.Probed)
		w.look(ctx, true)
	}
	for n := 0; ; n++ {
		facts := w.gather(ctx)
		if facts.Serving {
			slot := w.meter.Begin(time.Since(began), w.opt.Now())
			if busy < inFlight {
				busy++
				wg.Go(func() {
					pctx, cancel := context.WithTimeout(ctx, Patience)
					defer cancel()
					results <- ended{slot, w.opt.Probe(pctx)}
				})
			} else {
				w.mu.Lock()
				w.probes.missed++
				w.mu.Unlock()
			}
		}
		w.look(ctx, false)
		if n%saveEvery == saveEvery-1 {
			w.keep(ctx)
		}
		for waiting := true; waiting; {
			select {
			case e := <-results:
				take(e)
			case <-tick.C:
				waiting = false
			case <-ctx.Done():
				for busy > 0 {
					e := <-results
					busy--
					// A probe that the end of this process may have cut off proves nothing.
					if e.Failure == "" {
						w.meter.End(e.slot, true)
					}
				}
				if err := w.meter.Save(); err != nil {
					w.opt.Log.Error("uptime", "error", err)
				}
				return nil
			}
		}
	}
}

func (w *Watcher) gather(ctx context.Context) Facts {
	f := w.opt.Facts(ctx)
	w.mu.Lock()
	w.facts = f
	w.mu.Unlock()
	return f
}

func (w *Watcher) note(p Probed) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.probed = p
	if p.Failure == "" {
		w.probes.ok++
	} else {
		w.probes.failed++
	}
}

// look has the rules say what is wrong now, and tells it.
func (w *Watcher) look(ctx context.Context, probed bool) {
	delivery := w.opt.Notifier.State()
	w.mu.Lock()
	f := w.facts
	l := Look{
		At: time.Now(), Wall: w.opt.Now(), Serving: f.Serving, Probed: probed, Failure: w.probed.Failure, NotAfter: w.probed.NotAfter,
		Requests: f.Requests, Errors: f.Errors, Ready: f.Ready, Want: f.Want, Restarts: f.Restarts, Database: f.Database,
		Disks: f.Disks, Backup: f.Backup, Routes: map[string]time.Time{}, Notices: f.Notices, Noticed: f.Noticed,
	}
	for _, r := range f.Routes {
		l.Routes[r] = delivery.Failing[r]
	}
	if !w.beatAt.IsZero() {
		l.Beat = l.Wall.Sub(w.beatAt)
	}
	l.Burn = Burn{M5: w.meter.Failed(5), M30: w.meter.Failed(30), H1: w.meter.Failed(60), H6: w.meter.Failed(360)}
	w.looked = l.Wall.UTC()
	changes := w.rules.Look(l)
	// A folder of an exercise is gone with it.
	for fp, a := range w.active {
		if a.Ended.IsZero() && a.Exercise != "" && a.Exercise != f.Exercise && a.Alert == "disk" && !slices.ContainsFunc(f.Disks, func(d DiskUse) bool { return "disk:"+d.Path == fp }) {
			w.rules.Forget(fp)
			changes = append(changes, Change{Alert: "disk", Fingerprint: fp, Summary: "the folder is gone"})
		}
	}
	w.change(changes, f)
	w.mu.Unlock()
	if len(changes) > 0 {
		w.settle()
	}
}

// change enters what begins and ends. The caller holds w.mu.
func (w *Watcher) change(changes []Change, f Facts) {
	now := w.opt.Now().UTC()
	for _, c := range changes {
		switch a := w.active[c.Fingerprint]; {
		case c.Fires && (a == nil || !a.Ended.IsZero() && a.Told):
			w.active[c.Fingerprint] = &firing{Alert: c.Alert, Fingerprint: c.Fingerprint, Summary: c.Summary, Release: f.Release, Exercise: exercised(c, f.Exercise), Since: now}
			w.opt.Log.Warn("alert", "alert", c.Alert, "summary", c.Summary)
		case !c.Fires && a != nil && a.Ended.IsZero():
			a.Ended, a.How = now, c.Summary
			w.opt.Log.Info("alert has ended", "alert", c.Alert, "summary", c.Summary)
		}
	}
}

// exercised is the exercise that the alert comes of; empty: of none.
func exercised(c Change, exercise string) string {
	switch c.Alert {
	case "unavailable", "errors", "burn-fast", "burn-slow", "instances", "restarts":
		return exercise
	case "disk":
		if exercise != "" && strings.Contains(c.Fingerprint, exercise) {
			return exercise
		}
	}
	return ""
}

// Raise raises an alert that no rule does, for a test of the way that it takes,
// and ends it.
func (w *Watcher) Raise(alert, exercise, summary string) {
	w.mu.Lock()
	now := w.opt.Now().UTC()
	fp := alert + ":" + exercise
	w.active[fp] = &firing{Alert: alert, Fingerprint: fp, Summary: summary, Release: w.facts.Release, Exercise: exercise, Since: now, Ended: now, How: summary}
	w.mu.Unlock()
	w.settle()
}

// settle tells what has not been told. What fires is on disk first, so that a
// watch that is killed here goes on with the same alert, and not with a second
// one.
func (w *Watcher) settle() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.save()
	for fp, a := range w.active {
		m := notify.Message{
			Fingerprint: a.Fingerprint, Alert: a.Alert, Severity: severity(a.Alert), State: notify.Firing, App: w.opt.App, Environment: w.opt.Environment,
			Release: a.Release, Summary: a.Summary, Since: a.Since, Exercise: a.Exercise,
		}
		if w.facts.Runbook != nil {
			m.Runbook = w.facts.Runbook(a.Alert)
		} else {
			m.Runbook = a.Alert + ".md"
		}
		if !a.Told {
			if err := w.opt.Notifier.Tell(m); err != nil {
				w.opt.Log.Error("an alert can't be queued", "alert", a.Alert, "error", err)
				continue
			}
			a.Told = true
		}
		if a.Ended.IsZero() {
			continue
		}
		m.State, m.Until = notify.Resolved, a.Ended
		if a.How != a.Summary {
			m.Summary += "; ended: " + a.How
		}
		if err := w.opt.Notifier.Tell(m); err != nil {
			w.opt.Log.Error("the end of an alert can't be queued", "alert", a.Alert, "error", err)
			continue
		}
		delete(w.active, fp)
	}
	w.save()
}

// save writes which alerts fire. The caller holds w.mu.
func (w *Watcher) save() {
	all := make([]*firing, 0, len(w.active))
	for _, a := range w.active {
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b *firing) int { return a.Since.Compare(b.Since) })
	b, err := json.Marshal(all)
	if err == nil {
		err = durable.Replace(w.file(), b, 0o600)
	}
	if err != nil {
		w.opt.Log.Error("which alerts fire can't be kept", "error", err)
	}
}

// keep writes the books, and hands on full hours.
func (w *Watcher) keep(ctx context.Context) {
	if err := w.meter.Save(); err != nil {
		w.opt.Log.Error("uptime", "error", err)
	}
	w.settleUntold()
	full := w.meter.Full(w.opt.Now())
	if len(full) == 0 || w.opt.Record == nil {
		return
	}
	if err := w.opt.Record(ctx, full); err != nil {
		if ctx.Err() == nil {
			w.opt.Log.Error("hours of uptime can't be recorded yet", "error", err)
		}
		return
	}
	w.meter.Done(full)
}

// settleUntold tries again what could not be queued, as on a full disk.
func (w *Watcher) settleUntold() {
	w.mu.Lock()
	again := false
	for _, a := range w.active {
		again = again || !a.Told || !a.Ended.IsZero()
	}
	w.mu.Unlock()
	if again {
		w.settle()
	}
}

// Hours are those that are not recorded elsewhere yet.
func (w *Watcher) Hours() []checks.UptimeHour { return w.meter.Hours() }

// Beat notes that a heartbeat was taken, or why not.
func (w *Watcher) Beat(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.beat == nil {
		w.beat = &checks.Beat{}
	}
	if err == nil {
		w.beat.Sent, w.beat.Reason, w.beatAt = w.opt.Now().UTC(), "", time.Time{}
		return
	}
	w.beat.Reason = err.Error()
	if w.beatAt.IsZero() {
		w.beatAt = w.opt.Now()
	}
}

// NoBeat notes that no heartbeat is declared.
func (w *Watcher) NoBeat() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.beat, w.beatAt = nil, time.Time{}
}

// Alive says whether the watch looked a moment ago: only then the heartbeat may
// be sent.
func (w *Watcher) Alive() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.opt.Now().Sub(w.looked)
	return d < 10*time.Second && d > -time.Minute
}

// State is how the watch stands.
func (w *Watcher) State() checks.Watch {
	d := w.opt.Notifier.State()
	w.mu.Lock()
	defer w.mu.Unlock()
	s := checks.Watch{Since: w.started, Looked: w.looked, Routes: slices.Clone(w.facts.Routes), Firing: []checks.FiringAlert{}, Queued: d.Queued, Problem: d.Problem, Receipts: d.Receipts, Exercise: w.facts.Exercise}
	if w.beat != nil {
		b := *w.beat
		s.Beat = &b
	}
	for _, a := range w.active {
		if a.Ended.IsZero() {
			s.Firing = append(s.Firing, checks.FiringAlert{Alert: a.Alert, Fingerprint: a.Fingerprint, Severity: severity(a.Alert), Summary: a.Summary, Since: a.Since})
		}
	}
	slices.SortFunc(s.Firing, func(a, b checks.FiringAlert) int { return a.Since.Compare(b.Since) })
	return s
}
