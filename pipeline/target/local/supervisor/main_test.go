package supervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// The test binary is also the app and the daemon of the tests.
const (
	playVar = "SUPERVISOR_TEST_PLAYS"
	runVar  = "SUPERVISOR_TEST_RUN" // in the environment of every process of a test run
)

var run = strconv.Itoa(os.Getpid()) + "-" + strconv.FormatInt(time.Now().UnixNano(), 36)

func TestMain(m *testing.M) {
	switch os.Getenv(playVar) {
	case "app":
		playApp()
	case "daemon":
		playDaemon()
	case "sleeper":
		time.Sleep(time.Minute)
	default:
		code := m.Run()
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		for _, pid := range ownProcesses() {
			fmt.Fprintln(os.Stderr, "left running:", pid)
			_ = unix.Kill(pid, unix.SIGKILL)
			code = 1
		}
		os.Exit(code)
	}
}

func ownProcesses() []int { return processesWith(runVar + "=" + run) }

func processesWith(variable string) []int {
	var pids []int
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		for v := range bytes.SplitSeq(b, []byte{0}) {
			if string(v) == variable {
				pid, _ := strconv.Atoi(strings.Split(f, "/")[2])
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return file != "" && err == nil
}

// playApp is a small HTTP server that behaves, and misbehaves, as told by its
// environment.
func playApp() {
	// Should the test itself be killed, nobody else ends it.
	time.AfterFunc(time.Minute, func() { os.Exit(9) })
	fmt.Println("hello from", os.Getenv("APP_PORT"))
	if exists(os.Getenv("APP_EXIT_IF")) {
		fmt.Println("cannot go on")
		os.Exit(3)
	}
	if os.Getenv("APP_FORK") != "" {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), playVar+"=sleeper")
		if os.Getenv("APP_FORK") == "setsid" {
			child.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // known by its token alone
		} else {
			child.Env = append(child.Env, TokenName+"=") // known by its group alone
		}
		if err := child.Start(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	d, _ := time.ParseDuration(os.Getenv("APP_DELAY"))
	time.Sleep(d)
	lc := net.ListenConfig{}
	if os.Getenv("APP_ALONE") != "" {
		lc.Control = func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 0) })
		}
	}
	l, err := lc.Listen(context.Background(), "tcp", os.Getenv("APP_HOST")+":"+os.Getenv("APP_PORT"))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	var served atomic.Int64
	limit, _ := strconv.ParseInt(os.Getenv("APP_CRASH_AFTER"), 10, 64)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if os.Getenv("APP_NEVER") != "" || exists(os.Getenv("APP_UNREADY_IF")) {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("GET /who", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "%d %d", os.Getpid(), os.Getuid())
		if n := served.Add(1); limit > 0 && n >= limit {
			panic(os.NewSyscallError("crash", unix.Kill(os.Getpid(), unix.SIGABRT)))
		}
	})
	mux.HandleFunc("POST /write", func(_ http.ResponseWriter, r *http.Request) {
		from, _ := strconv.Atoi(r.FormValue("from"))
		for i := range 2000 {
			fmt.Printf("line %06d %s\n", from+i, strings.Repeat("x", 80))
		}
	})
	go func() {
		for range term {
			if os.Getenv("APP_DEAF") == "" {
				fmt.Println("bye")
				os.Exit(0)
			}
		}
	}()
	_ = http.Serve(l, mux)
}

// playDaemon starts instances, says "up", and waits to be killed.
func playDaemon() {
	var cfg daemonConfig
	if err := json.Unmarshal([]byte(os.Getenv("DAEMON_CONFIG")), &cfg); err != nil {
		panic(err)
	}
	opt := Options{StateFile: cfg.State, LogDir: cfg.Logs, SpecFor: specOf(cfg.App)}
	if cfg.DieAfterFork {
		opt.Log = slog.New(dieOnFork{slog.DiscardHandler})
	}
	s, err := New(opt)
	if err != nil {
		panic(err)
	}
	go func() { _ = s.Run(context.Background()) }()
	for range cfg.Count {
		if _, err := s.Start(context.Background(), "sha256:one"); err != nil {
			panic(err)
		}
	}
	fmt.Println("up")
	if cfg.Starting {
		_, _ = s.Start(context.Background(), "sha256:never")
	}
	time.Sleep(time.Minute)
}

type daemonConfig struct {
	State, Logs  string
	App          map[string]string
	Count        int
	DieAfterFork bool
	Starting     bool // goes on to start one that never gets ready
}

// dieOnFork is a daemon's bad moment: between fork and record.
type dieOnFork struct{ slog.Handler }

func (d dieOnFork) Enabled(context.Context, slog.Level) bool { return true }
func (d dieOnFork) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "process forked" {
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
		time.Sleep(time.Minute)
	}
	return nil
}

