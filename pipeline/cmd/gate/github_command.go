package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/smartcloudops/gate/pipeline/github"
	"github.com/smartcloudops/gate/pipeline/github/workflows"
	"github.com/smartcloudops/gate/pipeline/github/workflows/command"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/release"
)

// GithubCommandCmd carries out "/gate …" in a comment on a pull request.
type GithubCommandCmd struct {
	Event string `placeholder:"FILE" help:"The event that GitHub wrote (default: GITHUB_EVENT_PATH)."`
}

// Run starts the workflow that the comment asks for, or answers why not. A
// refusal that was answered is no failure.
func (c *GithubCommandCmd) Run(ctx context.Context, g *Globals) error {
	if c.Event == "" {
		c.Event = g.Getenv("GITHUB_EVENT_PATH")
	}
	e, err := readCommented(c.Event)
	if err != nil {
		return &Exit{promotion.CodeUsage, err}
	}
	clone, err := release.OpenClone(ctx, g.Dir, g.Environ)
	if err != nil {
		return err
	}
	p, _, err := githubParams(ctx, g, clone.Root, func(*workflows.Params) {})
	if err != nil {
		return err
	}
	client, err := g.github()
	if err != nil {
		return err
	}
	if !strings.EqualFold(e.Repository.FullName, client.Repository()) {
		return fmt.Errorf("the event is of repository %.150q, not of %s", e.Repository.FullName, client.Repository())
	}
	server := g.Getenv("GITHUB_SERVER_URL")
	if server == "" {
		server = "https://github.com"
	}
	d := &desk{api: client, protected: p.Protected, environments: p.Environments, actions: server + "/" + client.Repository() + "/actions/workflows/"}
	said, err := d.carryOut(ctx, e)
	if said != "" {
		fmt.Fprintln(g.Out, github.Log(said))
	}
	return err
}

// commented is GitHub's event issue_comment, as far as it is looked at.
type commented struct {
	Action  string `json:"action"`
	Comment struct {
		ID      int64     `json:"id"`
		Body    string    `json:"body"`
		URL     string    `json:"html_url"`
		Created time.Time `json:"created_at"`
		User    account   `json:"user"`
		App     *struct{} `json:"performed_via_github_app"`
	} `json:"comment"`
	Issue struct {
		Number int       `json:"number"`
		Pull   *struct{} `json:"pull_request"`
	} `json:"issue"`
	Sender     account `json:"sender"`
	Repository struct {
		FullName string `json:"full_name"`
	} `json:"repository"`
}

type account struct {
	Login string `json:"login"`
	Type  string `json:"type"`
}

func readCommented(file string) (*commented, error) {
	if file == "" {
		return nil, errors.New("there is no event: run it in a workflow on issue_comment, or give --event")
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the event: %w", err)
	}
	e := new(commented)
	if err := json.Unmarshal(b, e); err != nil {
		return nil, fmt.Errorf("the event in %s is not GitHub's: %w", file, err)
	}
	if e.Comment.ID <= 0 || e.Issue.Number <= 0 || e.Comment.User.Login == "" || e.Comment.Created.IsZero() {
		return nil, fmt.Errorf("the event in %s is about no comment: run it on issue_comment", file)
	}
	return e, nil
}

// deskAPI is what the desk needs of GitHub.
type deskAPI interface {
	CommentText(ctx context.Context, id int64) (author, body string, err error)
	Permission(ctx context.Context, login string) (github.Permission, error)
	PullRequest(ctx context.Context, number int) (*github.PullRequest, error)
	LatestRun(ctx context.Context, workflow, head string) (int64, error)
	Dispatch(ctx context.Context, d github.Dispatch) error
	React(ctx context.Context, comment int64, r github.Reaction) error
	Answer(ctx context.Context, number int, comment int64, body string) error
}

// desk takes commands.
type desk struct {
	api          deskAPI
	protected    string
	environments []string
	actions      string // address of the pages of workflows
}

// refusal is an answer to whoever asked for what is not done.
type refusal struct {
	reaction github.Reaction
	why      string
}

func (r *refusal) Error() string { return r.why }

// carryOut does what the comment says, once, however often it is called. It
// returns what it answered, empty where the comment is none of gate's business.
func (d *desk) carryOut(ctx context.Context, e *commented) (said string, err error) {
	started, err := d.start(ctx, e)
	var no *refusal
	switch {
	case errors.Is(err, command.ErrTalk):
		return "", nil
	case errors.As(err, &no):
		said = "Refused: " + no.why + "."
		err = d.answer(ctx, e, no.reaction, said)
	case err != nil:
		said = "Nothing was started that gate knows of: the log of this workflow says why."
		err = errors.Join(err, d.answer(ctx, e, github.Confused, said))
	default:
		said = started
		err = d.answer(ctx, e, github.Accepted, said)
	}
	return said, err
}

func (d *desk) answer(ctx context.Context, e *commented, r github.Reaction, said string) error {
	return errors.Join(d.api.React(ctx, e.Comment.ID, r), d.api.Answer(ctx, e.Issue.Number, e.Comment.ID, said))
}

func (d *desk) start(ctx context.Context, e *commented) (started string, err error) {
	switch {
	case e.Issue.Pull == nil, e.Comment.User.Type != "User", e.Comment.App != nil, !strings.HasPrefix(e.Comment.Body, command.Prefix):
		// Programs get no answer: two of them would go on for ever.
		return "", command.ErrTalk
	case e.Action != "created":
		return "", &refusal{github.Rejected, "an edited comment starts nothing: write a new one"}
	case e.Sender.Login != e.Comment.User.Login:
		return "", &refusal{github.Rejected, "somebody else than its author set it off"}
	}
	login := e.Comment.User.Login
	// What GitHub's own text of the comment says about its author is old: an
	// association outlives the right.
	may, err := d.api.Permission(ctx, login)
	if err != nil {
		return "", err
	}
	if !may.CanWrite() {
		return "", &refusal{github.Rejected, "only people with write access to this repository may ask"}
	}
	author, body, err := d.api.CommentText(ctx, e.Comment.ID)
	if err != nil {
		return "", err
	}
	if author != login || body != e.Comment.Body {
		return "", &refusal{github.Rejected, "the comment was changed in the meantime: write a new one"}
	}
	c, err := command.Parse(body, d.environments)
	if errors.Is(err, command.ErrTalk) {
		return "", err
	} else if err != nil {
		return "", &refusal{github.Confused, err.Error()}
	}
	asked := command.Asked{By: login, URL: e.Comment.URL, ID: e.Comment.ID}
	if c.Verb == command.Rerun {
		if asked.Run, err = d.measured(ctx, e.Issue.Number); err != nil {
			return "", err
		}
	}
	file, inputs := c.Workflow(asked)
	err = d.api.Dispatch(ctx, github.Dispatch{Workflow: file, Ref: d.protected, Inputs: inputs, Marker: asked.Marker(), Since: e.Comment.Created})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("Started [%s](%s%s) on %s.", strings.TrimSuffix(file, ".yml"), d.actions, file, d.protected), nil
}

// measured is the newest run that measured the pull request's head as it is now.
func (d *desk) measured(ctx context.Context, number int) (int64, error) {
	pull, err := d.api.PullRequest(ctx, number)
	if err != nil {
		return 0, err
	}
	run, err := d.api.LatestRun(ctx, workflows.Commit, pull.Head.SHA)
	if errors.Is(err, github.ErrNotFound) {
		return 0, &refusal{github.Confused, fmt.Sprintf("no run of %s has measured the head of this pull request yet: push to it, or run that again", workflows.Commit)}
	}
	return run, err
}
