package promotion

import (
	"encoding/json"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/promotion/analysis"
	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/policies"
)

var stages = []policies.Stage{policies.Admission, policies.Readiness, policies.Promotion, policies.Serving}

// where says in which environment a stage decides.
func where(stage policies.Stage) string {
	if stage == policies.Promotion || stage == policies.Serving {
		return "production"
	}
	return "staging"
}

// sheet is a view that holds the given evidence, without a ledger.
func sheet(t testing.TB, evidence ...checks.Evidence) *View {
	t.Helper()
	l := &log{t: t}
	l.release('a')
	for _, e := range evidence {
		l.add(checks.EvidenceType, e, anybody)
	}
	return l.fold()
}

func newJudge(t testing.TB) *Judge {
	t.Helper()
	p, err := compiled()
	must(t, err)
	return &Judge{Policies: p, Checks: fakeChecks(), Now: time.Now, Trusted: func([]string, string, string) bool { return true }}
}

// proof is all evidence that a release needs, for every stage, each key once.
func proof(t testing.TB, j *Judge, v *View, r *ReleaseRecord) []checks.Evidence {
	t.Helper()
	var all []checks.Evidence
	seen := map[string]bool{}
	for _, e := range r.Declarations.Environments {
		in, err := j.Input(v, r, e.Name)
		must(t, err)
		for _, c := range j.Checks {
			if ev := measured(c, in, payload(c.Name, r.Release, time.Now())); !seen[ev.Key] {
				seen[ev.Key] = true
				all = append(all, ev)
			}
		}
	}
	return all
}

func decide(t testing.TB, j *Judge, v *View, r *ReleaseRecord, stage policies.Stage) DecisionRecord {
	t.Helper()
	d, err := j.Decide(t.Context(), v, r, where(stage), stage)
	must(t, err)
	return d
}

func criterion(t testing.TB, d DecisionRecord, id string) policies.Criterion {
	t.Helper()
	i := slices.IndexFunc(d.Decision.Criteria, func(c policies.Criterion) bool { return c.ID == id })
	if i < 0 {
		t.Fatalf("the decision has no criterion %s", id)
	}
	return d.Decision.Criteria[i]
}

func TestDecide(t *testing.T) {
	j, r := newJudge(t), releaseRecord('a')
	all := proof(t, j, NewView(), r)
	for _, stage := range stages {
		t.Run(string(stage), func(t *testing.T) {
			d := decide(t, j, sheet(t, all...), r, stage)
			if d.Decision.Verdict != policies.Pass {
				t.Fatalf("with all evidence: %s: %s", d.Decision.Verdict, Unmet(d.Decision))
			}
			if d.Decision.Release != r.Release || d.Decision.Environment != where(stage) || d.Input.Commit != r.Commit {
				t.Errorf("the decision is about %s in %s", d.Decision.Release, d.Decision.Environment)
			}
			if d := decide(t, j, sheet(t), r, stage); d.Decision.Verdict.Promotes() {
				t.Errorf("without any evidence: %s", d.Decision.Verdict)
			}
			dirty := *r
			dirty.Dirty = true
			want := policies.Warn
			if stage == policies.Promotion || stage == policies.Serving {
				want = policies.Fail
			}
			if d := decide(t, j, sheet(t, all...), &dirty, stage); d.Decision.Verdict != want {
				t.Errorf("from a dirty tree: %s, want %s", d.Decision.Verdict, want)
			}
			// Each piece of evidence that counts is needed: without it, nothing.
			drills := []string{"rollback", "restart", "scaling", "migration"}
			running := append([]string{"load", "update", "backup", "alerting", "tls", "network", "secrets"}, drills...)
			for _, name := range append([]string{"tests", "scan", "leaks", "config", "runbooks", "uptime"}, running...) {
				rest := slices.DeleteFunc(slices.Clone(all), func(e checks.Evidence) bool { return e.Check == name })
				needed := stage != policies.Admission || !slices.Contains(running, name)
				needed = needed && (stage != policies.Serving || !slices.Contains(drills, name))
				if name == "uptime" {
					needed = stage == policies.Serving
				}
				if d := decide(t, j, sheet(t, rest...), r, stage); d.Decision.Verdict.Promotes() == needed {
					t.Errorf("without %s: %s", name, d.Decision.Verdict)
				}
			}
		})
	}
}

