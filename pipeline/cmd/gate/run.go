package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/ledger"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/release"
	"github.com/smartcloudops/gate/pipeline/report"
	"github.com/smartcloudops/gate/pipeline/run"
)

// RunCmd is the whole pipeline.
type RunCmd struct {
	Through string `default:"staging" placeholder:"ENV" help:"Environment to end in (default: staging)."`
	Commit  string `placeholder:"REV" help:"Take this commit instead of what is checked out."`
	Fresh   bool   `help:"Measure anew what is known, and pool it with that."`
	HTML    string `name:"html" placeholder:"FILE" help:"Write the report to FILE (default: in the state directory)."`
	ApartFlags
}

// Run runs the pipeline and ends with the code of the contract.
func (c *RunCmd) Run(ctx context.Context, g *Globals) error {
	return g.pipelined(ctx, c.ApartFlags, run.Options{Revision: c.Commit, Through: c.Through, Fresh: c.Fresh}, outputs{html: c.HTML})
}

// BuildCmd builds the release.
type BuildCmd struct {
	Commit string `placeholder:"REV" help:"Build this commit instead of what is checked out."`
	Layout string `placeholder:"DIR" help:"Write the release to DIR as an OCI image layout."`
	ApartFlags
}

// Run builds.
func (c *BuildCmd) Run(ctx context.Context, g *Globals) error {
	return g.pipelined(ctx, c.ApartFlags, run.Options{Revision: c.Commit, Goal: run.GoalBuild}, outputs{layout: c.Layout})
}

// TestCmd runs the tests.
type TestCmd struct {
	Fresh  bool   `help:"Measure anew what is known, and pool it with that."`
	Commit string `placeholder:"REV" help:"Take this commit instead of what is checked out."`
	ApartFlags
}

// Run measures the check tests.
func (c *TestCmd) Run(ctx context.Context, g *Globals) error {
	return g.measured(ctx, c.ApartFlags, run.Options{Revision: c.Commit, Checks: []string{"tests"}, Fresh: c.Fresh})
}

// ScanCmd scans.
type ScanCmd struct {
	Fresh  bool   `help:"Measure anew what is known, and pool it with that."`
	Commit string `placeholder:"REV" help:"Take this commit instead of what is checked out."`
	ApartFlags
}

// Run measures the checks scan and leaks.
func (c *ScanCmd) Run(ctx context.Context, g *Globals) error {
	return g.measured(ctx, c.ApartFlags, run.Options{Revision: c.Commit, Checks: []string{"scan", "leaks"}, Fresh: c.Fresh})
}

// VerifyCmd measures an environment.
type VerifyCmd struct {
	Environment string   `arg:"" help:"The environment to measure."`
	Check       []string `placeholder:"NAME" help:"Measure this check alone, as load (a wrong name lists all); may be given again."`
	Fresh       bool     `help:"Measure anew what is known, and pool it with that."`
	Commit      string   `placeholder:"REV" help:"Take this commit instead of what is checked out."`
	ApartFlags
}

// Run measures, and says what the policies make of it.
func (c *VerifyCmd) Run(ctx context.Context, g *Globals) error {
	return g.measured(ctx, c.ApartFlags, run.Options{Revision: c.Commit, Through: c.Environment, Checks: c.Check, Fresh: c.Fresh})
}

// DeployCmd puts a release into the first environment.
type DeployCmd struct {
	Environment string `arg:"" help:"The environment to deploy to."`
	Commit      string `placeholder:"REV" help:"Take this commit instead of what is checked out."`
	ApartFlags
}

// Run takes the commit through the environment's deployment.
func (c *DeployCmd) Run(ctx context.Context, g *Globals) error {
	return g.pipelined(ctx, c.ApartFlags, run.Options{Revision: c.Commit, Through: c.Environment, Goal: run.GoalDeploy}, outputs{})
}

// measured measures named checks in the environment, the first one when none
// is named, and ends by what the policies say of the criteria behind them.
func (g *Globals) measured(ctx context.Context, a ApartFlags, o run.Options) error {
	known := checks.All()
	if clone, err := release.OpenClone(ctx, g.Dir, g.Environ); err == nil {
		if d, err := environments.Read(os.DirFS(clone.Root)); err == nil {
			if known, err = checks.For(d.App); err != nil {
				return &Exit{promotion.CodeUsage, err}
			}
		}
	}
	for _, name := range o.Checks {
		if !slices.ContainsFunc(known, func(c checks.Check) bool { return c.Name == name }) {
			var all []string
			for _, c := range known {
				all = append(all, c.Name)
			}
			return &Exit{promotion.CodeUsage, fmt.Errorf("there is no check %q; there are %v", name, all)}
		}
	}
	o.Goal = run.GoalChecks
	return g.pipelined(ctx, a, o, outputs{})
}

