package analysis

import (
	"cmp"
	"container/heap"
	"fmt"
	"math"
	"math/rand/v2"
)

// What is simulated: an arm gets 20 requests a second for 10
// minutes, of which 0.1% fail; latencies are lognormal, their median is 100 ms,
// their p99 400 ms.
const (
	ratePerSecond = 20
	seconds       = 600
	usualErrors   = 0.001
	usualMedian   = 0.1
	spread        = 0.6
)

// state is what an arm is like in one second.
type state struct {
	errors float64 // share of requests that fail
	slower float64 // factor of all latencies
	slow   float64 // share of requests of the slow class
	tail   float64 // share of requests that take ten times as long
	real   float64 // share of people's requests that fail
	hang   float64 // share of requests of a class that is never answered
}

// scenario is a world in which two arms live. next tells both arms' states of the
// next second.
type scenario struct {
	name string
	kind kind
	// rate of people's requests a second and arm; 0: ratePerSecond
	rate float64
	// classes of people's requests; 0: one
	classes int
	// synthetic requests a second and arm
	synthetic int
	// visitors who are dealt out, each with a speed of its own; 0: requests are
	visitors int
	spread   float64
	// patience of clients, in seconds; 0: they wait
	patience float64
	next     func(r *rand.Rand) func(t int) [2]state // baseline, canary
}

// kind says what is right to say of the canary.
type kind int

const (
	isNull kind = iota // it must not be rolled back
	isBad              // it must be rolled back
	isGrey             // neither is wrong
)

func same() [2]state {
	s := state{errors: usualErrors, slower: 1}
	return [2]state{s, s}
}

// steady is a world in which the canary differs by what change does.
func steady(change func(s *state)) func(*rand.Rand) func(int) [2]state {
	return func(*rand.Rand) func(int) [2]state {
		s := same()
		change(&s[1])
		return func(int) [2]state { return s }
	}
}

// noise is an autoregressive process with the standard deviation sd, whose
// memory fades within the given seconds.
func noise(r *rand.Rand, sd, seconds float64) func() float64 {
	keep := math.Exp(-1 / seconds)
	x := sd * r.NormFloat64()
	return func() float64 {
		now := x
		x = keep*x + sd*math.Sqrt(1-keep*keep)*r.NormFloat64()
		return now
	}
}

// bursts are three seconds in which that share of the requests fails, on average
// every 100 seconds.
func bursts(r *rand.Rand, share float64) func() float64 {
	left := 0
	return func() float64 {
		if left--; left < 0 && r.Float64() < 0.01 {
			left = 3
		}
		if left > 0 {
			return share
		}
		return 0
	}
}

// ownNoise has each arm go up and down by itself, for seconds.
func ownNoise(sd, share float64, change func(s *state)) func(*rand.Rand) func(int) [2]state {
	return func(r *rand.Rand) func(int) [2]state {
		speed := [2]func() float64{noise(r, sd, 10), noise(r, sd, 10)}
		fail := [2]func() float64{bursts(r, share), bursts(r, share)}
		return func(int) [2]state {
			s := same()
			change(&s[1])
			for i := range s {
				s[i].slower *= math.Exp(speed[i]())
				s[i].errors += fail[i]()
			}
			return s
		}
	}
}

func nothing(*state) {}

func scenarios() []scenario {
	return []scenario{
		{name: "no difference", kind: isNull, next: steady(nothing)},
		{name: "no difference, 2% errors", kind: isNull, next: func(*rand.Rand) func(int) [2]state {
			s := same()
			s[0].errors, s[1].errors = 0.02, 0.02
			return func(int) [2]state { return s }
		}},
		{name: "shared incident, both arms", kind: isNull, next: func(*rand.Rand) func(int) [2]state {
			return func(t int) [2]state {
				s := same()
				if t >= 200 && t < 320 {
					for i := range s {
						s[i].errors, s[i].slower = 0.1, 3
					}
				}
				return s
			}
		}},
		{name: "shared noise, for half a minute at a time", kind: isNull, next: func(r *rand.Rand) func(int) [2]state {
			speed, fail := noise(r, 0.3, 30), bursts(r, 0.3)
			return func(int) [2]state {
				s, f, e := same(), math.Exp(speed()), fail()
				for i := range s {
					s[i].slower *= f
					s[i].errors += e
				}
				return s
			}
		}},
		{name: "own noise of each arm", kind: isNull, next: ownNoise(0.05, 0.1, nothing)},
		{name: "own noise of each arm, twice as strong and three times the errors", kind: isNull, next: ownNoise(0.1, 0.3, nothing)},
		{name: "the same at 100 requests/s an arm", kind: isNull, rate: 100, next: ownNoise(0.1, 0.3, nothing)},
		{name: "another mix of requests", kind: isNull, next: func(*rand.Rand) func(int) [2]state {
			s := same()
			s[0].slow, s[1].slow = 0.4, 0.6
			return func(int) [2]state { return s }
		}},
		{name: "+3% latency (trivial)", kind: isNull, next: steady(func(s *state) { s.slower = 1.03 })},
		{name: "+10% latency (the margin)", kind: isNull, next: steady(func(s *state) { s.slower = 1.1 })},
		{name: "errors 0.1 → 0.2%", kind: isGrey, next: steady(func(s *state) { s.errors = 0.002 })},
		{name: "errors 0.1 → 1.1%", kind: isBad, next: steady(func(s *state) { s.errors = 0.011 })},
		{name: "errors 0.1 → 1.1%, own noise", kind: isBad, next: ownNoise(0.05, 0.1, func(s *state) { s.errors = 0.011 })},
		{name: "errors 0.1 → 5%", kind: isBad, next: steady(func(s *state) { s.errors = 0.05 })},
		{name: "all requests fail", kind: isBad, next: steady(func(s *state) { s.errors = 1 })},
		{name: "latency +20%", kind: isBad, next: steady(func(s *state) { s.slower = 1.2 })},
		{name: "latency +20%, own noise", kind: isBad, next: ownNoise(0.05, 0.1, func(s *state) { s.slower = 1.2 })},
		{name: "latency +50%", kind: isBad, next: steady(func(s *state) { s.slower = 1.5 })},
		{name: "one request in twenty ten times as slow", kind: isBad, next: steady(func(s *state) { s.tail = 0.05 })},
		{name: "one request in ten is never answered", kind: isBad, next: hung},
		{name: "one request in ten is never answered, clients leave after 10 s", kind: isBad, patience: 10, next: hung},
		{name: "rare requests of five classes beside synthetic ones", kind: isNull, rate: 0.2, classes: 5, synthetic: 30, next: steady(nothing)},
		{name: "rare requests of five classes all fail, synthetic ones don't", kind: isBad, rate: 0.2, classes: 5, synthetic: 30, next: steady(func(s *state) { s.real = 1 })},
		{name: "one real request in ten fails, synthetic ones don't", kind: isBad, rate: 5, classes: 5, synthetic: 30, next: steady(func(s *state) { s.real = 0.1 })},
		{name: "sticky: 60 visitors an arm, speeds apart by 20%", kind: isNull, visitors: 120, spread: 0.2, next: steady(nothing)},
		{name: "sticky: 10 visitors an arm, speeds apart by 20%", kind: isNull, visitors: 20, spread: 0.2, next: steady(nothing)},
	}
}

