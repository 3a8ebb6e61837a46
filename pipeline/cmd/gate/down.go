package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/smartcloudops/gate/pipeline/report"
	"github.com/smartcloudops/gate/pipeline/target/local"
)

// DownCmd stops an environment.
type DownCmd struct {
	Environment string `arg:"" help:"The environment to stop."`
}

// Run stops instances, PostgreSQL and daemon. One that does not run is no
// mistake.
func (c *DownCmd) Run(ctx context.Context, g *Globals) error {
	s, err := g.open(ctx, c.Environment)
	if err != nil {
		return err
	}
	defer s.close()
	e, err := s.environment(c.Environment)
	if err != nil {
		return err
	}
	client := local.NewClient(s.paths(c.Environment))
	if _, err := client.Status(ctx); errors.Is(err, local.ErrNoDaemon) {
		if !local.LeftOver(s.paths(c.Environment)) {
			return c.say(s, local.EndHolder(s.paths(c.Environment)))
		}
		// The daemon was killed and its instances live on: only a daemon knows
		// them, so one is started to stop them.
		if err := s.executor(c.Environment).Ensure(ctx, e); err != nil {
			return err
		}
	}
	if err := client.Down(ctx); err != nil {
		return err
	}
	return c.say(s, true)
}

func (c *DownCmd) say(s *session, ran bool) error {
	if s.Output == "json" {
		return report.JSON(s.Out, map[string]any{"environment": c.Environment, "ran": ran, "state": s.state})
	}
	word := "does not run"
	if ran {
		word = "is down; its data and the ledger are in " + s.state
	}
	_, err := fmt.Fprintf(s.Out, "%s %s\n", c.Environment, word)
	return err
}
