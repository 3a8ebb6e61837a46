package release

import (
	"context"
	"fmt"
)

// Fetch brings the commit, and nothing else that is new, from the remote origin
// into the clone: no ref is made, and nothing is checked out. It is for clones
// of gate's own making, as a CI job has one; another's is only read.
func (c *Clone) Fetch(ctx context.Context, commit string) error {
	if !objectID.MatchString(commit) {
		return fmt.Errorf("fetch %.80q: it is no full commit id", commit)
	}
	if _, err := c.Resolve(ctx, commit); err == nil {
		return nil
	}
	g := c.git.with("GIT_ALLOW_PROTOCOL=https:ssh:file")
	for _, name := range []string{"GIT_ASKPASS", "GIT_SSH_COMMAND"} {
		if v, ok := lookup(c.environ, name); ok {
			g = g.with(name + "=" + v)
		}
	}
	_, err := g.output(ctx, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "origin", commit)
	if err != nil {
		return fmt.Errorf("fetch commit %.12s from origin: %w", commit, err)
	}
	return nil
}