// outputs are where a run writes beside the streams; empty: nowhere, or where it
// always does.
type outputs struct{ html, layout, evidence string }

// pipelined takes a commit through the pipeline, on the ledger that counts or
// apart.
func (g *Globals) pipelined(ctx context.Context, a ApartFlags, o run.Options, out outputs) (err error) {
	if err := a.validate(); err != nil {
		return err
	}
	if a.Apart {
		at, done, err := g.makeApart(ctx, a)
		if err != nil {
			return err
		}
		g = at
		defer func() {
			if derr := done(); derr != nil {
				say(g.Err, fmt.Errorf("tidying up: %w", derr))
			}
		}()
		o.Apart = &run.Apart{Nonce: a.Nonce, Take: a.With}
	}
	s, err := g.open(ctx, o.Through)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.fetched(ctx); err != nil {
		return err
	}
	if o.Goal == run.GoalChecks && o.Through == "" {
		o.Through = s.decl.Environments[0].Name
	}
	if s.base != nil {
		o.Apart.Base = s.base.Commit
		head := o.Revision
		if head == "" {
			head = "HEAD"
		}
		if s.judge.Change, err = s.base.change(ctx, s.clone, head); err != nil {
			return err
		}
	}
	out.evidence = a.Evidence
	return s.pipelined(ctx, o, out)
}

func (s *session) pipelined(ctx context.Context, o run.Options, out outputs) error {
	live := report.NewLive(s.Err, s.Output == "json")
	defer live.Close()
	p, done, err := s.pipeline(live.Tell)
	if err != nil {
		return err
	}
	defer done()
	res, err := p.Run(ctx, o)
	live.Close()
	if s.Output == "json" {
		if jerr := report.JSON(s.Out, res); jerr != nil {
			return jerr
		}
	} else {
		if terr := report.Text(s.Out, res); terr != nil {
			return terr
		}
	}
	if out.layout != "" && res.Release != "" && err == nil {
		if lerr := s.store.Layout(res.Release, out.layout); lerr != nil {
			return lerr
		}
	}
	if out.evidence != "" {
		if herr := s.handOver(out.evidence, res, o.Apart); herr != nil {
			return errors.Join(err, herr)
		}
	}
	if len(res.Decisions) > 0 && o.Goal == run.GoalAll && (s.apart == nil || out.html != "") {
		file, herr := s.writeHTML(res, out.html)
		if herr != nil {
			return herr
		}
		if s.Output == "text" {
			fmt.Fprintf(s.Out, "report  %s\n", file)
		}
	}
	if s.apart != nil {
		// It is gone in a moment.
	} else if perr := s.tidy(ctx); perr != nil {
		fmt.Fprintln(s.Err, "gate: tidying up:", perr)
	}
	if errors.Is(err, context.Canceled) {
		return &Exit{promotion.CodeInternal, errors.New("stopped; what was asked of an environment goes on there: gate status; what was interrupted there is finished or undone by gate resume ENV")}
	}
	if err != nil {
		return err
	}
	if res.Exit != promotion.CodePass {
		return &Exit{Code: res.Exit}
	}
	return nil
}

// writeHTML writes the report and returns its file: without a name one in the
// state directory, since the clone is only read.
func (s *session) writeHTML(res *run.Result, file string) (string, error) {
	if file == "" {
		dir := filepath.Join(s.state, "reports")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return "", fmt.Errorf("report: %w", err)
		}
		file = filepath.Join(dir, "latest.html")
	}
	f, err := os.Create(file)
	if err != nil {
		return "", fmt.Errorf("report: %w", err)
	}
	return file, errors.Join(report.HTML(f, res), f.Close())
}

// tidy mirrors the ledger where a remote is declared, packs it, and drops
// releases that nobody will go back to. It runs when nothing is being measured
// any more.
func (s *session) tidy(ctx context.Context) error {
	if err := s.fetched(ctx); err != nil {
		return err
	}
	n, err := s.ledger.Loose(ctx)
	if err == nil && n >= ledger.PackAt {
		err = s.ledger.Pack(ctx)
	}
	if err != nil {
		return err
	}
	v, err := s.journal.View(ctx)
	if err != nil {
		return err
	}
	keep := v.Keep(keptReleases)
	if len(keep) == 0 {
		return nil
	}
	removed, err := s.store.Prune(ctx, keep)
	for _, digest := range removed {
		hex := strings.TrimPrefix(digest, "sha256:")
		for _, e := range s.decl.Environments {
			err = errors.Join(err, os.RemoveAll(filepath.Join(s.paths(e.Name).Releases(), hex)))
		}
	}
	return err
}

// keptReleases is how many releases each environment can go back to, and how
// many builds are kept beside them.
const keptReleases = 5
