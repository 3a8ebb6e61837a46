package promotion

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/ledger"
	"github.com/smartcloudops/gate/policies"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// digest is one that looks like a real one and is recognised in a log.
func digest(c byte) string { return "sha256:" + strings.Repeat(string(c), 64) }

func commitOf(c byte) string { return strings.Repeat(string(c), 40) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually polls until ok, and fails when that takes unreasonably long.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// declared are a staging and a production as small as they can be.
func declared() *environments.Declarations {
	d := time.Millisecond
	env := func(name, listen string) *environments.Environment {
		return &environments.Environment{
			Name: name, Target: "local", Listen: listen, Instances: environments.Instances{Min: 2, Max: 10},
			TLS:    environments.TLS{Trust: "private", Names: []string{"localhost"}},
			Config: map[string]string{"LOG_LEVEL": "info"},
		}
	}
	staging, production := env("staging", "127.0.0.1:8443"), env("production", "127.0.0.1:9443")
	production.Promotion = environments.Promotion{
		From:   "staging",
		Canary: &environments.Canary{Weight: 20, MinSamples: 100, Limit: environments.Duration(60 * d)},
		Soak:   environments.Duration(20 * d),
	}
	// Whoever overrides must be heard of.
	production.Alerts = &environments.Alerts{SMTP: &environments.SMTP{Host: "localhost", Port: 25, TLS: "none", From: "gate@example.org", To: []string{"ops@example.org"}}}
	// Requests that the fake tells all at once are no less worth.
	production.Thresholds = map[string]map[string]any{"canary": {"block_seconds": 0, "group_seconds": 0}}
	return &environments.Declarations{
		App: &environments.App{
			Name:    "shop",
			Test:    environments.Command{Command: []string{"go", "test"}},
			Migrate: &environments.Migrate{Args: []string{"migrate"}},
			Load:    environments.Load{Users: 50, Endpoints: []environments.Endpoint{{Name: "list", Method: "GET", Path: "/list/${SEQ}", Headers: map[string]string{"X-Tenant": "gate-${RUN}"}, Expect: environments.Expect{Status: 200, Body: "${SEQ}"}, Safe: true}}},
			Update:  environments.Update{Rate: 50},
		},
		Environments: []*environments.Environment{staging, production},
		Trust:        &environments.Trust{},
	}
}

// releaseRecord is what commit c became.
func releaseRecord(c byte, change ...func(*ReleaseRecord)) *ReleaseRecord {
	r := &ReleaseRecord{
		Release: digest(c), Commit: commitOf(c), Subject: "commit " + string(c),
		SourceDigest: digest('5'), TreeDigest: digest('6'), Declarations: declared(),
	}
	for _, f := range change {
		f(r)
	}
	return r
}

// fakeChecks are the checks that the policies ask for, with keys as simple as
// they may be.
func fakeChecks() []checks.Check {
	release, environment := checks.OfRelease, checks.OfEnvironment
	source := func(in checks.Input) map[string]string { return map[string]string{"source": in.SourceDigest} }
	previous := func(in checks.Input) map[string]string { return map[string]string{"previous": in.Previous} }
	return []checks.Check{
		{Name: "tests", Criterion: "tests", Version: 1, Scope: release, Parameters: source, Pool: worstTests},
		{Name: "scan", Criterion: "scan", Version: 1, Scope: release, Parameters: source},
		{Name: "leaks", Criterion: "scan", Version: 1, Scope: release, Parameters: source},
		{Name: "config", Criterion: "config", Version: 1, Scope: environment},
		{Name: "load", Criterion: "load", Version: 1, Scope: release, InEnv: true, Exclusive: true},
		{Name: "update", Criterion: "update", Version: 1, Scope: release, InEnv: true, Exclusive: true, Parameters: previous},
		{Name: "migration", Criterion: "migration", Version: 1, Scope: release, InEnv: true, Parameters: previous},
		{Name: "backup", Criterion: "backup", Version: 1, Scope: environment, InEnv: true},
		{Name: "rollback", Criterion: "rollback", Version: 1, Scope: release, InEnv: true, Exclusive: true, Parameters: previous},
		{Name: "restart", Criterion: "restart", Version: 1, Scope: release, InEnv: true, Exclusive: true, Parameters: previous},
		{Name: "scaling", Criterion: "scaling", Version: 1, Scope: release, InEnv: true, Exclusive: true, Parameters: previous},
		{Name: "tls", Criterion: "tls", Version: 1, Scope: environment, InEnv: true},
		{Name: "network", Criterion: "network", Version: 1, Scope: environment, InEnv: true},
		{Name: "secrets", Criterion: "secrets", Version: 1, Scope: environment, InEnv: true},
		{Name: "runbooks", Criterion: "runbooks", Version: 1, Scope: release, Parameters: source},
		{Name: "alerting", Criterion: "alerting", Version: 1, Scope: environment, InEnv: true},
		{Name: "uptime", Criterion: "uptime", Version: 1, Scope: checks.OfService, Parameters: func(in checks.Input) map[string]string {
			return map[string]string{"environment": in.Environment.Name}
		}},
	}
}

func worstTests(payloads [][]byte) ([]byte, error) {
	var all checks.TestsPayload
	for _, b := range payloads {
		var p checks.TestsPayload
		if err := json.Unmarshal(b, &p); err != nil {
			return nil, err
		}
		all = checks.TestsPayload{Command: p.Command, ExitCode: max(all.ExitCode, p.ExitCode), Passed: p.Passed, Failed: max(all.Failed, p.Failed)}
	}
	return json.Marshal(all)
}

// payload is one of the check that passes.
func payload(check, release string, now time.Time) any {
	figure := func(name string) checks.EndpointFigure {
		return checks.EndpointFigure{Name: name, Requests: 3000, Succeeded: 3000, SuccessLower: 0.999, P50: 0.01, P95: 0.02, P99: 0.03, Max: 0.1, P95Upper: 0.03, P99Upper: 0.04}
	}
	phase := checks.LoadPhase{Seconds: 60, Rate: 50, Endpoints: []checks.EndpointFigure{figure("list")}, All: figure("all")}
	sound := checks.GeneratorFacts{CPUShare: 0.2}
	switch check {
	case "tests":
		return checks.TestsPayload{Command: []string{"go", "test"}, Passed: 40}
	case "scan":
		return checks.ScanPayload{DatabaseDate: now.Add(-time.Hour), Files: 30, Modules: 12}
	case "leaks":
		return checks.LeaksPayload{Files: 80}
	case "config":
		return checks.ConfigPayload{Environments: []string{"staging", "production"}, Values: 9}
	case "load":
		return checks.LoadPayload{
			Users: 50, ThinkSeconds: 1, LittleLaw: 1, Generator: sound, Closed: phase, Open: phase, ZeroThink: &phase, Restarts: new(0),
			Knee: &checks.LoadKnee{Lower: 400, Upper: 500, Limit: "cpu", Restarts: new(0), Steps: []checks.KneeStep{
				{Rate: 400, Requests: 2000, State: "sustained"}, {Rate: 500, Requests: 2500, State: "saturated"},
			}},
			Checkpoint: &checks.LoadCheckpoint{Forced: true, During: checks.LoadWindow{Requests: 60, P95: 0.02}},
		}
	case "update":
		return checks.UpdatePayload{From: digest('0'), To: release, Rate: 50, Seconds: 20, Requests: 1000, Replaced: 4, PerInstance: map[string]int{"1": 500, "2": 500}, Together: 2, QuietP95: 0.09, P95: 0.1, Generator: sound, Log: checks.LogCount{Sent: 1000, Logged: 1000}}
	case "migration":
		return checks.MigrationPayload{
			Release: release, Previous: digest('0'), Declared: true, Files: 3, Pending: 1, Statements: 2,
			Copy: checks.RehearsedCopy{Rows: 1000},
			Rehearsal: &checks.RehearsalFigures{
				Changes: 2, Samples: 40, Interval: 0.01, LockSeconds: 0.02, WaitSeconds: 0.03, Probes: 500,
				Users: &checks.ReleaseRun{Ready: true, Requests: 60},
			},
			PreviousOnNew: &checks.ReleaseRun{Ready: true, Requests: 96},
			ACID:          checks.ACIDFigures{Writers: 50, Kills: 30, Crashes: 2, Acknowledged: 4000, Found: 4000, Reads: 100},
			App:           &checks.ACIDFigures{Writers: 50, Kills: 2, Acknowledged: 900, Found: 900, Reads: 50},
		}
	case "backup":
		return checks.BackupPayload{
			BaseTime: now.Add(-time.Hour), BaseAgeSeconds: 3600, Streaming: true, Restored: true, Verified: true, Amcheck: true, Point: true,
			Tables: 3, Equal: 3, Rows: 1000, RPOSeconds: 0.1, RTOSeconds: 8, Answered: 2, Asked: 2,
			Requests: 400, QuietP95: 0.002, P95: 0.002,
			Remote: []checks.BackupRemote{}, Faults: []checks.BackupFault{},
		}
	case "rollback":
		return checks.RollbackPayload{DrillFigures: drilled(2), From: digest('0'), To: release, Reached: true, BackSeconds: 1, ForthSeconds: 0.01, ByPrevious: 300, ByRelease: 400, Schema: "its own"}
	case "restart":
		fault := func(part string, restarts int) checks.RestartFault {
			return checks.RestartFault{Part: part, What: part, How: "SIGKILL", By: "the daemon", Recovered: true, RecoverSeconds: 1, Requests: 300, InstancesBefore: 2, InstancesAfter: 2, Restarts: restarts}
		}
		return checks.RestartPayload{
			DrillFigures: drilled(2), Faults: []checks.RestartFault{fault("instance", 1), fault("daemon", 0), fault("database", 0)},
			Writes: checks.WriteCount{Declared: true, Sent: 100, Acknowledged: 100, Found: 100},
		}
	case "scaling":
		return checks.ScalingPayload{DrillFigures: drilled(4), Metric: "concurrency", Target: 8, Min: 2, Max: 10, Users: 48, Before: 2, Peak: 4, After: 2, NewAnswered: 2, Highest: 20, Known: true, UpSeconds: 2, DownSeconds: 10}
	case "tls":
		return checks.TLSPayload{Address: "127.0.0.1:8443", Name: "localhost", Version: "TLS 1.3", MinVersion: "TLS 1.2", ChainValid: true, NameValid: true, PrivateTrust: true, NotAfter: now.Add(60 * 24 * time.Hour), Issuer: "gate"}
	case "network":
		listener := checks.NetworkListener{Protocol: "tcp", Address: "127.0.0.1", Port: 18080, Role: "instance", Process: "instance 1"}
		return checks.NetworkPayload{Declared: "127.0.0.1:8443", Balancer: true, Looks: 2, Processes: 9, Instances: 2, Sockets: 9, Listeners: []checks.NetworkListener{listener}}
	case "secrets":
		p := checks.SecretsPayload{Secrets: []checks.SecretState{}, Known: 3}
		for _, kind := range []string{"source", "image", "environment", "arguments", "logs", "ledger"} {
			p.Places = append(p.Places, checks.SecretsPlace{Kind: kind, Items: 1, Bytes: 100})
		}
		return p
	case "runbooks":
		return checks.RunbooksPayload{
			Folder: "docs/runbooks", Alerts: []string{"unavailable"}, Missing: []string{}, Template: true,
			Runbooks: []checks.Runbook{{Alert: "unavailable", File: "docs/runbooks/unavailable.md", Owner: "ops", Severity: "page", Review: "2099-01-01", Steps: 3}},
			Incident: checks.Procedure{File: "docs/runbooks/incident-response.md", Present: true, Missing: []string{}},
		}
	case "alerting":
		return checks.AlertingPayload{
			Mode: "fault", Routes: []checks.AlertingRoute{{Route: "smtp", Receipt: 4, Recovery: 3, Proof: checks.ProofAccepted, Said: "250 queued"}},
			Receipt: 4, Recovery: 3, Lead: 5, Ramp: 8, Heartbeat: true, Beats: 4, Fired: []string{"unavailable"}, Restored: true,
		}
	case "uptime":
		to := now.UTC().Truncate(time.Second)
		return checks.UptimePayload{From: to.Add(-checks.UptimeWindow), To: to, WindowSeconds: 2592000, Seconds: 2592000, OK: 2592000}
	}
	panic("no payload for check " + check)
}

// drilled are figures of a drill that so many instances answered.
func drilled(instances int) checks.DrillFigures {
	f := checks.DrillFigures{Rate: 50, Seconds: 20, Requests: 1000, PerInstance: map[string]int{}, QuietP95: 0.09, P95: 0.1, Generator: checks.GeneratorFacts{CPUShare: 0.2}}
	for i := range instances {
		f.PerInstance[fmt.Sprint(i+1)] = 100
	}
	return f
}

var compiled = sync.OnceValues(func() (*policies.Policies, error) { return policies.New(context.Background(), nil) })

// scene is a ledger in a folder of its own and what works with it, as one
// process would have them.
type scene struct {
	t       testing.TB
	dir     string
	key     *ledger.Key
	ledger  *ledger.Ledger
	journal *Journal
	judge   *Judge
}

func newScene(t testing.TB) *scene {
	t.Helper()
	return sceneIn(t, filepath.Join(t.TempDir(), "state"), nil)
}

// sceneIn is another process on the same state.
func sceneIn(t testing.TB, dir string, trust *environments.Trust) *scene {
	t.Helper()
	key, _, err := ledger.LoadOrCreateKey(filepath.Join(dir, "key"))
	must(t, err)
	return sceneOf(t, dir, key, trust)
}

// sceneOf is another one who signs with a key of his own.
func sceneOf(t testing.TB, dir string, key *ledger.Key, trust *environments.Trust) *scene {
	t.Helper()
	l, err := ledger.Open(t.Context(), ledger.Options{Dir: dir, App: "shop", Signer: key, Trust: trust, Now: time.Now})
	must(t, err)
	t.Cleanup(func() { l.Close() })
	p, err := compiled()
	must(t, err)
	return &scene{
		t: t, dir: dir, key: key, ledger: l, journal: &Journal{Ledger: l, Now: time.Now},
		judge: &Judge{Policies: p, Checks: fakeChecks(), Trusted: l.TrustedFor, Now: time.Now},
	}
}

func (s *scene) view() *View {
	s.t.Helper()
	v, err := s.journal.View(context.Background())
	must(s.t, err)
	return v
}

// release records a release and all evidence that it needs for every stage.
func (s *scene) release(r *ReleaseRecord) string {
	s.t.Helper()
	d, err := s.journal.Release(s.t.Context(), r)
	must(s.t, err)
	s.prove(r)
	return d
}

// prove records evidence that passes, for each environment.
func (s *scene) prove(r *ReleaseRecord) {
	s.t.Helper()
	var all []ledger.Statement
	v := s.view()
	for _, e := range proof(s.t, s.judge, v, r) {
		if len(v.Evidence(e.Key)) > 0 {
			continue
		}
		st, err := statement(checks.EvidenceType, ledger.Digested(e.Subject.Name, e.Subject.Digest), e)
		must(s.t, err)
		all = append(all, st)
	}
	if len(all) > 0 {
		_, err := s.ledger.AppendAll(s.t.Context(), all)
		must(s.t, err)
	}
}

// measured is evidence that c found p.
func measured(c checks.Check, in checks.Input, p any) checks.Evidence {
	now := time.Now().UTC()
	return checks.Taken{Measurement: checks.Measurement{Status: checks.Completed, Payload: p}, Started: now, Finished: now}.Evidence(c, in)
}

// ask writes a request for the release that commit c became.
func (s *scene) ask(environment string, c byte, change ...func(*Request)) string {
	s.t.Helper()
	r := Request{Environment: environment, Release: digest(c), Commit: commitOf(c), By: "ann@example.org"}
	for _, f := range change {
		f(&r)
	}
	id, err := s.journal.Request(s.t.Context(), r)
	must(s.t, err)
	return id
}

func back(r *Request) { r.Rollback = true }

// engine carries out requests for the environment on the target.
func (s *scene) engine(environment string, t *fake) *Engine {
	return &Engine{
		Environment: environment, Journal: s.journal, Judge: s.judge, Target: t,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: time.Now, Tick: 5 * time.Millisecond,
	}
}

// run runs the engine until the returned function is called, which waits.
func (s *scene) run(e *Engine) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				s.t.Errorf("the engine ended with %v", err)
			}
		})
	}
	s.t.Cleanup(stop)
	return stop
}

// settled waits until the request has been consumed.
func (s *scene) settled(environment, id string) Transition {
	s.t.Helper()
	var t *Transition
	eventually(s.t, fmt.Sprintf("request %.12s in %s ends", id, environment), func() bool {
		t = s.view().Environment(environment).Consumed[id]
		return t != nil
	})
	return *t
}

// copyFolder makes a second world of a first one.
func copyFolder(t testing.TB, from, to string) {
	t.Helper()
	must(t, os.CopyFS(to, os.DirFS(from)))
	must(t, filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		return os.Chmod(filepath.Join(to, rel), info.Mode().Perm())
	}))
}
