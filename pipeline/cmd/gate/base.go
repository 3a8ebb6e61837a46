package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/release"
	"github.com/smartcloudops/gate/policies"
)

// base is the commit by whose policies, thresholds and trust is judged.
type base struct {
	Commit       string
	Declarations *environments.Declarations
	Policies     fs.FS // the overlay
}

// policyFolder is where a repository has what it lays over gate's own policies.
const policyFolder = "policies"

// loadBase reads what rev says of judging. dir is an empty folder for it.
func loadBase(ctx context.Context, c *release.Clone, rev, dir string) (*base, error) {
	x, err := release.Export(ctx, c, rev, false, dir)
	if err != nil {
		return nil, fmt.Errorf("base: %w", err)
	}
	d, err := environments.Read(os.DirFS(x.Dir))
	if err != nil {
		return nil, fmt.Errorf("base %.12s: %w", x.Commit, err)
	}
	return &base{Commit: x.Commit, Declarations: d, Policies: overlay(x.Dir)}, nil
}

// overlay are the files below the repository's folder policies/, nil without
// one.
func overlay(root string) fs.FS {
	dir := filepath.Join(root, policyFolder)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil
	}
	return os.DirFS(dir)
}

// change is what the commit head does to the base.
func (b *base) change(ctx context.Context, c *release.Clone, head string) (*policies.Change, error) {
	touched, err := c.Touched(ctx, b.Commit, head)
	if err != nil {
		return nil, err
	}
	ch := &policies.Change{Base: b.Commit, Files: len(touched), Owned: []policies.OwnedFile{}, Approvals: []policies.Approval{}}
	for _, path := range touched {
		if kind := b.Declarations.Trust.OwnedKind(path); kind != "" {
			ch.Owned = append(ch.Owned, policies.OwnedFile{Path: strings.ToValidUTF8(path, "?"), Kind: kind})
		}
	}
	return ch, nil
}
