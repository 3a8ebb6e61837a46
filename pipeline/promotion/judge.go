package promotion

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/promotion/analysis"
	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/policies"
)

// Judge turns what the ledger holds into decisions. It is the same code in the
// command that asks and in the daemon that executes, so that a request is
// believed by neither on the other's word.
type Judge struct {
	Policies *policies.Policies
	Checks   []checks.Check
	// Trusted says whether one of the keys may do the action in the environment.
	Trusted func(signers []string, action, environment string) bool
	Now     func() time.Time

	// Base are the declarations whose thresholds count; nil: the release's own.
	Base *environments.Declarations
	// Waivers are those that count; those of a release's own declarations don't.
	Waivers []*environments.Waiver
	// Machines are the classes of machines whose figures count, the preferred one
	// first; empty: this machine's.
	Machines []string
	// Change is what the proposal under judgement does; nil: none is.
	Change *policies.Change
	// Branch says whether the commit is on the protected branch; nil: none is
	// protected.
	Branch func(ctx context.Context, commit string) *policies.Branch

	rounds int // of the canary, which share its α; 0: one
}

// Thresholds are those that count in the environment e.
func (j *Judge) Thresholds(e *environments.Environment) (map[string]map[string]any, error) {
	if j.Base != nil {
		e = j.Base.Environment(e.Name)
	}
	return j.Policies.Thresholds(e)
}

// on is in as the check would have been measured: on the first class of machine
// that has evidence of it that counts, or else any. What does not count must not
// hide what does.
func (j *Judge) on(v *View, c checks.Check, in checks.Input, stage policies.Stage) checks.Input {
	tried := ""
	for _, m := range j.Machines {
		in.Machine = m
		runs := v.Evidence(c.Key(in))
		if slices.ContainsFunc(runs, func(s Signed) bool { return j.counts(s, stage) }) {
			return in
		}
		if len(runs) > 0 {
			tried = cmp.Or(tried, m)
		}
	}
	if len(j.Machines) > 0 {
		in.Machine = cmp.Or(tried, j.Machines[0])
	}
	return in
}

// proposed is in as the check would have been measured for a change alone, where
// nothing better counts: a measurement that might stop early has another key.
func (j *Judge) proposed(v *View, c checks.Check, in checks.Input) checks.Input {
	counts := func(s Signed) bool { return j.counts(s, policies.Proposal) }
	if slices.ContainsFunc(v.Evidence(c.Key(in)), counts) {
		return in
	}
	early := in
	early.Proposal = true
	early = j.on(v, c, early, policies.Proposal)
	if len(v.Evidence(c.Key(early))) > 0 {
		return early
	}
	return in
}

// Input is what a check would measure the release on. The environment's
// address and everything else that only a measurement needs is left empty.
func (j *Judge) Input(v *View, r *ReleaseRecord, environment string) (checks.Input, error) {
	e := r.Declarations.Environment(environment)
	if e == nil {
		return checks.Input{}, fmt.Errorf("commit %.12s does not declare the environment %s", r.Commit, environment)
	}
	return checks.Input{
		Declarations: r.Declarations,
		Environment:  e,
		Release:      r.Release,
		Previous:     v.Previous(replacedIn(r.Declarations, environment), r.Release),
		SourceDigest: r.SourceDigest,
		TreeDigest:   r.TreeDigest,
		Root:         environments.Dir,
	}, nil
}

