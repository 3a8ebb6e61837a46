package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/report"
	"github.com/smartcloudops/gate/pipeline/run"
	"github.com/smartcloudops/gate/policies"
)

// ReportCmd writes the report.
type ReportCmd struct {
	Environment string `arg:"" default:"staging" help:"The environment to decide for."`
	Format      string `default:"html" enum:"html,markdown,sarif,junit,json" help:"html, markdown, sarif, junit or json."`
	File        string `placeholder:"FILE" help:"File to write, - for standard output (default: standard output; html: in the state directory)."`
	HTML        string `name:"html" placeholder:"FILE" hidden:""` // what --file was called when there was one format
}

// Run renders what is on record; it measures nothing.
func (c *ReportCmd) Run(ctx context.Context, g *Globals) error {
	if err := c.settle(g); err != nil {
		return err
	}
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
	if err := c.write(s, r); err != nil {
		return err
	}
	if d.Decision.Verdict == policies.Error {
		return &Exit{Code: promotion.CodeInternal}
	}
	return nil
}

// settle finds the flags that contradict each other, before anything is opened.
func (c *ReportCmd) settle(g *Globals) error {
	if c.HTML != "" {
		if c.Format != "html" || c.File != "" && c.File != c.HTML {
			return &Exit{promotion.CodeUsage, errors.New("--html contradicts --format or --file: say --format and --file")}
		}
		c.File = c.HTML
	}
	if c.File == "" && c.Format != "html" {
		c.File = "-"
	}
	if c.File == "-" && c.Format != "json" && g.Output == "json" {
		return &Exit{promotion.CodeUsage, fmt.Errorf("with --output json standard output holds JSON alone: add --file FILE for %s", c.Format)}
	}
	return nil
}

// write writes the report, and where it went unless that is standard output.
func (c *ReportCmd) write(s *session, r *run.Result) error {
	d := r.Decisions[len(r.Decisions)-1].Decision
	var b bytes.Buffer
	var err error
	switch c.Format {
	case "markdown":
		err = report.Summary(&b, r, "")
	case "sarif":
		err = report.SARIF(&b, r)
	case "junit":
		err = report.JUnit(&b, d)
	case "json":
		err = report.JSON(&b, r)
	default:
		err = report.HTML(&b, r)
	}
	if err != nil {
		return err
	}
	file := c.File
	switch file {
	case "-":
		_, err = s.Out.Write(b.Bytes())
		return err
	case "":
		file, err = s.writeHTML(r, "")
	default:
		err = writeReport(file, b.Bytes())
	}
	if err != nil {
		return err
	}
	if s.Output == "json" {
		return report.JSON(s.Out, map[string]any{"file": file, "verdict": d.Verdict, "environment": c.Environment})
	}
	_, err = fmt.Fprintf(s.Out, "%s  %s for %s\n", file, d.Verdict, c.Environment)
	return err
}

func writeReport(file string, text []byte) error {
	f, err := os.Create(file)
	if err == nil {
		_, err = f.Write(text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}
