package github

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"

	gh "github.com/google/go-github/v60/github"
)

// Answer to a question about settings. The zero value is Unknown: what this App
// or token may not see is never taken for fine.
type Answer int

// Answers.
const (
	Unknown Answer = iota
	Yes
	No
)

func (a Answer) String() string {
	switch a {
	case Yes:
		return "yes"
	case No:
		return "no"
	}
	return "unknown"
}

func answer(b bool) Answer {
	if b {
		return Yes
	}
	return No
}

// hidden says that err is a refusal to show something, not a failure to ask.
func hidden(err error) bool { return errors.Is(err, ErrForbidden) || errors.Is(err, ErrNotFound) }

// RequiredCheck is a check run without which nothing is merged into a branch.
type RequiredCheck struct {
	Name   string
	AppID  int64  // whose; 0: anybody's
	Strict bool   // the branch must be up to date, too
	From   string // ruleset or protection
}

// Branch is what keeps a branch.
type Branch struct {
	Name string

	// Rulesets and Protection say whether each of the two could be read; an
	// unknown one leaves what it could add unknown.
	Rulesets   Answer // Yes: read
	Protection Answer // Yes: read; No: the branch has none

	Required        []RequiredCheck
	PullRequests    Answer // only by pull request
	Approvals       int    // how many are asked for at least
	CodeOwners      Answer // one must be an owner's
	DismissStale    Answer // a push undoes approvals
	NoForcePush     Answer
	NoDeletion      Answer
	Administrators  Answer // protection binds them too; rulesets name who may bypass
	MergeQueue      Answer
	BypassedBy      int // who may go past the rulesets; -1: unknown
	RequiredRulesBy []string
}

type wireRule struct {
	Type       string `json:"type"`
	Ruleset    int64  `json:"ruleset_id"`
	Source     string `json:"ruleset_source"`
	Parameters struct {
		Strict bool `json:"strict_required_status_checks_policy"`
		Checks []struct {
			Context     string `json:"context"`
			Integration int64  `json:"integration_id"`
		} `json:"required_status_checks"`
		Approvals    int  `json:"required_approving_review_count"`
		CodeOwners   bool `json:"require_code_owner_review"`
		DismissStale bool `json:"dismiss_stale_reviews_on_push"`
	} `json:"parameters"`
}

type wireProtection struct {
	Checks *struct {
		Strict bool     `json:"strict"`
		Names  []string `json:"contexts"`
		Checks []struct {
			Context string `json:"context"`
			AppID   *int64 `json:"app_id"`
		} `json:"checks"`
	} `json:"required_status_checks"`
	Reviews *struct {
		Count        int  `json:"required_approving_review_count"`
		CodeOwners   bool `json:"require_code_owner_reviews"`
		DismissStale bool `json:"dismiss_stale_reviews"`
	} `json:"required_pull_request_reviews"`
	Admins    enabled `json:"enforce_admins"`
	ForcePush enabled `json:"allow_force_pushes"`
	Deletions enabled `json:"allow_deletions"`
}

type enabled struct {
	Enabled bool `json:"enabled"`
}

