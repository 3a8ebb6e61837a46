package balancer

import (
	"math/rand/v2"
	"sync"
	"time"
)

// open are the requests of an arm that have not ended: what an instance never
// answers is seen nowhere else. Event streams and upgraded connections are among
// them until their head only.
type open struct {
	shards [8]openShard
}

// openShard is a ring of requests, in the order in which they came.
type openShard struct {
	mu    sync.Mutex
	n     int64
	first pending // stands for none: its neighbours are the oldest and the newest one
	_     [64]byte
}

// pending is a request among them. Its links take no memory of their own.
type pending struct {
	before, after *pending
	since         time.Time
	of            *open
	in            *openShard // nil: it is not among them
}

// enter counts the request in, unless it is in already.
func (o *open) enter(p *pending, since time.Time) {
	if p.in != nil && p.of == o {
		return
	}
	p.leave()
	s := &o.shards[rand.IntN(len(o.shards))] // #nosec G404 -- spreads locks
	p.of, p.in, p.since = o, s, since
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first.after == nil {
		s.first.before, s.first.after = &s.first, &s.first
	}
	p.before, p.after = s.first.before, &s.first
	p.before.after, p.after.before = p, p
	s.n++
}

// leave counts it out, where it is in.
func (p *pending) leave() {
	s := p.in
	if s == nil {
		return
	}
	p.in = nil
	s.mu.Lock()
	defer s.mu.Unlock()
	p.before.after, p.after.before = p.after, p.before
	p.before, p.after = nil, nil
	s.n--
}

// now says how many there are, and for how many seconds the oldest one has been.
func (o *open) now(now time.Time) (n int64, oldest float64) {
	for i := range o.shards {
		s := &o.shards[i]
		s.mu.Lock()
		if s.n > 0 {
			n += s.n
			oldest = max(oldest, now.Sub(s.first.after.since).Seconds())
		}
		s.mu.Unlock()
	}
	return n, oldest
}
