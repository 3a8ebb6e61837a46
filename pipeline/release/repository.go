package release

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/mail"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"time"
)

// Errors of a clone that callers tell apart.
var (
	ErrNoRepository = errors.New("not in a Git repository")
	ErrBare         = errors.New("no work tree")
	ErrEmpty        = errors.New("no commit yet")
	ErrOwner        = errors.New("the repository belongs to another user")
	ErrNoCommit     = errors.New("no such commit")
)

// Clone is the user's Git work tree. It is only ever read.
type Clone struct {
	Root string // top folder of the work tree

	git     git
	objects string // object folder, of the main repository for a linked work tree
	index   string // index file of this work tree
	environ []string
}

var objectID = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// OpenClone opens the work tree that dir is in: a plain or a linked one, on a
// branch or detached, shallow or whole. environ is the user's environment.
//
// Errors: ErrNoRepository, ErrBare, ErrEmpty, ErrOwner.
func OpenClone(ctx context.Context, dir string, environ []string) (*Clone, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("folder %s: %w", dir, err)
	}
	if st, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("%s can't be entered, so it is %w: %w: run gate in a clone, or with -C DIR", dir, ErrNoRepository, errors.Unwrap(err))
	} else if !st.IsDir() {
		return nil, fmt.Errorf("%s is no folder, and %w: run gate in a clone, or with -C DIR", dir, ErrNoRepository)
	}
	g, err := newGit(environ, dir)
	if err != nil {
		return nil, err
	}
	inside, err := g.line(ctx, "rev-parse", "--is-inside-work-tree")
	switch {
	case says(err, "not a git repository"):
		return nil, fmt.Errorf("%s is %w: run gate in a clone, or with -C DIR", dir, ErrNoRepository)
	case err != nil:
		return nil, fmt.Errorf("open clone %s: %w", dir, err)
	case inside != "true":
		return nil, fmt.Errorf("%s has %w (a bare repository, or a .git folder): run gate in a clone, or with -C DIR", dir, ErrBare)
	}
	c := &Clone{git: g, environ: environ}
	for _, p := range []struct {
		to   *string
		args []string
	}{
		{&c.Root, []string{"--show-toplevel"}},
		{&c.objects, []string{"--path-format=absolute", "--git-path", "objects"}},
		{&c.index, []string{"--path-format=absolute", "--git-path", "index"}},
	} {
		if *p.to, err = g.line(ctx, append([]string{"rev-parse"}, p.args...)...); err != nil {
			return nil, fmt.Errorf("open clone %s: %w", dir, err)
		}
	}
	c.git.dir = c.Root
	if _, err := c.Head(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// Head is the full id of the commit that is checked out.
func (c *Clone) Head(ctx context.Context) (string, error) {
	id, err := c.Resolve(ctx, "HEAD")
	if errors.Is(err, ErrNoCommit) {
		return "", fmt.Errorf("%s has %w: commit something first", c.Root, ErrEmpty)
	}
	return id, err
}

// Resolve returns the full id of the commit that rev names: a branch, a tag, a
// short id. Errors: ErrNoCommit.
func (c *Clone) Resolve(ctx context.Context, rev string) (string, error) {
	if rev == "" || strings.HasPrefix(rev, "-") {
		return "", fmt.Errorf("%w: %q is not a revision", ErrNoCommit, rev)
	}
	id, err := c.git.line(ctx, "rev-parse", "--verify", "--quiet", rev+"^{commit}")
	if err != nil {
		var failed *gitError
		if !errors.As(err, &failed) {
			return "", err
		}
		next := "look at git log, or fetch it first"
		if shallow, err := c.git.line(ctx, "rev-parse", "--is-shallow-repository"); err == nil && shallow == "true" {
			next = "the clone is shallow: run git fetch --unshallow"
		}
		return "", fmt.Errorf("%w in %s: %q: %s", ErrNoCommit, c.Root, rev, next)
	}
	if !objectID.MatchString(id) {
		return "", fmt.Errorf("%w in %s: %q: Git answered %q", ErrNoCommit, c.Root, rev, id)
	}
	return id, nil
}

// Dirty says whether the work tree holds anything that its commit does not,
// and names the files, sorted. A file that is not tracked counts, one that is
// ignored does not.
func (c *Clone) Dirty(ctx context.Context) (bool, []string, error) {
	b, err := c.git.output(ctx, "status", "--porcelain=v2", "-z", "--untracked-files=all", "--no-renames", "--ignore-submodules=none")
	if err != nil {
		return false, nil, fmt.Errorf("status of %s: %w", c.Root, err)
	}
	var files []string
	for entry := range bytes.SplitSeq(b, []byte{0}) {
		if len(entry) == 0 {
			continue
		}
		fields := map[byte]int{'1': 9, 'u': 11, '?': 2}[entry[0]] // the last one is the path
		parts := strings.SplitN(string(entry), " ", fields)
		if fields == 0 || len(parts) != fields {
			return false, nil, fmt.Errorf("status of %s: cannot read %q", c.Root, entry)
		}
		files = append(files, parts[fields-1])
	}
	sort.Strings(files)
	return len(files) > 0, files, nil
}

// Subject is the first line of the commit's message.
func (c *Clone) Subject(ctx context.Context, commit string) (string, error) {
	s, err := c.git.line(ctx, "log", "-1", "--format=%s", commit)
	if err != nil {
		return "", fmt.Errorf("message of %s: %w", commit, err)
	}
	return s, nil
}

// Authors are the addresses of who has made the commit: its author, and those
// that it names with Co-authored-by.
func (c *Clone) Authors(ctx context.Context, commit string) ([]string, error) {
	out, err := c.git.output(ctx, "log", "-1", "--no-mailmap", "--format=%ae%n%(trailers:key=Co-authored-by,valueonly)", commit)
	if err != nil {
		return nil, fmt.Errorf("authors of %s: %w", commit, err)
	}
	var all []string
	for i, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		address := strings.TrimSpace(line)
		if i > 0 {
			a, err := mail.ParseAddress(address)
			if err != nil {
				continue
			}
			address = a.Address
		}
		if address != "" && !slices.Contains(all, address) {
			all = append(all, address)
		}
	}
	return all, nil
}

// Committed is when the commit was made, by the clock of who made it.
func (c *Clone) Committed(ctx context.Context, commit string) (time.Time, error) {
	s, err := c.git.line(ctx, "log", "-1", "--format=%cI", commit)
	if err != nil {
		return time.Time{}, fmt.Errorf("date of %s: %w", commit, err)
	}
	at, err := time.Parse(time.RFC3339, s)
	return at.UTC(), err
}
