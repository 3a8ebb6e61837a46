// Package postgres keeps samples in PostgreSQL.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/smartcloudops/gate/app"
)

const (
	connectTimeout = 3 * time.Second
	// statementTimeout is enforced by the server, so that no query outlives the
	// request that it was for.
	statementTimeout = 4 * time.Second
	probeTimeout     = 2 * time.Second
)

// Store is an app.Store. Its role needs to read and write rows, no more.
type Store struct {
	pool *pgxpool.Pool
	// probes has one connection of its own: an instance with all connections
	// busy is not broken, and taking it out of service would only move its load
	// to the others.
	probes *pgxpool.Pool
	wants  int64 // schema version
}

var _ app.Store = (*Store)(nil)

// ParseURL returns an error that does not repeat url if url, of the form
// postgres://user:password@host:port/database, cannot be used.
func ParseURL(url string) error {
	_, err := parse(url, 1)
	return err
}

// Open makes a store with at most conns connections, and one more for probes.
// It does not connect yet: Ready tells whether the database is there.
func Open(ctx context.Context, url string, conns int32) (*Store, error) {
	steps, err := migrations()
	if err != nil {
		return nil, err
	}
	wants, err := newest(steps)
	if err != nil {
		return nil, err
	}
	cfg, err := parse(url, conns)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("make the connection pool: %w", err)
	}
	cfg = cfg.Copy()
	cfg.MaxConns = 1
	probes, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		pool.Close()
		return nil, fmt.Errorf("make the connection for probes: %w", err)
	}
	return &Store{pool: pool, probes: probes, wants: wants}, nil
}

// Close waits until all connections are back and closes them.
func (s *Store) Close() {
	s.pool.Close()
	s.probes.Close()
}

func parse(raw string, conns int32) (*pgxpool.Config, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		// What url.Parse says may quote a part of the password.
		return nil, errors.New("is not a URL of the form postgres://user:password@host:port/database")
	}
	cfg, err := pgxpool.ParseConfig(raw)
	if err != nil {
		return nil, urlError(err)
	}
	cfg.MaxConns = conns
	cfg.MaxConnLifetimeJitter = 5 * time.Minute
	cfg.ConnConfig.ConnectTimeout = connectTimeout
	params := cfg.ConnConfig.RuntimeParams
	params["application_name"] = "smartcloudops"
	params["statement_timeout"] = strconv.FormatInt(statementTimeout.Milliseconds(), 10)
	params["idle_in_transaction_session_timeout"] = params["statement_timeout"]
	return cfg, nil
}

// urlError leaves out the URL, which holds a password.
func urlError(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		var quoting *url.Error
		if !errors.As(inner, &quoting) {
			return fmt.Errorf("cannot be used: %w", inner)
		}
	}
	return errors.New("cannot be used: write it as postgres://user:password@host:port/database")
}

// Append implements app.Store with one statement, which is its own transaction.
func (s *Store) Append(ctx context.Context, b app.Batch) error {
	samples := b.Samples()
	if len(samples) == 0 {
		return nil
	}
	sources := make([]string, len(samples))
	metrics := make([]string, len(samples))
	times := make([]time.Time, len(samples))
	values := make([]float64, len(samples))
	for i, m := range samples {
		sources[i], metrics[i], times[i], values[i] = m.Source, m.Metric, m.Time, m.Value
	}
	err := persist(ctx, func() error {
		_, err := s.pool.Exec(ctx, `
			INSERT INTO metric_samples (source, metric, sampled_at, value)
			SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::double precision[])
			ON CONFLICT (source, metric, sampled_at) DO NOTHING`,
			sources, metrics, times, values)
		return err
	})
	if err != nil {
		return fmt.Errorf("store %d samples: %w", len(samples), err)
	}
	return nil
}

// Select implements app.Store.
func (s *Store) Select(ctx context.Context, q app.Query) ([]app.Sample, error) {
	sql, args := selection(q)
	var samples []app.Sample
	err := persist(ctx, func() error {
		rows, err := s.pool.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		samples, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (app.Sample, error) {
			var m app.Sample
			err := row.Scan(&m.Source, &m.Metric, &m.Time, &m.Value)
			m.Time = m.Time.UTC()
			return m, err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("select samples: %w", err)
	}
	return samples, nil
}

// selection names only the conditions that restrict, so that the planner sees
// which index fits.
func selection(q app.Query) (string, []any) {
	var where []string
	var args []any
	add := func(condition string, v any) {
		args = append(args, v)
		where = append(where, condition+" $"+strconv.Itoa(len(args)))
	}
	if q.Source != "" {
		add("source =", q.Source)
	}
	if q.Metric != "" {
		add("metric =", q.Metric)
	}
	if !q.From.IsZero() {
		add("sampled_at >=", q.From)
	}
	if !q.To.IsZero() {
		add("sampled_at <", q.To)
	}
	var sql strings.Builder
	sql.WriteString("SELECT source, metric, sampled_at, value FROM metric_samples")
	if len(where) > 0 {
		sql.WriteString(" WHERE " + strings.Join(where, " AND "))
	}
	args = append(args, q.Limit)
	sql.WriteString(" ORDER BY sampled_at, source, metric LIMIT $" + strconv.Itoa(len(args)))
	return sql.String(), args
}

// Ready implements app.Store. A schema newer than this release is fine: an
// older release must be able to run again after a rollback.
func (s *Store) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var version int64
	err := s.probes.QueryRow(ctx, `SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied`).Scan(&version)
	switch code := sqlState(err); {
	case code == undefinedTable:
		return &app.NotReadyError{Reason: "the database has no schema yet; run migrate"}
	case code == insufficientPrivilege:
		return &app.NotReadyError{Reason: "the role of the service may not read the schema's version; grant it SELECT on goose_db_version", Err: err}
	case err != nil:
		return &app.NotReadyError{Reason: "the database does not answer", Err: err}
	case version < s.wants:
		return &app.NotReadyError{Reason: fmt.Sprintf("the schema has version %d, this release needs %d; run migrate", version, s.wants)}
	}
	return nil
}

// SQLSTATE codes.
const (
	undefinedTable        = "42P01"
	insufficientPrivilege = "42501"
	queryCanceled         = "57014"
)

// sqlState is the code that the server gave for err, or nothing.
func sqlState(err error) string {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return refused.Code
	}
	return ""
}
