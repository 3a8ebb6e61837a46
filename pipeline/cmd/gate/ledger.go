package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/smartcloudops/gate/pipeline/ledger"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/report"
)

// LedgerCmd is about the ledger itself.
type LedgerCmd struct {
	Verify LedgerVerifyCmd `cmd:"" help:"Verify every record, signature and the chain."`
	Pack   LedgerPackCmd   `cmd:"" help:"Pack the ledger's objects."`
}

// LedgerVerifyCmd verifies.
type LedgerVerifyCmd struct {
	Accept bool `help:"Take the ledger as it stands, after one was restored or its high-water mark was lost: what was cut off before shows no more."`
}

// Run verifies, and ends with 3 when something is wrong.
func (c LedgerVerifyCmd) Run(ctx context.Context, g *Globals) error {
	s, err := g.open(ctx)
	if err != nil {
		if errors.Is(err, ledger.ErrTruncated) || errors.Is(err, ledger.ErrBroken) {
			return &Exit{promotion.CodeFail, err}
		}
		return err
	}
	defer s.close()
	verify := s.ledger.Verify
	if c.Accept {
		verify = s.ledger.Accept
	}
	r, err := verify(ctx)
	if err != nil && !errors.Is(err, ledger.ErrTruncated) && !errors.Is(err, ledger.ErrBroken) {
		return err
	}
	if s.Output == "json" {
		if jerr := report.JSON(s.Out, r); jerr != nil {
			return jerr
		}
	} else if err == nil {
		fmt.Fprintf(s.Out, "ledger %s of %s: %d entries, %d statements, every signature and link right; head %s\n", r.Ledger, r.App, r.Entries, r.Statements, r.Digest)
	}
	if err != nil {
		return &Exit{promotion.CodeFail, err}
	}
	return nil
}

// LedgerPackCmd packs.
type LedgerPackCmd struct{}

// Run packs.
func (LedgerPackCmd) Run(ctx context.Context, g *Globals) error {
	s, err := g.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	return s.ledger.Pack(ctx)
}
