package policies

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/smartcloudops/gate/checks"
)

const (
	release = "sha256:aaaa"
	commit  = "0123456789abcdef0123456789abcdef01234567"
)

var now = time.Date(2026, 1, 8, 0, 0, 0, 0, time.UTC)

var shared = sync.OnceValues(func() (*Policies, error) { return New(context.Background(), nil) })

// embedded are the policies without an overlay, compiled once.
func embedded(t testing.TB) *Policies {
	t.Helper()
	p, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func encode(t testing.TB, v any) json.RawMessage {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func figure(name string, requests int64) checks.EndpointFigure {
	return checks.EndpointFigure{
		Name: name, Requests: requests, Succeeded: requests, SuccessLower: 0.9925,
		P50: 0.05, P95: 0.31, P99: 0.42, Max: 0.8, P95Upper: 0.35, P99Upper: 0.5,
	}
}

func phase(seconds float64, first, second int64) checks.LoadPhase {
	return checks.LoadPhase{
		Seconds: seconds, Rate: 40,
		Endpoints: []checks.EndpointFigure{figure("list", first), figure("add", second)},
		All:       figure("all", first+second),
	}
}

type arm struct {
	Release   string  `json:"release"`
	Requests  int64   `json:"requests"`
	Synthetic int64   `json:"synthetic"`
	Errors    int64   `json:"errors"`
	Restarts  int     `json:"restarts"`
	Open      int64   `json:"open"`
	Oldest    float64 `json:"oldest_open_seconds"`
	P95       float64 `json:"p95"`
}

// payloads pass, each made of the type that its check fills.
func payloads() map[string]any {
	sound := checks.GeneratorFacts{CPUShare: 0.2}
	counted := map[string]any{"requests": 1000, "synthetic": 0, "errors": 1, "given_up": 0, "visits": 0, "visitors": 0, "greatest": 0}
	real := map[string]any{"requests": 1000, "errors": 1, "given_up": 0}
	return map[string]any{
		"tests": checks.TestsPayload{Command: []string{"go", "test"}, Passed: 40, Skipped: 2},
		"scan": checks.ScanPayload{
			DatabaseDate: now.Add(-24 * time.Hour), Files: 30, Modules: 12, Medium: 1, Low: 2, ImportedVulns: 1,
		},
		"leaks": checks.LeaksPayload{Files: 80},
		"load": checks.LoadPayload{
			Users: 50, ThinkSeconds: 1, LittleLaw: 1.01, Generator: sound, Synthetic: true,
			Closed: phase(60, 1000, 500), Open: phase(30, 800, 400), Restarts: new(0), ZeroThink: new(phase(5, 2000, 2000)),
			Knee: &checks.LoadKnee{Lower: 400, Upper: 500, Rate: 480, Limit: "cpu", Because: "all were busy", Restarts: new(0), Steps: []checks.KneeStep{
				{Rate: 400, Requests: 2000, State: "sustained"}, {Rate: 500, Requests: 2500, State: "saturated"},
			}},
			Checkpoint: &checks.LoadCheckpoint{Forced: true, At: 15, Seconds: 0.4, During: checks.LoadWindow{Requests: 60, P95: 0.5}},
		},
		"update": checks.UpdatePayload{
			From: "sha256:bbbb", To: release, Rate: 50, Seconds: 20, Requests: 1000, Replaced: 4, Together: 2,
			PerInstance: map[string]int{"1": 500, "2": 500}, QuietP95: 0.09, P95: 0.1, Generator: sound, Log: checks.LogCount{Sent: 1000, Logged: 1000},
		},
		"migration": checks.MigrationPayload{
			Release: release, Previous: "sha256:bbbb", Declared: true, Files: 3, Pending: 1, Statements: 2,
			Copy: checks.RehearsedCopy{Rows: 1000},
			Rehearsal: &checks.RehearsalFigures{
				Changes: 2, Samples: 40, Interval: 0.01, LockSeconds: 0.02, WaitSeconds: 0.03, Probes: 500,
				Users: &checks.ReleaseRun{Ready: true, Requests: 60},
			},
			PreviousOnNew: &checks.ReleaseRun{Ready: true, Requests: 96},
			ACID:          checks.ACIDFigures{Writers: 50, Kills: 30, Crashes: 2, Acknowledged: 4000, Found: 4000, Reads: 100},
			App:           &checks.ACIDFigures{Writers: 50, Kills: 2, Acknowledged: 900, Found: 900, Reads: 50},
		},
		"backup": checks.BackupPayload{
			SystemIdentifier: "7", ServerVersion: "15.18", BaseTime: now.Add(-time.Hour), BaseAgeSeconds: 3600, BaseBytes: 1 << 26,
			Streaming: true, Restored: true, Verified: true, Amcheck: true, Point: true, Tables: 3, Equal: 3, Rows: 1000,
			Sequences: 1, Indexes: 3, Roles: 3, Extensions: 1, RPOSeconds: 0.1, RTOSeconds: 8, RestoreSeconds: 6, Answered: 2, Asked: 2,
			Requests: 400, QuietP95: 0.002, P95: 0.002,
			Remote: []checks.BackupRemote{}, Faults: []checks.BackupFault{},
		},
		"rollback": checks.RollbackPayload{
			DrillFigures: drilled(), From: "sha256:bbbb", To: release, Reached: true, BackSeconds: 1.2, ForthSeconds: 0.002,
			ByPrevious: 300, ByRelease: 400, Schema: "the previous release on the schema of the release", Migrated: true,
			Writes: checks.WriteCount{Declared: true, Sent: 200, Acknowledged: 190, Found: 190},
		},
		"restart": checks.RestartPayload{
			DrillFigures: drilled(), Faults: []checks.RestartFault{killed("instance", 1), killed("daemon", 0), killed("database", 0)},
			Writes: checks.WriteCount{Declared: true, Sent: 200, Acknowledged: 190, Found: 190},
		},
		"scaling": checks.ScalingPayload{
			DrillFigures: scaled(), Metric: "concurrency", Target: 8, Min: 2, Max: 10, Users: 48, Before: 2, Peak: 4, After: 2,
			NewAnswered: 2, Highest: 18.5, Known: true, UpSeconds: 2.5, DownSeconds: 11, Saved: 1.5,
		},
		"tls": checks.TLSPayload{
			Address: "127.0.0.1:8443", Name: "localhost", Version: "TLS 1.3", MinVersion: "TLS 1.2",
			ChainValid: true, NameValid: true, PrivateTrust: true, NotAfter: now.Add(59 * 24 * time.Hour), Issuer: "gate",
		},
		"network": checks.NetworkPayload{
			Declared: "127.0.0.1:8443", Balancer: true, Looks: 2, Processes: 9, Instances: 1, Sockets: 30,
			Listeners: []checks.NetworkListener{{Protocol: "tcp", Address: "127.0.0.1", Port: 18080, Role: "instance", Process: "instance 1"}},
		},
		"secrets": checks.SecretsPayload{
			Secrets: []checks.SecretState{{Name: "SMTP_PASSWORD", Source: "file", Resolved: true}}, Known: 4,
			Places: []checks.SecretsPlace{
				{Kind: "source", Items: 1, Bytes: 9}, {Kind: "image", Items: 1, Bytes: 9}, {Kind: "environment", Items: 1, Bytes: 9},
				{Kind: "arguments", Items: 1, Bytes: 9}, {Kind: "logs", Items: 1, Bytes: 9}, {Kind: "ledger", Items: 1, Bytes: 9},
			},
		},
		"config": checks.ConfigPayload{Environments: []string{"staging", "production"}, Values: 9},
		"runbooks": checks.RunbooksPayload{
			Folder: "docs/runbooks", Alerts: []string{"unavailable"}, Missing: []string{}, Template: true,
			Runbooks: []checks.Runbook{{Alert: "unavailable", File: "docs/runbooks/unavailable.md", Owner: "ops", Severity: "page", Review: "2099-01-01", Steps: 3}},
			Incident: checks.Procedure{File: "docs/runbooks/incident-response.md", Present: true, Missing: []string{}},
		},
		"alerting": checks.AlertingPayload{
			Mode: "fault", Routes: []checks.AlertingRoute{{Route: "smtp", Receipt: 4, Recovery: 3, Proof: checks.ProofAccepted, Said: "250 queued"}},
			Receipt: 4, Recovery: 3, Lead: 5, Ramp: 8, Heartbeat: true, Beats: 4, Fired: []string{"unavailable"}, Restored: true,
		},
		"uptime": checks.UptimePayload{
			From: now.Add(-checks.UptimeWindow).Truncate(time.Second), To: now.Truncate(time.Second), WindowSeconds: 2592000, Seconds: 2592000, OK: 2592000,
		},
		"canary": map[string]any{
			"whole":    false,
			"stable":   arm{Release: "sha256:bbbb", Requests: 3000, Errors: 3, P95: 0.1},
			"canary":   arm{Release: release, Requests: 1000, Errors: 1, P95: 0.1},
			"baseline": arm{Release: "sha256:bbbb", Requests: 1000, Errors: 1, P95: 0.1},
			"figures": map[string]any{
				"sound": true, "faults": []string{}, "lost": 0, "alpha": 0.01, "block_pairs": 100, "block_seconds": 5, "group_seconds": 0.5,
				"pairs": 990, "needed": 0, "foreseen": true,
				"baseline": counted, "canary": counted, "overdispersion": 1,
				"real": map[string]any{"baseline": real, "canary": real, "pairs": 990, "overdispersion": 1},
				"errors": map[string]any{
					"margin": 0.01, "worse": map[string]any{"e": 0.5}, "within": map[string]any{"e": 1000}, "estimate": 0, "low": -0.001, "high": 0.001,
				},
				"latency": map[string]any{
					"margin": 0.1, "slack": 0, "worse": map[string]any{"e": 0.5}, "within": map[string]any{"e": 1000}, "estimate": 1, "low": 0.9, "high": 1.1,
				},
			},
		},
	}
}

func drilled() checks.DrillFigures {
	return checks.DrillFigures{
		Drills: []string{"update"}, Rate: 50, Seconds: 20, Requests: 1000, PerInstance: map[string]int{"1": 500, "2": 500},
		QuietP95: 0.09, P95: 0.1, P99: 0.2, Generator: checks.GeneratorFacts{CPUShare: 0.2},
	}
}

func scaled() checks.DrillFigures {
	f := drilled()
	f.PerInstance = map[string]int{"1": 400, "2": 300, "3": 300}
	return f
}

func killed(part string, restarts int) checks.RestartFault {
	return checks.RestartFault{
		Part: part, What: part, How: "SIGKILL", By: "the daemon", Recovered: true, RecoverSeconds: 1, Requests: 300,
		InstancesBefore: 2, InstancesAfter: 2, Restarts: restarts,
	}
}

// ready is an input that passes at the stage.
func ready(t testing.TB, stage Stage) Input {
	t.Helper()
	limits, err := embedded(t).Thresholds(nil)
	if err != nil {
		t.Fatal(err)
	}
	in := Input{
		At: now, Stage: stage, Environment: "staging", Release: release, Commit: commit,
		Expected: map[string]Expected{}, Thresholds: limits,
	}
	for check, payload := range payloads() {
		want := Expected{Version: 1, Scope: "release", Subject: release, Key: "sha256:key-" + check, Trust: "private"}
		switch check {
		case "load", "update", "migration", "rollback", "restart", "scaling", "canary":
			want.Environment = "staging"
		case "backup", "alerting", "tls", "network", "secrets":
			want.Environment, want.Scope, want.Subject = "staging", "environment", "sha256:cccc"
		case "uptime":
			want.Scope, want.Subject = "service", "sha256:dddd"
		}
		in.Expected[check] = want
		in.Evidence = append(in.Evidence, Record{
			Digests: []string{"sha256:" + check}, Check: check, Version: want.Version, Scope: want.Scope,
			Subject: want.Subject, Environment: want.Environment, Key: want.Key, Status: "completed", Trust: "base",
			Trusted: true, Runs: 1, Finished: now.Add(-2 * time.Second), AgeSeconds: 2, Payload: encode(t, payload),
		})
	}
	return in
}

// crowded is ready with n records in all; those that it adds are of other
// releases.
func crowded(t testing.TB, stage Stage, n int) Input {
	t.Helper()
	in := ready(t, stage)
	own := len(in.Evidence)
	for i := 0; len(in.Evidence) < n; i++ {
		r := in.Evidence[i%own]
		r.Key = fmt.Sprintf("sha256:old-%d", i)
		r.Digests = []string{fmt.Sprintf("sha256:old-%d", i)}
		in.Evidence = append(in.Evidence, r)
	}
	return in
}

func evaluate(t testing.TB, p *Policies, in Input) Decision {
	t.Helper()
	d, err := p.Evaluate(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
