package cluster

import (
	"archive/zip"
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// fakePostgres is a folder with programs that only know their version.
func fakePostgres(t *testing.T, version string) string {
	t.Helper()
	dir := filepath.Join(filepath.Dir(folder(t)), "bin")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"postgres", "initdb", "pg_ctl"} {
		script := "#!/bin/sh\n[ \"$1\" = --version ] && echo '" + name + " (PostgreSQL) " + version + "' && exit 0\nexit 1\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func seeker(t *testing.T, log *notes) *Cluster {
	t.Helper()
	c := &Cluster{dir: folder(t), name: "shop", log: log}
	var err error
	if c.runner, err = pickRunner(c.data()); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTheNamedFolderMustFit(t *testing.T) {
	t.Parallel()
	c := seeker(t, &notes{})
	old, some := fakePostgres(t, "12.22"), fakePostgres(t, "16.9 (Debian 16.9-1)")
	if _, err := c.findBinaries(deadline(t), Options{BinDir: old}, 0); !errors.Is(err, ErrTooOld) {
		t.Errorf("version 12: %v, want ErrTooOld", err)
	} else {
		oneLiner(t, err)
	}
	if _, err := c.findBinaries(deadline(t), Options{BinDir: some}, 15); err == nil || !strings.Contains(err.Error(), "was made by version 15") {
		t.Errorf("version 16 for a cluster of 15: %v", err)
	} else {
		oneLiner(t, err)
	}
	if _, err := c.findBinaries(deadline(t), Options{BinDir: t.TempDir()}, 0); err == nil {
		t.Error("an empty folder fits")
	}
	b, err := c.findBinaries(deadline(t), Options{BinDir: some}, 16)
	if err != nil || b.version != "16.9" || b.major != 16 {
		t.Errorf("got %+v, %v", b, err)
	}
}

func TestPathComesFirstAndUnfitVersionsArePassedOver(t *testing.T) {
	t.Parallel()
	log := &notes{}
	c := seeker(t, log)
	old, some := fakePostgres(t, "12.22"), fakePostgres(t, "17.5")
	b, err := c.findBinaries(deadline(t), Options{Path: old + ":/nowhere:" + some}, 0)
	if err != nil || b.dir != some {
		t.Fatalf("got %+v, %v, want %s", b, err, some)
	}
	if !strings.Contains(log.String(), "PostgreSQL 17.5 found in "+some) {
		t.Errorf("the choice is not said: %s", log)
	}
	_, err = c.findBinaries(deadline(t), Options{Path: old + ":" + some}, 99)
	if !errors.Is(err, ErrNoPostgres) || !strings.Contains(err.Error(), "version 12.22 is older than 13") {
		t.Errorf("nothing fits: %v", err)
	} else {
		oneLiner(t, err)
	}
}

func TestSystemFoldersNewestFirst(t *testing.T) {
	t.Parallel()
	dirs := candidates("")
	for i := 1; i < len(dirs); i++ {
		if majorIn(dirs[i-1]) < majorIn(dirs[i]) {
			t.Errorf("%s comes before %s", dirs[i-1], dirs[i])
		}
	}
	if majorIn("/usr/lib/postgresql/9/bin") >= majorIn("/usr/lib/postgresql/15/bin") {
		t.Error("9 is newer than 15")
	}
}

// repository serves dir as the archive of every version.
func repository(t *testing.T, dir string) *httptest.Server {
	t.Helper()
	if _, err := exec.LookPath("xz"); err != nil {
		t.Skipf("SKIPPED: the archive cannot be packed without xz: %v", err)
	}
	packed, err := exec.Command("tar", "-C", filepath.Dir(dir), "-cJf", "-", filepath.Base(dir)).Output()
	if err != nil {
		t.Fatal(err)
	}
	var jar bytes.Buffer
	z := zip.NewWriter(&jar)
	w, err := z.Create("postgres.txz")
	if err == nil {
		_, err = w.Write(packed)
	}
	if err = errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".jar") {
			w.Write(jar.Bytes())
			return
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func TestDownloadIsUnpackedOnceForEveryUser(t *testing.T) {
	t.Parallel()
	log := &notes{}
	c := seeker(t, log)
	s := repository(t, fakePostgres(t, "15.13"))
	cache := filepath.Join(filepath.Dir(c.dir), "cache")
	for range 2 {
		b, err := c.findBinaries(deadline(t), Options{Cache: cache, Repository: s.URL}, 15_000)
		if err == nil {
			t.Fatalf("a version that does not exist: %+v", b)
		}
		dir, err := c.download(deadline(t), cache, s.URL, 15)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := c.probe(deadline(t), dir); err != nil || b.version != "15.13" {
			t.Errorf("got %+v, %v", b, err)
		}
		s.Close() // the second time needs no network
	}
	if left, err := filepath.Glob(filepath.Join(cache, "unpack-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if n := strings.Count(log.String(), "downloading"); n != 1 {
		t.Errorf("downloaded %d times", n)
	}
	_, err := c.download(deadline(t), filepath.Join(filepath.Dir(c.dir), "other"), s.URL, 0)
	if err == nil {
		t.Fatal("downloaded from a server that is down")
	}
	oneLiner(t, err)
}

// Set GATE_TEST_DOWNLOAD to fetch real programs from the public repository.
func TestRealDownloadServes(t *testing.T) {
	t.Parallel()
	if os.Getenv("GATE_TEST_DOWNLOAD") == "" {
		t.Skip("SKIPPED: needs the network and 30 MB; set GATE_TEST_DOWNLOAD=1")
	}
	log := &notes{}
	o := options(folder(t), log)
	o.BinDir, o.Path = "", ""
	c := &Cluster{dir: filepath.Dir(o.Dir), log: log}
	var err error
	if c.runner, err = pickRunner(c.data()); err != nil {
		t.Fatal(err)
	}
	if o.BinDir, err = c.download(deadline(t), filepath.Join(filepath.Dir(o.Dir), "cache"), "", 0); err != nil {
		t.Fatal(err)
	}
	served := open(t, o)
	checkPrivileges(t, served)
	t.Logf("%s\n%s", served.Describe(), log)
}
