package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var embedded embed.FS

// migrations are the schema's steps that are part of this release.
func migrations() (fs.FS, error) {
	sub, err := fs.Sub(embedded, "migrations")
	if err != nil {
		return nil, fmt.Errorf("read the migrations: %w", err)
	}
	return sub, nil
}

// lockTimeout bounds how long a migration may wait for a table. While it waits,
// everything else that wants the table queues behind it.
const lockTimeout = "5s"

// Migrate brings the schema to the version that this release wants. url must be
// of the role that owns the schema. Each migration is one transaction: one that
// fails changes nothing. Several runs at once take turns. A schema that is
// newer is left alone.
func Migrate(ctx context.Context, url string, log *slog.Logger) error {
	steps, err := migrations()
	if err != nil {
		return err
	}
	return migrate(ctx, url, steps, log)
}

func migrate(ctx context.Context, url string, steps fs.FS, log *slog.Logger) error {
	cfg, err := parse(url, 1)
	if err != nil {
		return fmt.Errorf("DATABASE_URL %w", err)
	}
	conn := cfg.ConnConfig
	conn.RuntimeParams["application_name"] = "smartcloudops migrate"
	conn.RuntimeParams["lock_timeout"] = lockTimeout
	delete(conn.RuntimeParams, "statement_timeout") // a migration takes what it takes
	db := stdlib.OpenDB(*conn)
	defer db.Close()

	if err := db.PingContext(ctx); err != nil {
		return fmt.Errorf("cannot migrate, the database does not answer; see that it runs and that DATABASE_URL is right: %w", err)
	}
	turns, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 60)) // every second, for a minute
	if err != nil {
		return fmt.Errorf("make the migration lock: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, steps,
		goose.WithSessionLocker(turns), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	done, err := provider.Up(ctx)
	var partial *goose.PartialError
	if errors.As(err, &partial) {
		done = partial.Applied
	}
	for _, r := range done {
		log.LogAttrs(ctx, slog.LevelInfo, "migrated", slog.String("migration", r.Source.Path), slog.Duration("took", r.Duration))
	}
	switch {
	case partial != nil && partial.Failed != nil:
		return fmt.Errorf("migration %s failed and changed nothing, %d before it were applied; mend it and migrate again: %w",
			partial.Failed.Source.Path, len(done), partial.Err)
	case err != nil:
		return fmt.Errorf("migrate: %w", err)
	}
	log.LogAttrs(ctx, slog.LevelInfo, "schema is up to date", slog.Int("applied", len(done)))
	return nil
}

// newest is the highest version among steps.
func newest(steps fs.FS) (int64, error) {
	names, err := fs.Glob(steps, "*.sql")
	if err != nil {
		return 0, fmt.Errorf("list the migrations: %w", err)
	}
	var top int64
	for _, name := range names {
		v, err := goose.NumericComponent(name)
		if err != nil {
			return 0, fmt.Errorf("migration %s has no version in its name: %w", name, err)
		}
		top = max(top, v)
	}
	return top, nil
}
