package checks

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLoadSuccessLower(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		k, n int64
		want float64
	}{
		{0, 0, 0},
		{0, 100, 0},
		{299, 299, math.Pow(0.05, 1.0/299)}, // 0.990031
		{298, 298, math.Pow(0.05, 1.0/298)}, // 0.989997
		{10, 10, math.Pow(0.05, 0.1)},
		{9, 10, 0.605838}, // 1 − 0.394163, from tables of the exact upper bound of 1 in 10
		{95, 100, 0.897732},
		{101, 100, 0}, // nonsense proves nothing
	} {
		if got := loadSuccessLower(c.k, c.n); math.Abs(got-c.want) > 2e-5 {
			t.Errorf("%d of %d: %g, want %g", c.k, c.n, got, c.want)
		}
	}
	if loadSuccessLower(299, 299) < 0.99 || loadSuccessLower(298, 298) >= 0.99 {
		t.Error("299 requests without a failure are the least that show 99%")
	}
}

// loadTestSamples are n requests over some seconds, with the given latency.
func loadTestSamples(n, seconds int, latency func(at time.Duration) time.Duration) []loadSample {
	samples := make([]loadSample, n)
	for i := range samples {
		at := time.Duration(i) * time.Duration(seconds) * time.Second / time.Duration(n)
		samples[i] = loadSample{at: at, latency: latency(at)}
	}
	return samples
}

func TestLoadUpperBounds(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	independent := loadTestSamples(3000, 60, func(time.Duration) time.Duration {
		return time.Duration(r.ExpFloat64() * float64(100*time.Millisecond))
	})
	f, err := loadFigure("x", independent, 60)
	if err != nil {
		t.Fatal(err)
	}
	// The true p95 is 300 ms, the p99 461 ms; bounds lie a little above.
	if f.P95Upper < f.P95 || f.P99Upper < f.P99 || f.P95Upper > 0.35 || f.P99Upper > 0.60 || f.P95 < 0.27 || f.P95 > 0.33 {
		t.Errorf("%+v", f)
	}
	// 4% of all requests are slow, all in one stretch: p95 is far below, but
	// another minute might as well have had 6%.
	stretch := loadTestSamples(3000, 60, func(at time.Duration) time.Duration {
		if at >= 30*time.Second && at < 32400*time.Millisecond {
			return time.Second
		}
		return 10 * time.Millisecond
	})
	if f, err = loadFigure("x", stretch, 60); err != nil {
		t.Fatal(err)
	}
	if f.P95 > 0.02 || f.P95Upper < 0.9 {
		t.Errorf("one bad stretch: p95 %g, bound %g", f.P95, f.P95Upper)
	}
	if again, _ := loadFigure("x", stretch, 60); again.P95Upper != f.P95Upper || again.P99Upper != f.P99Upper {
		t.Error("the same requests gave another bound")
	}
	// Too few for any bound: the largest.
	few := loadTestSamples(20, 5, func(at time.Duration) time.Duration { return at / 10 })
	if f, err = loadFigure("x", few, 5); err != nil || f.P99Upper < 0.47 || f.P95Upper < 0.47 {
		t.Errorf("%+v, %v", f, err)
	}
	if f, err = loadFigure("x", nil, 5); err != nil || f.SuccessLower != 0 || f.P95Upper != 0 {
		t.Errorf("nothing: %+v, %v", f, err)
	}
}

func TestLoadOrderUpperCoversTheTruth(t *testing.T) {
	t.Parallel()
	// Of 95% bounds, 95% must hold; 400 trials leave a standard error of 1.1
	// points.
	r := rand.New(rand.NewPCG(3, 4))
	truth := -math.Log(0.05) * 0.1
	held := 0
	const trials = 400
	for range trials {
		h := loadHistogram()
		for range 200 {
			loadRecord(h, time.Duration(r.ExpFloat64()*float64(100*time.Millisecond)))
		}
		if loadOrderUpper(h, 0.95) >= truth {
			held++
		}
	}
	if share := float64(held) / trials; share < 0.92 || share > 0.995 {
		t.Errorf("the bound held in %.1f%% of trials", share*100)
	}
}