// TestDecideAcceptsNothingElse: evidence that looks nearly right never counts.
func TestDecideAcceptsNothingElse(t *testing.T) {
	j, r := newJudge(t), releaseRecord('a')
	all := proof(t, j, NewView(), r)
	other := releaseRecord('b')
	for name, spoil := range map[string]func(e *checks.Evidence){
		"of another key":         func(e *checks.Evidence) { e.Key = digest('9') },
		"of another version":     func(e *checks.Evidence) { e.Version++ },
		"about another release":  func(e *checks.Evidence) { e.Subject.Digest = other.Release },
		"of another scope":       func(e *checks.Evidence) { e.Subject.Scope = checks.OfService },
		"by code of the change":  func(e *checks.Evidence) { e.Trust = checks.TrustChange },
		"from another place":     func(e *checks.Evidence) { e.Environment = "elsewhere" },
		"too old":                func(e *checks.Evidence) { e.Finished = e.Finished.Add(-365 * 24 * time.Hour) },
		"from the future":        func(e *checks.Evidence) { e.Finished = e.Finished.Add(time.Hour) },
		"broken":                 func(e *checks.Evidence) { e.Status, e.Payload = checks.Errored, nil },
		"not available":          func(e *checks.Evidence) { e.Status, e.Payload = checks.Unavailable, nil },
		"by an unsound meter":    func(e *checks.Evidence) { e.Status = checks.Invalid },
		"not applicable":         func(e *checks.Evidence) { e.Status, e.Reason = checks.NotApplicable, "bootstrap" },
		"without a payload":      func(e *checks.Evidence) { e.Payload = nil },
		"with an empty payload":  func(e *checks.Evidence) { e.Payload = json.RawMessage(`{}`) },
		"with another's payload": func(e *checks.Evidence) { e.Payload = json.RawMessage(`{"colour":"green"}`) },
	} {
		t.Run(name, func(t *testing.T) {
			for _, stage := range stages {
				spoilt := slices.Clone(all)
				for i := range spoilt {
					if spoilt[i].Check == "tests" {
						spoil(&spoilt[i])
					}
				}
				if d := decide(t, j, sheet(t, spoilt...), r, stage); d.Decision.Verdict.Promotes() {
					t.Errorf("%s: %s", stage, d.Decision.Verdict)
				}
			}
		})
	}
	t.Run("by a stranger", func(t *testing.T) {
		j := newJudge(t)
		j.Trusted = func([]string, string, string) bool { return false }
		for _, stage := range stages {
			if d := decide(t, j, sheet(t, all...), r, stage); d.Decision.Verdict.Promotes() {
				t.Errorf("%s: %s", stage, d.Decision.Verdict)
			}
		}
	})
	t.Run("about another release's readiness", func(t *testing.T) {
		for _, stage := range stages {
			if d := decide(t, j, sheet(t, proof(t, j, NewView(), other)...), r, stage); d.Decision.Verdict.Promotes() {
				t.Errorf("%s: %s", stage, d.Decision.Verdict)
			}
		}
	})
}

