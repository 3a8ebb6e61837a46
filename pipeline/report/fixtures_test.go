package report

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/run"
	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/policies"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// id is a digest that begins with a letter of its own.
func id(c string) string { return "sha256:" + strings.Repeat(c, 64/len(c)) }

const commit = "4f2a9c01d3b87e65f0a1b2c3d4e5f60718293a4b"

func criteria() []policies.Criterion {
	pass := func(id, title, got, want, evidence string) policies.Criterion {
		return policies.Criterion{ID: id, Title: title, Verdict: policies.Pass, Got: got, Want: want, Evidence: []string{evidence}, Why: "every limit is kept"}
	}
	return []policies.Criterion{
		{ID: "source", Title: "The release is built from a commit", Verdict: policies.Pass, Got: "commit 4f2a9c01d3b8", Want: "a commit, without uncommitted changes", Evidence: []string{}, Why: "built from what is committed"},
		pass("tests", "Automated testing on every commit", "412 passed, 0 failed, 3 skipped", "at most 0 failed, at least 1 passed", id("1a")),
		pass("scan", "Security scanning in CI", "0 reachable and 2 imported vulnerabilities, 0 high, 1 medium, 4 low findings, 0 secrets in 311 files; database 2.5 h old", "0 reachable vulnerabilities, 0 high findings, 0 secrets, a database younger than 7 days", id("2b")),
		pass("config", "Environment-specific configuration, easy switching", "0 high, 0 medium, 0 low findings in 14 values of 2 environments", "staging validated, at most 0 high findings", id("3c")),
		pass("load", "50 concurrent users, below 2 s, 99%", "p95 0.01 s (≤ 0.012), p99 0.02 s (≤ 0.041), success ≥ 99.87% of 3561", "p95 < 2 s and p99 < 2 s by their upper bounds, success ≥ 99% by its lower bound, 50 users, 60 s", id("4d")),
		pass("update", "Zero-downtime updates", "0 of 6000 requests failed while 4 instances were replaced; 4 answered", "at most 0 of at least 300 requests failed, 2 instances replaced", id("5e")),
		pass("tls", "Valid certificates", "TLS 1.3 (oldest accepted TLS 1.2), 364.2 days left", "chain and name valid, ≥ TLS 1.2, more than 14 days left, private trust", id("6f")),
	}
}

// verdict makes one criterion something else than pass.
func verdict(d *policies.Decision, id string, v policies.Verdict, got, why, next string) {
	for i, c := range d.Criteria {
		if c.ID == id {
			d.Criteria[i].Verdict, d.Criteria[i].Got, d.Criteria[i].Why, d.Criteria[i].Next = v, got, why, next
		}
	}
	d.Verdict = v
}

func decision(stage policies.Stage) promotion.DecisionRecord {
	return promotion.DecisionRecord{
		Decision: policies.Decision{
			ID: id("de"), Release: id("ab"), Commit: commit, Environment: "staging", Stage: stage, Verdict: policies.Pass,
			At: epoch.Add(2 * time.Minute), PolicyDigest: id("90"), InputDigest: id("17"), Criteria: criteria(),
		},
		Input: policies.Input{
			Thresholds: map[string]map[string]any{"load": {"p99_seconds": 2.0}},
			Evidence: []policies.Record{
				{Digests: []string{id("1a")}, Check: "tests", Status: "completed", Trusted: true, Trust: "base", Runs: 1, AgeSeconds: 75, Payload: []byte(`{}`)},
				{Digests: []string{id("4d"), id("44")}, Check: "load", Environment: "staging", Status: "completed", Trusted: true, Trust: "base", Runs: 2, AgeSeconds: 3 * 3600, Payload: []byte(`{}`)},
				{Digests: []string{id("5e")}, Check: "update", Environment: "staging", Status: "invalid", Reason: "the generator dropped 3 requests", Trust: "change", Runs: 1, AgeSeconds: 12, Payload: []byte(`null`)},
			},
		},
	}
}

func payload(t testing.TB, v any) json.RawMessage {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// figure makes the figures of n requests that took from base on, with a tail.
func figure(t testing.TB, name string, n int, base time.Duration) checks.EndpointFigure {
	t.Helper()
	h := hdrhistogram.New(1, int64(time.Hour/time.Microsecond), 3)
	for i := range n {
		d := base + time.Duration(i%40)*base/40
		if i%50 == 49 {
			d += 9 * base
		}
		if i%700 == 699 {
			d += 60 * base
		}
		if err := h.RecordValue(d.Microseconds()); err != nil {
			t.Fatal(err)
		}
	}
	encoded, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		t.Fatal(err)
	}
	at := func(p float64) float64 { return float64(h.ValueAtPercentile(p)) / 1e6 }
	return checks.EndpointFigure{
		Name: name, Requests: int64(n), Succeeded: int64(n), SuccessLower: 1 - 3/float64(n),
		P50: at(50), P95: at(95), P99: at(99), Max: float64(h.Max()) / 1e6, P95Upper: at(95) * 1.2, P99Upper: at(99) * 1.5,
		Histogram: string(encoded),
	}
}

