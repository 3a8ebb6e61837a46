package release

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// noCommit is an id that no commit has.
var noCommit = strings.Repeat("0", 39) + "1"

func (w *world) link(target, name string) {
	w.t.Helper()
	if err := errors.Join(os.RemoveAll(name), os.Symlink(target, name)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) head(dir string) string { return w.git(dir, "rev-parse", "HEAD") }

// pulled is a clone of a bare origin that has one commit more, which no branch
// or tag has but refs/pull/1/head.
func (w *world) pulled() (dir, origin, commit string) {
	w.t.Helper()
	source := w.repository(map[string]string{"a": "1"})
	origin = filepath.Join(w.t.TempDir(), "origin.git")
	w.git("/", "clone", "-q", "--bare", source, origin)
	dir = filepath.Join(w.t.TempDir(), "clone")
	w.git("/", "clone", "-q", origin, dir)
	w.write(source, map[string]string{"a": "2", "proposed": "x"})
	w.commit(source, "proposed")
	commit = w.head(source)
	w.git(source, "push", "-q", origin, "HEAD:refs/pull/1/head")
	w.git(source, "tag", "-a", "-m", "t", "v1")
	w.git(source, "push", "-q", origin, "v1")
	return dir, origin, commit
}

// beyond is a clone's snapshot without its objects.
func beyond(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := snapshot(t, dir)
	objects := filepath.Join(dir, ".git", "objects")
	maps.DeleteFunc(all, func(name, _ string) bool { return strings.HasPrefix(name, objects) })
	return all
}

func TestFetch(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(w *world, dir, origin string){
		"as it is": func(*world, string, string) {},
		"with a FETCH_HEAD": func(w *world, dir, _ string) {
			w.write(filepath.Join(dir, ".git"), map[string]string{"FETCH_HEAD": "somebody's\n"})
		},
		"with settings that would make refs": func(w *world, dir, _ string) {
			for _, s := range [][]string{
				{"--add", "remote.origin.fetch", "+refs/pull/*:refs/remotes/origin/pull/*"}, {"remote.origin.tagOpt", "--tags"},
				{"fetch.prune", "true"}, {"fetch.pruneTags", "true"}, {"fetch.writeCommitGraph", "false"}, {"remote.origin.followRemoteHEAD", "always"},
			} {
				w.git(dir, append([]string{"config"}, s...)...)
			}
			w.git(dir, "update-ref", "refs/remotes/origin/gone", "HEAD")
			w.git(dir, "tag", "mine")
		},
		"by the old protocol": func(w *world, dir, _ string) { w.git(dir, "config", "protocol.version", "0") },
		"as a file URL":       func(w *world, dir, origin string) { w.git(dir, "remote", "set-url", "origin", "file://"+origin) },
		"with hooks": func(w *world, dir, _ string) {
			w.write(filepath.Join(dir, ".git/hooks"), map[string]string{"reference-transaction": "#!/bin/sh\ntouch ../hooked\n"})
			if err := os.Chmod(filepath.Join(dir, ".git/hooks/reference-transaction"), 0o755); err != nil {
				w.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			dir, origin, commit := w.pulled()
			prepare(w, dir, origin)
			c := w.open(dir)
			before := beyond(t, dir)
			if _, err := c.Resolve(t.Context(), commit); !errors.Is(err, ErrNoCommit) {
				t.Fatalf("it is here before it is fetched: %v", err)
			}
			for range 2 { // the second time it is here
				if err := c.Fetch(t.Context(), commit); err != nil {
					t.Fatal(err)
				}
			}
			if got, err := c.Resolve(t.Context(), commit); err != nil || got != commit {
				t.Errorf("%s, %v; want %s", got, err, commit)
			}
			if files, err := c.Files(t.Context(), commit, []string{"proposed"}); err != nil || len(files) != 1 {
				t.Errorf("its files: %v, %v", files, err)
			}
			if diff := cmp.Diff(before, beyond(t, dir)); diff != "" {
				t.Errorf("more than objects was written: %s", diff)
			}
		})
	}
}

func TestFetchRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir, origin, commit := w.pulled()
	c := w.open(dir)
	before := beyond(t, dir)
	refused := func(what, id, want string) {
		t.Helper()
		err := c.Fetch(t.Context(), id)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") || len(err.Error()) > 400 {
			t.Errorf("%s: %v; want one line with %q", what, err, want)
		}
	}
	for _, odd := range []string{
		"", "main", "HEAD", "refs/pull/1/head", commit[:12], strings.ToUpper(commit), commit + "\n", " " + commit, commit + ":refs/heads/main",
		"+" + commit, "--upload-pack=touch x", "--all", strings.Repeat("x", 1000), commit + "^",
	} {
		refused(odd, odd, "no full commit id")
	}
	refused("a commit that nobody has", noCommit, "fetch commit "+noCommit[:12]+" from origin: git fetch: ")
	refused("a commit by an id of another length", strings.Repeat("1", 64), "fetch commit ")

	marker := filepath.Join(t.TempDir(), "ran")
	for what, url := range map[string]string{
		"an origin that is a command": "ext::sh -c 'touch " + marker + "'",
		"one without TLS":             "git://127.0.0.1:1/x",
		"one that is not there":       origin + ".gone",
	} {
		w.git(dir, "config", "remote.origin.url", url)
		refused(what, commit, "fetch commit "+commit[:12]+" from origin: git fetch: ")
	}
	w.git(dir, "config", "remote.origin.url", origin)
	if _, err := os.Lstat(marker); err == nil {
		t.Error("the origin's command was run")
	}
	if _, err := c.Resolve(t.Context(), commit); !errors.Is(err, ErrNoCommit) {
		t.Errorf("the commit is here: %v", err)
	}
	after := beyond(t, dir)
	config := filepath.Join(dir, ".git", "config")
	for _, all := range []map[string]string{before, after} {
		delete(all, config)                     // this test's own
		delete(all, filepath.Join(dir, ".git")) // the time of it
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the clone was written to: %s", diff)
	}
	w.git(dir, "remote", "remove", "origin")
	refused("no origin", commit, "from origin: git fetch: ")
}

