package release

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/smartcloudops/gate/environments"
)

func TestTheSameFilesGiveTheSameDigest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	origin := w.repository(testFiles)
	began := time.Now().Unix()
	first := w.make(origin, false, testApp())
	if !strings.HasPrefix(first.Digest, "sha256:") || first.Dirty || first.Size == 0 || first.Commit != w.git(origin, "rev-parse", "HEAD") {
		t.Fatalf("odd release %+v", first)
	}
	clone := func(w *world, args ...string) string {
		dir := filepath.Join(w.t.TempDir(), "elsewhere", "clone")
		w.git("/", append(append([]string{"clone", "-q"}, args...), "file://"+origin, dir)...)
		return dir
	}
	for name, do := range map[string]func(*testing.T, *world) Release{
		"a second build": func(t *testing.T, w *world) Release { return w.make(origin, false, testApp()) },
		"a later second": func(t *testing.T, w *world) Release {
			for deadline := time.Now().Add(3 * time.Second); time.Now().Unix() == began; {
				if time.Now().After(deadline) {
					t.Fatal("the clock stands still")
				}
				time.Sleep(10 * time.Millisecond)
			}
			return w.make(origin, false, testApp())
		},
		"another clone": func(t *testing.T, w *world) Release { return w.make(clone(w), false, testApp()) },
		"a docs-only commit": func(t *testing.T, w *world) Release {
			dir := clone(w)
			w.write(dir, map[string]string{"docs/new.txt": "more", "README.md": "# Hello"})
			w.commit(dir, "docs")
			r := w.make(dir, false, testApp())
			if r.SourceDigest != first.SourceDigest || r.TreeDigest == first.TreeDigest || r.Commit == first.Commit {
				t.Errorf("docs-only commit: %+v, before %+v", r, first)
			}
			return r
		},
		"a tag and another branch": func(t *testing.T, w *world) Release {
			dir := clone(w)
			w.git(dir, "tag", "-a", "-m", "v1", "v1.0.0")
			w.git(dir, "switch", "-q", "-c", "other")
			return w.make(dir, false, testApp())
		},
		"a linked work tree": func(t *testing.T, w *world) Release {
			dir := filepath.Join(t.TempDir(), "linked")
			w.git(clone(w), "worktree", "add", "-q", "--detach", dir)
			return w.make(filepath.Join(dir, "cmd"), false, testApp())
		},
		"a shallow clone": func(t *testing.T, w *world) Release {
			deep := clone(w)
			w.git(deep, "commit", "-q", "--allow-empty", "-m", "second")
			dir := filepath.Join(t.TempDir(), "shallow")
			w.git("/", "clone", "-q", "--depth=1", "file://"+deep, dir)
			return w.make(dir, false, testApp())
		},
		"a detached HEAD": func(t *testing.T, w *world) Release {
			dir := clone(w)
			w.git(dir, "checkout", "-q", "--detach")
			return w.make(dir, false, testApp())
		},
		"an ignored stray file": func(t *testing.T, w *world) Release {
			dir := clone(w)
			w.write(dir, map[string]string{"cmd/hello/stray.go": "package main\n\nfunc init() { extra = \"stray\" }\n"})
			return w.make(dir, true, testApp())
		},
		"uncommitted changes that are not asked for": func(t *testing.T, w *world) Release {
			dir := clone(w)
			w.write(dir, map[string]string{"cmd/hello/lines.txt": "changed"})
			return w.make(dir, false, testApp())
		},
		"go env -w": func(t *testing.T, w *world) Release {
			const settings = "GOFLAGS=-tags=x -buildvcs=true\nGOAMD64=v3\nCGO_ENABLED=1\nGOEXPERIMENT=jsonv2\n"
			w.write(w.home, map[string]string{".config/go/env": settings, "env": settings})
			dir := clone(w)
			if r := w.make(dir, false, testApp()); r.Digest != first.Digest {
				t.Errorf("by the usual file: digest %s, want %s", r.Digest, first.Digest)
			}
			w.environ = append(w.environ, "GOENV="+filepath.Join(w.home, "env"))
			return w.make(dir, false, testApp())
		},
		"the process environment": func(t *testing.T, w *world) Release {
			w.environ = append(w.environ, "GOFLAGS=-tags=x -ldflags=-X=main.extra=y", "GOAMD64=v3", "CGO_ENABLED=1", "GOARCH=riscv64", "GOOS=plan9",
				"GOWORK=/nowhere/go.work", "GODEBUG=gotypesalias=0", "GOFIPS140=latest", "GIT_DIR=/nowhere", "GIT_INDEX_FILE=/nowhere", "LC_ALL=de_DE.UTF-8")
			return w.make(clone(w), false, testApp())
		},
		"core.autocrlf and attributes": func(t *testing.T, w *world) Release {
			dir := clone(w, "-c", "core.autocrlf=true")
			b, err := os.ReadFile(filepath.Join(dir, "cmd/hello/lines.txt"))
			if err != nil || !strings.Contains(string(b), "\r\n") {
				t.Fatalf("the work tree has no CRLF: %q, %v", b, err)
			}
			if dirty, files, err := w.open(dir).Dirty(t.Context()); dirty || err != nil {
				t.Errorf("dirty %v %v, %v", dirty, files, err)
			}
			if r := w.make(dir, true, testApp()); r.Dirty || r.Digest != first.Digest {
				t.Errorf("asked for uncommitted changes, there are none: %+v", r)
			}
			return w.make(dir, false, testApp())
		},
		"another umask": func(t *testing.T, w *world) Release {
			cmd := helper(t, job{Do: "make", Umask: 0o077, Clone: clone(w), Environ: w.environ, Work: t.TempDir(), Store: filepath.Join(t.TempDir(), "store")})
			out, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			return Release{Digest: string(out)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := do(t, newWorld(t)).Digest; got != first.Digest {
				t.Errorf("digest %s, want %s", got, first.Digest)
			}
		})
	}
}