// Predecessors are the releases that r replaces in the environments that are
// promoted into from the named one, however many steps on: each change from one
// of them is proved by itself. The first is the one of Input.
func (v *View) Predecessors(r *ReleaseRecord, environment string) []string {
	out := []string{v.Previous(replacedIn(r.Declarations, environment), r.Release)}
	for _, e := range r.Declarations.Environments {
		if e.Name != environment && provedIn(r.Declarations, e.Name) == environment {
			if p := v.Previous(e.Name, r.Release); !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	return out
}

// provedIn is where a release proves itself before it gets into the environment:
// the first of those that lead there.
func provedIn(d *environments.Declarations, environment string) string {
	for range d.Environments {
		e := d.Environment(environment)
		if e == nil || e.Promotion.From == "" {
			break
		}
		environment = e.Promotion.From
	}
	return environment
}

// replacedIn is the environment whose present release an update proved in the
// named one is about: the next one that is promoted into, or itself.
func replacedIn(d *environments.Declarations, environment string) string {
	for _, e := range d.Environments {
		if e.Promotion.From == environment {
			return e.Name
		}
	}
	return environment
}

// measuredIn is where the evidence for a stage comes from.
func measuredIn(r *ReleaseRecord, environment string, stage policies.Stage) string {
	if e := r.Declarations.Environment(environment); (stage == policies.Promotion || stage == policies.Serving) && e != nil && e.Promotion.From != "" {
		return e.Promotion.From
	}
	return environment
}

// StageFor is what a request for the environment is judged by.
func StageFor(e *environments.Environment) policies.Stage {
	if e.Promotion.From == "" {
		return policies.Admission
	}
	return policies.Promotion
}

// Records are the evidence for one check, as a policy sees it: the completed
// runs of the key pooled, the others one by one.
func (j *Judge) Records(v *View, c checks.Check, in checks.Input, stage policies.Stage, now time.Time) ([]policies.Record, error) {
	var pooled *policies.Record
	var payloads [][]byte
	var records []policies.Record
	for _, s := range v.Evidence(c.Key(in)) {
		r := j.record(s, now)
		// Only what counts is pooled: a run by a stranger must not be able to
		// dilute, nor to spoil, what trusted keys have measured.
		if !j.counts(s, stage) {
			records = append(records, r)
			continue
		}
		payloads = append(payloads, s.Evidence.Payload)
		if pooled == nil {
			pooled = &r
			continue
		}
		pooled.Digests = append(pooled.Digests, r.Digests...)
		pooled.Runs++
		pooled.Finished, pooled.AgeSeconds = r.Finished, r.AgeSeconds
	}
	if pooled == nil {
		return records, nil
	}
	if len(payloads) > 1 {
		if c.Pool == nil {
			return nil, fmt.Errorf("check %s can't pool %d runs", c.Name, len(payloads))
		}
		p, err := c.Pool(payloads)
		if err != nil {
			return nil, fmt.Errorf("pool %d runs of check %s: %w", len(payloads), c.Name, err)
		}
		pooled.Payload = p
	}
	return append(records, *pooled), nil
}

// counts says whether the run completed, and was made and signed by who may.
func (j *Judge) counts(s Signed, stage policies.Stage) bool {
	return s.Evidence.Status == checks.Completed && vouched(s.Evidence.Trust, stage) && j.trusts(s)
}

func (j *Judge) trusts(s Signed) bool {
	return s.Trusted && j.Trusted(s.Signers, "measure", s.Evidence.Environment)
}

// vouched says whether what measured may vouch at the stage, as the policies do.
func vouched(t checks.Trust, stage policies.Stage) bool {
	return t == checks.TrustBase || t == checks.TrustChange && stage == policies.Proposal
}

func (j *Judge) record(s Signed, now time.Time) policies.Record {
	e := s.Evidence
	return policies.Record{
		Digests:     []string{s.Digest},
		Check:       e.Check,
		Version:     e.Version,
		Scope:       string(e.Subject.Scope),
		Subject:     e.Subject.Digest,
		Environment: e.Environment,
		Key:         e.Key,
		Status:      string(e.Status),
		Reason:      e.Reason,
		Trust:       string(e.Trust),
		Trusted:     j.trusts(s),
		Runs:        1,
		Finished:    e.Finished,
		AgeSeconds:  now.Sub(e.Finished).Seconds(),
		Payload:     e.Payload,
	}
}

// Decide judges the release for the environment. The error means that the
// question could not be put; a decision that could not be made has the verdict
// error.
func (j *Judge) Decide(ctx context.Context, v *View, r *ReleaseRecord, environment string, stage policies.Stage) (DecisionRecord, error) {
	in, err := j.Input(v, r, measuredIn(r, environment, stage))
	if err != nil {
		return DecisionRecord{}, err
	}
	own := r.Declarations.Environment(environment)
	if own == nil {
		return DecisionRecord{}, fmt.Errorf("commit %.12s does not declare the environment %s", r.Commit, environment)
	}
	now := j.Now().UTC()
	input := policies.Input{
		At:          now,
		Stage:       stage,
		Environment: environment,
		Release:     r.Release,
		Commit:      r.Commit,
		Bootstrap:   v.Bootstrap(environment),
		Dirty:       r.Dirty,
		Expected:    map[string]policies.Expected{},
		Evidence:    []policies.Record{},
	}
	if input.Thresholds, err = j.Thresholds(own); err != nil {
		return DecisionRecord{}, err
	}
	for _, w := range j.Waivers {
		if w.Environment == environment {
			input.Waivers = append(input.Waivers, policies.Waiver{
				Name: w.Name, Criterion: w.Criterion, Environment: w.Environment, Since: w.Since.Time(), Until: w.Until.Time(), Reason: w.Reason, Author: w.Author,
			})
		}
	}
	if stage == policies.Proposal {
		input.Change = j.Change
	}
	if j.Branch != nil {
		if input.Branch = j.Branch(ctx, r.Commit); input.Branch == nil {
			input.Branch = &policies.Branch{Contains: "unknown"}
		}
	}
	for _, c := range j.Checks {
		at := in
		if c.Scope == checks.OfService || c.Scope == checks.OfEnvironment && (!c.InEnv || stage == policies.Serving) {
			// About the environment itself: its declarations, and once it serves,
			// what it serves.
			at.Environment = own
		}
		if c.Scope == checks.OfRelease && in.Environment != own {
			at.Environment = r.Declarations.Environment(provedIn(r.Declarations, environment))
			at.Previous = v.Previous(environment, r.Release)
		}
		at = j.on(v, c, at, stage)
		if stage == policies.Proposal {
			at = j.proposed(v, c, at)
		}
		e := policies.Expected{
			Version: c.Version,
			Scope:   string(c.Scope),
			Subject: c.Subject(at).Digest,
			Key:     c.Key(at),
			Trust:   at.Environment.TLS.Trust,
		}
		if c.InEnv || c.Scope != checks.OfRelease {
			e.Environment = at.Environment.Name
		}
		input.Expected[c.Name] = e
		rs, err := j.Records(v, c, at, stage, now)
		if err != nil {
			return DecisionRecord{}, err
		}
		input.Evidence = append(input.Evidence, rs...)
	}
	return j.evaluate(ctx, input)
}

// Comparison is what is known of a canary when it is judged: what the target
// counted of its arms, and what single requests have shown. Without Figures it
// can fail, but never pass.
type Comparison struct {
	target.Arms
	// Whole: all traffic is on the release, so that Stable is what was before it,
	// and there are no Figures. It can fail, and pass with a warning.
	Whole   bool              `json:"whole"`
	Figures *analysis.Figures `json:"figures"`
	// Inputs are what was measured beside the requests.
	Inputs []Input `json:"inputs,omitempty"`

	watched bool // it serves already, and can only fail: no inputs are asked for
}

// Analysis is a comparison with nothing seen yet, by the thresholds that count
// in the environment: policy refuses figures that were made for others.
func (j *Judge) Analysis(r *ReleaseRecord, environment string) (*analysis.Judge, error) {
	thresholds, err := j.ofCanary(r, environment)
	if err != nil {
		return nil, err
	}
	value := func(name string) float64 {
		switch v := thresholds["canary"][name].(type) {
		case int64:
			return float64(v)
		case int:
			return float64(v)
		case float64:
			return v
		}
		return math.NaN() // which makes the comparison unsound
	}
	return analysis.New(analysis.Options{
		Alpha: value("alpha"), ErrorMargin: value("error_margin"),
		LatencyMargin: value("latency_margin"), LatencySlack: value("latency_slack_seconds"),
		BlockPairs: int(value("block_pairs")), BlockSeconds: value("block_seconds"),
		GroupSeconds: value("group_seconds"), Now: j.Now,
	}), nil
}

// ofCanary are the thresholds by which a canary of the release is judged.
func (j *Judge) ofCanary(r *ReleaseRecord, environment string) (map[string]map[string]any, error) {
	own := r.Declarations.Environment(environment)
	if own == nil || own.Promotion.Canary == nil {
		return nil, fmt.Errorf("commit %.12s declares no canary for %s", r.Commit, environment)
	}
	thresholds, err := j.Thresholds(own)
	if err != nil {
		return nil, err
	}
	if thresholds["canary"] == nil {
		thresholds["canary"] = map[string]any{}
	}
	if j.Base == nil {
		thresholds["canary"]["min_samples"] = own.Promotion.Canary.MinSamples
	}
	if alpha, ok := thresholds["canary"]["alpha"].(float64); ok && j.rounds > 1 {
		thresholds["canary"]["alpha"] = alpha / float64(j.rounds)
	}
	return thresholds, nil
}

// Compare judges a canary by what is known of it.
func (j *Judge) Compare(ctx context.Context, r *ReleaseRecord, environment string, c Comparison) (DecisionRecord, error) {
	thresholds, err := j.ofCanary(r, environment)
	if err != nil {
		return DecisionRecord{}, err
	}
	payload, err := json.Marshal(c)
	if err != nil {
		return DecisionRecord{}, fmt.Errorf("figures of the canary: %w", err)
	}
	now := j.Now().UTC()
	expected := policies.Expected{
		Version: 1, Scope: string(checks.OfRelease), Subject: r.Release, Inputs: bounds(j.inputs(r, environment)),
		Environment: environment, Key: environments.Digest([]string{"canary", r.Release, environment, c.Since.UTC().Format(time.RFC3339Nano)}),
	}
	if c.watched {
		expected.Inputs = nil
	}
	return j.evaluate(ctx, policies.Input{
		At: now, Stage: policies.Canary, Environment: environment, Release: r.Release, Commit: r.Commit,
		Expected:   map[string]policies.Expected{"canary": expected},
		Thresholds: thresholds,
		Evidence: []policies.Record{{
			// The daemon's own figures of this moment: nothing was signed yet, and
			// they are cited by the digest of what they say.
			Digests: []string{environments.Digest(c)},
			Check:   "canary", Version: expected.Version, Scope: expected.Scope, Subject: expected.Subject,
			Environment: environment, Key: expected.Key, Status: string(checks.Completed), Trust: string(checks.TrustBase),
			Trusted: true, Runs: 1, Finished: now, Payload: payload,
		}},
	})
}

func (j *Judge) evaluate(ctx context.Context, in policies.Input) (DecisionRecord, error) {
	in = policies.Relevant(in) // what is judged is what is kept
	d, err := j.Policies.Evaluate(ctx, in)
	if err != nil {
		return DecisionRecord{}, fmt.Errorf("decide on %.19s for %s: %w", in.Release, in.Environment, err)
	}
	return DecisionRecord{Decision: d, Input: in, by: j.Policies}, nil
}
