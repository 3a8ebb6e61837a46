package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/github/workflows"
)

// foreignClone is a clone of a service that is not gate's, with a remote on
// GitHub.
func foreignClone(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../../testdata/foreign")); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"init", "-q", "-b", "main"}, {"add", "-A"}, {"commit", "-q", "-m", "begin"}, {"remote", "add", "origin", "git@github.com:acme/notes.git"},
	} {
		cmd := exec.Command("git", args...)
		cmd.Dir, cmd.Env = dir, gitEnv()
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	return dir
}

func gitEnv() []string {
	return append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@example.org", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@example.org")
}

// initialised runs the verb and returns its code and what it printed.
func initialised(t *testing.T, dir string, c GithubInitCmd) (code int, out string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	g := &Globals{Dir: dir, Output: "text", Streams: Streams{Out: &stdout, Err: &stderr, Getenv: func(string) string { return "" }, Environ: gitEnv()}}
	return exitCode(c.Run(t.Context(), g), &stderr), stdout.String() + stderr.String()
}

func TestGithubInitWritesWhatItChecks(t *testing.T) {
	dir := foreignClone(t)
	if code, out := initialised(t, dir, GithubInitCmd{Version: "v1.2.3"}); code != 2 || !strings.Contains(out, "give --owners") {
		t.Fatalf("without owners: %d: %s", code, out)
	}
	first := GithubInitCmd{Owners: []string{"@acme/ops"}, Version: "v1.2.3"}
	if code, out := initialised(t, dir, GithubInitCmd{Check: true, Owners: first.Owners, Version: first.Version}); code != 3 || !strings.Contains(out, "commit.yml") {
		t.Fatalf("check before anything was written: %d: %s", code, out)
	}
	if _, err := os.Stat(filepath.Join(dir, ".github")); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("check wrote something: %v", err)
	}
	code, out := initialised(t, dir, first)
	if code != 0 || strings.Count(out, "written (was missing)") < 12 {
		t.Fatalf("init: %d: %s", code, out)
	}
	// What was said once is kept in the settings.
	if code, out := initialised(t, dir, GithubInitCmd{Check: true}); code != 0 {
		t.Errorf("check of what was written: %d: %s", code, out)
	}
	if code, out := initialised(t, dir, GithubInitCmd{}); code != 0 || strings.Contains(out, "written (") || strings.Contains(out, "next:") {
		t.Errorf("a second time: %d: %s", code, out)
	}
	commit := filepath.Join(dir, workflows.Dir, workflows.Commit)
	if b, err := os.ReadFile(commit); err != nil || !bytes.Contains(b, []byte("cmd/gate@v1.2.3")) {
		t.Errorf("commit.yml: %v: %s", err, b)
	}
	if b, err := os.ReadFile(filepath.Join(dir, workflows.Carried)); err != nil || !bytes.Contains(b, []byte("uses: acme/notes/.github/")) {
		t.Errorf("env.yml: %v: %s", err, b)
	}
	// A newer gate renews what nobody has changed.
	if code, out := initialised(t, dir, GithubInitCmd{Version: "v1.3.0", Check: true}); code != 3 || !strings.Contains(out, string(workflows.Older)) {
		t.Errorf("check of another version: %d: %s", code, out)
	}
	if code, out := initialised(t, dir, GithubInitCmd{Version: "v1.3.0"}); code != 0 || !strings.Contains(out, "written (was of other settings") {
		t.Errorf("another version: %d: %s", code, out)
	}
	if b, _ := os.ReadFile(commit); !bytes.Contains(b, []byte("cmd/gate@v1.3.0")) {
		t.Errorf("commit.yml is of the old version: %s", b)
	}
}

func TestGithubInitLeavesAloneWhatSomebodyChanged(t *testing.T) {
	dir := foreignClone(t)
	owners := filepath.Join(dir, workflows.CodeOwners)
	if err := os.MkdirAll(filepath.Dir(owners), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(owners, []byte("* @me\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := GithubInitCmd{Owners: []string{"@acme/ops"}, Version: "v1.2.3"}
	code, out := initialised(t, dir, c)
	if code != 2 || !strings.Contains(out, "CODEOWNERS: somebody has changed it, so nothing was written") {
		t.Errorf("init: %d: %s", code, out)
	}
	if _, err := os.Stat(filepath.Join(dir, workflows.Dir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was written: %v", err)
	}
	if b, _ := os.ReadFile(owners); string(b) != "* @me\n" {
		t.Errorf("CODEOWNERS is %q", b)
	}
	c.Force = true
	if code, out := initialised(t, dir, c); code != 0 {
		t.Errorf("with --force: %d: %s", code, out)
	}
	if code, out := initialised(t, dir, GithubInitCmd{Check: true}); code != 0 {
		t.Errorf("check: %d: %s", code, out)
	}
}

func TestGithubInitStaysInTheClone(t *testing.T) {
	dir, outside := foreignClone(t), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(dir, ".github")); err != nil {
		t.Fatal(err)
	}
	code, out := initialised(t, dir, GithubInitCmd{Owners: []string{"@acme/ops"}, Version: "v1.2.3"})
	left, err := os.ReadDir(outside)
	if code == 0 || err != nil || len(left) > 0 {
		t.Errorf("%d: %s: wrote %v, %v", code, out, left, err)
	}
}

func TestGithubInitWantsOneProtectedBranch(t *testing.T) {
	dir := foreignClone(t)
	if err := os.WriteFile(filepath.Join(dir, "environments/trust.yaml"), []byte("protected: trunk\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := GithubInitCmd{Owners: []string{"@acme/ops"}, Version: "v1.2.3", Protected: "main"}
	if code, out := initialised(t, dir, c); code != 2 || !strings.Contains(out, `"trunk" in environments/trust.yaml`) {
		t.Errorf("two branches: %d: %s", code, out)
	}
	c.Protected = ""
	if code, out := initialised(t, dir, c); code != 0 {
		t.Errorf("one branch: %d: %s", code, out)
	}
	if b, err := os.ReadFile(filepath.Join(dir, workflows.Dir, workflows.Publish)); err != nil || !bytes.Contains(b, []byte("ref: trunk")) {
		t.Errorf("publish.yml: %v: %s", err, b)
	}
}

func TestGithubInitAsJSON(t *testing.T) {
	dir := foreignClone(t)
	var stdout, stderr bytes.Buffer
	g := &Globals{Dir: dir, Output: "json", Streams: Streams{Out: &stdout, Err: &stderr, Getenv: func(string) string { return "" }, Environ: gitEnv()}}
	if err := (&GithubInitCmd{Owners: []string{"@acme/ops"}, Version: "v1.2.3"}).Run(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	var all []written
	if err := json.Unmarshal(stdout.Bytes(), &all); err != nil || len(all) < 12 || !all[0].Wrote || all[0].File != workflows.SettingsFile {
		t.Errorf("%v: %s", err, stdout.String())
	}
}

// TestDrillsNameChecksThatThereAre: a misspelt check would be found at night.
func TestDrillsNameChecksThatThereAre(t *testing.T) {
	b, err := os.ReadFile("../../../" + workflows.Dir + "/" + workflows.Drills)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, c := range checks.All() {
		known[c.Name] = true
	}
	n := 0
	for _, w := range strings.FieldsFunc(string(b), func(r rune) bool { return strings.ContainsRune(" '\n", r) }) {
		if name, ok := strings.CutPrefix(w, "--check="); ok {
			n++
			if !known[name] {
				t.Errorf("drills.yml measures %q, which is no check", name)
			}
		}
	}
	if n == 0 {
		t.Error("drills.yml names no check")
	}
}
