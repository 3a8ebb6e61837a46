package balancer

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/smartcloudops/gate/pipeline/target"
)

const (
	// ringSize is how many observations are kept for whoever has not read them
	// yet: at 5,000 a second and arm, 13 s.
	ringSize = 1 << 17
	// ringClasses bounds the classes, otherClass among them.
	ringClasses = 64
	longClass   = 64 // bytes of a path's first element
	otherClass  = "other"
	// A cursor is the ring's mark and the number of what ended before. Below 2^53
	// it survives any JSON.
	cursorBits = 40
	ringMarks  = 1 << 12
)

// ring keeps what canary and baseline were asked, in the order in which it ended.
// There is one only while a canary runs, and the stable arm's requests never come
// by here.
type ring struct {
	mark  int64
	whole bool // it began with the canary; false: something before it is not known

	mu      sync.Mutex
	kept    []seen
	n       int64 // of all that have ended
	classes map[class]uint16
	names   []string
}

// class is what a request asks for, roughly. It must not hang on which arm is
// asked.
type class struct{ method, first string }

// seen is an observation, small.
type seen struct {
	seconds   float64
	class     uint16
	kind      uint8
	failed    bool
	synthetic bool
	about
}

// about is what else is told of a request.
type about struct {
	visitor uint32
	givenUp bool
}

func newRing(whole bool) *ring {
	return &ring{
		mark: 1 + rand.Int64N(ringMarks-1), whole: whole,
		kept: make([]seen, 0, ringSize), classes: map[class]uint16{}, names: []string{otherClass},
	}
}

func (r *ring) record(kind int, method, path string, status int, took time.Duration, failed, synthetic bool, more about) {
	c, fits := classOf(method, path)
	r.mu.Lock()
	defer r.mu.Unlock()
	s := seen{took.Seconds(), 0, uint8(kind), failed, synthetic, more} // #nosec G115 -- there are three arms
	if fits {
		s.class = r.class(c, status)
	}
	if len(r.kept) < ringSize {
		r.kept = append(r.kept, s)
	} else {
		r.kept[r.n%ringSize] = s
	}
	r.n++
}

// class is the number of the class. What was only ever refused takes no place of
// its own: a scanner would take them all. The caller holds r.mu.
func (r *ring) class(c class, status int) uint16 {
	if k, known := r.classes[c]; known {
		return k
	}
	if len(r.names) == ringClasses || status >= 400 && status < 500 {
		return 0
	}
	c = class{strings.Clone(c.method), strings.Clone(c.first)} // not the whole request with it
	k := uint16(len(r.names))                                  // #nosec G115 -- bounded above
	r.classes[c], r.names = k, append(r.names, c.method+" /"+c.first)
	return k
}

var methods = []string{http.MethodGet, http.MethodPost, http.MethodHead, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions}

func classOf(method, path string) (c class, fits bool) {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return class{method, first}, len(first) <= longClass && slices.Contains(methods, method)
}

// since are those that ended after the cursor was given, and the next cursor.
// lost is how many more there were; at least so many, where a cursor is not of
// this ring.
func (r *ring) since(cursor int64) (out []target.Observation, next, lost int64) {
	r.mu.Lock()
	from, first := int64(0), r.n-int64(len(r.kept))
	at := cursor & (1<<cursorBits - 1)
	switch {
	case cursor == 0 && r.whole:
	case cursor != 0 && cursor>>cursorBits == r.mark && at <= r.n:
		from = at
	default:
		lost = 1
	}
	if from < first {
		lost, from = lost+first-from, first
	}
	list := make([]seen, 0, r.n-from)
	for n := from; n < r.n; {
		end := min(r.n, n-n%ringSize+ringSize)
		list = append(list, r.kept[n%ringSize:][:end-n]...)
		n = end
	}
	next = r.mark<<cursorBits | r.n
	names := r.names[:len(r.names):len(r.names)] // only ever appended to
	r.mu.Unlock()
	out = make([]target.Observation, len(list))
	for i, s := range list {
		out[i] = target.Observation{Arm: armNames[s.kind], Class: names[s.class], Error: s.failed, Seconds: s.seconds, Synthetic: s.synthetic, GivenUp: s.givenUp, Visitor: s.visitor}
	}
	return out, next, lost
}