func specOf(app map[string]string) func(string, string, int) (Spec, error) {
	return func(release, id string, port int) (Spec, error) {
		env := []string{
			playVar + "=app", "APP_PORT=" + strconv.Itoa(port), "SECRET=hunter2-" + release,
			runVar + "=" + app["RUN"], "APP_HOST=127.0.0.1",
		}
		for k, v := range app {
			env = append(env, k+"="+v)
		}
		if release == "sha256:never" {
			env = append(env, "APP_NEVER=1")
		}
		return Spec{
			Path: os.Args[0], Env: env, Ready: "/readyz", Dir: filepath.Dir(os.Args[0]),
			StartTimeout: 10 * time.Second, StopTimeout: 2 * time.Second,
		}, nil
	}
}

// rig is one test's state folder, and the supervisor on it.
type rig struct {
	*testing.T
	dir string
	app map[string]string
	s   *Supervisor

	mu      sync.Mutex
	ready   []Instance
	changes int
	exits   []Instance
}

func newRig(t *testing.T, app map[string]string) *rig {
	t.Parallel()
	r := &rig{T: t, dir: t.TempDir(), app: map[string]string{"RUN": run}}
	maps.Copy(r.app, app)
	return r
}

func (r *rig) options() Options {
	return Options{
		StateFile: filepath.Join(r.dir, "instances.json"), LogDir: filepath.Join(r.dir, "logs"),
		SpecFor: specOf(r.app),
		OnChange: func(ready []Instance) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.ready, r.changes = ready, r.changes+1
		},
		OnExit: func(in Instance) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.exits = append(r.exits, in)
		},
	}
}

// open makes the supervisor and runs it. At the test's end all is stopped.
func (r *rig) open(change func(*Options)) *Supervisor {
	r.Helper()
	opt := r.options()
	if change != nil {
		change(&opt)
	}
	s, err := New(opt)
	if err != nil {
		r.Fatal(err)
	}
	r.s = s
	done := make(chan error, 1)
	go func() { done <- s.Run(context.Background()) }()
	r.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.StopAll(ctx); err != nil && !isDetached(s) {
			r.Error(err)
		}
		s.Detach()
		if err := <-done; err != nil && err != ErrDetached {
			r.Error(err)
		}
	})
	return s
}

func isDetached(s *Supervisor) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.detached
}

func (r *rig) start(release string) Instance {
	r.Helper()
	in, err := r.s.Start(r.Context(), release)
	if err != nil {
		r.Fatal(err)
	}
	return in
}

// readyPIDs is what OnChange was told last.
func (r *rig) readyPIDs() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	pids := []int{}
	for _, in := range r.ready {
		pids = append(pids, in.PID)
	}
	return pids
}

func (r *rig) exitReasons() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, in := range r.exits {
		all = append(all, in.LastExit)
	}
	return all
}

func (r *rig) until(limit time.Duration, what string, ok func() bool) time.Duration {
	r.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > limit {
			var all []Instance
			if r.s != nil {
				all = r.s.Instances()
			}
			r.Fatalf("not within %s: %s (%+v)", limit, what, all)
		}
		time.Sleep(2 * time.Millisecond)
	}
	return time.Since(began)
}

// ended says whether the process is gone, or dead and waiting for its parent.
func ended(pid int) bool {
	st, err := readStat(pid)
	return err != nil || st.dead
}

func (r *rig) kill(pid int, sig unix.Signal) {
	r.Helper()
	if err := unix.Kill(pid, sig); err != nil {
		r.Fatal(err)
	}
}

// who asks the instance who it is: pid and uid.
func (r *rig) who(addr string) (pid, uid int) {
	r.Helper()
	resp, err := prober.Get("http://" + addr + "/who")
	if err != nil {
		r.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := fmt.Fscan(resp.Body, &pid, &uid); err != nil {
		r.Fatal(err)
	}
	return pid, uid
}

// daemon runs playDaemon until it is up, or has ended where that is expected.
func (r *rig) daemon(cfg daemonConfig) *exec.Cmd {
	r.Helper()
	opt := r.options()
	cfg.State, cfg.Logs, cfg.App = opt.StateFile, opt.LogDir, r.app
	b, err := json.Marshal(cfg)
	if err != nil {
		r.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{playVar + "=daemon", "DAEMON_CONFIG=" + string(b), runVar + "=" + run}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		r.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line := make([]byte, 3)
	n, _ := out.Read(line)
	if up := string(line[:n]) == "up\n"; up == cfg.DieAfterFork {
		r.Fatalf("daemon is up: %v", up)
	}
	return cmd
}

// killDaemon is kill -9.
func (r *rig) killDaemon(cmd *exec.Cmd) {
	r.Helper()
	if err := cmd.Process.Kill(); err != nil {
		r.Fatal(err)
	}
	_ = cmd.Wait()
}
