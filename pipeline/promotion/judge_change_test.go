package promotion

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/policies"
)

var everyStage = append(slices.Clone(stages), policies.Proposal)

// proposed is a change that touches nothing that measures or judges.
func proposed(change ...func(*policies.Change)) *policies.Change {
	c := &policies.Change{Base: commitOf('0'), Author: "adam", Files: 3, Owned: []policies.OwnedFile{}, Approvals: []policies.Approval{}}
	for _, f := range change {
		f(c)
	}
	return c
}

// as is all evidence, each piece of it changed.
func as(all []checks.Evidence, change func(*checks.Evidence)) []checks.Evidence {
	all = slices.Clone(all)
	for i := range all {
		change(&all[i])
	}
	return all
}

var oneFailed = json.RawMessage(`{"command":["go"],"exit_code":1,"passed":39,"failed":1,"skipped":0}`)

func byChange(e *checks.Evidence) { e.Trust = checks.TrustChange }

// onMachine is the proof as a machine of the class would have measured it.
func onMachine(t testing.TB, j *Judge, r *ReleaseRecord, class string) []checks.Evidence {
	t.Helper()
	own := Judge{Checks: slices.Clone(j.Checks)}
	for i, c := range own.Checks {
		own.Checks[i].Parameters = func(in checks.Input) map[string]string {
			p := map[string]string{"machine": class}
			if c.Parameters != nil {
				maps.Copy(p, c.Parameters(in))
			}
			return p
		}
	}
	return proof(t, &own, NewView(), r)
}

func TestDecideByTheBase(t *testing.T) {
	t.Parallel()
	lax := map[string]map[string]any{"load": {"p95_seconds": 1000.0}, "scan": {"max_age_seconds": 1_000_000}}
	strict := map[string]map[string]any{"load": {"p95_seconds": 0.000001}}
	in := func(m map[string]map[string]any) func(*environments.Declarations) {
		return func(d *environments.Declarations) {
			for _, e := range d.Environments {
				e.Thresholds = m
			}
		}
	}
	without := func(d *environments.Declarations) { d.Environments = nil }
	unknown := in(map[string]map[string]any{"load": {"patience": 1}})
	for name, c := range map[string]struct {
		base func(*environments.Declarations) // nil: no base
		own  func(*environments.Declarations)
		want policies.Verdict // of load; empty: no decision
	}{
		"without a base its own count":                    {nil, in(strict), policies.Fail},
		"a change can't loosen":                           {in(strict), in(lax), policies.Fail},
		"nor tighten":                                     {in(nil), in(strict), policies.Pass},
		"an environment of the change has the defaults":   {without, in(strict), policies.Pass},
		"what the change says wrongly is not its mistake": {in(nil), unknown, policies.Pass},
		"what the base says wrongly is":                   {unknown, in(nil), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := newJudge(t)
			j.Change = proposed()
			if c.base != nil {
				j.Base = declared()
				c.base(j.Base)
			}
			r := releaseRecord('a', func(r *ReleaseRecord) { c.own(r.Declarations) })
			all := proof(t, j, NewView(), r)
			for _, stage := range []policies.Stage{policies.Readiness, policies.Promotion, policies.Proposal} {
				d, err := j.Decide(t.Context(), sheet(t, all...), r, where(stage), stage)
				if (err != nil) != (c.want == "") {
					t.Errorf("%s: decided %s, %v", stage, d.Decision.Verdict, err)
				} else if err == nil && criterion(t, d, "load").Verdict != c.want {
					t.Errorf("%s: load %+v, want %s", stage, criterion(t, d, "load"), c.want)
				}
			}
		})
	}
}

