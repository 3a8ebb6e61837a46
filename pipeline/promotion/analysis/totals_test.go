package analysis

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"gonum.org/v1/gonum/floats"
)

// TestWhatIsRareFindsItsPartner: in another block.
func TestWhatIsRareFindsItsPartner(t *testing.T) {
	t.Parallel()
	j := New(options())
	for i := range 20 {
		j.Add(Observation{Arm: []string{Baseline, Canary}[i%2], Class: "GET /rare", Seconds: 0.1})
		for range 110 {
			j.Add(Observation{Arm: Baseline, Class: "GET /", Seconds: 0.1, Synthetic: true})
			j.Add(Observation{Arm: Canary, Class: "GET /", Seconds: 0.1, Synthetic: true})
		}
	}
	if f := j.Figures(); f.Real.Pairs != 10 || f.Blocks < 20 {
		t.Errorf("%d of 10 pairs in %d blocks", f.Real.Pairs, f.Blocks)
	}
	// What is asked often waits for a moment only.
	j = New(options())
	for range 90 {
		j.Add(Observation{Arm: Baseline, Class: "GET /a", Seconds: 0.1})
	}
	for range 100 {
		both(j, "GET /b", 0.1, 0.1)
	}
	if n := len(j.wait[class{"GET /a", false}].seen); n != kept {
		t.Errorf("%d wait beyond their block, want %d", n, kept)
	}
}

// TestPeopleAreSeenBesideSyntheticRequests, though hardly one of theirs finds a
// partner, and their share of all is small.
func TestPeopleAreSeenBesideSyntheticRequests(t *testing.T) {
	t.Parallel()
	j := New(options())
	for i := range 12 {
		for range 100 {
			j.Add(Observation{Arm: Baseline, Class: "GET /", Seconds: 0.1, Synthetic: true})
			j.Add(Observation{Arm: Canary, Class: "GET /", Seconds: 0.1, Synthetic: true})
		}
		j.Add(Observation{Arm: Baseline, Class: string(rune('a' + i)), Seconds: 0.1})
		j.Add(Observation{Arm: Canary, Class: string(rune('A' + i)), Seconds: 0.1, Error: true})
	}
	f := j.Figures()
	if f.Real.Canary != (Count{12, 12, 0}) || f.Real.Baseline != (Count{12, 0, 0}) || f.Real.Pairs != 0 || f.Real.Overdispersion > 1.01 {
		t.Errorf("%+v", f.Real)
	}
	if f.Errors.Estimate != 0 || f.Errors.Worse.E < 100 {
		t.Errorf("%+v", f.Errors)
	}
	// A block in which an arm had nothing goes on.
	j = New(options())
	j.Add(Observation{Arm: Canary, Class: "A", Seconds: 0.1, Error: true})
	for range 200 {
		j.Add(Observation{Arm: Baseline, Class: "GET /", Seconds: 0.1, Synthetic: true})
		j.Add(Observation{Arm: Canary, Class: "GET /", Seconds: 0.1, Synthetic: true})
	}
	if f := j.Figures(); f.Votes.Blocks[0].Real != nil || f.Real.Overdispersion != 1 || j.real.block[1].Errors != 1 {
		t.Errorf("%+v", f.Real)
	}
}

// TestErrorsInBunches: one moment is one moment, also while it lasts.
func TestErrorsInBunches(t *testing.T) {
	t.Parallel()
	j := New(options())
	for i := range 290 {
		j.Add(Observation{Arm: Baseline, Class: "GET /", Seconds: 0.1})
		j.Add(Observation{Arm: Canary, Class: "GET /", Seconds: 0.1, Error: i >= 230 && i < 250})
	}
	want := float64(20*20+10) / (20 + 10)
	if f := j.Figures(); f.Overdispersion != want || f.Real.Overdispersion != want {
		t.Errorf("%v, want %v", f.Overdispersion, want)
	}
}

