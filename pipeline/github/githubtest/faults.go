package githubtest

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// Fault is one way in which GitHub, or the network before it, fails.
type Fault string

// Faults.
const (
	None           Fault = ""
	Secondary      Fault = "403 secondary limit"
	SecondaryAfter Fault = "403 secondary limit, Retry-After"
	TooMany        Fault = "429, Retry-After"
	Primary        Fault = "403 primary limit"
	Broken         Fault = "502 without effect"
	BrokenAfter    Fault = "502 after the effect"
	LostRequest    Fault = "connection lost before the effect"
	LostReply      Fault = "connection lost after the effect"
	Truncated      Fault = "JSON cut after the effect"
	Twice          Fault = "carried out twice"
	Late           Fault = "connection lost, carried out later"
	Slow           Fault = "slow"
)

// Faults are all but None.
func Faults() []Fault {
	return []Fault{Secondary, SecondaryAfter, TooMany, Primary, Broken, BrokenAfter, LostRequest, LostReply, Truncated, Twice, Late, Slow}
}

type faults struct {
	rate    float64
	kinds   []Fault
	rng     *rand.Rand
	row     int // failures in a row
	planned []planned
}

type planned struct {
	method, path string
	fault        Fault
	times        int
}

// late is an effect that was postponed.
type late struct {
	after int // number of the request after which it comes
	run   func()
}

// maxRow lets a client through that is patient enough.
const maxRow = 3

// Inject makes requests fail at that rate, by chance of the seed; no kinds: all.
func (s *Server) Inject(seed uint64, rate float64, kinds ...Fault) {
	if len(kinds) == 0 {
		kinds = Faults()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.rate, s.faults.kinds, s.faults.rng = rate, kinds, rand.New(rand.NewPCG(seed, 7)) // #nosec G404 -- a seed for tests
}

// FailNext makes the next requests of the method whose path contains that fail.
func (s *Server) FailNext(method, path string, f Fault, times int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.planned = append(s.faults.planned, planned{method, path, f, times})
}

// Calm ends all faults and carries out what is late.
func (s *Server) Calm() {
	s.mu.Lock()
	s.faults = faults{}
	waiting := s.late
	s.late = nil
	s.mu.Unlock()
	for _, l := range waiting {
		l.run()
	}
}

func (s *Server) nextFault(req *http.Request) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &s.faults
	for i := range f.planned {
		p := &f.planned[i]
		if p.times > 0 && p.method == req.Method && strings.Contains(req.URL.Path, p.path) {
			p.times--
			return p.fault
		}
	}
	if f.rng == nil || f.row >= maxRow || f.rng.Float64() >= f.rate {
		f.row = 0
		return None
	}
	f.row++
	return f.kinds[f.rng.IntN(len(f.kinds))]
}

func (s *Server) postpone(run func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	after := 40 // or when it is calm
	if s.faults.rng != nil {
		after = 1 + s.faults.rng.IntN(12)
	}
	s.late = append(s.late, late{after: s.served + after, run: run})
}

// served1 counts a request and carries out what is due.
func (s *Server) served1() {
	s.mu.Lock()
	s.served++
	var due, rest []late
	for _, l := range s.late {
		if l.after <= s.served {
			due = append(due, l)
		} else {
			rest = append(rest, l)
		}
	}
	s.late = rest
	s.mu.Unlock()
	for _, l := range due {
		l.run()
	}
}

// turnAway answers without an effect.
func (s *Server) turnAway(f Fault) answer {
	a := refuse(http.StatusForbidden, "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.")
	a.header = http.Header{}
	switch f {
	case SecondaryAfter:
		a.header.Set("Retry-After", "11")
	case TooMany:
		a = refuse(http.StatusTooManyRequests, "Too many requests")
		a.header = http.Header{"Retry-After": {"7"}}
	case Primary:
		a = refuse(http.StatusForbidden, "API rate limit exceeded for installation ID 99.")
		a.header = http.Header{}
		a.header.Set("X-RateLimit-Limit", "5000")
		a.header.Set("X-RateLimit-Remaining", "0")
		a.header.Set("X-RateLimit-Reset", fmt.Sprint(s.Clock.Now().Add(40*time.Second).Unix()))
	case Broken:
		a = refuse(http.StatusBadGateway, "Server Error")
	}
	return a
}