// TestWhatStoppedEarly counts for a change alone, and steps back where there is
// a full measurement.
func TestWhatStoppedEarly(t *testing.T) {
	t.Parallel()
	j, r := newJudge(t), releaseRecord('a')
	j.Change = proposed()
	var load checks.Check
	for i, c := range j.Checks {
		if c.Name == "load" {
			j.Checks[i].Parameters = func(in checks.Input) map[string]string {
				if in.Proposal {
					return map[string]string{"stop": "early"}
				}
				return nil
			}
			load = j.Checks[i]
		}
	}
	full := proof(t, j, NewView(), r)
	in, err := j.Input(NewView(), r, "staging")
	must(t, err)
	in.Proposal = true
	p := payload("load", r.Release, time.Now()).(checks.LoadPayload)
	p.Closed.Seconds, p.Open.Seconds = 12, 12
	end := checks.EarlyStop{Verdict: "good", Stopped: true, Requests: 571}
	p.Early = &checks.LoadEarly{Bad: 0.01, Risk: 0.01, Closed: end, Open: end}
	early := measured(load, in, p)
	var all []checks.Evidence
	for _, e := range full {
		if e.Check == "load" && e.Environment == "staging" {
			e = early
		}
		all = append(all, e)
	}
	for stage, want := range map[policies.Stage]policies.Verdict{
		policies.Proposal: policies.Pass, policies.Readiness: policies.Inconclusive, policies.Promotion: policies.Inconclusive,
	} {
		if c := criterion(t, decide(t, j, sheet(t, all...), r, stage), "load"); c.Verdict != want {
			t.Errorf("%s: %+v, want %s", stage, c, want)
		}
	}
	p.Early.Closed.Verdict = "bad"
	both := append(slices.Clone(full), measured(load, in, p))
	if c := criterion(t, decide(t, j, sheet(t, both...), r, policies.Proposal), "load"); c.Verdict != policies.Pass || len(c.Evidence) != 1 {
		t.Errorf("beside a full measurement: %+v", c)
	}
}

// TestCompareByTheBase: a change can't say how few requests are enough for it.
func TestCompareByTheBase(t *testing.T) {
	t.Parallel()
	j, r := newJudge(t), releaseRecord('a')
	j.Base = declared()
	j.Base.Environment("production").Promotion.Canary.MinSamples = 1000
	d, err := j.Compare(t.Context(), r, "production", compared(t, j, r, 999, 0, 1))
	must(t, err)
	if d.Decision.Verdict != policies.Inconclusive {
		t.Errorf("with less than the base's minimum: %s", d.Decision.Verdict)
	}
	more := compared(t, j, r, 3000, 0, 1)
	d, err = j.Compare(t.Context(), r, "production", more)
	if must(t, err); d.Decision.Verdict != policies.Pass {
		t.Errorf("with more than the base's minimum: %s", Unmet(d.Decision))
	}
	j.Base.Environment("production").Promotion.Canary.MinSamples = 3001
	d, err = j.Compare(t.Context(), r, "production", more)
	if must(t, err); d.Decision.Verdict != policies.Inconclusive {
		t.Errorf("with a greater minimum of the base: %s", d.Decision.Verdict)
	}
}

