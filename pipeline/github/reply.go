package github

import (
	"context"
	"errors"
	"fmt"
	"slices"

	gh "github.com/google/go-github/v60/github"
)

// Reaction is what gate shows on a comment that it acts on.
type Reaction string

// Reactions.
const (
	Seen     Reaction = "eyes"
	Accepted Reaction = "+1"
	Rejected Reaction = "-1"
	Confused Reaction = "confused"
)

// React puts a reaction on a comment of an issue or pull request. Twice is once.
func (c *Client) React(ctx context.Context, comment int64, r Reaction) error {
	if !slices.Contains([]Reaction{Seen, Accepted, Rejected, Confused}, r) {
		return fmt.Errorf("react to a comment: %q is no reaction", Line(string(r), 30))
	}
	_, _, err := c.api.Reactions.CreateIssueCommentReaction(repeatable(ctx), c.owner, c.repo, comment, string(r))
	return c.fail("react to a comment", err)
}

// Answer replies once to a comment, on the same issue or pull request. body is
// Markdown; untrusted text in it has been through Inline or Block.
func (c *Client) Answer(ctx context.Context, number int, comment int64, body string) error {
	if number <= 0 || comment <= 0 || body == "" {
		return errors.New("answer a comment: its number, the pull request's, or the text is missing")
	}
	marker := fmt.Sprintf("<!-- gate:answer %d -->\n", comment)
	body = marker + cutMarkdown(markup(body), maxComment-len(marker))
	err := c.ensure(ctx, func(ctx context.Context) (bool, error) {
		own, err := c.ownComments(ctx, number, marker)
		return len(own) > 0, err
	}, func(ctx context.Context) error {
		_, _, err := c.api.Issues.CreateComment(ctx, c.owner, c.repo, number, &gh.IssueComment{Body: &body})
		return c.fail("answer a comment", err)
	})
	if err != nil {
		return err
	}
	own, err := c.ownComments(ctx, number, marker)
	if err != nil || len(own) == 0 {
		return err
	}
	_, err = c.oneComment(ctx, own)
	return err
}

// CommentText reads a comment anew: by the time that a command is carried out it
// can be another one, or gone.
func (c *Client) CommentText(ctx context.Context, id int64) (author, body string, err error) {
	m, _, err := c.api.Issues.GetComment(ctx, c.owner, c.repo, id)
	if err != nil {
		return "", "", c.fail("read a comment", err)
	}
	return m.GetUser().GetLogin(), m.GetBody(), nil
}
