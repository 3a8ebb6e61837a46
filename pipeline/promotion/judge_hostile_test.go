package promotion

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/policies"
)

// may are keys by name, and what each may do where; an empty place is any.
var may = map[string]struct{ action, place string }{
	"meter":       {"measure", ""},
	"decider":     {"decide", ""},
	"approver":    {"approve", ""},
	"promoter":    {"promote", ""},
	"daemon":      {"daemon", ""},
	"elsewhere":   {"measure", "moon"},
	"other meter": {"measure", ""},
}

func trusted(signers []string, action, environment string) bool {
	for _, s := range signers {
		m, known := may[s]
		if !known || m.action != action || m.place != "" && m.place != environment {
			return false
		}
	}
	return len(signers) > 0
}

// TestHostileSignatures: of every check, evidence that is signed by anybody but
// who may measure there is none, and the criterion says so.
func TestHostileSignatures(t *testing.T) {
	j, r := newJudge(t), releaseRecord('a')
	j.Trusted = trusted
	all := proof(t, j, NewView(), r)
	decided := func(check string, signers []string, stage policies.Stage) DecisionRecord {
		l := &log{t: t}
		l.release('a')
		for i, e := range all {
			l.add(checks.EvidenceType, e, anybody)
			l.items[i+1].Signers = []string{"meter"}
			if e.Check == check {
				l.items[i+1].Signers = signers
			}
		}
		return decide(t, j, l.fold(), r, stage)
	}
	if d := decided("", nil, policies.Promotion); d.Decision.Verdict != policies.Pass {
		t.Fatalf("signed as it must be: %s: %s", d.Decision.Verdict, Unmet(d.Decision))
	}
	for _, c := range j.Checks {
		for name, signers := range map[string][]string{
			"nobody":                   nil,
			"a stranger":               {"stranger"},
			"an empty name":            {""},
			"who may decide":           {"decider"},
			"who may approve":          {"approver"},
			"who may promote":          {"promoter"},
			"a daemon":                 {"daemon"},
			"who may measure there":    {"elsewhere"},
			"a meter and a stranger":   {"meter", "stranger"},
			"a meter and an approver":  {"approver", "meter"},
			"a meter of another place": {"elsewhere", "meter"},
		} {
			d := decided(c.Name, signers, asking(c))
			if d.Decision.Verdict.Promotes() || !strings.Contains(Unmet(d.Decision), "not signed by a key that may measure here") {
				t.Errorf("%s signed by %s: %s: %s", c.Name, name, d.Decision.Verdict, Unmet(d.Decision))
			}
		}
		if d := decided(c.Name, []string{"meter", "other meter"}, asking(c)); d.Decision.Verdict != policies.Pass {
			t.Errorf("%s signed by two who may: %s", c.Name, Unmet(d.Decision))
		}
	}
}

// asking is a stage that asks for what the check shows.
func asking(c checks.Check) policies.Stage {
	if slices.Contains(policies.Required[policies.Promotion], c.Criterion) {
		return policies.Promotion
	}
	return policies.Serving
}

// TestNobodyRetriesUntilLucky: of every check, one bad run among good ones stays.
func TestNobodyRetriesUntilLucky(t *testing.T) {
	j, r := newJudge(t), releaseRecord('a')
	all := proof(t, j, NewView(), r)
	for i, c := range j.Checks {
		real := slices.IndexFunc(checks.All(), func(one checks.Check) bool { return one.Name == c.Name })
		if real < 0 {
			t.Fatalf("there is no check %s", c.Name)
		}
		j.Checks[i].Pool = checks.All()[real].Pool
	}
	for _, c := range j.Checks {
		if c.Scope == checks.OfEnvironment {
			continue // a state and no sample: the newest look at it is what counts
		}
		var runs []checks.Evidence
		for _, e := range all {
			if e.Check != c.Name {
				runs = append(runs, e)
				continue
			}
			bad := e
			bad.Payload, bad.Finished = json.RawMessage(`{}`), e.Finished.Add(-time.Minute)
			runs = append(runs, bad)
			for i := range 5 {
				again := e
				again.Finished = e.Finished.Add(time.Duration(i-5) * time.Second)
				runs = append(runs, again)
			}
		}
		d, err := j.Decide(t.Context(), sheet(t, runs...), r, "production", asking(c))
		if err == nil && d.Decision.Verdict.Promotes() {
			t.Errorf("one bad run of %s among good ones: %s", c.Name, d.Decision.Verdict)
		}
	}
}

