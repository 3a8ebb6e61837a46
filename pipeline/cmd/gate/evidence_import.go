package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/claim"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/report"
	"github.com/smartcloudops/gate/pipeline/run"
)

// EvidenceImportCmd signs what another machine has measured.
type EvidenceImportCmd struct {
	Path   string    `arg:"" help:"Folder that gate run --evidence wrote, or the hours.json of gate watch."`
	Commit string    `placeholder:"REV" help:"Of a folder: the commit that was to be measured."`
	Nonce  string    `placeholder:"TEXT" help:"Of a folder: what the call was given as --nonce."`
	Since  time.Time `placeholder:"TIME" help:"Of a folder: when the call began (RFC 3339): nothing older is taken."`
	Until  time.Time `placeholder:"TIME" help:"When it ended (default: now)."`
	Change bool      `help:"Code of the change ran there: its evidence never promotes."`
	Env    string    `placeholder:"ENV" help:"Of hours: the environment whose address was watched."`
}

// Run takes all of it or nothing. No code of the commit is executed: it is only
// compiled, to see that it becomes the release that was measured.
func (c *EvidenceImportCmd) Run(ctx context.Context, g *Globals) error {
	fi, err := os.Stat(c.Path)
	if err != nil {
		return &Exit{promotion.CodeUsage, fmt.Errorf("evidence to import: %w", err)}
	}
	if !fi.IsDir() {
		return c.hours(ctx, g)
	}
	if c.Commit == "" || c.Nonce == "" || c.Since.IsZero() || c.Env != "" {
		return &Exit{promotion.CodeUsage, errors.New("a folder needs --commit, --nonce and --since, and takes no --env")}
	}
	s, err := g.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	taken, err := s.importEvidence(ctx, imported{Dir: c.Path, Commit: c.Commit, Nonce: c.Nonce, Since: c.Since, Until: c.Until, Change: c.Change})
	if err != nil {
		return err
	}
	if s.Output == "json" {
		return report.JSON(s.Out, taken)
	}
	for _, t := range taken.Evidence {
		fmt.Fprintf(s.Out, "%-10s %-12s %s\n", t.Check, t.Status, t.Digest)
	}
	return nil
}

// imported says what is to be taken over.
type imported struct {
	Dir, Commit, Nonce string
	Since, Until       time.Time // Until zero: now
	Change             bool
}

// takenOver is what was.
type takenOver struct {
	Release  string          `json:"release"`
	Commit   string          `json:"commit"`
	Evidence []takenEvidence `json:"evidence"`

	record *promotion.ReleaseRecord
}

type takenEvidence struct {
	Check  string        `json:"check"`
	Status checks.Status `json:"status"`
	Digest string        `json:"digest"`

	evidence checks.Evidence
}

// importEvidence builds the commit, compares what is claimed of it with what
// can be computed, and records the evidence under this machine's key.
func (s *session) importEvidence(ctx context.Context, i imported) (*takenOver, error) {
	folder, err := claim.Read(i.Dir)
	if err != nil {
		return nil, &Exit{promotion.CodeFail, err}
	}
	rec, err := s.buildOnly(ctx, i.Commit)
	if err != nil {
		return nil, err
	}
	v, err := s.journal.View(ctx)
	if err != nil {
		return nil, err
	}
	asked := claim.Asked{
		App: s.decl.App.Name, Commit: rec.Commit, Release: rec.Release, Nonce: i.Nonce, Since: i.Since, Until: i.Until,
		Machines: s.judge.Machines, Change: i.Change, Checks: s.judge.Checks,
		Input: func(environment string) (checks.Input, error) {
			if environment == "" {
				environment = rec.Declarations.Environments[0].Name
			}
			return s.judge.Input(v, rec, environment)
		},
	}
	if asked.Until.IsZero() {
		asked.Until = time.Now()
	}
	if len(asked.Machines) == 0 {
		asked.Machines = []string{checks.Machine()}
	}
	evidence, err := asked.Admit(folder)
	if errors.Is(err, claim.ErrRefused) {
		return nil, &Exit{promotion.CodeFail, err}
	}
	if err != nil {
		return nil, &Exit{promotion.CodeUsage, err}
	}
	digests, err := s.journal.EvidenceAll(ctx, evidence)
	if err != nil {
		return nil, err
	}
	out := &takenOver{Release: rec.Release, Commit: rec.Commit, record: rec}
	for n, e := range evidence {
		out.Evidence = append(out.Evidence, takenEvidence{e.Check, e.Status, digests[n], e})
	}
	return out, nil
}

// unbuilt is a commit that did not build, with the places that are to blame.
type unbuilt struct {
	commit, why string
	findings    []checks.Finding
}

func (u *unbuilt) Error() string { return fmt.Sprintf("commit %.12s: %s", u.commit, u.why) }

// buildOnly is the record of the release that the commit becomes here.
func (s *session) buildOnly(ctx context.Context, commit string) (*promotion.ReleaseRecord, error) {
	p, done, err := s.pipeline(nil)
	if err != nil {
		return nil, err
	}
	defer done()
	res, err := p.Run(ctx, run.Options{Revision: commit, Goal: run.GoalBuild})
	if err != nil {
		return nil, err
	}
	if res.Exit != promotion.CodePass {
		return nil, &Exit{res.Exit, &unbuilt{res.Commit, res.Summary, res.Findings}}
	}
	v, err := s.journal.View(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range v.Find(res.Release) {
		if r := v.Releases[d]; r.Commit == res.Commit && !r.Dirty {
			return r, nil
		}
	}
	return nil, fmt.Errorf("commit %.12s was built and is not on record", res.Commit)
}
