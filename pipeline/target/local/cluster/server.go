package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/smartcloudops/gate/pipeline/target/local/aside"
)

// openOwn makes or finds the environment's own cluster and gets it running.
func (c *Cluster) openOwn(ctx context.Context, o Options) error {
	var err error
	if c.runner, err = pickRunner(c.data()); err != nil {
		return err
	}
	major, err := c.dataMajor()
	if err != nil {
		return err
	}
	if c.bin, err = c.findBinaries(ctx, o, major); err != nil {
		return err
	}
	// Going there as that user is the proof; modes alone are not.
	out, err := c.run(ctx, c.bin.dir, c.dir, filepath.Join(c.bin.dir, "postgres"), "--version")
	if errors.Is(err, syscall.EACCES) {
		return c.runner.unenterable(c.dir, "choose a state folder (GATE_STATE)")
	}
	if err != nil {
		return explainOutput(err, out, "enter "+c.dir, c.dir)
	}
	if c.secrets, err = loadSecrets(c.path(secretsFile), major == 0); err != nil {
		return err
	}
	if major == 0 {
		if err := c.create(ctx); err != nil {
			return err
		}
	}
	found, err := c.running()
	if err != nil {
		return err
	}
	if found.pid != 0 {
		c.logf("database: adopting the running server, pid %d, port %d", found.pid, found.port)
		err = c.adopt(ctx, found)
	}
	started := false
	if found.pid == 0 || errors.Is(err, errDied) {
		started = true
		err = c.start(ctx)
	}
	if err == nil {
		err = c.prepare(ctx)
	}
	c.mu.Lock()
	c.restarts = 0
	c.mu.Unlock()
	switch {
	case err == nil || !started:
		return err
	case ctx.Err() != nil:
		// A long recovery would begin anew each time if a deadline stopped it.
		c.logf("database: leaving the server, pid %d, to its recovery: the next start adopts it", c.PID())
		return err
	}
	stop, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return errors.Join(err, c.halt(stop))
}

// EnsureRunning returns nil when the server runs and has accepted connections
// since it was started. A dead one is started again at once, crash recovery
// included; ctx bounds the wait, and the next call goes on waiting. For an
// external server it is a Ping. It is cheap enough to be called every second.
func (c *Cluster) EnsureRunning(ctx context.Context) error {
	if c.external {
		if c.isClosed() {
			return ErrClosed
		}
		return c.Ping(ctx)
	}
	c.op.Lock()
	defer c.op.Unlock()
	if c.isClosed() {
		return ErrClosed
	}
	c.mu.Lock()
	pid, ready := c.pid, c.ready
	c.mu.Unlock()
	if c.alive(pid) {
		if !ready {
			return c.await(ctx, pid, -1)
		}
		c.boundLog()
		return nil
	}
	c.logf("database: the server, pid %d, is gone: starting it again", pid)
	begin := time.Now()
	if err := c.start(ctx); err != nil {
		return err
	}
	c.logf("database: it accepts connections again, pid %d, after %d ms", c.PID(), time.Since(begin).Milliseconds())
	return nil
}

// start starts a dead server and waits until it accepts connections.
func (c *Cluster) start(ctx context.Context) error {
	const attempts = 3
	var err error
	for range attempts {
		var found pidFile
		if found, err = c.running(); err != nil {
			return err
		}
		if found.pid != 0 {
			return c.adopt(ctx, found)
		}
		if err := c.endOrphans(ctx); err != nil {
			return err
		}
		if err := errors.Join(c.passStale(), c.freshSocketDir()); err != nil {
			return err
		}
		port, portErr := c.pickPort()
		if portErr != nil {
			return portErr
		}
		if err := c.writeConfig(port); err != nil {
			return err
		}
		var pid int
		var from int64
		if pid, from, err = c.launch(port); err != nil {
			return err
		}
		err = c.await(ctx, pid, from)
		// Between looking and binding somebody may have taken the port, and a
		// process that was being forked may have attached itself.
		if err == nil || !strings.Contains(err.Error(), "could not create any TCP/IP sockets") &&
			!strings.Contains(err.Error(), "pre-existing shared memory block") {
			return err
		}
	}
	return err
}

