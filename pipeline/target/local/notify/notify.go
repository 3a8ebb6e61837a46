package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/target/local/durable"
)

// Options of a Notifier. Dir and Log are required.
type Options struct {
	Dir  string // made when missing; belongs to the Notifier alone
	Log  *slog.Logger
	Now  func() time.Time // nil: time.Now
	Wait Backoff
	Keep time.Duration // a message that nobody took for so long is given up; 0: 7 days
}

// Backoff is the wait before a message is sent again: Min (0: 1 s), doubled each
// time up to Max (0: 1 min).
type Backoff struct{ Min, Max time.Duration }

// Notifier delivers messages, each at least once to each route. It may be used
// concurrently.
type Notifier struct {
	opt  Options
	wake chan struct{}

	mu       sync.Mutex
	routes   map[string]Sender
	order    []string
	receipts []checks.Receipt
	tries    map[string]try // by file
	problem  string
	since    map[string]time.Time // route → since when it has not worked
}

type try struct {
	failures int
	next     time.Time
}

const receiptsKept = 500

// New opens the queue with what is left in it.
func New(o Options) (*Notifier, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Wait.Min <= 0 {
		o.Wait.Min = time.Second
	}
	if o.Wait.Max <= 0 {
		o.Wait.Max = time.Minute
	}
	if o.Keep <= 0 {
		o.Keep = 7 * 24 * time.Hour
	}
	n := &Notifier{opt: o, wake: make(chan struct{}, 1), routes: map[string]Sender{}, tries: map[string]try{}, since: map[string]time.Time{}}
	if err := os.MkdirAll(n.queueDir(), 0o700); err != nil {
		return nil, fmt.Errorf("folder for alerts: %w", err)
	}
	b, err := os.ReadFile(n.receiptsFile())
	if err == nil {
		err = json.Unmarshal(b, &n.receipts)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		o.Log.Warn("what was delivered before can't be read", "error", err)
		n.receipts = nil
	}
	return n, nil
}

func (n *Notifier) receiptsFile() string { return filepath.Join(n.opt.Dir, "receipts.json") }

// Use makes the routes those that messages go to, from now on.
func (n *Notifier) Use(routes map[string]Sender, order []string) {
	n.mu.Lock()
	n.routes, n.order = routes, slices.Clone(order)
	n.mu.Unlock()
	n.poke()
}

// Tell puts the message into the queue of every route. Once it returns nil the
// message will be delivered, whatever happens to this process.
func (n *Notifier) Tell(m Message) error {
	m.identify()
	m.Raised = n.opt.Now().UTC()
	n.mu.Lock()
	order := n.order
	n.mu.Unlock()
	var errs []error
	for _, r := range order {
		if concerns(r, m) {
			errs = append(errs, n.put(r, m))
		}
	}
	n.poke()
	return errors.Join(errs...)
}

func (n *Notifier) poke() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// Run delivers until ctx ends. Routes do not wait for each other.
func (n *Notifier) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	busy := map[string]bool{} // routes that are sending
	done := make(chan string)
	for {
		next := n.opt.Wait.Max
		now := n.opt.Now()
		held := map[string]bool{} // route and fingerprint that an older message waits for
		for _, q := range n.waiting() {
			key := q.Route + " " + q.Message.Fingerprint
			s, declared := n.sender(q.Route)
			switch {
			case !declared:
				n.opt.Log.Warn("an alert is dropped, since its route is no longer declared", "route", q.Route, "alert", q.Message.Alert, "state", q.Message.State)
				n.drop(q)
				continue
			case n.taken(q.Route, q.Message.ID):
				n.drop(q)
				continue
			case now.Sub(q.Message.Raised) > n.opt.Keep:
				n.opt.Log.Error("an alert is given up, since nobody took it", "route", q.Route, "alert", q.Message.Alert, "state", q.Message.State, "after", n.opt.Keep)
				n.drop(q)
				continue
			case busy[q.Route] || held[key]:
				held[key] = true
				continue
			}
			held[key] = true
			if wait := n.due(q).Sub(now); wait > 0 {
				next = min(next, wait)
				continue
			}
			busy[q.Route] = true
			wg.Go(func() {
				n.deliver(ctx, s, q)
				select {
				case done <- q.Route:
				case <-ctx.Done():
				}
			})
		}
		timer := time.NewTimer(max(next, time.Millisecond))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case r := <-done:
			busy[r] = false
		case <-n.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (n *Notifier) sender(route string) (Sender, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s, ok := n.routes[route]
	return s, ok
}

func (n *Notifier) due(q queued) time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.tries[q.file].next
}

// deliver sends once. The receipt is on disk before the message leaves the queue.
func (n *Notifier) deliver(ctx context.Context, s Sender, q queued) {
	said, err := s.Send(ctx, q.Message)
	if ctx.Err() != nil && err != nil {
		return
	}
	n.mu.Lock()
	t := n.tries[q.file]
	if err != nil {
		wait := n.opt.Wait.Min
		for range min(t.failures, 20) {
			wait = min(2*wait, n.opt.Wait.Max)
		}
		t.failures++
		t.next = n.opt.Now().Add(wait)
		n.tries[q.file] = t
		n.problem = q.Route + ": " + line(err.Error())
		if n.since[q.Route].IsZero() {
			n.since[q.Route] = n.opt.Now()
		}
		n.mu.Unlock()
		n.opt.Log.Warn("an alert could not be delivered; it is tried again", "route", q.Route, "alert", q.Message.Alert, "state", q.Message.State, "error", err, "in", wait)
		return
	}
	n.receipts = append(n.receipts, checks.Receipt{
		Route: q.Route, Message: q.Message.ID, Alert: q.Message.Alert, State: q.Message.State, Exercise: q.Message.Exercise,
		Raised: q.Message.Raised, Accepted: n.opt.Now().UTC(), Said: said, Attempts: t.failures + 1,
	})
	if over := len(n.receipts) - receiptsKept; over > 0 {
		n.receipts = slices.Clone(n.receipts[over:])
	}
	n.problem = ""
	delete(n.since, q.Route)
	b, err := json.Marshal(n.receipts)
	n.mu.Unlock()
	if err == nil {
		err = durable.Replace(n.receiptsFile(), b, 0o600)
	}
	if err != nil {
		n.opt.Log.Warn("that an alert was delivered can't be noted; it may come twice", "error", err)
	}
	n.opt.Log.Info("alert delivered", "route", q.Route, "alert", q.Message.Alert, "state", q.Message.State, "said", said)
	n.drop(q)
}

func (n *Notifier) drop(q queued) {
	if err := os.Remove(q.file); err != nil && !errors.Is(err, os.ErrNotExist) {
		n.opt.Log.Error("an alert can't be taken out of the queue", "error", err)
	}
	n.mu.Lock()
	delete(n.tries, q.file)
	n.mu.Unlock()
}

// taken says whether the route has taken the message.
func (n *Notifier) taken(route, id string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.ContainsFunc(n.receipts, func(r checks.Receipt) bool { return r.Route == route && r.Message == id })
}

// State is how delivery stands.
type State struct {
	Queued   int
	Problem  string
	Failing  map[string]time.Time // route → since when it takes nothing
	Receipts []checks.Receipt     // newest last
}

// State is how delivery stands now.
func (n *Notifier) State() State {
	queued := len(n.waiting())
	n.mu.Lock()
	defer n.mu.Unlock()
	s := State{Queued: queued, Problem: n.problem, Receipts: slices.Clone(n.receipts), Failing: map[string]time.Time{}}
	for r, t := range n.since {
		s.Failing[r] = t
	}
	return s
}