func loadPayload(t testing.TB) checks.LoadPayload {
	model := func(base time.Duration) checks.LoadPhase {
		ph := checks.LoadPhase{Seconds: 60, Rate: 49.3, All: figure(t, "", 3000, base)}
		for i, name := range []string{"ingest", "query", "version"} {
			ph.Endpoints = append(ph.Endpoints, figure(t, name, 1000, base*time.Duration(i+1)/2))
		}
		for s := range 60 {
			p := checks.TimelinePoint{Second: s, Requests: 50, P50: (base + time.Duration(s%7)*base/9).Seconds(), P99: (4*base + time.Duration(s%11)*base).Seconds()}
			if s == 31 {
				p.P99 *= 5
			}
			ph.Timeline = append(ph.Timeline, p)
		}
		return ph
	}
	x := checks.LoadPayload{
		Users: 50, ThinkSeconds: 1, Closed: model(4 * time.Millisecond), Open: model(6 * time.Millisecond), LittleLaw: 1.004, Synthetic: true,
		Generator: checks.GeneratorFacts{CPUShare: 0.12, P99LagSeconds: 0.0031},
	}
	rush := checks.LoadPhase{Seconds: 5, Rate: 2800, All: figure(t, "", 14000, 9*time.Millisecond)}
	x.ZeroThink, x.Restarts = &rush, new(0)
	x.Checkpoint = &checks.LoadCheckpoint{Forced: true, At: 30, Seconds: 0.84, Before: checks.LoadWindow{P95: 0.0061}, During: checks.LoadWindow{P95: 0.0192}}
	x.Knee = &checks.LoadKnee{Lower: 2240, Upper: 2744, Rate: 2510, Limit: "cpu", Because: "97% of the machine's processors were busy", Restarts: new(0), Steps: []checks.KneeStep{
		{Rate: 105, Carried: 105, P95: 0.0072, Growth: -0.0001, State: "sustained"},
		{Rate: 2240, Carried: 2239, P95: 0.021, Growth: 0.0004, State: "sustained"},
		{Rate: 3360, Carried: 2402, P95: 1.92, Growth: 0.4, State: "saturated", Limit: "cpu"},
		{Rate: 2744, Carried: 2510, P95: 0.61, Growth: 0.09, State: "saturated", Limit: "cpu"},
	}}
	x.Open.Timeline[40].Requests, x.Open.Timeline[41].Failed = 0, 2
	x.Open.Endpoints[1].Succeeded -= 2
	x.Open.Endpoints[1].Failures = map[string]int{"status 503": 1, "body": 1}
	return x
}

func updatePayload() checks.UpdatePayload {
	return checks.UpdatePayload{
		From: id("cd"), To: id("ab"), Rate: 300, Seconds: 20, Requests: 6000, Replaced: 4, P99: 0.018,
		PerInstance: map[string]int{"s3": 1501, "s1": 1499, "s4": 1500, "s2": 1500},
		Phases: []checks.UpdatePhase{
			{From: id("cd"), To: id("ab"), Seconds: 10, Requests: 3000}, {From: id("ab"), To: id("cd"), Seconds: 10, Requests: 3000},
		},
	}
}

func evidence(check, environment string, took time.Duration, p json.RawMessage) checks.Evidence {
	return checks.Evidence{
		Check: check, Version: 1, Environment: environment, Subject: checks.Subject{Scope: checks.OfRelease, Digest: id("ab")},
		Started: epoch.Add(10 * time.Second), Finished: epoch.Add(10*time.Second + took), Status: checks.Completed, Trust: checks.TrustBase,
		Tools: map[string]string{"gate": "0.1.0", "go": "go1.26.8"}, Payload: p,
	}
}

