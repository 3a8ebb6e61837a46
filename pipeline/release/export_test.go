package release

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestExportKeepsBytesModesAndLinks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := w.repository(map[string]string{"a/run.sh": "#!/bin/sh\n", "a/$Id$.txt": "$Id$ $Format:%H$\r\n", "empty": "", ".gitattributes": "* ident export-subst text eol=crlf filter=x\nempty export-ignore\n"})
	for link, to := range map[string]string{"a/up": "../empty", "a/gone": "nowhere/at all", "loop": "loop"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	w.commit(dir, "links")
	w.git("/", "config", "--global", "filter.x.smudge", "tr a-z A-Z")
	e := w.export(dir, false)
	want := map[string]string{"a/run.sh": "-rwxr-xr-x", "a/$Id$.txt": "-rw-r--r--", "a/up": "Lrwxrwxrwx", "a/gone": "Lrwxrwxrwx", "loop": "Lrwxrwxrwx", "empty": "-rw-r--r--", ".gitattributes": "-rw-r--r--"}
	got := map[string]string{}
	for _, f := range e.Files {
		st, err := os.Lstat(filepath.Join(e.Dir, f.Path))
		if err != nil {
			t.Fatal(err)
		}
		got[f.Path] = st.Mode().String()
	}
	if !maps.Equal(got, want) {
		t.Errorf("exported %v, want %v", got, want)
	}
	committed := w.git(dir, "cat-file", "blob", "HEAD:a/$Id$.txt")
	if b, err := os.ReadFile(filepath.Join(e.Dir, "a/$Id$.txt")); err != nil || strings.TrimSpace(string(b)) != committed {
		t.Errorf("exported %q, %v; committed %q", b, err, committed)
	}
	if err := e.verify(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestExportRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, c := range map[string]struct {
		spoil func(dir string) error
		says  string
	}{
		"absolute link": {func(dir string) error { return os.Symlink("/etc/passwd", filepath.Join(dir, "x.go")) }, "x.go"},
		"link out":      {func(dir string) error { return os.Symlink("../../outside", filepath.Join(dir, "docs/x")) }, "docs/x"},
		"link out over a link": {func(dir string) error {
			// Read as text, the second one stays inside.
			return errors.Join(os.MkdirAll(filepath.Join(dir, "d/e"), 0o755), os.Symlink("../..", filepath.Join(dir, "d/e/s")), os.Symlink("s/../..", filepath.Join(dir, "d/e/t")))
		}, "d/e/t"},
		"submodule": {func(dir string) error {
			w.git(dir, "update-index", "--add", "--cacheinfo", "160000,"+w.git(dir, "rev-parse", "HEAD")+",sub")
			w.git(dir, "commit", "-q", "-m", "sub")
			return os.Mkdir(filepath.Join(dir, "sub"), 0o755)
		}, "sub is a Git repository of its own"},
	} {
		dir := w.repository(testFiles)
		if err := c.spoil(dir); err != nil {
			t.Fatal(err)
		}
		if name != "submodule" {
			w.commit(dir, name)
		}
		out := filepath.Join(t.TempDir(), "export")
		_, err := Export(t.Context(), w.open(dir), "HEAD", false, out)
		if !errors.Is(err, ErrTree) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the folder stays: %v", name, err)
		}
	}
	full := t.TempDir()
	w.write(full, map[string]string{"x": "x"})
	if _, err := Export(t.Context(), w.open(w.repository(testFiles)), "", false, full); err == nil {
		t.Error("exported over somebody's files")
	}
	if _, err := os.Stat(filepath.Join(full, "x")); err != nil {
		t.Errorf("somebody's files are gone: %v", err)
	}
}

