package plan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/report"
)

// clone has the files of commits, by name, with what is in them.
type clone map[string]map[string]string

func (c clone) Files(_ context.Context, commit string, patterns []string) (map[string]string, error) {
	files, ok := c[commit]
	if !ok {
		return nil, errors.New("no such commit: fetch it first")
	}
	return maps.Collect(func(yield func(string, string) bool) {
		for name, content := range files {
			if slices.ContainsFunc(patterns, func(p string) bool { return doublestar.MatchUnvalidated(p, name) }) && !yield(name, content) {
				return
			}
		}
	}), nil
}

// Contents are SQL where the test says so, and else nothing that matters.
func (c clone) Contents(_ context.Context, commit string, paths []string) (map[string][]byte, error) {
	found := map[string][]byte{}
	for _, p := range paths {
		text := c[commit][p]
		if !strings.Contains(text, " ") {
			text = "SELECT 1"
		}
		found[p] = []byte(text)
	}
	return found, nil
}

// TestMigrationsAreRead: what a new one would do to users is said of it.
func TestMigrationsAreRead(t *testing.T) {
	t.Parallel()
	commits := clone{"now": {"m/1.sql": "one"}, "next": {
		"m/1.sql": "one",
		"m/2.sql": "-- +goose Up\nCREATE TABLE b (c int);\n\nCREATE INDEX i ON a (c);\n-- +goose Down\nDROP TABLE b;",
		"m/3.sql": "CREATE TABEL x ()",
	}}
	e := production(t, commits, serving(record("now")), record("next"))
	var got []string
	for _, m := range e.Migrations {
		for _, f := range m.Findings {
			got = append(got, fmt.Sprintf("%s:%d %s", f.File, f.Line, f.Rule))
		}
	}
	if diff := cmp.Diff([]string{"m/2.sql:4 index-without-concurrently", "m/3.sql:1 unparsable"}, got); diff != "" {
		t.Error(diff)
	}
}

// record is what the commit became.
func record(commit string, change ...func(*environments.Declarations)) *promotion.ReleaseRecord {
	env := func(name string) *environments.Environment {
		return &environments.Environment{
			Name: name, Target: "local", Listen: "127.0.0.1:8443", Instances: environments.Instances{Min: 2, Max: 10},
			TLS:     environments.TLS{Trust: "private", Names: []string{"localhost"}},
			Config:  map[string]string{"LOG_LEVEL": "info"},
			Secrets: map[string]environments.Secret{"API_TOKEN": {Env: "TOKEN"}},
		}
	}
	d := &environments.Declarations{
		App: &environments.App{
			Name:    "shop",
			Serve:   environments.Serve{Ready: "/readyz", Env: map[string]string{"DATABASE_URL": "${DATABASE_URL}"}},
			Migrate: &environments.Migrate{Files: []string{"m/*.sql"}, Args: []string{"migrate"}},
		},
		Environments: []*environments.Environment{env("staging"), env("production")},
	}
	for _, f := range change {
		f(d)
	}
	return &promotion.ReleaseRecord{Release: "sha256:" + commit, Commit: commit, Declarations: d}
}

// serving is a view in which production serves the release.
func serving(now *promotion.ReleaseRecord) *promotion.View {
	v := promotion.NewView()
	if now != nil {
		v.Releases["record"] = now
		v.Environments["production"] = &promotion.EnvironmentView{Desired: "record"}
	}
	return v
}

// production is the plan for it.
func production(t *testing.T, c Clone, v *promotion.View, next *promotion.ReleaseRecord) report.PlanEnvironment {
	t.Helper()
	p := Make(t.Context(), c, v, next, "base")
	if p.App != "shop" || p.Commit != next.Commit || p.Base != "base" || p.Release != next.Release || len(p.Environments) != 2 {
		t.Fatalf("plan %+v", p)
	}
	if p.Environments[0].Name != "staging" || p.Environments[1].Name != "production" {
		t.Fatalf("environments in another order: %+v", p.Environments)
	}
	return p.Environments[1]
}

