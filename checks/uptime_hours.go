package checks

import (
	"cmp"
	"slices"
	"time"
)

// UptimeWindow is over which uptime is promised.
const UptimeWindow = 30 * 24 * time.Hour

// UptimeHour is what one prober saw in one hour, second by second. Seconds in
// which it did not look are none of OK and Failed.
type UptimeHour struct {
	Hour   time.Time `json:"hour"`   // its beginning, UTC
	From   int       `json:"from"`   // first second of the hour that was to be looked at, 0–3599
	To     int       `json:"to"`     // behind the last one, 1–3600
	OK     int       `json:"ok"`     // seconds in which the answer was right
	Failed int       `json:"failed"` // seconds in which it was wrong or missing
	Steps  int       `json:"steps"`  // times that the machine's clock was set meanwhile
	Prober string    `json:"prober"` // daemon: from the machine that serves; outside: from another one
}

// Sound says whether the figures can be those of one hour.
func (h UptimeHour) Sound() bool {
	return h.Hour.Equal(h.Hour.Truncate(time.Hour)) && h.From >= 0 && h.From < h.To && h.To <= 3600 &&
		h.OK >= 0 && h.Failed >= 0 && h.Steps >= 0 && h.OK+h.Failed <= h.To-h.From &&
		(h.Prober == ProberDaemon || h.Prober == ProberOutside)
}

// Probers.
const (
	ProberDaemon  = "daemon"
	ProberOutside = "outside"
)

// mergeHour makes one hour of what the same prober said of it at several times:
// the later it was said, the more it holds. No failure is forgotten, and no
// second counts twice.
func mergeHour(a, b UptimeHour) UptimeHour {
	m := a
	m.From, m.To = min(a.From, b.From), max(a.To, b.To)
	m.Failed, m.Steps = max(a.Failed, b.Failed), max(a.Steps, b.Steps)
	m.OK = min(max(a.OK, b.OK), m.To-m.From-m.Failed)
	return m
}

// joinHour is the hour as daemon and outside prober saw it together: seconds
// that the daemon missed are those that the other one found right, as far as it
// found more than the daemon did.
func joinHour(daemon, outside UptimeHour) UptimeHour {
	j := daemon
	j.From, j.To = min(daemon.From, outside.From), max(daemon.To, outside.To)
	j.Failed = max(daemon.Failed, outside.Failed)
	j.OK = min(max(daemon.OK, outside.OK), j.To-j.From-j.Failed)
	j.Steps += outside.Steps
	return j
}

// sumUptime adds hours up over the window that ends with the last one. Between
// the first and the last second, what nobody saw to be right is down.
func sumUptime(hours []UptimeHour) UptimePayload {
	type key struct {
		hour   int64
		prober string
	}
	each := map[key]UptimeHour{}
	for _, h := range hours {
		k := key{h.Hour.Unix(), h.Prober}
		if was, ok := each[k]; ok {
			h = mergeHour(was, h)
		}
		each[k] = h
	}
	joined := map[int64]UptimeHour{}
	for k, h := range each {
		if k.prober != ProberDaemon {
			continue
		}
		joined[k.hour] = h
	}
	outside := 0
	for k, h := range each {
		if k.prober != ProberOutside {
			continue
		}
		outside++
		if own, ok := joined[k.hour]; ok {
			h = joinHour(own, h)
		}
		joined[k.hour] = h
	}
	all := make([]UptimeHour, 0, len(joined))
	for _, h := range joined {
		all = append(all, h)
	}
	slices.SortFunc(all, func(a, b UptimeHour) int { return cmp.Compare(a.Hour.Unix(), b.Hour.Unix()) })
	var p UptimePayload
	p.WindowSeconds = int64(UptimeWindow / time.Second)
	if len(all) == 0 {
		return p
	}
	last := all[len(all)-1]
	p.To = last.Hour.Add(time.Duration(last.To) * time.Second).UTC()
	begin := p.To.Add(-UptimeWindow)
	all = slices.DeleteFunc(all, func(h UptimeHour) bool { return h.Hour.Before(begin) })
	p.From = all[0].Hour.Add(time.Duration(all[0].From) * time.Second).UTC()
	p.OutsideHours = outside
	for _, h := range all {
		p.OK += int64(h.OK)
		p.Failed += int64(h.Failed)
		p.Steps += h.Steps
		if h.Failed > 0 || h.OK < h.To-h.From || h.Steps > 0 {
			p.Hours = append(p.Hours, h)
		}
	}
	p.Seconds = int64(p.To.Sub(p.From) / time.Second)
	p.Missed = p.Seconds - p.OK - p.Failed
	if over := len(p.Hours) - uptimeShown; over > 0 {
		p.Hours = p.Hours[over:]
	}
	return p
}

// uptimeShown is how many imperfect hours are told apart.
const uptimeShown = 48
