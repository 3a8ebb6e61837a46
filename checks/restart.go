package checks

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// RestartPayload is what was killed under load, and how it came back.
type RestartPayload struct {
	DrillFigures
	Faults []RestartFault `json:"faults"`
	Writes WriteCount     `json:"writes"`
}

// RestartFault is one part that was killed. A request that failed is in one of
// Lost, Refused, Errors and Slow.
type RestartFault struct {
	Part string `json:"part"` // instance, daemon, database
	What string `json:"what"` // "instance 3, process 4711"
	How  string `json:"how"`  // "SIGKILL"
	By   string `json:"by"`   // who started it again

	Recovered bool `json:"recovered"` // the part is there again and no request fails any more
	// RecoverSeconds is from the kill until the last failed request was over and
	// the part was there again.
	RecoverSeconds  float64        `json:"recover_seconds"`
	Requests        int64          `json:"requests"`
	Failed          int64          `json:"failed"`
	Failures        map[string]int `json:"failures,omitempty"`
	InFlight        int64          `json:"in_flight"` // requests under way when it died
	Lost            int64          `json:"lost"`      // taken, and then not answered
	Refused         int64          `json:"refused"`   // never taken: nobody listened
	Errors          int64          `json:"errors"`    // answered with an error
	Slow            int64          `json:"slow"`
	InstancesBefore int            `json:"instances_before"`
	InstancesAfter  int            `json:"instances_after"`
	Restarts        int            `json:"restarts"` // of instances, meanwhile
}

// Restart kills an instance, the daemon and the database, one after the other,
// under load. Its clients look whether an idle connection is still open before
// they use it, as clients of HTTP should, and never send a request twice.
func Restart() Check {
	return drillCheck(Check{
		Name:       "restart",
		Criterion:  "restart",
		Version:    2,
		Scope:      OfRelease,
		Title:      "Instance, daemon and database killed under load, and back by themselves",
		Parameters: drillParameters,
		Estimate: func(in Input) time.Duration {
			return 3 * (2*drillsOf(in).Lead.D() + 3*time.Second)
		},
		Pool: func(all [][]byte) ([]byte, error) { return poolWorst(all, restartWorse) },
	}, restartDrill)
}

func restartDrill(ctx context.Context, r *DrillRun) (Measurement, error) {
	breaker, ok := r.in.Target.(Breaker)
	if !ok {
		return Measurement{Status: Unavailable, Reason: "what runs the environment can't kill parts of it on request"}, nil
	}
	if why := drillRefused(r.in); why != "" {
		return Measurement{Status: Unavailable, Reason: why}, nil
	}
	r.load.strict.Store(false)
	var p RestartPayload
	w := r.open()
	for _, part := range []string{PartInstance, PartDaemon, PartDatabase} {
		fault, err := r.fault(ctx, breaker, part)
		if err != nil {
			r.astray = "the environment may not have recovered from the drill restart: see gate status"
			return Measurement{}, fmt.Errorf("kill the %s: %w", part, err)
		}
		p.Faults = append(p.Faults, fault)
		if !fault.Recovered {
			r.astray = fmt.Sprintf("the environment did not recover from the killed %s: see gate status", part)
			break
		}
	}
	if err := w.close(ctx); err != nil {
		return Measurement{}, err
	}
	p.DrillFigures = w.figures()
	var err error
	if p.Writes, err = r.load.count(ctx, w.samples); err != nil && r.astray == "" {
		return Measurement{}, err
	}
	return w.sound(p.DrillFigures, Measurement{Payload: p}), nil
}

