package promotion

import (
	"context"

	"github.com/smartcloudops/gate/pipeline/ledger"
	"github.com/smartcloudops/gate/pipeline/target"
)

// Operations are what an environment's daemon did by itself since it last said
// so, oldest first. They change nothing that is desired.
type Operations struct {
	Environment string             `json:"environment"`
	Operations  []target.Operation `json:"operations"`
	Left        int                `json:"left,omitempty"` // how many older ones were too many to be listed
}

// Operations records them, if there are any.
func (j *Journal) Operations(ctx context.Context, o Operations) error {
	if len(o.Operations) == 0 {
		return nil
	}
	_, err := j.append(ctx, OperationsType, ledger.Named(o.Environment), o)
	return err
}
