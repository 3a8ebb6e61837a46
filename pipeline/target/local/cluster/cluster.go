// Package cluster runs the PostgreSQL of one environment on one machine, or
// uses one elsewhere. It finds or makes the server, adopts one that outlived
// its daemon, starts a dead one again, and keeps the database, its two roles
// and their passwords.
//
// An own server is no child in spirit: it has a session of its own, writes to
// a log file, and goes on when the process that started it ends. A systemd
// unit around that process needs KillMode=process for the same reason.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// Options say which database Open opens.
type Options struct {
	// Dir is the absolute path of the folder of this environment's database:
	// passwords, lock, and, for an own cluster, its data. Open creates it. When
	// gate is root, the user that runs PostgreSQL must be able to enter it.
	Dir string
	// Name is the name of the database, such as "smartcloudops_staging", and the
	// first part of the roles' names. Small letters, digits and _, at most 50.
	// On a shared server it must be the environment's own.
	Name string

	// The sources, in this order.
	URL    string // of a database server whose user may create roles and databases
	BinDir string // PostgreSQL's programs for an own cluster; it must fit
	Path   string // list of folders in the form of $PATH; searched before the distributions' folders
	Cache  string // folder for downloaded programs, shared by environments; empty: no download

	// Repository is the Maven repository that programs are downloaded from;
	// empty: the public one.
	Repository string
	// Settings are added to the configuration of an own cluster; they count from
	// its next start.
	Settings map[string]string
	// Log gets one line for each choice and each incident, never a secret. It may
	// be nil.
	Log io.Writer
}

// Cluster is an open database. Its methods may be called from several
// goroutines.
type Cluster struct {
	dir       string
	name      string
	external  bool
	copied    bool     // a scratch copy: made by OpenCopy
	recovered int64    // of a copy: its first own transaction
	aside     bool     // it gives way to all other processes
	unfollow  func()   // of a copy: its processes are no longer made to give way
	server    *url.URL // of an external server
	settings  map[string]string
	log       io.Writer
	runner    runner
	bin       binaries
	secrets   secrets

	op   sync.Mutex // held by the one call that changes something
	held *os.File   // the lock

	mu       sync.Mutex // guards what follows
	pid      int
	child    int // pid, when this process started it and has not reaped it
	port     int
	ready    bool // it has accepted a connection since it was started
	restarts int  // since Open
	version  string
	closed   bool
}

// Files in Dir.
const (
	secretsFile = "passwords.json"
	portFile    = "port"
	logFile     = "postgres.log"
)

// adminRole is the superuser of an own cluster.
const adminRole = "gate"

