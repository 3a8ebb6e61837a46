package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// Cluster is a running PostgreSQL that only a socket in a private folder leads
// to.
type Cluster struct {
	bin      string
	dir      string // of data and socket
	password string // of every role
	as       *syscall.Credential
	signals  chan os.Signal
	ended    chan error
}

// binaries is the folder with initdb and postgres.
func binaries(getenv func(string) string) (string, error) {
	var dirs []string
	if dir := getenv("GATE_POSTGRES_BIN"); dir != "" {
		dirs = append(dirs, dir)
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			dirs = append(dirs, filepath.Dir(path))
		}
	}
	packaged, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	dirs = append(dirs, packaged...)
	for _, dir := range dirs {
		if executable(filepath.Join(dir, "initdb")) && executable(filepath.Join(dir, "postgres")) {
			return dir, nil
		}
	}
	return "", errors.New("found no initdb and postgres in GATE_POSTGRES_BIN, PATH or /usr/lib/postgresql; install PostgreSQL or set GATE_POSTGRES_BIN to its bin folder")
}

func executable(file string) bool {
	st, err := os.Stat(file)
	return err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0
}

// start makes a cluster, starts it and makes the roles.
func start(bin string) (*Cluster, error) {
	c := &Cluster{bin: bin, password: rand.Text()}
	if err := c.place(); err != nil {
		return nil, err
	}
	if err := c.create(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(c.dir))
	}
	if err := c.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(c.dir))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, role := range []string{Migrator, App} {
		if err := execute(ctx, c.url(admin, "postgres"), "CREATE ROLE "+role+" LOGIN PASSWORD '"+c.password+"'"); err != nil {
			return nil, errors.Join(err, c.remove())
		}
	}
	return c, nil
}

// place makes the folder. PostgreSQL refuses to run as root, so another user
// must be able to get there: a temporary folder below one that is root's alone
// will not do.
func (c *Cluster) place() error {
	if os.Geteuid() != 0 {
		dir, err := os.MkdirTemp("", "pgtest-")
		c.dir = dir
		return err
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		return fmt.Errorf("PostgreSQL does not run as root and there is no user to run it as; add a user postgres: %w", err)
	}
	uid, errU := strconv.ParseUint(u.Uid, 10, 32)
	gid, errG := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(errU, errG); err != nil {
		return fmt.Errorf("user %s has no usable id: %w", u.Username, err)
	}
	c.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	for _, base := range []string{os.TempDir(), "/tmp", "/var/tmp"} {
		if !reachable(base) {
			continue
		}
		dir, err := os.MkdirTemp(base, "pgtest-")
		if err != nil {
			continue
		}
		c.dir = dir
		return os.Chown(dir, int(uid), int(gid))
	}
	return errors.New("no temporary folder that other users may enter; set TMPDIR to one")
}

// reachable says whether any user may go to dir.
func reachable(dir string) bool {
	for {
		st, err := os.Stat(dir)
		if err != nil || st.Mode()&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
		dir = filepath.Dir(dir)
	}
}

func (c *Cluster) data() string { return filepath.Join(c.dir, "data") }

func (c *Cluster) create() error {
	secret := filepath.Join(c.dir, "password")
	if err := os.WriteFile(secret, []byte(c.password), 0o600); err != nil {
		return err
	}
	defer os.Remove(secret)
	if c.as != nil {
		if err := os.Chown(secret, int(c.as.Uid), int(c.as.Gid)); err != nil {
			return err
		}
	}
	cmd := c.command("initdb", "-D", c.data(), "-U", admin, "--pwfile", secret, "-A", "scram-sha-256",
		"-E", "UTF8", "--no-locale", "--no-sync")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb failed: %w: %s", err, out)
	}
	return nil
}

func (c *Cluster) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(c.bin, name), args...)
	cmd.Dir = c.dir
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = attributes(c.as)
	return cmd
}

// Start starts a stopped cluster and waits until it answers.
func (c *Cluster) Start() error {
	log, err := os.Create(filepath.Join(c.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	// What a crash of the machine would lose does not matter here; speed does.
	cmd := c.command("postgres", "-D", c.data(), "-k", c.dir, "-c", "listen_addresses=", "-c", "fsync=off",
		"-c", "full_page_writes=off", "-c", "max_connections=60", "-c", "shared_buffers=16MB")
	cmd.Stdout, cmd.Stderr = log, log
	started := make(chan error, 1)
	signals, ended := make(chan os.Signal), make(chan error, 1)
	go func() {
		// The kernel ends the cluster when this thread ends, so nothing is left
		// over even when the test is killed.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		for {
			select {
			case s := <-signals:
				_ = cmd.Process.Signal(s) // it may have ended by itself, which done tells
			case err := <-done:
				ended <- err
				close(ended)
				return
			}
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	c.signals, c.ended = signals, ended

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		err := execute(ctx, c.url(admin, "postgres"), "SELECT 1")
		if err == nil {
			return nil
		}
		select {
		case <-c.ended:
			said, _ := os.ReadFile(log.Name())
			return fmt.Errorf("postgres ended: %s", said)
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("postgres does not answer: %w", err), c.Stop())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Stop ends the cluster at once, connections and all, and waits for it.
func (c *Cluster) Stop() error {
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGQUIT} { // fast, then immediate
		select {
		case c.signals <- s:
		case <-c.ended:
			return nil
		}
		select {
		case <-c.ended:
			return nil
		case <-time.After(10 * time.Second):
		}
	}
	return errors.New("postgres does not stop")
}

func (c *Cluster) remove() error {
	return errors.Join(c.Stop(), os.RemoveAll(c.dir))
}
