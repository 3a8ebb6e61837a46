package main

import (
	"context"
	"log/slog"

	"github.com/smartcloudops/gate/app/postgres"
)

func migrate(ctx context.Context, cfg MigrateConfig, log *slog.Logger) error {
	return postgres.Migrate(ctx, cfg.DatabaseURL, log)
}
