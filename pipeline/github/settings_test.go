package github_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/smartcloudops/gate/pipeline/github"
	"github.com/smartcloudops/gate/pipeline/github/githubtest"
)

func TestBranchSettings(t *testing.T) {
	s := githubtest.New(t, githubtest.Options{PageSize: 1})
	s.AddRuleset(githubtest.Ruleset{Name: "main", Branches: []string{"main"}, Bypass: []map[string]any{{"actor_id": 1, "actor_type": "RepositoryRole", "bypass_mode": "always"}}, Rules: []map[string]any{
		githubtest.RequiredChecks(githubtest.AppID, "gate"), {"type": "deletion"}, {"type": "non_fast_forward"},
		{"type": "pull_request", "parameters": map[string]any{"required_approving_review_count": 1, "require_code_owner_review": true, "dismiss_stale_reviews_on_push": true, "require_last_push_approval": true, "required_review_thread_resolution": false}},
	}})
	b, err := app(t, s).Branch(t.Context(), "main")
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Required) != 1 || b.Required[0] != (github.RequiredCheck{Name: "gate", AppID: githubtest.AppID, Strict: true, From: "ruleset"}) {
		t.Errorf("required %+v", b.Required)
	}
	if b.Rulesets != github.Yes || b.Protection != github.No || b.PullRequests != github.Yes || b.Approvals != 1 || b.CodeOwners != github.Yes || b.NoForcePush != github.Yes || b.NoDeletion != github.Yes || b.MergeQueue != github.No || b.BypassedBy != 1 {
		t.Errorf("%+v", b)
	}
	// A branch that nothing keeps, with a slash in its name.
	if b, err = app(t, s).Branch(t.Context(), "gate/ledger"); err != nil || len(b.Required) != 0 || b.NoForcePush != github.No || b.NoDeletion != github.No {
		t.Errorf("%+v, %v", b, err)
	}
	s.SetProtection("old", map[string]any{
		"required_status_checks": map[string]any{"strict": false, "contexts": []string{"gate", "lint"}, "checks": []any{map[string]any{"context": "gate", "app_id": nil}}},
		"enforce_admins":         map[string]any{"url": "https://api.github.com/x", "enabled": true}, "allow_force_pushes": map[string]any{"enabled": false}, "allow_deletions": map[string]any{"enabled": true},
	})
	b, err = app(t, s).Branch(t.Context(), "old")
	if err != nil || len(b.Required) != 2 || b.Required[0].AppID != 0 || b.Required[1].Name != "lint" || b.Administrators != github.Yes || b.NoForcePush != github.Yes || b.NoDeletion != github.No {
		t.Errorf("%+v, %v", b, err)
	}
}

func TestWhatIsNotShownIsUnknown(t *testing.T) {
	s := githubtest.New(t, githubtest.Options{Private: true, Permissions: map[string]string{"metadata": "read"}})
	s.AddEnvironment(githubtest.Environment{Name: "production"})
	s.SetSecrets("GATE_APP_KEY")
	g := app(t, s)
	b, err := g.Branch(t.Context(), "main")
	if err != nil || b.Rulesets != github.Yes || b.Protection != github.Unknown || b.NoForcePush != github.Unknown || b.Administrators != github.Unknown {
		t.Errorf("%+v, %v", b, err)
	}
	if e, err := g.Environment(t.Context(), "production"); err != nil || e.Exists != github.Unknown || e.SecretsKnown != github.Unknown {
		t.Errorf("%+v, %v", e, err)
	}
	if names, known, err := g.RepositorySecrets(t.Context()); err != nil || known != github.Unknown || names != nil {
		t.Errorf("%v %v %v", names, known, err)
	}
	if a, err := g.Actions(t.Context()); err != nil || a.Enabled != github.Unknown || a.Allowed != "unknown" || a.DefaultToken != "unknown" || a.TokenApproves != github.Unknown || a.Pinned != github.Unknown {
		t.Errorf("%+v, %v", a, err)
	}
	if o, err := g.CodeOwners(t.Context(), ""); err != nil || o.Exists != github.Unknown {
		t.Errorf("%+v, %v", o, err)
	}
	i, err := g.Installation(t.Context())
	if err != nil || i.Installed != github.Yes || !slices.Contains(i.Missing(), "checks: write") {
		t.Errorf("%+v, %v", i, err)
	}
	// To a person, GitHub says not found of what it hides: that is no answer.
	s.SetProtection("main", map[string]any{"allow_force_pushes": map[string]any{"enabled": false}})
	person := client(t, s, func(o *github.Options) { o.Token = s.UserToken("somebody") })
	if b, err := person.Branch(t.Context(), "main"); err != nil || b.Protection != github.Unknown || b.NoForcePush != github.Unknown {
		t.Errorf("%+v, %v", b, err)
	}
	// A plain token can't know of an App.
	if i, err := workflow(t, s, nil).Installation(t.Context()); err != nil || i.Installed != github.Unknown {
		t.Errorf("%+v, %v", i, err)
	}
}

