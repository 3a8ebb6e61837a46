package checks

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"
)

// checkpointEarly is when a phase that may stop early has its CHECKPOINT.
const checkpointEarly = 3 * time.Second

// checkpointAfter is how long after a CHECKPOINT what it stirred up still
// counts as its doing.
const checkpointAfter = time.Second

// LoadCheckpoint is a CHECKPOINT that was forced in the middle of the open
// model, and what requests suffered meanwhile.
type LoadCheckpoint struct {
	Forced  bool       `json:"forced"`
	Reason  string     `json:"reason,omitempty"` // why it was not
	At      float64    `json:"at"`               // seconds since the open model began
	Seconds float64    `json:"seconds"`          // how long it took
	Before  LoadWindow `json:"before"`           // as long before it
	During  LoadWindow `json:"during"`           // from its beginning to a second after its end
}

// LoadWindow are the requests that were due in a stretch of time.
type LoadWindow struct {
	Seconds   float64 `json:"seconds"`
	Requests  int64   `json:"requests"`
	Succeeded int64   `json:"succeeded"`
	P50       float64 `json:"p50"`
	P95       float64 `json:"p95"`
	P99       float64 `json:"p99"`
	Max       float64 `json:"max"`
}

// checkpoint forces one in the middle of a phase that begins now. What it
// returns waits for it to end and reads off what it did to the requests.
func (g *loadGenerator) checkpoint(ctx context.Context, whole time.Duration) func([]loadSample) *LoadCheckpoint {
	if g.opt.Checkpoint == nil {
		return func([]loadSample) *LoadCheckpoint {
			return &LoadCheckpoint{Reason: "nothing here can force one"}
		}
	}
	start := time.Now()
	at := whole / 2
	if g.opt.Early {
		at = min(at, checkpointEarly) // who may stop early has no middle that is known
	}
	c := &LoadCheckpoint{At: at.Seconds()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		timer := loadTimer()
		defer timer.Stop()
		if loadSleep(ctx, timer, start.Add(at)) != nil {
			return
		}
		// One that outlasts the phase would be measured by nobody.
		ctx, cancel := context.WithDeadline(ctx, start.Add(whole))
		defer cancel()
		began := time.Now()
		err := g.opt.Checkpoint(ctx)
		c.At, c.Seconds = began.Sub(start).Seconds(), time.Since(began).Seconds()
		switch {
		case err == nil:
			c.Forced = true
		case ctx.Err() != nil:
			c.Reason = fmt.Sprintf("it was not done after %.1f s", c.Seconds)
		default:
			c.Reason = err.Error()
		}
	}()
	return func(samples []loadSample) *LoadCheckpoint {
		<-done
		from := time.Duration(c.At * float64(time.Second))
		long := time.Duration(c.Seconds*float64(time.Second)) + checkpointAfter
		c.During = loadWindow(samples, from, min(from+long, whole))
		c.Before = loadWindow(samples, max(0, from-long), from)
		return c
	}
}

func loadWindow(samples []loadSample, from, to time.Duration) LoadWindow {
	w := LoadWindow{Seconds: max(0, (to - from).Seconds())}
	var took []time.Duration
	for _, s := range samples {
		if s.at < from || s.at >= to {
			continue
		}
		took = append(took, s.latency)
		if s.why == "" {
			w.Succeeded++
		}
	}
	w.Requests = int64(len(took))
	if len(took) == 0 {
		return w
	}
	slices.Sort(took)
	rank := func(q float64) float64 { return took[int(math.Ceil(q*float64(len(took))))-1].Seconds() }
	w.P50, w.P95, w.P99, w.Max = rank(0.50), rank(0.95), rank(0.99), rank(1)
	return w
}

// worse is the CHECKPOINT that hurt more; one that was forced says more than one
// that was not.
func (c *LoadCheckpoint) worse(o *LoadCheckpoint) *LoadCheckpoint {
	switch {
	case c == nil:
		return o
	case o == nil || c.Forced && !o.Forced:
		return c
	case o.Forced && !c.Forced || o.During.P95 > c.During.P95:
		return o
	}
	return c
}
