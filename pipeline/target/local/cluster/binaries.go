package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// oldest is the oldest major version that is served: older ones get no fixes.
const oldest = 13

// binaries are the programs of one PostgreSQL.
type binaries struct {
	dir     string
	version string // "15.18"
	major   int
}

// childEnv is all that PostgreSQL sees of an environment: gate's own may hold
// secrets. PATH is for commands that an archive setting names.
var childEnv = []string{"LC_ALL=C", "PATH=/usr/local/bin:/usr/bin:/bin"}

var versionLine = regexp.MustCompile(`\(PostgreSQL\) ((\d+)[.\w]*)`)

// findBinaries chooses the programs, in the order that Options documents.
// major is that of an existing data folder, which no other major can read; 0:
// there is none.
func (c *Cluster) findBinaries(ctx context.Context, o Options, major int) (binaries, error) {
	if o.BinDir != "" {
		b, err := c.probe(ctx, o.BinDir)
		switch {
		case err != nil:
			return b, fmt.Errorf("use PostgreSQL in %s: %w", o.BinDir, err)
		case b.major < oldest:
			return b, fmt.Errorf("%s holds PostgreSQL %s: %w; name a folder with version %d or newer", o.BinDir, b.version, ErrTooOld, oldest)
		case major != 0 && b.major != major:
			return b, fmt.Errorf("%s holds PostgreSQL %s, but the cluster in %s was made by version %d; name a folder with that version", o.BinDir, b.version, c.data(), major)
		}
		c.logf("database: own cluster, PostgreSQL %s from %s, the folder that was named", b.version, b.dir)
		return b, nil
	}
	var passed []string
	for _, dir := range candidates(o.Path) {
		b, err := c.probe(ctx, dir)
		switch {
		case errors.Is(err, errNothingThere):
			continue
		case err != nil:
			passed = append(passed, dir+": "+err.Error())
		case b.major < oldest:
			passed = append(passed, fmt.Sprintf("%s: version %s is older than %d", dir, b.version, oldest))
		case major != 0 && b.major != major:
			passed = append(passed, fmt.Sprintf("%s: version %s cannot read the cluster's version %d", dir, b.version, major))
		default:
			c.logf("database: own cluster, PostgreSQL %s found in %s", b.version, b.dir)
			return b, nil
		}
	}
	seen := "none is on this machine"
	if len(passed) > 0 {
		seen = "none fits (" + strings.Join(passed, "; ") + ")"
	}
	want := "PostgreSQL 13 or newer"
	if major != 0 {
		want = fmt.Sprintf("PostgreSQL %d", major)
	}
	if o.Cache == "" {
		return binaries{}, fmt.Errorf("%w: %s; install %s, name its folder, or give the URL of a database", ErrNoPostgres, seen, want)
	}
	dir, err := c.download(ctx, o.Cache, o.Repository, major)
	if err != nil {
		return binaries{}, fmt.Errorf("%w: %s, and the download failed: %w; install %s, or give the URL of a database", ErrNoPostgres, seen, err, want)
	}
	b, err := c.probe(ctx, dir)
	if err != nil {
		return b, fmt.Errorf("%w: the downloaded programs in %s do not run here: %w; install %s, or give the URL of a database", ErrNoPostgres, dir, err, want)
	}
	c.logf("database: own cluster, PostgreSQL %s downloaded to %s, since %s", b.version, b.dir, seen)
	return b, nil
}

// candidates are folders that may hold PostgreSQL: those of path, then the
// distributions' own, newest first.
func candidates(path string) []string {
	var dirs []string
	for _, dir := range filepath.SplitList(path) {
		// A link such as bin/postgres has initdb beside its target.
		if real, err := filepath.EvalSymlinks(filepath.Join(dir, "postgres")); err == nil && filepath.IsAbs(real) {
			dirs = append(dirs, filepath.Dir(real))
		}
	}
	var system []string
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin"} {
		found, err := filepath.Glob(pattern)
		if err == nil {
			system = append(system, found...)
		}
	}
	slices.SortStableFunc(system, func(a, b string) int { return cmp.Compare(majorIn(b), majorIn(a)) })
	return append(dirs, system...)
}

var digits = regexp.MustCompile(`\d+`)

func majorIn(path string) int {
	n, err := strconv.Atoi(digits.FindString(path))
	if err != nil {
		return 0
	}
	return n
}

var errNothingThere = errors.New("no initdb and postgres there")

// probe asks the programs in dir for their version, as the user that is going
// to run them.
func (c *Cluster) probe(ctx context.Context, dir string) (binaries, error) {
	for _, name := range []string{"postgres", "initdb"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.IsDir() {
			return binaries{}, errNothingThere
		}
	}
	out, err := c.run(ctx, dir, "/", filepath.Join(dir, "postgres"), "--version")
	if errors.Is(err, syscall.EACCES) && c.runner.root {
		return binaries{}, c.runner.unenterable(dir, "use a PostgreSQL")
	}
	if errors.Is(err, syscall.EPERM) && c.runner.root {
		return binaries{}, fmt.Errorf("gate is root but may not become user %s; run it as another user, or allow CAP_SETUID and CAP_SETGID", c.runner.name)
	}
	if err != nil {
		return binaries{}, explainOutput(err, out, "postgres --version", dir)
	}
	m := versionLine.FindStringSubmatch(out)
	if m == nil {
		return binaries{}, fmt.Errorf("postgres --version says %q", oneLine(out))
	}
	major, err := strconv.Atoi(m[2])
	if err != nil {
		return binaries{}, fmt.Errorf("postgres --version says %q", oneLine(out))
	}
	return binaries{dir: dir, version: m[1], major: major}, nil
}

// run runs one of PostgreSQL's programs to its end, as its user, and returns
// what it printed. The end of ctx ends it and all its children.
func (c *Cluster) run(ctx context.Context, binDir, workDir, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...) // #nosec G204 -- the operator names the program
	cmd.Dir = workDir
	cmd.Env = childEnv
	cmd.SysProcAttr = c.runner.attr()
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return string(out), err
}
