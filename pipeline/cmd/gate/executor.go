package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/pipeline/target/local"
	"github.com/smartcloudops/gate/pipeline/target/local/certs"
)

// executor is the daemon of an environment, started when it is needed.
type executor struct {
	*session
	environment string
	client      *local.Client
	managed     atomic.Bool // a service manager started the daemon that a drill has killed
}

// startPatience is how long a daemon may take until it answers: a first
// PostgreSQL may have to be downloaded.
const startPatience = 5 * time.Minute

// Ensure starts the daemon, or has it replaced where it is another gate than
// this one or judges by other policies or trust: then both sides decide alike. The listener
// is handed over and the instances are adopted, so nobody notices.
func (x *executor) Ensure(ctx context.Context, e *environments.Environment) error {
	own, err := x.identity()
	if err != nil {
		return err
	}
	running, err := x.client.Version(ctx)
	if err == nil && running == own {
		return nil
	}
	if err != nil && !errors.Is(err, local.ErrNoDaemon) {
		return err
	}
	return x.spawn(ctx, err == nil)
}

// wake starts the daemon where none answers. One that does goes on with what is
// under way and goes back, whatever has changed here since it began.
func (s *session) wake(ctx context.Context, e *environments.Environment) error {
	if _, err := s.client(e.Name).Version(ctx); err == nil {
		return nil
	}
	return s.executor(e.Name).Ensure(ctx, e)
}

func (x *executor) spawn(ctx context.Context, takeOver bool) error {
	paths := x.paths(x.environment)
	if err := os.MkdirAll(paths.Dir(), 0o711); err != nil {
		return fmt.Errorf("folder of environment %s: %w", x.environment, err)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	// The program may be replaced or removed while the daemon runs on, and a
	// restart must find it: the daemon runs from a copy of its own.
	if self, err = x.keep(self); err != nil {
		return err
	}
	log, err := os.OpenFile(paths.DaemonLog(), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("log of the daemon: %w", err)
	}
	defer log.Close()
	from, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("log of the daemon: %w", err)
	}
	args := []string{"serve", x.environment, "-C", x.clone.Root}
	if takeOver {
		args = append(args, "--take-over")
	}
	if x.apart != nil {
		// On its copy of the ledger, the environment is its own.
		args = append(args, "--claim")
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(cmd.Environ(), "GATE_STATE="+x.state, "GATE_CACHE="+x.cache)
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the daemon of %s: %w", x.environment, err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended, its state says
		close(ended)
	}()
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if pid, err := x.client.PID(ctx); err == nil && pid == cmd.Process.Pid {
			return nil
		}
		select {
		case <-ended:
			return x.died(log, from, cmd.ProcessState)
		case <-ctx.Done():
			_ = cmd.Process.Signal(syscall.SIGTERM)
			return fmt.Errorf("the daemon of %s did not answer in time: see %s: %w", x.environment, paths.DaemonLog(), context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// died passes on what the daemon said before it ended, and its exit code.
func (x *executor) died(log *os.File, from int64, state *os.ProcessState) error {
	b := make([]byte, 64<<10)
	n, _ := log.ReadAt(b, from)
	var said []string
	for line := range strings.Lines(string(b[:n])) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), "gate: "); ok {
			said = append(said, text)
		}
	}
	if len(said) == 0 {
		return fmt.Errorf("the daemon of %s ended at once (%s): see %s", x.environment, state, log.Name())
	}
	return &Exit{max(state.ExitCode(), 1), errors.New(strings.Join(said, "\n"))}
}

// keeping is held by the one who keeps the program: several daemons may be
// started at once.
var keeping sync.Mutex

// keep puts a copy of the program where nobody rebuilds it.
func (x *executor) keep(self string) (string, error) {
	keeping.Lock()
	defer keeping.Unlock()
	v, err := version()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(x.state, "bin")
	kept := filepath.Join(dir, "gate-"+v)
	if _, err := os.Stat(kept); err == nil {
		return kept, nil
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return "", fmt.Errorf("keep this program: %w", err)
	}
	b, err := os.ReadFile(self)
	if err != nil {
		return "", fmt.Errorf("keep this program: %w", err)
	}
	// A child forked meanwhile would hold the file open for writing, and it could
	// not be run.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	temp, err := os.CreateTemp(dir, ".gate-")
	if err != nil {
		return "", fmt.Errorf("keep this program: %w", err)
	}
	defer os.Remove(temp.Name())
	_, err = io.Copy(temp, bytes.NewReader(b))
	err = errors.Join(err, temp.Chmod(0o755), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), kept)
	}
	if err != nil {
		return "", fmt.Errorf("keep this program: %w", err)
	}
	// A daemon that still runs an older one does not need its file any more.
	old, err := filepath.Glob(filepath.Join(dir, "gate-*"))
	for _, f := range old {
		if f == kept {
			continue
		}
		if rerr := os.Remove(f); !errors.Is(rerr, os.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
	}
	return kept, err
}

// version names this program by its bytes.
var version = sync.OnceValues(func() (string, error) {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return "", fmt.Errorf("read this program: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read this program: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil))[:12], nil
})

func (x *executor) Poke(ctx context.Context) { x.client.Poke(ctx) }

// Status is what the environment runs. Where no daemon answers the error passes
// on why the last one ended, if it ended by an error.
func (x *executor) Status(ctx context.Context) (target.Status, error) {
	st, err := x.client.Status(ctx)
	if !errors.Is(err, local.ErrNoDaemon) {
		return st, err
	}
	if lines, terr := tail(x.paths(x.environment).DaemonLog(), 1); terr == nil && len(lines) == 1 {
		if why, ok := strings.CutPrefix(lines[0], "gate: "); ok {
			return st, fmt.Errorf("%w; the last one ended with: %s", err, why)
		}
	}
	return st, err
}

func (x *executor) Drills() any { return &drilled{x.client, x} }

func (x *executor) Trust(e *environments.Environment) (name string, roots *x509.CertPool, file string, err error) {
	paths := x.paths(x.environment)
	name, file = paths.Trust(e)
	if file == "" {
		return name, nil, "", nil
	}
	roots, err = certs.LoadPool(filepath.Dir(file))
	return name, roots, file, err
}
