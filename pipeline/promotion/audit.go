package promotion

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/ledger"
)

// Cited is a statement behind a release's readiness.
type Cited struct {
	Role    string   `json:"role"` // release, decision, evidence, policies or transition
	What    string   `json:"what"` // for people
	Digest  string   `json:"digest"`
	Seq     int64    `json:"seq"`
	Signers []string `json:"signers"`
}

// Audit is everything behind "it was ready".
type Audit struct {
	Release     string           `json:"release"`
	Commit      string           `json:"commit"`
	Environment string           `json:"environment"`
	Promotion   *Transition      `json:"promotion"` // how the promotion ended; nil: there was none
	Decisions   []DecisionRecord `json:"decisions"`
	Statements  []Cited          `json:"statements"` // in the ledger's order
	Missing     []string         `json:"missing"`    // what is cited and not on record
}

// Audit collects what stands behind the release in the environment: the
// decisions of its last promotion there, or where there was none the newest
// decision on it, with all that they cite. record is the release's, nil where it
// has no decision there.
func (j *Journal) Audit(ctx context.Context, record, environment string) (*Audit, error) {
	v, err := j.View(ctx)
	if err != nil {
		return nil, err
	}
	rec := v.Releases[record]
	a := &Audit{Release: rec.Release, Commit: rec.Commit, Environment: environment, Decisions: []DecisionRecord{}, Statements: []Cited{}, Missing: []string{}}
	for _, t := range v.Environment(environment).History {
		if t.Release == rec.Release && (a.Promotion == nil || t.State == Succeeded || a.Promotion.State != Succeeded) {
			a.Promotion = &t
		}
	}
	all, err := j.Ledger.Entries(ctx, 0)
	if err != nil {
		return nil, err
	}
	wanted, err := j.decidedFor(all, a)
	if err != nil {
		return nil, err
	}
	cited := map[string]bool{record: true}
	policy := map[string]bool{}
	for _, d := range a.Decisions {
		policy[d.Decision.PolicyDigest] = true
		for _, r := range d.Input.Evidence {
			for _, e := range r.Digests {
				cited[e] = true
			}
		}
	}
	seen := map[string]bool{}
	for _, r := range all {
		role, what, err := j.role(r, a, cited, wanted, policy)
		if err != nil {
			return nil, err
		}
		if role != "" && !seen[r.Digest] {
			seen[r.Digest] = true
			a.Statements = append(a.Statements, Cited{Role: role, What: what, Digest: r.Digest, Seq: r.Entry.Seq, Signers: r.Signers})
		}
	}
	for digest := range cited {
		// The daemon's own figures of a canary are in its decision, nowhere else.
		if !seen[digest] && !a.inCanary(digest) {
			a.Missing = append(a.Missing, digest)
		}
	}
	for digest := range policy {
		if !seen[digest] {
			a.Missing = append(a.Missing, "policies "+digest)
		}
	}
	slices.Sort(a.Missing)
	return a, nil
}

func (a *Audit) inCanary(digest string) bool {
	for _, d := range a.Decisions {
		for _, r := range d.Input.Evidence {
			if r.Check == "canary" && slices.Contains(r.Digests, digest) {
				return true
			}
		}
	}
	return false
}

// decidedFor notes a's decisions, and returns the digests of their statements.
func (j *Journal) decidedFor(all []ledger.Record, a *Audit) (map[string]bool, error) {
	ids := map[string]bool{}
	for _, r := range all {
		var t Transition
		if a.Promotion != nil && r.Statement.Type == TransitionType && json.Unmarshal(r.Statement.Predicate, &t) == nil && t.Request == a.Promotion.Request && t.Decision != "" {
			ids[t.Decision] = true
		}
	}
	wanted := map[string]bool{}
	for _, r := range slices.Backward(all) {
		if r.Statement.Type != DecisionType {
			continue
		}
		var d DecisionRecord
		if err := json.Unmarshal(r.Statement.Predicate, &d); err != nil {
			return nil, fmt.Errorf("decision %s: %w", r.Digest, err)
		}
		newest := len(ids) == 0 && len(a.Decisions) == 0 && d.Decision.Release == a.Release && d.Decision.Environment == a.Environment
		if ids[d.Decision.ID] || newest {
			wanted[r.Digest] = true
			delete(ids, d.Decision.ID)
			a.Decisions = append(a.Decisions, d)
			if newest {
				break
			}
		}
	}
	for id := range ids {
		a.Missing = append(a.Missing, "decision "+id)
	}
	slices.Reverse(a.Decisions)
	return wanted, nil
}

// role is what the record has to do with a; empty: nothing.
func (j *Journal) role(r ledger.Record, a *Audit, cited, wanted, policy map[string]bool) (role, what string, err error) {
	into := func(x any) {
		if err == nil {
			err = json.Unmarshal(r.Statement.Predicate, x)
		}
	}
	switch r.Statement.Type {
	case ReleaseType:
		if cited[r.Digest] {
			return "release", a.Release + " of commit " + a.Commit, nil
		}
	case DecisionType:
		if wanted[r.Digest] {
			var d DecisionRecord
			into(&d)
			return "decision", fmt.Sprintf("%s: %s", d.Decision.Stage, d.Decision.Verdict), err
		}
	case PoliciesType:
		var k struct {
			Digest string `json:"digest"`
			Engine string `json:"engine"`
		}
		if into(&k); policy[k.Digest] {
			delete(policy, k.Digest)
			return "policies", fmt.Sprintf("%s, OPA %s", k.Digest, k.Engine), err
		}
	case checks.EvidenceType:
		if cited[r.Digest] {
			var e checks.Evidence
			into(&e)
			return "evidence", fmt.Sprintf("%s: %s", e.Check, e.Status), err
		}
	case TransitionType:
		var t Transition
		if into(&t); a.Promotion != nil && t.Request == a.Promotion.Request {
			return "transition", fmt.Sprintf("%s: %s", t.Step, t.State), err
		}
	}
	return "", "", err
}