func TestAnotherReleaseHasAnotherDigest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := w.repository(testFiles)
	seen := map[string]string{w.make(dir, false, testApp()).Digest: "first"}
	add := func(what string, r Release) {
		t.Helper()
		if before, ok := seen[r.Digest]; ok {
			t.Errorf("%s has the digest of %s", what, before)
		}
		seen[r.Digest] = what
	}
	app := testApp()
	app.Serve.Args = append(app.Serve.Args, "--verbose")
	add("another serve", w.make(dir, false, app))
	app = testApp()
	app.Serve.Env["X"] = "1"
	add("another variable", w.make(dir, false, app))
	app = testApp()
	app.Migrate = nil
	add("no migrate", w.make(dir, false, app))
	w.write(dir, map[string]string{"cmd/hello/lines.txt": "one\ntwo\nthree\n"})
	w.commit(dir, "source")
	add("another source", w.make(dir, false, testApp()))
	if list, err := w.store.List(); err != nil || len(list) != len(seen) {
		t.Errorf("store has %d releases, want %d (%v)", len(list), len(seen), err)
	}
}

func TestDirtyTree(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	main := w.repository(testFiles)
	linked := filepath.Join(t.TempDir(), "a:b \"c", "linked")
	w.git(main, "worktree", "add", "-q", "-b", "other", linked)
	committed := w.make(main, false, testApp())
	for _, dir := range []string{main, linked} {
		w.write(dir, map[string]string{
			"cmd/hello/lines.txt": "new\n",
			"cmd/hello/new.go":    "package main\n\nfunc init() { extra = \"new\" }\n",
			"stray.go":            "ignored",
			"staged.txt":          "staged",
		})
		w.git(dir, "add", "staged.txt")
		if err := os.Remove(filepath.Join(dir, "run.sh")); err != nil {
			t.Fatal(err)
		}
		before, tree := snapshot(t, filepath.Join(main, ".git")), snapshot(t, dir)
		dirty, files, err := w.open(dir).Dirty(t.Context())
		if want := []string{"cmd/hello/lines.txt", "cmd/hello/new.go", "run.sh", "staged.txt"}; err != nil || !dirty || !cmp.Equal(files, want) {
			t.Errorf("dirty %v %q, %v; want %q", dirty, files, err, want)
		}
		e := w.export(dir, true)
		r, err := Make(t.Context(), e, testApp(), w.store, Options{Environ: w.environ})
		if err != nil {
			t.Fatal(err)
		}
		if !r.Dirty || r.Digest == committed.Digest || r.Commit != committed.Commit {
			t.Errorf("release %+v, committed %+v", r, committed)
		}
		if diff := cmp.Diff(before, snapshot(t, filepath.Join(main, ".git"))); diff != "" {
			t.Errorf("the clone was written to: %s", diff)
		}
		if diff := cmp.Diff(tree, snapshot(t, dir)); diff != "" {
			t.Errorf("the work tree was written to: %s", diff)
		}
		var names []string
		for _, f := range e.Files {
			names = append(names, f.Path)
		}
		if s := strings.Join(names, " "); strings.Contains(s, "stray.go") || strings.Contains(s, "run.sh") || !strings.Contains(s, "staged.txt") {
			t.Errorf("exported %s", s)
		}
	}
	w.commit(main, "more")
	if _, err := Export(t.Context(), w.open(main), "HEAD~1", true, filepath.Join(t.TempDir(), "x")); err == nil || !strings.Contains(err.Error(), "HEAD") {
		t.Errorf("uncommitted changes on an old commit: %v", err)
	}
}

func TestMadeReleaseRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.make(w.repository(testFiles), false, testApp())
	img, err := w.store.Get(r.Digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := whole(img); err != nil {
		t.Error(err)
	}
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if !cmp.Equal(c.Config.Entrypoint, []string{"/app/hello"}) || !cmp.Equal(c.Config.Cmd, testApp().Serve.Args) || c.Config.User != "65532:65532" ||
		!c.Created.Equal(time.Unix(0, 0)) || c.OS != "linux" {
		t.Errorf("config %+v", c)
	}
	got, err := w.store.Runtime(r.Digest)
	want := Runtime{App: "hello", Serve: testApp().Serve, Migrate: testApp().Migrate}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("runtime: %v %s", err, diff)
	}
	dir := filepath.Join(w.home, "run")
	file, err := w.store.Binary(t.Context(), r.Digest, dir)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, strings.TrimPrefix(r.Digest, "sha256:"), "hello"); file != want {
		t.Errorf("binary %s, want %s", file, want)
	}
	cmd := exec.Command(file)
	if os.Geteuid() == 0 {
		for up := dir; up != os.TempDir() && up != "/"; up = filepath.Dir(up) {
			if up != dir { // that folder is Binary's own work
				if err := os.Chmod(up, 0o711); err != nil {
					t.Fatal(err)
				}
			}
		}
		cmd.SysProcAttr = asNobody()
	}
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != "hello $Format:%H$\n 8 \n" {
		t.Errorf("the binary says %q, %v", out, err)
	}
	bom, err := fileFrom(img, "app/sbom.cdx.json")
	if err != nil || !strings.Contains(bom, "\"stdlib\"") {
		t.Errorf("no SBOM in the image: %v", err)
	}
}

func TestBuildErrors(t *testing.T) {
	t.Parallel()
	with := func(changes map[string]string) map[string]string {
		files := maps.Clone(testFiles)
		maps.Copy(files, changes)
		return files
	}
	for name, c := range map[string]struct {
		files  map[string]string
		app    func(*environments.App)
		file   string
		line   int
		says   string
		reason string
		is     error
	}{
		"type error": {files: with(map[string]string{"cmd/hello/bad.go": "package main\n\nvar a int = \"x\"\n\nvar b = nowhere\n"}),
			file: "cmd/hello/bad.go", line: 3, says: "cannot use", reason: ReasonCompile},
		"syntax error":      {files: with(map[string]string{"cmd/hello/bad.go": "package main\n\nfunc {\n"}), file: "cmd/hello/bad.go", line: 3, says: "syntax error", reason: ReasonCompile},
		"module not listed": {files: with(map[string]string{"cmd/hello/bad.go": "package main\n\nimport _ \"example.com/nowhere/x\"\n"}), file: "cmd/hello/bad.go", line: 3, says: "example.com/nowhere/x", reason: ReasonCompile},
		"module not to be had": {files: with(map[string]string{"go.mod": testFiles["go.mod"] + "\nrequire example.com/nowhere v1.0.0\n", "cmd/hello/bad.go": "package main\n\nimport _ \"example.com/nowhere\"\n",
			"go.sum": "example.com/nowhere v1.0.0 h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\nexample.com/nowhere v1.0.0/go.mod h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"}), file: "cmd/hello/bad.go", line: 3, says: "module lookup disabled", reason: ReasonModules},
		"code from outside": {files: with(map[string]string{"go.mod": testFiles["go.mod"] + "\nreplace example.com/a => ../../a\n"}), file: "go.mod", line: 5, says: "outside of the repository", reason: ReasonCompile},
		"broken go.mod":     {files: with(map[string]string{"go.mod": "module example.com/hello\n\nnonsense\n"}), file: "go.mod", line: 3, says: "unknown directive", reason: ReasonCompile},
		"newer go":          {files: with(map[string]string{"go.mod": "module example.com/hello\n\ngo 1.99.0\n"}), says: "requires go >= 1.99.0", reason: ReasonCompile},
		"no such package":   {files: testFiles, app: func(a *environments.App) { a.Build.Package = "./cmd/none" }, says: "cmd/none", reason: ReasonCompile},
		"outside package":   {files: testFiles, app: func(a *environments.App) { a.Build.Package = "../x" }, is: ErrApp},
		"not a command":     {files: with(map[string]string{"lib/a.go": "package lib\n"}), app: func(a *environments.App) { a.Build.Package = "./lib" }, is: ErrApp},
		"inexact toolchain": {files: testFiles, app: func(a *environments.App) { a.Build.Toolchain = "go1.26" }, is: ErrApp},
		"missing toolchain": {files: testFiles, app: func(a *environments.App) { a.Build.Toolchain = "go1.21.99" }, is: ErrToolchain, says: "install Go 1.21.99"},
		"odd name":          {files: testFiles, app: func(a *environments.App) { a.Name = "../hello" }, is: ErrApp},
		"odd docs":          {files: testFiles, app: func(a *environments.App) { a.Docs = []string{"../**"} }, is: ErrApp},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			app := testApp()
			if c.app != nil {
				c.app(app)
			}
			_, err := Make(t.Context(), w.export(w.repository(c.files), false), app, w.store, Options{Environ: w.environ})
			if err == nil {
				t.Fatal("it was built")
			}
			if strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %q, want one line with %q", err, c.says)
			}
			var failed *BuildError
			if c.is != nil {
				if !errors.Is(err, c.is) {
					t.Errorf("error %q, want %q", err, c.is)
				}
			} else if !errors.As(err, &failed) {
				t.Fatalf("error %q is no BuildError", err)
			} else if f := failed.Findings[0]; f.File != c.file || f.Line != c.line || failed.Reason != c.reason {
				t.Errorf("%s, findings %+v; want %s, %s:%d", failed.Reason, failed.Findings, c.reason, c.file, c.line)
			}
			if list, err := w.store.List(); err != nil || len(list) != 0 {
				t.Errorf("the store has %q, %v", list, err)
			}
		})
	}
}

