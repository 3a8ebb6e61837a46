package main

import (
	"context"
	"fmt"
	"time"

	"github.com/smartcloudops/gate/pipeline/github"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/report"
)

// GithubDeploymentsCmd shows an environment's promotions as deployments.
type GithubDeploymentsCmd struct {
	Environment string        `arg:"" help:"The environment."`
	Last        int           `default:"5" help:"How many promotions are shown, the newest ones."`
	Follow      bool          `help:"Go on until nothing is under way or waiting."`
	Timeout     time.Duration `default:"1h" help:"With --follow: go on for so long at most."`
}

// Run may be called any number of times: of each request there is one deployment.
func (c *GithubDeploymentsCmd) Run(ctx context.Context, g *Globals) error {
	client, err := g.github()
	if err != nil {
		return err
	}
	s, err := g.open(ctx, c.Environment)
	if err != nil {
		return err
	}
	defer s.close()
	deadline := time.Now().Add(c.Timeout)
	shown := map[string]github.DeploymentState{}
	for {
		if err := s.fetched(ctx); err != nil {
			return err
		}
		busy, err := c.show(ctx, s, client, shown)
		if err != nil {
			return err
		}
		if !busy || !c.Follow {
			break
		}
		if time.Now().After(deadline) {
			return &Exit{promotion.CodeApproval, fmt.Errorf("%s was not done within %s: gate status %s", c.Environment, c.Timeout, c.Environment)}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(followEvery):
		}
	}
	if s.Output == "json" {
		return report.JSON(s.Out, shown)
	}
	return nil
}

// followEvery is how often a remote ledger is looked at.
const followEvery = 5 * time.Second

// show brings GitHub up to date, and says whether anything is still under way.
func (c *GithubDeploymentsCmd) show(ctx context.Context, s *session, client *github.Client, shown map[string]github.DeploymentState) (busy bool, err error) {
	v, err := s.journal.View(ctx)
	if err != nil {
		return false, err
	}
	ev := v.Environment(c.Environment)
	e, err := s.environment(c.Environment)
	if err != nil {
		return false, err
	}
	history := ev.History
	if n := len(history); n > c.Last {
		history = history[n-c.Last:]
	}
	if ev.Active != nil {
		history = append(history[:len(history):len(history)], *ev.Active)
	}
	pending, err := s.journal.Pending(ctx, v, c.Environment)
	if err != nil {
		return false, err
	}
	for _, r := range pending {
		// The one under way is not consumed before its end.
		if r.Err == nil && (ev.Active == nil || ev.Active.Request != r.ID) {
			history = append(history[:len(history):len(history)], promotion.Transition{Request: r.ID, Commit: r.Commit, Release: r.Release, By: r.By})
		}
	}
	server, log := s.Getenv("GITHUB_SERVER_URL")+"/"+s.Getenv("GITHUB_REPOSITORY"), ""
	if id := s.Getenv("GITHUB_RUN_ID"); id != "" {
		log = server + "/actions/runs/" + id
	}
	for _, t := range history {
		state := deploymentState(t)
		if t.Commit == "" || shown[t.Request] == state {
			continue
		}
		d := github.Deployment{
			Request: t.Request, Commit: t.Commit, Environment: c.Environment, State: state, Production: e.Promotion.From != "",
			Description: describe(t), LogURL: log,
		}
		if state == github.Succeeded {
			d.URL = e.URL()
		}
		if _, err := client.RecordDeployment(ctx, d); err != nil {
			return false, err
		}
		shown[t.Request] = state
		fmt.Fprintf(s.Err, "%s %.12s: %s %s\n", c.Environment, t.Request, state, describe(t))
	}
	return ev.Active != nil || len(pending) > 0, nil
}

// deploymentState is what GitHub calls a promotion's state.
func deploymentState(t promotion.Transition) github.DeploymentState {
	switch {
	case t.Step == "":
		return github.Queued
	case t.Step != promotion.End:
		return github.InProgress
	case t.State == promotion.Succeeded:
		return github.Succeeded
	}
	return github.Failed
}

func describe(t promotion.Transition) string {
	switch {
	case t.Step == "":
		return "waiting for the environment's daemon"
	case t.Step != promotion.End:
		return string(t.Step)
	case t.Why != "":
		return string(t.State) + ": " + t.Why
	}
	return string(t.State)
}
