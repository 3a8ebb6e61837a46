package promotion

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/smartcloudops/gate/policies"
)

// ErrUnkept: something that is needed to make a decision again was not kept.
var ErrUnkept = errors.New("is not kept")

// Decided is the decision on record that ref names by its id, or by the digest
// of its statement; eight digits are enough. The digest is the statement's.
func (j *Journal) Decided(ctx context.Context, ref string) (d DecisionRecord, digest string, err error) {
	records, err := j.Ledger.Entries(ctx, 0)
	if err != nil {
		return d, "", err
	}
	hex := strings.TrimPrefix(ref, "sha256:")
	for _, r := range records {
		if r.Statement.Type != DecisionType || len(hex) < 8 {
			continue
		}
		var one DecisionRecord
		if err := json.Unmarshal(r.Statement.Predicate, &one); err != nil {
			return d, "", fmt.Errorf("decision %s: %w", r.Digest, err)
		}
		if strings.HasPrefix(strings.TrimPrefix(one.Decision.ID, "sha256:"), hex) || strings.HasPrefix(strings.TrimPrefix(r.Digest, "sha256:"), hex) {
			d, digest = one, r.Digest
		}
	}
	if digest == "" {
		return d, "", fmt.Errorf("decision %s %w", ref, ErrUnkept)
	}
	return d, digest, nil
}

// Policies are those on record with the digest, and the digest of their
// statement.
func (j *Journal) Policies(ctx context.Context, policyDigest string) (k policies.Kept, digest string, err error) {
	records, err := j.Ledger.Entries(ctx, 0)
	if err != nil {
		return k, "", err
	}
	for _, r := range records {
		if r.Statement.Type != PoliciesType {
			continue
		}
		// One of its own each time: files of others would stay in the map.
		var one policies.Kept
		if err := json.Unmarshal(r.Statement.Predicate, &one); err != nil {
			return k, "", fmt.Errorf("policies %s: %w", r.Digest, err)
		}
		if one.Digest == policyDigest {
			return one, r.Digest, nil
		}
	}
	return policies.Kept{}, "", fmt.Errorf("the policy %s %w: it was decided by before gate kept policies", policyDigest, ErrUnkept)
}
