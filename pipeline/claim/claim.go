// Package claim hands evidence from a machine that measures, and runs code of
// the change, to one that signs, and runs none. What arrives is a claim: it is
// believed as far as it can be computed again, and the rest of it is bound to
// the one call that asked for it.
package claim

import (
	"errors"
	"time"

	"github.com/smartcloudops/gate/checks"
)

// Format of the folder that Write makes and Read reads.
const Format = 1

// ErrRefused: a claim is not what was asked for. Nothing of it is taken.
var ErrRefused = errors.New("claim refused")

// Claim is claim.json: what was measured, for whom.
type Claim struct {
	Format      int       `json:"format"`
	App         string    `json:"app"`
	Commit      string    `json:"commit"`
	Release     string    `json:"release"`        // digest; empty: it did not build
	Base        string    `json:"base,omitempty"` // commit whose judge and meter it was; empty: the commit's own
	Environment string    `json:"environment"`
	Machine     string    `json:"machine"` // class
	Nonce       string    `json:"nonce"`
	Started     time.Time `json:"started"`
	Finished    time.Time `json:"finished"`
}

// Folder is what Read found: the claim, and its evidence by check in the order
// of their names.
type Folder struct {
	Claim    Claim
	Evidence []checks.Evidence
}
