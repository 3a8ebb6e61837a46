package promotion

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
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

// unlucky is what a run measures that must not be retried away, by check.
var unlucky = map[string]string{
	"tests":     `{"failed": 1}`,
	"scan":      `{"reachable_vulns": 1}`,
	"leaks":     `{"secrets": 1}`,
	"config":    `{"findings": [{"tool": "t", "rule": "r", "severity": "high", "message": "m"}]}`,
	"update":    `{"failed": 1}`,
	"migration": `{"acid": {"writers": 50, "kills": 30, "crashes": 2, "acknowledged": 4000, "found": 3999, "lost": 1, "reads": 100}}`,
	"rollback":  `{"failed": 1}`,
	"restart":   `{"writes": {"declared": true, "sent": 100, "acknowledged": 100, "found": 99, "missing": 1}}`,
	"scaling":   `{"failed": 1}`,
	"network":   `{"exposed": 1, "exposures": [{"protocol": "tcp", "address": "0.0.0.0", "port": 1, "role": "instance", "process": "1"}]}`,
	"runbooks":  `{"missing": ["disk"]}`,
	"alerting":  `{"restored": false}`,
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
		switch c.Name {
		case "tls", "secrets", "backup":
			continue // a state and no sample: the newest look at it is what counts
		case "load", "uptime":
			continue // pooled from histograms and hours, as tests of checks/ show
		}
		if unlucky[c.Name] == "" {
			t.Fatalf("no run of %s is bad", c.Name)
		}
		var lucky, runs []checks.Evidence
		for _, e := range all {
			if e.Check != c.Name {
				lucky, runs = append(lucky, e), append(runs, e)
				continue
			}
			bad, fields := e, map[string]any{}
			must(t, json.Unmarshal(e.Payload, &fields))
			must(t, json.Unmarshal([]byte(unlucky[c.Name]), &fields))
			var err error
			bad.Payload, err = json.Marshal(fields)
			must(t, err)
			bad.Finished = e.Finished.Add(-time.Minute)
			runs = append(runs, bad)
			for i := range 5 {
				again := e
				again.Finished = e.Finished.Add(time.Duration(i-5) * time.Second)
				lucky, runs = append(lucky, again), append(runs, again)
			}
		}
		if d := decide(t, j, sheet(t, lucky...), r, asking(c)); !d.Decision.Verdict.Promotes() {
			t.Errorf("good runs of %s alone: %s: %s", c.Name, d.Decision.Verdict, Unmet(d.Decision))
		}
		d := decide(t, j, sheet(t, runs...), r, asking(c))
		if got := criterion(t, d, c.Criterion); d.Decision.Verdict != policies.Fail || got.Verdict != policies.Fail {
			t.Errorf("one bad run of %s among good ones: %s: %+v", c.Name, d.Decision.Verdict, got)
		}
	}
}

// TestReplayOfPoliciesThatLostAFile: what was kept of others before does not get
// into those that a decision was made by.
func TestReplayOfPoliciesThatLostAFile(t *testing.T) {
	j, r := newJudge(t), releaseRecord('a')
	journal := newScene(t).journal
	all := proof(t, j, NewView(), r)
	now := j.Policies
	var err error
	j.Policies, err = policies.New(t.Context(), fstest.MapFS{"readiness/more.rego": {Data: []byte("package gate.readiness.more\n")}})
	must(t, err)
	before := decide(t, j, sheet(t, all...), r, policies.Promotion)
	_, err = journal.Decision(t.Context(), before)
	must(t, err)
	j.Policies = now
	after := decide(t, j, sheet(t, all...), r, policies.Promotion)
	_, err = journal.Decision(t.Context(), after)
	must(t, err)
	for _, d := range []DecisionRecord{before, after} {
		k, _, err := journal.Policies(t.Context(), d.Decision.PolicyDigest)
		must(t, err)
		if differs, err := policies.Replay(t.Context(), d.Decision, d.Input, k); err != nil || len(differs) > 0 {
			t.Errorf("%q, %v", differs, err)
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
