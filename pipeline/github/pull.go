package github

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	gh "github.com/google/go-github/v60/github"
)

// PullRequest is what gate looks at of one.
type PullRequest struct {
	Number  int
	State   string // open or closed
	Draft   bool
	Title   string // untrusted
	Author  string // login; empty when the account is gone
	Head    Head
	Base    Head
	Fork    bool // the head is in another repository, or that one is gone
	Files   int  // changed ones, as GitHub counts them; 0 from a list
	URL     string
	Updated time.Time
}

// Head names a branch's tip.
type Head struct {
	SHA        string
	Branch     string
	Repository string // owner/name; empty when it is gone
}

func pullRequestOf(p *gh.PullRequest) PullRequest {
	out := PullRequest{
		Number: p.GetNumber(), State: p.GetState(), Draft: p.GetDraft(), Title: p.GetTitle(), Author: p.GetUser().GetLogin(),
		Head:  Head{SHA: p.GetHead().GetSHA(), Branch: p.GetHead().GetRef(), Repository: p.GetHead().GetRepo().GetFullName()},
		Base:  Head{SHA: p.GetBase().GetSHA(), Branch: p.GetBase().GetRef(), Repository: p.GetBase().GetRepo().GetFullName()},
		Files: p.GetChangedFiles(), URL: p.GetHTMLURL(), Updated: p.GetUpdatedAt().Time,
	}
	out.Fork = out.Head.Repository == "" || out.Head.Repository != out.Base.Repository
	return out
}

// PullRequest reads one by its number.
func (c *Client) PullRequest(ctx context.Context, number int) (*PullRequest, error) {
	p, _, err := c.api.PullRequests.Get(ctx, c.owner, c.repo, number)
	if err != nil {
		return nil, c.fail(fmt.Sprintf("read pull request %d", number), err)
	}
	out := pullRequestOf(p)
	if out.Number != number || out.Head.SHA == "" || out.Base.SHA == "" {
		return nil, fmt.Errorf("GitHub: read pull request %d: the answer is incomplete: %w", number, ErrUnavailable)
	}
	return &out, nil
}

// PullRequestsOf are the open ones whose head is exactly that commit, by number;
// none is no error. Branch and Repository of the head, if known, help to find
// one from a fork, of which a workflow run does not tell the number.
func (c *Client) PullRequestsOf(ctx context.Context, head Head) ([]PullRequest, error) {
	if !commitHash.MatchString(head.SHA) {
		return nil, errors.New("find the pull request of a commit: it is no full hash")
	}
	var found []PullRequest
	take := func(all []*gh.PullRequest) {
		for _, p := range all {
			one := pullRequestOf(p)
			fits := one.State == "open" && one.Head.SHA == head.SHA && (head.Repository == "" || one.Head.Repository == head.Repository) && (head.Branch == "" || one.Head.Branch == head.Branch)
			if fits && !slices.ContainsFunc(found, func(o PullRequest) bool { return o.Number == one.Number }) {
				found = append(found, one)
			}
		}
	}
	const what = "find the pull request of a commit"
	// GitHub's own way from a commit to its pull requests leaves forks out, and
	// filters by a fork's owner need its branch: the last way is to look at all.
	all, err := pages(c, what, func(o gh.ListOptions) ([]*gh.PullRequest, *gh.Response, error) {
		return c.api.PullRequests.ListPullRequestsWithCommit(ctx, c.owner, c.repo, head.SHA, &o)
	})
	switch {
	case errors.Is(err, ErrRefused), errors.Is(err, ErrNotFound): // a commit of a fork is not known here
	case err != nil:
		return nil, err
	}
	take(all)
	if len(found) == 0 {
		all, err := pages(c, what, func(o gh.ListOptions) ([]*gh.PullRequest, *gh.Response, error) {
			return c.api.PullRequests.List(ctx, c.owner, c.repo, &gh.PullRequestListOptions{State: "open", ListOptions: o})
		})
		if err != nil {
			return nil, err
		}
		take(all)
	}
	slices.SortFunc(found, func(a, b PullRequest) int { return cmp.Compare(a.Number, b.Number) })
	return found, nil
}

// File is one that a pull request changes.
type File struct {
	Path     string
	Previous string // where it was, if it was moved
	Status   string // added, removed, modified, renamed, copied, changed, unchanged
}

// maxFiles is how many GitHub lists.
const maxFiles = 3000

