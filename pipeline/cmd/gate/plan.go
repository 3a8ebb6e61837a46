package main

import (
	"context"

	"github.com/smartcloudops/gate/pipeline/plan"
	"github.com/smartcloudops/gate/pipeline/report"
)

// PlanCmd says what a commit would change.
type PlanCmd struct {
	Commit string `placeholder:"REV" help:"Plan this commit instead of what is checked out."`
}

// Run builds the release and compares it with what each environment is to
// serve. Nothing is asked of any.
func (c *PlanCmd) Run(ctx context.Context, g *Globals) error {
	s, err := g.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	rec, err := s.buildOnly(ctx, c.Commit)
	if err != nil {
		return err
	}
	v, err := s.journal.View(ctx)
	if err != nil {
		return err
	}
	p := plan.Make(ctx, s.clone, v, rec, "")
	if s.Output == "json" {
		return report.JSON(s.Out, p)
	}
	return report.PlanText(s.Out, p)
}
