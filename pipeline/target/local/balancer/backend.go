package balancer

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// idlePerBackend is how many kept connections an instance may have. The
// default of net/http is two, which costs three times the CPU at 50 users.
const idlePerBackend = 256

// idleTime is how long a connection to an instance is kept unused. It is
// shorter than the keep-alive times that servers commonly have (the shortest is
// five seconds): if the instance closed first, a POST under way could not be
// told from one that was executed. A new loopback connection costs 50 µs.
const idleTime = 4 * time.Second

// backend is an instance in, or on its way out of, the set. Each has a
// Transport of its own: its connections end with it, and a later instance on
// the same port never meets one of them.
type backend struct {
	Backend
	key       string // of this balancer for its successor; empty: it is an instance
	transport *http.Transport
	eject     time.Duration

	inFlight atomic.Int64
	left     atomic.Bool
	idle     chan struct{} // closed when it has left and nothing is in flight
	once     sync.Once

	// sparedUntil is in nanoseconds since the balancer was made; 0: not spared.
	sparedUntil atomic.Int64
}

func newBackend(d Backend, o *Options) *backend {
	dialer := &net.Dialer{Timeout: o.DialTimeout, KeepAlive: -1} // a dead process on the same machine is noticed without probes
	return &backend{
		Backend: d,
		eject:   o.Eject,
		idle:    make(chan struct{}),
		transport: &http.Transport{
			Proxy: nil, // never by way of the environment's proxy
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				c, err := dialer.DialContext(ctx, network, d.Address)
				if err != nil {
					return nil, &dialError{id: d.ID, err: err}
				}
				return c, nil
			},
			MaxIdleConns:           idlePerBackend,
			MaxIdleConnsPerHost:    idlePerBackend,
			IdleConnTimeout:        idleTime,
			DisableCompression:     true, // bodies pass as they are
			ResponseHeaderTimeout:  o.AnswerTimeout,
			ExpectContinueTimeout:  time.Second,
			MaxResponseHeaderBytes: 1 << 20,
		},
	}
}

// dialError is a failure before any byte of a request was sent.
type dialError struct {
	id  string
	err error
}

func (e *dialError) Error() string { return fmt.Sprintf("instance %s: %v", e.id, e.err) }
func (e *dialError) Unwrap() error { return e.err }

// acquire counts a request in, unless the instance has left. Counting comes
// first: leave marks first and counts then, so one of the two sees the other.
func (be *backend) acquire() bool {
	be.inFlight.Add(1)
	if be.left.Load() {
		be.release()
		return false
	}
	return true
}

func (be *backend) release() {
	if be.inFlight.Add(-1) == 0 && be.left.Load() {
		be.rest()
	}
}

func (be *backend) leave() {
	be.left.Store(true)
	if be.inFlight.Load() == 0 {
		be.rest()
	}
}

func (be *backend) rest() {
	be.once.Do(func() {
		be.transport.CloseIdleConnections()
		close(be.idle)
	})
}

// standing says whether an instance should be asked.
type standing int

const (
	good    standing = iota
	refused          // it refused a connection a moment ago
	onTrial          // it had; the caller, and nobody else for now, is to try again
)

func (be *backend) standing(now int64) standing {
	until := be.sparedUntil.Load()
	switch {
	case until == 0:
		return good
	case now < until:
		return refused
	case be.sparedUntil.CompareAndSwap(until, now+int64(be.eject)):
		return onTrial
	}
	return refused
}

func (be *backend) spare(now int64) { be.sparedUntil.Store(now + int64(be.eject)) }

func (be *backend) answers() {
	if be.sparedUntil.Load() != 0 {
		be.sparedUntil.Store(0)
	}
}
