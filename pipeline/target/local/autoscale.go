package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/pipeline/target/local/durable"
	"github.com/smartcloudops/gate/pipeline/target/local/scaling"
	"github.com/smartcloudops/gate/pipeline/target/local/supervisor"
)

const (
	scaleLook    = 50 * time.Millisecond  // between two looks at what is in flight
	scaleDecide  = 250 * time.Millisecond // between two decisions
	scaleSmooth  = 20                     // looks that make a figure: a second of them
	scaleChanges = 20                     // changes that are remembered
	scaleSave    = time.Minute            // between two times that the saving is written down
)

// autoscaler adds and takes away instances of the stable release. While a
// promotion, a replacement or a rehearsal is under way it holds still: both sides
// keep the instances that they have, so that nothing but the release differs.
type autoscaler struct {
	d       *Daemon
	tracker scaling.Tracker
	flight  []int64 // what was in flight at the last looks
	cpu     map[int]cpuReading
	written time.Time
	counted time.Time

	mu   sync.Mutex
	view checks.Scaling // guarded
}

// scalingFile outlives the daemon: what was saved, and what was changed.
type scalingFile struct {
	Since   time.Time              `json:"since"`
	Saved   float64                `json:"saved_instance_hours"`
	Changes []checks.ScalingChange `json:"changes,omitempty"`
}

func newAutoscaler(d *Daemon) *autoscaler {
	a := &autoscaler{d: d, cpu: map[int]cpuReading{}}
	now := d.opt.Now().UTC()
	f := scalingFile{Since: now}
	if b, err := os.ReadFile(d.paths.scaling()); err == nil && json.Unmarshal(b, &f) != nil {
		f = scalingFile{Since: now}
	}
	a.view = checks.Scaling{Since: f.Since, Saved: f.Saved, Changes: f.Changes, Why: "nothing serves yet"}
	a.written, a.counted = now, now
	return a
}

// run decides until ctx ends.
func (a *autoscaler) run(ctx context.Context) error {
	a.write() // since when is known from now on, whatever ends the daemon
	tick := time.NewTicker(scaleLook)
	defer tick.Stop()
	for n := 0; ; n++ {
		a.flight = append(a.flight, a.d.entrance().Counts().InFlight)
		a.flight = a.flight[max(0, len(a.flight)-scaleSmooth):]
		if n%int(scaleDecide/scaleLook) == 0 {
			a.step(ctx)
		}
		select {
		case <-ctx.Done():
			a.write()
			return nil
		case <-tick.C:
		}
	}
}

// step decides once, and does what was decided.
func (a *autoscaler) step(ctx context.Context) {
	d := a.d
	if !d.op.TryLock() {
		a.hold("another operation is under way: it holds still")
		return
	}
	defer d.op.Unlock()
	s := d.snapshot()
	switch {
	case s.Stable.Revision == nil:
		a.hold("nothing serves yet")
		return
	case s.Canary.Revision != nil, s.Warm.Revision != nil:
		a.hold("a promotion is under way: both sides keep the instances that they have")
		return
	}
	e := s.Stable.Revision.Environment
	force := e.ScalingInForce()
	rule := scaling.Rule{
		Metric: force.Metric, Target: float64(force.Target), Min: e.Instances.Min, Max: e.Instances.Max,
		UpAfter: force.UpAfter.D(), DownAfter: force.DownAfter.D(),
	}
	now, actual := d.opt.Now(), len(s.Stable.Instances)
	in := a.read(now, force.Metric, s.Stable.Instances)
	decision := a.tracker.Look(now, rule, actual, in)
	a.show(rule, actual, in, decision)
	if decision.Desired == actual {
		return
	}
	var err error
	if decision.Desired > actual {
		err = a.add(ctx, s.Stable, decision.Desired-actual)
	} else {
		err = a.remove(ctx, s.Stable, actual-decision.Desired)
	}
	a.tracker.Forget()
	if err != nil {
		if ctx.Err() == nil {
			d.opt.Log.Error("scaling", "from", actual, "to", decision.Desired, "error", err)
			a.hold("it could not change to " + fmt.Sprint(decision.Desired) + ": " + err.Error())
		}
		return
	}
	d.opt.Log.Info("scaling", "from", actual, "to", decision.Desired, "why", decision.Why)
	d.did.add(target.Operation{Kind: target.Scaling, What: "instances", From: strconv.Itoa(actual), To: strconv.Itoa(decision.Desired), Why: decision.Why})
	a.mu.Lock()
	a.view.Changes = append(a.view.Changes, checks.ScalingChange{
		At: d.opt.Now().UTC(), From: actual, To: decision.Desired, Why: decision.Why, Saved: a.view.Saved,
	})
	a.view.Changes = slices.Clone(a.view.Changes[max(0, len(a.view.Changes)-scaleChanges):])
	a.mu.Unlock()
	a.write()
}

// add starts instances; each gets traffic once it is ready.
func (a *autoscaler) add(ctx context.Context, stable arm, n int) error {
	ids, err := a.d.start(ctx, *stable.Revision, n)
	if err != nil {
		return err
	}
	return a.d.enter(func(st *state) { st.Stable.Instances = append(slices.Clone(st.Stable.Instances), ids...) })
}

