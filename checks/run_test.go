package checks

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/smartcloudops/gate/environments"
)

// runInput is an input in which every field that a key may depend on is set.
func runInput() Input {
	environment := func(name, listen string) *environments.Environment {
		return &environments.Environment{
			Name: name, Target: "local", Listen: listen, Instances: environments.Instances{Min: 2, Max: 10},
			TLS: environments.TLS{Trust: "private", Names: []string{"localhost"}}, Config: map[string]string{"LOG_LEVEL": "info"},
			Thresholds: map[string]map[string]any{"load": {"p95_seconds": 2}},
		}
	}
	staging := environment("staging", "127.0.0.1:8443")
	return Input{
		Declarations: &environments.Declarations{
			App: &environments.App{
				Name:  "shop",
				Build: environments.Build{Package: "./cmd/shop", Toolchain: "go1.26.8"},
				Test:  environments.Command{Command: []string{"go", "test", "./..."}, Timeout: environments.Duration(time.Minute)},
				Load: environments.Load{
					Users: 50, Think: environments.Duration(time.Second), Warmup: environments.Duration(time.Second),
					Closed: environments.Duration(time.Minute), Open: environments.Duration(time.Minute),
					Endpoints: []environments.Endpoint{{Name: "list", Method: "GET", Path: "/list", Weight: 1, Expect: environments.Expect{Status: 200}}},
				},
				Update: environments.Update{Rate: 50},
			},
			Environments: []*environments.Environment{staging, environment("production", "127.0.0.1:9443")},
			Trust:        &environments.Trust{},
		},
		Environment: staging,
		Release:     "sha256:" + strings.Repeat("a", 64), Previous: "sha256:" + strings.Repeat("b", 64),
		SourceDigest: "sha256:" + strings.Repeat("c", 64), TreeDigest: "sha256:" + strings.Repeat("d", 64),
		Root: environments.Dir,
	}
}

// TestKeyChangesWithEachDeclaredInput: what a check measures is measured anew
// when what it depends on has changed, and only then.
func TestKeyChangesWithEachDeclaredInput(t *testing.T) {
	ofRelease, inEnv := []string{"tests", "scan", "leaks", "load", "update"}, []string{"load", "update", "tls", "network", "secrets"}
	either := func(names ...[]string) []string {
		all := slices.Concat(names...)
		slices.Sort(all)
		return slices.Compact(all)
	}
	config, tls := []string{"config"}, []string{"tls"}
	ofBoth := []string{"network", "secrets"} // about an environment with this release in it
	for name, c := range map[string]struct {
		change func(in *Input)
		want   []string // checks whose key must change; those of others must not
	}{
		"nothing":              {func(*Input) {}, nil},
		"release":              {func(in *Input) { in.Release = "sha256:" + strings.Repeat("e", 64) }, either(ofRelease, ofBoth)},
		"source":               {func(in *Input) { in.SourceDigest = "sha256:" + strings.Repeat("e", 64) }, []string{"tests", "scan"}},
		"tree":                 {func(in *Input) { in.TreeDigest = "sha256:" + strings.Repeat("e", 64) }, []string{"leaks", "secrets"}},
		"previous release":     {func(in *Input) { in.Previous = "sha256:" + strings.Repeat("e", 64) }, []string{"update"}},
		"toolchain":            {func(in *Input) { in.Declarations.App.Build.Toolchain = "go1.26.9" }, either([]string{"tests", "scan"}, config)},
		"package":              {func(in *Input) { in.Declarations.App.Build.Package = "./cmd/other" }, either([]string{"scan"}, config)},
		"test command":         {func(in *Input) { in.Declarations.App.Test.Command = []string{"go", "test", "-race"} }, either([]string{"tests"}, config)},
		"test timeout":         {func(in *Input) { in.Declarations.App.Test.Timeout++ }, either([]string{"tests"}, config)},
		"users":                {func(in *Input) { in.Declarations.App.Load.Users++ }, either([]string{"load"}, config)},
		"think time":           {func(in *Input) { in.Declarations.App.Load.Think++ }, either([]string{"load"}, config)},
		"length of the load":   {func(in *Input) { in.Declarations.App.Load.Closed++ }, either([]string{"load"}, config)},
		"endpoint":             {func(in *Input) { in.Declarations.App.Load.Endpoints[0].Path = "/other" }, either([]string{"load", "update"}, config)},
		"expected answer":      {func(in *Input) { in.Declarations.App.Load.Endpoints[0].Expect.Body = "[]" }, either([]string{"load", "update"}, config)},
		"rate of the update":   {func(in *Input) { in.Declarations.App.Update.Rate++ }, either([]string{"update"}, config)},
		"app's name":           {func(in *Input) { in.Declarations.App.Name = "store" }, either(ofRelease, config)},
		"how it is served":     {func(in *Input) { in.Declarations.App.Serve.Args = []string{"-v"} }, config},
		"configuration":        {func(in *Input) { in.Environment.Config["LOG_LEVEL"] = "debug" }, either(inEnv, config)},
		"secrets":              {func(in *Input) { in.Environment.Secrets = map[string]environments.Secret{"KEY": {Env: "KEY"}} }, either(inEnv, config)},
		"address":              {func(in *Input) { in.Environment.Listen = "127.0.0.1:1" }, either(inEnv, config)},
		"instances":            {func(in *Input) { in.Environment.Instances.Min++ }, either(inEnv, config)},
		"certificate's names":  {func(in *Input) { in.Environment.TLS.Names = []string{"shop.example.org"} }, either(inEnv, config, tls)},
		"database":             {func(in *Input) { in.Environment.Database.URLEnv = "URL" }, either(inEnv, config)},
		"thresholds":           {func(in *Input) { in.Environment.Thresholds["load"]["p95_seconds"] = 1 }, config},
		"promotion":            {func(in *Input) { in.Environment.Promotion.Soak++ }, config},
		"another environment":  {func(in *Input) { in.Environment = in.Declarations.Environments[1] }, either(inEnv, config)},
		"other's declarations": {func(in *Input) { in.Declarations.Environments[1].Config["LOG_LEVEL"] = "debug" }, config},
		"trust":                {func(in *Input) { in.Declarations.Trust.Remote = "https://example.org" }, config},
		"where it is measured": {func(in *Input) { in.Source, in.Tools, in.Address, in.Name = "/s", "/t", "127.0.0.1:1", "localhost" }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			before, after := runInput(), runInput()
			c.change(&after)
			var got []string
			for _, check := range All() {
				if !slices.Contains(either(ofRelease, inEnv, config), check.Name) {
					continue // a newer check has its own tests
				}
				if check.Key(before) != check.Key(after) {
					got = append(got, check.Name)
				}
			}
			slices.Sort(got)
			if d := cmp.Diff(either(c.want), got); len(c.want)+len(got) > 0 && d != "" {
				t.Error(d)
			}
		})
	}
}