// Branch reads the rulesets that are active for the branch, and its protection.
func (c *Client) Branch(ctx context.Context, name string) (*Branch, error) {
	b := &Branch{Name: name, BypassedBy: -1}
	rules, err := pages(c, "read the rules of "+Line(name, 100), func(o gh.ListOptions) ([]wireRule, *gh.Response, error) {
		return get[[]wireRule](ctx, c, page(o), "rules", "branches", name)
	})
	switch {
	case err == nil:
		b.Rulesets = Yes
	case !hidden(err):
		return nil, err
	}
	p, _, err := get[wireProtection](ctx, c, nil, "branches", name, "protection")
	err = c.fail("read the protection of "+Line(name, 100), err)
	var refusal *APIError
	switch {
	case err == nil:
		b.Protection = Yes
	case errors.As(err, &refusal) && refusal.Status == 404 && strings.Contains(refusal.Said, "Branch not protected"):
		b.Protection = No
	case !hidden(err):
		return nil, err
	}
	b.rules(rules)
	b.protection(p)
	if b.Rulesets == Yes {
		if err := c.bypasses(ctx, b, rules); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(b.Required, func(x, y RequiredCheck) int {
		return cmp.Or(strings.Compare(x.Name, y.Name), strings.Compare(x.From, y.From), cmp.Compare(x.AppID, y.AppID))
	})
	return b, nil
}

// rules and protection raise an answer to Yes where one of the two says so; No
// is what both, read, agree on.
func (b *Branch) rules(rules []wireRule) {
	for _, r := range rules {
		switch r.Type {
		case "required_status_checks":
			for _, k := range r.Parameters.Checks {
				b.Required = append(b.Required, RequiredCheck{Name: k.Context, AppID: max(k.Integration, 0), Strict: r.Parameters.Strict, From: "ruleset"})
			}
		case "pull_request":
			b.PullRequests = Yes
			b.Approvals = max(b.Approvals, r.Parameters.Approvals)
			b.CodeOwners = cmp.Or(answerIf(r.Parameters.CodeOwners), b.CodeOwners)
			b.DismissStale = cmp.Or(answerIf(r.Parameters.DismissStale), b.DismissStale)
		case "non_fast_forward":
			b.NoForcePush = Yes
		case "deletion":
			b.NoDeletion = Yes
		case "merge_queue":
			b.MergeQueue = Yes
		}
	}
}

func (b *Branch) protection(p wireProtection) {
	if b.Protection == Yes {
		if p.Checks != nil {
			named := map[string]bool{}
			for _, k := range p.Checks.Checks {
				r := RequiredCheck{Name: k.Context, Strict: p.Checks.Strict, From: "protection"}
				if k.AppID != nil {
					r.AppID = max(*k.AppID, 0)
				}
				named[r.Name] = true
				b.Required = append(b.Required, r)
			}
			for _, name := range p.Checks.Names {
				if !named[name] {
					b.Required = append(b.Required, RequiredCheck{Name: name, Strict: p.Checks.Strict, From: "protection"})
				}
			}
		}
		if p.Reviews != nil {
			b.PullRequests = Yes
			b.Approvals = max(b.Approvals, p.Reviews.Count)
			b.CodeOwners = cmp.Or(answerIf(p.Reviews.CodeOwners), b.CodeOwners)
			b.DismissStale = cmp.Or(answerIf(p.Reviews.DismissStale), b.DismissStale)
		}
		b.NoForcePush = cmp.Or(answerIf(!p.ForcePush.Enabled), b.NoForcePush)
		b.NoDeletion = cmp.Or(answerIf(!p.Deletions.Enabled), b.NoDeletion)
		b.Administrators = answer(p.Admins.Enabled)
	}
	if b.Rulesets == Yes && b.Protection != Unknown {
		for _, a := range []*Answer{&b.PullRequests, &b.CodeOwners, &b.DismissStale, &b.NoForcePush, &b.NoDeletion, &b.MergeQueue} {
			*a = cmp.Or(*a, No)
		}
		if b.Protection == No {
			b.Administrators = No
		}
	}
}

// answerIf is Yes, or nothing said.
func answerIf(b bool) Answer {
	if b {
		return Yes
	}
	return Unknown
}

// bypasses counts who may go past the rulesets that gave the rules.
func (c *Client) bypasses(ctx context.Context, b *Branch, rules []wireRule) error {
	seen := map[int64]bool{}
	count := 0
	for _, r := range rules {
		if r.Ruleset == 0 || seen[r.Ruleset] {
			continue
		}
		seen[r.Ruleset] = true
		set, _, err := get[struct {
			Name   string `json:"name"`
			Actors *[]struct {
				Type string `json:"actor_type"`
			} `json:"bypass_actors"`
		}](ctx, c, url.Values{"includes_parents": {"true"}}, "rulesets", itoa(r.Ruleset))
		err = c.fail("read a ruleset", err)
		switch {
		case err != nil && !hidden(err):
			return err
		case err != nil || set.Actors == nil: // shown only to who may edit it
			return nil
		}
		b.RequiredRulesBy = append(b.RequiredRulesBy, set.Name)
		count += len(*set.Actors)
	}
	slices.Sort(b.RequiredRulesBy)
	b.BypassedBy = count
	return nil
}
