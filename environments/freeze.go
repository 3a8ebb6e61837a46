package environments

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // windows mean the same on a machine that has no zones
)

// Freeze is a time in which nothing goes forward: every week, from "Fri 16:00"
// to "Mon 08:00", or once, from "2026-12-23" to "2027-01-02 06:00", by the clocks
// of Zone. A day without a time is its beginning.
type Freeze struct {
	From   string `yaml:"from" json:"from"`
	To     string `yaml:"to" json:"to"`
	Zone   string `yaml:"zone" json:"zone"` // IANA, "Europe/Berlin"
	Reason string `yaml:"reason" json:"reason"`
}

// moment is one end of a window: of every week, or of one date.
type moment struct {
	weekly       bool
	day          time.Weekday
	y            int
	m            time.Month
	d            int
	hour, minute int
}

var momentRE = regexp.MustCompile(`^(Mon|Tue|Wed|Thu|Fri|Sat|Sun|\d{4}-\d{2}-\d{2})(?: ([01]\d|2[0-4]):([0-5]\d))?$`)

func parseMoment(s string) (m moment, err error) {
	p := momentRE.FindStringSubmatch(s)
	if p == nil {
		return m, fmt.Errorf("%q is no time of a window", s)
	}
	if p[2] != "" {
		m.hour, m.minute = int(p[2][0]-'0')*10+int(p[2][1]-'0'), int(p[3][0]-'0')*10+int(p[3][1]-'0')
		if m.hour == 24 && m.minute != 0 {
			return m, fmt.Errorf("%q is behind the end of its day", s)
		}
	}
	for d := time.Sunday; d <= time.Saturday; d++ {
		if strings.HasPrefix(d.String(), p[1]) {
			m.weekly, m.day = true, d
			return m, nil
		}
	}
	at, err := time.Parse(time.DateOnly, p[1])
	if err != nil {
		return m, fmt.Errorf("%q is no day", s)
	}
	m.y, m.m, m.d = at.Date()
	return m, nil
}

// parse is what the window means.
func (f Freeze) parse() (from, to moment, zone *time.Location, err error) {
	if f.Zone == "" || f.Zone == "Local" {
		return from, to, nil, fmt.Errorf("zone %q says nothing to another machine", f.Zone)
	}
	if zone, err = time.LoadLocation(f.Zone); err != nil {
		return from, to, nil, fmt.Errorf("zone %q is not known", f.Zone)
	}
	if from, err = parseMoment(f.From); err != nil {
		return from, to, nil, err
	}
	if to, err = parseMoment(f.To); err != nil {
		return from, to, nil, err
	}
	if from.weekly != to.weekly {
		return from, to, nil, fmt.Errorf("one of %q and %q is of every week, and the other of one date", f.From, f.To)
	}
	if from == to {
		return from, to, nil, fmt.Errorf("%q to %q is no time at all", f.From, f.To)
	}
	if !from.weekly && !from.on(from.y, from.m, from.d, zone, false).Before(to.on(to.y, to.m, to.d, zone, true)) {
		return from, to, nil, fmt.Errorf("%q is not before %q", f.From, f.To)
	}
	return from, to, zone, nil
}

// on is the instant at which the zone's clocks show the moment on the day. What
// they show twice, when they are put back, is the first time, or the last one
// with last; what they never show is when they are put forward.
func (m moment) on(y int, month time.Month, d int, zone *time.Location, last bool) time.Time {
	wall := time.Date(y, month, d, m.hour, m.minute, 0, 0, time.UTC)
	var shown []time.Time
	for _, near := range []time.Duration{-24 * time.Hour, 24 * time.Hour} {
		_, offset := wall.Add(near).In(zone).Zone()
		at := wall.Add(-time.Duration(offset) * time.Second).In(zone)
		if _, is := at.Zone(); is == offset {
			shown = append(shown, at)
		}
	}
	if len(shown) == 0 {
		_, offset := wall.Add(24 * time.Hour).In(zone).Zone()
		_, end := wall.Add(-time.Duration(offset) * time.Second).In(zone).ZoneBounds()
		return end
	}
	slices.SortFunc(shown, time.Time.Compare)
	if last {
		return shown[len(shown)-1]
	}
	return shown[0]
}

// until is the end of the window that the instant is in; ok is false when it is
// in none. A window that can't be read is one without an end: the zero time.
func (f Freeze) until(at time.Time) (end time.Time, ok bool) {
	from, to, zone, err := f.parse()
	if err != nil {
		return time.Time{}, true
	}
	if !from.weekly {
		start, end := from.on(from.y, from.m, from.d, zone, false), to.on(to.y, to.m, to.d, zone, true)
		return end, !at.Before(start) && at.Before(end)
	}
	days := (int(to.day) - int(from.day) + 7) % 7
	if days == 0 && to.hour*60+to.minute <= from.hour*60+from.minute {
		days = 7
	}
	// Noon is on the same day, whatever is done to the clocks at night.
	y, m, d := at.In(zone).Date()
	for back := -1; back <= 8; back++ {
		first := time.Date(y, m, d-back, 12, 0, 0, 0, time.UTC)
		if first.Weekday() != from.day {
			continue
		}
		second := first.AddDate(0, 0, days)
		start, end := from.on(first.Year(), first.Month(), first.Day(), zone, false), to.on(second.Year(), second.Month(), second.Day(), zone, true)
		if !at.Before(start) && at.Before(end) {
			return end, true
		}
	}
	return time.Time{}, false
}

// Frozen is the window that the instant is in, nil for none, and when nothing is
// frozen any more: windows that touch are one. The zero time means that nobody
// can tell when.
func Frozen(windows []Freeze, at time.Time) (by *Freeze, until time.Time) {
	until = at
	for n := 0; ; n++ {
		further := false
		for i := range windows {
			end, ok := windows[i].until(until)
			if !ok {
				continue
			}
			if by == nil {
				by = &windows[i]
			}
			if end.IsZero() || n > 60 {
				return by, time.Time{}
			}
			until, further = end, true
		}
		if !further {
			return by, until
		}
	}
}

func (v *validator) freeze(f string, all []Freeze) {
	for i, w := range all {
		at := fmt.Sprintf("$.promotion.freeze[%d]", i)
		if _, _, _, err := w.parse(); err != nil {
			v.say(f, at, "write from: Fri 16:00, to: Mon 08:00 or from: 2026-12-23, to: 2027-01-02 06:00, and zone: Europe/Berlin", "can't be read: %s", err)
		}
		if strings.TrimSpace(w.Reason) == "" {
			v.say(f, at+".reason", "say why, for those who are stopped by it", "is empty")
		}
	}
}
