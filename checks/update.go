package checks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/smartcloudops/gate/environments"
)

const (
	// updateLead is how long there is load before and after a replacement: what
	// breaks late, such as a connection to an instance that has left, shows in it.
	updateLead = 1500 * time.Millisecond
	// updateClients is the number of connections, fewer at a lower rate, so that
	// each is used at least once a second.
	updateClients = 50
	// updateRestore is the time for bringing the release back after a
	// replacement failed or was stopped.
	updateRestore = 2 * time.Minute
)

// Update replaces what the environment runs under constant load and counts what
// the users of the service lose by it: from the release to its predecessor and
// back again, or from the release to itself when it is the first.
//
// Requests come at a fixed rate, whether answers come or not, over a fixed set
// of strict keep-alive connections: nothing is sent twice, and a connection
// that the server closes without having said so costs the request that finds
// it closed. A "Connection: close" on the answer before is an orderly farewell:
// the client connects again and nothing is lost. Progress says how many there
// were. An answer that takes LoadLimit or more has failed.
//
// The environment runs the release at the end, also when the check fails or is
// stopped; only then may Measure go on for a while after ctx has ended, at most
// two minutes. A replacement that does not succeed is status Errored, unless
// requests failed as well: those are figures.
func Update() Check {
	return Check{
		Name:       "update",
		Criterion:  "update",
		Version:    1,
		Scope:      OfRelease,
		InEnv:      true,
		Exclusive:  true,
		Title:      "Replaced under load, with nothing lost",
		Parameters: updateParameters,
		Estimate: func(in Input) time.Duration {
			// A replacement is a matter of some seconds unless instances start slowly.
			return time.Duration(len(updateSteps(in))) * (2*updateLead + 10*time.Second)
		},
		Measure: updateMeasure,
		Pool:    updatePool,
	}
}

func updateParameters(in Input) map[string]string {
	p := map[string]string{
		"clients":  strconv.Itoa(updateClients),
		"limit":    LoadLimit.String(),
		"timeout":  loadTimeout.String(),
		"previous": in.Previous,
	}
	if in.Declarations != nil && in.Declarations.App != nil {
		p["update"] = environments.Digest(in.Declarations.App.Update)
		p["requests"] = environments.Digest(in.Declarations.App.Load.Endpoints)
	}
	if in.Environment != nil {
		p["instances"] = loadInstances(in.Environment)
		p["endpoints"] = loadAudience(in.Environment)
	}
	return p
}

// updateTiming can be shorter, or wider, in tests.
type updateTiming struct {
	lead   time.Duration
	maxLag time.Duration
}

func updateMeasure(ctx context.Context, in Input) (Measurement, error) {
	return updateMeasureIn(ctx, in, updateTiming{updateLead, loadMaxLag})
}

// updateStep is one replacement.
type updateStep struct{ from, to string }

func updateSteps(in Input) []updateStep {
	if in.Previous == in.Release {
		return []updateStep{{in.Release, in.Release}}
	}
	return []updateStep{{in.Release, in.Previous}, {in.Previous, in.Release}}
}

func updateMeasureIn(ctx context.Context, in Input, timing updateTiming) (Measurement, error) {
	replacer, ok := in.Target.(Replacer)
	if !ok {
		return Measurement{Status: Unavailable, Reason: "what runs the environment can't replace its instances on request"}, nil
	}
	why := loadMissing(in)
	switch {
	case why != "":
	case in.Release == "":
		why = "no release is named"
	case in.Previous == "":
		why = "what the release replaces is not named; the first release replaces itself"
	case in.Declarations.App.Update.Rate < 1:
		why = fmt.Sprintf("app.yaml declares an update rate of %d requests a second", in.Declarations.App.Update.Rate)
	}
	if why != "" {
		return Measurement{Status: Unavailable, Reason: why}, nil
	}
	run, err := newUpdateRun(in)
	if err != nil {
		return Measurement{}, err
	}

	load := run.start(ctx)
	replaced, seconds, broken := updateReplace(ctx, in, replacer, load, timing.lead)
	load.finish()
	if err := ctx.Err(); err != nil {
		return Measurement{}, errors.Join(err, broken)
	}
	payload := load.payload(replaced, seconds)
	in.Note(fmt.Sprintf("update: %d requests, %d failed, %d announced closes, %d instances replaced",
		payload.Requests, payload.Failed, load.announced, payload.Replaced))

	m := Measurement{Status: Completed, Tools: loadTools(), Payload: payload}
	unsound := loadUnsound(payload.Generator, timing.maxLag)
	switch {
	case payload.Failed > int64(payload.Failures[loadSlow]):
		// Something was refused, cut off or wrong. No fault of the meter or the
		// replacement takes that back.
	case broken != nil && payload.Failed == 0:
		m.Status, m.Reason = Errored, broken.Error()
	case unsound != "":
		m.Status, m.Reason = Invalid, unsound+"; run it again on a machine with less to do"
	}
	return m, nil
}

// updateReplace makes the replacements and marks on the load where each ends.
// Replaced and seconds are those of each.
func updateReplace(ctx context.Context, in Input, replacer Replacer, load *updateLoad, lead time.Duration) (replaced int, seconds []float64, err error) {
	timer := loadTimer()
	defer timer.Stop()
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
		}
	}()
	for i, step := range steps {
		load.begin()
		if err := loadSleep(ctx, timer, time.Now().Add(lead)); err != nil {
			return replaced, seconds, err
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
			return replaced, seconds, fmt.Errorf("replace %s by %s: %w", step.from, step.to, err)
		}
		astray = step.to != in.Release
		if err := loadSleep(ctx, timer, time.Now().Add(lead)); err != nil {
			return replaced, seconds, err
		}
	}
	return replaced, seconds, nil
}

// updateTimeLimit is when a replacement counts as stuck: every instance may
// take its declared times one after the other, and then there is a reserve.
func updateTimeLimit(in Input) time.Duration {
	serve := in.Declarations.App.Serve
	n := time.Duration(max(1, in.Environment.Instances.Max))
	return n*(serve.StartTimeout.D()+serve.StopTimeout.D()) + updateRestore
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
		sum.PerInstance = loadAddCounts(sum.PerInstance, p.PerInstance)
		sum.P99 = max(sum.P99, p.P99)
		sum.Phases = append(sum.Phases, p.Phases...)
		sum.Generator.add(p.Generator)
	}
	return json.Marshal(sum)
}