// TestWaiversOfTheBase: only those that the judge was given count, where they are
// for; a release can't bring its own.
func TestWaiversOfTheBase(t *testing.T) {
	j, r := newJudge(t), releaseRecord('a')
	all := proof(t, j, NewView(), r)
	rest := slices.DeleteFunc(slices.Clone(all), func(e checks.Evidence) bool { return e.Check == "load" })
	today := time.Now().UTC().Truncate(24 * time.Hour)
	w := &environments.Waiver{
		Name: "load-slow", Criterion: "load", Environment: "production", Reason: "the fix is under way", Author: "Ann",
		Since: environments.Date(today.AddDate(0, 0, -1)), Until: environments.Date(today.AddDate(0, 0, 5)),
	}
	own := *r.Declarations
	own.Waivers = []*environments.Waiver{w}
	mine := *r
	mine.Declarations = &own
	if d := decide(t, j, sheet(t, rest...), &mine, policies.Promotion); d.Decision.Verdict.Promotes() {
		t.Errorf("by the release's own waiver: %s", d.Decision.Verdict)
	}
	j.Waivers = own.Waivers
	d := decide(t, j, sheet(t, rest...), r, policies.Promotion)
	if c := criterion(t, d, "load"); d.Decision.Verdict != policies.Warn || c.Waiver != "load-slow" || !strings.Contains(c.Why, "the fix is under way") {
		t.Errorf("%s: %+v", d.Decision.Verdict, c)
	}
	if d := decide(t, j, sheet(t, rest...), r, policies.Readiness); d.Decision.Verdict.Promotes() {
		t.Errorf("in another environment: %s", d.Decision.Verdict)
	}
	j.Now = func() time.Time { return today.AddDate(0, 0, 5) }
	if c := criterion(t, decide(t, j, sheet(t, rest...), r, policies.Promotion), "load"); c.Verdict != policies.Fail || !strings.Contains(c.Why, "has expired") {
		t.Errorf("expired: %+v", c)
	}
}

// TestPoliciesAreKeptOnce: beside the decisions by them, so that each can be made
// again.
func TestPoliciesAreKeptOnce(t *testing.T) {
	j, r := newJudge(t), releaseRecord('a')
	journal := newScene(t).journal
	all := proof(t, j, NewView(), r)
	var last DecisionRecord
	for _, stage := range stages {
		last = decide(t, j, sheet(t, all...), r, stage)
		_, err := journal.Decision(t.Context(), last)
		must(t, err)
	}
	records, err := journal.Ledger.Entries(t.Context(), 0)
	must(t, err)
	kept := 0
	for _, rec := range records {
		if rec.Statement.Type == PoliciesType {
			kept++
		}
	}
	if kept != 1 {
		t.Errorf("the policies are kept %d times", kept)
	}
	d, _, err := journal.Decided(t.Context(), last.Decision.ID[:19])
	must(t, err)
	k, _, err := journal.Policies(t.Context(), d.Decision.PolicyDigest)
	must(t, err)
	if differs, err := policies.Replay(t.Context(), d.Decision, d.Input, k); err != nil || len(differs) > 0 {
		t.Errorf("%q, %v", differs, err)
	}
	if _, _, err := journal.Decided(t.Context(), "sha256:0123456789"); err == nil {
		t.Error("a decision that there is not")
	}
}
