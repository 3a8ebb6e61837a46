package local

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/release"
	"github.com/smartcloudops/gate/pipeline/target"
)

// program is an app that says its name. The one called never is never ready,
// the one called slow sleeps before it answers, the one called broken answers
// every request of a client with an error, the one called loops ends after some of
// them, and the one called spent starts only until a file is there.
const program = `package main

import (
	"fmt"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

const name = %q

var requests atomic.Int64

func main() {
	if _, err := os.Stat(os.Getenv("SPENT")); name == "spent" && err == nil {
		os.Exit(1)
	}
	http.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if name == "never" {
			http.Error(w, "not yet", http.StatusServiceUnavailable)
		}
	})
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		switch name {
		case "slow":
			time.Sleep(80 * time.Millisecond)
		case "broken":
			w.WriteHeader(http.StatusInternalServerError)
		case "loops":
			if requests.Add(1) > 15 {
				os.Exit(1)
			}
		}
		fmt.Fprint(w, name)
	})
	if err := http.ListenAndServe(os.Getenv("LISTEN"), nil); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
`

// place is an environment of its own in this process, and the releases that it
// may be asked to run.
type place struct {
	t        *testing.T
	opt      Options
	releases map[string]string // name → digest
	roots    *x509.CertPool
	patience time.Duration // of a drill, until a change of scale is there
	away     time.Duration // how long the daemon is away in a drill, and longer
	*Daemon
	leave func()       // ends Run, and waits
	ended <-chan error // what Run has returned
}

func newPlace(t *testing.T, names ...string) *place {
	t.Helper()
	return newPlaceWith(t, func(*Options) {}, names...)
}

// newPlaceWith is newPlace with other options.
func newPlaceWith(t *testing.T, change func(*Options), names ...string) *place {
	t.Helper()
	// The app and PostgreSQL run as other users, who can't enter t.TempDir.
	root, err := os.MkdirTemp("", "gate-local-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	store, err := release.OpenStore(filepath.Join(root, "store"))
	if err != nil {
		t.Fatal(err)
	}
	p := &place{t: t, releases: map[string]string{}, patience: 15 * time.Second, opt: Options{
		Paths: Paths{State: filepath.Join(root, "state"), Environment: "staging"}, App: "hello", Ledger: "drill",
		Declared: &environments.Environment{
			Name: "staging", Target: "local", Listen: address, Instances: environments.Instances{Min: 2, Max: 2},
			TLS: environments.TLS{Trust: "private", Names: []string{"localhost"}},
		},
		Store: store, Cache: filepath.Join(root, "cache"), Version: "test", Log: slog.New(slog.DiscardHandler), Now: time.Now,
		Getenv: func(name string) string {
			if name == "PATH" {
				return os.Getenv(name)
			}
			return ""
		},
	}}
	change(&p.opt)
	for _, name := range names {
		p.releases[name] = build(t, store, filepath.Join(root, name), name)
	}
	p.open()
	t.Cleanup(func() { p.down() })
	return p
}

// build makes a release of the program under the name.
func build(t *testing.T, store *release.Store, dir, name string) string {
	t.Helper()
	return buildApp(t, store, dir, name, fmt.Sprintf(program, name), environments.Serve{
		Env: map[string]string{"LISTEN": "127.0.0.1:${PORT}"}, Ready: "/readyz",
		StartTimeout: environments.Duration(time.Second), StopTimeout: environments.Duration(5 * time.Second),
	})
}

// buildApp makes a release of a program that is served like that.
func buildApp(t *testing.T, store *release.Store, dir, name, text string, serve environments.Serve) string {
	t.Helper()
	for file, text := range map[string]string{"go.mod": "module example.org/hello\n\ngo 1.26\n", "main.go": text} {
		if err := os.MkdirAll(filepath.Join(dir, "src"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "src", file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return makeRelease(t, store, dir, &environments.App{Name: "hello", Serve: serve})
}

// makeRelease makes a release of what is in the folder src.
func makeRelease(t *testing.T, store *release.Store, dir string, app *environments.App) string {
	t.Helper()
	env := append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@example.org", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@example.org")
	for _, args := range [][]string{{"init", "-q"}, {"add", "-A"}, {"commit", "-q", "-m", "all"}} {
		git := exec.Command("git", args...)
		git.Dir, git.Env = filepath.Join(dir, "src"), env
		if out, err := git.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	clone, err := release.OpenClone(t.Context(), filepath.Join(dir, "src"), env)
	if err != nil {
		t.Fatal(err)
	}
	exported, err := release.Export(t.Context(), clone, "HEAD", false, filepath.Join(dir, "export"))
	if err != nil {
		t.Fatal(err)
	}
	app.Build = environments.Build{Package: ".", Toolchain: runtime.Version()}
	r, err := release.Make(t.Context(), exported, app, store, release.Options{Environ: env})
	if err != nil {
		t.Fatal(err)
	}
	return r.Digest
}

// open starts the daemon, or the next one.
func (p *place) open() {
	p.t.Helper()
	d, err := Open(p.t.Context(), p.opt)
	if err != nil {
		p.t.Fatal(err)
	}
	p.run(d)
}

// takeOver has the next daemon take over from the one that runs, and returns
// what that one's Run will return.
func (p *place) takeOver() <-chan error {
	p.t.Helper()
	l, key, err := TakeOver(p.t.Context(), p.opt.Paths)
	if err != nil {
		p.t.Fatal(err)
	}
	opt, before := p.opt, p.ended
	opt.Listener, opt.Predecessor = l, key
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		d, err := Open(p.t.Context(), opt)
		if err == nil {
			p.run(d)
			return before
		}
		if !errors.Is(err, ErrRunning) || time.Now().After(deadline) {
			p.t.Fatal(err)
		}
	}
}

func (p *place) run(d *Daemon) {
	p.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx, func(ctx context.Context) error { return d.ServeAdmin(ctx, func() {}) }) }()
	p.Daemon, p.ended = d, ended
	p.leave = func() {
		cancel()
		if err := <-ended; err != nil {
			p.t.Errorf("the daemon ended by %v", err)
		}
		p.leave = func() {}
	}
	pem, err := os.ReadFile(p.opt.Paths.CA())
	if err != nil {
		p.t.Fatal(err)
	}
	p.roots = x509.NewCertPool()
	p.roots.AppendCertsFromPEM(pem)
}

// held waits until a holder has the socket.
func (p *place) held() {
	p.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); len(holders(p.paths.dir())) != 1; {
		if time.Now().After(deadline) {
			p.t.Fatalf("holders are %v, want one", holders(p.paths.dir()))
		}
		<-time.After(5 * time.Millisecond)
	}
	if _, err := p.grip.ensure(); err != nil { // waits until it has been given the socket
		p.t.Fatal(err)
	}
}

