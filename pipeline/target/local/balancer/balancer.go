// Package balancer is the TLS load balancer in front of an environment's
// instances. The set of instances is swapped in one atomic step under
// connections that stay open, so that clients notice nothing of an update, a
// canary or a rollback; what it sees of both arms is what a canary is judged by.
package balancer

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/smartcloudops/gate/pipeline/target"
)

// Headers that the balancer gives and takes. Clients cannot forge one: whatever
// begins with X-Gate- is taken off every request.
const (
	HeaderRelease   = "X-Gate-Release"   // on a response: digest of the release that answered
	HeaderInstance  = "X-Gate-Instance"  // on a response: ID of the instance that answered
	HeaderArm       = "X-Gate-Arm"       // on a synthetic request: stable, canary or baseline
	HeaderSynthetic = "X-Gate-Synthetic" // on a synthetic request: the key
	HeaderExpect    = "X-Gate-Expect"    // on a synthetic request: what a right answer looks like
	HeaderRun       = "X-Gate-Run"       // on a request of a measurement: its number there, for the access log
)

// ErrServing: the instance is still in the set that gets traffic.
var ErrServing = errors.New("the instance still gets traffic")

// ErrShut: the balancer stopped before the call.
var ErrShut = errors.New("the load balancer is shut down")

// Options of a balancer. Listener and GetCertificate are required; every other
// zero value stands for the default that is named.
type Options struct {
	// Listener accepts plain TCP; the balancer speaks TLS on it and closes it.
	Listener       net.Listener
	GetCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Protocols may be agreed on by ALPN beside those of HTTP; a connection of one
	// ends with its handshake.
	Protocols []string
	// SyntheticKey is the secret of the requests that gate itself sends. Without
	// one no request counts as synthetic.
	SyntheticKey string
	// Predecessor is the key of the load balancer that has handed its listener over:
	// with it that one passes on requests of connections that it still has. Empty:
	// there is none.
	Predecessor string
	// DialTimeout bounds a connection attempt to an instance. 1 s.
	DialTimeout time.Duration
	// AnswerTimeout is how long an instance may take, from having the whole
	// request, to the head of its answer. 60 s; then the client gets 504.
	AnswerTimeout time.Duration
	// Stall is how long a client may go without taking or sending a single
	// byte while it owes one. 60 s. However slow, a client that moves is served.
	Stall time.Duration
	// Eject is how long an instance that refused a connection is spared. 250 ms;
	// after that one request at a time tries it.
	Eject time.Duration
	// Access is told of every finished request, on the request's goroutine.
	Access func(AccessRecord)
	Log    *slog.Logger     // discarded when nil
	Now    func() time.Time // time.Now
}

// AccessRecord is one line of an access log. It has no query and no header:
// both may carry secrets.
type AccessRecord struct {
	Time      time.Time     `json:"time"` // when the request had arrived
	Method    string        `json:"method"`
	Path      string        `json:"path"`
	Proto     string        `json:"proto"`
	Status    int           `json:"status"` // 499: the client went away first
	Duration  time.Duration `json:"duration"`
	Release   string        `json:"release,omitempty"`
	Instance  string        `json:"instance,omitempty"`
	Canary    bool          `json:"canary,omitempty"`
	Baseline  bool          `json:"baseline,omitempty"`
	Synthetic bool          `json:"synthetic,omitempty"`
	Failed    bool          `json:"failed,omitempty"` // by the service, not by the client
	Attempts  int           `json:"attempts"`         // instances that were tried; 0: none was there
	Bytes     int64         `json:"bytes"`            // of the answer's body that were passed on
	Run       string        `json:"run,omitempty"`    // of a measurement, and the request's number in it
}

// Counts are totals since the balancer was made, of all requests whatever
// became of them. They never go back.
type Counts struct {
	Requests int64
	Errors   int64         // answered 5xx, or not answered, without the fault of the client
	Busy     time.Duration // sum of the times that requests took: two readings give the mean concurrency
	InFlight int64         // now
}

