package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// ErrUsage: the arguments or the environment are not right; nothing was done.
var ErrUsage = errors.New("wrong usage")

// Streams are how the program reaches what is around it.
type Streams struct {
	Getenv func(string) string
	Out    io.Writer
	Err    io.Writer // the log, as JSON lines
}

const usage = `smartcloudops stores samples of metrics and gives them back over HTTP.

  smartcloudops serve     answer requests until SIGTERM or SIGINT
  smartcloudops migrate   bring the database's schema to what this release needs

Environment of both:
  DATABASE_URL     required: postgres://user:password@host:port/database;
                   for migrate of the role that owns the schema, for serve of
                   one that may only read and write rows
  LOG_LEVEL        debug, info, warn or error (info)

Environment of serve:
  LISTEN_ADDR      required: host:port
  DB_MAX_CONNS     connections to the database, 1 to 100 (10); one more is for
                   readiness
  QUERY_LIMIT      samples that one query may return, 1 to 10000 (1000)
  SHUTDOWN_SETTLE  how long connections are still accepted after SIGTERM while
                   /readyz says 503, 0s to 60s (2s): longer than a load
                   balancer needs to notice; shorter where it is told before
  RELEASE_DIGEST   shown by /version: sha256: and 64 hexadecimal digits
  ENVIRONMENT      shown by /version
`

// Run does what args say. Errors wrap ErrUsage where the caller is to mend the
// arguments or the environment. It returns nil for a service that was told to
// stop, by the end of ctx, and dropped nothing.
func Run(ctx context.Context, args []string, streams Streams) error {
	if len(args) != 1 {
		return fmt.Errorf("%w: say one of serve, migrate, help", ErrUsage)
	}
	switch args[0] {
	case "serve":
		cfg, err := serveConfig(streams.Getenv)
		if err != nil {
			return err
		}
		return serve(ctx, cfg, logger(streams, cfg.LogLevel))
	case "migrate":
		cfg, err := migrateConfig(streams.Getenv)
		if err != nil {
			return err
		}
		return migrate(ctx, cfg, logger(streams, cfg.LogLevel))
	case "help", "-h", "--help":
		_, err := io.WriteString(streams.Out, usage)
		return err
	}
	return fmt.Errorf("%w: there is no %q; say one of serve, migrate, help", ErrUsage, args[0])
}

func logger(streams Streams, level slog.Level) *slog.Logger {
	return slog.New(slog.NewJSONHandler(streams.Err, &slog.HandlerOptions{Level: level}))
}
