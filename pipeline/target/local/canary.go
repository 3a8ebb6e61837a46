package local

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/smartcloudops/gate/pipeline/target"
)

var _ target.Observer = (*Daemon)(nil)

// comparison is what began with StartCanary, as far as this process has seen it:
// figures do not outlive it, and those of a canary that it has adopted are not
// whole.
type comparison struct {
	revision string
	restarts map[string]int // instance → how often it had ended unasked
}

// canarySize is how many instances a canary has beside those that serve, and so has
// the baseline: as large a part of them as it gets of the traffic, so that none of
// its instances has more to do than one of those. Fewer would be found slow, or be
// overrun, for their number.
func canarySize(rev target.Revision, weight, stable int) int {
	if weight == blueGreen {
		return asMany(rev, stable)
	}
	return max(1, min(rev.Environment.Instances.Max, (weight*stable+99)/100))
}

// blueGreen is the weight with which the canary takes over from what is stable.
const blueGreen = 100

// asMany is how many instances of the revision stand in for n of another one: the
// load that has called for them is still there.
func asMany(rev target.Revision, n int) int {
	bounds := rev.Environment.Instances
	return max(bounds.Min, min(bounds.Max, n))
}

// StartCanary implements target.Target.
func (d *Daemon) StartCanary(ctx context.Context, token int64, rev target.Revision, weight int) error {
	d.op.Lock()
	defer d.op.Unlock()
	if err := d.fence(token); err != nil {
		return err
	}
	if weight != blueGreen && (weight < 1 || weight > 50) {
		return fmt.Errorf("a canary gets 1 to 50 percent of the traffic, or 100, not %d", weight)
	}
	s := d.snapshot()
	if s.Canary.Revision != nil && s.Canary.id() != rev.ID() {
		// Another canary, which nobody has withdrawn.
		if err := d.enter(func(s *state) { s.Canary, s.Baseline, s.Weight = arm{}, arm{}, 0 }); err != nil {
			return err
		}
		d.stopBeside(ctx, slices.Concat(s.Canary.Instances, s.Baseline.Instances))
		s = d.snapshot()
	}
	base := s.Baseline
	switch {
	case weight == blueGreen || s.Stable.Revision == nil:
		base = arm{}
	case base.id() != s.Stable.id():
		base = arm{Revision: s.Stable.Revision}
	}
	// What they are must be known before they can be started.
	err := d.enter(func(st *state) {
		st.Canary.Revision = &rev
		if base.Revision != nil {
			st.Baseline = base
		}
	})
	if err != nil {
		return err
	}
	n := max(len(s.Canary.Instances), canarySize(rev, weight, len(s.Stable.Instances)))
	m := 0
	if base.Revision != nil {
		m = n
	}
	ids, fresh, err := d.startArms(ctx, arm{&rev, s.Canary.Instances}, n, base, m)
	if err != nil {
		if len(s.Canary.Instances) == 0 {
			undo := d.enter(func(st *state) { st.Canary, st.Baseline, st.Weight = arm{}, arm{}, 0 })
			err = errors.Join(err, undo)
		}
		return err
	}
	begun := d.hasBegun(rev.ID()) && len(s.Canary.Instances) > 0
	err = d.enterWith(func(st *state) {
		st.Canary.Instances, st.Weight = ids, weight
		st.Baseline = arm{}
		if base.Revision != nil {
			st.Baseline = arm{base.Revision, fresh}
		}
	}, func() { d.swapBegun(!begun) })
	if err == nil {
		d.stopBeside(ctx, without(s.Baseline.Instances, fresh))
	}
	return err
}

// startArms brings both arms to their numbers, so that both are ready before
// either gets more traffic. The error is about the canary where that did not get
// ready, whatever became of the baseline.
func (d *Daemon) startArms(ctx context.Context, canary arm, n int, base arm, m int) (ids, fresh []string, err error) {
	type started struct {
		ids []string
		err error
	}
	start := func(a arm, n int) <-chan started {
		c := make(chan started, 1)
		go func() {
			if n <= len(a.Instances) {
				c <- started{}
				return
			}
			ids, err := d.start(ctx, *a.Revision, n-len(a.Instances))
			c <- started{ids, err}
		}()
		return c
	}
	c, b := start(canary, n), start(base, m)
	of, other := <-c, <-b
	if of.err != nil || other.err != nil {
		err = of.err
		if err == nil {
			// It is not the release that fails: the sentinel of that is hidden.
			err = fmt.Errorf("the baseline, fresh instances of release %s, can't be started: %v", base.release(), other.err) //nolint:errorlint // see above
		}
		return nil, nil, errors.Join(err, d.stop(context.WithoutCancel(ctx), slices.Concat(of.ids, other.ids)))
	}
	return slices.Concat(canary.Instances, of.ids), slices.Concat(base.Instances, other.ids), nil
}

// standsIn says whether an instance can take the traffic of another one: any of
// its own arm can, the baseline for what is stable and back, and what is stable
// for a canary. A canary is on trial, and stands in for nobody but itself.
func (d *Daemon) standsIn(id, other string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	old := slices.Concat(d.st.Stable.Instances, d.st.Baseline.Instances)
	canary := d.st.Canary.Instances
	if slices.Contains(canary, id) {
		return slices.Contains(canary, other) || slices.Contains(old, other)
	}
	return slices.Contains(old, id) && slices.Contains(old, other)
}

// hasBegun says whether this process has begun the comparison with the revision,
// so that it has all its figures.
func (d *Daemon) hasBegun(revision string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.began != nil && d.began.revision == revision
}

// swapBegun is swap; anew: with all figures beginning anew. The caller holds d.mu.
func (d *Daemon) swapBegun(anew bool) {
	if !anew {
		d.swap()
		return
	}
	set := d.set()
	set.Anew = true
	if err := d.front.Swap(set); err != nil {
		d.opt.Log.Error("load balancer", "error", err)
	}
	d.began = &comparison{revision: d.st.Canary.id(), restarts: map[string]int{}}
	for _, in := range d.sup.Instances() {
		d.began.restarts[in.ID] = in.Restarts
	}
}

// Arms implements target.Target.
func (d *Daemon) Arms(context.Context) (target.Arms, error) {
	arms := d.entrance().Arms()
	s := d.snapshot()
	d.mu.Lock()
	began := d.began
	d.mu.Unlock()
	if s.Baseline.Revision == nil {
		arms.Baseline = target.Arm{}
	}
	for _, in := range d.sup.Instances() {
		n := in.Restarts
		if began != nil {
			n -= began.restarts[in.ID]
		}
		switch {
		case slices.Contains(s.Stable.Instances, in.ID):
			arms.Stable.Restarts += n
		case slices.Contains(s.Baseline.Instances, in.ID):
			arms.Baseline.Restarts += n
		case slices.Contains(s.Canary.Instances, in.ID):
			arms.Canary.Restarts += n
		}
	}
	return arms, nil
}

// Observe implements target.Observer.
func (d *Daemon) Observe(_ context.Context, cursor int64) (seen []target.Observation, next, lost int64, err error) {
	return d.entrance().Observe(cursor)
}

// healthPaths are the paths at which the revisions say whether they are ready. The
// caller holds d.mu.
func (d *Daemon) healthPaths() (paths []string) {
	for _, a := range d.st.arms() {
		if a.Revision == nil {
			continue
		}
		path, known := d.health[a.id()]
		if !known { // of an instance that was adopted
			if rt, err := d.opt.Store.Runtime(a.release()); err == nil {
				path = rt.Serve.Ready
			}
			d.health[a.id()] = path
		}
		if path != "" && !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	return paths
}
