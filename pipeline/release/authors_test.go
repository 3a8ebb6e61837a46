package release

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAuthors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	git := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=Ann", "GIT_AUTHOR_EMAIL=Ann@example.org", "GIT_COMMITTER_NAME=web", "GIT_COMMITTER_EMAIL=noreply@example.org",
			"GIT_COMMITTER_DATE=2026-01-02T03:04:05+02:00")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	git("init", "-q", "-b", "main")
	git("commit", "-q", "--allow-empty", "-m", "first")
	git("commit", "-q", "--allow-empty", "-m", "second\n\nWords.\n\nCo-authored-by: Bob <bob@example.org>\nco-authored-by: Ann <Ann@example.org>\nCo-authored-by: nobody")
	c, err := OpenClone(t.Context(), dir, os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	for rev, want := range map[string][]string{"HEAD~1": {"Ann@example.org"}, "HEAD": {"Ann@example.org", "bob@example.org"}} {
		got, err := c.Authors(t.Context(), rev)
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%s: %v%s", rev, err, d)
		}
	}
	if at, err := c.Committed(t.Context(), "HEAD"); err != nil || !at.Equal(time.Date(2026, 1, 2, 1, 4, 5, 0, time.UTC)) {
		t.Errorf("%s, %v", at, err)
	}
	if _, err := c.Authors(t.Context(), "nothing"); err == nil {
		t.Error("of nothing there are authors")
	}
}
