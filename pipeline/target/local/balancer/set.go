package balancer

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
)

// Backend is an instance as the balancer needs to know it.
type Backend struct {
	ID      string
	Address string // host:port, plain HTTP/1.1
	Release string // digest
}

// Set is what gets traffic. An empty arm's share goes to the stable one, but for
// synthetic requests that ask for the empty arm: those get 503.
type Set struct {
	Stable   []Backend
	Canary   []Backend
	Baseline []Backend
	// Weight is the percentage of the traffic that the canary gets, 0–100, and the
	// baseline as well where there is one: then it is 50 at most.
	Weight int
	// Sticky is the name of a cookie: requests with the same value of it go to the
	// same arm, and stay with the canary or the baseline while Weight grows. Those
	// without it are dealt out one by one. Empty: all are.
	Sticky string
	// Health are paths that say how an instance is, not how it serves: clients'
	// requests for them go into no arm's figures.
	Health []string
	// Observe keeps the requests of canary and baseline one by one, for Observe.
	Observe bool
	// Anew: with this set all figures, and what is observed, begin anew.
	Anew bool
}

// The arms.
const (
	stable = iota
	canary
	baseline
	arms // how many there are
)

var armNames = [arms]string{stable: "stable", canary: "canary", baseline: "baseline"}

// helps says in which order arms are asked for an instance, by the arm that a
// request was dealt to.
var helps = [arms][arms]int{
	stable:   {stable, baseline, canary},
	canary:   {canary, stable, baseline},
	baseline: {baseline, stable, canary},
}

// state is a set that serves. It is never changed, only replaced.
type state struct {
	arms   [arms]*arm
	weight int
	sticky string
	health []string
	ring   *ring // nil: nothing is observed
}

// arm is one side of the comparison.
type arm struct {
	backends []*backend
	turn     *atomic.Uint64
	figures  *figures
}

// pick chooses among the instances that are not in tried: the one with the
// fewest requests in flight, because an instance that is slow for a moment
// (cold, collecting garbage) then gets less at once and without any setting;
// ties, the rule at low load, go round. With ten instances at most, looking at
// all of them costs nothing. It returns nil when all were tried.
func (a *arm) pick(now int64, tried []*backend) *backend {
	n := len(a.backends)
	if n == 0 {
		return nil
	}
	var best, spared *backend
	var fewest int64
	first := int(a.turn.Add(1) % uint64(n))
	for i := range n {
		be := a.backends[(first+i)%n]
		if contains(tried, be) {
			continue
		}
		switch be.standing(now) {
		case refused:
			spared = be
			continue
		case onTrial:
			return be
		}
		if f := be.inFlight.Load(); best == nil || f < fewest {
			best, fewest = be, f
		}
	}
	if best == nil {
		return spared
	}
	return best
}

func contains(list []*backend, be *backend) bool {
	for _, x := range list {
		if x == be {
			return true
		}
	}
	return false
}

// Swap replaces the set in one atomic step: every request that is picked after
// Swap has returned goes to the new set, and those in flight end where they
// are. No client connection is touched. A set that makes no sense is refused,
// and the one before goes on serving.
func (b *Balancer) Swap(s Set) error {
	if err := s.validate(); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.current.Load()
	known := map[Backend]*backend{}
	for _, a := range old.arms {
		for _, be := range a.backends {
			known[be.Backend] = be
		}
	}
	now := b.opt.Now()
	next := &state{weight: s.Weight, sticky: s.Sticky, health: s.Health}
	switch {
	case !s.Observe:
	case s.Anew || old.ring == nil:
		next.ring = newRing(s.Anew)
	default:
		next.ring = old.ring
	}
	for k, list := range [arms][]Backend{stable: s.Stable, canary: s.Canary, baseline: s.Baseline} {
		a := &arm{turn: &b.turn[k], figures: old.arms[k].figures}
		for _, d := range list {
			be := known[d]
			if be == nil {
				be = newBackend(d, &b.opt)
			}
			delete(known, d)
			a.backends = append(a.backends, be)
		}
		release := a.figures.release
		if len(list) > 0 {
			release = list[0].Release
		}
		if s.Anew || release != a.figures.release {
			a.figures = newFigures(now, release, b.shards)
		}
		next.arms[k] = a
	}
	b.current.Store(next)
	b.sweep()
	// Only now: a request that saw the old set and finds its pick marked as left
	// must find the new set when it looks again.
	for _, be := range known {
		b.leaving[be.ID] = append(b.leaving[be.ID], be)
		be.leave()
	}
	return nil
}

// sweep forgets instances that have left and have nothing in flight.
func (b *Balancer) sweep() {
	for id, list := range b.leaving {
		var busy []*backend
		for _, be := range list {
			select {
			case <-be.idle:
			default:
				busy = append(busy, be)
			}
		}
		if busy == nil {
			delete(b.leaving, id)
		} else {
			b.leaving[id] = busy
		}
	}
}

func (s Set) validate() error {
	if s.Weight < 0 || s.Weight > 100 {
		return fmt.Errorf("load balancer: canary weight %d%% is not between 0 and 100; the set before goes on serving", s.Weight)
	}
	if len(s.Baseline) > 0 && s.Weight > 50 {
		return fmt.Errorf("load balancer: canary and baseline can't have %d%% each; the set before goes on serving", s.Weight)
	}
	seen := map[string]bool{}
	for _, list := range [][]Backend{s.Stable, s.Canary, s.Baseline} {
		for _, d := range list {
			if d.ID == "" || seen[d.ID] {
				return fmt.Errorf("load balancer: instance ID %q is empty or used twice; the set before goes on serving", d.ID)
			}
			seen[d.ID] = true
			if _, _, err := net.SplitHostPort(d.Address); err != nil {
				return fmt.Errorf("load balancer: instance %s: address must be host:port; the set before goes on serving: %w", d.ID, err)
			}
		}
	}
	return nil
}

// Drain waits until no request is in flight at an instance that has left the
// set: then it can be stopped and nobody notices. It returns ErrServing when
// the instance has not left, and the context's error when that ended first. An
// instance that is not known has nothing in flight.
func (b *Balancer) Drain(ctx context.Context, id string) error {
	b.mu.Lock()
	for _, a := range b.current.Load().arms {
		for _, be := range a.backends {
			if be.ID == id {
				b.mu.Unlock()
				return fmt.Errorf("drain instance %s: %w; swap to a set without it first", id, ErrServing)
			}
		}
	}
	list := b.leaving[id]
	b.mu.Unlock()
	for _, be := range list {
		select {
		case <-be.idle:
		case <-ctx.Done():
			return fmt.Errorf("drain instance %s: %d requests were still in flight; stopping it now breaks them: %w",
				id, be.inFlight.Load(), ctx.Err())
		}
	}
	return nil
}
