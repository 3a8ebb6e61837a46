package main

import (
	"context"

	"github.com/smartcloudops/gate/pipeline/github"
)

// mark is how far the ledger was when a verdict was published: whoever reads
// that later can see a ledger that lacks it. Apart there is nothing to come back
// to.
func (s *session) mark(ctx context.Context) (github.Mark, error) {
	if s.apart != nil || s.ledger.Remote() == "" {
		return github.Mark{}, nil
	}
	m, err := s.ledger.Mark(ctx)
	return github.Mark{Seq: m.Seq, Digest: m.Digest}, err
}
