package release

import (
	"bytes"
	"errors"
	"io"
	stdlog "log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const password = "s3cr3t-Pa55"

var unknown = "sha256:" + strings.Repeat("0", 64)

// shelf is an in-memory registry on the loopback, with answer in front of it.
func shelf(t *testing.T, answer func(h http.Handler, w http.ResponseWriter, req *http.Request)) Registry {
	t.Helper()
	h := registry.New(registry.Logger(stdlog.New(io.Discard, "", 0)))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		answer(h, w, req)
	}))
	t.Cleanup(s.Close)
	// A user, so that the credentials of whoever runs the tests have no say.
	return Registry{Repository: strings.TrimPrefix(s.URL, "http://") + "/team/app", User: "ann", Password: password}
}

// line fails unless err is one line that holds all of the words and no secret.
func line(t *testing.T, what string, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error", what)
		return
	}
	text := err.Error()
	if strings.ContainsAny(text, "\n\r\x1b") || len(text) > 600 || strings.Contains(text, password) || strings.Contains(text, "YW5uOnMzY3IzdC1QYTU1") {
		t.Errorf("%s: %q is not one short line without the password", what, text)
	}
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%s: %q lacks %q", what, text, w)
		}
	}
}

// bare fails unless the store holds nothing.
func bare(t *testing.T, s *Store) {
	t.Helper()
	left, err := os.ReadDir(s.temp())
	if list := sound(t, s); len(list) != 0 || len(left) != 0 || err != nil {
		t.Errorf("the store holds %q, and %v in passing, %v", list, left, err)
	}
}

func TestRegistryKeepsTheDigest(t *testing.T) {
	t.Parallel()
	r := shelf(t, http.Handler.ServeHTTP)
	from, to := newStore(t), newStore(t)
	a, b := put(t, from, 1), put(t, from, 2)
	for _, x := range []struct{ digest, tag string }{{a, ""}, {a, "latest"}, {b, "latest"}, {b, "latest"}} {
		if err := r.Push(t.Context(), from, x.digest, x.tag); err != nil {
			t.Fatal(err)
		}
	}
	repository, err := name.NewRepository(r.Repository)
	if err != nil {
		t.Fatal(err)
	}
	if latest, err := remote.Head(repository.Tag("latest")); err != nil || latest.Digest.String() != b {
		t.Errorf("the tag is on %v, %v; want %s", latest, err, b)
	}
	for _, d := range []string{a, b, a} {
		if err := r.Pull(t.Context(), to, d); err != nil {
			t.Fatal(err)
		}
	}
	if got := sound(t, to); !slices.Equal(got, []string{a, b}) {
		t.Errorf("pulled %q, want %q", got, []string{a, b})
	}
	if _, err := to.Binary(t.Context(), a, t.TempDir()); err != nil {
		t.Errorf("its program: %v", err)
	}
	if err := r.Push(t.Context(), from, unknown, ""); !errors.Is(err, ErrNoRelease) {
		t.Errorf("push of what is not here: %v", err)
	}
	err = r.Pull(t.Context(), to, unknown)
	if line(t, "an unknown digest", err, r.Repository, unknown, "gate publish"); !errors.Is(err, ErrRegistry) {
		t.Errorf("an unknown digest: %v", err)
	}
	for _, odd := range []string{"", "latest", "sha256:../../x", "sha512:" + strings.Repeat("0", 128), a[:30], a + "@" + a} {
		line(t, "pull", r.Pull(t.Context(), to, odd), "not the digest of a release")
	}
	c := put(t, from, 3)
	for _, odd := range []string{"../../other/manifests/x", "a/b", "a b", "-x", a, strings.Repeat("x", 200)} {
		line(t, "tag "+odd, r.Push(t.Context(), from, c, odd), "tag")
	}
	line(t, "pushed with an odd tag", r.Pull(t.Context(), to, c), "gate publish")

	// A list of images is no release, even if the one for this machine is.
	to, index := newStore(t), mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: mustImage(t, 1)})
	list, err1 := index.Digest()
	image, err2 := empty.Image.Digest()
	if err := errors.Join(err1, err2, remote.WriteIndex(repository.Digest(list.String()), index), remote.Write(repository.Digest(image.String()), empty.Image)); err != nil {
		t.Fatal(err)
	}
	line(t, "a list of images", r.Pull(t.Context(), to, list.String()), r.Repository, list.String())
	if err := r.Pull(t.Context(), to, image.String()); !errors.Is(err, ErrNotImage) {
		t.Errorf("an image that is no release: %v", err)
	}
	bare(t, to)
}

