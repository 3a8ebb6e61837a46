package promotion

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/target"
)

// Findings are what there is to say against what serves.
type Findings struct {
	At        time.Time    `json:"at"`
	Drift     []Difference `json:"drift"`
	Degraded  []Reason     `json:"degraded"`
	Overrides []Override   `json:"overrides,omitempty"` // that the owners must know of
	Problem   string       `json:"problem,omitempty"`   // why it could not be found out in full
}

// Overseer looks at an environment again and again: has it drifted, does its
// release still stand up to judgement, has somebody overridden what was declared?
type Overseer struct {
	Environment *environments.Environment
	Journal     *Journal
	Judge       *Judge
	Status      func(ctx context.Context) (target.Status, error)
	// Certificate is why what is presented is not right; nil: nobody looks.
	Certificate func(ctx context.Context, e *environments.Environment) string
	Log         *slog.Logger
	Now         func() time.Time
	Every       time.Duration
	// Reconcile asks the executor to bring back what is desired; nil: it is only
	// reported.
	Reconcile func()

	mended time.Time // when what is desired was last asked to be brought back

	mu   sync.Mutex
	last *Findings       // nil: not looked yet
	seen map[string]bool // what had drifted in the look before: what comes and goes is none
}

// mendAgain is how long a reconciliation may take before it is asked for again.
const mendAgain = 10 * time.Minute

// Look finds out how things stand now.
func (o *Overseer) Look(ctx context.Context) (Findings, error) {
	f := Findings{At: o.Now().UTC(), Drift: []Difference{}, Degraded: []Reason{}}
	v, err := o.Journal.View(ctx)
	if err != nil {
		return f, err
	}
	f.Overrides = v.Pressing(o.Environment.Name, o.Journal.records().Trust(), o.Now())
	s, err := o.Status(ctx)
	if err != nil {
		return f, err
	}
	e := o.Environment
	if rec := v.Releases[v.Environment(e.Name).Desired]; rec != nil && rec.Declarations.Environment(e.Name) != nil {
		e = rec.Declarations.Environment(e.Name)
	}
	certificate := ""
	if o.Certificate != nil && s.Stable != "" {
		certificate = o.Certificate(ctx, e)
	}
	f.Drift = append(f.Drift, v.Drift(e, s, certificate)...)
	judged, err := o.Judge.Rejudge(ctx, v, e.Name)
	if err != nil {
		f.Problem = oneLine(err)
	}
	f.Degraded = append(f.Degraded, Degraded(judged, f.Drift, s.Alerts)...)
	return f, nil
}

// Last is what was found last; nil: nothing was looked at yet.
func (o *Overseer) Last() *Findings {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last
}

// Reasons are those why what serves is degraded, as far as is known.
func (o *Overseer) Reasons() []Reason {
	if f := o.Last(); f != nil {
		return f.Degraded
	}
	return nil
}

// Run looks until ctx ends.
func (o *Overseer) Run(ctx context.Context) error {
	tick := time.NewTicker(o.Every)
	defer tick.Stop()
	said := ""
	for {
		f, err := o.Look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if now := fmt.Sprint(err); err != nil && now != said {
			o.Log.Warn("drift is not known", "environment", o.Environment.Name, "error", err)
			said = now
		} else if err == nil {
			said = ""
			o.found(ctx, f)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// found takes note of a look. Drift counts once the same thing was seen to differ
// twice, however it does: in between instances come and go, and an error may name
// the time. What judgement says counts at once.
func (o *Overseer) found(ctx context.Context, f Findings) {
	o.mu.Lock()
	seen := map[string]bool{}
	drift, degraded := []Difference{}, slices.Clone(f.Degraded)
	for _, d := range f.Drift {
		seen[d.What] = true
		if o.seen[d.What] {
			drift = append(drift, d)
			continue
		}
		degraded = slices.DeleteFunc(degraded, func(r Reason) bool { return r == d.reason() })
	}
	f.Drift, f.Degraded = drift, degraded
	o.seen, o.last = seen, &f
	o.mu.Unlock()
	o.mend(ctx, f)
}

// mend has brought back what is desired, where that is declared and nobody holds
// the environment.
func (o *Overseer) mend(ctx context.Context, f Findings) {
	v, err := o.Journal.View(ctx)
	if err != nil || o.Reconcile == nil {
		return
	}
	ev := v.Environment(o.Environment.Name)
	rec := v.Releases[ev.Desired]
	if rec == nil || rec.Declarations.Environment(o.Environment.Name) == nil || ev.Active != nil || ev.Hold != nil || o.Now().Sub(o.mended) < mendAgain || rec.Declarations.Environment(o.Environment.Name).Promotion.Drift != environments.Reconcile {
		return
	}
	for _, d := range f.Drift {
		if !d.Reconcilable() {
			continue
		}
		op := target.Operation{Kind: target.Reconciliation, What: d.What, From: d.Got, To: d.Want, Why: "what runs was not what is desired", At: o.Now().UTC()}
		if err := o.Journal.Operations(ctx, Operations{Environment: o.Environment.Name, Operations: []target.Operation{op}}); err != nil {
			o.Log.Warn("what is to be brought back is not on record yet", "environment", o.Environment.Name, "error", err)
			return
		}
		o.mended = o.Now()
		o.Reconcile()
		return
	}
}
