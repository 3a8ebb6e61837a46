package checks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"
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

// toolsInstalled returns the path of the program, built once for the machine
// from the module's own pinned dependencies.
func toolsInstalled(ctx context.Context, dir string, t toolsTool, note func(string)) (string, error) {
	if dir == "" {
		return "", errors.New("no folder for tools was given")
	}
	bin := filepath.Join(dir, t.name+"@"+t.version)
	// The program is named by the last element that is not a major version.
	base := path.Base(t.pkg)
	if len(base) > 1 && base[0] == 'v' && strings.Trim(base[1:], "0123456789") == "" {
		base = path.Base(path.Dir(t.pkg))
	}
	program := filepath.Join(bin, base)
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return "", fmt.Errorf("folder for %s: %w", t.name, err)
	}
	lock, err := os.OpenFile(filepath.Join(bin, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", fmt.Errorf("folder for %s: %w", t.name, err)
	}
	defer lock.Close()
	if err := toolsLock(ctx, lock); err != nil {
		return "", err
	}
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	note(fmt.Sprintf("installing %s %s (once, some minutes)", t.name, t.version))
	work, err := os.MkdirTemp(bin, "install-")
	if err != nil {
		return "", fmt.Errorf("install %s: %w", t.name, err)
	}
	defer os.RemoveAll(work)
	cmd := exec.CommandContext(ctx, "go", "install", t.pkg+"@"+t.version)
	cmd.Dir = work
	cmd.Env = append(toolsEnviron(os.Environ()), "GOBIN="+work, "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("install %s %s: %w: %s", t.name, t.version, err, toolsLastLine(out))
	}
	if err := os.Rename(filepath.Join(work, base), program); err != nil {
		return "", fmt.Errorf("install %s: %w", t.name, err)
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
	"PATH": true, "HOME": true, "USER": true, "TMPDIR": true, "LANG": true, "XDG_CACHE_HOME": true,
	"GOPATH": true, "GOCACHE": true, "GOMODCACHE": true, "GOPROXY": true, "GOPRIVATE": true, "GONOPROXY": true,
	"GONOSUMDB": true, "GOSUMDB": true, "GOINSECURE": true, "GOROOT": true, "GOVULNDB": true,
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

// toolsRun runs a program in its own process group, which ends with it, and
// returns what it wrote. A program that ended by itself, whatever its exit
// code, is no error.
func toolsRun(ctx context.Context, dir string, env []string, name string, args ...string) (stdout, stderr []byte, code int, err error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 2 * time.Second
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err = cmd.Run()
	if cmd.Process != nil {
		// What it started and left behind must not run beside the next check.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() >= 0 || errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	if cmd.ProcessState != nil {
		code = cmd.ProcessState.ExitCode()
	}
	return o.Bytes(), e.Bytes(), code, err
}

func toolsLastLine(b []byte) string {
	s := strings.TrimSpace(string(b))
	return fmt.Sprintf("%.300s", s[strings.LastIndexByte(s, '\n')+1:])
}
