package runner

import (
	"context"
	"errors"
)

var (
	errTestOver  = errors.New("the test is over")
	errReplaced  = errors.New("a newer one of its concurrency group waits")
	errCancelled = errors.New("a newer one of its concurrency group has begun")
)

// group is a concurrency group: one is running, and of those that wait GitHub
// keeps the newest.
type group struct{ running, waiting *member }

type member struct {
	turn   chan struct{} // closed when it may run
	cancel context.CancelCauseFunc
}

// place is one in a concurrency group, or in none.
type place struct {
	r *Runner
	g *group
	m *member
}

// join takes the next place in the group; an empty name is no group.
func (r *Runner) join(cancel context.CancelCauseFunc, name string, cancelInProgress bool) place {
	if name == "" {
		return place{}
	}
	me := &member{turn: make(chan struct{}), cancel: cancel}
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.groups[name]
	if g == nil {
		g = &group{}
		r.groups[name] = g
	}
	if g.running == nil {
		g.running = me
		close(me.turn)
		return place{r, g, me}
	}
	if g.waiting != nil {
		g.waiting.cancel(errReplaced)
	}
	g.waiting = me
	if cancelInProgress {
		g.running.cancel(errCancelled)
	}
	return place{r, g, me}
}

// wait waits for the turn.
func (p place) wait(ctx context.Context) error {
	if p.g == nil {
		return nil
	}
	select {
	case <-p.m.turn:
		return context.Cause(ctx)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// leave gives the place up, and the turn to who waits.
func (p place) leave() {
	if p.g == nil {
		return
	}
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	switch p.m {
	case p.g.waiting:
		p.g.waiting = nil
	case p.g.running:
		if p.g.running, p.g.waiting = p.g.waiting, nil; p.g.running != nil {
			close(p.g.running.turn)
		}
	}
}