// fault kills one part and stays until it has recovered, or has not for too long.
func (r *DrillRun) fault(ctx context.Context, breaker Breaker, part string) (RestartFault, error) {
	f := RestartFault{Part: part}
	if err := r.lead(ctx); err != nil {
		return f, err
	}
	before, err := breaker.Parts(ctx)
	if err != nil {
		return f, err
	}
	began := time.Now()
	broken, err := breaker.Break(ctx, part)
	if err != nil {
		return f, err
	}
	dead := time.Now()
	f.What, f.How = broken.What, broken.How
	r.in.Note("restart: killed " + broken.What)
	// A daemon that is not started again leaves the environment without one: that
	// is not left to whether somebody still waits.
	if f.By, err = breaker.Mend(context.WithoutCancel(ctx), part); err != nil {
		return f, err
	}
	over, after, err := r.recovery(ctx, breaker, part, before, began)
	if err != nil {
		return f, err
	}
	f.Recovered = !over.IsZero()
	end := time.Now()
	if err := r.load.settle(ctx, end); err != nil {
		return f, err
	}
	if !f.Recovered {
		over = end
	}
	f.RecoverSeconds = over.Sub(began).Seconds()
	f.InstancesBefore, f.InstancesAfter, f.Restarts = wanted(before, after), after.Ready, after.Restarts-before.Restarts
	// Requests that were due earlier may still have been under way.
	for _, s := range r.load.between(began.Add(-loadTimeout), end) {
		f.count(s, began, dead)
	}
	r.in.Note(fmt.Sprintf("restart: %s back after %.2f s; %d of %d requests failed", part, f.RecoverSeconds, f.Failed, f.Requests))
	return f, nil
}

// recovery waits until the part is there again and requests succeed for as long
// as a lead. Over is when the last failed one ended, or the part was there; zero
// when that took too long.
func (r *DrillRun) recovery(ctx context.Context, breaker Breaker, part string, before Parts, began time.Time) (over time.Time, now Parts, err error) {
	var back time.Time
	for time.Since(began) < r.drills.Recover.D() {
		if err := r.wait(ctx, 50*time.Millisecond); err != nil {
			return time.Time{}, now, err
		}
		var perr error
		parts, perr := breaker.Parts(ctx)
		if perr == nil {
			now = parts
		}
		if perr != nil || !restored(part, before, now) {
			back = time.Time{} // once more away is not back
			continue
		}
		if back.IsZero() {
			back = time.Now()
		}
		over := back
		for _, s := range r.load.between(began, time.Now()) {
			if s.why != "" && s.done.After(over) {
				over = s.done
			}
		}
		// What is due must have been answered to be known.
		if time.Since(over) >= r.drills.Lead.D() && !r.load.waits(time.Now().Add(-r.drills.Lead.D())) {
			return over, now, nil
		}
	}
	return time.Time{}, now, nil
}

// waits says whether a request is still unanswered that was due before.
func (l *drillLoad) waits(before time.Time) bool {
	for i := range l.passed {
		if l.passed[i].Load() < int64(before.Sub(l.started)) {
			return true
		}
	}
	return false
}

// restored says whether the part that was killed is there again, as another
// process, and nothing else is missing.
func restored(part string, before, now Parts) bool {
	if now.Ready < wanted(before, now) || now.Daemon == 0 {
		return false
	}
	switch part {
	case PartInstance:
		return now.Restarts > before.Restarts
	case PartDaemon:
		return now.Daemon != before.Daemon
	case PartDatabase:
		return before.Database == 0 || now.Database != before.Database && now.Database != 0
	}
	return false
}

// wanted is how many instances must be there again: what is no longer needed may
// have gone meanwhile.
func wanted(before, now Parts) int {
	if now.Wanted > 0 {
		return min(before.Ready, now.Wanted)
	}
	return before.Ready
}

// count adds a request, when the part was dead between began and dead.
func (f *RestartFault) count(s drillSample, began, dead time.Time) {
	if !s.sent.After(dead) && !s.done.Before(began) {
		f.InFlight++
	}
	if s.done.Before(began) {
		return
	}
	f.Requests++
	if s.why == "" {
		return
	}
	f.Failed++
	f.Failures = loadAddCounts(f.Failures, map[string]int{s.why: 1})
	switch {
	case s.why == loadSlow:
		f.Slow++
	case s.why == loadRefused,
		// The process that took connections was dead already.
		f.Part == PartDaemon && !s.answered && s.sent.After(dead):
		f.Refused++
	case s.answered && s.why != "status 502" && s.why != "status 504":
		f.Errors++
	default:
		f.Lost++
	}
}

var errRestartPart = errors.New("no such part")

// UnknownPart is the error of a Breaker that can't kill the part.
func UnknownPart(part string) error {
	return fmt.Errorf("%w: %q; use %s, %s or %s", errRestartPart, part, PartInstance, PartDaemon, PartDatabase)
}

func restartWorse(a, b RestartPayload) RestartPayload {
	a.add(b.DrillFigures)
	a.Writes.add(b.Writes)
	a.Faults = append(a.Faults, b.Faults...)
	return a
}
