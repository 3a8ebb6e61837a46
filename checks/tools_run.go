package checks

import (
	"bytes"
	"context"
	"crypto/rand"
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

// toolsRun runs a program and returns what it wrote. All that it started ends
// with it. A program that ended by itself, whatever its exit code, is no error.
func toolsRun(ctx context.Context, dir string, env []string, name string, args ...string) (stdout, stderr []byte, code int, err error) {
	return toolsRunAs(ctx, nil, dir, env, name, args...)
}

// toolsRunAs is toolsRun as another user; nil: the same.
func toolsRunAs(ctx context.Context, user *syscall.Credential, dir string, env []string, name string, args ...string) (stdout, stderr []byte, code int, err error) {
	mark := toolsMark + rand.Text()
	cmd := exec.CommandContext(ctx, name, args...) // #nosec G204 -- declared by the repository or by gate
	cmd.Dir, cmd.Env = dir, append(env[:len(env):len(env)], mark)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: user}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 2 * time.Second
	var o, e toolsOutput
	cmd.Stdout, cmd.Stderr = &o, &e
	err = cmd.Run()
	if cmd.Process != nil {
		// What it left behind must not run beside the next check, whatever group
		// or session it has made its own.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		toolsReap(mark)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() >= 0 || errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	if o.over || e.over {
		err = fmt.Errorf("%s wrote more than %d MiB", name, toolsMaxOutput>>20)
	}
	if cmd.ProcessState != nil {
		code = cmd.ProcessState.ExitCode()
	}
	return o.kept.Bytes(), e.kept.Bytes(), code, err
}

// toolsMaxOutput bounds what is kept of a program's output, a test that prints
// without end among them.
const toolsMaxOutput = 64 << 20

// toolsOutput does not embed its buffer, whose ReadFrom would go past Write.
type toolsOutput struct {
	kept bytes.Buffer
	over bool
}

// Write refuses what is too much, which closes the program's end of the pipe.
func (b *toolsOutput) Write(p []byte) (int, error) {
	if b.kept.Len()+len(p) > toolsMaxOutput {
		b.over = true
		return 0, errors.New("too much output")
	}
	return b.kept.Write(p)
}

// toolsMark is the variable by which the descendants of one run are known. They
// inherit it even when they leave the process group and lose their parent.
const toolsMark = "GATE_MEASURES="

// toolsReap ends every process that carries the mark, for as long as there are
// any, a second at most.
func toolsReap(mark string) {
	for range 100 {
		alive := false
		files, _ := filepath.Glob("/proc/[0-9]*/environ")
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil || !bytes.Contains(b, []byte(mark)) {
				continue
			}
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f))); err == nil && pid != os.Getpid() {
				alive = true
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		if !alive {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// toolsSaid is the end of what a program complained of, else why it did not run.
func toolsSaid(stderr []byte, err error) string {
	if s := toolsLastLine(stderr); s != "" || err == nil {
		return s
	}
	return err.Error()
}

func toolsLastLine(b []byte) string {
	s := strings.TrimSpace(string(b))
	return fmt.Sprintf("%.300s", s[strings.LastIndexByte(s, '\n')+1:])
}