// shallow is a clone that has the commits and nothing between them.
func (w *world) shallow(dir string, commits ...string) string {
	w.t.Helper()
	to := filepath.Join(w.t.TempDir(), "shallow")
	w.git(dir, "config", "uploadpack.allowAnySHA1InWant", "true")
	w.git(dir, "clone", "-q", "--depth=1", "file://"+dir, to)
	for _, c := range commits {
		w.git(to, "fetch", "-q", "--depth=1", "origin", c)
	}
	return to
}

// TestShallow: what a shallow clone can't know is never a no.
func TestShallow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir, id := w.history()
	c := w.open(w.shallow(dir, id["first"], id["side"]))
	ctx := t.Context()
	says := func(what string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "shallow") || !strings.Contains(err.Error(), "--unshallow") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v; want one line that says what to do", what, err)
		}
	}
	if on, err := c.Contains(ctx, "main", id["tip"]); !on || err != nil {
		t.Errorf("the tip itself: %v, %v", on, err)
	}
	for _, name := range []string{"first", "side"} {
		on, err := c.Contains(ctx, "main", id[name])
		if says(name+" on main", err); on {
			t.Errorf("%s is on main, says a clone that can't know", name)
		}
	}
	_, err := c.Contains(ctx, "main", id["second"])
	if says("a commit that is not here", err); !errors.Is(err, ErrNoCommit) {
		t.Errorf("a commit that is not here: %v", err)
	}
	got, err := c.Ancestors(ctx, "main", 1)
	if err != nil || !slices.Equal(got, []string{id["tip"]}) {
		t.Errorf("the newest one: %q, %v", got, err)
	}
	got, err = c.Ancestors(ctx, "main", 3)
	if says("more than there are", err); got != nil {
		t.Errorf("%q, as if that were all", got)
	}
	// What differs can be seen without what lies between: nothing is left out.
	want := []string{id["first"], "HEAD", "a"}
	slices.Sort(want)
	if got, err := c.Touched(ctx, id["side"], "main"); err != nil || !slices.Equal(got, want) {
		t.Errorf("touched %q, %v; want %q", got, err, want)
	}
}
