package checks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// RollbackPayload is a rollback that was rehearsed under load, and the way back
// from it.
type RollbackPayload struct {
	DrillFigures
	From         string     `json:"from"`  // digest of the release that is rolled back to
	To           string     `json:"to"`    // of the release
	First        bool       `json:"first"` // there is no earlier release: to itself
	Reached      bool       `json:"reached"`
	Problem      string     `json:"problem,omitempty"` // why it was not reached
	BackSeconds  float64    `json:"back_seconds"`      // from the command until the earlier release had all the traffic
	ForthSeconds float64    `json:"forth_seconds"`     // from the command until the release had it again
	ByPrevious   int64      `json:"by_previous"`       // requests that the earlier release's instances answered
	FailedThere  int64      `json:"failed_there"`      // of the requests due while it had the traffic
	ByRelease    int64      `json:"by_release"`        // answered by the release after its return
	Schema       string     `json:"schema"`            // what was rehearsed of the migrations, in words
	Migrated     bool       `json:"migrated"`          // the release's migrations were run once more before its return
	Writes       WriteCount `json:"writes"`
}

// Rollback goes back to the previous release under load, by the way that a
// rollback takes, and forth again. The previous release meets the schema and the
// data as the release has left them: no migration is undone, here as in earnest.
// The first release goes to itself.
func Rollback() Check {
	return drillCheck(Check{
		Name:       "rollback",
		Criterion:  "rollback",
		Version:    1,
		Scope:      OfRelease,
		Title:      "Rolled back under load, and forth again",
		Parameters: drillParameters,
		Estimate: func(in Input) time.Duration {
			return 4*drillsOf(in).Lead.D() + 5*time.Second
		},
		Pool: func(all [][]byte) ([]byte, error) { return poolWorst(all, rollbackWorse) },
	}, rollbackDrill)
}

func rollbackDrill(ctx context.Context, r *DrillRun) (Measurement, error) {
	reverter, ok := r.in.Target.(Reverter)
	if !ok {
		return Measurement{Status: Unavailable, Reason: "what runs the environment can't rehearse a rollback"}, nil
	}
	if why := drillRefused(r.in); why != "" {
		return Measurement{Status: Unavailable, Reason: why}, nil
	}
	if err := r.lead(ctx); err != nil {
		return Measurement{}, err
	}
	w := r.open()
	r.in.Note("rollback: to the previous release and back")
	within, cancel := context.WithTimeout(ctx, updateTimeLimit(r.in))
	done, err := reverter.Revert(within, r.in.Previous, r.drills.Lead.D())
	cancel()
	if err != nil {
		r.astray = "the environment may run another release since the drill rollback: see gate status"
		return Measurement{}, fmt.Errorf("rehearse the rollback: %w", err)
	}
	err = r.wait(ctx, r.drills.Lead.D())
	if err := errors.Join(err, w.close(ctx)); err != nil {
		return Measurement{}, err
	}
	p := RollbackPayload{
		DrillFigures: w.figures(), From: r.in.Previous, To: r.in.Release, First: r.in.Previous == r.in.Release,
		Reached: done.Problem == "", Problem: done.Problem, Migrated: done.Migrated,
		BackSeconds: done.Back.Seconds(), ForthSeconds: done.Forth.Seconds(), Schema: rollbackSchema(r.in, done),
	}
	for _, s := range w.samples {
		there := slices.Contains(done.Instances, s.instance)
		if p.Reached && s.answered && there {
			p.ByPrevious++
		}
		if p.Reached && !s.due.Before(done.Switched) && s.due.Before(done.Returned) && s.why != "" {
			p.FailedThere++
		}
		if s.answered && !there && !s.due.Before(done.Returned) {
			p.ByRelease++
		}
	}
	if p.Writes, err = r.load.count(ctx, w.samples); err != nil {
		return Measurement{}, err
	}
	r.in.Note(fmt.Sprintf("rollback: %d requests, %d failed; back in %.2f s, forth in %.3f s", p.Requests, p.Failed, p.BackSeconds, p.ForthSeconds))
	return w.sound(p.DrillFigures, Measurement{Payload: p}), nil
}

func rollbackSchema(in Input, done Reverted) string {
	switch {
	case in.Declarations.App.Migrate == nil:
		return "the app declares no migrations"
	case in.Previous == in.Release:
		return "the first release, on its own schema"
	case done.Problem != "":
		return "the previous release on the schema of the release, where it did not come up"
	case done.Migrated:
		return "the previous release on the schema of the release; its migrations run once more before its return; none is undone"
	}
	return "the previous release on the schema of the release; none is undone"
}

// drillRefused says why the environment must not be disturbed, or nothing.
func drillRefused(in Input) string {
	if in.Environment.Promotion.From != "" {
		return in.Environment.Name + " is promoted into: what disturbs is drilled in " + in.Environment.Promotion.From
	}
	return ""
}

func rollbackWorse(a, b RollbackPayload) RollbackPayload {
	a.add(b.DrillFigures)
	a.Writes.add(b.Writes)
	if a.Reached && !b.Reached {
		a.Reached, a.Problem, a.Schema = false, b.Problem, b.Schema
	}
	if a.From != b.From || a.To != b.To {
		a.Reached, a.Problem = false, "the runs are about different releases"
	}
	a.Migrated = a.Migrated && b.Migrated
	a.BackSeconds, a.ForthSeconds = max(a.BackSeconds, b.BackSeconds), max(a.ForthSeconds, b.ForthSeconds)
	a.ByPrevious, a.ByRelease = min(a.ByPrevious, b.ByPrevious), min(a.ByRelease, b.ByRelease)
	a.FailedThere += b.FailedThere
	return a
}