// launch starts the server, detached. from is where in the log it begins.
func (c *Cluster) launch(port int) (pid int, from int64, err error) {
	c.boundLog()
	log, err := os.OpenFile(c.path(logFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return 0, 0, explainSpace(err, "open the database's log", c.path(logFile))
	}
	defer log.Close()
	if info, err := log.Stat(); err == nil {
		from = info.Size()
	}
	cmd := exec.Command(filepath.Join(c.bin.dir, "postgres"), "-D", c.data(), "-c", "config_file="+c.path("conf", "postgresql.conf")) // #nosec G204 -- the operator names the program
	cmd.Dir = "/"
	cmd.Env = childEnv
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = c.runner.attr()
	begin := cmd.Start
	if c.aside {
		begin = func() error { return aside.Start(cmd) }
	}
	if err := begin(); err != nil {
		return 0, 0, fmt.Errorf("start PostgreSQL from %s: %w", c.bin.dir, err)
	}
	pid = cmd.Process.Pid
	if c.aside {
		c.unfollow()
		c.unfollow = aside.Follow(pid)
	}
	c.mu.Lock()
	c.pid, c.child, c.port, c.ready = pid, pid, port, false
	c.mu.Unlock()
	return pid, from, cmd.Process.Release() // alive reaps it
}

// adopt takes over a server that runs already.
func (c *Cluster) adopt(ctx context.Context, f pidFile) error {
	// A server that has only just begun has not written its port yet.
	for f.port == 0 {
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return fmt.Errorf("wait for the server, pid %d, to say its port: %w", f.pid, err)
		}
		var err error
		if f, err = c.running(); err != nil {
			return err
		}
		if f.pid == 0 {
			return errDied
		}
	}
	c.mu.Lock()
	c.pid, c.port, c.ready = f.pid, f.port, false
	c.mu.Unlock()
	if err := c.keepPort(f.port); err != nil {
		return err
	}
	return c.await(ctx, f.pid, -1)
}

var errDied = errors.New("the server has ended")

// await waits until the server accepts a connection. from is where its part of
// the log begins; -1: unknown.
func (c *Cluster) await(ctx context.Context, pid int, from int64) error {
	for {
		if !c.alive(pid) {
			c.mu.Lock()
			if c.pid == pid {
				c.pid = 0
			}
			c.mu.Unlock()
			if from < 0 {
				return fmt.Errorf("PostgreSQL, pid %d: %w; see %s", pid, errDied, c.path(logFile))
			}
			said := tail(c.path(logFile), from)
			return fmt.Errorf("%w; see %s", explainOutput(errDied, said, "start PostgreSQL", c.dir), c.path(logFile))
		}
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		conn, err := c.connect(attempt, c.adminURL(""))
		cancel()
		var pg *pgconn.PgError
		switch {
		case err == nil:
			hangUp(conn)
		case errors.As(err, &pg) && pg.Code == stateConnections: // full, so it accepts
			err = nil
		case errors.As(err, &pg) && pg.Code != stateStarting:
			return c.explain(err, "enter the own cluster")
		}
		if err == nil {
			c.mu.Lock()
			c.ready = true
			c.restarts++
			c.mu.Unlock()
			return nil
		}
		if pauseErr := pause(ctx, 20*time.Millisecond); pauseErr != nil {
			return fmt.Errorf("PostgreSQL, pid %d, does not accept connections yet (recovery after a crash takes its time): %w; see %s", pid, pauseErr, c.path(logFile))
		}
	}
}

// Stop shuts an own server down, sessions included, waits for its end, and
// gives the folder back. When ctx ends first, the server still stops, and Stop
// may be called again. An external server is only let go.
func (c *Cluster) Stop(ctx context.Context) error {
	c.op.Lock()
	defer c.op.Unlock()
	if c.isClosed() {
		return nil
	}
	if !c.external {
		if err := c.halt(ctx); err != nil {
			return err
		}
	}
	return c.close()
}

// halt is PostgreSQL's fast shutdown: sessions end, a checkpoint is written.
func (c *Cluster) halt(ctx context.Context) error {
	c.mu.Lock()
	pid := c.pid
	c.mu.Unlock()
	if !c.alive(pid) {
		// Somebody may have restarted it by hand.
		found, err := c.running()
		if err != nil {
			return err
		}
		pid = found.pid
	}
	signalled := false
	for c.alive(pid) {
		if !signalled {
			if err := syscall.Kill(pid, syscall.SIGINT); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("stop PostgreSQL, pid %d: %w", pid, err)
			}
			signalled = true
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return fmt.Errorf("PostgreSQL, pid %d, is still writing its last checkpoint: %w; wait, or see %s", pid, err, c.path(logFile))
		}
	}
	// A crashed server's children would outlive it here too.
	if err := c.endOrphans(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	c.pid, c.ready = 0, false
	c.mu.Unlock()
	if signalled {
		c.logf("database: stopped, pid %d", pid)
	}
	return nil
}