func TestOtherSettings(t *testing.T) {
	s := githubtest.New(t, githubtest.Options{PageSize: 1})
	s.AddEnvironment(githubtest.Environment{Name: "staging"})
	s.AddEnvironment(githubtest.Environment{Name: "production", Reviewers: []string{"a", "b"}, NoSelfReview: true, Wait: 5, Branches: "patterns", Patterns: []string{"main", "env/production"}, Secrets: []string{"GATE_APP_KEY", "GATE_KEY"}})
	s.SetSecrets("B", "A")
	s.SetWorkflowToken("write", true)
	s.SetAllowedActions("selected", true)
	s.SetCodeowners("Unknown owner")
	g := app(t, s)
	e, err := g.Environment(t.Context(), "production")
	if err != nil || e.Exists != github.Yes || e.Reviewers != 2 || e.NoSelfReview != github.Yes || e.WaitMinutes != 5 || e.Branches != "patterns" || !slices.Equal(e.Patterns, []string{"env/production", "main"}) || !slices.Equal(e.Secrets, []string{"GATE_APP_KEY", "GATE_KEY"}) || e.AdminsBypass != github.Yes {
		t.Errorf("%+v, %v", e, err)
	}
	if e, err = g.Environment(t.Context(), "staging"); err != nil || e.Branches != "all" || e.SecretsKnown != github.Yes || len(e.Secrets) != 0 || e.Reviewers != 0 {
		t.Errorf("%+v, %v", e, err)
	}
	if e, err = g.Environment(t.Context(), "moon"); err != nil || e.Exists != github.No {
		t.Errorf("%+v, %v", e, err)
	}
	if names, known, err := g.RepositorySecrets(t.Context()); err != nil || known != github.Yes || !slices.Equal(names, []string{"A", "B"}) {
		t.Errorf("%v %v %v", names, known, err)
	}
	if a, err := g.Actions(t.Context()); err != nil || *a != (github.Actions{Enabled: github.Yes, Allowed: "selected", Pinned: github.Yes, DefaultToken: "write", TokenApproves: github.Yes}) {
		t.Errorf("%+v, %v", a, err)
	}
	if o, err := g.CodeOwners(t.Context(), "main"); err != nil || o.Exists != github.Yes || len(o.Errors) != 1 || !strings.Contains(o.Errors[0], "CODEOWNERS:1: Unknown owner") {
		t.Errorf("%+v, %v", o, err)
	}
	if i, err := g.Installation(t.Context()); err != nil || i.Installed != github.Yes || i.Slug != githubtest.AppSlug || len(i.Missing()) != 0 || i.AllOfOwner != github.No || i.Suspended != github.No {
		t.Errorf("%+v, %v", i, err)
	}
}

func TestSARIF(t *testing.T) {
	s := githubtest.New(t, githubtest.Options{})
	sarif := []byte(`{"version":"2.1.0","runs":[]}`)
	s.FailNext("POST", "/sarifs", githubtest.LostReply, 1)
	out, err := app(t, s).UploadSARIF(t.Context(), commitA, "refs/pull/1/head", sarif)
	if err != nil || out.ID == "" || out.Why != "" {
		t.Fatalf("%+v, %v", out, err)
	}
	if all := s.View().Uploads; len(all) == 0 || string(all[0].SARIF) != string(sarif) || all[0].Ref != "refs/pull/1/head" {
		t.Errorf("%+v", all)
	}
	s.SetCodeScanning(false)
	if out, err := app(t, s).UploadSARIF(t.Context(), commitA, "refs/heads/main", sarif); err != nil || out.ID != "" || !strings.Contains(out.Why, "not available") {
		t.Errorf("%+v, %v", out, err)
	}
	for _, ref := range []string{"main", ""} {
		if _, err := app(t, s).UploadSARIF(t.Context(), commitA, ref, sarif); err == nil {
			t.Errorf("ref %q: no error", ref)
		}
	}
	if _, err := app(t, s).UploadSARIF(t.Context(), commitA, "refs/heads/main", []byte("{")); err == nil {
		t.Error("no JSON: no error")
	}
}
