package checks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/smartcloudops/gate/environments"
)

// ScalingPayload is how the environment grew under load and shrank without.
type ScalingPayload struct {
	DrillFigures
	Metric      string  `json:"metric"`
	Target      float64 `json:"target"`
	Min         int     `json:"min"`
	Max         int     `json:"max"`
	Users       int     `json:"users"`  // without think time, beside the constant rate
	Before      int     `json:"before"` // instances that got traffic
	Peak        int     `json:"peak"`
	After       int     `json:"after"`
	NewAnswered int     `json:"new_answered"` // of the instances that came
	Highest     float64 `json:"highest"`      // value of the metric for each instance
	Known       bool    `json:"known"`        // it had a value under that load
	// UpSeconds is from the users' arrival until an instance more got traffic; 0:
	// none did. DownSeconds is from their leaving until no more than Min were left.
	UpSeconds   float64         `json:"up_seconds"`
	DownSeconds float64         `json:"down_seconds"`
	Saved       float64         `json:"saved_instance_hours"` // since Since, compared with Max all the time
	Since       time.Time       `json:"since"`
	Why         string          `json:"why"` // the scaling's own words at the end
	Changes     []ScalingChange `json:"changes,omitempty"`
}

// Scale drives the environment up with a crowd of users without think time, and down
// again when they have left; every request is accounted for.
func Scale() Check {
	return drillCheck(Check{
		Name:      "scaling",
		Criterion: "scaling",
		Version:   1,
		Scope:     OfRelease,
		Title:     "More instances under load and fewer without, with nothing lost",
		Parameters: func(in Input) map[string]string {
			p := drillParameters(in)
			if in.Environment != nil {
				p["scaling"] = environments.Digest(in.Environment.ScalingInForce())
			}
			return p
		},
		Estimate: func(in Input) time.Duration {
			d := 2*drillsOf(in).Lead.D() + 10*time.Second
			if in.Environment != nil {
				d += in.Environment.ScalingInForce().DownAfter.D()
			}
			return d
		},
		Pool: func(all [][]byte) ([]byte, error) { return poolWorst(all, scalingWorse) },
	}, scalingDrill)
}

func scalingDrill(ctx context.Context, r *DrillRun) (Measurement, error) {
	scaler, ok := r.in.Target.(Scaler)
	if !ok {
		return Measurement{Status: Unavailable, Reason: "what runs the environment does not scale it"}, nil
	}
	if why := drillRefused(r.in); why != "" {
		return Measurement{Status: Unavailable, Reason: why}, nil
	}
	force := r.in.Environment.ScalingInForce()
	calm := force.DownAfter.D() + r.drills.Scale.D()
	var p ScalingPayload
	// Beginning at the fewest; what came before may have driven it up.
	s, err := r.scaled(ctx, scaler, &p, calm, func(s Scaling) bool { return s.Actual <= s.Min && s.Desired <= s.Min })
	if err != nil {
		return Measurement{}, err
	}
	if s.Actual > s.Min {
		return Measurement{Status: Unavailable, Reason: fmt.Sprintf("%d instances serve at the load of %d requests a second, and the fewest are %d: there is nothing to begin from", s.Actual, r.load.rate, s.Min)}, nil
	}
	p.Metric, p.Target, p.Min, p.Max, p.Before, p.Since = s.Metric, s.Target, s.Min, s.Max, s.Actual, s.Since
	if err := r.lead(ctx); err != nil {
		return Measurement{}, err
	}
	p.Users = r.users(s)
	p.Highest, p.Peak = 0, p.Before // of what came before it says nothing
	w := r.open()
	r.in.Note(fmt.Sprintf("scaling: %d users without think time", p.Users))
	leave := r.load.crowd(p.Users)
	defer leave()
	came := time.Now()
	s, err = r.scaled(ctx, scaler, &p, r.drills.Scale.D(), func(s Scaling) bool { return s.Actual > p.Before })
	if err != nil {
		return Measurement{}, err
	}
	p.Known = s.Known
	if s.Actual > p.Before {
		p.UpSeconds = time.Since(came).Seconds()
		r.in.Note(fmt.Sprintf("scaling: %d instances after %.1f s", s.Actual, p.UpSeconds))
		// Long enough for those that came to answer, and for more to come.
		if _, err = r.scaled(ctx, scaler, &p, r.drills.Lead.D(), func(Scaling) bool { return false }); err != nil {
			return Measurement{}, err
		}
	}
	leave()
	left := time.Now()
	s, err = r.scaled(ctx, scaler, &p, calm, func(s Scaling) bool { return s.Actual <= s.Min && s.Desired <= s.Min })
	if err != nil {
		return Measurement{}, err
	}
	p.DownSeconds = time.Since(left).Seconds()
	// What is cut off by the end of an instance shows a moment later.
	err = r.wait(ctx, r.drills.Lead.D())
	if err := errors.Join(err, w.close(ctx)); err != nil {
		return Measurement{}, err
	}
	p.After, p.Saved, p.Why, p.Changes = s.Actual, s.Saved, s.Why, s.Changes
	p.DrillFigures = w.figures()
	p.NewAnswered = max(0, len(p.PerInstance)-p.Before)
	r.in.Note(fmt.Sprintf("scaling: %d to %d and %d instances; %d requests, %d failed", p.Before, p.Peak, p.After, p.Requests, p.Failed))
	return w.sound(p.DrillFigures, Measurement{Payload: p}), nil
}

// users is how many drive the scaling up. Some of them always wait for this
// machine's processors instead of for the service: hence three times.
func (r *DrillRun) users(s Scaling) int {
	if r.drills.Users > 0 {
		return r.drills.Users
	}
	if s.Metric == environments.Concurrency {
		return min(drillCrowd, max(8, 3*int(s.Target)*s.Min))
	}
	return 32
}

// scaled watches the scaling until it is as wanted, or for as long as the limit.
func (r *DrillRun) scaled(ctx context.Context, scaler Scaler, p *ScalingPayload, limit time.Duration, done func(Scaling) bool) (Scaling, error) {
	for until := time.Now().Add(limit); ; {
		s, err := scaler.Scaling(ctx)
		if err != nil {
			return s, fmt.Errorf("ask for the scaling: %w", err)
		}
		p.Peak, p.Highest = max(p.Peak, s.Actual), max(p.Highest, s.Value)
		if done(s) || time.Now().After(until) {
			return s, nil
		}
		if err := r.wait(ctx, 50*time.Millisecond); err != nil {
			return s, err
		}
	}
}

func scalingWorse(a, b ScalingPayload) ScalingPayload {
	a.PerInstance = maps.Clone(a.PerInstance)
	a.add(b.DrillFigures)
	// Zero is that it never came up, and so the worst.
	if a.UpSeconds == 0 || b.UpSeconds == 0 {
		a.UpSeconds = 0
	} else {
		a.UpSeconds = max(a.UpSeconds, b.UpSeconds)
	}
	a.DownSeconds = max(a.DownSeconds, b.DownSeconds)
	a.Peak, a.After = min(a.Peak, b.Peak), max(a.After, b.After)
	a.NewAnswered = min(a.NewAnswered, b.NewAnswered)
	a.Known = a.Known && b.Known
	a.Highest = max(a.Highest, b.Highest)
	a.Before, a.Users = max(a.Before, b.Before), min(a.Users, b.Users)
	a.Why, a.Saved = b.Why, b.Saved
	a.Changes = slices.Concat(a.Changes, b.Changes)
	return a
}
