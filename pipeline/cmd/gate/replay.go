package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/report"
	"github.com/smartcloudops/gate/policies"
)

// ReplayCmd makes a decision again.
type ReplayCmd struct {
	Decision string `arg:"" help:"Id of the decision, as gate audit shows it, or digest of its statement; eight digits are enough."`
}

// replayed is what came of it.
type replayed struct {
	Decision   string           `json:"decision"`
	Verdict    policies.Verdict `json:"verdict"`
	Reproduces bool             `json:"reproduces"`
	Differs    []string         `json:"differs"`
	Policies   string           `json:"policy_digest"`
	Engine     string           `json:"engine"`     // that it was made by
	EngineNow  string           `json:"engine_now"` // that it was made again by
}

// Run ends with 0 where the decision comes out the same bit for bit, 3 where it
// does not, 4 where what it was made of is not all there.
func (c *ReplayCmd) Run(ctx context.Context, g *Globals) error {
	s, err := g.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	d, _, err := s.journal.Decided(ctx, c.Decision)
	if errors.Is(err, promotion.ErrUnkept) {
		return &Exit{promotion.CodeUsage, fmt.Errorf("no decision %s is on record: gate audit RELEASE --env ENV lists those of a promotion, and gate decide ENV --output json records one and prints its id", c.Decision)}
	} else if err != nil {
		return err
	}
	kept, _, err := s.journal.Policies(ctx, d.Decision.PolicyDigest)
	if errors.Is(err, promotion.ErrUnkept) {
		if s.judge.Policies.Digest() != d.Decision.PolicyDigest {
			return &Exit{promotion.CodeInconclusive, fmt.Errorf("%w; a clone and a gate of that time may judge again", err)}
		}
		kept = s.judge.Policies.Kept()
	} else if err != nil {
		return err
	}
	r := replayed{Decision: d.Decision.ID, Verdict: d.Decision.Verdict, Policies: kept.Digest, Engine: kept.Engine, EngineNow: policies.Engine(), Differs: []string{}}
	differs, err := policies.Replay(ctx, d.Decision, d.Input, kept)
	if err != nil {
		return &Exit{promotion.CodeInconclusive, fmt.Errorf("replay %s: %w", d.Decision.ID, err)}
	}
	r.Differs = append(r.Differs, differs...)
	r.Reproduces = len(differs) == 0
	if s.Output == "json" {
		err = report.JSON(s.Out, r)
	} else {
		err = r.write(s)
	}
	if err == nil && !r.Reproduces {
		return &Exit{Code: promotion.CodeFail}
	}
	return err
}

func (r replayed) write(s *session) error {
	engine := "OPA " + r.Engine
	if r.Engine != r.EngineNow {
		engine += ", now OPA " + r.EngineNow
	}
	said := "reproduces bit for bit"
	if !r.Reproduces {
		said = "does NOT reproduce"
	}
	_, err := fmt.Fprintf(s.Out, "decision  %s\nverdict   %s\npolicies  %s\nengine    %s\n\n%s\n", r.Decision, r.Verdict, r.Policies, engine, said)
	for _, line := range r.Differs {
		if err == nil {
			_, err = fmt.Fprintf(s.Out, "  %s\n", report.Line(line))
		}
	}
	return err
}