func TestMigrations(t *testing.T) {
	t.Parallel()
	old := map[string]string{"m/1.sql": "one", "m/2.sql": "two", "main.go": "x"}
	migrate := func(files ...string) func(*environments.Declarations) {
		return func(d *environments.Declarations) { d.App.Migrate.Files = files }
	}
	none := func(d *environments.Declarations) { d.App.Migrate = nil }
	for name, c := range map[string]struct {
		now, next []func(*environments.Declarations)
		files     map[string]string // of the next commit
		first     bool
		want      []string // "!" before a high finding
		problem   string
	}{
		"the same":                       {files: old},
		"added":                          {files: map[string]string{"m/1.sql": "one", "m/2.sql": "two", "m/4.sql": "x", "m/3.sql": "x", "other.sql": "x"}, want: []string{"m/3.sql", "m/4.sql"}},
		"changed":                        {files: map[string]string{"m/1.sql": "another", "m/2.sql": "two"}, want: []string{"!m/1.sql"}},
		"removed":                        {files: map[string]string{"m/2.sql": "two"}, want: []string{"!m/1.sql"}},
		"renamed":                        {files: map[string]string{"m/1.sql": "one", "m/02.sql": "two"}, want: []string{"m/02.sql", "!m/2.sql"}},
		"all of it at once":              {files: map[string]string{"m/1.sql": "another", "m/3.sql": "x"}, want: []string{"!m/1.sql", "!m/2.sql", "m/3.sql"}},
		"the first release":              {files: old, first: true, want: []string{"m/1.sql", "m/2.sql"}},
		"no files declared":              {next: []func(*environments.Declarations){migrate()}, files: old, problem: "migrate.files"},
		"none declared at first":         {next: []func(*environments.Declarations){migrate()}, files: old, first: true, problem: "migrate.files"},
		"no migrations at all":           {now: []func(*environments.Declarations){none}, next: []func(*environments.Declarations){none}, files: old},
		"declared for the first time":    {now: []func(*environments.Declarations){none}, files: map[string]string{"m/1.sql": "one", "m/2.sql": "two", "m/3.sql": "x"}, want: []string{"m/3.sql"}},
		"a pattern that looks elsewhere": {next: []func(*environments.Declarations){migrate("new/*.sql")}, files: map[string]string{"m/1.sql": "another", "new/3.sql": "x"}, want: []string{"!m/1.sql", "!m/2.sql", "new/3.sql"}},
		"moved with their pattern":       {next: []func(*environments.Declarations){migrate("new/*.sql")}, files: map[string]string{"new/1.sql": "one", "m/2.sql": "two"}, want: []string{"!m/1.sql", "new/1.sql"}},
		"no longer declared, and gone":   {next: []func(*environments.Declarations){none}, files: map[string]string{"m/1.sql": "one"}, want: []string{"!m/2.sql"}},
		"a commit that is not here":      {problem: "fetch it first"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			commits := clone{"now": old}
			if c.files != nil {
				commits["next"] = c.files
			}
			now := record("now", c.now...)
			if c.first {
				now = nil
			}
			e := production(t, commits, serving(now), record("next", c.next...))
			var got []string
			for _, m := range e.Migrations {
				mark := ""
				for _, f := range m.Findings {
					if mark = "!"; f.Severity != "high" || f.File != m.File || f.Message == "" || f.Fix == "" {
						t.Errorf("finding %+v", f)
					}
				}
				got = append(got, mark+m.File)
			}
			if diff := cmp.Diff(c.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("migrations: %s", diff)
			}
			if (c.problem == "") != (e.Problem == "") || !strings.Contains(e.Problem, c.problem) || strings.Contains(e.Problem, "\n") {
				t.Errorf("problem %q, want %q", e.Problem, c.problem)
			}
		})
	}
}

func TestWhatServesIsNotKnown(t *testing.T) {
	t.Parallel()
	files := clone{"next": {"m/1.sql": "one"}}
	v := serving(record("now"))
	if e := production(t, files, v, record("next")); !strings.Contains(e.Problem, "which serves now") || len(e.Migrations) != 0 {
		t.Errorf("its commit is not here: %+v", e)
	}
	delete(v.Releases, "record")
	if e := production(t, files, v, record("next")); e.Problem == "" || e.Unchanged() {
		t.Errorf("its record is not here, and the release is taken for the first: %+v", e)
	}
}

