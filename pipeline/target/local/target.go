package local

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/pipeline/target/local/balancer"
	"github.com/smartcloudops/gate/pipeline/target/local/supervisor"
)

var _ target.Target = (*Daemon)(nil)

// drainTime is how long requests in flight may take to end at an instance that
// has left; it is stopped then all the same, with its own time to finish.
const drainTime = 30 * time.Second

// fence refuses a command of a promotion that has been overtaken.
func (d *Daemon) fence(token int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if token < d.st.Token {
		return fmt.Errorf("%w: token %d, and %d was seen", target.ErrFenced, token, d.st.Token)
	}
	if token > d.st.Token {
		d.st.Token = token
		return d.save()
	}
	return nil
}

// follow has the load balancer send requests to what is ready.
func (d *Daemon) follow(ready []supervisor.Instance) {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.ready)
	for _, in := range ready {
		d.ready[in.ID] = in
	}
	d.swap()
	d.toldOnce.Do(func() { close(d.told) })
}

// swap puts the state into effect at the load balancer. The caller holds d.mu.
func (d *Daemon) swap() {
	if err := d.front.Swap(d.set()); err != nil {
		d.opt.Log.Error("load balancer", "error", err)
	}
}

// set is what the state says that the load balancer should do. The caller holds
// d.mu.
func (d *Daemon) set() balancer.Set {
	set := balancer.Set{
		Stable: d.backends(d.st.Stable), Canary: d.backends(d.st.Canary), Baseline: d.backends(d.st.Baseline), Weight: d.st.Weight,
		Health: d.healthPaths(),
	}
	if len(set.Canary)+len(set.Baseline) == 0 {
		set.Weight = 0
	}
	if rev := d.st.Canary.Revision; rev != nil && !d.st.Replacing && !d.st.Rehearsing {
		set.Observe = true
		if steps := rev.Environment.Promotion.Comparisons(); len(steps) > 0 {
			set.Sticky = steps[0].Sticky // each step names the same
		}
	}
	return set
}

func (d *Daemon) backends(a arm) []balancer.Backend {
	var out []balancer.Backend
	for _, id := range a.Instances {
		if in, ok := d.ready[id]; ok {
			out = append(out, balancer.Backend{ID: in.ID, Address: in.Address, Release: a.release()})
		}
	}
	return out
}

// enter writes a new state and puts it into effect, in this order: whatever
// gets traffic is known to a daemon that starts after a crash.
func (d *Daemon) enter(change func(*state)) error { return d.enterWith(change, d.swap) }

// enterWith is enter with another way to put it into effect.
func (d *Daemon) enterWith(change func(*state), effect func()) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.st
	change(&d.st)
	if err := d.save(); err != nil {
		d.st = before
		return err
	}
	effect()
	return nil
}

// give is enter for taking traffic back: it needs no disk.
func (d *Daemon) give(change func(*state)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(&d.st)
	d.swap()
	return d.save()
}

// snapshot is the state at this moment.
func (d *Daemon) snapshot() state {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.st
	s.Stable, s.Canary, s.Baseline, s.Warm = s.Stable.clone(), s.Canary.clone(), s.Baseline.clone(), s.Warm.clone()
	return s
}

// start starts n instances of the revision, which the state must know already.
// When one does not become ready, all are stopped again.
func (d *Daemon) start(ctx context.Context, rev target.Revision, n int) ([]string, error) {
	type result struct {
		in  supervisor.Instance
		err error
	}
	results := make(chan result, n)
	for range n {
		go func() {
			in, err := d.sup.Start(ctx, rev.ID())
			results <- result{in, err}
		}()
	}
	var ids []string
	var errs []error
	for range n {
		r := <-results
		if r.err != nil {
			errs = append(errs, startError(r.err))
			continue
		}
		ids = append(ids, r.in.ID)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs[0], d.stop(context.WithoutCancel(ctx), ids))
	}
	return ids, d.known(ctx, ids)
}

