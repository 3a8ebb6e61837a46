// Package promotion takes a release into an environment, or keeps it out: it
// folds the ledger into what is desired, asks the policies, commands a target
// step by step, and records every step before it is taken.
package promotion

import (
	"time"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/policies"
)

// Types of the statements that this package writes and folds.
const (
	ReleaseType    = "https://gate.smartcloudops.dev/release/v1"
	DecisionType   = "https://gate.smartcloudops.dev/decision/v1"
	PoliciesType   = "https://gate.smartcloudops.dev/policies/v1"
	TransitionType = "https://gate.smartcloudops.dev/transition/v1"
	HoldType       = "https://gate.smartcloudops.dev/hold/v1"
	OperationsType = "https://gate.smartcloudops.dev/operations/v1"
)

// ReleaseRecord says which release a commit became, and what the commit
// declares. Its statement's digest is what a request names.
type ReleaseRecord struct {
	Release      string                     `json:"release"`
	Commit       string                     `json:"commit"`
	Subject      string                     `json:"subject,omitempty"` // the commit's first line, for people
	Authors      []string                   `json:"authors,omitempty"` // addresses of who has made the commit, its author first
	Committed    time.Time                  `json:"committed,omitzero"`
	Dirty        bool                       `json:"dirty,omitempty"`
	SourceDigest string                     `json:"source_digest"`
	TreeDigest   string                     `json:"tree_digest"`
	Builder      int                        `json:"builder,omitempty"` // version of what built it
	Declarations *environments.Declarations `json:"declarations"`
	At           time.Time                  `json:"at"`
}

// Revision is r as the named environment would run it.
func (r *ReleaseRecord) Revision(environment string) target.Revision {
	rev := target.Revision{Release: r.Release, Commit: r.Commit, Environment: r.Declarations.Environment(environment)}
	if a := r.Declarations.App; a != nil {
		rev.Probe, rev.Runbooks = a.Probe(), a.Runbooks
	}
	return rev
}

// DecisionRecord keeps a decision with all that is needed to make it again.
type DecisionRecord struct {
	Decision policies.Decision `json:"decision"`
	Input    policies.Input    `json:"input"`

	by *policies.Policies // kept beside it, once for all decisions by them
}

// Step of a promotion.
type Step string

// Steps, in their order.
const (
	Begin    Step = "begin"
	Migrate  Step = "migrate"
	Canary   Step = "canary"
	Analyse  Step = "analyse"
	Complete Step = "complete"
	Soak     Step = "soak"
	Retire   Step = "retire"
	Contract Step = "contract" // from here on the release before can't be gone back to
	Withdraw Step = "withdraw"
	End      Step = "end"
	// Claim is no step of a promotion: whoever signs it executes in the
	// environment from now on.
	Claim Step = "claim"
)

// State of a promotion.
type State string

// States.
const (
	Running    State = "running"
	Succeeded  State = "succeeded"
	Failed     State = "failed"  // judged and found wanting before anything was changed
	Errored    State = "errored" // could not be carried out
	Aborted    State = "aborted" // inconclusive, or stopped from outside
	RolledBack State = "rolled_back"
	Refused    State = "refused" // never begun: held, locked, or not consumable
	// Waiting is for approvals. It is no state on record: who follows is told it.
	Waiting State = "waiting"
)

// Kind of a promotion.
type Kind string

// Kinds.
const (
	Promote  Kind = "promote"
	Rollback Kind = "rollback" // needs no decision
)

// Transition is written before the step is taken; the last one of a promotion
// has the step End.
type Transition struct {
	Request     string `json:"request"` // commit on env/<environment>; identifies the promotion
	Kind        Kind   `json:"kind"`
	Environment string `json:"environment"`
	Record      string `json:"record"` // digest of the release record's statement
	Release     string `json:"release"`
	Commit      string `json:"commit"`
	From        string `json:"from,omitempty"`  // release record that served before
	Token       int64  `json:"token,omitempty"` // sequence number of the Begin entry; 0 in it
	Step        Step   `json:"step"`
	State       State  `json:"state"`
	Code        int    `json:"code,omitempty"`     // with End: exit code for whoever asked
	Ending      State  `json:"ending,omitempty"`   // with Withdraw: how it is to end; empty, as older gates write it: rolled back
	Round       int    `json:"round,omitempty"`    // which of the declared steps of the canary, from 1
	Rounds      int    `json:"rounds,omitempty"`   // how many there are
	Weight      int    `json:"weight,omitempty"`   // percent of the traffic in this round
	Contract    string `json:"contract,omitempty"` // name of the contract that the promotion has begun
	// Baseline is what the release is compared with once it has all traffic.
	Baseline *target.Arm `json:"baseline,omitempty"`
	// Overdue: the contract is that of the release that served before.
	Overdue        bool      `json:"overdue,omitempty"`
	ContractFailed bool      `json:"contract_failed,omitempty"` // it is tried again
	Decision       string    `json:"decision,omitempty"`
	Override       string    `json:"override,omitempty"` // statement by which it went past what people had declared
	Why            string    `json:"why,omitempty"`
	By             string    `json:"by,omitempty"`
	Synthetic      bool      `json:"synthetic,omitempty"` // declared synthetic requests took part in the comparison
	At             time.Time `json:"at"`
}

// Hold stops automation in an environment; Reason empty lifts it.
type Hold struct {
	Environment string    `json:"environment"`
	Reason      string    `json:"reason"`
	By          string    `json:"by"`
	At          time.Time `json:"at"`
}
