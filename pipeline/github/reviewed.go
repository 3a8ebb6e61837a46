package github

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Reviewer is somebody whom GitHub says to have approved a run for a protected
// environment.
type Reviewer struct {
	Login   string
	Comment string
}

// Names says whether the run is about the release that the commit became: it runs
// that commit of the repository itself, or was started by hand with the release
// or the commit as a word of its title (run-name in the workflow's file). Of what
// it was given otherwise GitHub says nothing.
func (r *Run) Names(repository, release, commit string) bool {
	if r.Head.SHA == commit && strings.EqualFold(r.Head.Repository, repository) {
		return true
	}
	return r.Event == "workflow_dispatch" && commit != "" && (markedBy(r.Title, commit) || release != "" && markedBy(r.Title, strings.TrimPrefix(release, "sha256:")))
}

// Reviewers are those who have approved the run for the environment, each once.
// Whether they may, is for the caller to say; a bot's approval is none.
func (c *Client) Reviewers(ctx context.Context, run int64, environment string) ([]Reviewer, error) {
	type review struct {
		State        string `json:"state"`
		Comment      string `json:"comment"`
		Environments []struct {
			Name string `json:"name"`
		} `json:"environments"`
		User struct {
			Login string `json:"login"`
			Type  string `json:"type"`
		} `json:"user"`
	}
	all, _, err := get[[]review](ctx, c, nil, "actions", "runs", fmt.Sprint(run), "approvals")
	if err != nil {
		return nil, c.fail(fmt.Sprintf("list who has approved run %d", run), err)
	}
	// GitHub lists the newest first. Who has rejected it has not approved it,
	// whatever came before.
	var out []Reviewer
	said := map[string]bool{}
	for _, r := range all {
		about := slices.ContainsFunc(r.Environments, func(e struct {
			Name string `json:"name"`
		}) bool {
			return e.Name == environment
		})
		login := strings.ToLower(r.User.Login)
		if !about || login == "" || said[login] {
			continue
		}
		said[login] = true
		if r.State == "approved" && r.User.Type == "User" {
			out = append(out, Reviewer{Login: r.User.Login, Comment: r.Comment})
		}
	}
	return out, nil
}