// TestKeyChangesWithTheCheckItself: for every check that there is.
func TestKeyChangesWithTheCheckItself(t *testing.T) {
	in := runInput()
	seen := map[string]string{}
	for _, c := range All() {
		key := c.Key(in)
		if other := seen[key]; other != "" {
			t.Errorf("%s and %s have one key", c.Name, other)
		}
		seen[key] = c.Name
		if again := c.Key(runInput()); again != key {
			t.Errorf("%s: the same input has two keys", c.Name)
		}
		for what, change := range map[string]func(*Check){
			"version": func(c *Check) { c.Version++ },
			"name":    func(c *Check) { c.Name += "2" },
			"parameter": func(c *Check) {
				own := c.Parameters
				c.Parameters = func(in Input) map[string]string {
					p := map[string]string{"new": "1"}
					if own != nil {
						maps.Copy(p, own(in))
					}
					return p
				}
			},
		} {
			other := c
			change(&other)
			if other.Key(in) == key {
				t.Errorf("%s: another %s has the same key", c.Name, what)
			}
		}
		// How long a service was up does not depend on who adds it up.
		if c.Scope != OfService && c.KeyParameters(in)["machine"] != Machine() {
			t.Errorf("%s: the class of the machine is not in its key", c.Name)
		}
	}
}