// known waits until the instances have been announced as ready: a set made of
// them before that would be empty.
func (d *Daemon) known(ctx context.Context, ids []string) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		d.mu.Lock()
		missing := slices.ContainsFunc(ids, func(id string) bool { _, ok := d.ready[id]; return !ok })
		d.mu.Unlock()
		if !missing {
			return nil
		}
		// One that ended again right away is never announced.
		live := d.sup.Instances()
		for _, id := range ids {
			if !slices.ContainsFunc(live, func(in supervisor.Instance) bool { return in.ID == id && in.PID != 0 }) {
				err := fmt.Errorf("%w: instance %s ended right after it was ready", target.ErrNotReady, id)
				return errors.Join(err, d.stop(context.WithoutCancel(ctx), ids))
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// startError adds the app's last words, which tell most of why.
func startError(err error) error {
	var s *supervisor.StartError
	if !errors.As(err, &s) || len(s.Tail) == 0 {
		return err
	}
	last := s.Tail[len(s.Tail)-1]
	return fmt.Errorf("%w; its last words: %.300s", err, last)
}

// stop drains instances that have left the traffic, and ends them.
func (d *Daemon) stop(ctx context.Context, ids []string) error {
	d.mu.Lock()
	for _, id := range ids {
		d.leaving[id] = true
	}
	d.mu.Unlock()
	errs := make(chan error, len(ids))
	for _, id := range ids {
		go func() {
			dctx, cancel := context.WithTimeout(ctx, drainTime)
			defer cancel()
			if err := d.entrance().Drain(dctx, id); err != nil {
				d.opt.Log.Warn("drain", "instance", id, "error", err)
			}
			err := d.sup.Stop(ctx, id)
			d.mu.Lock()
			delete(d.leaving, id)
			d.mu.Unlock()
			errs <- err
		}()
	}
	var err error
	for range ids {
		err = errors.Join(err, <-errs)
	}
	return err
}

// Complete implements target.Target. The canary, if it is of this revision, is
// among the new instances.
func (d *Daemon) Complete(ctx context.Context, token int64, rev target.Revision) error {
	d.op.Lock()
	defer d.op.Unlock()
	if err := d.fence(token); err != nil {
		return err
	}
	before := d.snapshot()
	if before.Stable.id() == rev.ID() {
		return nil
	}
	var ids []string
	if before.Canary.id() == rev.ID() {
		ids = before.Canary.Instances
	} else if err := d.enter(func(s *state) { s.Canary = arm{Revision: &rev} }); err != nil {
		// Its specification must be known before instances can be started.
		return err
	}
	if n := asMany(rev, len(before.Stable.Instances)) - len(ids); n > 0 {
		more, err := d.start(ctx, rev, n)
		if err != nil {
			return err
		}
		ids = append(slices.Clone(ids), more...)
	}
	if err := d.move(ctx, rev.Environment); err != nil {
		return errors.Join(err, d.stop(context.WithoutCancel(ctx), without(ids, before.Canary.Instances)))
	}
	err := d.enter(func(s *state) {
		s.Warm, s.Stable, s.Canary, s.Baseline, s.Weight = s.Stable, arm{&rev, ids}, arm{}, arm{}, 0
		s.Environment = rev.Environment
	})
	if err != nil {
		return errors.Join(err, d.moveBack(context.WithoutCancel(ctx), before.Environment))
	}
	d.entrance().Reset()
	d.stopBeside(ctx, before.Baseline.Instances)
	return nil
}

// Withdraw implements target.Target.
func (d *Daemon) Withdraw(ctx context.Context, token int64) error {
	d.op.Lock()
	defer d.op.Unlock()
	if err := d.fence(token); errors.Is(err, target.ErrFenced) {
		return err
	} else if err != nil {
		// Traffic first: that the disk does not know the token is for later.
		d.opt.Log.Error("state", "error", err)
	}
	s := d.snapshot()
	var gone []string
	err := d.give(func(st *state) {
		switch {
		case s.Warm.Revision != nil:
			gone = slices.Concat(s.Stable.Instances, s.Canary.Instances, s.Baseline.Instances)
			st.Stable, st.Warm = s.Warm, arm{}
			st.Environment = s.Warm.Revision.Environment
		default:
			gone = slices.Concat(s.Canary.Instances, s.Baseline.Instances)
		}
		st.Canary, st.Baseline, st.Weight = arm{}, arm{}, 0
	})
	if err != nil {
		// The traffic is back; that the disk does not know it is for later.
		d.opt.Log.Error("state", "error", err)
	}
	d.stopBeside(ctx, gone)
	// Whoever has the old address must be answered there, too.
	if err := d.opt.Reserve.Do(func() error { return d.moveBack(ctx, d.snapshot().Environment) }); err != nil {
		return fmt.Errorf("the traffic is back, but not at its address or by its certificate: %w", err)
	}
	return nil
}

// stopBeside stops instances that have lost their traffic: nobody waits for them.
func (d *Daemon) stopBeside(ctx context.Context, gone []string) {
	if len(gone) == 0 {
		return
	}
	d.mu.Lock()
	for _, id := range gone {
		d.leaving[id] = true
	}
	d.mu.Unlock()
	d.wg.Go(func() {
		if err := d.stop(context.WithoutCancel(ctx), gone); err != nil && !errors.Is(err, supervisor.ErrDetached) {
			d.opt.Log.Warn("stop instances that have left the traffic", "error", err)
		}
	})
}

// Retire implements target.Target.
func (d *Daemon) Retire(ctx context.Context, token int64) error {
	d.op.Lock()
	defer d.op.Unlock()
	if err := d.fence(token); err != nil {
		return err
	}
	s := d.snapshot()
	if s.Baseline.Revision != nil {
		if err := d.enter(func(s *state) { s.Baseline = arm{} }); err != nil {
			return err
		}
		d.stopBeside(ctx, s.Baseline.Instances)
	}
	if s.Warm.Revision == nil {
		return nil
	}
	if err := d.stop(ctx, s.Warm.Instances); err != nil {
		return err
	}
	return d.enter(func(s *state) { s.Warm = arm{} })
}

// Replace swaps every instance for a fresh one of the release, one by one, the
// new one ready before the old one drains, and returns how many it replaced.
// The environment's configuration stays. An empty release is the one that serves.
func (d *Daemon) Replace(ctx context.Context, release string) (int, error) {
	d.op.Lock()
	defer d.op.Unlock()
	s := d.snapshot()
	switch {
	case s.Stable.Revision == nil:
		return 0, errors.New("nothing serves that could be replaced")
	case s.Canary.Revision != nil || s.Warm.Revision != nil:
		return 0, errBusy
	}
	rev := *s.Stable.Revision
	if release != "" && rev.Release != release {
		if from := s.Environment.Promotion.From; from != "" {
			return 0, fmt.Errorf("%s is promoted into from %s: another release gets there by gate promote or gate rollback alone", s.Environment.Name, from)
		}
		// What the commit was is not known here, and not needed.
		rev.Release, rev.Commit = release, ""
	}
	if err := d.enter(func(st *state) { st.Canary, st.Replacing = arm{Revision: &rev}, true }); err != nil {
		return 0, err
	}
	old, fresh := s.Stable.Instances, []string(nil)
	n := 0
	for _, id := range old {
		ids, err := d.start(ctx, rev, 1)
		if err != nil {
			// Half replaced would be two releases at once: back to the old one.
			undo := d.enter(func(st *state) { st.Stable, st.Canary, st.Weight, st.Replacing = s.Stable, arm{}, 0, false })
			return n, errors.Join(err, undo, d.stop(context.WithoutCancel(ctx), fresh))
		}
		fresh = append(fresh, ids...)
		n++
		// Until all are replaced both releases serve, each at its own arm, by
		// their number.
		err = d.enter(func(st *state) {
			st.Stable.Instances = slices.Clone(old[n:])
			st.Canary.Instances = slices.Clone(fresh)
			st.Weight = 100 * len(fresh) / len(old)
			if n == len(old) {
				st.Stable, st.Canary, st.Weight, st.Replacing = arm{&rev, slices.Clone(fresh)}, arm{}, 0, false
			}
		})
		if err != nil {
			return n, err
		}
		if n < len(old) {
			if err := d.stop(ctx, []string{id}); err != nil {
				return n, err
			}
		}
	}
	return n, d.stop(ctx, old[len(old)-1:])
}

// Restarts is how often instances have ended unasked, ever.
func (d *Daemon) Restarts(context.Context) (int, error) { return d.sup.Restarts(), nil }

func without(ids, drop []string) []string {
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return slices.Contains(drop, id) })
}
