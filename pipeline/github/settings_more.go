package github

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	gh "github.com/google/go-github/v60/github"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// EnvironmentSettings are what GitHub keeps for an environment.
type EnvironmentSettings struct {
	Name         string
	Exists       Answer
	Reviewers    int // how many must be asked, people and teams; 0: none
	NoSelfReview Answer
	WaitMinutes  int
	AdminsBypass Answer
	// Branches says which may deploy: all, protected or the patterns of Patterns.
	Branches string
	Patterns []string
	Secrets  []string // names alone; nil with SecretsKnown not Yes: unknown
	// SecretsKnown says whether the names of secrets could be read.
	SecretsKnown Answer
}

type wireEnvironment struct {
	Name         string `json:"name"`
	AdminsBypass *bool  `json:"can_admins_bypass"`
	Rules        []struct {
		Type         string `json:"type"`
		Wait         int    `json:"wait_timer"`
		NoSelfReview *bool  `json:"prevent_self_review"`
		Reviewers    []struct {
			Type string `json:"type"`
		} `json:"reviewers"`
	} `json:"protection_rules"`
	Policy *struct {
		Protected bool `json:"protected_branches"`
		Custom    bool `json:"custom_branch_policies"`
	} `json:"deployment_branch_policy"`
}

// Environment reads an environment's settings. One that is not there, or not
// shown, is no error.
func (c *Client) Environment(ctx context.Context, name string) (*EnvironmentSettings, error) {
	out := &EnvironmentSettings{Name: name}
	w, _, err := get[wireEnvironment](ctx, c, nil, "environments", name)
	err = c.fail("read environment "+Line(name, 100), err)
	switch {
	case errors.Is(err, ErrForbidden):
		return out, nil
	case errors.Is(err, ErrNotFound):
		// Not there or not shown: the list tells which.
		out.Exists, err = c.listed(ctx, name)
		return out, err
	case err != nil:
		return nil, err
	}
	out.Exists, out.Branches, out.NoSelfReview = Yes, "all", No
	if w.AdminsBypass != nil {
		out.AdminsBypass = answer(*w.AdminsBypass)
	}
	for _, r := range w.Rules {
		switch r.Type {
		case "required_reviewers":
			out.Reviewers += len(r.Reviewers)
			out.NoSelfReview = answer(r.NoSelfReview != nil && *r.NoSelfReview)
		case "wait_timer":
			out.WaitMinutes = max(out.WaitMinutes, r.Wait)
		}
	}
	if w.Policy != nil && w.Policy.Protected {
		out.Branches = "protected"
	}
	if w.Policy != nil && w.Policy.Custom {
		out.Branches = "patterns"
		out.Patterns, err = c.branchPatterns(ctx, name)
		if hidden(err) {
			out.Branches, err = "unknown", nil
		}
		if err != nil {
			return nil, err
		}
	}
	names, err := pages(c, "list the secrets of environment "+Line(name, 100), func(o gh.ListOptions) ([]named, *gh.Response, error) {
		list, resp, err := get[struct {
			Secrets []named `json:"secrets"`
		}](ctx, c, page(o), "environments", name, "secrets")
		return list.Secrets, resp, err
	})
	switch {
	case err == nil:
		out.SecretsKnown = Yes
		out.Secrets = sortedNames(names)
	case !hidden(err):
		return nil, err
	}
	return out, nil
}

type named struct {
	Name string `json:"name"`
}

func sortedNames(all []named) []string {
	out := []string{}
	for _, n := range all {
		out = append(out, n.Name)
	}
	slices.Sort(out)
	return out
}

func (c *Client) listed(ctx context.Context, name string) (Answer, error) {
	all, err := pages(c, "list the environments", func(o gh.ListOptions) ([]named, *gh.Response, error) {
		list, resp, err := get[struct {
			Environments []named `json:"environments"`
		}](ctx, c, page(o), "environments")
		return list.Environments, resp, err
	})
	switch {
	case hidden(err):
		return Unknown, nil
	case err != nil:
		return Unknown, err
	}
	return answer(slices.Contains(all, named{name})), nil
}

func (c *Client) branchPatterns(ctx context.Context, name string) ([]string, error) {
	all, err := pages(c, "list the branches that may deploy to "+Line(name, 100), func(o gh.ListOptions) ([]named, *gh.Response, error) {
		list, resp, err := get[struct {
			Policies []named `json:"branch_policies"`
		}](ctx, c, page(o), "environments", name, "deployment-branch-policies")
		return list.Policies, resp, err
	})
	return sortedNames(all), err
}

// RepositorySecrets are the names of the secrets that every workflow of the
// repository can read.
func (c *Client) RepositorySecrets(ctx context.Context) (names []string, known Answer, err error) {
	all, err := pages(c, "list the repository's secrets", func(o gh.ListOptions) ([]named, *gh.Response, error) {
		list, resp, err := get[struct {
			Secrets []named `json:"secrets"`
		}](ctx, c, page(o), "actions", "secrets")
		return list.Secrets, resp, err
	})
	switch {
	case hidden(err):
		return nil, Unknown, nil
	case err != nil:
		return nil, Unknown, err
	}
	return sortedNames(all), Yes, nil
}