func TestChanges(t *testing.T) {
	t.Parallel()
	type change = report.PlanChange
	in := func(f func(*environments.Environment)) func(*environments.Declarations) {
		return func(d *environments.Declarations) { f(d.Environment("production")) }
	}
	for name, c := range map[string]struct {
		next func(*environments.Declarations)
		want []change
	}{
		"nothing":                {func(*environments.Declarations) {}, nil},
		"of another environment": {func(d *environments.Declarations) { d.Environment("staging").Config = nil }, nil},
		"where it was declared":  {in(func(e *environments.Environment) { e.File = "elsewhere.yaml" }), nil},
		"a configuration value":  {in(func(e *environments.Environment) { e.Config["LOG_LEVEL"] = "debug" }), []change{{Name: "config.LOG_LEVEL", Change: report.Changed, From: "info", To: "debug"}}},
		"one more, one less":     {in(func(e *environments.Environment) { e.Config = map[string]string{"NEW": ""} }), []change{{Name: "config.LOG_LEVEL", Change: report.Removed, From: "info"}, {Name: "config.NEW", Change: report.Added}}},
		"a number":               {in(func(e *environments.Environment) { e.Instances.Max = 3 }), []change{{Name: "instances.max", Change: report.Changed, From: "10", To: "3"}}},
		"a list":                 {in(func(e *environments.Environment) { e.TLS.Names = append(e.TLS.Names, "example.com") }), []change{{Name: "tls.names", Change: report.Changed, From: `["localhost"]`, To: `["localhost","example.com"]`}}},
		"a threshold": {in(func(e *environments.Environment) {
			e.Thresholds = map[string]map[string]any{"load": {"p95_seconds": 0.5}}
		}), []change{{Name: "thresholds.load.p95_seconds", Change: report.Added, To: "0.5"}}},
		"a canary":                       {in(func(e *environments.Environment) { e.Promotion.From = "staging" }), []change{{Name: "promotion.from", Change: report.Added, To: "staging"}}},
		"the app":                        {func(d *environments.Declarations) { d.App.Serve.Ready = "/ready" }, []change{{Name: "app.serve.ready", Change: report.Changed, From: "/readyz", To: "/ready"}}},
		"the app's environment":          {func(d *environments.Declarations) { d.App.Serve.Env["X"] = "1" }, []change{{Name: "app.serve.env.X", Change: report.Added, To: "1"}}},
		"a secret from another variable": {in(func(e *environments.Environment) { e.Secrets["API_TOKEN"] = environments.Secret{Env: "OTHER"} }), []change{{Name: "secrets.API_TOKEN", Change: report.Changed, Secret: true, From: "env:TOKEN", To: "env:OTHER"}}},
		"from a file":                    {in(func(e *environments.Environment) { e.Secrets["API_TOKEN"] = environments.Secret{File: "/run/token"} }), []change{{Name: "secrets.API_TOKEN", Change: report.Changed, Secret: true, From: "env:TOKEN", To: "file:/run/token"}}},
		"a new one":                      {in(func(e *environments.Environment) { e.Secrets["B"] = environments.Secret{Env: "B"} }), []change{{Name: "secrets.B", Change: report.Added, Secret: true, To: "env:B"}}},
		"one that became configuration": {
			in(func(e *environments.Environment) { e.Secrets, e.Config["API_TOKEN"] = nil, "x" }),
			[]change{{Name: "config.API_TOKEN", Change: report.Added, To: "x"}, {Name: "secrets.API_TOKEN", Change: report.Removed, Secret: true, From: "env:TOKEN"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := clone{"now": {}, "next": {}}
			e := production(t, files, serving(record("now")), record("next", c.next))
			if diff := cmp.Diff(c.want, e.Changes, cmpopts.EquateEmpty()); diff != "" || e.Problem != "" {
				t.Errorf("changes: %s %s", diff, e.Problem)
			}
		})
	}
}

// TestSecretsAreNotShown: a value where a reference belongs is never shown.
func TestSecretsAreNotShown(t *testing.T) {
	t.Parallel()
	const value = "hunter2 sk_live/+=="
	for name, s := range map[string]environments.Secret{"in env": {Env: value}, "in file": {File: value}, "in both": {Env: value, File: value}} {
		next := record("next", func(d *environments.Declarations) { d.Environment("production").Secrets["API_TOKEN"] = s })
		for _, v := range []*promotion.View{serving(record("now")), serving(nil)} {
			b, err := json.Marshal(Make(t.Context(), clone{"now": {}, "next": {}}, v, next, ""))
			if err != nil || strings.Contains(string(b), "hunter2") {
				t.Errorf("%s: %s, %v", name, b, err)
			}
		}
	}
}

func TestEnvironments(t *testing.T) {
	t.Parallel()
	files := clone{"now": {"m/1.sql": "one"}, "next": {"m/1.sql": "one"}}
	now, next := record("now"), record("next")
	if e := production(t, files, serving(nil), next); e.Now != "" || e.NowCommit != "" || e.Next != next.Release || e.NextCommit != "next" || len(e.Changes) != 0 || e.Unchanged() || e.Held != "" {
		t.Errorf("the first release: %+v", e)
	}
	if e := production(t, files, serving(now), now); !e.Unchanged() || e.Now != now.Release {
		t.Errorf("what serves: %+v", e)
	}
	if e := production(t, files, serving(now), next); e.Unchanged() || e.Now != now.Release || e.NowCommit != "now" || e.Next != next.Release {
		t.Errorf("another release of the same: %+v", e)
	}
	v := serving(now)
	v.Environments["production"].Hold = &promotion.Hold{Reason: "the year's end", By: "bob"}
	if e := production(t, files, v, next); !strings.Contains(e.Held, "the year's end") {
		t.Errorf("held: %+v", e)
	}
	fresh := record("now", func(d *environments.Declarations) { d.Environments = d.Environments[:1] })
	if e := production(t, files, serving(fresh), next); e.Problem != "" || len(e.Changes) != 0 || e.Now != fresh.Release {
		t.Errorf("an environment that is declared only now: %+v", e)
	}
	p := Make(t.Context(), files, serving(nil), record("next", func(d *environments.Declarations) { d.Environments = nil }), "")
	if b, err := json.Marshal(p); err != nil || !strings.Contains(string(b), `"environments":[]`) {
		t.Errorf("no environment: %s, %v", b, err)
	}
}
