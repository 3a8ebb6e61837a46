package release

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
)

// ErrToolchain: the Go that app.yaml declares cannot be had.
var ErrToolchain = errors.New("Go toolchain not available")

// exactVersion: "go1.26" would be a language version, not one toolchain.
var exactVersion = regexp.MustCompile(`^go(1\.\d+(\.\d+|rc\d+))$`)

// archLevel pins the oldest CPU that a release runs on.
var archLevel = map[string]string{"amd64": "GOAMD64=v1", "arm64": "GOARM64=v8.0"}

// passed are variables that say where things are and how they are fetched.
// They cannot reach the bytes of a binary: modules are checked against go.sum.
var passed = []string{
	"HOME", "PATH", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "USER", "LOGNAME",
	"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy",
	"SSL_CERT_FILE", "SSL_CERT_DIR", "NETRC",
	"SSH_AUTH_SOCK", "SSH_AGENT_PID", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSL_CAINFO",
}

// fetched are the go command's own settings of that kind. They may stand in the
// environment or in the file that go env -w writes, so the go command is asked.
var fetched = []string{
	"GOPROXY", "GOPRIVATE", "GONOPROXY", "GONOSUMDB", "GOSUMDB", "GOINSECURE", "GOVCS", "GOAUTH", "GOMODCACHE", "GOCACHE",
}

// toolchain is the go command with everything pinned that could change what it
// makes.
type toolchain struct {
	bin     string
	environ []string
}

func newToolchain(ctx context.Context, version string, o Options) (*toolchain, error) {
	m := exactVersion.FindStringSubmatch(version)
	if m == nil {
		return nil, fmt.Errorf("%w: build.toolchain %q is not exact: write it like go1.26.8", ErrApp, version)
	}
	level, ok := archLevel[o.Arch]
	if !ok {
		return nil, fmt.Errorf("%w: releases are made for amd64 and arm64, not for %q", ErrApp, o.Arch)
	}
	bin, err := program(o.Environ, "go")
	if err != nil {
		return nil, fmt.Errorf("%w: install Go %s: %w", ErrToolchain, m[1], err)
	}
	t := &toolchain{bin: bin}
	for _, name := range passed {
		if v, ok := lookup(o.Environ, name); ok {
			t.environ = append(t.environ, name+"="+v)
		}
	}
	t.environ = append(t.environ, "LC_ALL=C", "GIT_TERMINAL_PROMPT=0")
	settings, err := userSettings(ctx, bin, o.Environ)
	if err != nil {
		return nil, err
	}
	t.environ = append(t.environ, settings...)
	t.environ = append(t.environ,
		"GOENV=off", "GOWORK=off", "GOFLAGS=", "GO111MODULE=on",
		"GOOS=linux", "GOARCH="+o.Arch, level, "CGO_ENABLED=0",
		"GOEXPERIMENT=", "GODEBUG=", "GOFIPS140=off",
		"GOTOOLCHAIN="+version,
	)
	// Asked outside of the export, so that no go.mod has a say yet: what fails
	// here is the toolchain's fault, not the commit's.
	got, stderr, err := runGo(ctx, bin, t.environ, "env", "GOVERSION")
	if err != nil && ctx.Err() != nil {
		return nil, err
	}
	if got = strings.TrimSpace(got); err != nil || got != version {
		why := strings.Join(strings.Fields(strings.ReplaceAll(stderr, "go: ", "")), " ")
		if err == nil {
			why = "the go command is " + got
		} else if why == "" {
			why = err.Error()
		}
		return nil, fmt.Errorf("%w: %s: install Go %s, or let the go command fetch it: %s", ErrToolchain, version, m[1], why)
	}
	return t, nil
}

// userSettings reads the user's settings in fetched. GOFLAGS and GOTOOLCHAIN
// are taken out of the question, or a bad one would fail it.
func userSettings(ctx context.Context, bin string, environ []string) ([]string, error) {
	env := append(append([]string(nil), environ...), "GOFLAGS=", "GOTOOLCHAIN=local", "GOWORK=off", "GOEXPERIMENT=", "LC_ALL=C")
	out, stderr, err := runGo(ctx, bin, env, append([]string{"env", "-json"}, fetched...)...)
	if err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%w: go env: %s: mend it with go env -u, or install Go anew", ErrToolchain, strings.TrimSpace(stderr))
	}
	values := map[string]string{}
	if err := json.Unmarshal([]byte(out), &values); err != nil {
		return nil, fmt.Errorf("%w: go env: %w", ErrToolchain, err)
	}
	var settings []string
	for _, name := range fetched {
		if v, ok := values[name]; ok {
			settings = append(settings, name+"="+v)
		}
	}
	return settings, nil
}

func runGo(ctx context.Context, bin string, environ []string, args ...string) (stdout, stderr string, err error) {
	cmd := command(ctx, environ, string(os.PathSeparator), bin, args...)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err = cmd.Run()
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("go %s: %w", args[0], context.Cause(ctx))
	}
	return o.String(), e.String(), err
}
