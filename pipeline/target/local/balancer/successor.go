package balancer

import (
	"context"
	"crypto/tls"
	"net"
	"time"
)

// Headers between a balancer that leaves and its successor.
const (
	headerBefore = "X-Gate-Predecessor" // the key
	headerClient = "X-Gate-Client"      // host:port of the client
)

// successorTime bounds a connection to the successor: while its daemon is started
// anew, who connects waits in the kernel's queue.
const successorTime = 30 * time.Second

// Follow has a balancer that leaves pass on what its connections still bring to
// its successor at the address, who has its key as Predecessor. Which instances
// there are, and which arm a client belongs to, the successor alone knows: the set
// of this one is that of the moment when it left. It is false while this one still
// accepts connections: it would be its own successor.
func (b *Balancer) Follow(address, key string) bool {
	if !b.life.deaf.Load() {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	be := newBackend(Backend{ID: "successor", Address: address}, &b.opt)
	be.key = key
	dialer := &tls.Dialer{NetDialer: &net.Dialer{}, Config: &tls.Config{
		// Nobody else can listen on the address of this very socket.
		InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}, //nolint:gosec // see above
	}}
	be.transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, successorTime)
		defer cancel()
		c, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, &dialError{id: be.ID, err: err}
		}
		return c, nil
	}
	old := b.current.Load()
	next := &state{}
	for k, a := range old.arms {
		next.arms[k] = &arm{turn: a.turn, figures: a.figures}
	}
	next.arms[stable].backends = []*backend{be}
	b.current.Store(next)
	b.sweep()
	for _, a := range old.arms {
		for _, gone := range a.backends {
			b.leaving[gone.ID] = append(b.leaving[gone.ID], gone)
			gone.leave()
		}
	}
	return true
}