// TestDecideWhere: what is about the environment itself is asked of it, what is
// about the release of the environment where it proved itself.
func TestDecideWhere(t *testing.T) {
	j, r := newJudge(t), releaseRecord('a')
	all := proof(t, j, NewView(), r)
	in := func(environment string) func(checks.Evidence) bool {
		return func(e checks.Evidence) bool { return e.Environment == environment }
	}
	onlyStaging := slices.DeleteFunc(slices.Clone(all), in("production"))
	onlyProduction := slices.DeleteFunc(slices.Clone(all), in("staging"))
	for _, c := range []struct {
		stage    policies.Stage
		evidence []checks.Evidence
		lacks    []string
	}{
		{policies.Readiness, onlyStaging, nil},
		{policies.Readiness, onlyProduction, []string{"config", "load", "update", "rollback", "restart", "scaling", "migration", "backup", "alerting", "tls", "network", "secrets"}},
		{policies.Promotion, onlyStaging, []string{"config"}},
		{policies.Promotion, onlyProduction, []string{"load", "update", "rollback", "restart", "scaling", "migration", "backup", "alerting", "tls", "network", "secrets"}},
		{policies.Serving, onlyStaging, []string{"config", "backup", "alerting", "uptime", "tls", "network", "secrets"}},
		{policies.Serving, onlyProduction, []string{"load", "update"}},
	} {
		d := decide(t, j, sheet(t, c.evidence...), r, c.stage)
		var lacks []string
		for _, x := range d.Decision.Criteria {
			if !x.Verdict.Promotes() {
				lacks = append(lacks, x.ID)
			}
		}
		if !slices.Equal(lacks, c.lacks) {
			t.Errorf("%s: %v are not met, want %v", c.stage, lacks, c.lacks)
		}
	}
}

// TestDecideUpdateIsFromWhatServesNow: an update that was proved from another
// predecessor does not count once production has moved.
func TestDecideUpdateIsFromWhatServesNow(t *testing.T) {
	j, r := newJudge(t), releaseRecord('a')
	all := proof(t, j, NewView(), r)
	l := &log{t: t}
	l.release('a')
	for _, e := range all {
		l.add(checks.EvidenceType, e, anybody)
	}
	l.promotion("r1", l.release('b'), 'b', Succeeded)
	d := decide(t, j, l.fold(), r, policies.Promotion)
	if c := criterion(t, d, "update"); c.Verdict.Promotes() {
		t.Errorf("update: %s: %s", c.Verdict, c.Got)
	}
	if c := criterion(t, d, "load"); c.Verdict != policies.Pass {
		t.Errorf("load: %s: %s", c.Verdict, c.Why)
	}
}

// TestDecideInAChain: wherever a release comes to, it has proved itself in the
// first environment, against what it replaces there.
func TestDecideInAChain(t *testing.T) {
	j, r := newJudge(t), releaseRecord('a')
	d := r.Declarations
	for name, from := range map[string]string{"europe": "production", "america": "staging"} {
		e := *d.Environment("production")
		e.Name, e.Promotion.From = name, from
		d.Environments = append(d.Environments, &e)
	}
	l := &log{t: t}
	l.release('a')
	l.promotion("r1", l.release('b'), 'b', Succeeded) // into production
	v := l.fold()
	if got, want := v.Predecessors(r, "staging"), []string{digest('b'), digest('a')}; !slices.Equal(got, want) {
		t.Errorf("an update from %.19v is to be proved, want %.19v", got, want)
	}
	keys := map[string]string{}
	for _, environment := range []string{"production", "europe", "america"} {
		dec, err := j.Decide(t.Context(), v, r, environment, policies.Promotion)
		must(t, err)
		update, tls := dec.Input.Expected["update"], dec.Input.Expected["tls"]
		if update.Environment != "staging" {
			t.Errorf("into %s it is to be proved in %s", environment, update.Environment)
		}
		if from := d.Environment(environment).Promotion.From; tls.Environment != from {
			t.Errorf("%s is looked at before %s, want %s", tls.Environment, environment, from)
		}
		keys[environment] = update.Key
	}
	if keys["europe"] != keys["america"] || keys["europe"] == keys["production"] {
		t.Errorf("the same update is asked for where others are replaced: %v", keys)
	}
}

func TestDecideBootstrap(t *testing.T) {
	j, r := newJudge(t), releaseRecord('a')
	l := &log{t: t}
	a := l.release('a')
	if d := decide(t, j, l.fold(), r, policies.Promotion); !d.Input.Bootstrap {
		t.Error("an environment without a history is not taken for new")
	}
	l.promotion("r1", a, 'a', RolledBack)
	if d := decide(t, j, l.fold(), r, policies.Promotion); !d.Input.Bootstrap {
		t.Error("nothing was accepted yet")
	}
	l.promotion("r2", a, 'a', Succeeded)
	if d := decide(t, j, l.fold(), r, policies.Promotion); d.Input.Bootstrap {
		t.Error("an environment is taken for new twice")
	}
}