// A tree that Git itself would not make: a link, and a file below it.
func TestExportDoesNotWriteThroughLinks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := w.repository(testFiles)
	outside := t.TempDir()
	target := filepath.Join(t.TempDir(), "target")
	w.write(filepath.Dir(target), map[string]string{"target": outside})
	link := w.git(dir, "hash-object", "-w", target)
	sub := w.git(dir, "rev-parse", "HEAD:docs")
	tree := filepath.Join(t.TempDir(), "tree")
	w.write(filepath.Dir(tree), map[string]string{"tree": "120000 blob " + link + "\tdocs\n040000 tree " + sub + "\tdocs\n"})
	id := w.git(dir, "-c", "alias.mk=!git mktree <'"+tree+"'", "mk")
	commit := w.git(dir, "commit-tree", "-m", "evil", id)
	if _, err := Export(t.Context(), w.open(dir), commit, false, filepath.Join(t.TempDir(), "export")); err == nil {
		t.Error("it was exported")
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) != 0 {
		t.Errorf("written outside: %v, %v", left, err)
	}
}

func TestExportOfADamagedClone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := w.repository(testFiles)
	id := w.git(dir, "rev-parse", "HEAD:run.sh")
	if err := os.Remove(filepath.Join(dir, ".git/objects", id[:2], id[2:])); err != nil {
		t.Fatal(err)
	}
	_, err := Export(t.Context(), w.open(dir), "", false, filepath.Join(t.TempDir(), "export"))
	if err == nil || !strings.Contains(err.Error(), "run.sh") || !strings.Contains(err.Error(), "git fsck") {
		t.Errorf("error %v", err)
	}
}

func TestSourceDigest(t *testing.T) {
	t.Parallel()
	e := &Exported{Files: []File{{Path: "README.md", Mode: modeRegular, Digest: "00"}, {Path: "main.go", Mode: modeRegular, Digest: "01"}}}
	digest := func(docs ...string) string {
		t.Helper()
		d, err := e.SourceDigest(docs)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	all, code := digest(), digest("**/*.md")
	if all == code {
		t.Error("docs count")
	}
	if digest("**") != code {
		t.Error("a glob took code away")
	}
	e.Files[0].Digest = "02"
	if digest() == all || digest("**/*.md") != code {
		t.Error("a change of docs")
	}
	e.Files[1].Mode = modeExecutable
	if digest("**/*.md") == code {
		t.Error("a change of mode does not count")
	}
	for _, name := range []string{"a.go", "x/a_test.go", "go.mod", "x/go.sum", "environments/README.md", "svc/environments/aws/x.yaml", "vendor/modules.txt", "a.s", "a.syso", "default.pgo"} {
		e.Files = []File{{Path: name, Mode: modeRegular, Digest: "00"}}
		if digest("**", name) != digest() {
			t.Errorf("%s was taken for docs", name)
		}
	}
	if _, err := e.SourceDigest([]string{"docs/["}); !errors.Is(err, ErrApp) {
		t.Errorf("odd glob: %v", err)
	}
}

func TestGlob(t *testing.T) {
	t.Parallel()
	for pattern, names := range map[string]map[string]bool{
		"docs/**":       {"docs/a": true, "docs/a/b.md": true, "docs": false, "adocs/a": false, "x/docs/a": false},
		"**/*.md":       {"a.md": true, "x/y/a.md": true, "a.mdx": false, "a.md/x": false},
		"*.md":          {"a.md": true, "x/a.md": false},
		"a/**/b":        {"a/b": true, "a/x/b": true, "a/x/y/b": true, "a/b/c": false, "b": false},
		"**":            {"a": true, "a/b": true},
		"**/**/x/**/**": {"x/a": true, "a/x/b/c": true, "x": false},
		"img/?.[pj]*":   {"img/a.png": true, "img/ab.png": false, "img/a.gif": false},
	} {
		g, err := parseGlob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range names {
			if got := g.match(name); got != want {
				t.Errorf("%s on %s: %v, want %v", pattern, name, got, want)
			}
		}
	}
	for _, odd := range []string{"", "/docs", "docs/", "a//b", "../x", "./x", "[", "a**", "x/**b", "!docs"} {
		if _, err := parseGlob(odd); err == nil {
			t.Errorf("%q is taken for a glob", odd)
		}
	}
	hostile, err := parseGlob(strings.Repeat("**/a/", 40) + "b")
	if err != nil {
		t.Fatal(err)
	}
	if hostile.match(strings.Repeat("a/", 200) + "c") {
		t.Error("hostile glob matches")
	}
}
