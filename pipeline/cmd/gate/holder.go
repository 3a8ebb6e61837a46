package main

import (
	"context"

	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/target/local"
)

// HoldSocketsCmd keeps the listening socket of an environment. Daemons start it.
type HoldSocketsCmd struct {
	Folder string `arg:"" help:"The environment's folder: it names the process."`
}

// Run holds until a daemon says that it is over, or none comes any more.
func (*HoldSocketsCmd) Run(ctx context.Context) error {
	if err := local.Hold(ctx); err != nil {
		return &Exit{promotion.CodeUsage, err}
	}
	return nil
}