var validName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,49}$`)

// Open finds or creates the database, starts or adopts its server, waits until
// it accepts, and brings database and roles to where they belong. ctx bounds
// the wait; crash recovery may take minutes. When Open fails it stops a server
// that it has started, and leaves alone one that it has found, or that is still
// in its recovery when ctx ends.
//
// The handle must be closed, or stopped. The errors of this package, such as
// ErrLocked, ErrRefused or ErrNoSpace, are found with errors.Is.
func Open(ctx context.Context, o Options) (*Cluster, error) {
	if !filepath.IsAbs(o.Dir) {
		return nil, fmt.Errorf("database folder %q is not an absolute path", o.Dir)
	}
	if !validName.MatchString(o.Name) {
		return nil, fmt.Errorf("database name %q is not valid; use small letters, digits and _, a letter first, at most 50", o.Name)
	}
	if err := checkSettings(o.Settings); err != nil {
		return nil, err
	}
	mode := fs.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o711
	}
	err := os.MkdirAll(o.Dir, mode)
	if err == nil {
		err = os.Chmod(o.Dir, mode)
	}
	if err != nil {
		return nil, explainSpace(err, "make the database folder", o.Dir)
	}
	// The server is recognised by its path, so there must be only one.
	dir, err := filepath.EvalSymlinks(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("database folder: %w", err)
	}
	c := &Cluster{dir: dir, name: o.Name, external: o.URL != "", settings: o.Settings, log: o.Log}
	if c.held, err = lock(c.path("lock")); err != nil {
		return nil, err
	}
	if c.external {
		err = c.openExternal(ctx, o)
	} else {
		err = c.openOwn(ctx, o)
	}
	if err != nil {
		return nil, errors.Join(err, c.held.Close())
	}
	return c, nil
}

func (c *Cluster) openExternal(ctx context.Context, o Options) error {
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" || u.User == nil || u.User.Username() == "" {
		// What the parsers say may repeat the password.
		return errors.New("the database URL is not valid; it must look like postgres://USER:PASSWORD@HOST:PORT/DATABASE, with special characters of the password percent-encoded")
	}
	if _, err := pgx.ParseConfig(o.URL); err != nil {
		return errors.New("the database URL is not valid: an option in it is unknown or wrong, or a file that it names cannot be read; check what stands behind the host")
	}
	c.server = u
	if c.secrets, err = loadSecrets(c.path(secretsFile), true); err != nil {
		return err
	}
	if _, err := os.Stat(c.data()); err == nil {
		c.logf("database: a URL is given, so the own cluster in %s stays as it is, unused", c.data())
	}
	if err := c.prepare(ctx); err != nil {
		return err
	}
	c.logf("database: %s, by the URL that was given", c.Describe())
	return nil
}

// path is a file in the folder.
func (c *Cluster) path(elem ...string) string {
	return filepath.Join(append([]string{c.dir}, elem...)...)
}

func (c *Cluster) data() string { return c.path("data") }

func (c *Cluster) logf(format string, args ...any) {
	if c.log != nil {
		fmt.Fprintf(c.log, format+"\n", args...)
	}
}

// where is the server's address, without credentials.
func (c *Cluster) where() string {
	if c.external {
		config, err := pgx.ParseConfig(c.server.String())
		if err != nil {
			return c.server.Host
		}
		if strings.HasPrefix(config.Host, "/") {
			return config.Host
		}
		return net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port)))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(c.port))
}

// Describe says what the database is, without credentials.
func (c *Cluster) Describe() string {
	c.mu.Lock()
	version := c.version
	c.mu.Unlock()
	if c.external {
		return fmt.Sprintf("external, PostgreSQL %s at %s, database %s", version, c.where(), c.name)
	}
	return fmt.Sprintf("own cluster, PostgreSQL %s from %s", version, c.bin.dir)
}

// String is Describe: printing a Cluster shows no secret.
func (c *Cluster) String() string { return c.Describe() }

// GoString is Describe, for %#v.
func (c *Cluster) GoString() string { return c.Describe() }

// External says whether a URL was given: then EnsureRunning cannot start
// anything and Stop stops nothing.
func (c *Cluster) External() bool { return c.external }

// PID is the process of an own server; 0 for an external one, or when none runs.
func (c *Cluster) PID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pid
}

// Restarts is how often an own server has died and come back since Open.
func (c *Cluster) Restarts() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.restarts
}

// BinDir holds the programs of an own cluster; "" for an external one.
func (c *Cluster) BinDir() string { return c.bin.dir }

// DataDir holds the data of an own cluster; "" for an external one.
func (c *Cluster) DataDir() string {
	if c.external {
		return ""
	}
	return c.data()
}

// Ping returns nil when the app's database answers. It takes at most five
// seconds.
func (c *Cluster) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := c.connect(ctx, c.AdminURL())
	if err != nil {
		return c.explain(err, "ping the database")
	}
	defer hangUp(conn)
	_, err = conn.Exec(ctx, "SELECT 1")
	return c.explain(err, "ping the database")
}

// Close gives the folder back and leaves the server running, for the next Open
// to adopt.
func (c *Cluster) Close() error {
	c.op.Lock()
	defer c.op.Unlock()
	return c.close()
}

func (c *Cluster) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	return c.held.Close()
}

func (c *Cluster) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}
