package analysis

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// both adds a request of each arm.
func both(j *Judge, class string, baseline, canary float64) {
	j.Add(Observation{Arm: Baseline, Class: class, Seconds: baseline})
	j.Add(Observation{Arm: Canary, Class: class, Seconds: canary})
}

func TestWhatCannotBeBelievedMakesItUnsound(t *testing.T) {
	t.Parallel()
	good := Observation{Arm: Canary, Class: "GET /", Seconds: 0.1}
	with := func(change func(o *Observation)) func(*Judge) {
		o := good
		change(&o)
		return func(j *Judge) { j.Add(o) }
	}
	for name, spoil := range map[string]func(*Judge){
		"no number":    with(func(o *Observation) { o.Seconds = math.NaN() }),
		"infinite":     with(func(o *Observation) { o.Seconds = math.Inf(1) }),
		"negative":     with(func(o *Observation) { o.Seconds = -0.1 }),
		"weeks":        with(func(o *Observation) { o.Seconds = 1e7 }),
		"unknown arm":  with(func(o *Observation) { o.Arm = "stable" }),
		"no arm":       with(func(o *Observation) { o.Arm = "" }),
		"lost":         func(j *Judge) { j.Lost(1) },
		"lost so many": func(j *Judge) { j.Lost(math.MaxInt64); j.Lost(math.MaxInt64) },
		"lost below 0": func(j *Judge) { j.Lost(-1) },
	} {
		j := New(options())
		for range 500 {
			both(j, "GET /", 0.1, 0.1)
		}
		if f := j.Figures(); !f.Sound || len(f.Faults) != 0 {
			t.Fatalf("%s: unsound before: %v", name, f.Faults)
		}
		spoil(j)
		for range 500 {
			both(j, "GET /", 0.1, 0.1)
		}
		if f := j.Figures(); f.Sound || len(f.Faults) == 0 || f.Lost < 0 {
			t.Errorf("%s: sound: %+v", name, f)
		}
	}
	j := New(options())
	if j.Lost(0); !j.Figures().Sound {
		t.Error("nothing lost is unsound")
	}
}

func TestOptionsThatMakeNoSenseAreUnsound(t *testing.T) {
	t.Parallel()
	nan := math.NaN()
	for name, change := range map[string]func(o *Options){
		"alpha 0": func(o *Options) { o.Alpha = 0 }, "alpha 1": func(o *Options) { o.Alpha = 1 }, "no alpha": func(o *Options) { o.Alpha = nan },
		"margin 1": func(o *Options) { o.ErrorMargin = 1 }, "margin below 0": func(o *Options) { o.ErrorMargin = -0.1 }, "no margin": func(o *Options) { o.ErrorMargin = nan },
		"latency below 0": func(o *Options) { o.LatencyMargin = -1 }, "no latency": func(o *Options) { o.LatencyMargin = nan },
		"slack below 0": func(o *Options) { o.LatencySlack = -1 }, "no slack": func(o *Options) { o.LatencySlack = nan },
		"too many pairs": func(o *Options) { o.BlockPairs = greatest + 1 },
		"no pairs":       func(o *Options) { o.BlockPairs = 0 }, "time below 0": func(o *Options) { o.BlockSeconds = -1 }, "no time": func(o *Options) { o.BlockSeconds = nan },
	} {
		o := options()
		change(&o)
		j := New(o)
		both(j, "GET /", 0.1, 0.1)
		f := j.Figures()
		if f.Sound {
			t.Errorf("%s is sound", name)
		}
		finite(t, f)
	}
}

// TestEveryNumberIsFinite, whatever comes.
func TestEveryNumberIsFinite(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		o := Options{
			Alpha:         rapid.SampledFrom([]float64{1e-12, 0.01, 0.99}).Draw(t, "alpha"),
			ErrorMargin:   rapid.SampledFrom([]float64{0, 0.01, 0.99}).Draw(t, "error margin"),
			LatencyMargin: rapid.SampledFrom([]float64{0, 0.1, 1000}).Draw(t, "latency margin"),
			LatencySlack:  rapid.SampledFrom([]float64{0, 1e6}).Draw(t, "slack"),
			BlockPairs:    rapid.IntRange(1, 20).Draw(t, "pairs"),
		}
		j := New(o)
		for range rapid.IntRange(0, 40).Draw(t, "runs") {
			x := Observation{
				Arm:       rapid.SampledFrom([]string{Baseline, Canary, Canary, "stable"}).Draw(t, "arm"),
				Class:     rapid.SampledFrom([]string{"", "GET /", "POST /"}).Draw(t, "class"),
				Error:     rapid.Bool().Draw(t, "error"),
				Seconds:   rapid.SampledFrom([]float64{0, 1e-300, 0.1, 0.2, 1e6, math.NaN(), math.Inf(1), -1}).Draw(t, "seconds"),
				Synthetic: rapid.Bool().Draw(t, "synthetic"),
			}
			for range rapid.IntRange(1, 60).Draw(t, "times") {
				j.Add(x)
			}
		}
		finite(t, j.Figures())
	})
}

