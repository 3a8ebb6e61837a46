package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/github"
	"github.com/smartcloudops/gate/pipeline/github/workflows"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/release"
	"github.com/smartcloudops/gate/pipeline/report"
)

// githubSettings is what the doctor asks GitHub.
type githubSettings interface {
	Authority() github.Authority
	Branch(ctx context.Context, name string) (*github.Branch, error)
	Environment(ctx context.Context, name string) (*github.EnvironmentSettings, error)
	RepositorySecrets(ctx context.Context) (names []string, known github.Answer, err error)
	Actions(ctx context.Context) (*github.Actions, error)
	Installation(ctx context.Context) (*github.Installation, error)
	CodeOwners(ctx context.Context, ref string) (*github.CodeOwners, error)
}

// doctorOfGitHub prints what the repository's settings on GitHub lack: it ends
// with 3 when something is missing, with 4 when something is not shown.
func (g *Globals) doctorOfGitHub(ctx context.Context) error {
	all, err := g.doctorGitHub(ctx)
	if err != nil {
		return err
	}
	if g.Output == "json" {
		if err := report.JSON(g.Out, all); err != nil {
			return err
		}
	}
	code := promotion.CodePass
	for _, f := range all {
		word := "ok  "
		switch {
		case f.Unknown:
			word, code = "?   ", max(code, promotion.CodeInconclusive)
		case !f.OK:
			word = "MISS"
		}
		if g.Output == "text" {
			fmt.Fprintf(g.Out, "%s  %-34s %s\n", word, f.What, f.Got)
			if f.Next != "" {
				fmt.Fprintf(g.Out, "      %-34s next: %s\n", "", f.Next)
			}
		}
	}
	if slices.ContainsFunc(all, func(f finding) bool { return !f.OK && !f.Unknown }) {
		code = promotion.CodeFail
	}
	if code != promotion.CodePass {
		return &Exit{Code: code}
	}
	return nil
}

// doctorGitHub compares the clone's files and the repository's settings on GitHub
// with what docs/github.md asks for.
func (g *Globals) doctorGitHub(ctx context.Context) ([]finding, error) {
	clone, err := release.OpenClone(ctx, g.Dir, g.Environ)
	if err != nil {
		return nil, err
	}
	p, settings, err := githubParams(ctx, g, clone.Root, func(*workflows.Params) {})
	if err != nil {
		return nil, err
	}
	d, err := environments.Read(os.DirFS(clone.Root))
	if err != nil {
		return nil, err
	}
	a := &audit{p: p, declared: d.Environments}
	if err := a.files(clone.Root, settings); err != nil {
		return nil, err
	}
	at := *g
	at.Getenv = func(name string) string {
		if v := g.Getenv(name); v != "" || name != "GITHUB_REPOSITORY" {
			return v
		}
		return p.Repository
	}
	client, err := at.github()
	if err != nil {
		return nil, err
	}
	a.appID, _ = strconv.ParseInt(g.Getenv("GATE_APP_ID"), 10, 64)
	return a.all, a.settings(ctx, client)
}

// audit collects findings about one repository.
type audit struct {
	p        workflows.Params
	declared []*environments.Environment
	appID    int64 // of gate's App; 0: not known
	all      []finding
}

// say adds a finding. What GitHub does not show is never fine.
func (a *audit) say(what string, is github.Answer, got, next string) {
	f := finding{What: what, OK: is == github.Yes, Unknown: is != github.Yes && is != github.No, Got: got}
	switch {
	case f.Unknown:
		f.Got = "unknown: GitHub does not show it to this App or token"
		f.Next = "ask with an App or token that may read the repository's administration; it should be so: " + next
	case !f.OK:
		f.Next = next
	}
	a.all = append(a.all, f)
}

// files compares what the clone carries.
func (a *audit) files(root string, settings workflows.File) error {
	files, err := workflows.Render(a.p)
	if err != nil {
		return &Exit{promotion.CodeUsage, err}
	}
	files = append(files, settings)
	states, err := workflows.Compare(os.DirFS(root), files)
	if err != nil {
		return err
	}
	var drift []string
	for i, s := range states {
		if s != workflows.Same {
			drift = append(drift, fmt.Sprintf("%s %s", files[i].Path, s))
		}
	}
	got := fmt.Sprintf("%d files as gate github init writes them", len(files))
	if len(drift) > 0 {
		got = strings.Join(drift, ", ")
	}
	a.say("workflows and code owners", yes(len(drift) == 0), got, "gate github init, and commit what it writes to "+a.p.Protected)
	return nil
}