func (p *place) down() {
	if err := p.Daemon.Down(context.Background()); err != nil {
		p.t.Errorf("down: %v", err)
	}
	p.leave()
}

func (p *place) rev(name string) target.Revision {
	return target.Revision{Release: p.releases[name], Commit: name, Environment: p.opt.Declared}
}

func (p *place) now() target.Status {
	p.t.Helper()
	s, err := p.Status(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

// pids are the processes with the role.
func (p *place) pids(role string) []int {
	p.t.Helper()
	var out []int
	for _, in := range p.now().Instances {
		if in.Role == role {
			out = append(out, in.PID)
		}
	}
	slices.Sort(out)
	return out
}

// answers asks n times, each time on a connection of its own, and counts who
// answered.
func (p *place) answers(n int) map[string]int {
	p.t.Helper()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: p.roots, ServerName: "localhost"}}}
	count := map[string]int{}
	for range n {
		res, err := client.Get("https://" + p.opt.Declared.Listen + "/")
		if err != nil {
			p.t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK || res.Header.Get("X-Gate-Release") != p.releases[string(body)] {
			p.t.Fatalf("answered %s %q by %s: %v", res.Status, body, res.Header.Get("X-Gate-Release"), err)
		}
		count[string(body)]++
	}
	return count
}

// serves fails unless the named release alone answers, with two instances, and
// nothing else is left after a while.
func (p *place) serves(name string) {
	p.t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for {
		s := p.now()
		settled := s.Stable == p.releases[name] && s.Canary == "" && s.Warm == "" && len(s.Instances) == 2 && len(p.pids("stable")) == 2
		if settled {
			break
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("want %s alone in two instances: %+v", name, s)
		}
		<-time.After(10 * time.Millisecond)
	}
	if got := p.answers(4); got[name] != 4 {
		p.t.Fatalf("want %s to answer alone: %v", name, got)
	}
}