// ChangedFiles lists all files that the pull request changes, while its head is
// that commit. When GitHub does not list all, or the head moved, it is an error,
// never a shorter list.
func (c *Client) ChangedFiles(ctx context.Context, number int, head string) ([]File, error) {
	before, err := c.PullRequest(ctx, number)
	if err != nil {
		return nil, err
	}
	what := fmt.Sprintf("list the files of pull request %d", number)
	all, err := pages(c, what, func(o gh.ListOptions) ([]*gh.CommitFile, *gh.Response, error) {
		return c.api.PullRequests.ListFiles(ctx, c.owner, c.repo, number, &o)
	})
	if err != nil {
		return nil, err
	}
	after, err := c.PullRequest(ctx, number)
	if err != nil {
		return nil, err
	}
	if before.Head.SHA != head || after.Head.SHA != head || before.Base.SHA != after.Base.SHA {
		return nil, fmt.Errorf("GitHub: %s: %w", what, ErrMoved)
	}
	var files []File
	seen := map[string]bool{}
	for _, f := range all {
		if f.GetFilename() == "" {
			return nil, fmt.Errorf("GitHub: %s: one has no name: %w", what, ErrTruncated)
		}
		if !seen[f.GetFilename()] {
			seen[f.GetFilename()] = true
			files = append(files, File{Path: f.GetFilename(), Previous: f.GetPreviousFilename(), Status: f.GetStatus()})
		}
	}
	if after.Files >= maxFiles || len(files) != after.Files {
		return nil, fmt.Errorf("GitHub: %s: %d of %d are listed (at most %d can be): %w", what, len(files), after.Files, maxFiles, ErrTruncated)
	}
	return files, nil
}

// Approval is a review that stands.
type Approval struct {
	Login  string
	At     time.Time
	Review int64
}

// Approvals are those of exactly that head commit: of each reviewer the last
// review counts that approves, requests changes or was dismissed. The author's
// own does not. Whether somebody may approve is for the caller to say.
func (c *Client) Approvals(ctx context.Context, number int, head string) ([]Approval, error) {
	pr, err := c.PullRequest(ctx, number)
	if err != nil {
		return nil, err
	}
	all, err := pages(c, fmt.Sprintf("list the reviews of pull request %d", number), func(o gh.ListOptions) ([]*gh.PullRequestReview, *gh.Response, error) {
		return c.api.PullRequests.ListReviews(ctx, c.owner, c.repo, number, &o)
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(all, func(a, b *gh.PullRequestReview) int {
		return cmp.Or(a.GetSubmittedAt().Compare(b.GetSubmittedAt().Time), cmp.Compare(a.GetID(), b.GetID()))
	})
	last := map[string]*gh.PullRequestReview{}
	for _, r := range all {
		switch r.GetState() {
		case "COMMENTED", "PENDING":
		default: // a state that there is not yet undoes, too
			if login := r.GetUser().GetLogin(); login != "" {
				last[login] = r
			}
		}
	}
	var out []Approval
	for login, r := range last {
		if r.GetState() == "APPROVED" && r.GetCommitID() == head && login != pr.Author && r.GetUser().GetType() != "Bot" {
			out = append(out, Approval{Login: login, At: r.GetSubmittedAt().Time, Review: r.GetID()})
		}
	}
	slices.SortFunc(out, func(a, b Approval) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Login, b.Login)) })
	return out, nil
}

// Permission is what somebody may do in the repository.
type Permission string

// Permissions, and None for somebody who is not of it.
const (
	Admin    Permission = "admin"
	Maintain Permission = "maintain"
	Write    Permission = "write"
	Triage   Permission = "triage"
	Read     Permission = "read"
	None     Permission = "none"
)

// CanWrite says whether p includes pushing.
func (p Permission) CanWrite() bool { return p == Admin || p == Maintain || p == Write }

// Permission asks what the user may do. A role of an organization's own making
// counts as the permission that it is based on.
func (c *Client) Permission(ctx context.Context, login string) (Permission, error) {
	if !loginName.MatchString(login) {
		return None, fmt.Errorf("ask for a user's permission: %q is no login", Line(login, 60))
	}
	a, _, err := get[struct {
		Permission string `json:"permission"`
		Role       string `json:"role_name"`
	}](ctx, c, nil, "collaborators", login, "permission")
	err = c.fail("ask for the permission of "+login, err)
	if errors.Is(err, ErrNotFound) {
		return None, nil
	}
	if err != nil {
		return None, err
	}
	base := Permission(a.Permission)
	switch role := Permission(a.Role); {
	case role == Maintain && base == Write, role == Triage && base == Read:
		return role, nil
	case base == Admin, base == Write, base == Read, base == None:
		return base, nil
	}
	return None, fmt.Errorf("GitHub: ask for the permission of %s: %q is none that gate knows: %w", login, Line(a.Permission, 30), ErrUnavailable)
}
