package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/smartcloudops/gate/pipeline/dagger/internal/dagger"
	"github.com/smartcloudops/gate/pipeline/dagger/plain"
)

// access is what opens the ledger's remote.
type access struct {
	key, token *dagger.Secret
	server     string
	ssh        *dagger.Socket
	knownHosts *dagger.File
	authority  *dagger.File
}

// askpass answers Git for one server alone, whatever the clone declares.
const askpass = `#!/bin/sh
case "$1" in
"Username for '%[1]s':"*) echo x-access-token ;;
"Password for '%[2]s':"*) cat /run/secrets/token ;;
*) exit 1 ;;
esac
`

// remote is a bench that reaches the ledger's remote.
func (m *Gate) remote(a access) (*dagger.Container, error) {
	on := m.bench(m.machine())
	if a.key != nil {
		on = on.WithSecretVariable("GATE_SIGNING_KEY", a.key)
	}
	if a.token != nil {
		scheme, host, ok := strings.Cut(strings.TrimSuffix(a.server, "/"), "://")
		if !ok || scheme != "https" || strings.ContainsAny(host, "'/@\"\\$` \n") || host == "" {
			return nil, fmt.Errorf("%.80q is no server that may be told a token: give one such as https://github.com", a.server)
		}
		on = on.
			WithMountedSecret("/run/secrets/token", a.token).
			WithNewFile("/usr/local/bin/gate-askpass", fmt.Sprintf(askpass, "https://"+host, "https://x-access-token@"+host),
				dagger.ContainerWithNewFileOpts{Permissions: 0o755}).
			WithEnvVariable("GIT_ASKPASS", "/usr/local/bin/gate-askpass")
	}
	if a.ssh != nil {
		on = on.WithUnixSocket("/run/ssh-agent", a.ssh).WithEnvVariable("SSH_AUTH_SOCK", "/run/ssh-agent")
	}
	if a.knownHosts != nil {
		on = on.WithMountedFile("/root/.ssh/known_hosts", a.knownHosts)
	}
	if a.authority != nil {
		on = on.
			WithMountedFile("/run/authority", a.authority).
			WithExec([]string{"sh", "-c", "cat /run/authority >>/etc/ssl/certs/ca-certificates.crt"})
	}
	return always(on), nil
}

// codeWaiting is gate's exit code for a request that stands, and has not ended.
const codeWaiting = 5

// ask writes a request. Who does not want to wait is not told of an error when
// the request waits.
func ask(ctx context.Context, on *dagger.Container, args []string) (string, error) {
	asked := on.WithExec(args, anyExit)
	code, err := asked.ExitCode(ctx)
	if err != nil {
		return "", err
	}
	text, err := asked.Stdout(ctx)
	if err != nil {
		return "", err
	}
	if code == 0 || code == codeWaiting && strings.HasPrefix(text, "waiting: ") {
		return text, nil
	}
	return "", fmt.Errorf("gate ended with %d: %s", code, strings.TrimSpace(text+said(ctx, asked)))
}

// serving is what the environment's daemon says at its socket, beside what the
// ledger says.
func (m *Gate) serving(ctx context.Context, on *dagger.Container, admin *dagger.Socket) (string, error) {
	const state = "/work/state"
	text, err := on.
		WithEnvVariable("GATE_STATE", state).
		WithUnixSocket(plain.AdminSocket(state, string(m.Environment)), admin).
		WithExec([]string{"gate", "status", "--output", "json", "--", string(m.Environment)}).
		Stdout(ctx)
	if done := new(dagger.ExecError); errors.As(err, &done) && done.ExitCode == 0 {
		// A socket that is not there fails behind gate; with gate's 0, the call would end with 0, too.
		return "", fmt.Errorf("admin socket: %s", err)
	}
	if err != nil {
		return "", err
	}
	// Without a daemon, gate shows the ledger alone and ends with 0.
	var all []struct {
		Actual json.RawMessage
	}
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return "", fmt.Errorf("gate status: %w", err)
	}
	if len(all) != 1 || all[0].Actual == nil {
		return "", fmt.Errorf("no daemon of %s answers at the socket that was given", m.Environment)
	}
	return text, nil
}
