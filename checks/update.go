package checks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"
)

// updateRestore is the time for bringing the release back after a replacement
// failed or was stopped.
const updateRestore = 2 * time.Minute

// Update replaces what the environment runs under constant load and counts what
// the users of the service lose by it: from the release to its predecessor and
// back again, or from the release to itself when it is the first.
//
// The clients are strict: a connection that the server closes without having
// said so costs the request that finds it closed. A "Connection: close" on the
// answer before is an orderly farewell: the client connects again and nothing is
// lost. Progress says how many there were. An answer that takes LoadLimit or
// more has failed.
//
// The environment runs the release at the end, also when the check fails or is
// stopped; only then may Measure go on for a while after ctx has ended, at most
// two minutes. A replacement that does not succeed is status Errored, unless
// requests failed as well: those are figures.
func Update() Check {
	return drillCheck(Check{
		Name:       "update",
		Criterion:  "update",
		Version:    3,
		Scope:      OfRelease,
		Title:      "Replaced under load, with nothing lost",
		Parameters: drillParameters,
		Estimate: func(in Input) time.Duration {
			// A replacement is a matter of some seconds unless instances start slowly.
			return time.Duration(len(updateSteps(in))) * (2*drillsOf(in).Lead.D() + 10*time.Second)
		},
		Pool: updatePool,
	}, updateDrill)
}

// updateStep is one replacement.
type updateStep struct{ from, to string }

func updateSteps(in Input) []updateStep {
	if in.Previous == in.Release {
		return []updateStep{{in.Release, in.Release}}
	}
	return []updateStep{{in.Release, in.Previous}, {in.Previous, in.Release}}
}

func updateDrill(ctx context.Context, r *DrillRun) (Measurement, error) {
	replacer, ok := r.in.Target.(Replacer)
	if !ok {
		return Measurement{Status: Unavailable, Reason: "what runs the environment can't replace its instances on request"}, nil
	}
	if why := drillRefused(r.in); why != "" {
		return Measurement{Status: Unavailable, Reason: why}, nil
	}
	if err := r.lead(ctx); err != nil {
		return Measurement{}, err
	}
	w := r.open()
	marks, replaced, seconds, broken := updateReplace(ctx, r, replacer)
	if err := w.close(ctx); err != nil {
		return Measurement{}, errors.Join(err, broken)
	}
	payload := updatePayload(r.in, w, marks, replaced, seconds)
	if log, ok := r.in.Target.(AccessLogger); ok {
		var err error
		if payload.Log, err = r.load.logged(ctx, log, w.samples); err != nil {
			return Measurement{}, errors.Join(err, broken)
		}
	}
	r.load.mu.Lock()
	announced := r.load.announced
	r.load.mu.Unlock()
	r.in.Note(fmt.Sprintf("update: %d requests, %d failed, %d announced closes, %d instances replaced",
		payload.Requests, payload.Failed, announced, payload.Replaced))
	if broken != nil && payload.Failed == 0 {
		return Measurement{Status: Errored, Reason: broken.Error(), Tools: loadTools(), Payload: payload}, nil
	}
	return w.sound(w.figures(), Measurement{Payload: payload}), nil
}

// updateReplace makes the replacements. Marks are when each began, replaced and
// seconds are those of each.
func updateReplace(ctx context.Context, r *DrillRun, replacer Replacer) (marks []time.Time, replaced int, seconds []float64, err error) {
	in := r.in
	steps := updateSteps(in)
	// Where the environment is not known to run the release, it is brought back.
	astray := false
	defer func() {
		if !astray {
			return
		}
		in.Note("update: bringing the release back")
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), updateRestore)
		defer cancel()
		if _, back := replacer.Replace(within, in.Release); back != nil {
			err = errors.Join(err, fmt.Errorf("bring %s back: %w; the environment may run another release, see gate status", in.Release, back))
			r.astray = "the environment may run another release since the drill update: see gate status"
		}
	}()
	for i, step := range steps {
		marks = append(marks, time.Now())
		if err := r.wait(ctx, r.drills.Lead.D()); err != nil {
			return marks, replaced, seconds, err
		}
		in.Note(fmt.Sprintf("update: replacing %d of %d", i+1, len(steps)))
		began := time.Now()
		astray = true
		within, cancel := context.WithTimeout(ctx, updateTimeLimit(in))
		n, err := replacer.Replace(within, step.to)
		cancel()
		seconds = append(seconds, time.Since(began).Seconds())
		replaced += n
		if err == nil && n < 1 {
			err = errors.New("no instance was replaced")
		}
		if err != nil {
			return marks, replaced, seconds, fmt.Errorf("replace %s by %s: %w", step.from, step.to, err)
		}
		astray = step.to != in.Release
		// What breaks late, such as a connection to an instance that has left.
		if err := r.wait(ctx, r.drills.Lead.D()); err != nil {
			return marks, replaced, seconds, err
		}
	}
	return marks, replaced, seconds, nil
}

