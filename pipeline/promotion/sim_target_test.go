package promotion

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/target"
)

// simTarget is a model of a target. It keeps the contract; and its answers may
// be late or lost, its commands may come twice, and it goes on with what it was
// told when whoever told it is gone.
type simTarget struct {
	world *simWorld
	op    chan struct{} // held while a command is carried out

	stable, canary, warm *target.Revision
	weight               int
	token                int64
	restarts             int
	since                time.Time // when the canary got its present weight
	served               []string  // every release that was ever stable
	switches             map[int64][]string
	broken               map[string]bool // releases that the schema has nothing for any more
	contracts            map[string]int
	issued               map[string]int
}

func newSimTarget(w *simWorld) *simTarget {
	return &simTarget{
		world: w, op: make(chan struct{}, 1), switches: map[int64][]string{}, broken: map[string]bool{},
		contracts: map[string]int{}, issued: map[string]int{},
	}
}

// simTargetOf is the target as one process commands it.
type simTargetOf struct {
	*simTarget
	life *simLife
}

func (m simTargetOf) command(ctx context.Context, op string, token int64, rev *target.Revision, latency time.Duration, effect func() error) error {
	w := m.world
	if err := m.life.point(ctx, "before "+op); err != nil {
		return err
	}
	m.proper(op, token, rev)
	if m.life.chance(w.lossy) {
		w.faulty("not delivered: " + op)
		return fmt.Errorf("%s: no answer", op)
	}
	if m.life.chance(w.slow) {
		w.faulty("slow: " + op)
		latency += time.Duration(m.life.rng.IntN(8000)) * time.Millisecond
	}
	twice := m.life.chance(w.lossy)
	done := make(chan error, 1)
	go func() {
		m.op <- struct{}{}
		defer func() { <-m.op }()
		time.Sleep(latency)
		err := m.fenced(token, effect)
		if twice {
			again := m.fenced(token, effect)
			if fmt.Sprint(again) != fmt.Sprint(err) {
				err = fmt.Errorf("%w; and again: %w", err, again)
			}
		}
		m.look(op)
		done <- err
	}()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if m.life.chance(w.lossy) {
		w.faulty("answer lost: " + op)
		return fmt.Errorf("%s: the answer was lost", op)
	}
	if gone := m.life.point(ctx, "after "+op); gone != nil {
		return gone
	}
	return err
}

func (m *simTarget) fenced(token int64, effect func() error) error {
	m.world.state.Lock()
	defer m.world.state.Unlock()
	if token < m.token {
		return target.ErrFenced
	}
	m.token = token
	return effect()
}

// proper: a command comes only once it is on record, by the promotion that is
// under way.
func (m simTargetOf) proper(op string, token int64, rev *target.Revision) {
	w := m.world
	w.state.Lock()
	defer w.state.Unlock()
	ev := w.view().Environment(w.environment)
	w.trace("command %s, token %d, %s", op, token, released(rev))
	a := ev.Active
	if a == nil {
		// What is desired is brought back, and nothing else.
		if op == "withdraw" || op == "retire" || rev != nil && rev.Release == released(w.desired()) {
			return
		}
		w.fail("%s of %.15s without a promotion", op, released(rev))
		return
	}
	if token != a.Token {
		w.fail("%s with token %d, and the promotion has %d", op, token, a.Token)
	}
	want := map[string][]Step{"migrate": {Migrate}, "canary": {Canary}, "complete": {Complete}, "contract": {Contract}, "retire": {Begin, Retire}}[op]
	if want != nil && !slices.Contains(want, a.Step) {
		w.fail("%s came when the record said %s", op, a.Step)
	}
	if key := fmt.Sprint(op, token, a.Round); op == "migrate" || op == "canary" {
		if m.issued[key]++; m.issued[key] > 1 {
			w.fail("%s was commanded twice in promotion %d", op, token)
		}
	}
	if op == "complete" && a.Kind == Promote && m.stable != nil && id(m.stable) != rev.ID() {
		if rounds := len(rev.Environment.Promotion.Comparisons()); w.passed[token] != rounds {
			w.fail("release %.15s gets all traffic after %d of %d comparisons", rev.Release, w.passed[token], rounds)
		}
	}
}