func TestDecideNeedsDeclarations(t *testing.T) {
	j := newJudge(t)
	r := releaseRecord('a', func(r *ReleaseRecord) { r.Declarations.Environments = r.Declarations.Environments[:1] })
	if _, err := j.Decide(t.Context(), sheet(t), r, "production", policies.Promotion); err == nil || !strings.Contains(err.Error(), "does not declare the environment production") {
		t.Errorf("got %v", err)
	}
	r = releaseRecord('a', func(r *ReleaseRecord) {
		r.Declarations.Environment("production").Thresholds = map[string]map[string]any{"load": {"p95": 1}}
	})
	if _, err := j.Decide(t.Context(), sheet(t), r, "production", policies.Promotion); err == nil {
		t.Error("a threshold that does not exist is passed over")
	}
}

func TestRecordsPool(t *testing.T) {
	j, r := newJudge(t), releaseRecord('a')
	now := time.Now()
	in, err := j.Input(sheet(t), r, "staging")
	must(t, err)
	tests := j.Checks[0]
	run := func(age time.Duration, failed int, change ...func(*checks.Evidence)) checks.Evidence {
		e := measured(tests, in, checks.TestsPayload{Command: []string{"go"}, Passed: 40, Failed: failed})
		e.Finished = now.Add(-age)
		for _, f := range change {
			f(&e)
		}
		return e
	}
	broke := func(e *checks.Evidence) { e.Status, e.Payload = checks.Errored, nil }
	change := func(e *checks.Evidence) { e.Trust = checks.TrustChange }
	stranger := func(e *checks.Evidence) { e.Reason = "stranger" }

	l := &log{t: t}
	for i, e := range []checks.Evidence{run(time.Hour, 2), run(50*time.Minute, 9, broke), run(40*time.Minute, 7, change), run(30*time.Minute, 8, stranger), run(time.Minute, 0)} {
		l.add(checks.EvidenceType, e, anybody)
		if i == 3 {
			l.items[3].Signers = []string{"stranger"}
		}
	}
	j.Trusted = func(signers []string, action, _ string) bool {
		return action == "measure" && !slices.Contains(signers, "stranger")
	}
	records, err := j.Records(l.fold(), tests, in, policies.Admission, now)
	must(t, err)
	if len(records) != 4 {
		t.Fatalf("%d records, want the pooled one and three that don't count", len(records))
	}
	pooled := records[3]
	var p checks.TestsPayload
	must(t, json.Unmarshal(pooled.Payload, &p))
	if pooled.Runs != 2 || len(pooled.Digests) != 2 || p.Failed != 2 {
		t.Errorf("pooled %d runs %v with %d failed, want the two that count, with the worst: nobody retries until green", pooled.Runs, pooled.Digests, p.Failed)
	}
	if math.Abs(pooled.AgeSeconds-60) > 1 || !pooled.Trusted || pooled.Status != "completed" {
		t.Errorf("pooled: %+v", pooled)
	}
	for _, x := range records[:3] {
		if x.Runs != 1 || x.Trusted && x.Trust == "base" && x.Status == "completed" {
			t.Errorf("not pooled, and yet it would count: %+v", x)
		}
	}

	// One that can't pool is no way around a failure.
	tests.Pool = nil
	if _, err := j.Records(l.fold(), tests, in, policies.Admission, now); err == nil {
		t.Error("two runs that can't be pooled are one")
	}
	tests.Pool = func([][]byte) ([]byte, error) { return nil, json.Unmarshal([]byte("["), new(int)) }
	if _, err := j.Records(l.fold(), tests, in, policies.Admission, now); err == nil {
		t.Error("a pool that broke is passed over")
	}
}

