// Package report renders what gate found: for a terminal, a pipe, a program, a
// browser. It is pure rendering: everything to show is handed in.
package report

import (
	"fmt"
	"strings"
	"time"
)

// short is enough of a digest or a commit to find it again.
func short(id string) string {
	if _, hex, ok := strings.Cut(id, ":"); ok {
		id = hex
	}
	if r := []rune(id); len(r) > 12 {
		id = string(r[:12])
	}
	return id
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// seconds is d in the two units that say enough.
func seconds(d time.Duration) string {
	switch {
	case d < 0:
		return "–"
	case d < 100*time.Millisecond:
		return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
	case d < 59950*time.Millisecond:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Hour-time.Second/2:
		d = d.Round(time.Second)
		return units(int(d/time.Minute), "min", int(d%time.Minute/time.Second), "s")
	case d < 48*time.Hour:
		d = d.Round(time.Minute)
		return units(int(d/time.Hour), "h", int(d%time.Hour/time.Minute), "min")
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

func units(a int, unit string, b int, smaller string) string {
	if b == 0 {
		return fmt.Sprintf("%d %s", a, unit)
	}
	return fmt.Sprintf("%d %s %d %s", a, unit, b, smaller)
}

// milliseconds is a time in seconds as people compare latencies.
func milliseconds(s float64) string {
	switch ms := s * 1000; {
	case ms < 10:
		return fmt.Sprintf("%.2f ms", ms)
	case ms < 100:
		return fmt.Sprintf("%.1f ms", ms)
	default:
		return fmt.Sprintf("%.0f ms", ms)
	}
}

// percent of a share; it says 100% only of all, and 0% only of nothing.
func percent(share float64) string {
	text := fmt.Sprintf("%.2f", 100*share)
	switch {
	case share < 1 && text == "100.00":
		return ">99.99%"
	case share > 0 && text == "0.00":
		return "<0.01%"
	}
	return text + "%"
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