func TestDecideOnOtherMachines(t *testing.T) {
	t.Parallel()
	const ci, big, strange = "linux/amd64/4cpu", "linux/arm64/64cpu", "plan9/mips/1cpu"
	j, r := newJudge(t), releaseRecord('a')
	sets := map[string][]checks.Evidence{"own": proof(t, j, NewView(), r)}
	for _, class := range []string{ci, big, strange} {
		sets[class] = onMachine(t, j, r, class)
	}
	failed := func(e *checks.Evidence) {
		if e.Check == "tests" {
			e.Payload = oneFailed
		}
	}
	broke := func(e *checks.Evidence) { e.Status, e.Payload, e.Reason = checks.Errored, nil, "power cut" }
	stranger := func(e *checks.Evidence) { e.Reason = "stranger" }
	for name, c := range map[string]struct {
		machines []string
		evidence []checks.Evidence
		want     policies.Verdict
		expected string // class whose key is expected
	}{
		"none listed, its own":                  {nil, sets["own"], policies.Pass, checks.Machine()},
		"none listed, another":                  {nil, sets[ci], policies.Inconclusive, checks.Machine()},
		"listed":                                {[]string{ci}, sets[ci], policies.Pass, ci},
		"listed second":                         {[]string{ci, big}, sets[big], policies.Pass, big},
		"not listed":                            {[]string{ci, big}, sets[strange], policies.Inconclusive, ci},
		"its own, which is not listed":          {[]string{ci, big}, sets["own"], policies.Inconclusive, ci},
		"nothing measured":                      {[]string{big, ci}, nil, policies.Inconclusive, big},
		"both: the first":                       {[]string{ci, big}, slices.Concat(sets[ci], sets[big]), policies.Pass, ci},
		"the first has failed":                  {[]string{ci, big}, slices.Concat(as(sets[ci], failed), sets[big]), policies.Fail, ci},
		"the first broke, the second did not":   {[]string{ci, big}, slices.Concat(as(sets[ci], broke), sets[big]), policies.Pass, big},
		"the first is the change's":             {[]string{ci, big}, slices.Concat(as(sets[ci], byChange), sets[big]), policies.Pass, big},
		"the first is a stranger's":             {[]string{ci, big}, slices.Concat(as(sets[ci], stranger), sets[big]), policies.Pass, big},
		"a stranger's alone":                    {[]string{ci, big}, as(sets[big], stranger), policies.Inconclusive, big},
		"listed, and an empty class is nothing": {[]string{""}, sets[ci], policies.Inconclusive, checks.Machine()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := *j
			j.Machines = c.machines
			l := &log{t: t}
			l.release('a')
			for _, e := range c.evidence {
				l.add(checks.EvidenceType, e, func(string, string) bool { return e.Reason != "stranger" })
			}
			for _, stage := range stages {
				d := decide(t, &j, l.fold(), r, stage)
				if d.Decision.Verdict != c.want {
					t.Errorf("%s: %s: %s, want %s", stage, d.Decision.Verdict, Unmet(d.Decision), c.want)
				}
				in, err := j.Input(l.fold(), r, measuredIn(r, where(stage), stage))
				must(t, err)
				in.Machine = c.expected
				if got, want := d.Input.Expected["tests"].Key, j.Checks[0].Key(in); got != want {
					t.Errorf("%s: the key of another class is expected", stage)
				}
			}
		})
	}
}

func TestDecideOnAProposal(t *testing.T) {
	t.Parallel()
	j, r := newJudge(t), releaseRecord('a')
	all := proof(t, j, NewView(), r)
	owned := func(c *policies.Change) { c.Owned = []policies.OwnedFile{{Path: "policies/x.rego", Kind: "policies"}} }
	approved := func(by, commit string) func(*policies.Change) {
		return func(c *policies.Change) { c.Approvals = append(c.Approvals, policies.Approval{By: by, Commit: commit}) }
	}
	for name, c := range map[string]struct {
		change *policies.Change
		want   policies.Verdict // of the criterion change
	}{
		"nothing owned":                    {proposed(), policies.Pass},
		"owned":                            {proposed(owned), policies.Inconclusive},
		"owned and approved":               {proposed(owned, approved("olga", r.Commit)), policies.Pass},
		"approved was another commit":      {proposed(owned, approved("olga", commitOf('b'))), policies.Inconclusive},
		"approved by the author":           {proposed(owned, approved("Adam", r.Commit)), policies.Inconclusive},
		"of no file":                       {proposed(func(c *policies.Change) { c.Files = 0 }), policies.Inconclusive},
		"not known which files":            {proposed(func(c *policies.Change) { c.Owned = nil }), policies.Error},
		"not known who approved":           {proposed(func(c *policies.Change) { c.Approvals = nil }), policies.Error},
		"without a base":                   {proposed(func(c *policies.Change) { c.Base = "" }), policies.Error},
		"no change is known":               {nil, policies.Error},
		"one of which nothing is known":    {&policies.Change{}, policies.Error},
		"owned by a name that says little": {proposed(func(c *policies.Change) { c.Owned = []policies.OwnedFile{{Kind: "policies"}} }), policies.Error},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := *j
			j.Change = c.change
			for what, evidence := range map[string][]checks.Evidence{"base": all, "change": as(all, byChange)} {
				d := decide(t, &j, sheet(t, evidence...), r, policies.Proposal)
				if got := criterion(t, d, "change"); got.Verdict != c.want || d.Decision.Verdict != c.want {
					t.Errorf("measured by code of the %s: %s, the whole %s: %s; want %s", what, got.Verdict, d.Decision.Verdict, got.Why, c.want)
				}
			}
			for _, stage := range stages {
				if d := decide(t, &j, sheet(t, all...), r, stage); d.Input.Change != nil || d.Decision.Verdict != policies.Pass {
					t.Errorf("%s: %s, with the change %v", stage, d.Decision.Verdict, d.Input.Change)
				}
			}
		})
	}
}