// TestRetriesDontHelp: a failed run stays, however often it is measured anew.
func TestRetriesDontHelp(t *testing.T) {
	j, r := newJudge(t), releaseRecord('a')
	all := proof(t, j, NewView(), r)
	bad := all[slices.IndexFunc(all, func(e checks.Evidence) bool { return e.Check == "tests" })]
	bad.Payload = json.RawMessage(`{"command":["go"],"exit_code":1,"passed":39,"failed":1,"skipped":0}`)
	d := decide(t, j, sheet(t, append([]checks.Evidence{bad}, all...)...), r, policies.Admission)
	if c := criterion(t, d, "tests"); c.Verdict != policies.Fail || len(c.Evidence) != 2 {
		t.Errorf("tests: %s by %d runs, want fail by both", c.Verdict, len(c.Evidence))
	}
}

// compared is what is known when both arms had so many requests, of which so many
// of the canary's failed, and its latencies were so many times the baseline's.
func compared(t *testing.T, j *Judge, r *ReleaseRecord, requests, errors int64, slower float64, change ...func(*Comparison)) Comparison {
	t.Helper()
	a, err := j.Analysis(r, "production")
	must(t, err)
	for i := range requests {
		seconds := 0.05 + 0.01*float64(i%7)
		a.Add(analysis.Observation{Arm: analysis.Baseline, Class: "GET /", Seconds: seconds})
		a.Add(analysis.Observation{Arm: analysis.Canary, Class: "GET /", Seconds: seconds * slower, Error: (i+1)*errors/requests != i*errors/requests})
	}
	f := a.Figures()
	c := Comparison{Figures: &f, Arms: target.Arms{
		Since:    time.Now(),
		Stable:   target.Arm{Release: digest('b'), Requests: requests, P95: 0.1},
		Baseline: target.Arm{Release: digest('b'), Requests: requests, P95: 0.1},
		Canary:   target.Arm{Release: r.Release, Requests: requests, Errors: errors, P95: 0.1 * slower},
	}}
	for _, f := range change {
		f(&c)
	}
	return c
}

func TestCompare(t *testing.T) {
	j, r := newJudge(t), releaseRecord('a')
	alone := func(c *Comparison) { c.Figures = nil }
	whole := func(c *Comparison) { c.Figures, c.Whole = nil, true }
	for name, c := range map[string]struct {
		known Comparison
		want  policies.Verdict
	}{
		"as good":                {compared(t, j, r, 3000, 0, 1), policies.Pass},
		"more errors":            {compared(t, j, r, 3000, 300, 1), policies.Fail},
		"slow":                   {compared(t, j, r, 3000, 0, 1.5), policies.Fail},
		"broken at once":         {compared(t, j, r, 300, 300, 1), policies.Fail},
		"too few":                {compared(t, j, r, 99, 0, 1), policies.Inconclusive},
		"nothing at all":         {compared(t, j, r, 0, 0, 1), policies.Inconclusive},
		"lost":                   {compared(t, j, r, 3000, 0, 1, func(c *Comparison) { c.Figures.Lost = 1 }), policies.Inconclusive},
		"other margins":          {compared(t, j, r, 3000, 0, 1, func(c *Comparison) { c.Figures.Latency.Margin = 0.5 }), policies.Error},
		"restarted":              {compared(t, j, r, 5, 0, 1, func(c *Comparison) { c.Canary.Restarts = 1 }), policies.Fail},
		"the baseline restarted": {compared(t, j, r, 3000, 0, 1, func(c *Comparison) { c.Baseline.Restarts = 1 }), policies.Inconclusive},
		"hangs":                  {compared(t, j, r, 3000, 0, 1, func(c *Comparison) { c.Canary.Open, c.Canary.OldestOpen = 3, 11 }), policies.Inconclusive},
		"both hang":              {compared(t, j, r, 3000, 0, 1, func(c *Comparison) { c.Canary.OldestOpen, c.Baseline.OldestOpen = 11, 11 }), policies.Pass},
		"few visitors":           {compared(t, j, r, 3000, 300, 1, func(c *Comparison) { c.Figures.Canary.Visits = 9 }), policies.Inconclusive},
		"another release's":      {compared(t, j, r, 3000, 0, 1, func(c *Comparison) { c.Canary.Release = digest('c') }), policies.Error},
		"another baseline":       {compared(t, j, r, 3000, 0, 1, func(c *Comparison) { c.Baseline.Release = digest('c') }), policies.Error},
		"arms alone":             {compared(t, j, r, 3000, 0, 1, alone), policies.Inconclusive},
		"all at once":            {compared(t, j, r, 3000, 0, 1, whole), policies.Warn},
		"all at once, errors":    {compared(t, j, r, 3000, 300, 1, whole), policies.Fail},
		"arms alone, errors":     {compared(t, j, r, 3000, 300, 1, alone), policies.Fail},
		"arms alone, slow":       {compared(t, j, r, 3000, 0, 10, alone), policies.Fail},
		"more errors than calls": {compared(t, j, r, 100, 101, 1, alone), policies.Fail},
		"no figures":             {Comparison{}, policies.Error},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := j.Compare(t.Context(), r, "production", c.known)
			must(t, err)
			if d.Decision.Verdict != c.want {
				t.Errorf("%s: %s, want %s", d.Decision.Verdict, Unmet(d.Decision), c.want)
			}
			if len(d.Decision.Criteria[0].Evidence) != 1 {
				t.Error("the figures are not cited")
			}
		})
	}
	nan := compared(t, j, r, 3000, 0, 1, func(c *Comparison) { c.Canary.P95 = math.NaN() })
	if d, err := j.Compare(t.Context(), r, "production", nan); err == nil {
		t.Errorf("figures that are no numbers: %s", d.Decision.Verdict)
	}
	for _, environment := range []string{"staging", "nowhere"} {
		if _, err := j.Compare(t.Context(), r, environment, compared(t, j, r, 3000, 0, 1)); err == nil {
			t.Errorf("%s declares no canary, and one was judged", environment)
		}
		if _, err := j.Analysis(r, environment); err == nil {
			t.Errorf("%s declares no canary, and one was begun", environment)
		}
	}
}

