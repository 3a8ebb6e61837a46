package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/report"
	"github.com/smartcloudops/gate/policies"
)

// WhatIfCmd judges by other policies.
type WhatIfCmd struct {
	Environment string `arg:"" help:"The environment to decide for."`
	Policies    string `required:"" type:"existingdir" placeholder:"DIR" help:"Folder laid over gate's own policies instead of the repository's: readiness/, lib/, thresholds.yaml, criteria.yaml."`
	Release     string `placeholder:"RELEASE" help:"Digest of the release, or of its commit; eight characters are enough (default: the newest build)."`
}

// Run decides twice at one moment on the same evidence, and shows what differs.
// Nothing is signed or recorded.
func (c *WhatIfCmd) Run(ctx context.Context, g *Globals) error {
	s, err := g.open(ctx, c.Environment)
	if err != nil {
		return err
	}
	defer s.close()
	dir := c.Policies
	if !filepath.IsAbs(dir) {
		if dir, err = filepath.Abs(dir); err != nil {
			return err
		}
	}
	other, err := policies.New(ctx, os.DirFS(dir))
	if err != nil {
		return &Exit{promotion.CodeUsage, fmt.Errorf("--policies %s: %w", c.Policies, err)}
	}
	bare, err := policies.New(ctx, nil)
	if err != nil {
		return err
	}
	if other.Digest() == bare.Digest() {
		fmt.Fprintf(g.Err, "gate: %s changes nothing in gate's own policies: files count below readiness/, lib/ and schema/, and thresholds.yaml and criteria.yaml\n", c.Policies)
	}
	now := time.Now()
	s.judge.Now = func() time.Time { return now }
	was, err := s.decide(ctx, c.Environment, c.Release)
	if err != nil {
		return err
	}
	s.judge.Policies = other
	would, err := s.decide(ctx, c.Environment, c.Release)
	if err != nil {
		return err
	}
	// The input holds the thresholds, so its digest differs with them.
	would.Decision.InputDigest = was.Decision.InputDigest
	would.Decision.PolicyDigest = was.Decision.PolicyDigest
	would.Decision.ID = was.Decision.ID
	differs := append([]string{}, policies.Diff(was.Decision, would.Decision)...)
	if s.Output == "json" {
		return report.JSON(s.Out, map[string]any{
			"environment": c.Environment, "release": was.Decision.Release, "verdict": was.Decision.Verdict, "would_be": would.Decision.Verdict,
			"differs": differs, "criteria": was.Decision.Criteria, "criteria_would_be": would.Decision.Criteria,
			"policy_digest": was.Decision.PolicyDigest, "policy_digest_would_be": other.Digest(),
		})
	}
	if _, err := fmt.Fprintf(s.Out, "%s for release %.19s: %s, by %s it would be %s\n", c.Environment, was.Decision.Release, was.Decision.Verdict, c.Policies, would.Decision.Verdict); err != nil {
		return err
	}
	if len(differs) == 0 {
		_, err = fmt.Fprintln(s.Out, "nothing differs")
		return err
	}
	for _, line := range differs {
		if _, err := fmt.Fprintf(s.Out, "  %s\n", report.Line(line)); err != nil {
			return err
		}
	}
	return nil
}
