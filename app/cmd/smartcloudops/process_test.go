package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/smartcloudops/gate/app/internal/pgtest"
)

func TestMain(m *testing.M) {
	code := pgtest.Main(m)
	if built.dir != "" {
		if err := os.RemoveAll(built.dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

var built struct {
	once sync.Once
	dir  string
	err  error
}

// binary is the program as it is shipped, built once.
func binary(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "smartcloudops-"); built.err != nil {
			return
		}
		cmd := exec.Command("go", "build", "-o", built.dir, ".")
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("build: %w: %s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "smartcloudops")
}

// program is a running smartcloudops.
type program struct {
	cmd   *exec.Cmd
	addr  string
	ended chan struct{} // closed once it has ended and err is set
	err   error

	mu  sync.Mutex
	log strings.Builder
}

// serveProgram starts serve and waits until it listens.
func serveProgram(t *testing.T, databaseURL string, env ...string) *program {
	t.Helper()
	p := &program{cmd: exec.Command(binary(t), "serve"), ended: make(chan struct{})}
	p.cmd.Env = append([]string{"LISTEN_ADDR=127.0.0.1:0", "DATABASE_URL=" + databaseURL, "ENVIRONMENT=test"}, env...)
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it has usually ended
		<-p.ended
		if t.Failed() {
			t.Logf("the log of process %d:\n%s", p.cmd.Process.Pid, p.said())
		}
	})
	listening := make(chan string, 1)
	go func() {
		defer close(p.ended)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			p.mu.Lock()
			p.log.WriteString(lines.Text() + "\n")
			p.mu.Unlock()
			var line struct{ Msg, Address string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
				listening <- line.Address
			}
		}
		p.err = p.cmd.Wait()
	}()
	select {
	case p.addr = <-listening:
	case <-p.ended:
		t.Fatalf("serve ended: %v: %s", p.err, p.said())
	case <-time.After(20 * time.Second):
		t.Fatal("serve does not listen")
	}
	return p
}

func (p *program) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

func (p *program) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// wait returns how the program ended.
func (p *program) wait(t *testing.T) error {
	t.Helper()
	select {
	case <-p.ended:
		return p.err
	case <-time.After(25 * time.Second):
		t.Fatal("the program does not end")
		return nil
	}
}

// get returns status and body of one request on a connection of its own.
func (p *program) get(t *testing.T, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+p.addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// becomes polls /readyz until it answers with status and what.
func (p *program) becomes(t *testing.T, status int, what string) {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for {
		got, body := p.get(t, "/readyz")
		if got == status && strings.Contains(body, what) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("/readyz answers %d %s, want %d %s", got, body, status, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// run runs a verb to its end and returns its exit code and what it said.
func run(t *testing.T, verb, databaseURL string) (int, string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary(t), verb)
	cmd.Env = []string{"DATABASE_URL=" + databaseURL}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

func migrated(t *testing.T, db pgtest.Database) {
	t.Helper()
	if code, out := run(t, "migrate", db.Migrator); code != 0 {
		t.Fatalf("migrate ended with %d: %s", code, out)
	}
}

// stop asks the program to end and sees that it ends well.
func (p *program) stop(t *testing.T) {
	t.Helper()
	p.signal(t, syscall.SIGTERM)
	if err := p.wait(t); err != nil {
		t.Errorf("ended with %v, want success", err)
	}
}
