package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smartcloudops/gate/pipeline/target/local/aside"
	"github.com/smartcloudops/gate/pipeline/target/local/durable"
)

// ErrNoTool: a program that comes with PostgreSQL is not beside the others.
var ErrNoTool = errors.New("program is missing")

// Connect opens a connection as the superuser; database "" is "postgres".
func (c *Cluster) Connect(ctx context.Context, database string) (*pgx.Conn, error) {
	conn, err := c.connect(ctx, c.adminURL(database))
	if err != nil {
		return nil, c.explain(err, "connect")
	}
	return conn, nil
}

// GiveWay has the session give way to all other processes, and work in one
// process alone. An external server's sessions stay as they are.
func (c *Cluster) GiveWay(ctx context.Context, conn *pgx.Conn) error {
	if c.external {
		return nil
	}
	aside.Lower(int(conn.PgConn().PID()))
	// Others that work for a session are no children of it.
	if _, err := conn.Exec(ctx, "SET max_parallel_workers_per_gather = 0"); err != nil {
		return c.explain(err, "have a session give way")
	}
	return nil
}

// Name is the name of the app's database.
func (c *Cluster) Name() string { return c.name }

// AppRole is the role that instances connect as.
func (c *Cluster) AppRole() string { return c.appRole() }

// Version is the server's, as "15.18"; Major is 15.
func (c *Cluster) Version() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.version
}

// Major is the first part of the version of an own cluster's programs.
func (c *Cluster) Major() int { return c.bin.major }

// Command is one of PostgreSQL's programs as its user, in a process group of its
// own. Nothing secret may be among args: everybody can read them. The error is
// ErrNoTool where the program is not there.
func (c *Cluster) Command(ctx context.Context, program string, args ...string) (*exec.Cmd, error) {
	path := program
	if !filepath.IsAbs(path) {
		path = filepath.Join(c.bin.dir, program)
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("%s in %s: %w; install the distribution's PostgreSQL client programs of the same version", program, c.bin.dir, ErrNoTool)
		}
	}
	cmd := exec.CommandContext(ctx, path, args...) // #nosec G204 -- one of PostgreSQL's own
	cmd.Dir = "/"
	cmd.Env = append([]string{"PGPASSFILE=" + c.passFile(), "PGCONNECT_TIMEOUT=10", "PGAPPNAME=gate"}, childEnv...)
	cmd.SysProcAttr = c.runner.attr()
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd, nil
}

// Run is Command to its end, giving way to all other processes; the error names
// what the program complained of.
func (c *Cluster) Run(ctx context.Context, program string, args ...string) (string, error) {
	cmd, err := c.Command(ctx, program, args...)
	if err != nil {
		return "", err
	}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err = aside.Start(cmd); err == nil {
		err = cmd.Wait()
	}
	out := said.String()
	if ctx.Err() != nil {
		return out, fmt.Errorf("%s: %w", filepath.Base(program), ctx.Err())
	}
	if err != nil {
		return out, explainOutput(err, out, filepath.Base(program), c.dir)
	}
	return out, nil
}

// ConnectArgs are the arguments by which PostgreSQL's programs find the server
// as the superuser. The password is in a file that Login writes.
func (c *Cluster) ConnectArgs() []string {
	c.mu.Lock()
	port := c.port
	c.mu.Unlock()
	return []string{"--host=127.0.0.1", "--port=" + strconv.Itoa(port), "--username=" + adminRole, "--no-password"}
}

func (c *Cluster) passFile() string { return c.path("conf", "pgpass") }

// Login writes the file with the superuser's password that PostgreSQL's
// programs read, for their user alone.
func (c *Cluster) Login() error {
	c.mu.Lock()
	port := c.port
	c.mu.Unlock()
	path := c.passFile()
	text := fmt.Sprintf("127.0.0.1:%d:*:%s:%s\n", port, adminRole, c.secrets.Admin)
	if b, err := os.ReadFile(path); err == nil && string(b) == text {
		return nil
	}
	err := durable.Replace(path, []byte(text), 0o600)
	if err == nil {
		err = c.runner.own(path)
	}
	return explainSpace(err, "write the password file for PostgreSQL's programs", path)
}

// MakeDir makes a folder that only the user that runs PostgreSQL can look into.
func (c *Cluster) MakeDir(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return explainSpace(err, "make folder", path)
	}
	if err := c.runner.own(path); err != nil {
		return fmt.Errorf("make folder %s: %w", path, err)
	}
	return nil
}

// Enterable says why PostgreSQL's user can't get to a folder; nil: it can.
func (c *Cluster) Enterable(path string) error {
	if c.runner.root && c.runner.blocking(path) != "" {
		return c.runner.unenterable(path, "choose a folder")
	}
	return nil
}

// SystemIdentifier is the number that PostgreSQL's initdb gave to the cluster
// whose data, or a copy of it, lies in the folder data.
func (c *Cluster) SystemIdentifier(ctx context.Context, data string) (string, error) {
	out, err := c.Run(ctx, "pg_controldata", "-D", data)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out) {
		if v, found := strings.CutPrefix(line, "Database system identifier:"); found {
			return strings.TrimSpace(v), nil
		}
	}
	return "", fmt.Errorf("pg_controldata names no system identifier of %s", data)
}

// WriteFile writes a file into a folder of the user that runs PostgreSQL, where a
// planted link must not lead elsewhere.
func (c *Cluster) WriteFile(dir, name string, b []byte) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer root.Close()
	if err := root.WriteFile(name, b, 0o600); err != nil {
		return explainSpace(err, "write "+name, dir)
	}
	if c.runner.root {
		return root.Lchown(name, c.runner.uid, c.runner.gid)
	}
	return nil
}