// look is what must hold after every command.
func (m *simTarget) look(op string) {
	w := m.world
	w.state.Lock()
	defer w.state.Unlock()
	if m.stable == nil && len(m.served) > 0 {
		w.fail("after %s nothing serves", op)
	}
	if m.stable != nil && m.broken[m.stable.Release] {
		w.fail("after %s release %.15s serves on a schema that has nothing for it any more", op, m.stable.Release)
	}
	if m.canary == nil && m.weight != 0 {
		w.fail("after %s nobody gets %d%% of the traffic", op, m.weight)
	}
	if m.canary == nil && !w.verdictAt.IsZero() && released(m.stable) != w.verdictOn {
		if took := time.Since(w.verdictAt); took > time.Second && !w.faultySince(w.verdictAt) {
			w.fail("the traffic was back %s after the verdict, and nothing was in the way", took)
		}
		w.verdictAt = time.Time{}
	}
}

func (m *simTarget) serve(token int64, r *target.Revision) {
	m.stable = r
	m.served = append(m.served, r.Release)
	m.switches[token] = append(m.switches[token], r.Release)
	m.world.trace("%.15s has all traffic", r.Release)
}

func (m simTargetOf) Migrate(ctx context.Context, token int64, rev target.Revision) error {
	return m.command(ctx, "migrate", token, &rev, 611*time.Millisecond, func() error {
		if m.world.nature(rev.Release).unmigratable {
			return target.ErrMigration
		}
		return nil
	})
}

func (m simTargetOf) StartCanary(ctx context.Context, token int64, rev target.Revision, weight int) error {
	return m.command(ctx, "canary", token, &rev, 907*time.Millisecond, func() error {
		if m.world.nature(rev.Release).unready {
			return target.ErrNotReady
		}
		if id(m.canary) != rev.ID() || m.weight != weight {
			m.since = time.Now()
		}
		m.canary, m.weight = &rev, weight
		return nil
	})
}

func (m simTargetOf) Complete(ctx context.Context, token int64, rev target.Revision) error {
	return m.command(ctx, "complete", token, &rev, 1313*time.Millisecond, func() error {
		if id(m.stable) == rev.ID() {
			return nil
		}
		if m.world.nature(rev.Release).unready {
			return target.ErrNotReady
		}
		m.warm, m.canary, m.weight, m.since = m.stable, nil, 0, time.Now()
		m.serve(token, &rev)
		return nil
	})
}

func (m simTargetOf) Withdraw(ctx context.Context, token int64) error {
	return m.command(ctx, "withdraw", token, nil, 41*time.Millisecond, func() error {
		m.canary, m.weight = nil, 0
		if m.warm != nil {
			m.serve(token, m.warm)
			m.warm = nil
		}
		return nil
	})
}

func (m simTargetOf) Retire(ctx context.Context, token int64) error {
	return m.command(ctx, "retire", token, nil, 211*time.Millisecond, func() error {
		m.warm = nil
		return nil
	})
}

// Contract implements Contractor.
func (m simTargetOf) Contract(ctx context.Context, token int64, rev target.Revision) error {
	return m.command(ctx, "contract", token, &rev, 509*time.Millisecond, func() error {
		name := rev.Environment.Config["CONTRACT"]
		if m.world.nature(rev.Release).uncontractable {
			return target.ErrMigration
		}
		m.contracts[name]++
		for _, r := range m.served {
			m.broken[r] = r != rev.Release
		}
		return nil
	})
}

func (m simTargetOf) Status(ctx context.Context) (target.Status, error) {
	if m.life.dead.Load() {
		return target.Status{}, errSimDead
	}
	if m.life.chance(m.world.lossy / 4) {
		m.world.faulty("status lost")
		return target.Status{}, fmt.Errorf("status: no answer")
	}
	m.world.state.Lock()
	defer m.world.state.Unlock()
	if m.world.nature(released(m.stable)).crashes && m.warm != nil {
		m.restarts++
	}
	return target.Status{
		Revision: id(m.stable), Stable: released(m.stable), Canary: released(m.canary), Warm: released(m.warm),
		Weight: m.weight, Token: m.token, Restarts: m.restarts, Instances: restarted([]target.Instance{{Role: "stable"}}, m.restarts), Empty: len(m.served) == 0,
	}, ctx.Err()
}

func (m simTargetOf) Arms(ctx context.Context) (target.Arms, error) {
	if m.life.dead.Load() {
		return target.Arms{}, errSimDead
	}
	if m.life.chance(m.world.lossy / 4) {
		m.world.faulty("figures lost")
		return target.Arms{}, fmt.Errorf("figures: no answer")
	}
	m.world.state.Lock()
	defer m.world.state.Unlock()
	if m.canary != nil && m.weight != environments.AllTraffic && m.weight > environments.MaxWeight {
		m.world.fail("the canary has %d%% of the traffic", m.weight)
	}
	return target.Arms{Since: m.since, Stable: target.Arm{Release: released(m.stable)}, Canary: target.Arm{Release: released(m.canary)}}, ctx.Err()
}
