package report

import (
	"fmt"
	"math"
	"strings"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/smartcloudops/gate/checks"
)

const (
	lowest, highest = 50.0, 99.9 // percentiles that are drawn
	samples         = 80         // points of a curve
	mostCurves      = 6          // that can be told apart
	// mostHistogram bounds what is decoded: the largest that checks write is far
	// below.
	mostHistogram = 1 << 20
)

var marks = []float64{50, 75, 90, 95, 99, 99.5, 99.9}

// tail is the place of a percentile on an axis where each halving of the rest
// takes the same room, since it is the rest that hurts.
func tail(percentile float64) float64 {
	at := func(p float64) float64 { return -math.Log10(1 - p/100) }
	return (at(percentile) - at(lowest)) / (at(highest) - at(lowest))
}

func percentileAt(share float64) float64 {
	from, to := 1-lowest/100, 1-highest/100
	return 100 * (1 - from*math.Pow(to/from, share))
}

// distribution is a histogram and what it is of.
type distribution struct {
	name string
	h    *hdrhistogram.Histogram
}

// distributionOf decodes a figure's histogram. One that can't be read, or that
// does not hold the requests that it is said to hold, is not drawn.
func distributionOf(name string, f checks.EndpointFigure) (distribution, bool) {
	if f.Histogram == "" || len(f.Histogram) > mostHistogram {
		return distribution{}, false
	}
	h, err := hdrhistogram.Decode([]byte(f.Histogram))
	if err != nil || h.TotalCount() == 0 || h.TotalCount() != f.Requests {
		return distribution{}, false
	}
	return distribution{name, h}, true
}

// percentiles draws latency by percentile, both axes logarithmic. A limit above
// 0 is drawn as a line; it is seconds.
func percentiles(id, title string, all []distribution, limit float64) *chart {
	if len(all) == 0 {
		return nil
	}
	all = all[:min(len(all), mostCurves)]
	low, high := math.Inf(1), limit
	if limit > 0 {
		low = limit
	}
	for _, d := range all {
		low, high = min(low, valueAt(d.h, lowest)), max(high, valueAt(d.h, highest))
	}
	levels := logarithmic(low, max(high, low))
	c := newChart(id)
	c.Title = title
	bottom, top := math.Log10(levels[0]), math.Log10(levels[len(levels)-1])
	y := func(v float64) float64 { return area.y((math.Log10(v) - bottom) / (top - bottom)) }
	for _, v := range levels {
		label := ""
		// Many decades leave no room for every name.
		if len(levels) <= 8 || isPowerOfTen(v) {
			label = duration(v)
		}
		c.level((math.Log10(v)-bottom)/(top-bottom), label)
	}
	for _, p := range marks {
		c.mark(tail(p), fmt.Sprintf("%g", p))
	}
	c.axis("percentile of the requests")
	if limit > 0 {
		at := num(y(limit))
		c.Lines = append(c.Lines, line{Class: "limit", X1: num(area.left), X2: num(area.right), Y1: at, Y2: at, Title: "limit " + duration(limit)})
	}
	var said []string
	for i, d := range all {
		var s segments
		end := tail(last(d.h))
		for k := range samples {
			share := end * float64(k) / (samples - 1)
			s.point(area.x(share), y(valueAt(d.h, percentileAt(share))))
		}
		c.Curves = append(c.Curves, curve{Class: fmt.Sprintf("s%d", i), Name: d.name, Segments: s.done()})
		said = append(said, fmt.Sprintf("%s: p50 %s, p95 %s, p99 %s", d.name, milliseconds(valueAt(d.h, 50)), milliseconds(valueAt(d.h, 95)), milliseconds(valueAt(d.h, 99))))
	}
	c.Desc = strings.Join(said, "; ") + "."
	c.Key = c.Curves
	if limit > 0 {
		c.Desc += " The limit is " + duration(limit) + "."
		c.Key = append(c.Key[:len(c.Key):len(c.Key)], curve{Class: "limit", Name: "limit " + duration(limit)})
	}
	return &c
}

// last is the highest percentile that so many requests can show: beyond it
// there is only the slowest one.
func last(h *hdrhistogram.Histogram) float64 {
	return min(highest, max(lowest, 100*(1-1/float64(h.TotalCount()))))
}

// valueAt is in seconds and above 0, as a logarithm needs it: what took less
// than a microsecond is drawn as one.
func valueAt(h *hdrhistogram.Histogram, percentile float64) float64 {
	return float64(max(h.ValueAtPercentile(percentile), 1)) / 1e6
}

func isPowerOfTen(v float64) bool {
	e := math.Log10(v)
	return math.Abs(e-math.Round(e)) < 1e-9
}
