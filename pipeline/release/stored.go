package release

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// stored is an image of the store, read blob by blob; every blob is checked
// against its digest as it is read.
type stored struct {
	store    *Store
	manifest []byte
	config   []byte
	parsed   *v1.Manifest
}

var _ partial.CompressedImageCore = (*stored)(nil)

func (s *stored) MediaType() (types.MediaType, error) { return s.parsed.MediaType, nil }
func (s *stored) RawManifest() ([]byte, error)        { return bytes.Clone(s.manifest), nil }
func (s *stored) RawConfigFile() ([]byte, error)      { return bytes.Clone(s.config), nil }

// LayerByDigest also finds the configuration, as pushing an image asks for it.
func (s *stored) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	for _, d := range append([]v1.Descriptor{s.parsed.Config}, s.parsed.Layers...) {
		if d.Digest == h {
			return &storedLayer{s.store, d}, nil
		}
	}
	return nil, fmt.Errorf("layer %s is not in the image", h)
}

type storedLayer struct {
	store *Store
	desc  v1.Descriptor
}

func (l *storedLayer) Digest() (v1.Hash, error)            { return l.desc.Digest, nil }
func (l *storedLayer) Size() (int64, error)                { return l.desc.Size, nil }
func (l *storedLayer) MediaType() (types.MediaType, error) { return l.desc.MediaType, nil }
func (l *storedLayer) Descriptor() (*v1.Descriptor, error) { return &l.desc, nil }
func (l *storedLayer) Compressed() (io.ReadCloser, error) {
	return l.store.openBlob(l.desc.Digest, l.desc.Size)
}

// labels are what a release says of itself.
type labels struct {
	runtime  Runtime
	binary   v1.Hash
	os, arch string
}

func parseManifest(b []byte) (*v1.Manifest, error) {
	m, err := v1.ParseManifest(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotImage, err)
	}
	if m.MediaType != types.OCIManifestSchema1 || len(m.Layers) == 0 {
		return nil, fmt.Errorf("%w: its manifest is a %q with %d layers", ErrNotImage, m.MediaType, len(m.Layers))
	}
	return m, nil
}

func parseConfig(b []byte) (*labels, error) {
	c, err := v1.ParseConfigFile(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotImage, err)
	}
	l := &labels{os: c.OS, arch: c.Architecture}
	if err := json.Unmarshal([]byte(c.Config.Labels[RuntimeLabel]), &l.runtime); err != nil {
		return nil, fmt.Errorf("%w: label %s: %w", ErrNotImage, RuntimeLabel, err)
	}
	if !appName.MatchString(l.runtime.App) {
		return nil, fmt.Errorf("%w: label %s: %q is not a name", ErrNotImage, RuntimeLabel, l.runtime.App)
	}
	if l.binary, err = v1.NewHash(c.Config.Labels[BinaryLabel]); err != nil || plain(l.binary) != nil {
		return nil, fmt.Errorf("%w: label %s is not a digest", ErrNotImage, BinaryLabel)
	}
	return l, nil
}

// find looks a release up in the index.
func (s *Store) find(digest string) (v1.Hash, error) {
	h, err := v1.NewHash(digest)
	if err != nil || plain(h) != nil {
		return v1.Hash{}, fmt.Errorf("%q is not the digest of a release (sha256:…)", digest)
	}
	index, err := s.index()
	if err != nil {
		return v1.Hash{}, err
	}
	for _, d := range index.Manifests {
		if d.Digest == h {
			return h, nil
		}
	}
	return v1.Hash{}, fmt.Errorf("%w %s: %s: build its commit again", ErrNoRelease, s.dir, digest)
}

// manifest reads and checks a release's manifest.
func (s *Store) manifest(h v1.Hash) (*v1.Manifest, []byte, error) {
	st, err := os.Stat(filepath.Join(s.blobs(), h.Hex))
	if err != nil {
		return nil, nil, fmt.Errorf("release %s: %w: %w", h, ErrCorrupt, err)
	}
	b, err := s.readBlob(h, st.Size())
	if err != nil {
		return nil, nil, fmt.Errorf("release %s: %w", h, err)
	}
	m, err := parseManifest(b)
	if err != nil {
		return nil, nil, fmt.Errorf("release %s: %w", h, err)
	}
	return m, b, nil
}

func (s *Store) load(digest string) (*stored, *labels, error) {
	h, err := s.find(digest)
	if err != nil {
		return nil, nil, err
	}
	m, raw, err := s.manifest(h)
	if err != nil {
		return nil, nil, err
	}
	config, err := s.readBlob(m.Config.Digest, m.Config.Size)
	if err != nil {
		return nil, nil, fmt.Errorf("release %s: %w", digest, err)
	}
	l, err := parseConfig(config)
	if err != nil {
		return nil, nil, fmt.Errorf("release %s: %w", digest, err)
	}
	return &stored{store: s, manifest: raw, config: config, parsed: m}, l, nil
}

// Has says whether a release is here with all its parts. Manifest and
// configuration are read; layers must have their size, and are checked in full
// when they are used.
func (s *Store) Has(digest string) (bool, error) {
	img, _, err := s.load(digest)
	if errors.Is(err, ErrNoRelease) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, l := range img.parsed.Layers {
		st, err := os.Stat(filepath.Join(s.blobs(), l.Digest.Hex))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("release %s: %w", digest, err)
		}
		if err != nil || st.Size() != l.Size {
			return false, fmt.Errorf("release %s: %w: layer %s is gone or cut short: build the release again", digest, ErrCorrupt, l.Digest)
		}
	}
	return true, nil
}

// Get returns a release's image. Its layers are read from disk when they are
// asked for; reading a damaged one to its end fails with ErrCorrupt.
//
// Errors: ErrNoRelease, ErrCorrupt.
func (s *Store) Get(digest string) (v1.Image, error) {
	img, _, err := s.load(digest)
	if err != nil {
		return nil, err
	}
	return partial.CompressedToImage(img)
}

// Runtime says how a release is run. Errors: ErrNoRelease, ErrCorrupt.
func (s *Store) Runtime(digest string) (Runtime, error) {
	_, l, err := s.load(digest)
	if err != nil {
		return Runtime{}, err
	}
	return l.runtime, nil
}
