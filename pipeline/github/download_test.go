package github_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/smartcloudops/gate/pipeline/github"
	"github.com/smartcloudops/gate/pipeline/github/githubtest"
)

// entry of an archive; change alters its header.
type entry struct {
	name, text string
	change     func(*zip.FileHeader)
}

func archive(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		h.SetMode(0o644)
		if e.change != nil {
			e.change(h)
		}
		w, err := z.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// fetch uploads the bytes and downloads them.
func fetch(t *testing.T, s *githubtest.Server, b []byte, l github.Limits) (string, error) {
	t.Helper()
	g, dir := app(t, s), t.TempDir()
	run := s.AddRun(githubtest.Run{Path: ".github/workflows/commit.yml", Event: "push", HeadSHA: commitA})
	s.AddArtifact(run, github.ArtifactName, b)
	a, err := g.Evidence(t.Context(), github.Run{ID: run, Attempt: 1})
	if err != nil {
		t.Fatal(err)
	}
	return dir, g.Download(t.Context(), *a, dir, l)
}

func TestAnArtifactIsUnpacked(t *testing.T) {
	s := githubtest.New(t, githubtest.Options{})
	b := archive(t, entry{name: "claim.json", text: "{}"}, entry{name: "evidence/"}, entry{name: "evidence/load.json", text: strings.Repeat("x", 3000)})
	for _, fault := range []githubtest.Fault{githubtest.None, githubtest.Truncated, githubtest.LostReply, githubtest.Broken} {
		if fault != githubtest.None {
			s.FailNext("GET", "/1", fault, 1)
		}
		dir, err := fetch(t, s, b, github.DefaultLimits)
		if err != nil {
			t.Fatalf("%s: %v", fault, err)
		}
		got, err := os.ReadFile(filepath.Join(dir, "evidence", "load.json"))
		if err != nil || len(got) != 3000 {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
}

func TestHostileArtifactsAreRefused(t *testing.T) {
	s := githubtest.New(t, githubtest.Options{})
	small := github.Limits{Packed: 1 << 20, Total: 5000, File: 4000, Entries: 5, Ratio: 200}
	large := github.Limits{Packed: 1 << 20, Total: 1 << 30, File: 1 << 30, Entries: 5, Ratio: 200}
	link := func(h *zip.FileHeader) { h.SetMode(fs.ModeSymlink | 0o777) }
	pipe := func(h *zip.FileHeader) { h.SetMode(fs.ModeNamedPipe | 0o600) }
	for name, c := range map[string]struct {
		b []byte
		l github.Limits
	}{
		"no archive":         {[]byte("PK hello"), small},
		"traversal":          {archive(t, entry{name: "../x", text: "x"}), small},
		"traversal within":   {archive(t, entry{name: "a/../../x", text: "x"}), small},
		"backslash":          {archive(t, entry{name: `..\x`, text: "x"}), small},
		"absolute":           {archive(t, entry{name: "/etc/x", text: "x"}), small},
		"drive":              {archive(t, entry{name: "C:/x", text: "x"}), small},
		"symbolic link":      {archive(t, entry{name: "x", text: "/etc/passwd", change: link}), small},
		"named pipe":         {archive(t, entry{name: "x", change: pipe}), small},
		"twice":              {archive(t, entry{name: "x", text: "1"}, entry{name: "x", text: "2"}), small},
		"twice but for case": {archive(t, entry{name: "Claim.json", text: "1"}, entry{name: "claim.json", text: "2"}), small},
		"file as folder":     {archive(t, entry{name: "x", text: "1"}, entry{name: "x/y", text: "2"}), small},
		"folder as file":     {archive(t, entry{name: "x/y", text: "1"}, entry{name: "X", text: "2"}), small},
		"hidden":             {archive(t, entry{name: ".git/config", text: "1"}), small},
		"option":             {archive(t, entry{name: "-rf", text: "1"}), small},
		"other letters":      {archive(t, entry{name: "clаim.json", text: "1"}), small},
		"no name":            {archive(t, entry{name: "a//b", text: "1"}), small},
		"too deep":           {archive(t, entry{name: "a/b/c/d/e/f/g/h/i", text: "1"}), small},
		"too many":           {archive(t, entry{name: "a"}, entry{name: "b"}, entry{name: "c"}, entry{name: "d"}, entry{name: "e"}, entry{name: "f"}), small},
		"large file":         {archive(t, entry{name: "a", text: strings.Repeat("x", 4001)}), small},
		"large in all":       {archive(t, entry{name: "a", text: strings.Repeat("x", 3000)}, entry{name: "b", text: strings.Repeat("x", 3000)}), small},
		"bomb":               {archive(t, entry{name: "a", text: strings.Repeat("\x00", 8<<20)}), large},
		"lies of its size":   {lying(t), small},
		"broken":             {broken(t), small},
		"packed too large":   {archive(t, entry{name: "a", text: "x"}), github.Limits{Packed: 10, Total: 1000, File: 1000, Entries: 5, Ratio: 100}},
	} {
		dir, err := fetch(t, s, c.b, c.l)
		if !errors.Is(err, github.ErrHostile) || strings.ContainsAny(err.Error(), "\n") || strings.Contains(err.Error(), "signature") {
			t.Errorf("%s: error %v, want it refused", name, err)
		}
		if _, err := os.Lstat(filepath.Join(filepath.Dir(dir), "x")); err == nil {
			t.Errorf("%s: a file lies beside the folder", name)
		}
	}
}

// lying says in its headers that it is small.
func lying(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	packed := archive(t, entry{name: "a", text: strings.Repeat("x", 100000)})
	r, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
	if err != nil {
		t.Fatal(err)
	}
	h := r.File[0].FileHeader
	h.UncompressedSize64 = 10
	w, err := z.CreateRaw(&h)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := r.File[0].OpenRaw()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bytes.NewBuffer(nil).ReadFrom(raw); err != nil {
		t.Fatal(err)
	}
	raw, _ = r.File[0].OpenRaw()
	var bytesOf bytes.Buffer
	if _, err := bytesOf.ReadFrom(raw); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(bytesOf.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func broken(t *testing.T) []byte {
	t.Helper()
	b := archive(t, entry{name: "a", text: strings.Repeat("abcdefg", 100)})
	for i := 35; i < 60; i++ {
		b[i] ^= 0xff
	}
	return b
}

func TestDownloadNeedsAnEmptyFolder(t *testing.T) {
	s := githubtest.New(t, githubtest.Options{})
	g, dir := app(t, s), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	run := s.AddRun(githubtest.Run{Path: ".github/workflows/commit.yml", Event: "push", HeadSHA: commitA})
	id := s.AddArtifact(run, github.ArtifactName, archive(t, entry{name: "a", text: "x"}))
	if err := g.Download(t.Context(), github.Artifact{ID: id, Size: 5}, dir, github.DefaultLimits); err == nil {
		t.Error("no error")
	}
}
