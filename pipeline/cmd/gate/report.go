package main

import (
	"context"
	"fmt"

	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/report"
	"github.com/smartcloudops/gate/pipeline/run"
	"github.com/smartcloudops/gate/policies"
)

// ReportCmd writes the report.
type ReportCmd struct {
	Environment string `arg:"" default:"staging" help:"The environment whose newest decision is shown."`
	HTML        string `name:"html" placeholder:"FILE" help:"File to write (default: in the state directory)."`
}

// Run renders what is on record; it measures nothing.
func (c *ReportCmd) Run(ctx context.Context, g *Globals) error {
	s, err := g.open(ctx, c.Environment)
	if err != nil {
		return err
	}
	defer s.close()
	d, err := s.decide(ctx, c.Environment, "")
	if err != nil {
		return err
	}
	v, err := s.journal.View(ctx)
	if err != nil {
		return err
	}
	rec := v.Releases[v.Newest()]
	r := &run.Result{
		App: s.decl.App.Name, Release: rec.Release, Commit: rec.Commit, Subject: rec.Subject, Dirty: rec.Dirty, Through: c.Environment,
		Started: d.Decision.At, Finished: d.Decision.At, Decisions: []promotion.DecisionRecord{d},
		Exit: promotion.CodeOf(d.Decision.Verdict),
	}
	wanted := map[string]bool{}
	for _, crit := range d.Decision.Criteria {
		for _, digest := range crit.Evidence {
			wanted[digest] = true
		}
	}
	for _, e := range v.AllEvidence() {
		if wanted[e.Digest] {
			r.Evidence = append(r.Evidence, run.Measured{Digest: e.Digest, Reused: true, Runs: len(v.Evidence(e.Evidence.Key)), Evidence: e.Evidence})
		}
	}
	file, err := s.writeHTML(r, c.HTML)
	if err != nil {
		return err
	}
	if s.Output == "json" {
		err = report.JSON(s.Out, map[string]any{"file": file, "verdict": d.Decision.Verdict, "environment": c.Environment})
	} else {
		_, err = fmt.Fprintf(s.Out, "%s  %s for %s\n", file, d.Decision.Verdict, c.Environment)
	}
	if err == nil && d.Decision.Verdict == policies.Error {
		return &Exit{Code: promotion.CodeInternal}
	}
	return err
}
