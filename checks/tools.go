package checks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// toolsTool is a program that a check runs, at one exact version: another
// version may find something else, so the version is part of the evidence's key.
type toolsTool struct{ name, pkg, version string }

// The pins are the same as in tools/go.mod, which a test sees to.
var (
	toolsGosec       = toolsTool{"gosec", "github.com/securego/gosec/v2/cmd/gosec", "v2.30.0"}
	toolsGovulncheck = toolsTool{"govulncheck", "golang.org/x/vuln/cmd/govulncheck", "v1.9.0"}
	toolsGitleaks    = toolsTool{"gitleaks", "github.com/zricethezav/gitleaks/v8", "v8.30.1"}
)

// toolsAll are all pins.
var toolsAll = []toolsTool{toolsGosec, toolsGovulncheck, toolsGitleaks}

// toolsAway marks that something which a check needs, and which is no part of
// the commit, can't be had: the measurement is unavailable, nothing has failed.
type toolsAway struct{ why string }

func (e *toolsAway) Error() string { return e.why }

// toolsOutcome is what a check says when err kept it from measuring.
func toolsOutcome(ctx context.Context, err error) (Measurement, error) {
	var away *toolsAway
	if ctx.Err() == nil && errors.As(err, &away) {
		return Measurement{Status: Unavailable, Reason: strings.Join(strings.Fields(err.Error()), " ")}, nil
	}
	return Measurement{}, err
}

// toolsUnreachable is how the go command and govulncheck say that the network,
// and not what they were given, is at fault. A version that does not exist (404,
// 410) is not among it.
var toolsUnreachable = regexp.MustCompile(`dial tcp|dial udp|no such host|connection refused|connection reset|i/o timeout|TLS handshake timeout|proxyconnect|reading https?://\S+: (403|407|429|5\d\d)`)

// toolsInstalled returns the path of the program, built once for the machine
// from the module's own pinned dependencies. A tool that reads Go code is built
// with the toolchain that the code is built with, since an older one can't read
// a newer one's; toolchain is empty for the others.
func toolsInstalled(ctx context.Context, dir string, t toolsTool, toolchain string, note func(string)) (string, error) {
	if dir == "" {
		return "", &toolsAway{"no folder for " + t.name + " was given"}
	}
	name := t.name + "@" + t.version
	if toolchain != "" {
		name += "+" + toolchain
	}
	bin := filepath.Join(dir, name)
	// The program is named by the last element that is not a major version.
	base := path.Base(t.pkg)
	if len(base) > 1 && base[0] == 'v' && strings.Trim(base[1:], "0123456789") == "" {
		base = path.Base(path.Dir(t.pkg))
	}
	program := filepath.Join(bin, base)
	if _, err := exec.LookPath(program); err == nil {
		return program, nil
	}
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return "", &toolsAway{fmt.Sprintf("folder for %s: %v", t.name, err)}
	}
	lock, err := os.OpenFile(filepath.Join(bin, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", &toolsAway{fmt.Sprintf("folder for %s: %v", t.name, err)}
	}
	defer lock.Close()
	if err := toolsLock(ctx, lock); err != nil {
		return "", err
	}
	if _, err := exec.LookPath(program); err == nil {
		return program, nil
	}
	note(fmt.Sprintf("installing %s %s (once, some minutes)", t.name, t.version))
	// Under the lock, any such folder is what a killed installation left behind.
	stale, _ := filepath.Glob(filepath.Join(bin, "install-*"))
	for _, d := range stale {
		os.RemoveAll(d)
	}
	work, err := os.MkdirTemp(bin, "install-")
	if err != nil {
		return "", &toolsAway{fmt.Sprintf("install %s: %v", t.name, err)}
	}
	defer os.RemoveAll(work)
	env, err := toolsGoEnviron(ctx, toolchain)
	if err != nil {
		return "", err
	}
	if toolchain != "" {
		// The tool itself may need a newer Go than the code does.
		env = append(env, "GOTOOLCHAIN="+toolchain+"+auto")
	}
	_, stderr, code, err := toolsRun(ctx, work, append(env, "GOBIN="+work, "CGO_ENABLED=0"), "go", "install", t.pkg+"@"+t.version)
	if err != nil || code != 0 {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", &toolsAway{fmt.Sprintf("%s %s can't be installed (%s): it needs Go and, once, the Go module proxy", t.name, t.version, toolsSaid(stderr, err))}
	}
	if err := os.Rename(filepath.Join(work, base), program); err != nil {
		return "", &toolsAway{fmt.Sprintf("install %s: %v", t.name, err)}
	}
	return program, nil
}