// updateTimeLimit is when a replacement counts as stuck: every instance may
// take its declared times one after the other, and then there is a reserve.
func updateTimeLimit(in Input) time.Duration {
	serve := in.Declarations.App.Serve
	n := time.Duration(max(1, in.Environment.Instances.Max))
	return n*(serve.StartTimeout.D()+serve.StopTimeout.D()) + updateRestore
}

// updatePayload is the figures. A request belongs to the phase in which it was
// due.
func updatePayload(in Input, w *window, marks []time.Time, replaced int, seconds []float64) UpdatePayload {
	steps, f := updateSteps(in), w.figures()
	p := UpdatePayload{
		From: steps[len(steps)-1].from, To: in.Release, Drills: f.Drills,
		Rate: f.Rate, Seconds: f.Seconds, Requests: f.Requests, Failed: f.Failed, Failures: f.Failures,
		Replaced: replaced, PerInstance: f.PerInstance, QuietP95: f.QuietP95, P95: f.P95, P99: f.P99, Generator: f.Generator,
	}
	for i := range marks {
		n := updateTogether(w.samples, marks[i], marks[i].Add(w.run.drills.Lead.D()))
		if i == 0 || n < p.Together {
			p.Together = n
		}
		phase := UpdatePhase{From: steps[i].from, To: steps[i].to}
		if i < len(seconds) {
			phase.Seconds = seconds[i]
		}
		p.Phases = append(p.Phases, phase)
	}
	for _, s := range w.samples {
		at := 0
		for at+1 < len(marks) && !s.due.Before(marks[at+1]) {
			at++
		}
		if at < len(p.Phases) {
			p.Phases[at].Requests++
			if s.why != "" {
				p.Phases[at].Failed++
			}
		}
	}
	return p
}

// updateTogether is how many instances answered requests that came and went in
// the window. Over a whole update, a load balancer that uses one at a time uses
// several.
func updateTogether(samples []drillSample, from, to time.Time) int {
	seen := map[string]bool{}
	for _, s := range samples {
		if s.instance != "" && !s.due.Before(from) && s.done.Before(to) {
			seen[s.instance] = true
		}
	}
	return len(seen)
}

// updatePool adds up requests, failures, replacements and time, and keeps the
// worst of the rest: the lowest rate, the longest p99. Phases stand one after
// the other, oldest run first.
func updatePool(payloads [][]byte) ([]byte, error) {
	if len(payloads) == 0 {
		return nil, fmt.Errorf("pool update: %w", errLoadNothing)
	}
	var sum UpdatePayload
	for i, raw := range payloads {
		var p UpdatePayload
		if err := json.Unmarshal(raw, &p); err != nil {
			return nil, fmt.Errorf("pool update: run %d: %w", i+1, err)
		}
		if i == 0 {
			sum = p
			sum.PerInstance = maps.Clone(p.PerInstance)
			continue
		}
		if p.From != sum.From || p.To != sum.To {
			return nil, fmt.Errorf("pool update: run %d was from %s to %s, those before from %s to %s: they don't measure the same thing",
				i+1, p.From, p.To, sum.From, sum.To)
		}
		sum.Rate = min(sum.Rate, p.Rate)
		sum.Seconds += p.Seconds
		sum.Requests += p.Requests
		sum.Failed += p.Failed
		sum.Failures = loadAddCounts(sum.Failures, p.Failures)
		sum.Replaced += p.Replaced
		sum.Together = min(sum.Together, p.Together)
		sum.Log.Sent += p.Log.Sent
		sum.Log.Logged += p.Log.Logged
		sum.Log.Missing += p.Log.Missing
		sum.Log.Doubled += p.Log.Doubled
		sum.PerInstance = loadAddCounts(sum.PerInstance, p.PerInstance)
		sum.QuietP95, sum.P95, sum.P99 = min(sum.QuietP95, p.QuietP95), max(sum.P95, p.P95), max(sum.P99, p.P99)
		sum.Phases = append(sum.Phases, p.Phases...)
		sum.Generator.add(p.Generator)
	}
	return json.Marshal(sum)
}
