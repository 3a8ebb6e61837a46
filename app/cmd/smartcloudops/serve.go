package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	httpapi "github.com/smartcloudops/gate/app/http"
	"github.com/smartcloudops/gate/app/postgres"
)

// serve answers requests until ctx ends. It starts without a database too:
// readiness tells, and it serves once the database is there.
func serve(ctx context.Context, cfg ServeConfig, log *slog.Logger) error {
	store, err := postgres.Open(ctx, cfg.DatabaseURL, cfg.Conns)
	if err != nil {
		return err
	}
	defer store.Close()

	registry := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{store, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := registry.Register(c); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	api, err := httpapi.New(httpapi.Config{
		Store:      store,
		Log:        log,
		Registry:   registry,
		Version:    httpapi.Version{Release: cfg.Release, Go: runtime.Version(), Environment: cfg.Environment},
		QueryLimit: int(cfg.QueryLimit),
	})
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("cannot listen, choose another LISTEN_ADDR or free this one: %w", err)
	}
	log.LogAttrs(ctx, slog.LevelInfo, "listening", slog.String("address", ln.Addr().String()),
		slog.String("release", cfg.Release), slog.String("environment", cfg.Environment))
	if err := api.Serve(ctx, ln, cfg.Settle); err != nil {
		return err
	}
	log.LogAttrs(ctx, slog.LevelInfo, "stopped")
	return nil
}
