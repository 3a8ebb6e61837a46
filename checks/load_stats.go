package checks

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"gonum.org/v1/gonum/stat/distuv"
)

const (
	loadConfidence = 0.95
	loadResamples  = 1000
	loadAllName    = "all"
)

// The quantiles that have an upper bound.
var loadQuantiles = [2]float64{0.95, 0.99}

// loadFigures makes a phase's figures out of its requests. Requests that failed
// count with the time that they took.
func loadFigures(names []string, samples []loadSample, d time.Duration) (LoadPhase, error) {
	phase := LoadPhase{Seconds: d.Seconds(), Endpoints: []EndpointFigure{}}
	if d > 0 {
		phase.Rate = float64(len(samples)) / d.Seconds()
	}
	seconds := max(1, int(math.Ceil(d.Seconds())))
	for i := range samples {
		// One that was due in the last moment may have started after it.
		samples[i].at = min(max(samples[i].at, 0), time.Duration(seconds)*time.Second-1)
	}
	slices.SortFunc(samples, func(a, b loadSample) int { return int(a.at - b.at) })
	by := make([][]loadSample, len(names))
	for _, s := range samples {
		by[s.endpoint] = append(by[s.endpoint], s)
	}
	for i, name := range names {
		f, err := loadFigure(name, by[i], seconds)
		if err != nil {
			return LoadPhase{}, err
		}
		phase.Endpoints = append(phase.Endpoints, f)
	}
	var err error
	if phase.All, err = loadFigure(loadAllName, samples, seconds); err != nil {
		return LoadPhase{}, err
	}
	if len(samples) > 0 {
		phase.Timeline = loadTimeline(samples, seconds)
	}
	return phase, nil
}

func loadFigure(name string, samples []loadSample, seconds int) (EndpointFigure, error) {
	f := EndpointFigure{Name: name, Requests: int64(len(samples))}
	if len(samples) == 0 {
		return f, nil
	}
	h := loadHistogram()
	for _, s := range samples {
		loadRecord(h, s.latency)
		if s.why == "" {
			f.Succeeded++
			continue
		}
		if f.Failures == nil {
			f.Failures = map[string]int{}
		}
		f.Failures[s.why]++
	}
	if err := f.fill(h); err != nil {
		return EndpointFigure{}, err
	}
	bound := loadBootstrap(samples, seconds)
	f.P95Upper = max(f.P95Upper, bound[0])
	f.P99Upper = max(f.P99Upper, bound[1])
	return f, nil
}

// fill computes what follows from counts and histogram alone.
func (f *EndpointFigure) fill(h *hdrhistogram.Histogram) error {
	f.SuccessLower = loadSuccessLower(f.Succeeded, f.Requests)
	f.P50 = loadSeconds(h.ValueAtQuantile(50))
	f.P95 = loadSeconds(h.ValueAtQuantile(95))
	f.P99 = loadSeconds(h.ValueAtQuantile(99))
	f.Max = loadSeconds(h.Max())
	f.P95Upper = max(f.P95, loadOrderUpper(h, 0.95))
	f.P99Upper = max(f.P99, loadOrderUpper(h, 0.99))
	encoded, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return fmt.Errorf("encode the histogram of %s: %w", f.Name, err)
	}
	f.Histogram = string(encoded)
	return nil
}

// loadSuccessLower is the exact one-sided 95% lower bound of the probability of
// success, given k successes in n: the 5% quantile of Beta(k, n−k+1), and 0 when
// nothing succeeded (C. J. Clopper and E. S. Pearson, Biometrika 26, 1934). Of
// requests without any failure it takes 299 to show 99%.
func loadSuccessLower(k, n int64) float64 {
	if k <= 0 || k > n {
		return 0
	}
	return distuv.Beta{Alpha: float64(k), Beta: float64(n-k) + 1}.Quantile(1 - loadConfidence)
}

// loadOrderUpper is the distribution-free one-sided 95% upper bound of quantile
// q, in seconds: the smallest order statistic x(k) with P(Binomial(n, q) < k) ≥
// 95% (David and Nagaraja, Order Statistics, 2003, section 7.1). It is exact for
// independent requests. With too few of them, under 59 for q = 0.95 and 299 for
// 0.99, no such bound exists: then it is the largest value seen, and the number
// of requests says that it proves little.
func loadOrderUpper(h *hdrhistogram.Histogram, q float64) float64 {
	n := h.TotalCount()
	if n == 0 {
		return 0
	}
	count := distuv.Binomial{N: float64(n), P: q}
	low, high := int64(1), n
	for low < high {
		k := (low + high) / 2
		if count.CDF(float64(k-1)) >= loadConfidence {
			high = k
		} else {
			low = k + 1
		}
	}
	return loadSeconds(h.ValueAtQuantile(100 * float64(low) / float64(n)))
}