func TestRegistryLayout(t *testing.T) {
	t.Parallel()
	r, s := shelf(t, http.Handler.ServeHTTP), newStore(t)
	d := put(t, s, 1)
	put(t, s, 2)
	dir := filepath.Join(t.TempDir(), "new", "layout")
	if err := s.Layout(d, dir); err != nil {
		t.Fatal(err)
	}
	p, err1 := layout.FromPath(dir)
	index, err2 := layout.ImageIndexFromPath(dir)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil || len(m.Manifests) != 1 || m.Manifests[0].Digest.String() != d {
		t.Fatalf("index %+v, %v; want %s alone", m, err, d)
	}
	if img, err := p.Image(m.Manifests[0].Digest); err != nil || whole(img) != nil {
		t.Errorf("%v, %v", err, whole(img))
	}
	line(t, "a folder with files", s.Layout(d, dir), dir, "not empty")
	if err := s.Layout(unknown, t.TempDir()); !errors.Is(err, ErrNoRelease) {
		t.Errorf("an unknown release: %v", err)
	}

	// What is damaged here goes nowhere.
	img, _, err := s.load(d)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(s.blobs(), img.parsed.Layers[1].Digest.Hex)
	if err := os.WriteFile(file, make([]byte, img.parsed.Layers[1].Size), 0o600); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{"push": r.Push(t.Context(), s, d, "latest"), "layout": s.Layout(d, dir+"2")} {
		if line(t, what, err, "build the release again"); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v; want ErrCorrupt", what, err)
		}
	}
	line(t, "it is there", r.Pull(t.Context(), newStore(t), d), "gate publish")
}

func TestRegistryServesSomethingElse(t *testing.T) {
	t.Parallel()
	other, err := mustImage(t, 2).RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	const blob, oci = "application/octet-stream", types.OCIManifestSchema1
	program := func(m *v1.Manifest, _ string) string { return "blobs/" + m.Layers[1].Digest.String() }
	config := func(m *v1.Manifest, _ string) string { return "blobs/" + m.Config.Digest.String() }
	manifest := func(_ *v1.Manifest, release string) string { return "manifests/" + release }
	flip := func(b []byte) []byte { b = slices.Clone(b); b[len(b)/2] ^= 1; return b }
	for name, c := range map[string]struct {
		of   func(m *v1.Manifest, release string) string // path
		typ  types.MediaType
		with func([]byte) []byte
	}{
		"a flipped byte in the program":       {program, blob, flip},
		"a program cut short":                 {program, blob, func(b []byte) []byte { return b[:len(b)/2] }},
		"a longer program":                    {program, blob, func(b []byte) []byte { return append(slices.Clone(b), b...) }},
		"a flipped byte in the configuration": {config, blob, flip},
		"another release's manifest":          {manifest, oci, func([]byte) []byte { return other }},
		"a flipped byte in the manifest":      {manifest, oci, flip},
		"nothing":                             {manifest, oci, func([]byte) []byte { return nil }},
		"a page for people":                   {manifest, "text/html", func([]byte) []byte { return []byte("<html>\n\x1b[31mlog in") }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from, to := newStore(t), newStore(t)
			d := put(t, from, 1)
			img, _, err := from.load(d)
			if err != nil {
				t.Fatal(err)
			}
			var lies atomic.Bool
			r := shelf(t, func(h http.Handler, w http.ResponseWriter, req *http.Request) {
				if !lies.Load() || !strings.HasSuffix(req.URL.Path, c.of(img.parsed, d)) {
					h.ServeHTTP(w, req)
					return
				}
				rec := httptest.NewRecorder()
				h.ServeHTTP(rec, req)
				b := c.with(rec.Body.Bytes())
				digest, _, _ := v1.SHA256(bytes.NewReader(b))
				w.Header().Set("Docker-Content-Digest", digest.String())
				w.Header().Set("Content-Type", string(c.typ))
				w.Header().Set("Content-Length", strconv.Itoa(len(b)))
				_, _ = w.Write(b)
			})
			if err := r.Push(t.Context(), from, d, ""); err != nil {
				t.Fatal(err)
			}
			lies.Store(true)
			err = r.Pull(t.Context(), to, d)
			if line(t, "pull", err, r.Repository); !errors.Is(err, ErrRegistry) {
				t.Errorf("%v; want ErrRegistry", err)
			}
			bare(t, to)
			lies.Store(false)
			if err := r.Pull(t.Context(), to, d); err != nil || len(sound(t, to)) != 1 {
				t.Errorf("once it serves the right bytes: %v", err)
			}
		})
	}
}