// Actions are the repository's settings of GitHub Actions.
type Actions struct {
	Enabled       Answer
	Allowed       string // all, local_only, selected or unknown
	Pinned        Answer // actions must be named by a full commit
	DefaultToken  string // read, write or unknown: what a workflow's token may do unless it says
	TokenApproves Answer // a workflow's token may approve pull requests
}

// Actions reads them; what is not shown is unknown.
func (c *Client) Actions(ctx context.Context) (*Actions, error) {
	out := &Actions{Allowed: "unknown", DefaultToken: "unknown"}
	p, _, err := get[struct {
		Enabled *bool  `json:"enabled"`
		Allowed string `json:"allowed_actions"`
		Pinned  *bool  `json:"sha_pinning_required"`
	}](ctx, c, nil, "actions", "permissions")
	switch err = c.fail("read the permissions of Actions", err); {
	case err == nil:
		if p.Enabled != nil {
			out.Enabled = answer(*p.Enabled)
		}
		if p.Pinned != nil {
			out.Pinned = answer(*p.Pinned)
		}
		if slices.Contains([]string{"all", "local_only", "selected"}, p.Allowed) {
			out.Allowed = p.Allowed
		}
	case !hidden(err):
		return nil, err
	}
	w, _, err := get[struct {
		Default string `json:"default_workflow_permissions"`
		Approve *bool  `json:"can_approve_pull_request_reviews"`
	}](ctx, c, nil, "actions", "permissions", "workflow")
	switch err = c.fail("read the permissions of workflows", err); {
	case err == nil:
		if slices.Contains([]string{"read", "write"}, w.Default) {
			out.DefaultToken = w.Default
		}
		if w.Approve != nil {
			out.TokenApproves = answer(*w.Approve)
		}
	case !hidden(err):
		return nil, err
	}
	return out, nil
}

// Installation is the App as it is installed.
type Installation struct {
	Installed   Answer
	AppID       int64
	Slug        string
	Suspended   Answer
	Permissions map[string]string // name → read, write or admin
	AllOfOwner  Answer            // installed on all repositories of the owner, not on chosen ones
}

// wanted are the permissions that the client's calls need.
var wanted = map[string]string{
	"actions": "write", "administration": "read", "checks": "write", "contents": "read", "deployments": "write",
	"environments": "read", "issues": "write", "metadata": "read", "pull_requests": "write", "secrets": "read", "security_events": "write",
}

// Missing are the permissions that gate's App should have and has not, sorted,
// each as "name: level".
func (i *Installation) Missing() []string {
	var out []string
	for name, level := range wanted {
		switch have := i.Permissions[name]; {
		case have == level, have == "admin", level == "read" && have == "write":
		default:
			out = append(out, name+": "+level)
		}
	}
	slices.Sort(out)
	return out
}

// Installation asks as the App whether it is installed on the repository. A
// client with a plain token can't know.
func (c *Client) Installation(ctx context.Context) (*Installation, error) {
	if c.Authority() != App {
		return &Installation{}, nil
	}
	w, _, err := getWith[struct {
		AppID       int64             `json:"app_id"`
		Slug        string            `json:"app_slug"`
		Suspended   *string           `json:"suspended_at"`
		Permissions map[string]string `json:"permissions"`
		Selection   string            `json:"repository_selection"`
	}](ctx, c.tokens.app, c, nil, "installation")
	err = c.fail("find the App's installation", err)
	switch {
	case errors.Is(err, ErrNotFound):
		return &Installation{Installed: No, AppID: c.tokens.appID}, nil
	case err != nil:
		return nil, err
	case w.AppID != c.tokens.appID:
		return nil, fmt.Errorf("GitHub: find the App's installation: it is another App's: %w", ErrUnavailable)
	}
	return &Installation{
		Installed: Yes, AppID: w.AppID, Slug: w.Slug, Suspended: answer(w.Suspended != nil), Permissions: w.Permissions, AllOfOwner: answer(w.Selection == "all"),
	}, nil
}

// CodeOwners is what GitHub says of the CODEOWNERS file on a ref.
type CodeOwners struct {
	Exists Answer
	Errors []string // one a line of the file that GitHub does not understand or obey
}

// CodeOwners reads it; ref empty: of the default branch.
func (c *Client) CodeOwners(ctx context.Context, ref string) (*CodeOwners, error) {
	opts := &gh.GetCodeownersErrorsOptions{Ref: ref}
	if ref == "" {
		opts = nil
	}
	list, _, err := c.api.Repositories.GetCodeownersErrors(ctx, c.owner, c.repo, opts)
	err = c.fail("read the errors of CODEOWNERS", err)
	switch {
	case errors.Is(err, ErrNotFound):
		return &CodeOwners{Exists: No}, nil
	case errors.Is(err, ErrForbidden):
		return &CodeOwners{}, nil
	case err != nil:
		return nil, err
	}
	out := &CodeOwners{Exists: Yes}
	for _, e := range list.Errors {
		out.Errors = append(out.Errors, Line(fmt.Sprintf("%s:%d: %s", e.Path, e.Line, e.Kind), 300))
	}
	return out, nil
}