func (p *place) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func TestTarget(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED under -short: half a minute with a real app and a real PostgreSQL. Without it nothing here shows that the target keeps its contract")
	}
	t.Parallel()
	p := newPlaceWith(t, func(o *Options) { o.Hold = true }, "one", "two", "never")
	run := func(name string, f func(*testing.T, context.Context)) {
		t.Run(name, func(t *testing.T) {
			p.t = t
			f(t, t.Context())
		})
		p.t = t
	}

	run("nothing has served, and the database is empty", func(t *testing.T, _ context.Context) {
		if s := p.now(); s.Stable != "" || !s.Empty || len(s.Instances) != 0 || s.Problem != "" {
			t.Errorf("%+v", s)
		}
		if _, err := p.Replace(t.Context(), p.releases["one"]); err == nil {
			t.Error("nothing could be replaced, and was")
		}
	})
	run("the same call again does nothing", func(t *testing.T, ctx context.Context) {
		p.must(p.Complete(ctx, 1, p.rev("one")))
		p.serves("one")
		before := p.pids("stable")
		p.must(p.Complete(ctx, 1, p.rev("one")))
		if now := p.pids("stable"); !slices.Equal(now, before) {
			t.Errorf("processes %v became %v", before, now)
		}
		p.must(p.Retire(ctx, 1))
	})
	run("a canary, and all traffic back", func(t *testing.T, ctx context.Context) {
		before := p.pids("stable")
		p.must(p.StartCanary(ctx, 2, p.rev("two"), 50))
		canary := p.pids("canary")
		p.must(p.StartCanary(ctx, 2, p.rev("two"), 50))
		if now := p.pids("canary"); len(now) != 1 || !slices.Equal(now, canary) {
			t.Errorf("the canary's processes %v became %v", canary, now)
		}
		if got := p.answers(40); got["one"] == 0 || got["two"] == 0 {
			t.Errorf("half of the traffic each: %v", got)
		}
		arms, err := p.Arms(ctx)
		if err != nil || arms.Canary.Release != p.releases["two"] || arms.Canary.Requests == 0 || arms.Baseline.Requests == 0 {
			t.Errorf("figures: %+v, %v", arms, err)
		}
		for what, err := range map[string]error{
			"complete": p.Complete(ctx, 1, p.rev("two")), "withdraw": p.Withdraw(ctx, 1), "retire": p.Retire(ctx, 1),
			"canary": p.StartCanary(ctx, 1, p.rev("one"), 1), "migrate": p.Migrate(ctx, 1, p.rev("one")),
		} {
			if !errors.Is(err, target.ErrFenced) {
				t.Errorf("%s by somebody who was overtaken: %v", what, err)
			}
		}
		if _, err := p.Replace(ctx, p.releases["one"]); err == nil {
			t.Error("replaced in the middle of a promotion")
		}
		if l, _, err := TakeOver(ctx, p.opt.Paths); err == nil {
			l.Close()
			t.Error("handed over in the middle of a promotion")
		}
		p.must(p.Withdraw(ctx, 2))
		if got := p.answers(10); got["two"] != 0 {
			t.Errorf("a canary that was withdrawn still answers: %v", got)
		}
		p.serves("one")
		if now := p.pids("stable"); !slices.Equal(now, before) {
			t.Errorf("processes %v became %v", before, now)
		}
	})
	run("all traffic, and all of it back to what is warm", func(t *testing.T, ctx context.Context) {
		before := p.pids("stable")
		p.must(p.StartCanary(ctx, 3, p.rev("two"), 20))
		p.must(p.Complete(ctx, 3, p.rev("two")))
		if got := p.answers(10); got["two"] != 10 {
			t.Errorf("completed: %v", got)
		}
		if warm := p.pids("warm"); !slices.Equal(warm, before) {
			t.Errorf("warm are %v, want %v", warm, before)
		}
		p.must(p.Withdraw(ctx, 3))
		p.serves("one")
		if now := p.pids("stable"); !slices.Equal(now, before) {
			t.Errorf("processes %v became %v", before, now)
		}
	})
	run("a release that is never ready", func(t *testing.T, ctx context.Context) {
		before := p.pids("stable")
		if err := p.StartCanary(ctx, 4, p.rev("never"), 50); !errors.Is(err, target.ErrNotReady) {
			t.Errorf("as a canary: %v", err)
		}
		p.must(p.Withdraw(ctx, 4))
		if err := p.Complete(ctx, 5, p.rev("never")); !errors.Is(err, target.ErrNotReady) {
			t.Errorf("with all traffic: %v", err)
		}
		p.must(p.Withdraw(ctx, 5))
		if n, err := p.Replace(ctx, p.releases["never"]); err == nil || n != 0 {
			t.Errorf("as a replacement: %d, %v", n, err)
		}
		p.serves("one")
		if now := p.pids("stable"); !slices.Equal(now, before) {
			t.Errorf("processes %v became %v", before, now)
		}
	})
	run("the next daemon adopts what runs", func(t *testing.T, ctx context.Context) {
		before := p.pids("stable")
		if _, err := Open(ctx, p.opt); !errors.Is(err, ErrRunning) {
			t.Fatalf("two daemons at once: %v", err)
		}
		p.held()
		p.leave()
		// Nobody listens, and nobody is refused: who comes now waits.
		early, err := net.Dial("tcp", p.opt.Declared.Listen)
		p.must(err)
		defer early.Close()
		p.open()
		// No request is turned away before the instances are known.
		if got := p.answers(1); got["one"] != 1 {
			t.Errorf("the first answer: %v", got)
		}
		p.must(early.SetDeadline(time.Now().Add(5 * time.Second)))
		p.must(tls.Client(early, &tls.Config{RootCAs: p.roots, ServerName: "localhost"}).HandshakeContext(ctx))
		p.serves("one")
		if now := p.pids("stable"); !slices.Equal(now, before) {
			t.Errorf("processes %v became %v", before, now)
		}
	})
	run("the next daemon undoes half a replacement", func(t *testing.T, ctx context.Context) {
		// As a daemon leaves it that is killed after the first of two.
		old := p.now().Instances
		ids, err := func() ([]string, error) {
			p.op.Lock()
			defer p.op.Unlock()
			rev := p.rev("two")
			p.must(p.enter(func(s *state) { s.Canary, s.Replacing = arm{Revision: &rev}, true }))
			ids, err := p.start(ctx, rev, 1)
			p.must(p.enter(func(s *state) {
				s.Canary.Instances, s.Weight, s.Stable.Instances = ids, 50, []string{old[1].ID}
			}))
			return ids, err
		}()
		p.must(err)
		if got := p.answers(20); got["two"] == 0 || got["one"] == 0 {
			t.Fatalf("half of each: %v", got)
		}
		p.leave()
		p.open()
		p.serves("one")
		for _, in := range p.now().Instances {
			if in.ID == ids[0] {
				t.Errorf("instance %s of the other release is left", in.ID)
			}
		}
		n, err := p.Replace(ctx, p.releases["two"])
		if err != nil || n != 2 {
			t.Errorf("replace: %d, %v", n, err)
		}
		p.serves("two")
	})
	run("an instance that nobody knows is ended", func(t *testing.T, ctx context.Context) {
		var stray string
		func() {
			p.op.Lock()
			defer p.op.Unlock()
			ids, err := p.start(ctx, p.rev("two"), 1)
			p.must(err)
			stray = ids[0]
		}()
		if stray == "" || len(p.now().Instances) != 3 {
			t.Fatalf("%+v", p.now())
		}
		p.serves("two")
	})
	run("the database moves when its port is taken, and the instances follow", func(t *testing.T, _ context.Context) {
		address, before := p.database().AppURL(), p.pids("stable")
		u, err := url.Parse(address)
		p.must(err)
		// The port is free from the postmaster's end until the next one begins.
		var thief net.Listener
		p.must(syscall.Kill(p.database().PID(), syscall.SIGKILL))
		for deadline := time.Now().Add(5 * time.Second); thief == nil; {
			if thief, err = net.Listen("tcp", u.Host); err != nil && time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
		defer thief.Close()
		moved := func() bool {
			if p.database().AppURL() == address {
				return false
			}
			return !slices.ContainsFunc(p.now().Instances, func(in target.Instance) bool {
				return in.Health != target.Healthy || slices.Contains(before, in.PID)
			})
		}
		for deadline := time.Now().Add(20 * time.Second); !moved(); {
			if time.Now().After(deadline) {
				t.Fatalf("the address has changed: %v; instances before %v, now %v", p.database().AppURL() != address, before, p.pids("stable"))
			}
			<-time.After(10 * time.Millisecond)
		}
		p.serves("two")
	})
	run("down, and nothing is left", func(t *testing.T, ctx context.Context) {
		var all []int
		for _, in := range p.now().Instances {
			all = append(all, in.PID)
		}
		all = append(all, p.database().PID())
		p.held()
		all = append(all, holders(p.paths.dir())...)
		p.down()
		for _, pid := range all {
			if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) && !zombie(pid) {
				t.Errorf("process %d is left: %v", pid, err)
			}
		}
		if LeftOver(p.opt.Paths) {
			t.Error("something is said to be left over")
		}
		if _, err := NewClient(p.opt.Paths).Status(ctx); !errors.Is(err, ErrNoDaemon) {
			t.Errorf("a daemon that is down answers: %v", err)
		}
		p.open()
		if s := p.now(); s.Stable != "" || s.Token < 5 {
			t.Errorf("after down it says %+v; the token must stay", s)
		}
		p.must(p.Complete(ctx, 6, p.rev("two")))
		p.serves("two")
	})
}

func zombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(b), ") Z ")
}
