package report

import (
	"fmt"
	"strconv"
	"time"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/run"
)

// timeline draws p50 and p99 of each second, and marks seconds in which
// requests failed. A second without requests has no latency: the curves have a
// gap there.
func timeline(id, name string, points []checks.TimelinePoint) *chart {
	if len(points) == 0 {
		return nil
	}
	top, worst, failed, last := 0.0, points[0], 0, 1
	for _, p := range points {
		if p.P99 > worst.P99 {
			worst = p
		}
		if p.Failed > 0 {
			failed++
		}
		top, last = max(top, p.P50, p.P99), max(last, p.Second)
	}
	c := newChart(id)
	c.Title = "Latency in each second, " + name
	c.Desc = fmt.Sprintf("%d seconds; the highest p99 is %s in second %d; requests failed in %s.", len(points), milliseconds(worst.P99), worst.Second, plural(failed, "second"))
	levels := linear(top)
	top = levels[len(levels)-1]
	for _, v := range levels {
		c.level(v/top, duration(v))
	}
	for _, v := range linear(float64(last)) {
		if s := v / float64(last); s <= 1 {
			c.mark(s, fmt.Sprintf("%.4g", v))
		}
	}
	c.axis("second of the measurement")
	x := func(p checks.TimelinePoint) float64 { return area.x(float64(p.Second) / float64(last)) }
	for _, p := range points {
		if p.Failed > 0 {
			at := num(x(p))
			c.Lines = append(c.Lines, line{Class: "failed", X1: at, X2: at, Y1: num(area.top), Y2: num(area.bottom), Title: fmt.Sprintf("second %d: %d of %d failed", p.Second, p.Failed, p.Requests)})
		}
	}
	for _, series := range []struct {
		curve
		value func(checks.TimelinePoint) float64
	}{
		{curve{Class: "s1", Name: "p99 of each second"}, func(p checks.TimelinePoint) float64 { return p.P99 }},
		{curve{Class: "s0", Name: "p50 of each second"}, func(p checks.TimelinePoint) float64 { return p.P50 }},
	} {
		var s segments
		for i, p := range points {
			if p.Requests == 0 {
				s.gap()
				continue
			}
			if i > 0 && p.Second > points[i-1].Second+1 {
				s.gap()
			}
			s.point(x(p), area.y(series.value(p)/top))
		}
		series.Segments = s.done()
		c.Curves = append(c.Curves, series.curve)
	}
	c.Key = c.Curves
	if failed > 0 {
		c.Key = append(c.Key[:len(c.Key):len(c.Key)], curve{Class: "failed", Name: "second in which requests failed"})
	}
	return &c
}

// gantt draws the steps of a run over its time.
func gantt(r *run.Result) *chart {
	var begun []run.Step
	var total time.Duration
	for _, s := range r.Steps {
		if s.State != run.Skipped {
			begun, total = append(begun, s), max(total, s.Offset+s.Took)
		}
	}
	if total <= 0 {
		return nil
	}
	const row, left, right = 22.0, 200.0, chartWidth - 90
	c := chart{
		ID: "steps", Title: "Steps over time", Width: chartWidth, Height: row*float64(len(begun)) + 4,
		Desc: plural(len(begun), "step") + " in " + seconds(total) + "; the table of steps below has them all.",
	}
	for i, s := range begun {
		y := row * float64(i)
		x := left + (right-left)*s.Offset.Seconds()/total.Seconds()
		w := max(2, (right-left)*s.Took.Seconds()/total.Seconds())
		c.Texts = append(c.Texts,
			text{Class: "name", X: "0", Y: num(y + 16), Anchor: "start", Text: s.Name},
			text{Class: "tick", X: num(x + w + 5), Y: num(y + 16), Anchor: "start", Text: seconds(s.Took)})
		c.Bars = append(c.Bars, bar{Class: "b-" + string(s.State), X: num(x), Y: num(y + 4), Width: num(w), Height: strconv.Itoa(15), Title: s.Name + ": " + string(s.State)})
	}
	return &c
}