func TestTake(t *testing.T) {
	gives := func(m Measurement, err error) func(context.Context, Input) (Measurement, error) {
		return func(context.Context, Input) (Measurement, error) { return m, err }
	}
	type found struct {
		Failed int     `json:"failed"`
		P95    float64 `json:"p95"`
	}
	var nobody *absent
	for name, c := range map[string]struct {
		measure func(context.Context, Input) (Measurement, error)
		status  Status
		reason  string
		payload string
	}{
		"completed":           {gives(Measurement{Status: Completed, Payload: found{Failed: 1}}, nil), Completed, "", `{"failed":1,"p95":0}`},
		"unavailable":         {gives(Measurement{Status: Unavailable, Reason: "no tool"}, nil), Unavailable, "no tool", ""},
		"invalid":             {gives(Measurement{Status: Invalid, Reason: "lag", Payload: found{}}, nil), Invalid, "lag", `{"failed":0,"p95":0}`},
		"not applicable":      {gives(Measurement{Status: NotApplicable, Reason: "bootstrap"}, nil), NotApplicable, "bootstrap", ""},
		"broken":              {gives(Measurement{Status: Completed, Payload: found{}}, errors.New("boom")), Errored, "boom", `{"failed":0,"p95":0}`},
		"no status":           {gives(Measurement{Payload: found{}}, nil), Errored, "the check gave no status", `{"failed":0,"p95":0}`},
		"unknown status":      {gives(Measurement{Status: "green", Payload: found{}}, nil), Errored, `unknown status "green"`, `{"failed":0,"p95":0}`},
		"no payload":          {gives(Measurement{Status: Completed}, nil), Errored, "completed without a payload", ""},
		"a nil of its type":   {gives(Measurement{Status: Completed, Payload: (*found)(nil)}, nil), Errored, "completed without a payload", ""},
		"not a number":        {gives(Measurement{Status: Completed, Payload: found{P95: math.NaN()}}, nil), Errored, "NaN", ""},
		"infinite":            {gives(Measurement{Status: Completed, Payload: found{P95: math.Inf(1)}}, nil), Errored, "Inf", ""},
		"no JSON":             {gives(Measurement{Status: Completed, Payload: func() {}}, nil), Errored, "payload: ", ""},
		"panic":               {func(context.Context, Input) (Measurement, error) { return Measurement{Status: nobody.status()}, nil }, Errored, "check c panicked: ", ""},
		"panic with a status": {func(context.Context, Input) (m Measurement, err error) { m.Status = Completed; panic("no") }, Errored, "check c panicked: no", ""},
		"no measure":          {nil, Errored, "check c panicked: ", ""},
	} {
		t.Run(name, func(t *testing.T) {
			check := Check{Name: "c", Version: 3, Scope: OfRelease, InEnv: true, Measure: c.measure}
			at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))
			now := func() time.Time { at = at.Add(time.Second); return at }
			taken, err := Take(t.Context(), check, runInput(), now)
			if err != nil {
				t.Fatal(err)
			}
			e := taken.Evidence(check, runInput())
			if e.Status != c.status || !strings.Contains(e.Reason, c.reason) || strings.Contains(e.Reason, "\n") {
				t.Errorf("%s: %q, want %s: %q", e.Status, e.Reason, c.status, c.reason)
			}
			if string(e.Payload) != c.payload {
				t.Errorf("payload %s, want %s", e.Payload, c.payload)
			}
			if e.Finished.Sub(e.Started) != time.Second || e.Started.Location() != time.UTC {
				t.Errorf("from %s to %s", e.Started, e.Finished)
			}
			if e.Check != "c" || e.Version != 3 || e.Environment != "staging" || e.Trust != TrustBase || e.Key != check.Key(runInput()) || e.Subject != check.Subject(runInput()) {
				t.Errorf("it is about %+v", e)
			}
			if _, err := json.Marshal(e); err != nil {
				t.Error(err)
			}
		})
	}
}

// absent breaks whoever asks it.
type absent struct{ s Status }

func (a *absent) status() Status { return a.s }

// TestTakeStopped: a measurement that was stopped from outside is none, whatever
// the check made of it.
func TestTakeStopped(t *testing.T) {
	gone := errors.New("the user has gone")
	for name, measure := range map[string]func(context.Context) (Measurement, error){
		"it says so":      func(ctx context.Context) (Measurement, error) { return Measurement{}, ctx.Err() },
		"it takes it ill": func(context.Context) (Measurement, error) { return Measurement{Status: Completed, Payload: 1}, nil },
		"it breaks":       func(context.Context) (Measurement, error) { panic("no") },
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		c := Check{Name: "c", Measure: func(ctx context.Context, _ Input) (Measurement, error) {
			cancel(gone)
			return measure(ctx)
		}}
		taken, err := Take(ctx, c, runInput(), time.Now)
		if !errors.Is(err, gone) || taken.Payload != nil || taken.Status != "" {
			t.Errorf("%s: %+v, %v", name, taken, err)
		}
	}
}

func TestEvidenceIsSubjectToScope(t *testing.T) {
	in := runInput()
	for scope, want := range map[Scope]Subject{
		OfRelease:     {OfRelease, "shop", in.Release},
		OfEnvironment: {OfEnvironment, "staging", in.Environment.ConfigDigest()},
		OfService:     {OfService, "shop", environments.Digest("shop")},
	} {
		c := Check{Name: "c", Scope: scope}
		if d := cmp.Diff(want, c.Subject(in)); d != "" {
			t.Error(d)
		}
		environment := ""
		if scope != OfRelease {
			environment = "staging"
		}
		if e := (Taken{}).Evidence(c, in); e.Environment != environment {
			t.Errorf("%s: measured in %q, want %q", scope, e.Environment, environment)
		}
	}
}
