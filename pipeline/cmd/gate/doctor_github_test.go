package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/github"
	"github.com/smartcloudops/gate/pipeline/github/workflows"
)

// settingsFake is a repository whose settings are as docs/github.md asks for.
type settingsFake struct {
	authority    github.Authority
	branches     map[string]*github.Branch
	environments map[string]*github.EnvironmentSettings
	secrets      []string
	secretsKnown github.Answer
	actions      github.Actions
	installation github.Installation
	owners       github.CodeOwners
}

func (f *settingsFake) Authority() github.Authority { return f.authority }
func (f *settingsFake) Branch(_ context.Context, name string) (*github.Branch, error) {
	if b := f.branches[name]; b != nil {
		return b, nil
	}
	return nil, fmt.Errorf("branch %s: %w", name, github.ErrUnavailable)
}
func (f *settingsFake) Environment(_ context.Context, name string) (*github.EnvironmentSettings, error) {
	return f.environments[name], nil
}
func (f *settingsFake) RepositorySecrets(context.Context) ([]string, github.Answer, error) {
	return f.secrets, f.secretsKnown, nil
}
func (f *settingsFake) Actions(context.Context) (*github.Actions, error) { return &f.actions, nil }
func (f *settingsFake) Installation(context.Context) (*github.Installation, error) {
	return &f.installation, nil
}
func (f *settingsFake) CodeOwners(_ context.Context, ref string) (*github.CodeOwners, error) {
	if ref != "main" {
		return nil, github.ErrNotFound
	}
	return &f.owners, nil
}

const gateApp = 4711

func goodSettings() *settingsFake {
	f := &settingsFake{
		authority: github.App, secretsKnown: github.Yes, secrets: []string{"OTHER"},
		branches:     map[string]*github.Branch{},
		environments: map[string]*github.EnvironmentSettings{},
		actions:      github.Actions{Enabled: github.Yes, Allowed: "all", DefaultToken: "read", TokenApproves: github.No},
		installation: github.Installation{Installed: github.Yes, AppID: gateApp, Slug: "acme-gate", Suspended: github.No, Permissions: map[string]string{
			"actions": "write", "administration": "read", "checks": "write", "contents": "read", "deployments": "write", "environments": "read",
			"issues": "write", "metadata": "read", "pull_requests": "write", "secrets": "read", "security_events": "write",
		}},
		owners: github.CodeOwners{Exists: github.Yes},
	}
	for _, name := range []string{"main", "gate/ledger", "env/staging", "env/production"} {
		f.branches[name] = &github.Branch{
			Name: name, Rulesets: github.Yes, Protection: github.No, PullRequests: github.No, CodeOwners: github.No,
			NoForcePush: github.Yes, NoDeletion: github.Yes, Administrators: github.No, RequiredRulesBy: []string{"rules"},
		}
	}
	m := f.branches["main"]
	m.PullRequests, m.CodeOwners = github.Yes, github.Yes
	m.Required = []github.RequiredCheck{{Name: "gate", AppID: gateApp, From: "ruleset"}, {Name: "ci", From: "ruleset"}}
	for name, secrets := range map[string][]string{
		"gate-app": {"GATE_APP_KEY"}, "evidence": {"GATE_APP_KEY", "GATE_SIGNING_KEY"},
		"staging": {"GATE_SIGNING_KEY"}, "staging-back": {"GATE_SIGNING_KEY"},
		"production": {"GATE_SIGNING_KEY"}, "production-back": {"GATE_SIGNING_KEY"},
	} {
		f.environments[name] = &github.EnvironmentSettings{
			Name: name, Exists: github.Yes, Branches: "patterns", Patterns: []string{"main"}, Secrets: secrets, SecretsKnown: github.Yes,
		}
	}
	f.environments["production"].Reviewers = 2
	return f
}

