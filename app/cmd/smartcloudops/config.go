package main

import (
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/smartcloudops/gate/app/postgres"
)

// ServeConfig is what serve needs to know.
type ServeConfig struct {
	Listen      string // host:port
	DatabaseURL string
	LogLevel    slog.Level
	Conns       int32
	QueryLimit  int32
	Settle      time.Duration
	Release     string
	Environment string
}

// MigrateConfig is what migrate needs to know.
type MigrateConfig struct {
	DatabaseURL string
	LogLevel    slog.Level
}

func serveConfig(getenv func(string) string) (ServeConfig, error) {
	r := reader{getenv: getenv}
	cfg := ServeConfig{
		Listen:      r.address("LISTEN_ADDR"),
		DatabaseURL: r.database("DATABASE_URL"),
		LogLevel:    r.level("LOG_LEVEL"),
		Conns:       r.number("DB_MAX_CONNS", 10, 100),
		QueryLimit:  r.number("QUERY_LIMIT", 1000, 10000),
		Settle:      r.duration("SHUTDOWN_SETTLE", 2*time.Second, time.Minute),
		Release:     r.match("RELEASE_DIGEST", digest, "sha256: and 64 hexadecimal digits"),
		Environment: r.match("ENVIRONMENT", name, "up to 63 lower-case letters, digits and -"),
	}
	return cfg, r.err()
}

func migrateConfig(getenv func(string) string) (MigrateConfig, error) {
	r := reader{getenv: getenv}
	cfg := MigrateConfig{DatabaseURL: r.database("DATABASE_URL"), LogLevel: r.level("LOG_LEVEL")}
	return cfg, r.err()
}

var (
	digest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	name   = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
)

// reader reads variables and collects all that is wrong with them, so that it
// can be mended in one go. It never repeats a value: one may be a secret in the
// wrong place.
type reader struct {
	getenv func(string) string
	wrong  []string
}

func (r *reader) err() error {
	if len(r.wrong) == 0 {
		return nil
	}
	return fmt.Errorf("%w: set in the environment: %s", ErrUsage, strings.Join(r.wrong, "; "))
}

func (r *reader) complain(name, format string, args ...any) {
	r.wrong = append(r.wrong, name+" "+fmt.Sprintf(format, args...))
}

func (r *reader) address(name string) string {
	v := r.getenv(name)
	host, port, err := net.SplitHostPort(v)
	if err != nil || host == "" {
		r.complain(name, "to host:port; 0.0.0.0 or [::] as host means all interfaces")
		return ""
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		r.complain(name, "to an address with a port from 0 to 65535")
	}
	return v
}

func (r *reader) database(name string) string {
	v := r.getenv(name)
	if v == "" {
		r.complain(name, "to postgres://user:password@host:port/database")
	} else if err := postgres.ParseURL(v); err != nil {
		r.complain(name, "anew, it %v", err)
	}
	return v
}

func (r *reader) level(name string) slog.Level {
	levels := map[string]slog.Level{"": slog.LevelInfo, "debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	level, ok := levels[r.getenv(name)]
	if !ok {
		r.complain(name, "to debug, info, warn or error")
	}
	return level
}

func (r *reader) number(name string, fallback, most int32) int32 {
	v := r.getenv(name)
	if v == "" {
		return fallback
	}
	n, err := strconv.ParseInt(v, 10, 32)
	if err != nil || n < 1 || n > int64(most) {
		r.complain(name, "to a number from 1 to %d", most)
		return fallback
	}
	return int32(n)
}

func (r *reader) duration(name string, fallback, most time.Duration) time.Duration {
	v := r.getenv(name)
	if v == "" {
		return fallback
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 || d > most {
		r.complain(name, "to a duration from 0s to %.0fs", most.Seconds())
	}
	return d
}

func (r *reader) match(name string, allowed *regexp.Regexp, form string) string {
	v := r.getenv(name)
	if v != "" && !allowed.MatchString(v) {
		r.complain(name, "to %s, or not at all", form)
	}
	return v
}
