package github

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	gh "github.com/google/go-github/v60/github"

	"github.com/smartcloudops/gate/policies"
)

// maxComment is what GitHub takes of a comment.
const maxComment = 65536

// Comment is what gate says on a pull request about a decision.
type Comment struct {
	PullRequest int
	Commit      string // the judged head
	Decision    policies.Decision
	Mark        Mark
	Body        string // Markdown; untrusted text in it has been through Inline or Block
	DetailsURL  string // named when Body is too long
}

// CommentOutcome says what became of a comment.
type CommentOutcome struct {
	ID       int64
	URL      string
	Obsolete bool   // left as it is
	Why      string // of Obsolete
}

const commentMarker = "<!-- gate:verdict "

// UpdateComment writes gate's one comment on the pull request, or rewrites it.
// It leaves it when the head is another commit by now, or when the comment tells
// of a newer decision on this one. Comments of others are never touched,
// whatever marker they carry.
func (c *Client) UpdateComment(ctx context.Context, m Comment) (*CommentOutcome, error) {
	if !commitHash.MatchString(m.Commit) || m.PullRequest <= 0 {
		return nil, errors.New("comment on a pull request: its number, or the judged commit's full hash, is missing")
	}
	mine := stampOf(m.Decision, m.Mark)
	body := commentBody(mine, m)
	var own []comment
	find := func(ctx context.Context) (bool, error) {
		var err error
		own, err = c.ownComments(ctx, m.PullRequest, commentMarker)
		return len(own) > 0, err
	}
	if _, err := find(ctx); err != nil {
		return nil, err
	}
	// Asked as late as can be: a push in between makes the verdict one about the past.
	if why, err := c.movedOn(ctx, m); err != nil || why != "" {
		return &CommentOutcome{Obsolete: true, Why: why}, err
	}
	first := true
	err := c.ensure(ctx, func(ctx context.Context) (bool, error) {
		if first {
			first = false
			return len(own) > 0, nil
		}
		return find(ctx)
	}, func(ctx context.Context) error {
		_, _, err := c.api.Issues.CreateComment(ctx, c.owner, c.repo, m.PullRequest, &gh.IssueComment{Body: &body})
		return c.fail("comment on the pull request", err)
	})
	if err != nil {
		return nil, err
	}
	if _, err := find(ctx); err != nil {
		return nil, err
	}
	if len(own) == 0 {
		return nil, fmt.Errorf("GitHub: comment on pull request %d: the comment is gone: %w", m.PullRequest, ErrContended)
	}
	// Two runners at once can both have made one: the first is the comment.
	keep, err := c.oneComment(ctx, own)
	if err != nil {
		return nil, err
	}
	newest := slices.MaxFunc(own, func(a, b comment) int { return a.stamp.compare(b.stamp) })
	switch {
	case newest.commit == m.Commit && newest.stamp.compare(mine) > 0:
		out := &CommentOutcome{ID: keep.id, URL: keep.url, Obsolete: true, Why: "it tells of a newer decision on the same commit"}
		if newest.id == keep.id {
			return out, nil
		}
		body = newest.body
		return out, c.editComment(ctx, keep.id, body)
	case keep.body != body:
		err = c.editComment(ctx, keep.id, body)
	}
	return &CommentOutcome{ID: keep.id, URL: keep.url}, err
}

func (c *Client) movedOn(ctx context.Context, m Comment) (string, error) {
	pr, err := c.PullRequest(ctx, m.PullRequest)
	switch {
	case err != nil:
		return "", err
	case pr.Head.SHA != m.Commit:
		return fmt.Sprintf("the head is %.12s by now, judged was %.12s", pr.Head.SHA, m.Commit), nil
	}
	return "", nil
}

// comment is one of gate's own.
type comment struct {
	id     int64
	body   string
	url    string
	commit string
	stamp  stamp
}

// ownComments are those that begin with the marker and were written by this very
// client, oldest first.
func (c *Client) ownComments(ctx context.Context, number int, marker string) ([]comment, error) {
	me, err := c.Identity(ctx)
	if err != nil {
		return nil, err
	}
	all, err := pages(c, "list the comments", func(o gh.ListOptions) ([]*gh.IssueComment, *gh.Response, error) {
		return c.api.Issues.ListComments(ctx, c.owner, c.repo, number, &gh.IssueListCommentsOptions{ListOptions: o})
	})
	if err != nil {
		return nil, err
	}
	var own []comment
	for _, one := range all {
		rest, ok := strings.CutPrefix(one.GetBody(), marker)
		if !ok || one.GetUser().GetLogin() != me.Login || slices.ContainsFunc(own, func(o comment) bool { return o.id == one.GetID() }) {
			continue
		}
		head, _, _ := strings.Cut(rest, " -->")
		commit, text, _ := strings.Cut(head, " ")
		s, _ := parseStamp(text)
		own = append(own, comment{id: one.GetID(), body: one.GetBody(), url: one.GetHTMLURL(), commit: commit, stamp: s})
	}
	slices.SortFunc(own, func(a, b comment) int { return cmp.Compare(a.id, b.id) })
	return own, nil
}

// oneComment deletes all but the first.
func (c *Client) oneComment(ctx context.Context, own []comment) (comment, error) {
	for _, twin := range own[1:] {
		_, err := c.api.Issues.DeleteComment(ctx, c.owner, c.repo, twin.id)
		if err = c.fail("delete a second comment", err); err != nil && !errors.Is(err, ErrNotFound) {
			return comment{}, err
		}
	}
	return own[0], nil
}

func (c *Client) editComment(ctx context.Context, id int64, body string) error {
	_, _, err := c.api.Issues.EditComment(ctx, c.owner, c.repo, id, &gh.IssueComment{Body: &body})
	return c.fail("update the comment", err)
}

func commentBody(s stamp, m Comment) string {
	head := commentMarker + m.Commit + " " + s.String() + " -->\n"
	note := "\n\nThis is not all: the rest is in the report."
	if m.DetailsURL != "" {
		note = "\n\nThis is not all: the rest is in [the report](<" + strings.NewReplacer("<", "%3C", ">", "%3E", " ", "%20", "\n", "").Replace(m.DetailsURL) + ">)."
	}
	body := markup(m.Body)
	if len(head)+len(body) > maxComment {
		body = cutMarkdown(body, maxComment-len(head)-len(note)) + note
	}
	return head + strings.TrimRight(body, "\n ")
}

// cutMarkdown shortens s to limit bytes at a line's end, and closes what fenced
// block is open there.
func cutMarkdown(s string, limit int) string {
	const room = 64 // for a fence
	if len(s) <= limit {
		return s
	}
	s = s[:max(limit-room, 0)]
	s = s[:strings.LastIndexByte(s, '\n')+1]
	open := ""
	for line := range strings.Lines(s) {
		line = strings.TrimRight(strings.TrimLeft(line, " "), "\n ")
		n := len(line) - len(strings.TrimLeft(line, "`"))
		switch {
		case open == "" && n >= 3:
			open = line[:n]
		case open != "" && n >= len(open) && n == len(line):
			open = ""
		}
	}
	if open != "" {
		if len(open) > room {
			return ""
		}
		s += open
	}
	return s
}