// remove takes the newest instances from the traffic, and stops each when the
// last request that it has is answered.
func (a *autoscaler) remove(ctx context.Context, stable arm, n int) error {
	d := a.d
	keep := len(stable.Instances) - n
	gone := slices.Clone(stable.Instances[keep:])
	d.mu.Lock()
	for _, id := range gone {
		d.leaving[id] = true
	}
	d.mu.Unlock()
	err := d.enter(func(st *state) { st.Stable.Instances = slices.Clone(stable.Instances[:keep]) })
	if err != nil {
		d.mu.Lock()
		for _, id := range gone {
			delete(d.leaving, id)
		}
		d.mu.Unlock()
		return err
	}
	d.wg.Go(func() {
		if err := d.stop(context.WithoutCancel(ctx), gone); err != nil && !errors.Is(err, supervisor.ErrDetached) {
			d.opt.Log.Warn("stop instances that are too many", "error", err)
		}
	})
	return nil
}

// read is the metric of all instances together.
func (a *autoscaler) read(now time.Time, metric string, ids []string) scaling.Reading {
	var pids []int
	ready := 0
	a.d.mu.Lock()
	for _, id := range ids {
		if in, ok := a.d.ready[id]; ok {
			ready++
			pids = append(pids, in.PID)
		}
	}
	a.d.mu.Unlock()
	if ready == 0 {
		return scaling.Reading{Why: "no instance gets traffic"}
	}
	if metric == environments.CPU {
		if ready < len(ids) {
			return scaling.Reading{Why: fmt.Sprintf("%d of %d instances get traffic", ready, len(ids))}
		}
		return a.readCPU(now, pids)
	}
	if len(a.flight) < scaleSmooth {
		return scaling.Reading{Why: "not watched for a second yet"}
	}
	var sum int64
	for _, n := range a.flight {
		sum += n
	}
	return scaling.Reading{Total: float64(sum) / float64(len(a.flight)), Known: true}
}

// cpuReading is what a process had used of the processor.
type cpuReading struct {
	at   time.Time
	used time.Duration
	rate float64 // percent of a core; below 0: not known yet
}

// readCPU is what the processes use of the processor, in percent of a core.
func (a *autoscaler) readCPU(now time.Time, pids []int) scaling.Reading {
	total := 0.0
	fresh := map[int]cpuReading{}
	why := ""
	for _, pid := range pids {
		used, err := supervisor.CPUTime(pid)
		if err != nil {
			return scaling.Reading{Why: err.Error()}
		}
		last, seen := a.cpu[pid]
		switch {
		case !seen:
			last = cpuReading{now, used, -1}
		case now.Sub(last.at) >= time.Second:
			last = cpuReading{now, used, 100 * (used - last.used).Seconds() / now.Sub(last.at).Seconds()}
		}
		fresh[pid] = last
		if last.rate < 0 {
			why = "an instance has not been watched for a second yet"
		}
		total += last.rate
	}
	a.cpu = fresh
	return scaling.Reading{Total: total, Known: why == "", Why: why}
}

// show is what status says.
func (a *autoscaler) show(r scaling.Rule, actual int, in scaling.Reading, decision scaling.Decision) {
	ready := a.ready()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.account(r.Max, actual)
	v := &a.view
	v.Metric, v.Target, v.Min, v.Max, v.Known = r.Metric, r.Target, r.Min, r.Max, in.Known
	v.Value = 0
	if in.Known {
		v.Value = in.Total / float64(max(1, actual))
	}
	v.Desired, v.Actual, v.Why = decision.Desired, ready, decision.Why
}

// account counts what is saved until now. The caller holds a.mu.
func (a *autoscaler) account(most, actual int) {
	now := a.d.opt.Now().UTC()
	if span := now.Sub(a.counted); span > 0 && span < time.Minute {
		a.view.Saved += float64(max(0, most-actual)) * span.Hours()
	}
	a.counted = now
	if now.Sub(a.written) >= scaleSave {
		a.written = now
		a.save()
	}
}

// hold says why nothing is decided.
func (a *autoscaler) hold(why string) {
	a.tracker.Forget()
	ready := a.ready()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.account(a.view.Max, ready)
	a.view.Desired, a.view.Actual, a.view.Why = ready, ready, why
}

// ready is how many instances of the stable release get traffic.
func (a *autoscaler) ready() int {
	a.d.mu.Lock()
	defer a.d.mu.Unlock()
	n := 0
	for _, id := range a.d.st.Stable.Instances {
		if _, ok := a.d.ready[id]; ok {
			n++
		}
	}
	return n
}

// status is the view with the number of this moment.
func (a *autoscaler) status() *checks.Scaling {
	ready := a.ready()
	a.mu.Lock()
	defer a.mu.Unlock()
	v := a.view
	v.Actual, v.Changes = ready, slices.Clone(v.Changes)
	return &v
}

func (a *autoscaler) write() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.save()
}

// save writes down what outlives the daemon. The caller holds a.mu.
func (a *autoscaler) save() {
	b, err := json.Marshal(scalingFile{a.view.Since, a.view.Saved, a.view.Changes})
	if err == nil {
		err = durable.Replace(a.d.paths.scaling(), b, 0o600)
	}
	if err != nil {
		a.d.opt.Log.Warn("what scaling has saved was not written down", "error", err)
	}
}
