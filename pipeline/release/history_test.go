package release

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// newline is a name that only a list with NUL between its entries can carry.
const newline = "policies/one\ntwo\t\"three\".rego"

// merge merges with the files as they are given, whatever conflicts.
func (w *world) merge(dir, other string, files map[string]string) {
	w.t.Helper()
	w.git(dir, "merge", "-q", "--no-commit", "--no-ff", "-s", "ours", other)
	w.write(dir, files)
	w.commit(dir, "merge "+other)
}

func TestTouched(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"a": "a\n", "sub/b": strings.Repeat("b\n", 50), "sub/c": "c\n", "run.sh": "#!/bin/sh\n", "ümläut/ß": "x\n", newline: "x\n", "target": "a",
	}
	write := func(names ...string) func(*world, string) {
		return func(w *world, dir string) {
			for _, n := range names {
				w.write(dir, map[string]string{n: "changed " + n + "\n"})
			}
		}
	}
	for name, c := range map[string]struct {
		head func(w *world, dir string) // on the branch change, which has just parted
		base func(w *world, dir string) // on main, later
		want []string
	}{
		"nothing":          {},
		"a changed file":   {head: write("a"), want: []string{"a"}},
		"an added one":     {head: write("new/x", "0"), want: []string{"0", "new/x"}},
		"a removed folder": {head: func(w *world, dir string) { w.git(dir, "rm", "-rq", "sub") }, want: []string{"sub/b", "sub/c"}},
		"a moved file has both names": {
			head: func(w *world, dir string) { w.git(dir, "mv", "sub/b", "elsewhere") },
			want: []string{"elsewhere", "sub/b"},
		},
		"odd names": {head: write("ümläut/ß", newline, "\xff\xfe", " "), want: []string{" ", newline, "ümläut/ß", "\xff\xfe"}},
		"another mode": {head: func(w *world, dir string) {
			if err := os.Chmod(filepath.Join(dir, "run.sh"), 0o644); err != nil {
				w.t.Fatal(err)
			}
		}, want: []string{"run.sh"}},
		"a link with the content of the file": {
			head: func(w *world, dir string) { w.link("a", filepath.Join(dir, "target")) },
			want: []string{"target"},
		},
		"a folder where a file was": {
			head: func(w *world, dir string) { w.git(dir, "rm", "-q", "a"); write("a/b")(w, dir) },
			want: []string{"a", "a/b"},
		},
		"what main did meanwhile is not counted": {head: write("a"), base: write("sub/c", "main"), want: []string{"a"}},
		"but what both did is":                   {head: write("a"), base: write("a"), want: []string{"a"}},
		"changed and changed back":               {head: func(w *world, dir string) { write("a")(w, dir); w.commit(dir, "x"); w.write(dir, files) }},
		"what was merged from main is not either": {head: func(w *world, dir string) {
			w.git(dir, "checkout", "-q", "main")
			write("sub/c")(w, dir)
			w.commit(dir, "main goes on")
			w.git(dir, "checkout", "-q", "change")
			w.git(dir, "merge", "-q", "--no-edit", "main")
			write("a")(w, dir)
		}, want: []string{"a"}},
		"a merge that undoes what main did": {head: func(w *world, dir string) {
			w.git(dir, "checkout", "-q", "main")
			write("sub/c")(w, dir)
			w.commit(dir, "main goes on")
			w.git(dir, "checkout", "-q", "change")
			w.merge(dir, "main", nil)
		}, want: []string{"sub/c"}},
		"nothing in common": {head: func(w *world, dir string) {
			w.git(dir, "checkout", "-q", "--orphan", "other")
			w.git(dir, "branch", "-D", "change")
			w.git(dir, "branch", "-m", "change")
			w.git(dir, "rm", "-rqf", ".")
			w.write(dir, map[string]string{"a": files["a"], "sub/b": "other\n", "mine": "x"})
		}, want: []string{"mine", newline, "run.sh", "sub/b", "sub/c", "target", "ümläut/ß"}},
		"crossed merges": {head: func(w *world, dir string) {
			// Two commits in common, neither before the other: the file that head has
			// from one of them main has from the other.
			write("a")(w, dir)
			w.commit(dir, "one")
			w.git(dir, "branch", "one")
			w.git(dir, "checkout", "-q", "main")
			write("sub/c")(w, dir)
			w.commit(dir, "two")
			w.git(dir, "branch", "two")
			w.merge(dir, "one", map[string]string{"a": "a\n"})
			w.git(dir, "checkout", "-q", "change")
			w.merge(dir, "two", map[string]string{"sub/c": "c\n"})
		}, want: []string{"a", "sub/c"}},
		"a submodule that is to be ignored": {head: func(w *world, dir string) {
			gitlink := func(id string) { w.git(dir, "update-index", "--add", "--cacheinfo", "160000,"+id+",policies/ext") }
			w.write(dir, map[string]string{".gitmodules": "[submodule \"policies/ext\"]\n\tpath = policies/ext\n\turl = ./ext\n\tignore = all\n"})
			w.git(dir, "add", ".gitmodules")
			gitlink(strings.Repeat("1", 40))
			w.git(dir, "commit", "-qm", "submodule")
			w.git(dir, "branch", "-f", "main")
			gitlink(strings.Repeat("2", 40))
			w.git(dir, "commit", "-qm", "another")
			w.git(dir, "reset", "-q", "--hard")
		}, want: []string{"policies/ext"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			dir := w.repository(files)
			w.git(dir, "branch", "change")
			for _, on := range []struct {
				branch string
				do     func(*world, string)
			}{{"change", c.head}, {"main", c.base}} {
				w.git(dir, "checkout", "-q", on.branch)
				if on.do != nil {
					on.do(w, dir)
					w.git(dir, "add", "-A")
					w.git(dir, "commit", "-q", "--allow-empty", "-m", on.branch)
				}
			}
			for _, s := range [][]string{{"core.quotePath", "true"}, {"diff.renames", "copies"}, {"diff.ignoreSubmodules", "all"}, {"core.fileMode", "false"}} {
				w.git(dir, "config", s[0], s[1])
			}
			got, err := w.open(dir).Touched(t.Context(), "main", "change")
			slices.Sort(c.want)
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("touched %q, %v; want %q", got, err, c.want)
			}
		})
	}
}