// hung is a world in which both arms have a class that the canary never answers.
func hung(*rand.Rand) func(int) [2]state {
	s := same()
	s[0].slow, s[1].slow, s[1].hang = 0.1, 0.1, 1
	return func(int) [2]state { return s }
}

// answerTimeout is the load balancer's.
const answerTimeout = 60

// request is one that is under way.
type request struct {
	start, end float64
	o          Observation
}

type underWay []request

func (u underWay) Len() int           { return len(u) }
func (u underWay) Less(i, k int) bool { return u[i].end < u[k].end }
func (u underWay) Swap(i, k int)      { u[i], u[k] = u[k], u[i] }
func (u *underWay) Push(x any)        { *u = append(*u, x.(request)) }
func (u *underWay) Pop() any {
	last := (*u)[len(*u)-1]
	*u = (*u)[:len(*u)-1]
	return last
}

// oldest is for how long each arm's oldest request has been under way.
func (u underWay) oldest(now float64) (age [2]float64) {
	for _, x := range u {
		k := 0
		if x.o.Arm == Canary {
			k = 1
		}
		age[k] = max(age[k], now-x.start)
	}
	return age
}

// live runs the world and tells every request, with the time, in the order of
// their ends, and when each second is over, with the ages of what is under way,
// until that says that it has seen enough.
func (s scenario) live(seed, trial uint64, tell func(at float64, o Observation), second func(t int, oldest [2]float64) bool) {
	r := rand.New(rand.NewPCG(seed, trial))
	next := s.next(r)
	speed, seat := make([]float64, s.visitors), make([]int, s.visitors)
	for v := range speed {
		speed[v], seat[v] = math.Exp(s.spread*r.NormFloat64()), r.IntN(2)
	}
	var open underWay
	ask := func(start float64, arm int, a state, o Observation) {
		o.Arm = [2]string{Baseline, Canary}[arm]
		o.Seconds = usualMedian * a.slower * math.Exp(spread*r.NormFloat64())
		failing := a.errors
		if !o.Synthetic {
			failing = max(failing, a.real)
		}
		hangs := false
		if a.slow > 0 && r.Float64() < a.slow {
			o.Class = "GET /slow"
			o.Seconds *= 4
			failing *= 5
			hangs = a.hang > 0 && r.Float64() < a.hang
		}
		if a.tail > 0 && r.Float64() < a.tail {
			o.Seconds *= 10
		}
		o.Error = r.Float64() < failing
		if hangs {
			o.Seconds, o.Error = answerTimeout, true
		}
		if s.patience > 0 && o.Seconds > s.patience {
			o.Seconds, o.Error, o.GivenUp = s.patience, false, true
		}
		heap.Push(&open, request{start, start + o.Seconds, o})
	}
	for t := range seconds {
		now := next(t)
		// Each request is given to either arm by chance, so that their numbers
		// differ as they do in a balancer.
		n := poisson(r, 2*cmp.Or(s.rate, ratePerSecond))
		for range n {
			start, arm := float64(t)+r.Float64(), r.IntN(2)
			o := Observation{Class: "GET /a"}
			if s.classes > 0 {
				o.Class = fmt.Sprint("GET /", r.IntN(s.classes))
			}
			a := now[arm]
			if s.visitors > 0 {
				v := r.IntN(s.visitors)
				arm, o.Visitor = seat[v], uint32(v+1)
				a = now[arm]
				a.slower *= speed[v]
			}
			ask(start, arm, a, o)
		}
		for k := range s.synthetic {
			for arm := range 2 {
				ask(float64(t)+float64(k)/float64(s.synthetic), arm, now[arm], Observation{Class: fmt.Sprint("GET /", k%2), Synthetic: true})
			}
		}
		for len(open) > 0 && open[0].end <= float64(t+1) {
			x := heap.Pop(&open).(request)
			tell(x.end, x.o)
		}
		if !second(t, open.oldest(float64(t+1))) {
			return
		}
	}
}

func poisson(r *rand.Rand, mean float64) int {
	n := 0
	for t := r.ExpFloat64(); t < mean; t += r.ExpFloat64() {
		n++
	}
	return n
}
