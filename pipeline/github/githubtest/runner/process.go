package runner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// How long GitHub waits after it has asked a process to end.
const (
	afterInterrupt = 7500 * time.Millisecond
	afterTerminate = 2500 * time.Millisecond
)

// execute runs a program in a process group of its own. When ctx ends, the
// program is asked to end, as GitHub asks, and then the group is ended.
func execute(ctx context.Context, dir string, env []string, out *log, args ...string) error {
	cmd := exec.Command(args[0], args[1:]...) // #nosec G204 -- what a workflow says
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, env, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	group := -cmd.Process.Pid
	defer func() { _ = syscall.Kill(group, syscall.SIGKILL) }() // most often nobody is left
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		err = stop(cmd, ended)
	}
	var exit *exec.ExitError
	switch {
	case errors.Is(err, exec.ErrWaitDelay):
		return nil // something that it started holds its output
	case errors.As(err, &exit):
		return fmt.Errorf("Process completed with exit code %d.", exit.ExitCode()) //nolint:staticcheck // GitHub's own words
	}
	return err
}

func stop(cmd *exec.Cmd, ended <-chan error) error {
	for _, next := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGINT, afterInterrupt}, {syscall.SIGTERM, afterTerminate}} {
		_ = cmd.Process.Signal(next.signal)
		select {
		case err := <-ended:
			return err
		case <-time.After(next.wait):
		}
	}
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	return <-ended
}

// leave ends what the job's steps have left behind, and names it.
func (m *machine) leave() []string {
	var left []string
	for range 3 { // what is ended may have started more
		found := tracked(m.files.tracking)
		if len(found) == 0 {
			break
		}
		for pid, cmd := range found {
			if !strings.Contains(cmd, "** telemetry **") { // go's own, which counts and ends
				left = append(left, cmd)
			}
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	return left
}

// tracked are the processes of a job that are known by their environment.
func tracked(id string) map[int]string {
	found := map[int]string{}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		pid, err := strconv.Atoi(filepath.Base(d))
		if err != nil || pid == os.Getpid() {
			continue
		}
		env, _ := os.ReadFile(d + "/environ")
		if !bytes.Contains(append([]byte{0}, env...), []byte("\x00RUNNER_TRACKING_ID="+id+"\x00")) {
			continue
		}
		cmd, _ := os.ReadFile(d + "/cmdline")
		found[pid] = strings.ReplaceAll(strings.TrimRight(string(cmd), "\x00"), "\x00", " ")
	}
	return found
}