// history is a repository with more than one line of it.
func (w *world) history() (dir string, id map[string]string) {
	w.t.Helper()
	dir, id = w.repository(map[string]string{"a": "1"}), map[string]string{}
	mark := func(name string) { id[name] = w.head(dir) }
	mark("first")
	w.git(dir, "checkout", "-q", "-b", "side")
	w.write(dir, map[string]string{"side": "1"})
	w.commit(dir, "side")
	mark("side")
	w.git(dir, "checkout", "-q", "main")
	w.write(dir, map[string]string{"a": "2"})
	w.commit(dir, "second")
	mark("second")
	w.git(dir, "merge", "-q", "--no-ff", "--no-edit", "side")
	mark("merge")
	// A file may be named as a commit is.
	w.write(dir, map[string]string{id["first"]: "x", "HEAD": "x"})
	w.commit(dir, "tip")
	mark("tip")
	w.git(dir, "checkout", "-q", "-b", "open", id["second"])
	w.git(dir, "commit", "-q", "--allow-empty", "-m", "open")
	mark("open")
	w.git(dir, "checkout", "-q", "--orphan", "other")
	w.git(dir, "commit", "-q", "--allow-empty", "-m", "other")
	mark("other")
	w.git(dir, "checkout", "-q", "main")
	return dir, id
}

func TestContains(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir, id := w.history()
	c := w.open(dir)
	for name, want := range map[string]bool{"first": true, "side": true, "second": true, "merge": true, "tip": true, "open": false, "other": false} {
		if got, err := c.Contains(t.Context(), "main", id[name]); err != nil || got != want {
			t.Errorf("%s on main: %v, %v; want %v", name, got, err, want)
		}
	}
	if on, err := c.Contains(t.Context(), id["second"], "main"); on || err != nil {
		t.Errorf("what came later is there: %v, %v", on, err)
	}
	for _, x := range [][2]string{{"main", noCommit}, {"nowhere", id["first"]}, {"main", ""}, {"", "main"}, {"main", "--all"}} {
		if on, err := c.Contains(t.Context(), x[0], x[1]); on || !errors.Is(err, ErrNoCommit) {
			t.Errorf("%q: %v, %v; want ErrNoCommit", x, on, err)
		}
	}
}

func TestAncestors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir, id := w.history()
	c := w.open(dir)
	all := []string{id["tip"], id["merge"], id["second"], id["first"]}
	for rev, want := range map[string][]string{"main": all, id["first"]: all[3:], "side": {id["side"], id["first"]}} {
		for _, n := range []int{-1, 0, 1, 2, 20} {
			most := want[:max(0, min(n, len(want)))]
			if got, err := c.Ancestors(t.Context(), rev, n); err != nil || !slices.Equal(got, most) {
				t.Errorf("%d of %s: %q, %v; want %q", n, rev, got, err, most)
			}
		}
	}
	for _, rev := range []string{noCommit, "nowhere", "", "--all"} {
		if got, err := c.Ancestors(t.Context(), rev, 3); !errors.Is(err, ErrNoCommit) {
			t.Errorf("%q: %q, %v; want ErrNoCommit", rev, got, err)
		}
	}
}

