package report

import (
	"fmt"
	"math"
	"strings"
)

// A chart is what the template draws as inline SVG. It holds texts and numbers
// and no markup: escaping is the template's alone.
type chart struct {
	ID            string // unique on the page
	Title, Desc   string // for those who can't see it
	Width, Height float64
	Lines         []line
	Texts         []text
	Bars          []bar
	Curves        []curve
	Key           []curve // those that are explained below the chart
}

type line struct {
	Class          string
	X1, Y1, X2, Y2 string
	Title          string
}

type text struct {
	Class, X, Y, Anchor, Text string
}

type bar struct {
	Class, X, Y, Width, Height, Title string
}

// curve is one series; between two of its segments nothing is known.
type curve struct {
	Class    string
	Name     string
	Segments []string
}

// plot is the area of a chart that curves are drawn in.
type plot struct {
	left, right, top, bottom float64
}

const chartWidth, chartHeight = 760.0, 210.0

var area = plot{left: 64, right: chartWidth - 12, top: 12, bottom: chartHeight - 38}

// at is the place of a share from 0 to 1 of each axis.
func (a plot) x(share float64) float64 { return a.left + (a.right-a.left)*share }
func (a plot) y(share float64) float64 { return a.bottom - (a.bottom-a.top)*share }

func newChart(id string) chart { return chart{ID: id, Width: chartWidth, Height: chartHeight} }

// level draws a horizontal line and names it on the left.
func (c *chart) level(share float64, label string) {
	y := area.y(share)
	c.Lines = append(c.Lines, line{Class: "grid", X1: num(area.left), X2: num(area.right), Y1: num(y), Y2: num(y)})
	c.Texts = append(c.Texts, text{Class: "tick", X: num(area.left - 6), Y: num(y + 4), Anchor: "end", Text: label})
}

// mark draws a tick on the horizontal axis and names it below.
func (c *chart) mark(share float64, label string) {
	x := area.x(share)
	c.Lines = append(c.Lines, line{Class: "grid", X1: num(x), X2: num(x), Y1: num(area.top), Y2: num(area.bottom)})
	c.Texts = append(c.Texts, text{Class: "tick", X: num(x), Y: num(area.bottom + 16), Anchor: "middle", Text: label})
}

// axis names the horizontal axis.
func (c *chart) axis(label string) {
	c.Texts = append(c.Texts, text{Class: "tick", X: num(area.x(0.5)), Y: num(area.bottom + 33), Anchor: "middle", Text: label})
}

// segments gathers the points of a curve that has gaps.
type segments struct {
	all  []string
	open []string
}

func (s *segments) point(x, y float64) { s.open = append(s.open, num(x)+","+num(y)) }

func (s *segments) gap() {
	switch len(s.open) {
	case 0:
		return
	case 1: // a line of no length is drawn as a dot
		s.open = append(s.open, s.open[0])
	}
	s.all, s.open = append(s.all, strings.Join(s.open, " ")), nil
}

func (s *segments) done() []string {
	s.gap()
	return s.all
}

func num(v float64) string { return fmt.Sprintf("%.1f", v) }

// steps of a scale that people read at a glance.
var steps = []float64{1, 2, 5}

// linear is a scale from 0 to at least top in at most five steps.
func linear(top float64) []float64 {
	if !(top > 0) || math.IsInf(top, 0) {
		top = 0.001
	}
	for exp := math.Floor(math.Log10(top)) - 1; ; exp++ {
		for _, s := range steps {
			step := s * math.Pow(10, exp)
			if n := math.Ceil(top/step - 1e-9); n <= 5 {
				var out []float64
				for i := range int(n) + 1 {
					out = append(out, float64(i)*step)
				}
				return out
			}
		}
	}
}

// logarithmic is a scale of 1, 2, 5, 10, … around low and high, at least three
// levels. Both are above 0.
func logarithmic(low, high float64) []float64 {
	var all []float64
	for exp := math.Floor(math.Log10(low)) - 1; exp <= math.Ceil(math.Log10(high))+1; exp++ {
		for _, s := range steps {
			all = append(all, s*math.Pow(10, exp))
		}
	}
	from, to := 0, len(all)-1
	for all[from+1] <= low {
		from++
	}
	for all[to-1] >= high {
		to--
	}
	for to-from < 2 && to < len(all)-1 {
		to++
	}
	return all[from : to+1]
}

// duration is a time in seconds as a label.
func duration(s float64) string {
	switch {
	case s == 0:
		return "0"
	case s < 0.001:
		return fmt.Sprintf("%.3g µs", s*1e6)
	case s < 1:
		return fmt.Sprintf("%.3g ms", s*1e3)
	}
	return fmt.Sprintf("%.3g s", s)
}