func finite(t interface{ Fatalf(string, ...any) }, f Figures) {
	if _, err := json.Marshal(f); err != nil {
		t.Fatalf("%v: %+v", err, f)
	}
	for _, p := range []Proof{f.Errors.Worse, f.Errors.Within, f.Latency.Worse, f.Latency.Within} {
		if !(p.E >= 0 && p.E <= greatestE) || p.Needed < 0 {
			t.Fatalf("e-value %+v", p)
		}
	}
	for _, m := range []Measure{f.Errors, f.Latency} {
		if m.Low > m.High || math.Abs(m.Estimate) > unbounded || math.Abs(m.High) > unbounded {
			t.Fatalf("bounds %+v", m)
		}
	}
	if f.Needed < 0 || f.Pairs > f.Canary.Requests || f.Pairs > f.Baseline.Requests {
		t.Fatalf("%+v", f)
	}
}

// TestPairsAreOfOneClass: a canary that gets another mix of requests is not
// compared across classes, nor are people's requests with gate's own.
func TestPairsAreOfOneClass(t *testing.T) {
	t.Parallel()
	j := New(options())
	for range 1000 {
		j.Add(Observation{Arm: Baseline, Class: "GET /fast", Seconds: 0.1})
		j.Add(Observation{Arm: Canary, Class: "GET /slow", Seconds: 9, Error: true})
		j.Add(Observation{Arm: Canary, Class: "GET /fast", Seconds: 9, Error: true, Synthetic: true})
	}
	if f := j.Figures(); f.Pairs != 0 || math.Abs(f.Errors.Worse.LogE) > 1e-9 || f.Latency.Worse.LogE != 0 || f.Baseline.Requests != 1000 || f.Canary.Requests != 2000 || f.Canary.Errors != 2000 || f.Canary.Synthetic != 1000 {
		t.Errorf("%+v", f)
	}
	// More classes than anybody has are counted, not paired, and take no memory.
	for i := range 10_000 {
		both(j, string(rune('一'+i)), 0.1, 0.1)
	}
	if len(j.wait) > classes {
		t.Errorf("%d classes are kept", len(j.wait))
	}
}

// TestExchangedArms: what speaks for one arm speaks against the other as much.
func TestExchangedArms(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		var there, back []stratum
		for range 1 + r.IntN(3) {
			s := stratum{}
			for range 1 + r.IntN(60) {
				s.baseline = append(s.baseline, math.Round(100*r.ExpFloat64())/100)
				s.canary = append(s.canary, math.Round(120*r.ExpFloat64())/100)
			}
			slices.Sort(s.baseline)
			slices.Sort(s.canary)
			there, back = append(there, s), append(back, stratum{s.canary, s.baseline})
		}
		if a, b := shift(there, 1, 0), shift(back, 1, 0); math.Abs(a+b) > 1e-9 {
			t.Fatalf("shift: %v there and %v back", a, b)
		}
		if a, b := tail(there, 1, 0), tail(back, 1, 0); a != -b {
			t.Fatalf("tail: %v there and %v back", a, b)
		}
	}
}

func TestShiftByTheMargin(t *testing.T) {
	t.Parallel()
	s := stratum{baseline: []float64{1, 2, 3, 4}, canary: []float64{1.1, 2.2, 3.3, 4.4}}
	if z := shift([]stratum{s}, 1, 0); z <= 0 {
		t.Errorf("slower by 10%%: %v", z)
	}
	if z := shift([]stratum{s}, 1.1, 0); math.Abs(z) > 0.2 {
		t.Errorf("at the margin: %v", z)
	}
	if z := shift([]stratum{s}, 1, 10); z >= 0 {
		t.Errorf("within the slack: %v", z)
	}
}

