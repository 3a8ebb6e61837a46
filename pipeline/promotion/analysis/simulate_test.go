package analysis

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// tally is what a rule has made of the trials of a scenario.
type tally struct {
	trials, bad, good int
	times             []int // at which it was called bad
	passes            []int // and good
}

func (t tally) median() int { return median(t.times) }

func median(x []int) int {
	if len(x) == 0 {
		return 0
	}
	slices.Sort(x)
	return x[len(x)/2]
}

func (t tally) percent(n int) float64 { return 100 * float64(n) / float64(t.trials) }

// simulate lets the rules judge so many trials of the scenario. The same seed
// gives the same trials, whatever runs beside them.
func simulate(s scenario, seed uint64, trials int, rules []func() rule) []tally {
	results := make([][]said, trials)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < trials; i = int(next.Add(1)) - 1 {
				mine := make([]rule, len(rules))
				for k, make := range rules {
					mine[k] = make()
				}
				verdicts := make([]said, len(rules))
				open := len(rules)
				s.live(seed, uint64(i), func(at float64, o Observation) {
					for k, r := range mine {
						if verdicts[k].at == 0 {
							r.tell(at, o)
						}
					}
				}, func(t int, oldest [2]float64) bool {
					for k, r := range mine {
						if verdicts[k].at != 0 {
							continue
						}
						if v := r.second(t, oldest); v.bad || v.good {
							verdicts[k] = v
							open--
						}
					}
					return open > 0
				})
				results[i] = verdicts
			}
		})
	}
	wg.Wait()
	out := make([]tally, len(rules))
	for _, verdicts := range results {
		for k, v := range verdicts {
			out[k].trials++
			if v.bad {
				out[k].bad++
				out[k].times = append(out[k].times, v.at)
			}
			if v.good {
				out[k].good++
				out[k].passes = append(out[k].passes, v.at)
			}
		}
	}
	return out
}

// TestSimulatedCanaries is the promise of the method, on few trials with fixed
// seeds.
func TestSimulatedCanaries(t *testing.T) {
	t.Parallel()
	const trials = 12
	for _, s := range scenarios() {
		got := simulate(s, 1, trials, []func() rule{newOurs})[0]
		t.Logf("%-50s bad %3d good %3d of %d, after %d s and %d s", s.name, got.bad, got.good, trials, got.median(), median(got.passes))
		// One of so few may be wrong by chance; the seeds are fixed, so none is.
		if s.kind == isNull && got.bad > 0 {
			t.Errorf("%s: %d of %d rolled back", s.name, got.bad, trials)
		}
		if s.kind == isBad && (got.good > 0 || got.bad < trials) {
			t.Errorf("%s: %d of %d rolled back, %d passed", s.name, got.bad, trials, got.good)
		}
	}
}

// TestBenchCanaries prints what gate and its peers make of the same canaries:
//
//	GATE_BENCH=1 go test -run BenchCanaries -v ./pipeline/promotion/analysis
func TestBenchCanaries(t *testing.T) {
	if os.Getenv("GATE_BENCH") == "" {
		t.Skip("SKIPPED without GATE_BENCH=1: 500 trials of each scenario, some minutes. A few of them, with the same rules, are in TestSimulatedCanaries")
	}
	const trials = 500
	rules := []func() rule{
		newOurs, func() rule { return &threshold{} }, func() rule { return &flagger{} }, func() rule { return &kayenta{} },
	}
	var table strings.Builder
	fmt.Fprintln(&table, "| | gate: rolled back | passed | 2 bad minutes | Flagger's rule | Kayenta's Mann-Whitney |\n| --- | --- | --- | --- | --- | --- |")
	for _, s := range scenarios() {
		all := simulate(s, 20260101, trials, rules)
		cells := []string{shown(all[0], s.kind), passed(all[0], s.kind)}
		for _, x := range all[1:] {
			cells = append(cells, shown(x, s.kind))
		}
		fmt.Fprintf(&table, "| %s | %s |\n", s.name, strings.Join(cells, " | "))
		g, f := all[0], all[2]
		switch s.kind {
		case isNull:
			if g.percent(g.bad) > 1 {
				t.Errorf("%s: rolled back %.1f%%, at most 1%%", s.name, g.percent(g.bad))
			}
		case isBad:
			if g.percent(g.bad) < 99 || g.percent(g.good) > 1 {
				t.Errorf("%s: rolled back %.1f%%, passed %.1f%%, want ≥ 99%% and ≤ 1%%", s.name, g.percent(g.bad), g.percent(g.good))
			}
			if f.bad > 0 && 2*g.median() > f.median() {
				t.Errorf("%s: found after %d s, Flagger's rule after %d s", s.name, g.median(), f.median())
			}
		}
	}
	fmt.Print(table.String())
}

// shown is how many were rolled back, and after how long; what is wrong is bold.
func shown(x tally, k kind) string {
	text := fmt.Sprintf("%.1f%%", x.percent(x.bad))
	if k == isNull && x.percent(x.bad) > 1 || k == isBad && x.percent(x.bad) < 99 {
		text = "**" + text + "**"
	}
	if x.bad > 0 {
		text += fmt.Sprintf(" (%d s)", x.median())
	}
	return text
}

func passed(x tally, k kind) string {
	text := fmt.Sprintf("%.1f%%", x.percent(x.good))
	if k == isBad && x.percent(x.good) > 1 {
		text = "**" + text + "**"
	}
	if x.good > 0 {
		text += fmt.Sprintf(" (%d s)", median(x.passes))
	}
	return text
}

// TestShortCanariesPass: with wide margins and short blocks, as trials of a few
// seconds declare them, 30 synthetic requests a second and hardly any of people's
// are enough within 15 s.
func TestShortCanariesPass(t *testing.T) {
	t.Parallel()
	s := scenario{name: "short", rate: 0.2, classes: 5, synthetic: 30, next: steady(nothing)}
	short := func() rule {
		r := newOurs().(*ours)
		o := Options{Alpha: 0.01, ErrorMargin: 0.05, LatencyMargin: 0.5, LatencySlack: 0.02, BlockPairs: 20, GroupSeconds: 0.5, Now: func() time.Time { return r.now }}
		r.j = New(o)
		return r
	}
	got := simulate(s, 1, 50, []func() rule{short})[0]
	late := 0
	for _, at := range got.passes {
		if at > 15 {
			late++
		}
	}
	t.Logf("passed after %d s", median(got.passes))
	if got.bad > 0 || got.good < 50 || late > 2 {
		t.Errorf("%d of 50 passed, %d late, %d rolled back", got.good, late, got.bad)
	}
}