// passed is a run through staging that passed. Its evidence is not in order, as
// checks end when they end.
func passed(t testing.TB) *run.Result {
	d := decision(policies.Readiness)
	admission := decision(policies.Admission)
	admission.Decision.Criteria = admission.Decision.Criteria[:4]
	return &run.Result{
		App: "smartcloudops", Release: id("ab"), Commit: commit, Subject: "Answer queries from the newest partition first", Through: "staging",
		Started: epoch, Finished: epoch.Add(2*time.Minute + 13*time.Second),
		Decisions: []promotion.DecisionRecord{admission, d},
		Steps: []run.Step{
			{Name: "build", State: run.Finished, Took: 4200 * time.Millisecond},
			{Name: "check tests", State: run.Finished, Took: 31 * time.Second},
			{Name: "check scan", State: run.Reused, Offset: 4200 * time.Millisecond, Took: 40 * time.Millisecond},
			{Name: "deploy staging", State: run.Finished, Offset: 32 * time.Second, Took: 3 * time.Second},
			{Name: "check load staging", State: run.Finished, Offset: 35 * time.Second, Took: 98 * time.Second, Note: "open model: 30 of 30 s"},
		},
		Evidence: []run.Measured{
			{Digest: id("4d"), Runs: 2, Evidence: evidence("load", "staging", 98*time.Second, payload(t, loadPayload(t)))},
			{Digest: id("1a"), Runs: 1, Evidence: evidence("tests", "", 31*time.Second, payload(t, checks.TestsPayload{Passed: 412, Skipped: 3}))},
			{Digest: id("5e"), Runs: 1, Evidence: evidence("update", "staging", 20*time.Second, payload(t, updatePayload()))},
			{Digest: id("2b"), Runs: 1, Reused: true, Evidence: old(evidence("scan", "", 12*time.Second, payload(t, checks.ScanPayload{Files: 311, Modules: 40, Medium: 1, Low: 4, ImportedVulns: 2, DatabaseDate: epoch.Add(-3 * time.Hour)})))},
		},
		Promotions: []promotion.Transition{{
			Kind: promotion.Promote, Environment: "staging", Release: id("ab"), Commit: commit, Step: promotion.End, State: promotion.Succeeded, By: "Ann <ann@example.org>", At: epoch.Add(35 * time.Second),
		}},
		Environment: []run.Serving{
			{Name: "staging", URL: "https://127.0.0.1:8443", Release: id("ab"), CA: "/var/lib/gate/staging/ca.pem"},
			{Name: "production", URL: "https://127.0.0.1:9443", Release: id("cd"), CA: "/var/lib/gate/a folder/ca.pem"},
		},
	}
}

func old(e checks.Evidence) checks.Evidence {
	e.Started, e.Finished = e.Started.Add(-26*time.Hour), e.Finished.Add(-26*time.Hour)
	return e
}

func warned(t testing.TB) *run.Result {
	r := passed(t)
	verdict(&r.Decisions[1].Decision, "scan", policies.Warn, "0 reachable vulnerabilities, 0 high findings, 0 secrets; database 9.1 days old",
		"the vulnerability database is 9.1 days old, at most 7 days", "gate verify staging --check scan --check leaks")
	return r
}

func failed(t testing.TB) *run.Result {
	r := passed(t)
	r.Exit, r.Summary, r.Next = promotion.CodeFail, "fail for staging: load", "gate explain staging"
	verdict(&r.Decisions[1].Decision, "load", policies.Fail, "p95 2.31 s (≤ 2.6), p99 4.9 s (≤ 6.2), success ≥ 97.2% of 3561",
		"open query: p95 2.31 s, must be below 2; open query: 71 of 1391 requests failed, success must reach 99% (slower than 2 s: 68, status 503: 3)",
		"gate verify staging --check load (about 100 s)")
	r.Evidence[1].Evidence.Payload = payload(t, checks.TestsPayload{Passed: 411, Failed: 1, ExitCode: 1, Findings: findingsOfATest()})
	r.Steps = append(r.Steps, run.Step{Name: "promote to production", State: run.Skipped}, run.Step{Name: "check tls production", State: run.Skipped})
	return r
}

func findingsOfATest() []checks.Finding {
	return []checks.Finding{{Tool: "go test", Rule: "TestQuery/newest_first", File: "app/postgres/query_test.go", Line: 88, Message: "order is wrong:\n  got  [3 1 2]\n  want [3 2 1]"}}
}

func inconclusive(t testing.TB) *run.Result {
	r := passed(t)
	r.Exit, r.Summary, r.Next = promotion.CodeInconclusive, "inconclusive for staging: update", "gate explain staging"
	verdict(&r.Decisions[1].Decision, "update", policies.Inconclusive, "no evidence that counts",
		"the measurement was not sound: the generator dropped 3 requests", "gate verify staging --check update (about 20 s)")
	r.Evidence[2].Evidence.Status, r.Evidence[2].Evidence.Reason = checks.Invalid, "the generator dropped 3 requests"
	return r
}

