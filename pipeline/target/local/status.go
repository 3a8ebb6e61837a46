package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/pipeline/target/local/balancer"
)

// Status implements target.Target.
func (d *Daemon) Status(ctx context.Context) (target.Status, error) {
	s := d.snapshot()
	out := target.Status{
		Environment: d.paths.Environment, Address: s.Environment.Listen,
		Revision: s.Stable.id(), Stable: s.Stable.release(), Canary: s.Canary.release(), Weight: s.Weight,
		Warm: s.Warm.release(), Token: s.Token, Restarts: d.sup.Restarts(), Since: d.started,
	}
	if s.Stable.Revision != nil {
		out.Commit = s.Stable.Revision.Commit
	}
	roles := map[string]string{}
	for role, a := range map[string]arm{"stable": s.Stable, "baseline": s.Baseline, "canary": s.Canary, "warm": s.Warm} {
		for _, id := range a.Instances {
			roles[id] = role
		}
	}
	for _, in := range d.sup.Instances() {
		release, _, _ := strings.Cut(in.Release, "+")
		role := roles[in.ID]
		if role == "" {
			role = "leaving"
			if in.Health == target.Progressing && !in.Ready {
				role = "starting"
			}
		}
		out.Instances = append(out.Instances, target.Instance{
			ID: in.ID, Release: release, Role: role, PID: in.PID, Address: in.Address, Health: in.Health,
			Started: in.Started, Restarts: in.Restarts, Log: in.Log, Reason: in.Reason, LastExit: in.LastExit,
		})
	}
	out.Scaling = d.scaler.status()
	db := d.database()
	out.Database = db.Describe()
	out.Backup = d.backupStatus()
	out.DatabaseBytes = d.databaseBytes(ctx)
	out.Schema = d.schemaStatus(ctx)
	d.mu.Lock()
	out.Problem = d.problem
	for _, about := range slices.Sorted(maps.Keys(d.troubles)) {
		out.Problem = cmp.Or(out.Problem, d.troubles[about])
	}
	d.mu.Unlock()
	if w := d.watching.watcher.State(); !w.Looked.IsZero() {
		out.Alerts = &target.Alerts{Routes: w.Routes, Firing: w.Firing, Queued: w.Queued, Problem: w.Problem}
	}
	if out.Stable == "" {
		// Asked only where it matters: it proves that nothing was ever served.
		qctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		empty, err := db.Empty(qctx)
		if err != nil && out.Problem == "" {
			out.Problem = err.Error()
		}
		out.Empty = err == nil && empty
	}
	return out, nil
}

// fill starts instances that should serve and do not exist, as after a reboot,
// and stops those that no arm knows.
func (d *Daemon) fill(ctx context.Context) {
	if !d.op.TryLock() {
		return // an operation is under way, and knows better
	}
	defer d.op.Unlock()
	s := d.snapshot()
	known := s.instances()
	live := map[string]bool{}
	var stray []string
	d.mu.Lock()
	for _, in := range d.sup.Instances() {
		live[in.ID] = true
		if !slices.Contains(known, in.ID) && !d.leaving[in.ID] {
			stray = append(stray, in.ID)
		}
	}
	d.mu.Unlock()
	// Whoever must act on the traffic does not wait for their end.
	d.wg.Go(func() {
		if err := d.stop(ctx, stray); err != nil && ctx.Err() == nil {
			d.opt.Log.Warn("stop stray instances", "error", err)
		}
	})
	if s.Stable.Revision == nil {
		return
	}
	kept := slices.DeleteFunc(slices.Clone(s.Stable.Instances), func(id string) bool { return !live[id] })
	n := s.Stable.Revision.Environment.Instances.Min - len(kept)
	if n <= 0 {
		return
	}
	ids, err := d.start(ctx, *s.Stable.Revision, n)
	if err == nil {
		err = d.enter(func(st *state) { st.Stable.Instances = slices.Concat(kept, ids) })
	}
	if err != nil && ctx.Err() == nil {
		d.opt.Log.Error("start missing instances", "error", err)
	}
}

// move opens the address, certificate and database that the declaration names,
// where they are not those in force. Before an error nothing has moved.
func (d *Daemon) move(ctx context.Context, next *environments.Environment) error {
	return d.moveBy(ctx, next, d.listen)
}

// moveBack is move to where the daemon has been: it may not have let go of the
// address there yet.
func (d *Daemon) moveBack(ctx context.Context, next *environments.Environment) error {
	return d.moveBy(ctx, next, func(ctx context.Context, e *environments.Environment) (net.Listener, error) {
		for deadline := time.Now().Add(backPatience); ; {
			l, err := d.listen(ctx, e)
			if err == nil || !errors.Is(err, ErrAddress) || time.Now().After(deadline) {
				return l, err
			}
			select {
			case <-ctx.Done():
				return nil, err
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
}

// backPatience is how long an address may take to become free that this daemon
// has left.
const backPatience = 3 * time.Second

func (d *Daemon) moveBy(ctx context.Context, next *environments.Environment, listen func(context.Context, *environments.Environment) (net.Listener, error)) (err error) {
	d.mu.Lock()
	now := d.inForce
	d.mu.Unlock()
	if next.Database != now.Database {
		return fmt.Errorf("the database of %s is declared anew: gate down %s, then gate serve %s", next.Name, next.Name, next.Name)
	}
	var l net.Listener
	var front *balancer.Balancer
	if next.Listen != now.Listen {
		if l, err = listen(ctx, next); err != nil {
			return err
		}
		if front, err = d.newFront(l); err != nil {
			return errors.Join(err, l.Close())
		}
	}
	if environments.Digest(next.TLS) != environments.Digest(now.TLS) {
		if err := d.certify(next); err != nil {
			if l != nil {
				err = errors.Join(err, l.Close())
			}
			return err
		}
	}
	d.mu.Lock()
	d.inForce = next
	if l == nil {
		d.mu.Unlock()
		return nil
	}
	old := d.front
	d.front, d.lis = front, l
	d.swap()
	d.mu.Unlock()
	if d.grip != nil {
		d.grip.use(next.Listen, l)
	}
	d.serve(front)
	d.wg.Go(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
		defer cancel()
		if err := old.Handover(ctx, 5*time.Second); err != nil {
			d.opt.Log.Warn("old address", "error", err)
		}
	})
	return nil
}
