package main

import (
	"context"
	"fmt"
	"sort"
	"strings"

	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/report"
)

// EvidenceCmd is about evidence.
type EvidenceCmd struct {
	List   EvidenceListCmd   `cmd:"" help:"List the evidence on record, the newest last."`
	Show   EvidenceShowCmd   `cmd:"" help:"Show one statement with who signed it."`
	Import EvidenceImportCmd `cmd:"" help:"Sign what another machine has measured, if it is what was asked for, or the hours that gate watch has kept."`
}

// EvidenceListCmd lists.
type EvidenceListCmd struct{}

// Run lists.
func (EvidenceListCmd) Run(ctx context.Context, g *Globals) error {
	s, err := g.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	v, err := s.journal.View(ctx)
	if err != nil {
		return err
	}
	all := v.AllEvidence()
	sort.Slice(all, func(i, j int) bool { return all[i].Evidence.Finished.Before(all[j].Evidence.Finished) })
	if s.Output == "json" {
		return report.JSON(s.Out, all)
	}
	return report.Evidence(s.Out, all)
}

// EvidenceShowCmd shows.
type EvidenceShowCmd struct {
	Digest string `arg:"" help:"Digest of the statement; eight characters are enough."`
}

// Run shows.
func (c *EvidenceShowCmd) Run(ctx context.Context, g *Globals) error {
	s, err := g.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	records, err := s.ledger.Entries(ctx, 0)
	if err != nil {
		return err
	}
	for _, r := range records {
		if r.Digest == c.Digest || len(c.Digest) >= 8 && strings.HasPrefix(strings.TrimPrefix(r.Digest, "sha256:"), strings.TrimPrefix(c.Digest, "sha256:")) {
			return report.JSON(s.Out, map[string]any{
				"digest": r.Digest, "seq": r.Entry.Seq, "at": r.Entry.At, "type": r.Statement.Type, "signers": r.Signers,
				"subject": r.Statement.Subject, "predicate": r.Statement.Predicate,
			})
		}
	}
	return &Exit{promotion.CodeUsage, fmt.Errorf("no statement %s is on record: gate evidence list shows them", c.Digest)}
}
