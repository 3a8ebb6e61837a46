package release

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func asNobody() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
}

func fileFrom(img v1.Image, name string) (string, error) {
	layers, err := img.Layers()
	if err != nil {
		return "", err
	}
	for _, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			return "", err
		}
		b, err := fileOf(r, name)
		r.Close()
		if err != nil || b != nil {
			return string(b), err
		}
	}
	return "", fmt.Errorf("no file %s", name)
}

func newStore(t *testing.T) *Store {
	t.Helper()
	s, err := OpenStore(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s *Store, seed int64) string {
	t.Helper()
	img, err := testImage(seed, 64<<10)
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.Put(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// sound reads everything that a store holds, with its own eyes and with those
// of the library.
func sound(t *testing.T, s *Store) []string {
	t.Helper()
	list, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	index, err := layout.ImageIndexFromPath(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index, validate.Fast); err != nil {
		t.Error(err)
	}
	for _, d := range list {
		img, err := s.Get(d)
		if err != nil {
			t.Error(err)
		} else if err := whole(img); err != nil {
			t.Errorf("release %s: %v", d, err)
		}
	}
	return list
}

// whole checks every digest and size in an image. The library's own check
// takes it for granted that layers are compressed, so its fast part is used.
func whole(img v1.Image) error {
	if err := validate.Image(img, validate.Fast); err != nil {
		return err
	}
	m, err := img.Manifest()
	if err != nil {
		return err
	}
	c, err := img.ConfigFile()
	if err != nil {
		return err
	}
	raw, err := img.RawConfigFile()
	if err != nil {
		return err
	}
	if h, n, err := v1.SHA256(bytes.NewReader(raw)); err != nil || h != m.Config.Digest || n != m.Config.Size {
		return fmt.Errorf("config is %s, %d bytes: %v", h, n, err)
	}
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	if len(layers) != len(m.Layers) || len(layers) != len(c.RootFS.DiffIDs) || len(layers) != len(c.History) {
		return fmt.Errorf("%d layers, %d in the manifest, %d in the config", len(layers), len(m.Layers), len(c.RootFS.DiffIDs))
	}
	for i, l := range layers {
		packed, err := l.Compressed()
		if err != nil {
			return err
		}
		defer packed.Close()
		if h, n, err := v1.SHA256(packed); err != nil || h != m.Layers[i].Digest || n != m.Layers[i].Size {
			return fmt.Errorf("layer %d is %s, %d bytes: %v", i, h, n, err)
		}
		plain, err := l.Uncompressed()
		if err != nil {
			return err
		}
		defer plain.Close()
		if h, _, err := v1.SHA256(plain); err != nil || h != c.RootFS.DiffIDs[i] {
			return fmt.Errorf("layer %d is %s unpacked: %v", i, h, err)
		}
	}
	return nil
}

func TestStore(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	a, b := put(t, s, 1), put(t, s, 2)
	if again := put(t, s, 1); again != a {
		t.Errorf("digest %s, then %s", a, again)
	}
	if got := sound(t, s); !slices.Equal(got, []string{a, b}) {
		t.Errorf("list %q, want %q", got, []string{a, b})
	}
	again, err := OpenStore(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	for d, want := range map[string]bool{a: true, b: true, "sha256:" + strings.Repeat("0", 64): false} {
		if has, err := again.Has(d); has != want || err != nil {
			t.Errorf("has %s: %v, %v; want %v", d, has, err, want)
		}
	}
	none := "sha256:" + strings.Repeat("0", 64)
	if _, err := s.Get(none); !errors.Is(err, ErrNoRelease) {
		t.Errorf("get: %v", err)
	}
	if _, err := s.Runtime(none); !errors.Is(err, ErrNoRelease) {
		t.Errorf("runtime: %v", err)
	}
	if _, err := s.Binary(t.Context(), none, t.TempDir()); !errors.Is(err, ErrNoRelease) {
		t.Errorf("binary: %v", err)
	}
	for _, odd := range []string{"", "x", "sha256:../../../etc/passwd", "sha512:" + strings.Repeat("0", 128)} {
		if _, err := s.Get(odd); err == nil || errors.Is(err, ErrNoRelease) {
			t.Errorf("get %q: %v", odd, err)
		}
	}
	if _, err := s.Put(t.Context(), empty.Image); !errors.Is(err, ErrNotImage) {
		t.Errorf("an image that is no release: %v", err)
	}
}

func TestStorePrune(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	a, b := put(t, s, 1), put(t, s, 2)
	for _, keep := range []map[string]bool{nil, {a: false}, {"sha256:" + strings.Repeat("0", 64): true}} {
		if removed, err := s.Prune(t.Context(), keep); err == nil {
			t.Errorf("keeping %v removed %q", keep, removed)
		}
	}
	if list := sound(t, s); len(list) != 2 {
		t.Fatalf("list %q", list)
	}
	removed, err := s.Prune(t.Context(), map[string]bool{b: true})
	if err != nil || !slices.Equal(removed, []string{a}) {
		t.Errorf("removed %q, %v", removed, err)
	}
	if list := sound(t, s); !slices.Equal(list, []string{b}) {
		t.Errorf("list %q", list)
	}
	// user, binary, SBOM, configuration, manifest of the one that is left.
	if blobs, err := os.ReadDir(s.blobs()); err != nil || len(blobs) != 5 {
		t.Errorf("%d blobs, %v", len(blobs), err)
	}
}

func TestStoreIsNotEmptiedByALostIndex(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	put(t, s, 1)
	if err := os.Remove(s.indexFile()); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenStore(s.dir); !errors.Is(err, ErrCorrupt) {
		t.Errorf("open: %v", err)
	}
	if _, err := s.List(); !errors.Is(err, ErrCorrupt) {
		t.Errorf("list: %v", err)
	}
}

func TestCorruptBlobIsNeverUsed(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := put(t, s, 1)
	blobs, err := os.ReadDir(s.blobs())
	if err != nil || len(blobs) != 5 {
		t.Fatalf("%d blobs, %v", len(blobs), err)
	}
	damages := map[string]func([]byte) []byte{
		"bit":  func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"cut":  func(b []byte) []byte { return b[:len(b)-1] },
		"long": func(b []byte) []byte { return append(b, 0) },
		"gone": func([]byte) []byte { return nil },
	}
	for _, blob := range blobs {
		file := filepath.Join(s.blobs(), blob.Name())
		good, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for name, damage := range damages {
			if bad := damage(bytes.Clone(good)); bad == nil {
				err = os.Remove(file)
			} else {
				err = os.WriteFile(file, bad, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			use := func() error {
				img, err := s.Get(d)
				if err != nil {
					return err
				}
				layers, err := img.Layers()
				if err != nil {
					return err
				}
				for _, l := range layers {
					r, err := l.Compressed()
					if err != nil {
						return err
					}
					if _, err := io.Copy(io.Discard, r); err != nil {
						return err
					}
				}
				return nil
			}
			if err := use(); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s of %s: %v", name, blob.Name(), err)
			}
			dir := t.TempDir()
			if file, err := s.Binary(t.Context(), d, dir); err == nil {
				b, rerr := os.ReadFile(file)
				want, _ := fileFrom(mustImage(t, 1), "app/hello")
				if rerr != nil || string(b) != want {
					t.Errorf("%s of %s: other bytes were taken out", name, blob.Name())
				}
			} else if !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s of %s: binary: %v", name, blob.Name(), err)
			}
			// Building the same release again mends the store.
			put(t, s, 1)
			if has, err := s.Has(d); !has || err != nil || use() != nil {
				t.Errorf("%s of %s: not mended: %v, %v, %v", name, blob.Name(), has, err, use())
			}
		}
	}
	sound(t, s)
}

func mustImage(t *testing.T, seed int64) v1.Image {
	t.Helper()
	img, err := testImage(seed, 64<<10)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestBinaryIsCheckedEachTime(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := put(t, s, 1)
	dir := filepath.Join(t.TempDir(), "run")
	file, err := s.Binary(t.Context(), d, dir)
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Binary(t.Context(), d, dir); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(file); err != nil || !os.SameFile(before, after) {
		t.Errorf("it was taken out twice (%v)", err)
	}
	for name, damage := range map[string]func() error{
		"bytes": func() error { return os.WriteFile(file, []byte("other"), 0o755) },
		"mode":  func() error { return os.Chmod(file, 0o600) },
		"link":  func() error { return errors.Join(os.Remove(file), os.Symlink("/bin/true", file)) },
		"left": func() error {
			return errors.Join(os.Remove(file), os.WriteFile(filepath.Join(filepath.Dir(file), ".part"), []byte("x"), 0o600))
		},
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Binary(t.Context(), d, dir); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		b, err := os.ReadFile(file)
		st, serr := os.Lstat(file)
		if err != nil || serr != nil || !bytes.Equal(b, good) || st.Mode() != 0o755 {
			t.Errorf("%s: not mended: %v %v %v", name, err, serr, st.Mode())
		}
	}
	// With the binary taken out, a rollback must not need the layers.
	m, _, err := s.load(d)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range m.parsed.Layers {
		if err := os.Remove(filepath.Join(s.blobs(), l.Digest.Hex)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Binary(t.Context(), d, dir); err != nil {
		t.Errorf("without layers: %v", err)
	}
}
