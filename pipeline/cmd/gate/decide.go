package main

import (
	"context"
	"fmt"
	"time"

	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/report"
	"github.com/smartcloudops/gate/policies"
)

// DecideCmd judges.
type DecideCmd struct {
	Environment string `arg:"" help:"The environment to decide for."`
	Release     string `placeholder:"RELEASE" help:"Digest of the release, or of its commit; eight characters are enough (default: the newest build)."`
}

// Run decides by the evidence there is, records the decision, and ends by it.
func (c *DecideCmd) Run(ctx context.Context, g *Globals) error {
	s, err := g.open(ctx, c.Environment)
	if err != nil {
		return err
	}
	defer s.close()
	d, err := s.decide(ctx, c.Environment, c.Release)
	if err != nil {
		return err
	}
	if _, err := s.journal.Decision(ctx, d); err != nil {
		return err
	}
	if s.Output == "json" {
		err = report.JSON(s.Out, d.Decision)
	} else {
		err = report.Decision(s.Out, d.Decision)
	}
	if err == nil && !d.Decision.Verdict.Promotes() {
		return &Exit{Code: promotion.CodeOf(d.Decision.Verdict)}
	}
	return err
}

// decide judges the release for the environment: what serves there by what it
// serves, anything else by whether it may go there.
func (s *session) decide(ctx context.Context, environment, ref string) (promotion.DecisionRecord, error) {
	e, err := s.environment(environment)
	if err != nil {
		return promotion.DecisionRecord{}, err
	}
	v, err := s.journal.View(ctx)
	if err != nil {
		return promotion.DecisionRecord{}, err
	}
	digest := v.Newest()
	if ref != "" {
		found := v.Find(ref)
		if len(found) == 0 {
			return promotion.DecisionRecord{}, &Exit{promotion.CodeUsage, fmt.Errorf("no release %q is on record: gate history %s shows some", ref, environment)}
		}
		digest = found[0]
	}
	if digest == "" {
		return promotion.DecisionRecord{}, &Exit{promotion.CodeUsage, fmt.Errorf("no release is on record: gate build makes one")}
	}
	stage := policies.Readiness
	if e.Promotion.From != "" {
		stage = policies.Promotion
		if v.Environment(environment).Desired == digest {
			stage = policies.Serving
		}
	}
	return s.judge.Decide(ctx, v, v.Releases[digest], environment, stage)
}

// ExplainCmd explains.
type ExplainCmd struct {
	Environment string `arg:"" help:"The environment to explain a decision for."`
	Release     string `placeholder:"RELEASE" help:"Digest of the release, or of its commit; eight characters are enough (default: the newest build)."`
}

// Run decides, without recording it, and shows everything behind it.
func (c *ExplainCmd) Run(ctx context.Context, g *Globals) error {
	s, err := g.open(ctx, c.Environment)
	if err != nil {
		return err
	}
	defer s.close()
	d, err := s.decide(ctx, c.Environment, c.Release)
	if err != nil {
		return err
	}
	v, err := s.journal.View(ctx)
	if err != nil {
		return err
	}
	h := v.Environment(c.Environment).History
	var last *promotion.Transition
	if n := len(h); n > 0 {
		last = &h[n-1]
	}
	way := report.Way(d.Decision, s.costs(v, d))
	if s.Output == "json" {
		return report.JSON(s.Out, map[string]any{"decision": d.Decision, "input": d.Input, "last": last, "way": way})
	}
	if err := report.Explain(s.Out, d, last); err != nil {
		return err
	}
	return report.WayText(s.Out, way)
}

// costs are about how long the checks behind each criterion take.
func (s *session) costs(v *promotion.View, d promotion.DecisionRecord) map[string]time.Duration {
	costs := map[string]time.Duration{}
	for _, digest := range v.Find(d.Decision.Release) {
		in, err := s.judge.Input(v, v.Releases[digest], d.Decision.Environment)
		if err != nil {
			continue // an estimate that can't be made is left out
		}
		for _, c := range s.judge.Checks {
			if c.Estimate != nil {
				costs[c.Criterion] += c.Estimate(in)
			}
		}
		break
	}
	return costs
}