// Balancer is a running load balancer.
type Balancer struct {
	opt     Options
	key     *[sha256.Size]byte
	before  *[sha256.Size]byte // of Predecessor
	started time.Time
	server  *http.Server
	cancel  context.CancelFunc // ends every request, upgraded connections included

	mu      sync.Mutex // of everything that replaces current
	current atomic.Pointer[state]
	leaving map[string][]*backend // out of the set, perhaps still with requests in flight
	weights weights
	turn    [arms]atomic.Uint64 // rotation in each arm

	shards int
	counts struct{ requests, errors, busy, inFlight atomic.Int64 }

	life lifecycle
}

// New prepares a balancer with no instance: it answers 503 until the first
// Swap. Nothing is accepted before Serve.
func New(o Options) (*Balancer, error) {
	if o.Listener == nil {
		return nil, errors.New("load balancer: no listener was given; open one on the declared address")
	}
	if o.GetCertificate == nil {
		return nil, errors.New("load balancer: no certificate source was given; take one from package certs")
	}
	defaults(&o)
	b := &Balancer{opt: o, leaving: map[string][]*backend{}, started: o.Now()}
	b.weights.seed = rand.Uint64()
	b.shards = min(runtime.GOMAXPROCS(0), 8)
	if o.SyntheticKey != "" {
		sum := sha256.Sum256([]byte(o.SyntheticKey))
		b.key = &sum
	}
	if o.Predecessor != "" {
		sum := sha256.Sum256([]byte(o.Predecessor))
		b.before = &sum
	}
	now := o.Now()
	first := &state{}
	for k := range first.arms {
		first.arms[k] = &arm{turn: &b.turn[k], figures: newFigures(now, "", b.shards)}
	}
	b.current.Store(first)
	b.prepareServer()
	return b, nil
}

func defaults(o *Options) {
	for d, v := range map[*time.Duration]time.Duration{
		&o.DialTimeout:   time.Second,
		&o.AnswerTimeout: time.Minute,
		&o.Stall:         time.Minute,
		&o.Eject:         250 * time.Millisecond,
	} {
		if *d <= 0 {
			*d = v
		}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// Counts returns the totals.
func (b *Balancer) Counts() Counts {
	return Counts{
		Requests: b.counts.requests.Load(),
		Errors:   b.counts.errors.Load(),
		Busy:     time.Duration(b.counts.busy.Load()),
		InFlight: b.counts.inFlight.Load(),
	}
}

// Arms are the figures of all arms since the last Reset. An arm whose release
// has changed since then starts anew by itself: no figure mixes two releases.
// A request counts where it began, also when it ends after a Reset. Times run
// from the arrival of a request's head until the instance's last byte was
// passed on; of event streams and upgraded connections only until the head.
//
// Clients' requests count, and declared synthetic ones, whatever they ask for.
// What the watch over the environment sends does not, nor clients' requests for a
// Health path: a monitor that looks often would make any release look quick and
// well. Instances are probed past the balancer.
func (b *Balancer) Arms() target.Arms {
	st, now := b.current.Load(), b.opt.Now()
	out := target.Arms{
		Stable: st.arms[stable].figures.arm(now), Canary: st.arms[canary].figures.arm(now), Baseline: st.arms[baseline].figures.arm(now),
	}
	for _, a := range st.arms {
		if a.figures.since.After(out.Since) {
			out.Since = a.figures.since
		}
	}
	return out
}

// Observe implements target.Observer, for a set with Observe. A request is
// observed at the arm that it was dealt to: of the help of another arm nothing is
// kept, because it did not come there by chance.
func (b *Balancer) Observe(cursor int64) (seen []target.Observation, next, lost int64, err error) {
	r := b.current.Load().ring
	if r == nil {
		return nil, 0, 0, errors.New("no canary is observed")
	}
	seen, next, lost = r.since(cursor)
	return seen, next, lost, nil
}

// Reset lets the figures of all arms start anew.
func (b *Balancer) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, old := b.opt.Now(), b.current.Load()
	next := *old
	for k, a := range old.arms {
		fresh := *a
		fresh.figures = newFigures(now, a.figures.release, b.shards)
		next.arms[k] = &fresh
	}
	b.current.Store(&next)
}
