package checks

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"runtime"
	"strconv"
	"time"

	"github.com/smartcloudops/gate/environments"
)

// LoadLimit is the time in which an answer must be complete to count as a
// success. A request that takes exactly as long has failed.
const LoadLimit = 2 * time.Second

// Load uses the environment as the declared number of users would, and then
// as a crowd that does not wait for answers.
//
// The closed model are users who think before they click: what they suffer is
// what people suffer, but while the service stalls they send nothing, so the
// stall hardly shows in their percentiles. The open model therefore repeats
// the closed one's arrival rate on a schedule of its own, with as many requests
// in flight as it takes, and times each from the moment when it was due.
//
// What the service can do beyond that is measured by the same users without
// think time, and by raising the rate until the service no longer keeps up: the
// knee, with what limits it there. In the middle of the open model the database
// is made to write a CHECKPOINT, which else would come in one run and not in
// another. Where others are promoted to, users are real: then nothing is driven
// beyond what they do.
//
// Every request counts, also one that fails at once or never gets an answer.
// The status is Invalid only when the meter itself was not sound; see RunLoad.
func Load() Check {
	return Check{
		Name:       "load",
		Criterion:  "load",
		Version:    2,
		Scope:      OfRelease,
		InEnv:      true,
		Exclusive:  true,
		Title:      "Users at work: success and response times",
		Parameters: loadParameters,
		Estimate: func(in Input) time.Duration {
			if in.Declarations == nil || in.Declarations.App == nil {
				return 0
			}
			l := in.Declarations.App.Load
			return l.Warmup.D() + l.Closed.D() + l.Open.D() + l.Step.D()*6/5 + l.Knee.D() + LoadLimit
		},
		Measure: loadMeasure,
		Pool:    loadPool,
	}
}

func loadParameters(in Input) map[string]string {
	p := map[string]string{
		"limit":   LoadLimit.String(),
		"timeout": loadTimeout.String(),
	}
	if in.Declarations != nil && in.Declarations.App != nil {
		p["load"] = environments.Digest(in.Declarations.App.Load)
	}
	if in.Proposal {
		p["stop"] = "early"
	}
	if in.Environment != nil {
		p["instances"] = loadInstances(in.Environment)
		p["endpoints"] = loadAudience(in.Environment)
	}
	return p
}

func loadInstances(e *environments.Environment) string {
	return strconv.Itoa(e.Instances.Min) + "-" + strconv.Itoa(e.Instances.Max)
}

// loadAudience says which endpoints may be used: an environment that others
// are promoted from into is real users' own, and only what is declared safe may
// be sent there.
func loadAudience(e *environments.Environment) string {
	if e.Promotion.From == "" {
		return "all"
	}
	return "safe"
}

// loadEndpoints are those that may be sent to the environment.
func loadEndpoints(e *environments.Environment, all []environments.Endpoint) []environments.Endpoint {
	if loadAudience(e) == "all" {
		return all
	}
	var safe []environments.Endpoint
	for _, ep := range all {
		if ep.Safe {
			safe = append(safe, ep)
		}
	}
	return safe
}

// loadMissing says what a measurement on an environment lacks, or nothing.
func loadMissing(in Input) string {
	switch {
	case in.Declarations == nil || in.Declarations.App == nil:
		return "no app is declared"
	case in.Environment == nil:
		return "no environment is named"
	case in.Address == "":
		return fmt.Sprintf("environment %s has no address; is it being served?", in.Environment.Name)
	case in.Name == "":
		return fmt.Sprintf("environment %s declares no name to verify its certificate against", in.Environment.Name)
	case len(loadEndpoints(in.Environment, in.Declarations.App.Load.Endpoints)) == 0:
		return fmt.Sprintf("app.yaml's load declares no endpoint that may be sent to %s", in.Environment.Name)
	}
	return ""
}

func loadMeasure(ctx context.Context, in Input) (Measurement, error) {
	if why := loadMissing(in); why != "" {
		return Measurement{Status: Unavailable, Reason: why}, nil
	}
	scenario := in.Declarations.App.Load
	scenario.Endpoints = loadEndpoints(in.Environment, scenario.Endpoints)
	opt := LoadOptions{
		Address:  in.Address,
		Name:     in.Name,
		Roots:    in.Roots,
		Scenario: scenario,
		Seed:     loadSeed(in.Release),
		Progress: in.Progress,
		Early:    in.Proposal,
	}
	if loadAudience(in.Environment) == "safe" {
		opt.Scenario.Step, opt.Scenario.Knee = 0, 0
	} else if c, ok := in.Target.(Checkpointer); ok {
		opt.Checkpoint = c.Checkpoint
	}
	if o, ok := in.Target.(Observer); ok {
		opt.Restarts = o.Restarts
	}
	if o, ok := in.Target.(Gauger); ok {
		opt.Gauges = o.Gauges
	}
	payload, status, reason, err := RunLoad(ctx, opt)
	if err != nil {
		return Measurement{}, fmt.Errorf("load on %s: %w", in.Address, err)
	}
	return Measurement{Status: status, Reason: reason, Tools: loadTools(), Payload: payload}, nil
}

// loadTools names what measured: the generator is this program's own.
func loadTools() map[string]string {
	return map[string]string{"go": runtime.Version()}
}

// loadSeed makes the choice of requests and think times a function of the
// subject, so that a run can be repeated as it was.
func loadSeed(release string) uint64 {
	sum := sha256.Sum256([]byte(release))
	return binary.BigEndian.Uint64(sum[:8])
}