// toolsLock waits for the lock as long as ctx allows.
func toolsLock(ctx context.Context, f *os.File) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// toolsKept are the variables that a tool or a test command may see: where
// programs, caches and modules are. Anything else of the user's could be a
// secret, or change what is measured.
var toolsKept = map[string]bool{
	"PATH": true, "HOME": true, "USER": true, "TMPDIR": true, "LANG": true, "XDG_CACHE_HOME": true, "XDG_CONFIG_HOME": true,
	"GOPATH": true, "GOCACHE": true, "GOMODCACHE": true, "GOPROXY": true, "GOPRIVATE": true, "GONOPROXY": true,
	"GONOSUMDB": true, "GOSUMDB": true, "GOINSECURE": true, "GOROOT": true, "GOVCS": true, "GOAUTH": true, "NETRC": true,
	"HTTP_PROXY": true, "HTTPS_PROXY": true, "NO_PROXY": true, "http_proxy": true, "https_proxy": true, "no_proxy": true,
	"SSL_CERT_FILE": true, "SSL_CERT_DIR": true,
}

func toolsEnviron(all []string) []string {
	var out []string
	for _, kv := range all {
		if name, _, _ := strings.Cut(kv, "="); toolsKept[name] {
			out = append(out, kv)
		}
	}
	return out
}

// toolsFetched are the go command's settings of how modules are fetched and
// where they are kept. The user may have set them in the file that go env -w
// writes, of which nothing else counts.
var toolsFetched = []string{"GOPROXY", "GOPRIVATE", "GONOPROXY", "GONOSUMDB", "GOSUMDB", "GOINSECURE", "GOVCS", "GOAUTH", "GOPATH", "GOMODCACHE", "GOCACHE"}

// toolsGoEnviron is the environment of the go command and of what calls it: the
// toolchain is pinned (empty: this machine's), and no setting of the user's can
// change what is measured. An empty GOFLAGS alone would not do: the go command
// then takes the one of the user's file.
func toolsGoEnviron(ctx context.Context, toolchain string) ([]string, error) {
	env := append(toolsEnviron(os.Environ()), "GOWORK=off", "GOFLAGS=-buildvcs=false", "GOTOOLCHAIN=local")
	// Asked outside of the commit, so that its go.mod has no say yet.
	stdout, stderr, code, err := toolsRun(ctx, os.TempDir(), env, "go", append([]string{"env", "-json"}, toolsFetched...)...)
	if err != nil || code != 0 {
		return nil, &toolsAway{fmt.Sprintf("the go command does not work (%s): install Go", toolsSaid(stderr, err))}
	}
	values := map[string]string{}
	if err := json.Unmarshal(stdout, &values); err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	for _, name := range toolsFetched {
		env = append(env, name+"="+values[name])
	}
	env = append(env, "GOENV=off", "GOFLAGS=")
	if toolchain == "" {
		return env, nil
	}
	env = append(env, "GOTOOLCHAIN="+toolchain)
	stdout, stderr, code, err = toolsRun(ctx, os.TempDir(), env, "go", "env", "GOVERSION")
	if got := strings.TrimSpace(string(stdout)); err != nil || code != 0 || got != toolchain {
		return nil, &toolsAway{fmt.Sprintf("Go toolchain %s can't be had (%s): install it, or let the go command fetch it", toolchain, toolsSaid(stderr, err))}
	}
	return env, nil
}
