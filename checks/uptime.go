package checks

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// UptimePayload is how long the service answered rightly, second by second,
// over the last 30 days or as long as it is known. Seconds = OK + Failed +
// Missed, and what is not OK is down.
type UptimePayload struct {
	From          time.Time `json:"from"` // first second looked at
	To            time.Time `json:"to"`   // behind the last one
	WindowSeconds int64     `json:"window_seconds"`
	Seconds       int64     `json:"seconds"` // from From to To
	OK            int64     `json:"ok"`
	Failed        int64     `json:"failed"` // answered wrongly, or not
	Missed        int64     `json:"missed"` // nobody looked
	Steps         int       `json:"steps"`  // times that the machine's clock was set
	OutsideHours  int       `json:"outside_hours"`
	// Hours are those that evidence of an hour is about; pooled, the newest of
	// those that were not perfect.
	Hours []UptimeHour `json:"hours"`
}

// Timekeeper is a target that looks at its public address each second.
type Timekeeper interface {
	// Hours are the hours that are not on the ledger yet, the present one with
	// them.
	Hours(ctx context.Context) ([]UptimeHour, error)
}

// Uptime reads what the daemon saw of the public address. The daemon records
// each full hour itself, as evidence of this check with the same key.
func Uptime() Check {
	return Check{
		Name:      "uptime",
		Criterion: "uptime",
		Version:   1,
		Scope:     OfService,
		Title:     "Seconds in which the public address answered rightly",
		Parameters: func(in Input) map[string]string {
			p := map[string]string{"machine": ""} // wherever it is watched from
			if in.Environment != nil {
				p["environment"] = in.Environment.Name
			}
			return p
		},
		// The record goes on: a reading soon stands for nothing but the past.
		Current:  func(_ Input, e Evidence) bool { return time.Since(e.Finished) < uptimeStands },
		Estimate: func(Input) time.Duration { return time.Second },
		Measure:  uptimeMeasure,
		Pool:     uptimePool,
	}
}

// uptimeStands is how long a reading spares the next one.
const uptimeStands = 5 * time.Minute

// uptimePatience is how long a watch that has just begun is waited for.
const uptimePatience = 8 * time.Second

func uptimeMeasure(ctx context.Context, in Input) (Measurement, error) {
	keeper, ok := in.Target.(Timekeeper)
	if !ok {
		return Measurement{Status: Unavailable, Reason: "what runs the environment does not look at its address each second"}, nil
	}
	deadline := time.NewTimer(uptimePatience)
	defer deadline.Stop()
	for {
		hours, err := keeper.Hours(ctx)
		if err != nil {
			return Measurement{}, err
		}
		for i, h := range hours {
			if !h.Sound() {
				return Measurement{Status: Invalid, Reason: fmt.Sprintf("record %d of %s holds more than an hour can", i+1, h.Hour.Format(time.RFC3339))}, nil
			}
		}
		if p := uptimeOf(hours); p.OK+p.Failed > 0 {
			return Measurement{Status: Completed, Payload: p}, nil
		}
		select {
		case <-ctx.Done():
			return Measurement{}, context.Cause(ctx)
		case <-deadline.C:
			return Measurement{Status: Unavailable, Reason: "no second of the service's life is on record yet; gate serve " + in.Environment.Name + " keeps the record"}, nil
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// uptimeOf is the payload of some hours, with all of them in it.
func uptimeOf(hours []UptimeHour) UptimePayload {
	p := sumUptime(hours)
	p.Hours = hours
	return p
}

// UptimeOf is the evidence of one or more full hours, as the daemon records it.
func UptimeOf(in Input, hours []UptimeHour, now time.Time) Evidence {
	t := Taken{Measurement: Measurement{Status: Completed, Payload: uptimeOf(hours)}, Started: now.UTC(), Finished: now.UTC()}
	if len(hours) > 0 {
		t.Started = hours[0].Hour.Add(time.Duration(hours[0].From) * time.Second).UTC()
	}
	return t.Evidence(Uptime(), in)
}

// uptimePool adds up the hours of all runs.
func uptimePool(payloads [][]byte) ([]byte, error) {
	var all []UptimeHour
	for i, b := range payloads {
		var p UptimePayload
		if err := json.Unmarshal(b, &p); err != nil {
			return nil, fmt.Errorf("pool uptime: run %d: %w", i+1, err)
		}
		for _, h := range p.Hours {
			if !h.Sound() {
				return nil, fmt.Errorf("pool uptime: run %d: the record of %s holds more than an hour can", i+1, h.Hour.Format(time.RFC3339))
			}
		}
		all = append(all, p.Hours...)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("pool uptime: %w", errLoadNothing)
	}
	return json.Marshal(sumUptime(all))
}