// TestChangesEvidence counts for the change, pooled with the base's, and for
// nothing else, whatever is known of the change.
func TestChangesEvidence(t *testing.T) {
	t.Parallel()
	j, r := newJudge(t), releaseRecord('a')
	j.Change = proposed()
	all := proof(t, j, NewView(), r)
	bad := all[slices.IndexFunc(all, func(e checks.Evidence) bool { return e.Check == "tests" })]
	bad.Payload = oneFailed
	byChange(&bad)
	for _, stage := range everyStage {
		counts, d := stage == policies.Proposal, decide(t, j, sheet(t, as(all, byChange)...), r, stage)
		if counts != (d.Decision.Verdict == policies.Pass) || !counts && d.Decision.Verdict != policies.Inconclusive {
			t.Errorf("%s: %s", stage, d.Decision.Verdict)
		}
		d = decide(t, j, sheet(t, append(slices.Clone(all), bad)...), r, stage)
		got, want, runs := criterion(t, d, "tests"), policies.Pass, 1
		if counts {
			want, runs = policies.Fail, 2
		}
		if got.Verdict != want || len(got.Evidence) != runs {
			t.Errorf("%s: the base's passed and the change's failed: %s by %d runs; want %s by %d", stage, got.Verdict, len(got.Evidence), want, runs)
		}
		if d := decide(t, j, sheet(t, as(all, func(e *checks.Evidence) { e.Trust = "owner" })...), r, stage); d.Decision.Verdict.Promotes() {
			t.Errorf("%s: with a trust that does not exist: %s", stage, d.Decision.Verdict)
		}
	}
}

func TestDecideOnTheProtectedBranch(t *testing.T) {
	t.Parallel()
	j, r := newJudge(t), releaseRecord('a')
	j.Change = proposed()
	all := proof(t, j, NewView(), r)
	for name, c := range map[string]struct {
		branch *policies.Branch
		want   policies.Verdict // of a promotion
	}{
		"yes":           {&policies.Branch{Name: "main", Contains: "yes"}, policies.Pass},
		"no":            {&policies.Branch{Name: "main", Contains: "no"}, policies.Fail},
		"unknown":       {&policies.Branch{Name: "main", Contains: "unknown"}, policies.Inconclusive},
		"an odd answer": {&policies.Branch{Name: "main", Contains: "maybe"}, policies.Inconclusive},
		"no answer":     {nil, policies.Inconclusive},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := *j
			j.Branch = func(_ context.Context, commit string) *policies.Branch {
				if commit != r.Commit {
					t.Errorf("asked for commit %s", commit)
				}
				return c.branch
			}
			for _, stage := range everyStage {
				want := c.want
				if stage != policies.Promotion && stage != policies.Serving {
					want = policies.Pass
				}
				d := decide(t, &j, sheet(t, all...), r, stage)
				if got := criterion(t, d, "source"); got.Verdict != want || d.Decision.Verdict != want {
					t.Errorf("%s: %s, the whole %s: %s; want %s", stage, got.Verdict, d.Decision.Verdict, got.Why, want)
				}
			}
		})
	}
	for _, stage := range everyStage {
		if d := decide(t, j, sheet(t, all...), r, stage); d.Input.Branch != nil || d.Decision.Verdict != policies.Pass {
			t.Errorf("%s: where no branch is protected: %s, %s", stage, d.Decision.Verdict, Unmet(d.Decision))
		}
	}
}
