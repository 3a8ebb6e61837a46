package analysis

import (
	"cmp"
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
}

// scenario is a world in which two arms live. next tells both arms' states of the
// next second.
type scenario struct {
	name string
	kind kind
	// rate of requests a second and arm; 0: ratePerSecond
	rate int
	next func(r *rand.Rand) func(t int) [2]state // baseline, canary
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
		{"no difference", isNull, 0, steady(nothing)},
		{"no difference, 2% errors", isNull, 0, func(*rand.Rand) func(int) [2]state {
			s := same()
			s[0].errors, s[1].errors = 0.02, 0.02
			return func(int) [2]state { return s }
		}},
		{"shared incident, both arms", isNull, 0, func(*rand.Rand) func(int) [2]state {
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
		{"shared noise, for half a minute at a time", isNull, 0, func(r *rand.Rand) func(int) [2]state {
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
		{"own noise of each arm", isNull, 0, ownNoise(0.05, 0.1, nothing)},
		{"own noise of each arm, twice as strong and three times the errors", isNull, 0, ownNoise(0.1, 0.3, nothing)},
		{"the same at 100 requests/s an arm", isNull, 100, ownNoise(0.1, 0.3, nothing)},
		{"another mix of requests", isNull, 0, func(*rand.Rand) func(int) [2]state {
			s := same()
			s[0].slow, s[1].slow = 0.4, 0.6
			return func(int) [2]state { return s }
		}},
		{"+3% latency (trivial)", isNull, 0, steady(func(s *state) { s.slower = 1.03 })},
		{"+10% latency (the margin)", isNull, 0, steady(func(s *state) { s.slower = 1.1 })},
		{"errors 0.1 → 0.2%", isGrey, 0, steady(func(s *state) { s.errors = 0.002 })},
		{"errors 0.1 → 1.1%", isBad, 0, steady(func(s *state) { s.errors = 0.011 })},
		{"errors 0.1 → 1.1%, own noise", isBad, 0, ownNoise(0.05, 0.1, func(s *state) { s.errors = 0.011 })},
		{"errors 0.1 → 5%", isBad, 0, steady(func(s *state) { s.errors = 0.05 })},
		{"all requests fail", isBad, 0, steady(func(s *state) { s.errors = 1 })},
		{"latency +20%", isBad, 0, steady(func(s *state) { s.slower = 1.2 })},
		{"latency +20%, own noise", isBad, 0, ownNoise(0.05, 0.1, func(s *state) { s.slower = 1.2 })},
		{"latency +50%", isBad, 0, steady(func(s *state) { s.slower = 1.5 })},
		{"one request in twenty ten times as slow", isBad, 0, steady(func(s *state) { s.tail = 0.05 })},
	}
}

// live runs the world and tells every request, in the order of their ends, and
// when each second is over, until that says that it has seen enough.
func (s scenario) live(seed, trial uint64, tell func(Observation), second func(t int) bool) {
	r := rand.New(rand.NewPCG(seed, trial))
	next := s.next(r)
	for t := range seconds {
		now := next(t)
		// Each request is given to either arm by chance, so that their numbers
		// differ as they do in a balancer.
		n := poisson(r, 2*float64(cmp.Or(s.rate, ratePerSecond)))
		for range n {
			arm := r.IntN(2)
			a := now[arm]
			o := Observation{Arm: [2]string{Baseline, Canary}[arm], Class: "GET /a"}
			o.Seconds = usualMedian * a.slower * math.Exp(spread*r.NormFloat64())
			failing := a.errors
			if a.slow > 0 && r.Float64() < a.slow {
				o.Class = "GET /slow"
				o.Seconds *= 4
				failing *= 5
			}
			if a.tail > 0 && r.Float64() < a.tail {
				o.Seconds *= 10
			}
			o.Error = r.Float64() < failing
			tell(o)
		}
		if !second(t) {
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