// TestBlocksTakeTheirTime: where there is a clock, a block lasts as long as is
// declared, however many requests there are.
func TestBlocksTakeTheirTime(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	o := options()
	o.BlockSeconds, o.Now = 5, func() time.Time { return now }
	j := New(o)
	for range 50 { // 5 s
		for range 100 {
			both(j, "GET /", 0.1, 0.1)
		}
		now = now.Add(100 * time.Millisecond)
	}
	if got := j.Figures().Blocks; got != 0 {
		t.Errorf("%d blocks after 5 s", got)
	}
	both(j, "GET /", 0.1, 0.1)
	if got := j.Figures().Blocks; got != 1 {
		t.Errorf("%d blocks after more than 5 s", got)
	}
	// A clock that stands still must not keep everything.
	for range 2*greatest + 10 {
		both(j, "GET /", 0.1, 0.1)
	}
	if got := j.Figures().Blocks; got != 3 {
		t.Errorf("%d blocks while the clock stood still, want 3", got)
	}
}

// TestForecast: what is forecast at a third of the way is about right, and
// nothing is once it is proved.
func TestForecast(t *testing.T) {
	t.Parallel()
	bound := math.Log(Splits / options().Alpha)
	for trial := range uint64(20) {
		j := New(options())
		asked, at, proved := int64(0), int64(0), int64(0)
		scenarios()[0].live(7, trial, func(_ float64, o Observation) { j.Add(o) }, func(int, [2]float64) bool {
			f := j.Figures()
			if f.Pairs > 900 && at == 0 {
				if !f.Foreseen {
					t.Errorf("trial %d: nothing is foreseen after %d pairs: %+v", trial, f.Pairs, f)
				}
				asked, at = f.Needed, f.Pairs
			}
			if f.Errors.Within.LogE >= bound && f.Latency.Within.LogE >= bound {
				if proved = f.Pairs; f.Needed != 0 || !f.Foreseen {
					t.Errorf("trial %d: %d more are needed once it is proved", trial, f.Needed)
				}
				return false
			}
			return true
		})
		if took := proved - at; proved == 0 || asked > 4*took+1000 || took > 4*asked+1000 {
			t.Errorf("trial %d: forecast %d at %d, and it took %d more", trial, asked, at, took)
		}
	}
	if f := New(options()).Figures(); f.Foreseen || f.Needed != 0 {
		t.Errorf("of nothing, %+v is foreseen", f)
	}
}

// TestBoundsHoldAtAllTimes: the truth is within the bounds at each of 40 looks,
// in at least 99 of 100 trials.
func TestBoundsHoldAtAllTimes(t *testing.T) {
	t.Parallel()
	truth := map[string][2]float64{
		"no difference, 2% errors": {0, 1}, "latency +20%": {0, 1.2}, "errors 0.1 → 5%": {0.049, 1},
	}
	for _, s := range scenarios() {
		want, ok := truth[s.name]
		if !ok {
			continue
		}
		outside, narrow := 0, 0
		for trial := range uint64(25) {
			j := New(options())
			missed := false
			s.live(4, trial, func(_ float64, o Observation) { j.Add(o) }, func(at int, _ [2]float64) bool {
				if at%15 != 14 {
					return true
				}
				f := j.Figures()
				missed = missed || f.Errors.Low > want[0] || f.Errors.High < want[0] || f.Latency.Low > want[1] || f.Latency.High < want[1]
				if at == seconds-1 {
					if f.Errors.High-f.Errors.Low < 0.03 && f.Latency.High/f.Latency.Low < 1.25 && math.Abs(f.Errors.Estimate-want[0]) < 0.01 && math.Abs(f.Latency.Estimate-want[1]) < 0.04 {
						narrow++
					}
				}
				return true
			})
			if missed {
				outside++
			}
		}
		if outside > 0 {
			t.Errorf("%s: the truth was outside in %d of 25 trials", s.name, outside)
		}
		if narrow < 25 {
			t.Errorf("%s: near the truth in %d of 25 trials", s.name, narrow)
		}
	}
}

// TestTheSameAgain: the same requests give the same figures, bit for bit.
func TestTheSameAgain(t *testing.T) {
	t.Parallel()
	run := func() Figures {
		j := New(options())
		scenarios()[6].live(5, 5, func(_ float64, o Observation) { j.Add(o) }, func(at int, _ [2]float64) bool { return at < 60 })
		return j.Figures()
	}
	if a, b := run(), run(); !reflect.DeepEqual(a, b) {
		t.Errorf("%+v\n%+v", a, b)
	}
}