// TestClientsThatGiveUp count where they waited for longer than usual, which is
// measured on both arms together.
func TestClientsThatGiveUp(t *testing.T) {
	t.Parallel()
	j := New(options())
	for range 100 {
		both(j, "GET /", 0.1, 0.4)
	}
	for _, x := range []struct {
		o    Observation
		want int64
	}{
		{Observation{Seconds: 0.3, GivenUp: true}, 0},
		{Observation{Seconds: 0.5, GivenUp: true}, 1},
		{Observation{Seconds: 0.5, GivenUp: true, Error: true}, 1},
		{Observation{Seconds: 0.5}, 1},
	} {
		for _, arm := range []string{Baseline, Canary} {
			x.o.Arm, x.o.Class = arm, "GET /"
			j.Add(x.o)
		}
		if f := j.Figures(); f.Canary.GivenUp != x.want || f.Baseline.GivenUp != x.want || f.Real.Canary.GivenUp != x.want {
			t.Errorf("%+v: %d and %d, want %d", x.o, f.Canary.GivenUp, f.Baseline.GivenUp, x.want)
		}
	}
	// Many who leave don't make it usual.
	for range 500 {
		j.Add(Observation{Arm: Canary, Class: "GET /", Seconds: 9, GivenUp: true})
	}
	if f := j.Figures(); f.Canary.GivenUp != 501 {
		t.Errorf("%d gave up, want 501", f.Canary.GivenUp)
	}
}

func TestVisitorsAreCounted(t *testing.T) {
	t.Parallel()
	j := New(options())
	for i := range uint32(10) {
		for range i {
			j.Add(Observation{Arm: Canary, Class: "GET /", Visitor: i})
		}
	}
	both(j, "GET /", 0.1, 0.1)
	if f := j.Figures(); f.Canary.Audience != (Audience{Visits: 45, Visitors: 9, Greatest: 9}) || f.Baseline.Audience != (Audience{}) {
		t.Errorf("%+v", f.Canary.Audience)
	}
	for i := range uint32(known + 100) {
		j.Add(Observation{Arm: Canary, Class: "GET /", Visitor: 100 + i})
	}
	if n := len(j.who[Canary]); n != known {
		t.Errorf("%d visitors are kept", n)
	}
	text, err := json.Marshal(j.Figures().Canary)
	if want := `{"requests":20146,"synthetic":0,"errors":0,"given_up":0,"visits":20145,"visitors":20000,"greatest":9}`; err != nil || string(text) != want {
		t.Errorf("%s, want %s", text, want)
	}
}

// TestGroupsTakeTheirTime: a quarter of a second in which the canary alone fails
// proves nothing, however many requests come in it.
func TestGroupsTakeTheirTime(t *testing.T) {
	t.Parallel()
	proved := func(seconds float64) bool {
		o, now := options(), time.Unix(0, 0)
		o.Now = func() time.Time { return now }
		j := New(o)
		for range int(500 * seconds) {
			now = now.Add(2 * time.Millisecond)
			j.Add(Observation{Arm: Baseline, Class: "GET /", Seconds: 0.01})
			j.Add(Observation{Arm: Canary, Class: "GET /", Seconds: 0.05, Error: true})
		}
		return j.Figures().Errors.Worse.E >= Splits/o.Alpha
	}
	if proved(0.3) || proved(2) {
		t.Error("proved by what is over in a moment")
	}
	if !proved(12) {
		t.Error("not proved in 12 s")
	}
}

