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
	"time"

	"golang.org/x/sys/unix"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/release"
	"github.com/smartcloudops/gate/policies"
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
	work, err := os.MkdirTemp("", "gate-provide-")
	if err != nil {
		return fmt.Errorf("work folder: %w", err)
	}
	defer os.RemoveAll(work)
	exported, err := s.exportOf(ctx, rec.Commit, filepath.Join(work, "source"))
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

// exportOf exports the commit out of a clone that has it: the user's, which is
// only read, or gate's own beside it, into which it is fetched from the same
// origin.
func (s *session) exportOf(ctx context.Context, commit, dir string) (*release.Exported, error) {
	_, err := s.clone.Resolve(ctx, commit)
	if err == nil {
		return release.Export(ctx, s.clone, commit, false, dir)
	}
	if !errors.Is(err, release.ErrNoCommit) {
		return nil, err
	}
	var exported *release.Exported
	err = s.beside(ctx, func(beside string) error {
		if _, err := s.git(ctx, beside, "cat-file", "-e", commit+"^{commit}"); err != nil {
			if err := s.fetchBeside(ctx, beside, commit); err != nil {
				return fmt.Errorf("fetch commit %.12s from the clone's origin: %w", commit, err)
			}
		}
		clone, err := s.openBeside(ctx, beside, commit)
		if err != nil {
			return err
		}
		exported, err = release.Export(ctx, clone, commit, false, dir)
		return err
	})
	return exported, err
}

// originRef is where gate's own clone keeps a branch of the origin.
func originRef(branch string) string { return "refs/remotes/origin/" + branch }

// refresh brings the protected branch up to date in gate's own clone: a daemon's
// clone is only read, and nobody pulls there.
func (s *session) refresh(ctx context.Context) error {
	name := s.trust().Protected
	if name == "" {
		return nil
	}
	return s.beside(ctx, func(dir string) error {
		if err := s.fetchBeside(ctx, dir, "+refs/heads/"+name+":"+originRef(name)); err != nil {
			return fmt.Errorf("fetch %s from the clone's origin: %w", name, err)
		}
		return nil
	})
}

// refreshed looks for the commit on the protected branch as refresh has left it,
// where the clone does not have it there.
func (s *session) refreshed(ask func(context.Context, string) *policies.Branch) func(context.Context, string) *policies.Branch {
	if ask == nil {
		return nil
	}
	return func(ctx context.Context, commit string) *policies.Branch {
		b := ask(ctx, commit)
		if b == nil || b.Contains == "yes" {
			return b
		}
		err := s.beside(ctx, func(dir string) error {
			clone, err := s.openBeside(ctx, dir, originRef(b.Name))
			if err != nil {
				return err
			}
			on, err := clone.Contains(ctx, originRef(b.Name), commit)
			if err == nil && on {
				b.Contains = "yes"
			} else if err == nil {
				b.Contains = "no"
			}
			return err
		})
		if err != nil {
			s.log.Warn("whether a commit is on the protected branch can't be told", "commit", commit, "error", err)
		}
		return b
	}
}

// beside does something with gate's own clone of the same origin, of which there
// is one for all daemons of the state directory.
func (s *session) beside(ctx context.Context, do func(dir string) error) error {
	lock, err := os.OpenFile(filepath.Join(s.state, "source.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("clone for sources: %w", err)
	}
	defer lock.Close()
	for {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("clone for sources: %w", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the clone for sources: %w", context.Cause(ctx))
		case <-time.After(20 * time.Millisecond):
		}
	}
	dir, err := s.besideClone(ctx)
	if err != nil {
		return err
	}
	return do(dir)
}

// besideClone makes it, if it is not there.
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

// fetchPatience bounds a fetch of sources.
const fetchPatience = 5 * time.Minute

func (s *session) fetchBeside(ctx context.Context, dir, what string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, fetchPatience, fmt.Errorf("no end after %s", fetchPatience))
	defer cancel()
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
