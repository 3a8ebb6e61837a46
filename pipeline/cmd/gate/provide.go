package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/release"
)

// Source is where releases can be had by digest.
type Source interface {
	// Pull brings the release into the store, checked against its digest.
	Pull(ctx context.Context, s *release.Store, digest string) error
}

// sources are those that the commit declares.
func (s *session) sources(d *environments.Declarations) []Source {
	r := s.registry()
	if r.Repository = d.App.Registry; r.Repository == "" {
		return nil
	}
	return []Source{r}
}

// providing is held by the one who brings a release: several environments may
// want the same one at once.
var providing sync.Mutex

// provide sees to it that the store has the release: by its digest from where
// the commit declares it, or built anew from the commit, which gives the same
// bytes or is refused.
func (s *session) provide(ctx context.Context, rec *promotion.ReleaseRecord) error {
	providing.Lock()
	defer providing.Unlock()
	has, err := s.store.Has(rec.Release)
	if err != nil || has {
		return err
	}
	var failed error
	for _, src := range s.sources(rec.Declarations) {
		err := src.Pull(ctx, s.store, rec.Release)
		if err == nil || ctx.Err() != nil {
			return err
		}
		failed = errors.Join(failed, err)
	}
	err = s.rebuild(ctx, rec)
	switch {
	case err == nil:
		return nil
	case failed != nil:
		return fmt.Errorf("release %.19s is not here: %w; nor could it be built: %w", rec.Release, failed, err)
	}
	return fmt.Errorf("release %.19s is not here, and could not be built: %w", rec.Release, err)
}

// rebuild builds the record's commit and compares what it becomes.
func (s *session) rebuild(ctx context.Context, rec *promotion.ReleaseRecord) error {
	if rec.Dirty {
		return fmt.Errorf("it was made with uncommitted changes on top of %.12s, and only the machine that made it has those", rec.Commit)
	}
	clone, err := s.source(ctx, rec.Commit)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "gate-provide-")
	if err != nil {
		return fmt.Errorf("work folder: %w", err)
	}
	defer os.RemoveAll(work)
	exported, err := release.Export(ctx, clone, rec.Commit, false, filepath.Join(work, "source"))
	if err != nil {
		return err
	}
	d, err := environments.Read(os.DirFS(exported.Dir))
	if err != nil {
		return err
	}
	s.log.Info("building a release that is not here", "release", rec.Release, "commit", rec.Commit)
	r, err := release.Make(ctx, exported, d.App, s.store, release.Options{Environ: s.Environ})
	if err != nil {
		return err
	}
	if r.Digest != rec.Release {
		why := "see who recorded it"
		if rec.Builder != release.BuilderVersion {
			why = fmt.Sprintf("it was built by builder %d, and this gate has builder %d", rec.Builder, release.BuilderVersion)
		}
		return fmt.Errorf("commit %.12s becomes release %s here: %s", rec.Commit, r.Digest, why)
	}
	return nil
}

// source is a clone that has the commit: the user's, which is only read, or one
// of gate's own beside it, into which it is fetched from the same origin.
func (s *session) source(ctx context.Context, commit string) (*release.Clone, error) {
	_, err := s.clone.Resolve(ctx, commit)
	if err == nil || !errors.Is(err, release.ErrNoCommit) {
		return s.clone, err
	}
	dir, oerr := s.besideClone(ctx)
	if oerr != nil {
		return nil, fmt.Errorf("%w; %w", err, oerr)
	}
	if _, err := s.git(ctx, dir, "cat-file", "-e", commit+"^{commit}"); err != nil {
		if err := s.fetchBeside(ctx, dir, commit); err != nil {
			return nil, fmt.Errorf("fetch commit %.12s from the clone's origin: %w", commit, err)
		}
	}
	return s.openBeside(ctx, dir, commit)
}

// originHas says whether the commit is on the branch as the clone's origin has it
// now, whatever the clone itself knows of that.
func (s *session) originHas(ctx context.Context, branch, commit string) (bool, error) {
	dir, err := s.besideClone(ctx)
	if err != nil {
		return false, err
	}
	ref := "refs/remotes/origin/" + branch
	if err := s.fetchBeside(ctx, dir, "+refs/heads/"+branch+":"+ref); err != nil {
		return false, fmt.Errorf("fetch %s from the clone's origin: %w", branch, err)
	}
	clone, err := s.openBeside(ctx, dir, ref)
	if err != nil {
		return false, err
	}
	return clone.Contains(ctx, ref, commit)
}

// besideClone is the folder of gate's own clone of the same origin.
func (s *session) besideClone(ctx context.Context) (dir string, err error) {
	origin, err := s.git(ctx, s.clone.Root, "config", "--get", "remote.origin.url")
	if err != nil || origin == "" {
		return "", fmt.Errorf("the clone %s has no remote origin to fetch from: add one", s.clone.Root)
	}
	if !strings.Contains(origin, ":") && !filepath.IsAbs(origin) {
		origin = filepath.Join(s.clone.Root, origin)
	}
	dir = filepath.Join(s.state, "source")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("clone for sources: %w", err)
	}
	for _, args := range [][]string{{"init", "--quiet", "--template="}, {"config", "remote.origin.url", origin}} {
		if _, err := s.git(ctx, dir, args...); err != nil {
			return "", fmt.Errorf("clone for sources %s: %w", dir, err)
		}
	}
	return dir, nil
}

func (s *session) fetchBeside(ctx context.Context, dir, what string) error {
	_, err := s.git(ctx, dir, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--no-recurse-submodules", "origin", what)
	return err
}

// openBeside opens it. A clone is one only with a commit, whatever that is.
func (s *session) openBeside(ctx context.Context, dir, commit string) (*release.Clone, error) {
	if _, err := s.git(ctx, dir, "update-ref", "--no-deref", "HEAD", commit); err != nil {
		return nil, fmt.Errorf("clone for sources %s: %w", dir, err)
	}
	return release.OpenClone(ctx, dir, s.Environ)
}

// git runs git as the user would, and returns what it said in one line.
func (s *session) git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir, "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "gc.auto=0"}, args...)...)
	for _, kv := range s.Environ {
		// What would point git elsewhere, as inside of a hook, is left out.
		if name, _, _ := strings.Cut(kv, "="); !strings.HasPrefix(name, "GIT_") || strings.HasPrefix(name, "GIT_CONFIG") || strings.HasPrefix(name, "GIT_SSH") || name == "GIT_ASKPASS" {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, "LC_ALL=C", "GIT_TERMINAL_PROMPT=0", "GIT_ALLOW_PROTOCOL=https:ssh:file")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		for line := range strings.Lines(stderr.String()) {
			if line = strings.TrimSpace(line); strings.HasPrefix(line, "fatal: ") || strings.HasPrefix(line, "error: ") {
				return "", errors.New(line)
			}
		}
		return "", err
	}
	return strings.TrimSpace(string(out)), nil
}