func TestLoadPool(t *testing.T) {
	t.Parallel()
	run := func(seed uint64, scale time.Duration, fail int) LoadPayload {
		r := rand.New(rand.NewPCG(seed, 0))
		phase := func() LoadPhase {
			samples := loadTestSamples(300, 5, func(time.Duration) time.Duration { return time.Duration(r.ExpFloat64() * float64(scale)) })
			for i := range fail {
				samples[i].why = "status 500"
			}
			p, err := loadFigures([]string{"a"}, samples, 5*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		return LoadPayload{Users: 50, ThinkSeconds: 1, Closed: phase(), Open: phase(), Restarts: new(1), LittleLaw: 1 - float64(seed)/100,
			Generator: GeneratorFacts{CPUShare: float64(seed) / 10, P99LagSeconds: 0.01}}
	}
	encode := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	one, two := run(1, 100*time.Millisecond, 0), run(2, 200*time.Millisecond, 9)

	single, err := loadPool([][]byte{encode(one)})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(encode(one)), string(single)); diff != "" {
		t.Errorf("one run pooled is another:\n%s", diff)
	}

	raw, err := loadPool([][]byte{encode(one), encode(two)})
	if err != nil {
		t.Fatal(err)
	}
	var p LoadPayload
	if err := json.Unmarshal(raw, &p); err != nil {
		t.Fatal(err)
	}
	a := p.Open.All
	if a.Requests != 600 || a.Succeeded != 591 || a.Failures["status 500"] != 9 || a.SuccessLower != loadSuccessLower(591, 600) {
		t.Errorf("%+v", a)
	}
	if a.P95 <= one.Open.All.P95 || a.P95 >= two.Open.All.P95 || a.P95Upper < two.Open.All.P95Upper || a.P99Upper < two.Open.All.P99Upper {
		t.Errorf("p95 %g of %g and %g", a.P95, one.Open.All.P95, two.Open.All.P95)
	}
	if *p.Restarts != 2 || p.LittleLaw != 0.98 || p.Generator.CPUShare != 0.2 || p.Open.Seconds != 10 || p.Open.Rate != 60 ||
		!cmp.Equal(p.Open.Timeline, two.Open.Timeline) {
		t.Errorf("%+v", p)
	}
	// A good run after a bad one must not hide it.
	raw, err = loadPool([][]byte{encode(two), encode(one)})
	if err != nil {
		t.Fatal(err)
	}
	var back LoadPayload
	if err := json.Unmarshal(raw, &back); err != nil {
		t.Fatal(err)
	}
	if back.Open.All.SuccessLower != a.SuccessLower || back.Open.All.P95Upper != a.P95Upper {
		t.Error("the order of runs matters")
	}

	other := run(3, time.Millisecond, 0)
	other.Users = 5
	lying := run(3, time.Millisecond, 0)
	lying.Open.All.Requests++
	for name, bad := range map[string][][]byte{
		"nothing": nil, "no JSON": {[]byte("{")}, "other users": {encode(one), encode(other)}, "a histogram of fewer requests": {encode(one), encode(lying)},
	} {
		if _, err := loadPool(bad); err == nil {
			t.Errorf("%s is pooled", name)
		}
	}
}

func TestLoadSchedule(t *testing.T) {
	t.Parallel()
	due := loadSchedule(rand.New(rand.NewPCG(1, 1)), 49.7, 10*time.Second)
	if len(due) != 497 {
		t.Errorf("%d requests", len(due))
	}
	for i := range due {
		if due[i] < 0 || due[i] >= 10*time.Second || i > 0 && due[i] < due[i-1] {
			t.Fatalf("request %d is due at %s after %s", i, due[i], due[max(0, i-1)])
		}
	}
}

func TestLoadThinkUnsound(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		sum  float64
		n    int
		good bool
	}{{3000, 3000, true}, {3200, 3000, true}, {3300, 3000, false}, {30, 40, true}, {0, 0, true}, {10, 40, false}} {
		if got := loadThinkUnsound(1, c.sum, c.n); (got == "") != c.good {
			t.Errorf("%g s in %d: %q", c.sum, c.n, got)
		}
	}
}
