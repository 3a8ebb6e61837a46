package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/pipeline/target/local/aside"
)

// apart is an instance of a release, on another database, apart from all
// traffic. No supervisor knows it: it ends with who started it.
type apart struct {
	address string
	pid     int
	cancel  context.CancelFunc
	ended   chan struct{}
}

func (a *apart) stop() {
	a.cancel()
	<-a.ended
}

// asServing is the release, or what serves where none is named, configured as
// what serves is.
func (d *Daemon) asServing(release string) (target.Revision, error) {
	s := d.snapshot()
	if s.Stable.Revision == nil {
		return target.Revision{}, errors.New("nothing serves whose configuration could be used on the copy")
	}
	rev := *s.Stable.Revision
	if release != "" && release != rev.Release {
		rev.Release, rev.Commit = release, ""
	}
	return rev, nil
}

// startApart starts one and waits until it is ready. It lives longer than ctx, and
// gives way to all else where that is wanted.
func (d *Daemon) startApart(ctx context.Context, rev target.Revision, databaseURL string, givesWay bool) (*apart, error) {
	rt, path, err := d.runtime(rev)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("find a port: %w", err)
	}
	address := l.Addr().String()
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	values := map[string]string{
		"PORT": strconv.Itoa(port), "DATABASE_URL": databaseURL, "INSTANCE": "copy",
		"RELEASE": rev.Release, "ENVIRONMENT": d.paths.Environment,
	}
	env, err := d.environ(rev.Environment, rt, rt.Serve.Env, values)
	if err != nil {
		return nil, err
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	cmd := exec.CommandContext(life, path, expandAll(rt.Serve.Args, values)...) // #nosec G204 -- a release's own
	cmd.Env, cmd.Dir = env, "/"
	var said tail
	cmd.Stdout, cmd.Stderr = &said, &said
	// It must not outlive this process, which is the only one to know of it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: d.credential, Setsid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 2 * time.Second
	a := &apart{address: address, cancel: cancel, ended: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		defer close(a.ended)
		// The kernel counts the end of the thread that started it as ours.
		run := func(err error) {
			started <- err
			if err == nil {
				_ = cmd.Wait()
			}
		}
		if givesWay {
			aside.StartFor(cmd, run)
			return
		}
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		run(cmd.Start())
	}()
	if err := <-started; err != nil {
		cancel()
		return nil, fmt.Errorf("start an instance on the copy: %w", err)
	}
	a.pid = cmd.Process.Pid
	within, stop := context.WithTimeout(ctx, rt.Serve.StartTimeout.D())
	defer stop()
	if err := awaitReady(within, "http://"+address+environments.Expand(rt.Serve.Ready, values), a.ended); err != nil {
		a.stop()
		return nil, fmt.Errorf("an instance on the copy is not ready: %w; its last words: %.300s", err, lastLine(said.String()))
	}
	return a, nil
}

func awaitReady(ctx context.Context, url string, ended <-chan struct{}) error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	last := errors.New("it did not answer")
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		res, err := client.Do(req)
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
			last = fmt.Errorf("it answered %s", res.Status)
		}
		select {
		case <-ended:
			return errors.New("it has ended")
		case <-ctx.Done():
			return last
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// tail keeps the end of what is written to it.
type tail struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.b.Len() > 64<<10 {
		t.b.Reset()
	}
	return t.b.Write(b)
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}
