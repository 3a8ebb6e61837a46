package release

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOpenClone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := w.repository(testFiles)
	want := w.git(dir, "rev-parse", "HEAD")
	linked := filepath.Join(t.TempDir(), "linked")
	w.git(dir, "worktree", "add", "-q", "--detach", linked)
	if err := os.Symlink(dir, filepath.Join(w.home, "link")); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{dir, filepath.Join(dir, "cmd/hello"), linked, filepath.Join(w.home, "link")} {
		if got, err := w.open(from).Head(t.Context()); err != nil || got != want {
			t.Errorf("%s: HEAD %s, %v; want %s", from, got, err, want)
		}
	}
	c := w.open(dir)
	w.git(dir, "tag", "-a", "-m", "x", "v1")
	for _, rev := range []string{"main", "v1", want[:8], want, "HEAD"} {
		if got, err := c.Resolve(t.Context(), rev); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", rev, got, err, want)
		}
	}
	for _, rev := range []string{"", "nowhere", "--all", "HEAD:go.mod", "main..v1", strings.Repeat("0", 40)} {
		if got, err := c.Resolve(t.Context(), rev); !errors.Is(err, ErrNoCommit) {
			t.Errorf("%q: %s, %v; want ErrNoCommit", rev, got, err)
		}
	}
}

func TestOpenCloneErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	none, empty, bare := t.TempDir(), t.TempDir(), t.TempDir()
	w.git(empty, "init", "-q")
	w.git(bare, "init", "-q", "--bare")
	whole := w.repository(testFiles)
	for dir, want := range map[string]error{
		none: ErrNoRepository, empty: ErrEmpty, bare: ErrBare, filepath.Join(whole, ".git"): ErrBare, filepath.Join(none, "gone"): os.ErrNotExist,
	} {
		_, err := OpenClone(t.Context(), dir, w.environ)
		if !errors.Is(err, want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %v", dir, err, want)
		}
	}
	if _, err := OpenClone(t.Context(), none, w.environ); err == nil || !strings.HasSuffix(err.Error(), "is not in a Git repository: run gate in a clone, or with -C DIR") {
		t.Errorf("error %v", err)
	}
	if _, err := OpenClone(t.Context(), whole, []string{"PATH=" + none}); err == nil || !strings.Contains(err.Error(), "install Git") {
		t.Errorf("without Git: %v", err)
	}
}

func TestForeignClone(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: only root can make a clone of another user")
	}
	w := newWorld(t)
	dir := w.repository(testFiles)
	for _, d := range []string{dir, filepath.Join(dir, ".git")} {
		if err := os.Chown(d, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	_, err := OpenClone(t.Context(), dir, w.environ)
	if !errors.Is(err, ErrOwner) || !strings.Contains(err.Error(), "git config --global --add safe.directory "+dir) || strings.Contains(err.Error(), "\n") {
		t.Fatalf("error %v", err)
	}
	w.git("/", "config", "--global", "--add", "safe.directory", dir)
	w.open(dir)
}

func TestDirtyIsWhatGitSays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := w.repository(testFiles)
	for _, setting := range [][]string{{"status.showUntrackedFiles", "no"}, {"status.relativePaths", "true"}, {"core.quotePath", "true"}, {"status.branch", "true"}} {
		w.git("/", "config", "--global", setting[0], setting[1])
	}
	c := w.open(filepath.Join(dir, "cmd"))
	if dirty, files, err := c.Dirty(t.Context()); dirty || err != nil {
		t.Errorf("clean tree: %q, %v", files, err)
	}
	w.write(dir, map[string]string{"stray.go": "ignored"})
	w.git(dir, "mv", "run.sh", "walk it.sh")
	w.write(dir, map[string]string{"new folder/ümlaut": "x"})
	if err := os.Chmod(filepath.Join(dir, "go.mod"), 0o755); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, filepath.Join(dir, ".git"))
	dirty, files, err := c.Dirty(t.Context())
	if want := []string{"go.mod", "new folder/ümlaut", "run.sh", "walk it.sh"}; !dirty || err != nil || !cmp.Equal(files, want) {
		t.Errorf("dirty %v %q, %v; want %q", dirty, files, err, want)
	}
	if diff := cmp.Diff(before, snapshot(t, filepath.Join(dir, ".git"))); diff != "" {
		t.Errorf("the clone was written to: %s", diff)
	}
}

// A file that was committed with CRLF stays so in git add, whatever
// core.autocrlf says: to see that, Git must find the committed bytes.
func TestDirtyExportIsWhatGitAddWouldHold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := w.repository(map[string]string{"crlf.txt": "a\r\nb\r\n", "lf.txt": "a\nb\n", "gone": "x"})
	w.git("/", "config", "--global", "core.autocrlf", "true")
	w.write(dir, map[string]string{"crlf.txt": "a\r\nb\r\nc\r\n", "lf.txt": "a\r\nb\r\nc\r\n", "new.txt": "n\r\n"})
	if err := os.Remove(filepath.Join(dir, "gone")); err != nil {
		t.Fatal(err)
	}
	e := w.export(dir, true)
	w.commit(dir, "the same by Git itself")
	if want := w.export(dir, false); !e.Dirty || e.TreeDigest != want.TreeDigest {
		t.Errorf("exported %+v, Git committed %+v", e.Files, want.Files)
	}
	b, err := os.ReadFile(filepath.Join(e.Dir, "crlf.txt"))
	if err != nil || string(b) != "a\r\nb\r\nc\r\n" {
		t.Errorf("crlf.txt %q, %v", b, err)
	}
}
