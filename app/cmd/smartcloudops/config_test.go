package main

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

const url = "postgres://app:hunter2@127.0.0.1:5432/db"

func env(pairs ...string) func(string) string {
	m := map[string]string{"LISTEN_ADDR": "127.0.0.1:4321", "DATABASE_URL": url}
	for i := 0; i+1 < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return m[name] }
}

func TestServeConfig(t *testing.T) {
	got, err := serveConfig(env())
	want := ServeConfig{Listen: "127.0.0.1:4321", DatabaseURL: url, LogLevel: slog.LevelInfo, Conns: 10, QueryLimit: 1000, Settle: 2 * time.Second}
	if err != nil || got != want {
		t.Errorf("the least configuration gives %+v (%v), want %+v", got, err, want)
	}
	digest := "sha256:" + strings.Repeat("0f", 32)
	got, err = serveConfig(env("LISTEN_ADDR", "[::1]:0", "LOG_LEVEL", "debug", "DB_MAX_CONNS", "100", "QUERY_LIMIT", "1",
		"SHUTDOWN_SETTLE", "0s", "RELEASE_DIGEST", digest, "ENVIRONMENT", "staging"))
	want = ServeConfig{"[::1]:0", url, slog.LevelDebug, 100, 1, 0, digest, "staging"}
	if err != nil || got != want {
		t.Errorf("a full configuration gives %+v (%v), want %+v", got, err, want)
	}
}

func TestServeConfigRefuses(t *testing.T) {
	for _, pair := range [][2]string{
		{"LISTEN_ADDR", ""}, {"LISTEN_ADDR", ":80"}, {"LISTEN_ADDR", "localhost"}, {"LISTEN_ADDR", "127.0.0.1:http"}, {"LISTEN_ADDR", "127.0.0.1:70000"},
		{"DATABASE_URL", ""}, {"DATABASE_URL", "host=h"}, {"DATABASE_URL", "postgres://app:hunter2/x@h/db"},
		{"LOG_LEVEL", "loud"}, {"DB_MAX_CONNS", "0"}, {"DB_MAX_CONNS", "101"}, {"DB_MAX_CONNS", "ten"}, {"QUERY_LIMIT", "-1"},
		{"SHUTDOWN_SETTLE", "2"}, {"SHUTDOWN_SETTLE", "-1s"}, {"SHUTDOWN_SETTLE", "1h"},
		{"RELEASE_DIGEST", "sha256:abc"}, {"ENVIRONMENT", "Staging\n"},
	} {
		_, err := serveConfig(env(pair[0], pair[1]))
		if !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), pair[0]) {
			t.Errorf("%s=%q: got %v, want a complaint about it", pair[0], pair[1], err)
			continue
		}
		if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s=%q: the error shows a secret or is not one line: %v", pair[0], pair[1], err)
		}
	}
	_, err := serveConfig(func(string) string { return "" })
	if err == nil || !strings.Contains(err.Error(), "LISTEN_ADDR") || !strings.Contains(err.Error(), "DATABASE_URL") {
		t.Errorf("not all that is wrong is named at once: %v", err)
	}
}

func TestRunUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"import"}, {"serve", "now"}, {"migrate"}, {"serve"}} {
		err := Run(t.Context(), args, Streams{Getenv: func(string) string { return "" }, Out: t.Output(), Err: t.Output()})
		if !errors.Is(err, ErrUsage) {
			t.Errorf("%q: got %v, want wrong usage", args, err)
		}
	}
	var out bytes.Buffer
	if err := Run(t.Context(), []string{"help"}, Streams{Getenv: env(), Out: &out, Err: t.Output()}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"DATABASE_URL", "LOG_LEVEL", "LISTEN_ADDR", "DB_MAX_CONNS", "QUERY_LIMIT", "SHUTDOWN_SETTLE", "RELEASE_DIGEST", "ENVIRONMENT"} {
		if !strings.Contains(out.String(), name) {
			t.Errorf("help does not tell of %s", name)
		}
	}
}
