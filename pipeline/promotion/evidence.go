package promotion

import (
	"context"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/ledger"
)

// EvidenceAll records all of the evidence or none, and returns its digests in
// the same order.
func (j *Journal) EvidenceAll(ctx context.Context, all []checks.Evidence) ([]string, error) {
	statements := make([]ledger.Statement, len(all))
	for i, e := range all {
		var err error
		if statements[i], err = statement(checks.EvidenceType, ledger.Digested(e.Subject.Name, e.Subject.Digest), e); err != nil {
			return nil, err
		}
	}
	entries, err := j.Ledger.AppendAll(ctx, statements)
	if err := j.told(err); err != nil {
		return nil, err
	}
	digests := make([]string, len(entries))
	for i, e := range entries {
		digests[i] = e.Statement
	}
	return digests, nil
}
