package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/smartcloudops/gate/pipeline/dagger/internal/dagger"
)

// Ask for a release in an environment on another machine, and follow it.
//
// The request goes to the ledger's remote, which environments/trust.yaml declares; the environment's own daemon judges it and carries it out. Only ever with a clone of the protected branch: it says where the token goes and whose keys count.
//
// Returns how the promotion ended; a refusal or a rollback is an error.
//
// +cache="never"
func (m *Gate) Promote(
	ctx context.Context,
	// Digest of the release, or its commit; eight characters are enough.
	release string,
	// Why, for the history.
	reason string,
	// Private key (PEM) that trust.yaml lists: it signs the request.
	key *dagger.Secret,
	// Token that reads and writes the ledger's repository over HTTPS.
	// +optional
	token *dagger.Secret,
	// The one server that is told the token.
	// +default="https://github.com"
	server string,
	// Agent with the key for the ledger's repository over SSH.
	// +optional
	ssh *dagger.Socket,
	// Host keys to expect, in the form of ~/.ssh/known_hosts.
	// +optional
	knownHosts *dagger.File,
	// How long to follow, such as 30m; 0 does not wait.
	// +default="30m"
	timeout string,
) (string, error) {
	on, err := m.remote(access{key, token, server, ssh, knownHosts})
	if err != nil {
		return "", err
	}
	return on.WithExec([]string{"gate", "promote", "--to", m.Environment, "--reason", reason, "--remote", "--timeout", timeout, "--", release}).Stdout(ctx)
}

// Go back in an environment on another machine, and follow it.
//
// It needs no decision. Only ever with a clone of the protected branch: it says where the token goes and whose keys count.
//
// Returns how it ended.
//
// +cache="never"
func (m *Gate) Rollback(
	ctx context.Context,
	// Why, for the history.
	reason string,
	// Private key (PEM) that trust.yaml lists: it signs the request.
	key *dagger.Secret,
	// Digest of the release to go back to, or its commit (default: the one before).
	// +optional
	to string,
	// Token that reads and writes the ledger's repository over HTTPS.
	// +optional
	token *dagger.Secret,
	// The one server that is told the token.
	// +default="https://github.com"
	server string,
	// Agent with the key for the ledger's repository over SSH.
	// +optional
	ssh *dagger.Socket,
	// Host keys to expect, in the form of ~/.ssh/known_hosts.
	// +optional
	knownHosts *dagger.File,
	// How long to follow, such as 30m; 0 does not wait.
	// +default="30m"
	timeout string,
) (string, error) {
	on, err := m.remote(access{key, token, server, ssh, knownHosts})
	if err != nil {
		return "", err
	}
	args := []string{"gate", "rollback", "--reason", reason, "--remote", "--timeout", timeout}
	if to != "" {
		args = append(args, "--to", to)
	}
	return on.WithExec(append(args, "--", m.Environment)).Stdout(ctx)
}

// Show what the ledger's remote knows of the environments.
//
// Returns JSON: for each environment what is desired, the last promotion, and a hold.
//
// +cache="never"
func (m *Gate) Status(
	ctx context.Context,
	// Token that reads the ledger's repository over HTTPS.
	// +optional
	token *dagger.Secret,
	// The one server that is told the token.
	// +default="https://github.com"
	server string,
	// Agent with the key for the ledger's repository over SSH.
	// +optional
	ssh *dagger.Socket,
	// Host keys to expect, in the form of ~/.ssh/known_hosts.
	// +optional
	knownHosts *dagger.File,
) (string, error) {
	on, err := m.remote(access{nil, token, server, ssh, knownHosts})
	if err != nil {
		return "", err
	}
	return on.WithExec([]string{"gate", "status", "--remote", "--output", "json"}).Stdout(ctx)
}

// access is what opens the ledger's remote.
type access struct {
	key, token *dagger.Secret
	server     string
	ssh        *dagger.Socket
	knownHosts *dagger.File
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
	return always(on), nil
}
