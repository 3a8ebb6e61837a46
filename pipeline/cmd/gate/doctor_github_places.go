package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/smartcloudops/gate/pipeline/github"
	"github.com/smartcloudops/gate/pipeline/github/workflows"
)

// requiredCheck is the aggregate check run that gate publishes.
const requiredCheck = "gate"

// protectedBranch is what keeps the branch that judge and meter come from.
func (a *audit) protectedBranch(ctx context.Context, c githubSettings) error {
	name := a.p.Protected
	b, err := c.Branch(ctx, name)
	if err != nil {
		return err
	}
	is, got := a.requires(b)
	a.say(name+": required check", is, got, fmt.Sprintf("require the check %q of gate's App, and of no other source, in a ruleset for %s", requiredCheck, name))
	a.say(name+": pull requests", b.PullRequests, answered(b.PullRequests, "required", "anybody may push past review"), "require a pull request before merging")
	a.say(name+": review by code owners", b.CodeOwners, answered(b.CodeOwners, "required", "not required"), "require review from code owners")
	a.kept(b)
	return nil
}

// requires says whether the branch can be merged into by gate's own word alone.
func (a *audit) requires(b *github.Branch) (github.Answer, string) {
	var others []string
	for _, r := range b.Required {
		switch {
		case r.Name != requiredCheck:
		case r.AppID == 0:
			others = append(others, "any App or workflow")
		case a.appID == 0:
			return github.Unknown, ""
		case r.AppID != a.appID:
			others = append(others, fmt.Sprintf("App %d", r.AppID))
		default:
			return github.Yes, fmt.Sprintf("%q of App %d, by %s", requiredCheck, r.AppID, r.From)
		}
	}
	switch {
	case len(others) > 0:
		return github.No, fmt.Sprintf("%q may come from %s", requiredCheck, strings.Join(others, ", "))
	case b.Rulesets == github.Unknown || b.Protection == github.Unknown:
		return github.Unknown, ""
	}
	return github.No, fmt.Sprintf("%q is not required", requiredCheck)
}

// kept is what every branch needs whose history is evidence.
func (a *audit) kept(b *github.Branch) {
	a.say(b.Name+": force pushes", b.NoForcePush, answered(b.NoForcePush, "blocked", "allowed"), "block force pushes to "+b.Name+" in a ruleset")
	a.say(b.Name+": deletion", b.NoDeletion, answered(b.NoDeletion, "blocked", "allowed"), "restrict the deletion of "+b.Name+" in a ruleset")
	is := github.Unknown
	switch {
	case b.BypassedBy > 0:
		is = github.No
	case b.BypassedBy == 0 && b.Protection != github.Yes:
		is = github.Yes
	case b.BypassedBy == 0:
		is = b.Administrators
	}
	got := "nobody may go past the rules"
	switch {
	case b.BypassedBy > 0:
		got = fmt.Sprintf("%d may go past %s", b.BypassedBy, strings.Join(b.RequiredRulesBy, ", "))
	case is == github.No:
		got = "administrators may go past the branch's protection"
	}
	a.say(b.Name+": bypass", is, got, "empty the bypass list, and bind administrators, too")
}

// otherBranches are the ledger's, and those that ask for releases.
func (a *audit) otherBranches(ctx context.Context, c githubSettings) error {
	b, err := c.Branch(ctx, "gate/ledger")
	if err != nil {
		return err
	}
	a.kept(b)
	for _, e := range a.declared {
		b, err := c.Branch(ctx, "env/"+e.Name)
		if err != nil {
			return err
		}
		a.kept(b)
		if e.Promotion.From == "" {
			continue
		}
		s, err := c.Environment(ctx, e.Name)
		if err != nil {
			return err
		}
		is, got := b.PullRequests, "by pull request into env/"+e.Name
		switch {
		case is == github.Yes:
		case s.Exists == github.Yes && s.Reviewers > 0:
			is, got = github.Yes, fmt.Sprintf("by %d reviewers of the environment", s.Reviewers)
		case s.Exists == github.Unknown:
			is = github.Unknown
		case is == github.No:
			got = "nobody is asked before a release goes there"
		}
		a.say(e.Name+": approval", is, got, "add required reviewers to the environment "+e.Name+", or require pull requests into env/"+e.Name)
	}
	return nil
}

// guarded is an environment of GitHub's that holds secrets.
type guarded struct {
	name    string
	secrets []string
	back    bool // a way back, which waits for nobody
}

func (a *audit) environments(ctx context.Context, c githubSettings) error {
	all := []guarded{
		{name: workflows.EnvironmentApp, secrets: []string{"GATE_APP_KEY"}},
		{name: workflows.EnvironmentEvidence, secrets: []string{"GATE_APP_KEY", "GATE_SIGNING_KEY"}},
	}
	for _, e := range a.p.Environments {
		all = append(all,
			guarded{name: e, secrets: []string{"GATE_SIGNING_KEY"}},
			guarded{name: workflows.BackEnvironment(e), secrets: []string{"GATE_SIGNING_KEY"}, back: true})
	}
	for _, g := range all {
		s, err := c.Environment(ctx, g.name)
		if err != nil {
			return err
		}
		a.environment(g, s)
	}
	return nil
}

func (a *audit) environment(g guarded, s *github.EnvironmentSettings) {
	what := "environment " + g.name
	create := fmt.Sprintf("create the environment %s, for the branch %s alone, with %s", g.name, a.p.Protected, strings.Join(g.secrets, " and "))
	if s.Exists != github.Yes {
		a.say(what, s.Exists, "there is none", create)
		return
	}
	is, got := github.Unknown, ""
	switch s.Branches {
	case "patterns":
		is, got = yes(slices.Equal(s.Patterns, []string{a.p.Protected})), "for "+strings.Join(s.Patterns, ", ")
	case "all":
		is, got = github.No, "for every branch"
	case "protected":
		// Those of requests are protected, too, and whoever pushes there brings
		// workflows along.
		is, got = github.No, "for every protected branch"
	}
	a.say(what+": branches", is, got, "selected branches: "+a.p.Protected+", and no other branch or tag")

	is, got = s.SecretsKnown, strings.Join(g.secrets, ", ")
	var missing []string
	for _, n := range g.secrets {
		if !slices.Contains(s.Secrets, n) {
			missing = append(missing, n)
		}
	}
	if is == github.Yes && len(missing) > 0 {
		is, got = github.No, "lacks "+strings.Join(missing, ", ")
	}
	a.say(what+": secrets", is, got, "add them to the environment, not to the repository")
	if g.name == workflows.EnvironmentApp && slices.Contains(s.Secrets, "GATE_SIGNING_KEY") {
		a.say(what+": signing key", github.No, "holds GATE_SIGNING_KEY", "delete it there: the job that reads changes signs nothing")
	}
	if g.back {
		waits := s.Reviewers > 0 || s.WaitMinutes > 0
		a.say(what+": waits", yes(!waits), answered(yes(waits), "a way back would wait for somebody", "for nobody"), "take reviewers and wait timer away: what stops or undoes a release must not wait")
	}
}