// settings asks for all settings. An error is one of asking: what GitHub refuses
// to show is a finding.
func (a *audit) settings(ctx context.Context, c githubSettings) error {
	for _, look := range []func(context.Context, githubSettings) error{
		a.app, a.protectedBranch, a.otherBranches, a.environments, a.repositorySecrets, a.actions, a.codeOwners,
	} {
		if err := look(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

func (a *audit) app(ctx context.Context, c githubSettings) error {
	if c.Authority() != github.App {
		a.all = append(a.all, finding{
			What: "gate's App", Unknown: true, Got: "unknown: asked with a token, not as the App",
			Next: "set GATE_APP_ID and GATE_APP_KEY and ask again; without an App, verdicts are advisory and can't be required",
		})
		return nil
	}
	i, err := c.Installation(ctx)
	if err != nil {
		return err
	}
	if i.AppID != 0 {
		a.appID = i.AppID
	}
	is := i.Installed
	got := fmt.Sprintf("%s (%d) is installed", i.Slug, i.AppID)
	switch {
	case is == github.No:
		got = "not installed on the repository"
	case i.Suspended != github.No:
		is, got = negated(i.Suspended), "suspended"
	}
	a.say("gate's App", is, got, "install the App on this repository alone (docs/github.md)")
	if i.Installed == github.Yes {
		missing := i.Missing()
		got := "all that gate needs"
		if len(missing) > 0 {
			got = "lacks " + strings.Join(missing, ", ")
		}
		a.say("permissions of gate's App", yes(len(missing) == 0), got, "grant them in the App's settings, and accept them where it is installed")
	}
	return nil
}

func (a *audit) repositorySecrets(ctx context.Context, c githubSettings) error {
	names, known, err := c.RepositorySecrets(ctx)
	if err != nil {
		return err
	}
	var ours []string
	for _, n := range names {
		if strings.HasPrefix(n, "GATE_") {
			ours = append(ours, n)
		}
	}
	is, got := known, "none of gate's"
	if len(ours) > 0 {
		is, got = github.No, strings.Join(ours, ", ")+": every workflow of every branch can read it"
	}
	a.say("secrets of the whole repository", is, got, "delete gate's there: they belong into environments that only "+a.p.Protected+" may use")
	return nil
}

func (a *audit) actions(ctx context.Context, c githubSettings) error {
	s, err := c.Actions(ctx)
	if err != nil {
		return err
	}
	a.say("Actions", s.Enabled, answered(s.Enabled, "enabled", "disabled"), "enable GitHub Actions for the repository")
	is := github.Unknown
	if s.DefaultToken != "unknown" {
		is = yes(s.DefaultToken == "read")
	}
	a.say("default token of workflows", is, s.DefaultToken, "settings, Actions, General: workflow permissions: read")
	a.say("approvals by workflows", negated(s.TokenApproves), answered(s.TokenApproves, "a workflow may approve pull requests", "none"), "settings, Actions, General: don't allow Actions to approve pull requests")
	return nil
}

func (a *audit) codeOwners(ctx context.Context, c githubSettings) error {
	o, err := c.CodeOwners(ctx, a.p.Protected)
	if err != nil {
		return err
	}
	is, got := o.Exists, answered(o.Exists, "GitHub understands every line", "there is no CODEOWNERS on "+a.p.Protected)
	if is == github.Yes && len(o.Errors) > 0 {
		is, got = github.No, strings.Join(o.Errors, ", ")
	}
	a.say("code owners", is, got, "each owner must exist and have write access; "+strings.Join(a.p.Owners, ", ")+" stand in "+workflows.SettingsFile)
	return nil
}

func yes(b bool) github.Answer {
	if b {
		return github.Yes
	}
	return github.No
}

func negated(a github.Answer) github.Answer {
	switch a {
	case github.Yes:
		return github.No
	case github.No:
		return github.Yes
	}
	return github.Unknown
}

func answered(a github.Answer, ifYes, ifNo string) string {
	if a == github.Yes {
		return ifYes
	}
	return ifNo
}