func TestNothingElseGetsIntoABuild(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := w.repository(testFiles)
	for name, change := range map[string]func(dir string) error{
		"added": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "cmd/hello/z.go"), []byte("package main"), 0o600)
		},
		"changed": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "cmd/hello/lines.txt"), []byte("x"), 0o600)
		},
		"removed": func(dir string) error { return os.Remove(filepath.Join(dir, "run.sh")) },
		"mode":    func(dir string) error { return os.Chmod(filepath.Join(dir, "run.sh"), 0o644) },
		"link": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "run.sh")), os.Symlink("go.mod", filepath.Join(dir, "run.sh")))
		},
	} {
		e := w.export(dir, false)
		if err := change(e.Dir); err != nil {
			t.Fatal(err)
		}
		if _, err := Make(t.Context(), e, testApp(), w.store, Options{Environ: w.environ}); !errors.Is(err, ErrChanged) {
			t.Errorf("%s: error %v, want ErrChanged", name, err)
		}
	}
}

func TestNestedAndVendoredModule(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	files := map[string]string{
		"svc/go.mod":                          "module example.com/svc\n\ngo 1.26.0\n\nrequire (\n\texample.com/Lib v1.2.3\n\texample.com/near v0.0.0\n)\n\nreplace example.com/near => ./near\n",
		"svc/cmd/hello/main.go":               "package main\n\nimport (\n\t\"example.com/Lib\"\n\t\"example.com/near\"\n)\n\nfunc main() { println(lib.Name, near.Name) }\n",
		"svc/near/go.mod":                     "module example.com/near\n",
		"svc/near/near.go":                    "package near\n\nconst Name = \"near\"\n",
		"svc/vendor/modules.txt":              "# example.com/Lib v1.2.3\n## explicit\nexample.com/Lib\n# example.com/near v0.0.0 => ./near\n## explicit\nexample.com/near\n# example.com/near => ./near\n",
		"svc/vendor/example.com/Lib/lib.go":   "package lib\n\nconst Name = \"lib\"\n",
		"svc/vendor/example.com/near/near.go": "package near\n\nconst Name = \"near\"\n",
	}
	app := testApp()
	app.Build.Package = "./svc/cmd/hello"
	r := w.make(w.repository(files), false, app)
	img, err := w.store.Get(r.Digest)
	if err != nil {
		t.Fatal(err)
	}
	bom, err := fileFrom(img, "app/sbom.cdx.json")
	if err != nil || !strings.Contains(bom, `"pkg:golang/example.com/lib@v1.2.3"`) || !strings.Contains(bom, `"pkg:golang/example.com/near"`) {
		t.Errorf("SBOM %s, %v", bom, err)
	}
}