// TestFiguresCanBeComputedAgain: from what is told, every e-value.
func TestFiguresCanBeComputedAgain(t *testing.T) {
	t.Parallel()
	capital := func(weight float64, shares []float64, log func(share float64) float64) float64 {
		var logs []float64
		for _, s := range shares {
			logs = append(logs, log(s))
		}
		return floats.LogSumExp(logs) - math.Log(float64(len(logs))) + math.Log(weight)
	}
	for _, name := range []string{"errors 0.1 → 5%", "own noise of each arm", "latency +20%", "one real request in ten fails, synthetic ones don't"} {
		for _, s := range scenarios() {
			if s.name != name {
				continue
			}
			r := newOurs().(*ours)
			s.live(9, 1, r.tell, func(t int, _ [2]float64) bool { return t < 150 })
			text, err := json.Marshal(r.j.Figures())
			var f Figures
			if err != nil || json.Unmarshal(text, &f) != nil {
				t.Fatal(err)
			}
			v := f.Votes
			if len(v.Blocks) != int(f.Blocks) || v.Discordant[1]-v.Discordant[0] != int64(math.Round(f.Errors.Estimate*float64(f.Pairs))) {
				t.Errorf("%s: %d blocks, discordant %v", name, len(v.Blocks), v.Discordant)
			}
			blocks := func(weight float64, z func(b Block) (float64, bool)) float64 {
				return capital(weight, []float64{0.2, 0.4, 0.8, 1.6, 3.2}, func(s float64) (log float64) {
					for _, b := range v.Blocks {
						if z, ok := z(b); ok {
							log += math.Log1p(math.Tanh(s * max(-3, min(3, z))))
						}
					}
					return log
				})
			}
			groups := func(weight, most, less float64, counts []int64) float64 {
				return capital(weight, []float64{0.3, 0.6, 0.95}, func(s float64) (log float64) {
					for i, n := range counts {
						log += float64(n) * math.Log1p(s*most*(float64(i-10)/10-less))
					}
					return log
				})
			}
			latency := func(sign float64, z func(l BlockLatency) float64) func(b Block) (float64, bool) {
				return func(b Block) (float64, bool) {
					if b.Latency == nil {
						return 0, false
					}
					return sign * z(*b.Latency), true
				}
			}
			shift, tail := func(l BlockLatency) float64 { return l.Shift }, func(l BlockLatency) float64 { return l.Tail }
			for what, x := range map[string][2]float64{
				"more errors": {f.Errors.Worse.LogE, floats.LogSumExp([]float64{
					blocks(0.4, func(b Block) (float64, bool) {
						return float64(b.Canary-b.Baseline) / math.Sqrt(float64(b.Canary+b.Baseline)), b.Canary+b.Baseline > 0
					}),
					groups(0.4, 1/1.1, 0.1, v.GrossErrors),
					blocks(0.2, func(b Block) (float64, bool) {
						if b.Real == nil {
							return 0, false
						}
						return *b.Real, true
					}),
				})},
				"errors within": {f.Errors.Within.LogE, capital(1, []float64{0.05, 0.1, 0.2, 0.4, 0.7, 0.95}, func(s float64) (log float64) {
					for i, n := range v.Credited {
						log += float64(n) * math.Log1p(s/(1-f.Errors.Margin)*(f.Errors.Margin-float64(i-1)))
					}
					if log > 0 {
						log /= v.Bunched
					}
					return log
				})},
				"slower":       {f.Latency.Worse.LogE, floats.LogSumExp([]float64{blocks(0.5, latency(1, shift)), blocks(0.25, latency(1, tail)), groups(0.25, 1, 0, v.GrossLatency)})},
				"slow within":  {f.Latency.Within.LogE, min(blocks(1, latency(-1, shift)), blocks(1, latency(-1, func(l BlockLatency) float64 { return l.SlowTail })))},
				"some of each": {math.Abs(float64(v.Credited[0]+v.Credited[1]+v.Credited[2]) - float64(f.Pairs)), 0},
			} {
				if !(math.Abs(x[0]-x[1]) < 1e-6*(1+math.Abs(x[0]))) {
					t.Errorf("%s: %s is %v, and computed again %v", name, what, x[0], x[1])
				}
			}
		}
	}
	// Blocks beyond the last 500 are not told, and are counted.
	o := options()
	o.BlockPairs, o.BlockSeconds = 1, 0
	j := New(o)
	for range told + 7 {
		both(j, "GET /", 0.1, 0.1)
	}
	if f := j.Figures(); len(f.Votes.Blocks) != told || f.Blocks != told+7 {
		t.Errorf("%d of %d blocks are told", len(f.Votes.Blocks), f.Blocks)
	}
}

// TestALeadByChanceShortensNoForecast: what is forecast is the way to a pass.
func TestALeadByChanceShortensNoForecast(t *testing.T) {
	t.Parallel()
	j := New(options())
	j.pairs = 100
	j.worseErrors[0].logs[0] = 5
	for _, s := range []sum{j.withinErrors, j.withinLatency, j.withinTail} {
		s[0].logs[0] = 1
	}
	f := j.Figures()
	if !f.Foreseen || !f.Errors.Worse.Foreseen || !f.Errors.Within.Foreseen || !f.Latency.Within.Foreseen {
		t.Fatalf("%+v", f)
	}
	if want := max(f.Errors.Within.Needed, f.Latency.Within.Needed); f.Errors.Worse.Needed >= want || f.Needed != want {
		t.Errorf("%d are needed, worse %d, within %d", f.Needed, f.Errors.Worse.Needed, want)
	}
}