func TestFilesOfACommit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := w.repository(map[string]string{"m/1.sql": "1", "m/sub/2.sql": "2", "m/ümläut\n3.sql": "3", "m/note.md": "x", "top.sql": "t", "gone.sql": "g", "m/.hidden.sql": "h"})
	w.link("1.sql", filepath.Join(dir, "m/link.sql"))
	w.git(dir, "mv", "m/sub/2.sql", "m/two.sql")
	w.git(dir, "rm", "-q", "gone.sql")
	w.commit(dir, "second")
	w.write(dir, map[string]string{"m/untracked.sql": "x"})
	c := w.open(dir)
	names := func(rev string, patterns ...string) []string {
		t.Helper()
		got, err := c.Files(t.Context(), rev, patterns)
		if err != nil || got == nil {
			t.Fatalf("%s %q: %v, %v", rev, patterns, got, err)
		}
		var names []string
		for name, content := range got {
			if want := w.git(dir, "rev-parse", rev+":"+name); content != want {
				t.Errorf("%q is %s, want %s", name, content, want)
			}
			names = append(names, name)
		}
		slices.Sort(names)
		return names
	}
	for _, x := range []struct {
		rev      string
		patterns []string
		want     []string
	}{
		{"HEAD", []string{"m/*.sql"}, []string{"m/.hidden.sql", "m/1.sql", "m/link.sql", "m/two.sql", "m/ümläut\n3.sql"}},
		{"HEAD~1", []string{"m/**/*.sql"}, []string{"m/.hidden.sql", "m/1.sql", "m/sub/2.sql", "m/ümläut\n3.sql"}},
		{"HEAD", []string{"*.sql", "top.sql"}, []string{"top.sql"}},
		{"HEAD~1", []string{"gone.sql", "m/note.md"}, []string{"gone.sql", "m/note.md"}},
		{"HEAD", []string{"nowhere/**"}, nil},
		{"HEAD", nil, nil},
	} {
		if diff := cmp.Diff(x.want, names(x.rev, x.patterns...)); diff != "" {
			t.Errorf("%s %q: %s", x.rev, x.patterns, diff)
		}
	}
	if got, err := c.Files(t.Context(), "HEAD", []string{"m/[.sql"}); err == nil || !strings.Contains(err.Error(), `"m/[.sql"`) {
		t.Errorf("an odd pattern: %v, %v", got, err)
	}
	if got, err := c.Files(t.Context(), noCommit, []string{"**"}); !errors.Is(err, ErrNoCommit) {
		t.Errorf("an unknown commit: %v, %v", got, err)
	}
}

func TestSameFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := w.repository(map[string]string{"same": "s", "changed": "1", "moved": "m", "mode.sh": "x", "link": "same", newline: "x", "ümläut": "x"})
	w.write(dir, map[string]string{"changed": "2", newline: "y", "added": ""})
	w.link("same", filepath.Join(dir, "link"))
	w.git(dir, "mv", "moved", "elsewhere")
	w.commit(dir, "second")
	w.git(dir, "update-index", "--chmod=-x", "mode.sh")
	w.git(dir, "commit", "-qm", "third")
	c := w.open(dir)
	for path, want := range map[string]bool{
		"same": true, "ümläut": true, "in neither": true,
		"changed": false, newline: false, "added": false, "moved": false, "elsewhere": false, "mode.sh": false, "link": false,
	} {
		for _, x := range [][2]string{{"HEAD~2", "HEAD"}, {"HEAD", "HEAD~2"}} {
			if same, err := c.SameFiles(t.Context(), x[0], x[1], []string{"same", path}); err != nil || same != want {
				t.Errorf("%q in %v: %v, %v; want %v", path, x, same, err, want)
			}
		}
	}
	for _, x := range [][2]string{{"HEAD", noCommit}, {noCommit, "HEAD"}, {noCommit, noCommit}} {
		if same, err := c.SameFiles(t.Context(), x[0], x[1], nil); same || !errors.Is(err, ErrNoCommit) {
			t.Errorf("%v: %v, %v; want ErrNoCommit", x, same, err)
		}
	}
	for _, x := range [][2]string{{"HEAD", noCommit}, {noCommit, "HEAD"}} {
		if got, err := c.Touched(t.Context(), x[0], x[1]); !errors.Is(err, ErrNoCommit) {
			t.Errorf("touched from %v: %q, %v; want ErrNoCommit", x, got, err)
		}
	}
}
