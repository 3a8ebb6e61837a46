package release

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// Touched are the files that head has changed, added or removed since it parted
// from base, sorted; of a moved file both names. Paths are relative to the
// repository. Without a commit in common, or with several of which none is before
// another, everything that differs from base is touched.
//
// Errors: ErrNoCommit.
func (c *Clone) Touched(ctx context.Context, base, head string) ([]string, error) {
	from, err := c.Resolve(ctx, base)
	if err != nil {
		return nil, err
	}
	to, err := c.Resolve(ctx, head)
	if err != nil {
		return nil, err
	}
	if parted, err := c.git.line(ctx, "merge-base", "--all", from, to); err == nil && objectID.MatchString(parted) {
		from = parted
	} else if err != nil && code(err) != 1 {
		return nil, fmt.Errorf("changes of %.12s since %.12s: %w", head, base, err)
	}
	// What .gitmodules says is to be ignored is the change's own word.
	b, err := c.git.output(ctx, "diff-tree", "-r", "-z", "--name-only", "--no-renames", "--no-ext-diff", "--ignore-submodules=none", from, to, "--")
	if err != nil {
		return nil, fmt.Errorf("changes of %.12s since %.12s: %w", head, base, err)
	}
	var paths []string
	for name := range bytes.SplitSeq(b, []byte{0}) {
		if len(name) > 0 {
			paths = append(paths, string(name))
		}
	}
	slices.Sort(paths)
	return paths, nil
}

// Contains says whether commit is rev or one of its ancestors. In a shallow
// clone that lacks the answer the error says so.
//
// Errors: ErrNoCommit.
func (c *Clone) Contains(ctx context.Context, rev, commit string) (bool, error) {
	tip, err := c.Resolve(ctx, rev)
	if err != nil {
		return false, err
	}
	if commit, err = c.Resolve(ctx, commit); err != nil {
		return false, err
	}
	_, err = c.git.output(ctx, "merge-base", "--is-ancestor", commit, tip)
	switch {
	case err == nil:
		return true, nil
	case code(err) != 1:
		return false, fmt.Errorf("is %.12s on %s: %w", commit, rev, err)
	}
	if shallow, err := c.git.line(ctx, "rev-parse", "--is-shallow-repository"); err != nil || shallow != "false" {
		return false, fmt.Errorf("is %.12s on %s: the clone is shallow: git fetch --unshallow", commit, rev)
	}
	return false, nil
}

// code is the exit code behind err, -1 for none.
func code(err error) int {
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return e.ExitCode()
	}
	return -1
}

// Files are the commit's files that match one of the patterns (** spans
// folders), each with the id of its content.
//
// Errors: ErrNoCommit.
func (c *Clone) Files(ctx context.Context, commit string, patterns []string) (map[string]string, error) {
	id, err := c.Resolve(ctx, commit)
	if err != nil {
		return nil, err
	}
	all, err := list(ctx, c.git, id+"^{tree}")
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for _, f := range all {
		for _, p := range patterns {
			if ok, err := doublestar.Match(p, f.Path); err != nil {
				return nil, fmt.Errorf("pattern %q: %w", p, err)
			} else if ok {
				found[f.Path] = f.blob
			}
		}
	}
	return found, nil
}

// Contents are what is in the commit's files at the paths, those that it has.
//
// Errors: ErrNoCommit.
func (c *Clone) Contents(ctx context.Context, commit string, paths []string) (map[string][]byte, error) {
	id, err := c.Resolve(ctx, commit)
	if err != nil {
		return nil, err
	}
	all, err := list(ctx, c.git, id+"^{tree}")
	if err != nil {
		return nil, err
	}
	found := map[string][]byte{}
	for _, f := range all {
		if !slices.Contains(paths, f.Path) {
			continue
		}
		if found[f.Path], err = c.git.output(ctx, "cat-file", "blob", f.blob); err != nil {
			return nil, fmt.Errorf("read %s: %w", f.Path, err)
		}
	}
	return found, nil
}

// SameFiles says whether the files at the paths are the same in both commits,
// absent ones included.
//
// Errors: ErrNoCommit.
func (c *Clone) SameFiles(ctx context.Context, a, b string, paths []string) (bool, error) {
	ids := make([]map[string]string, 2)
	for i, rev := range []string{a, b} {
		commit, err := c.Resolve(ctx, rev)
		if err != nil {
			return false, err
		}
		all, err := list(ctx, c.git, commit+"^{tree}")
		if err != nil {
			return false, err
		}
		ids[i] = map[string]string{}
		for _, f := range all {
			ids[i][f.Path] = f.Mode + " " + f.blob
		}
	}
	for _, p := range paths {
		if ids[0][p] != ids[1][p] {
			return false, nil
		}
	}
	return true, nil
}

// Ancestors are rev and the commits before it along first parents, at most n. In
// a shallow clone that lacks some of them the error says so.
//
// Errors: ErrNoCommit.
func (c *Clone) Ancestors(ctx context.Context, rev string, n int) ([]string, error) {
	id, err := c.Resolve(ctx, rev)
	if err != nil {
		return nil, err
	}
	b, err := c.git.output(ctx, "rev-list", "--first-parent", fmt.Sprintf("--max-count=%d", max(n, 0)), id, "--")
	if err != nil {
		return nil, fmt.Errorf("history of %.12s: %w", id, err)
	}
	found := strings.Fields(string(b))
	if len(found) < n {
		if shallow, err := c.git.line(ctx, "rev-parse", "--is-shallow-repository"); err != nil || shallow != "false" {
			return nil, fmt.Errorf("history of %.12s: the clone is shallow: git fetch --unshallow", id)
		}
	}
	return found, nil
}