func rolledBack(t testing.TB) *run.Result {
	r := passed(t)
	r.Through = "production"
	r.Exit, r.Summary, r.Next = promotion.CodeRolledBack, "production: rolled_back: the canary answered 31 of 812 requests with errors, the stable release 0 of 803", "gate explain production, gate logs production"
	r.Promotions = append(r.Promotions, promotion.Transition{
		Kind: promotion.Promote, Environment: "production", Release: id("ab"), Commit: commit, Step: promotion.End, State: promotion.RolledBack,
		Why: "the canary answered 31 of 812 requests with errors, the stable release 0 of 803", By: "Ann <ann@example.org>", Synthetic: true, At: epoch.Add(3 * time.Minute),
	})
	return r
}

func reused(t testing.TB) *run.Result {
	r := passed(t)
	r.Finished = epoch.Add(1400 * time.Millisecond)
	r.Promotions = nil
	for i := range r.Evidence {
		r.Evidence[i].Reused = true
		r.Evidence[i].Evidence.Finished = epoch.Add(-time.Duration(i+1) * time.Hour)
	}
	return r
}

func unbuilt(testing.TB) *run.Result {
	return &run.Result{
		App: "smartcloudops", Commit: commit, Subject: "Rename the store", Dirty: true, Through: "staging", Started: epoch, Finished: epoch.Add(1900 * time.Millisecond),
		Exit: promotion.CodeFail, Summary: "./app/cmd/smartcloudops does not build: app/cmd/smartcloudops/serve.go:41: undefined: postgres.Opne (and 1 more)", Next: "mend it and run again; nothing was changed",
		Findings: []checks.Finding{
			{Tool: "go build", File: "app/cmd/smartcloudops/serve.go", Line: 41, Message: "undefined: postgres.Opne", Severity: "high"},
			{Tool: "go build", File: "app/cmd/smartcloudops/import.go", Line: 12, Message: "\"fmt\" imported and not used", Severity: "high", Fix: "remove the import"},
		},
		Steps: []run.Step{{Name: "build", State: run.Failed, Took: 1800 * time.Millisecond}, {Name: "check load staging", State: run.Skipped}},
	}
}

// verified is a run of named checks: nothing is judged.
func verified(t testing.TB) *run.Result {
	r := failed(t)
	r.Exit, r.Summary, r.Next, r.Decisions, r.Promotions, r.Steps = promotion.CodePass, "", "", nil, nil, nil
	return r
}

func environmentsOf() []Environment {
	actual := &target.Status{
		Environment: "staging", Address: "127.0.0.1:8443", Stable: id("ab"), Database: "own cluster, PostgreSQL 15.18", Warm: id("cd"),
		Instances: []target.Instance{
			{ID: "1", Release: id("ab"), Role: "stable", PID: 4711, Address: "127.0.0.1:40001", Health: target.Healthy},
			{ID: "12", Release: id("cd"), Role: "warm", PID: 815, Address: "127.0.0.1:40012", Health: target.Healthy, Restarts: 3},
		},
	}
	moving := *actual
	moving.Stable, moving.Canary, moving.Weight, moving.Warm = id("cd"), id("ab"), 10, ""
	moving.Problem = "the database answers slowly: 3 of 5 probes took longer than 1 s"
	return []Environment{
		{Name: "staging", Address: "https://127.0.0.1:8443", Desired: id("ab"), DesiredCommit: commit, Actual: actual},
		{
			Name: "production", Address: "https://127.0.0.1:9443", Desired: id("cd"), DesiredCommit: "00112233445566778899", Actual: &moving,
			Active: &promotion.Transition{Release: id("ab"), By: "Ann <ann@example.org>", Step: promotion.Canary, At: epoch},
			Last:   &promotion.Transition{Kind: promotion.Promote, Release: id("ef"), State: promotion.RolledBack, Why: "the canary's p95 was 0.9 s beside 0.1 s", At: epoch.Add(-time.Hour)},
			Hold:   &promotion.Hold{By: "Bob", Reason: "the freeze of the year's end", At: epoch.Add(-2 * time.Hour)},
		},
		{Name: "demo", Address: "https://127.0.0.1:7443", Problem: "no daemon runs: gate serve demo starts it"},
	}
}

func transitions() []promotion.Transition {
	long := "the canary answered 31 of 812 requests with errors, the stable release 0 of 803: 3.8% more, at most 1% may be, and that at four standard errors"
	return []promotion.Transition{
		{Kind: promotion.Rollback, Environment: "production", Release: id("cd"), Commit: commit, State: promotion.Succeeded, By: "Ann <ann@example.org>", At: epoch.Add(time.Hour)},
		{Kind: promotion.Promote, Environment: "production", Release: id("ab"), Commit: commit, State: promotion.RolledBack, By: "continuous integration of the team that owns the service", Why: long, At: epoch},
		{Kind: promotion.Promote, Environment: "production", Release: id("cd"), Commit: "00112233445566778899", State: promotion.Succeeded, By: "Bob", At: epoch.Add(-time.Hour)},
	}
}
