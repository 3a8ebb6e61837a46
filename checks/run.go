package checks

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"time"

	"github.com/smartcloudops/gate/environments"
)

// Subject is what c's evidence is about.
func (c Check) Subject(in Input) Subject {
	switch c.Scope {
	case OfRelease:
		return Subject{Scope: OfRelease, Name: in.Declarations.App.Name, Digest: in.Release}
	case OfEnvironment:
		return Subject{Scope: OfEnvironment, Name: in.Environment.Name, Digest: in.Environment.ConfigDigest()}
	default:
		return Subject{Scope: OfService, Name: in.Declarations.App.Name, Digest: environments.Digest(in.Declarations.App.Name)}
	}
}

// KeyParameters are everything that c's measurement depends on beside its
// subject and version.
func (c Check) KeyParameters(in Input) map[string]string {
	p := map[string]string{"machine": cmp.Or(in.Machine, Machine())}
	if c.InEnv {
		p["environment"] = in.Environment.Name
		p["configuration"] = in.Environment.ConfigDigest()
	}
	if c.Parameters != nil {
		for k, v := range c.Parameters(in) {
			p[k] = v
		}
	}
	return p
}

// Key identifies what c would measure on in: two runs with one key measure the
// same thing, so that the first can stand for the second.
func (c Check) Key(in Input) string {
	return environments.Digest(map[string]any{
		"check":      c.Name,
		"version":    c.Version,
		"subject":    c.Subject(in),
		"parameters": c.KeyParameters(in),
	})
}

// Machine is the class of this machine as far as figures depend on it.
func Machine() string {
	return runtime.GOOS + "/" + runtime.GOARCH + "/" + strconv.Itoa(runtime.NumCPU()) + "cpu"
}

// Taken is a measurement that was taken, before it is known to be about
// anything: what a check finds in the source can be measured while the release
// is still being built.
type Taken struct {
	Measurement
	Started, Finished time.Time
}

// Take measures c, whatever happens: a check that breaks yields a measurement
// of status error. The error is the context's, when the measurement was stopped
// from outside; then there is none.
func Take(ctx context.Context, c Check, in Input, now func() time.Time) (Taken, error) {
	t := Taken{Started: now().UTC()}
	var err error
	t.Measurement, err = measure(ctx, c, in)
	if ctx.Err() != nil {
		return Taken{}, context.Cause(ctx)
	}
	t.Finished = now().UTC()
	if err == nil {
		err = t.Status.Valid()
	}
	if err != nil {
		t.Status, t.Reason = Errored, err.Error()
	}
	return t, nil
}

// measure makes an error of a check's panic: one broken check must not take the
// whole run, and what the others have measured, with it.
func measure(ctx context.Context, c Check, in Input) (m Measurement, err error) {
	defer func() {
		if r := recover(); r != nil {
			m, err = Measurement{}, fmt.Errorf("check %s panicked: %v", c.Name, r)
		}
	}()
	return c.Measure(ctx, in)
}

// Evidence says what t is about.
func (t Taken) Evidence(c Check, in Input) Evidence {
	e := Evidence{
		Check:      c.Name,
		Version:    c.Version,
		Subject:    c.Subject(in),
		Key:        c.Key(in),
		Parameters: c.KeyParameters(in),
		Started:    t.Started,
		Finished:   t.Finished,
		Status:     t.Status,
		Reason:     t.Reason,
		Tools:      t.Tools,
		Trust:      TrustBase,
	}
	if c.InEnv || c.Scope != OfRelease {
		e.Environment = in.Environment.Name
	}
	if t.Payload != nil {
		var err error
		if e.Payload, err = json.Marshal(t.Payload); err != nil {
			// NaN and infinities end here: they are no measurement.
			e.Status, e.Reason, e.Payload = Errored, fmt.Sprintf("payload: %v", err), nil
		}
	}
	if string(e.Payload) == "null" {
		e.Payload = nil // a pointer, map or slice that was never made
	}
	if e.Status == Completed && len(e.Payload) == 0 {
		e.Status, e.Reason = Errored, "completed without a payload"
	}
	return e
}

// Valid says what is wrong with a status that is none.
func (s Status) Valid() error {
	switch s {
	case Completed, Errored, Unavailable, Invalid, NotApplicable:
		return nil
	case "":
		return errors.New("the check gave no status")
	}
	return fmt.Errorf("the check gave the unknown status %q", s)
}