// loadOrderLower is likewise the bound from below: the greatest order statistic
// x(k) with P(Binomial(n, q) ≥ k) ≥ 95%, and 0 where there is none.
func loadOrderLower(h *hdrhistogram.Histogram, q float64) float64 {
	n := h.TotalCount()
	if n == 0 {
		return 0
	}
	count := distuv.Binomial{N: float64(n), P: q}
	low, high := int64(0), n
	for low < high {
		k := (low + high + 1) / 2
		if 1-count.CDF(float64(k-1)) >= loadConfidence {
			low = k
		} else {
			high = k - 1
		}
	}
	if low == 0 {
		return 0
	}
	return loadSeconds(h.ValueAtQuantile(100 * float64(low) / float64(n)))
}

// loadBootstrap is the one-sided 95% upper bound of the quantiles in
// loadQuantiles, in seconds. Requests of one stall are not independent, so
// whole stretches of time are drawn again: moving blocks (H. R. Künsch, Annals
// of Statistics 17, 1989), of T^⅓ seconds (Hall, Horowitz and Jing, Biometrika
// 82, 1995), laid in a circle so that the first and last seconds weigh as much
// as others (Politis and Romano, 1992). The bound is the 95th percentile of the
// quantiles of 1000 resamples, drawn with a fixed seed: the same requests give
// the same bound. Samples are in order of time.
func loadBootstrap(samples []loadSample, seconds int) [2]float64 {
	// Latencies become ranks among the distinct ones, rounded up to three digits,
	// so that a resample costs as much as its distinct values, not its requests.
	type tally struct{ rank, n int }
	rounded := make([]int64, len(samples))
	for i, s := range samples {
		rounded[i] = loadRoundUp(s.latency.Microseconds())
	}
	distinct := slices.Clone(rounded)
	slices.Sort(distinct)
	distinct = slices.Compact(distinct)
	bySecond := make([][]tally, seconds)
	counts := make([]int, len(distinct))
	for i := 0; i < len(samples); {
		second := int(samples[i].at / time.Second)
		var ranks []int
		for ; i < len(samples) && int(samples[i].at/time.Second) == second; i++ {
			rank, _ := slices.BinarySearch(distinct, rounded[i])
			if counts[rank] == 0 {
				ranks = append(ranks, rank)
			}
			counts[rank]++
		}
		for _, rank := range ranks {
			bySecond[second] = append(bySecond[second], tally{rank, counts[rank]})
			counts[rank] = 0
		}
	}

	block := min(seconds, max(1, int(math.Round(math.Cbrt(float64(seconds))))))
	random := rand.New(rand.NewPCG(1989, 1))
	var found [2][]int64
	for range loadResamples {
		clear(counts)
		total := 0
		for drawn := 0; drawn < seconds; {
			first := random.IntN(seconds)
			for j := 0; j < block && drawn < seconds; j++ {
				for _, t := range bySecond[(first+j)%seconds] {
					counts[t.rank] += t.n
					total += t.n
				}
				drawn++
			}
		}
		if total == 0 {
			continue
		}
		rank, upTo := -1, 0
		for q, p := range loadQuantiles {
			for need := int(math.Ceil(p * float64(total))); upTo < need; {
				rank++
				upTo += counts[rank]
			}
			found[q] = append(found[q], distinct[rank])
		}
	}
	var bound [2]float64
	for q := range found {
		slices.Sort(found[q])
		if n := len(found[q]); n > 0 {
			bound[q] = loadSeconds(found[q][int(math.Ceil(loadConfidence*float64(n)))-1])
		}
	}
	return bound
}

// loadRoundUp keeps three digits of a number of microseconds.
func loadRoundUp(us int64) int64 {
	step := int64(1)
	for us/step >= 1000 {
		step *= 10
	}
	return (us + step - 1) / step * step
}

// loadTimeline has a point for every second, also for one without requests.
func loadTimeline(samples []loadSample, seconds int) []TimelinePoint {
	points := make([]TimelinePoint, seconds)
	latencies := make([][]time.Duration, seconds)
	for _, s := range samples {
		i := int(s.at / time.Second)
		latencies[i] = append(latencies[i], s.latency)
		points[i].Requests++
		if s.why != "" {
			points[i].Failed++
		}
	}
	for i, l := range latencies {
		points[i].Second = i
		if len(l) == 0 {
			continue
		}
		slices.Sort(l)
		rank := func(q float64) float64 { return l[int(math.Ceil(q*float64(len(l))))-1].Seconds() }
		points[i].P50, points[i].P99 = rank(0.50), rank(0.99)
	}
	return points
}
