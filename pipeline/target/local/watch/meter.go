package watch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/target/local/durable"
)

// stepTolerance is by how much the machine's clock may run off in a second
// before that is a step.
const stepTolerance = 2 * time.Second

// Meter keeps the books of one second after the other. Seconds are counted by
// the monotonic clock; the wall clock only says to which hour they belong.
type Meter struct {
	file   string // open hours; empty: nothing is kept
	prober string
	of     string // address that is looked at; empty: the environment's own

	mu      sync.Mutex
	anchor  time.Time     // wall clock at mono 0
	begun   bool          // anchor is set
	last    time.Duration // newest slot
	hours   map[int64]*checks.UptimeHour
	minutes map[int64]*Minute
}

// Minute is one minute of probes.
type Minute struct {
	Minute int64 `json:"minute"` // since 1970
	OK     int   `json:"ok"`
	Failed int   `json:"failed"`
}

// kept is what the file holds.
type kept struct {
	Address string              `json:"address,omitempty"`
	Hours   []checks.UptimeHour `json:"hours"`
	Minutes []Minute            `json:"minutes"`
}

// minutesKept reaches as far as the longest window of a burn rate.
const minutesKept = 6*60 + 1

// OpenMeter goes on with what the file holds.
func OpenMeter(file, prober string) (*Meter, error) {
	m := &Meter{file: file, prober: prober, hours: map[int64]*checks.UptimeHour{}, minutes: map[int64]*Minute{}}
	if file == "" {
		return m, nil
	}
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return m, nil
	}
	var k kept
	if err == nil {
		err = json.Unmarshal(b, &k)
	}
	if err != nil {
		// The seconds are lost, and count as down. Counting must go on.
		return m, fmt.Errorf("hours of uptime in %s can't be read, and are missed: %w", file, err)
	}
	for _, h := range k.Hours {
		if h.Sound() {
			m.hours[h.Hour.Unix()] = &h
		}
	}
	for _, one := range k.Minutes {
		m.minutes[one.Minute] = &one
	}
	return m, nil
}

// OpenOutside is OpenMeter of a prober that looks at an address from outside. The
// books of another address are refused.
func OpenOutside(file, address string) (*Meter, error) {
	b, err := os.ReadFile(file)
	var k kept
	if err == nil && json.Unmarshal(b, &k) == nil && k.Address != address {
		return nil, fmt.Errorf("%s holds the hours of %q", file, k.Address)
	}
	m, err := OpenMeter(file, checks.ProberOutside)
	m.of = address
	return m, err
}

// ReadOutside is what the file of such a prober holds: an address and its hours.
func ReadOutside(b []byte) (address string, hours []checks.UptimeHour, err error) {
	var k kept
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&k); err != nil {
		return "", nil, fmt.Errorf("hours of uptime: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return "", nil, errors.New("hours of uptime: more than one record")
	}
	return k.Address, k.Hours, nil
}

// Slot is one second that is to be looked at.
type Slot struct {
	hour   int64
	second int
	minute int64
}

// Begin counts a second in. Mono is the time since the meter was opened by a
// clock that nobody sets, wall the machine's clock at that moment.
func (m *Meter) Begin(mono time.Duration, wall time.Time) Slot {
	m.mu.Lock()
	defer m.mu.Unlock()
	// A monotonic reading in wall would hide what is looked for.
	wall = wall.Round(0).UTC()
	stepped := false
	if !m.begun {
		m.begun, m.anchor = true, wall.Add(-mono)
	} else if off := wall.Sub(m.anchor.Add(mono)); off > stepTolerance || off < -stepTolerance {
		stepped, m.anchor = true, wall.Add(-mono)
	}
	m.last = mono
	at := m.anchor.Add(mono)
	hour := at.Truncate(time.Hour)
	s := Slot{hour: hour.Unix(), second: int(at.Sub(hour) / time.Second), minute: at.Unix() / 60}
	h := m.hours[s.hour]
	if h == nil {
		h = &checks.UptimeHour{Hour: hour, From: s.second, To: s.second + 1, Prober: m.prober}
		if prev := m.hours[s.hour-3600]; prev != nil {
			// It went on from the hour before.
			h.From, prev.To = 0, 3600
		}
		m.hours[s.hour] = h
	}
	h.From, h.To = min(h.From, s.second), max(h.To, s.second+1)
	if stepped {
		h.Steps++
	}
	if m.minutes[s.minute] == nil {
		m.minutes[s.minute] = &Minute{Minute: s.minute}
		for k := range m.minutes {
			if k < s.minute-minutesKept || k > s.minute {
				delete(m.minutes, k)
			}
		}
	}
	return s
}

// End enters what came of the second. A second that has been counted already,
// because the clock was set back, adds no uptime.
func (m *Meter) End(s Slot, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if one := m.minutes[s.minute]; one != nil {
		if ok {
			one.OK++
		} else {
			one.Failed++
		}
	}
	h := m.hours[s.hour]
	if h == nil {
		return
	}
	room := h.To - h.From
	switch {
	case ok && h.OK+h.Failed < room:
		h.OK++
	case !ok && h.Failed < room:
		h.Failed++
		if h.OK+h.Failed > room {
			h.OK--
		}
	}
}

// Hours are all hours that are not done with, the oldest first.
func (m *Meter) Hours() []checks.UptimeHour {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.list()
}

func (m *Meter) list() []checks.UptimeHour {
	out := make([]checks.UptimeHour, 0, len(m.hours))
	for _, h := range m.hours {
		out = append(out, *h)
	}
	slices.SortFunc(out, func(a, b checks.UptimeHour) int { return a.Hour.Compare(b.Hour) })
	return out
}

// Full are the hours to which nothing more is added: of slots that began before
// wall, all have ended.
func (m *Meter) Full(wall time.Time) []checks.UptimeHour {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []checks.UptimeHour
	for _, h := range m.list() {
		if d := wall.Sub(h.Hour); d > time.Hour+10*time.Second || d < -time.Hour {
			out = append(out, h)
		}
	}
	return out
}

// Done forgets hours that are on record elsewhere, as they were when Full named
// them.
func (m *Meter) Done(hours []checks.UptimeHour) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, h := range hours {
		if now := m.hours[h.Hour.Unix()]; now != nil && *now == h {
			delete(m.hours, h.Hour.Unix())
		}
	}
}

// Failed are the failed seconds of the last minutes, the present one with them.
func (m *Meter) Failed(last int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := m.anchor.Add(m.last).Unix() / 60
	n := 0
	for k, one := range m.minutes {
		if k > at-int64(last) && k <= at {
			n += one.Failed
		}
	}
	return n
}

// Save writes what there is.
func (m *Meter) Save() error {
	if m.file == "" {
		return nil
	}
	m.mu.Lock()
	k := kept{Address: m.of, Hours: m.list()}
	for _, one := range m.minutes {
		k.Minutes = append(k.Minutes, *one)
	}
	m.mu.Unlock()
	slices.SortFunc(k.Minutes, func(a, b Minute) int { return int(a.Minute - b.Minute) })
	b, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("hours of uptime: %w", err)
	}
	if err := durable.Replace(m.file, b, 0o600); err != nil {
		return fmt.Errorf("hours of uptime: %w", err)
	}
	return nil
}
