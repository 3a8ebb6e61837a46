package release

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/smartcloudops/gate/environments"
)

// helperEnv makes the test binary do one job in a process of its own.
const helperEnv = "RELEASE_TEST_HELPER"

// job is what a helper process does.
type job struct {
	Do      string // make, put, stall
	Umask   int
	Clone   string
	Environ []string
	Work    string
	Store   string
	Seed    int64
	Count   int
	Layer   int
}

func TestMain(m *testing.M) {
	if text := os.Getenv(helperEnv); text != "" {
		if err := help(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func help(text string) error {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	ctx := context.Background()
	syscall.Umask(j.Umask)
	store, err := OpenStore(j.Store)
	if err != nil {
		return err
	}
	switch j.Do {
	case "make":
		c, err := OpenClone(ctx, j.Clone, j.Environ)
		if err != nil {
			return err
		}
		e, err := Export(ctx, c, "", false, filepath.Join(j.Work, "export"))
		if err != nil {
			return err
		}
		r, err := Make(ctx, e, testApp(), store, Options{Environ: j.Environ})
		if err != nil {
			return err
		}
		fmt.Print(r.Digest)
	case "put":
		for i := range j.Count {
			img, err := testImage(j.Seed+int64(i), 64<<10)
			if err != nil {
				return err
			}
			if _, err := store.Put(ctx, img); err != nil {
				return err
			}
			fmt.Println(i)
		}
	case "stall":
		img, err := testImage(j.Seed, 1<<20)
		if err != nil {
			return err
		}
		_, err = store.Put(ctx, &stalling{Image: img, layer: j.Layer})
		return err
	}
	return nil
}

// helper is a process of the test binary that does j.
func helper(t *testing.T, j job) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	return cmd
}

// testImage is a release whose bytes follow from seed.
func testImage(seed int64, size int) (v1.Image, error) {
	binary := make([]byte, size)
	rand.New(rand.NewSource(seed)).Read(binary)
	return newImage(Runtime{App: "hello"}, "amd64", binary, fmt.Appendf(nil, "{%d}", seed))
}

func testApp() *environments.App {
	return &environments.App{
		Name:  "hello",
		Build: environments.Build{Package: "./cmd/hello", Toolchain: runtime.Version()},
		Docs:  []string{"docs/**", "**/*.md"},
		Serve: environments.Serve{
			Args:         []string{"serve", "--listen", "127.0.0.1:${PORT}"},
			Env:          map[string]string{"DATABASE_URL": "${DATABASE_URL}"},
			Ready:        "/readyz",
			StartTimeout: environments.Duration(10 * time.Second),
			StopTimeout:  environments.Duration(10 * time.Second),
		},
		Migrate: &environments.Migrate{Args: []string{"migrate"}, Timeout: environments.Duration(time.Minute)},
	}
}

// testFiles is a program that shows what reached its bytes: build tags, and
// files that Git would change on a checkout or in an archive.
var testFiles = map[string]string{
	"go.mod":               "module example.com/hello\n\ngo 1.26.0\n",
	"cmd/hello/main.go":    "package main\n\nimport _ \"embed\"\n\n//go:embed banner.txt\nvar banner string\n\n//go:embed lines.txt\nvar lines string\n\nvar extra = \"\"\n\nfunc main() { println(\"hello\", banner, len(lines), extra) }\n",
	"cmd/hello/tag.go":     "//go:build x\n\npackage main\n\nfunc init() { extra = \"tagged\" }\n",
	"cmd/hello/banner.txt": "$Format:%H$\n",
	"cmd/hello/lines.txt":  "one\ntwo\n",
	"docs/manual.md":       "manual\n",
	"run.sh":               "#!/bin/sh\n",
	".gitignore":           "stray.go\n",
	".gitattributes":       "banner.txt export-subst\nlines.txt export-ignore\n",
}

// world is one user: a home, an environment, a store.
type world struct {
	t       *testing.T
	home    string
	environ []string
	store   *Store
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, home: t.TempDir()}
	w.environ = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.home, "GIT_CONFIG_NOSYSTEM=1", "GOPROXY=off", "GOTOOLCHAIN=local"}
	// In a new home the go command would start a process that goes on writing
	// its counters there while the folder is removed.
	w.write(w.home, map[string]string{".config/go/telemetry/mode": "off\n"})
	// The cache is shared with the user's, or each test would compile the
	// standard library.
	for _, name := range []string{"GOCACHE", "GOMODCACHE"} {
		out, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		w.environ = append(w.environ, name+"="+strings.TrimSpace(string(out)))
	}
	var err error
	if w.store, err = OpenStore(filepath.Join(w.home, "store")); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) git(dir string, args ...string) string {
	w.t.Helper()
	cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=T", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main", "-c", "protocol.file.allow=always"}, args...)...)
	cmd.Env = w.environ
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func (w *world) write(dir string, files map[string]string) {
	w.t.Helper()
	for name, content := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			w.t.Fatal(err)
		}
		mode := os.FileMode(0o644)
		if strings.HasSuffix(name, ".sh") {
			mode = 0o755
		}
		if err := os.WriteFile(file, []byte(content), mode); err != nil {
			w.t.Fatal(err)
		}
	}
}

// repository makes a clone with one commit of files.
func (w *world) repository(files map[string]string) string {
	w.t.Helper()
	dir := filepath.Join(w.t.TempDir(), "clone")
	if err := os.Mkdir(dir, 0o755); err != nil {
		w.t.Fatal(err)
	}
	w.git(dir, "init", "-q")
	w.write(dir, files)
	w.commit(dir, "first")
	return dir
}

func (w *world) commit(dir, message string) {
	w.t.Helper()
	w.git(dir, "add", "-A")
	w.git(dir, "commit", "-q", "-m", message)
}

func (w *world) open(dir string) *Clone {
	w.t.Helper()
	c, err := OpenClone(w.t.Context(), dir, w.environ)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) export(dir string, dirty bool) *Exported {
	w.t.Helper()
	e, err := Export(w.t.Context(), w.open(dir), "", dirty, filepath.Join(w.t.TempDir(), "export"))
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

func (w *world) make(dir string, dirty bool, app *environments.App) Release {
	w.t.Helper()
	r, err := Make(w.t.Context(), w.export(dir, dirty), app, w.store, Options{Environ: w.environ})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// snapshot is name, mode, time and content of everything in a folder.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		var sum [32]byte
		if st.Mode().IsRegular() {
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			sum = sha256.Sum256(b)
		}
		all[name] = fmt.Sprintf("%s %s %x", st.Mode(), st.ModTime(), sum)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