func TestRegistryCredentials(t *testing.T) {
	t.Parallel()
	const advice = "GATE_REGISTRY_USER and GATE_REGISTRY_PASSWORD"
	for what, c := range map[string]struct {
		status int
		answer string // $P is the password, $H the header that it came in
		want   string
	}{
		"asked for others": {http.StatusUnauthorized, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, advice},
		"not allowed":      {http.StatusForbidden, "", advice},
		"in many lines":    {http.StatusUnauthorized, "<html>\n<h1>\x1b[31mno</h1>\r\n" + strings.Repeat("x", 9000), advice},
		"repeated":         {http.StatusForbidden, "$H $P", advice},
		"repeated as JSON": {http.StatusForbidden, `{"errors":[{"code":"$P","message":"no $P\n","detail":{"$H":1}},{"code":"DENIED"}]}`, advice},
		"a teapot":         {http.StatusTeapot, "short and stout\n", "418"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			r := shelf(t, func(h http.Handler, w http.ResponseWriter, req *http.Request) {
				user, p, ok := req.BasicAuth()
				switch {
				case !ok:
					w.Header().Set("WWW-Authenticate", `Basic realm="here"`)
					w.WriteHeader(http.StatusUnauthorized)
				case user == "ann" && p == "right":
					h.ServeHTTP(w, req)
				default:
					w.WriteHeader(c.status)
					_, _ = strings.NewReplacer("$P", p, "$H", req.Header.Get("Authorization")).WriteString(w, c.answer)
				}
			})
			d := put(t, s, 1)
			err := r.Push(t.Context(), s, d, "latest")
			if line(t, "push", err, r.Repository, "push "+d, c.want); !errors.Is(err, ErrRegistry) {
				t.Errorf("push: %v", err)
			}
			line(t, "pull", r.Pull(t.Context(), newStore(t), d), r.Repository, "pull "+d, c.want)
			r.Password = "right"
			if err := errors.Join(r.Push(t.Context(), s, d, "latest"), r.Pull(t.Context(), newStore(t), d)); err != nil {
				t.Errorf("with the right password: %v", err)
			}
		})
	}
}

func TestRegistryNames(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := put(t, s, 1)
	for _, odd := range []string{
		"", "app", "team/app", "/", "127.0.0.1:1", "127.0.0.1:1/", "127.0.0.1:1/App", "127.0.0.1:1/a b", "127.0.0.1:1/app:tag", "127.0.0.1:1/app@" + d,
		"http://127.0.0.1:1/app", "127.0.0.1:1/../app", "127.0.0.1:1/a\n/b", "127.0.0.1:1x/app", "ann:" + password + "@127.0.0.1:1/app",
		"127.0.0.1:1/" + strings.Repeat("x", 300), "-x/app", "127.0.0.1:1/app?x=1",
	} {
		r := Registry{Repository: odd, User: "ann", Password: password}
		line(t, "push to "+odd, r.Push(t.Context(), s, d, ""), "write host/path")
		line(t, "pull from "+odd, r.Pull(t.Context(), s, d), "write host/path")
	}
	err := Registry{Repository: "127.0.0.1:1/app", User: "ann", Password: password}.Pull(t.Context(), s, d)
	if line(t, "nobody listens", err, "see that it is reachable"); !errors.Is(err, ErrRegistry) {
		t.Errorf("nobody listens: %v", err)
	}
}