// TestWhatWasLackingIsSaid: a withdrawal says how many more requests it would have
// taken.
func TestWhatWasLackingIsSaid(t *testing.T) {
	j, r := newJudge(t), releaseRecord('a')
	d, err := j.Compare(t.Context(), r, "production", compared(t, j, r, 300, 0, 1))
	must(t, err)
	if why := Unmet(d.Decision); !regexp.MustCompile(`; wait: about [1-9][0-9]* more requests to each arm at the present rate\)$`).MatchString(why) {
		t.Error(why)
	}
	// Of anything else the next step is not part of why.
	d.Decision.Stage = policies.Promotion
	if why := Unmet(d.Decision); strings.Contains(why, "wait: ") {
		t.Error(why)
	}
}

// TestAnalysisByThresholds: the margins that an environment declares are those
// that are compared with.
func TestAnalysisByThresholds(t *testing.T) {
	j, r := newJudge(t), releaseRecord('a')
	r.Declarations.Environment("production").Thresholds = map[string]map[string]any{
		"canary": {"alpha": 0.001, "error_margin": 0.02, "latency_margin": 0.3, "latency_slack_seconds": 0.01, "block_pairs": 50, "block_seconds": 2, "group_seconds": 0.25},
	}
	a, err := j.Analysis(r, "production")
	must(t, err)
	f := a.Figures()
	if !f.Sound || f.Alpha != 0.001 || f.Errors.Margin != 0.02 || f.Latency.Margin != 0.3 || f.Latency.Slack != 0.01 || f.BlockPairs != 50 || f.BlockSeconds != 2 || f.GroupSeconds != 0.25 {
		t.Errorf("%+v", f)
	}
}

func TestStages(t *testing.T) {
	d := declared()
	if StageFor(d.Environment("staging")) != policies.Admission || StageFor(d.Environment("production")) != policies.Promotion {
		t.Error("the first environment asks for admission, the next one for promotion")
	}
	if got := replacedIn(d, "staging"); got != "production" {
		t.Errorf("an update proved in staging is about %s, want production", got)
	}
	if got := replacedIn(&environments.Declarations{Environments: d.Environments[:1]}, "staging"); got != "staging" {
		t.Errorf("where there is no next one it is about %s", got)
	}
}
