package balancer

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/smartcloudops/gate/pipeline/target/local/certs"
)

// The test binary plays other parts when it is started with this variable:
// what is measured has a process of its own, and with it a CPU account.
const roleEnv = "GATE_BALANCER_ROLE"

func play(role string) int {
	var err error
	switch role {
	case "backend":
		err = playBackend()
	case "balancer":
		err = playBalancer(os.Args[1], os.Args[2])
	default:
		err = fmt.Errorf("no role %q", role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// playBackend serves on two addresses until its standard input ends.
func playBackend() error {
	page := []byte(strings.Repeat("smartcloudops ", 16))
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = w.Write(page)
	})
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		s := &http.Server{Handler: h, ReadHeaderTimeout: time.Second}
		go func() { _ = s.Serve(l) }()
		defer s.Close()
		fmt.Println(l.Addr())
	}
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// playBalancer serves until its standard input ends; a line is the address of
// the instance to swap to.
func playBalancer(dir, instance string) error {
	ca, err := certs.Ensure(dir, benchNames, time.Now())
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	b, err := New(Options{Listener: l, GetCertificate: ca.GetCertificate})
	if err != nil {
		return err
	}
	swap := func(addr string) error {
		return b.Swap(Set{Stable: []Backend{{ID: addr, Address: addr, Release: "sha256:0"}}})
	}
	if err := swap(instance); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- b.Serve() }()
	fmt.Println(l.Addr())
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if err := swap(in.Text()); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = b.Shutdown(ctx)
	return <-done
}

var benchNames = []string{"127.0.0.1", "localhost"}

// child is a process that ends with the test.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func startChild(t *testing.T, env []string, name string, args ...string) *child {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = &loud{t}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // the group that this test made: workers too
		_ = cmd.Wait()
	})
	return &child{cmd, in, bufio.NewScanner(out)}
}

// loud keeps what a process complains of for the log of a failed test.
type loud struct{ t *testing.T }

func (l *loud) Write(p []byte) (int, error) {
	if s := strings.TrimSpace(string(p)); strings.Contains(s, "emerg") || strings.Contains(s, "ALERT") {
		l.t.Log(s)
	}
	return len(p), nil
}

func (c *child) line(t *testing.T) string {
	t.Helper()
	if !c.out.Scan() {
		t.Fatalf("%s said nothing: %v", c.cmd.Path, c.out.Err())
	}
	return c.out.Text()
}

// cpu is what the process group has used, workers that have ended included.
func (c *child) cpu(t *testing.T) time.Duration {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux that Go runs on
	var sum time.Duration
	for _, p := range stats {
		b, err := os.ReadFile(p)
		if err != nil {
			continue // it has ended
		}
		_, rest, ok := strings.Cut(string(b), ") ")
		f := strings.Fields(rest)
		if !ok || len(f) < 15 || f[2] != strconv.Itoa(c.cmd.Process.Pid) {
			continue
		}
		for _, v := range f[11:15] { // utime, stime, cutime, cstime
			n, err := strconv.Atoi(v)
			if err != nil {
				t.Fatal(err)
			}
			sum += time.Duration(n) * tick
		}
	}
	return sum
}