func audited(t *testing.T, f *settingsFake) []finding {
	t.Helper()
	production := &environments.Environment{Name: "production"}
	production.Promotion.From = "staging"
	a := &audit{
		p:        workflows.Params{Environments: []string{"staging", "production"}, Owners: []string{"@acme/ops"}}.WithDefaults(),
		declared: []*environments.Environment{{Name: "staging"}, production},
	}
	if err := a.settings(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	return a.all
}

func TestSettingsAsTheyShouldBeAreFine(t *testing.T) {
	all := audited(t, goodSettings())
	for _, f := range all {
		if !f.OK || f.Unknown || f.Next != "" || f.Got == "" {
			t.Errorf("%+v", f)
		}
	}
	if len(all) < 35 {
		t.Errorf("only %d findings", len(all))
	}
}

// TestEachSettingThatIsMissingIsFound spoils one at a time.
func TestEachSettingThatIsMissingIsFound(t *testing.T) {
	main := func(f *settingsFake) *github.Branch { return f.branches["main"] }
	for name, c := range map[string]struct {
		spoil   func(*settingsFake)
		what    string
		unknown bool
	}{
		"no check required":         {func(f *settingsFake) { main(f).Required = nil }, "main: required check", false},
		"another check required":    {func(f *settingsFake) { main(f).Required[0].Name = "gate / load" }, "main: required check", false},
		"anybody's check":           {func(f *settingsFake) { main(f).Required[0].AppID = 0 }, "main: required check", false},
		"another App's check":       {func(f *settingsFake) { main(f).Required[0].AppID = 15368 }, "main: required check", false},
		"rules not shown":           {func(f *settingsFake) { b := main(f); b.Required, b.Rulesets = nil, github.Unknown }, "main: required check", true},
		"no pull request":           {func(f *settingsFake) { main(f).PullRequests = github.No }, "main: pull requests", false},
		"no code owners":            {func(f *settingsFake) { main(f).CodeOwners = github.No }, "main: review by code owners", false},
		"code owners not shown":     {func(f *settingsFake) { main(f).CodeOwners = github.Unknown }, "main: review by code owners", true},
		"force push to main":        {func(f *settingsFake) { main(f).NoForcePush = github.No }, "main: force pushes", false},
		"deletion of main":          {func(f *settingsFake) { main(f).NoDeletion = github.No }, "main: deletion", false},
		"somebody may bypass":       {func(f *settingsFake) { main(f).BypassedBy = 1 }, "main: bypass", false},
		"who may bypass is hidden":  {func(f *settingsFake) { main(f).BypassedBy = -1 }, "main: bypass", true},
		"administrators may":        {func(f *settingsFake) { main(f).Protection = github.Yes }, "main: bypass", false},
		"force push to the ledger":  {func(f *settingsFake) { f.branches["gate/ledger"].NoForcePush = github.No }, "gate/ledger: force pushes", false},
		"deletion of the ledger":    {func(f *settingsFake) { f.branches["gate/ledger"].NoDeletion = github.Unknown }, "gate/ledger: deletion", true},
		"force push to requests":    {func(f *settingsFake) { f.branches["env/production"].NoForcePush = github.No }, "env/production: force pushes", false},
		"nobody approves":           {func(f *settingsFake) { f.environments["production"].Reviewers = 0 }, "production: approval", false},
		"approval not shown":        {func(f *settingsFake) { f.environments["production"] = &github.EnvironmentSettings{} }, "production: approval", true},
		"no environment":            {func(f *settingsFake) { f.environments["evidence"] = &github.EnvironmentSettings{Exists: github.No} }, "environment evidence", false},
		"environment not shown":     {func(f *settingsFake) { f.environments["evidence"] = &github.EnvironmentSettings{} }, "environment evidence", true},
		"environment for all":       {func(f *settingsFake) { f.environments["evidence"].Branches = "all" }, "environment evidence: branches", false},
		"environment for protected": {func(f *settingsFake) { f.environments["evidence"].Branches = "protected" }, "environment evidence: branches", false},
		"environment for more":      {func(f *settingsFake) { f.environments["evidence"].Patterns = []string{"main", "*"} }, "environment evidence: branches", false},
		"environment for none":      {func(f *settingsFake) { f.environments["evidence"].Patterns = nil }, "environment evidence: branches", false},
		"branches not shown":        {func(f *settingsFake) { f.environments["evidence"].Branches = "unknown" }, "environment evidence: branches", true},
		"no signing key":            {func(f *settingsFake) { f.environments["evidence"].Secrets = []string{"GATE_APP_KEY"} }, "environment evidence: secrets", false},
		"secrets not shown": {func(f *settingsFake) {
			e := f.environments["production-back"]
			e.Secrets, e.SecretsKnown = nil, github.Unknown
		}, "environment production-back: secrets", true},
		"a signing key too much": {func(f *settingsFake) {
			f.environments["gate-app"].Secrets = []string{"GATE_APP_KEY", "GATE_SIGNING_KEY"}
		}, "environment gate-app: signing key", false},
		"a way back that waits":      {func(f *settingsFake) { f.environments["production-back"].Reviewers = 1 }, "environment production-back: waits", false},
		"a way back with a timer":    {func(f *settingsFake) { f.environments["staging-back"].WaitMinutes = 5 }, "environment staging-back: waits", false},
		"a key for every workflow":   {func(f *settingsFake) { f.secrets = []string{"GATE_SIGNING_KEY"} }, "secrets of the whole repository", false},
		"repository secrets hidden":  {func(f *settingsFake) { f.secrets, f.secretsKnown = nil, github.Unknown }, "secrets of the whole repository", true},
		"Actions disabled":           {func(f *settingsFake) { f.actions.Enabled = github.No }, "Actions", false},
		"tokens that write":          {func(f *settingsFake) { f.actions.DefaultToken = "write" }, "default token of workflows", false},
		"tokens not shown":           {func(f *settingsFake) { f.actions.DefaultToken = "unknown" }, "default token of workflows", true},
		"workflows that approve":     {func(f *settingsFake) { f.actions.TokenApproves = github.Yes }, "approvals by workflows", false},
		"approvals not shown":        {func(f *settingsFake) { f.actions.TokenApproves = github.Unknown }, "approvals by workflows", true},
		"App not installed":          {func(f *settingsFake) { f.installation = github.Installation{Installed: github.No, AppID: gateApp} }, "gate's App", false},
		"App suspended":              {func(f *settingsFake) { f.installation.Suspended = github.Yes }, "gate's App", false},
		"App that may not":           {func(f *settingsFake) { f.installation.Permissions["checks"] = "read" }, "permissions of gate's App", false},
		"no App":                     {func(f *settingsFake) { f.authority = github.Advisory }, "gate's App", true},
		"no App to compare with":     {func(f *settingsFake) { f.authority = github.Advisory }, "main: required check", true},
		"no CODEOWNERS":              {func(f *settingsFake) { f.owners.Exists = github.No }, "code owners", false},
		"owners that GitHub ignores": {func(f *settingsFake) { f.owners.Errors = []string{"CODEOWNERS:3: Unknown owner"} }, "code owners", false},
	} {
		f := goodSettings()
		c.spoil(f)
		all := audited(t, f)
		i := slices.IndexFunc(all, func(f finding) bool { return f.What == c.what })
		if i < 0 {
			t.Errorf("%s: no finding about %q", name, c.what)
			continue
		}
		if got := all[i]; got.OK || got.Unknown != c.unknown || got.Next == "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestNothingShownIsNothingFine: with no rights at all, no setting is fine.
func TestNothingShownIsNothingFine(t *testing.T) {
	f := &settingsFake{authority: github.Advisory, branches: map[string]*github.Branch{}, environments: map[string]*github.EnvironmentSettings{},
		actions: github.Actions{Allowed: "unknown", DefaultToken: "unknown"}}
	for name := range goodSettings().branches {
		f.branches[name] = &github.Branch{Name: name, BypassedBy: -1}
	}
	for name := range goodSettings().environments {
		f.environments[name] = &github.EnvironmentSettings{Name: name}
	}
	for _, one := range audited(t, f) {
		if one.OK || !one.Unknown {
			t.Errorf("%+v", one)
		}
	}
}

func TestAFailureToAskIsAnError(t *testing.T) {
	f := goodSettings()
	delete(f.branches, "gate/ledger")
	a := &audit{p: workflows.Params{}.WithDefaults()}
	if err := a.settings(t.Context(), f); err == nil {
		t.Error("GitHub did not answer, and nobody was told")
	}
}

// TestDoctorNeedsToBeAskedWithSomething: the files are looked at first, the
// credentials missed in one line.
func TestDoctorNeedsToBeAskedWithSomething(t *testing.T) {
	dir := foreignClone(t)
	if code, out := initialised(t, dir, GithubInitCmd{Owners: []string{"@acme/ops"}, Version: "v1.2.3"}); code != 0 {
		t.Fatal(out)
	}
	var stdout, stderr bytes.Buffer
	g := &Globals{Dir: dir, Output: "text", Streams: Streams{Out: &stdout, Err: &stderr, Getenv: func(string) string { return "" }, Environ: gitEnv()}}
	code := exitCode(DoctorCmd{GitHub: true}.Run(t.Context(), g), &stderr)
	if code != 2 || !strings.Contains(stderr.String(), "GITHUB_TOKEN") || strings.Contains(stderr.String(), "GITHUB_REPOSITORY") {
		t.Errorf("%d: %s", code, stderr.String())
	}
}
