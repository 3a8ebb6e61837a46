package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/smartcloudops/gate/pipeline/dagger/internal/dagger"
	"github.com/smartcloudops/gate/pipeline/dagger/plain"
)

// serveStaging runs the daemon in the foreground, brings in what was measured,
// deploys, and then lets others in.
const serveStaging = `set -eu
gate serve "$ENVIRONMENT" & daemon=$!
trap 'kill -TERM $daemon 2>/dev/null' TERM INT
gate evidence import /work/evidence --commit "$COMMIT" --nonce "$NONCE" --since "$SINCE"
gate deploy "$ENVIRONMENT" --commit "$COMMIT"
forward "$PORT" & 
wait $daemon
`

// forward is the program that lets others in.
func (m *Gate) forward() *dagger.File {
	return m.machine().
		WithMountedDirectory("/work/forward", dag.CurrentModule().Source().Directory("forward")).
		WithWorkdir("/work/forward").
		WithExec([]string{"go", "build", "-trimpath", "-o", "/work/bin/forward", "main.go"}).
		File("/work/bin/forward")
}

// staging measures what admits the commit, and has a container that lets it in
// and serves it.
func (m *Gate) staging(ctx context.Context, commit string) (*dagger.Service, error) {
	began := time.Now().UTC()
	id, err := m.clean().WithExec([]string{"git", "rev-parse", "--verify", commit + "^{commit}"}).Stdout(ctx)
	if err != nil {
		return nil, fmt.Errorf("commit %.80q: %w", commit, err)
	}
	text, err := m.Source.File("environments/" + string(m.Environment) + ".yaml").Contents(ctx)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(plain.Port(text))
	if err != nil {
		return nil, fmt.Errorf("environment %s declares no port to listen on", m.Environment)
	}
	c, err := plain.NewCall("", strings.TrimSpace(id), "")
	if err != nil {
		return nil, err
	}
	admission, err := m.admission(ctx, c)
	if err != nil {
		return nil, err
	}
	evidence, err := merge(ctx, admission)
	if err != nil {
		return nil, err
	}
	on, err := m.withDatabase(ctx, m.built(c.Commit), c)
	if err != nil {
		return nil, err
	}
	return on.
		WithMountedDirectory("/work/evidence", evidence).
		WithFile("/usr/local/bin/forward", m.forward()).
		WithEnvVariable("ENVIRONMENT", string(m.Environment)).
		WithEnvVariable("COMMIT", c.Commit).
		WithEnvVariable("NONCE", c.Nonce).
		WithEnvVariable("SINCE", began.Format(time.RFC3339)).
		WithEnvVariable("PORT", strconv.Itoa(port)).
		WithExposedPort(port).
		AsService(dagger.ContainerAsServiceOpts{Args: []string{"sh", "-c", serveStaging}}), nil
}

// withDatabase binds a PostgreSQL, where the environment takes the address of one
// from a variable; else gate makes itself one.
func (m *Gate) withDatabase(ctx context.Context, on *dagger.Container, c plain.Call) (*dagger.Container, error) {
	file := "environments/" + string(m.Environment) + ".yaml"
	text, err := m.Source.File(file).Contents(ctx)
	if err != nil {
		return nil, fmt.Errorf("the clone has no %s: %w", file, err)
	}
	variable := plain.URLEnv(text)
	if variable == "" {
		return on, nil
	}
	password := secretText()
	server := m.server(secret("database", password), c.Nonce)
	return on.WithServiceBinding("postgres", server).
		WithSecretVariable(variable, secret("database-url", "postgres://postgres:"+password+"@postgres:5432/postgres")), nil
}
