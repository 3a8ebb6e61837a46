// Package policies judges. It is the only package that knows the policy
// engine: evidence and thresholds go in, a decision comes out.
package policies

import (
	"encoding/json"
	"slices"
	"time"
)

// Verdict of a criterion or a decision. Only Pass and Warn promote; only Fail
// rolls back by itself.
type Verdict string

// Verdicts.
const (
	Pass         Verdict = "pass"
	Warn         Verdict = "warn"
	Fail         Verdict = "fail"
	Inconclusive Verdict = "inconclusive" // not enough to tell
	Error        Verdict = "error"        // could not evaluate
)

// Promotes says whether v lets a release go on.
func (v Verdict) Promotes() bool { return v == Pass || v == Warn }

// Stage says what a decision is for: which criteria must hold.
type Stage string

// Stages.
const (
	// Admission: may the release enter its first environment? What needs no
	// running environment: tests, scan, config.
	Admission Stage = "admission"
	// Readiness: has it proved itself in this environment, for the next one?
	Readiness Stage = "readiness"
	// Promotion: may it enter an environment that is promoted into? Readiness
	// where it comes from, and the environment's own criteria.
	Promotion Stage = "promotion"
	// Serving: does what it is promoted into show itself as it must? Promotion,
	// with the environment's own address in place of the one before.
	Serving Stage = "serving"
	// Canary: do the two arms of a canary comparison agree?
	Canary Stage = "canary"
	// Proposal: may the change be merged? Readiness in an environment of its own,
	// with evidence that its own code may have made; it never promotes.
	Proposal Stage = "change"
)

// Decision on a release for an environment. The JSON keys are a contract.
type Decision struct {
	ID           string      `json:"decision"` // digest of the rest
	Release      string      `json:"release"`
	Commit       string      `json:"commit,omitempty"`
	Environment  string      `json:"environment"`
	Stage        Stage       `json:"stage"`
	Verdict      Verdict     `json:"verdict"`
	At           time.Time   `json:"at"`
	PolicyDigest string      `json:"policy_digest"`
	InputDigest  string      `json:"input_digest"`
	Criteria     []Criterion `json:"criteria"`
}

// Criterion is the verdict on one criterion.
type Criterion struct {
	ID       string   `json:"id"`
	Title    string   `json:"title"`
	Verdict  Verdict  `json:"verdict"`
	Got      string   `json:"got"`
	Want     string   `json:"want"`
	Evidence []string `json:"evidence"` // digests of the statements behind it
	Why      string   `json:"why"`
	Next     string   `json:"next"`
	// Waiver names the waiver in force, or an expired one that is still there.
	Waiver string `json:"waiver,omitempty"`
}

// Of is d about some criteria alone, with the worst of their verdicts; error
// when none of them was judged. It is no decision any more, and has no id.
func (d Decision) Of(criteria []string) Decision {
	all, rank := d.Criteria, len(verdicts)
	d.ID, d.Criteria, d.Verdict = "", []Criterion{}, Error
	for _, c := range all {
		if slices.Contains(criteria, c.ID) {
			d.Criteria = append(d.Criteria, c)
			rank = min(rank, slices.Index(verdicts, c.Verdict))
		}
	}
	if rank >= 0 && rank < len(verdicts) {
		d.Verdict = verdicts[rank]
	}
	return d
}

// Input is what a policy sees. It is kept with the decision, so that the
// decision can be made again bit for bit.
type Input struct {
	At          time.Time                 `json:"at"` // the clock
	Stage       Stage                     `json:"stage"`
	Environment string                    `json:"environment"`
	Release     string                    `json:"release"`
	Commit      string                    `json:"commit,omitempty"`
	Bootstrap   bool                      `json:"bootstrap"`        // the target proved that it never served, and the history is empty
	Dirty       bool                      `json:"dirty"`            // built from a tree with uncommitted changes
	Branch      *Branch                   `json:"branch,omitempty"` // nil: none is protected
	Change      *Change                   `json:"change,omitempty"` // with Proposal
	Waivers     []Waiver                  `json:"waivers,omitempty"`
	Expected    map[string]Expected       `json:"expected"`   // check → the only evidence that counts
	Thresholds  map[string]map[string]any `json:"thresholds"` // criterion → name → value
	Evidence    []Record                  `json:"evidence"`
}

// Waiver excuses a criterion in an environment from Since, and before Until.
type Waiver struct {
	Name        string    `json:"name"`
	Criterion   string    `json:"criterion"`
	Environment string    `json:"environment"`
	Since       time.Time `json:"since"`
	Until       time.Time `json:"until"`
	Reason      string    `json:"reason"`
	Author      string    `json:"author"`
}

// Branch is the protected branch, and whether the commit is on it.
type Branch struct {
	Name     string `json:"name"`
	Contains string `json:"contains"` // yes, no, unknown
}

// Change is what a proposal does to the commit that it is to be merged into.
type Change struct {
	Base      string      `json:"base"`      // commit
	Author    string      `json:"author"`    // GitHub login; empty: unknown
	Files     int         `json:"files"`     // that it touches
	Owned     []OwnedFile `json:"owned"`     // of them, those that measure and judge
	Approvals []Approval  `json:"approvals"` // by those who may
}

// OwnedFile is a touched file that says how a change is measured and judged.
type OwnedFile struct {
	Path string `json:"path"`
	Kind string `json:"kind"`
}

// Approval is somebody's consent to exactly one commit.
type Approval struct {
	By     string `json:"by"`
	Commit string `json:"commit"`
}

// Expected identifies the evidence that a criterion accepts.
type Expected struct {
	Version     int    `json:"version"`
	Scope       string `json:"scope"`
	Subject     string `json:"subject"` // digest
	Environment string `json:"environment"`
	Key         string `json:"key"`
	Trust       string `json:"trust"` // private or public: what the environment declares of its certificate; empty where it does not matter
	// Inputs are what a canary is judged by beside its requests, by name.
	Inputs map[string]Bound `json:"inputs,omitempty"`
}

// Bound is what a number must keep to: any of Max, Min, and what stands beside it
// times Ratio, and Slack.
type Bound struct {
	Kind  string   `json:"kind"`
	Max   *float64 `json:"max,omitempty"`
	Min   *float64 `json:"min,omitempty"`
	Ratio *float64 `json:"ratio,omitempty"`
	Slack float64  `json:"slack,omitempty"`
}

// Record is evidence as the policy sees it: one run, or all completed runs of
// one key pooled.
type Record struct {
	Digests     []string        `json:"digests"` // of the statements, at least one
	Check       string          `json:"check"`
	Version     int             `json:"version"`
	Scope       string          `json:"scope"`
	Subject     string          `json:"subject"`
	Environment string          `json:"environment"`
	Key         string          `json:"key"`
	Status      string          `json:"status"`
	Reason      string          `json:"reason"`
	Trust       string          `json:"trust"`   // base or change
	Trusted     bool            `json:"trusted"` // every signature verified by a key that may measure for this environment
	Runs        int             `json:"runs"`
	Finished    time.Time       `json:"finished"` // of the newest run
	AgeSeconds  float64         `json:"age_seconds"`
	Payload     json.RawMessage `json:"payload"`
}
