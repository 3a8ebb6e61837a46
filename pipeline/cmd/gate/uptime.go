package main

import (
	"context"
	"time"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/target"
)

// uptime records full hours of the environment's uptime, one statement each,
// under this machine's key: it counts where that key may measure.
func (s *session) uptime(e *environments.Environment) func(context.Context, []checks.UptimeHour) error {
	return func(ctx context.Context, hours []checks.UptimeHour) error {
		all := make([]checks.Evidence, 0, len(hours))
		for _, h := range hours {
			in := checks.Input{Declarations: s.decl, Environment: e}
			all = append(all, checks.UptimeOf(in, []checks.UptimeHour{h}, time.Now()))
		}
		_, err := s.journal.EvidenceAll(ctx, all)
		return err
	}
}

// operations records what the environment's daemon did by itself, all of it as
// one statement.
func (s *session) operations(environment string) func(context.Context, []target.Operation, int) error {
	return func(ctx context.Context, all []target.Operation, left int) error {
		return s.journal.Operations(ctx, promotion.Operations{Environment: environment, Operations: all, Left: left})
	}
}
