package release

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Errors of a store that callers tell apart.
var (
	ErrNoRelease = errors.New("release is not in the store")
	ErrCorrupt   = errors.New("release store is corrupt")
	ErrNotImage  = errors.New("not a release")
)

// Store holds releases as one OCI image layout on disk. Several processes may
// use it at once, and one may die at any point: the index names only what is
// there whole. Reading takes no lock, so that nothing stands in the way of a
// rollback.
type Store struct {
	dir string
}

const layoutVersion = `{"imageLayoutVersion": "1.0.0"}`

// OpenStore opens the store in dir and creates it when there is none.
func OpenStore(dir string) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("release store %s: %w", dir, err)
	}
	s := &Store{dir: dir}
	for _, d := range []string{s.blobs(), s.temp()} {
		if err := os.MkdirAll(d, 0o711); err != nil {
			return nil, fmt.Errorf("release store: %w", err)
		}
	}
	if _, err := os.Stat(s.indexFile()); errors.Is(err, fs.ErrNotExist) {
		// An index that is gone must not turn into an empty one: whatever cleans up
		// next would delete every release.
		if blobs, err := os.ReadDir(s.blobs()); err != nil || len(blobs) > 0 {
			return nil, fmt.Errorf("%w: %s has blobs but no index.json: restore it from a backup, or remove the folder and build again", ErrCorrupt, dir)
		}
		index, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{}})
		if err != nil {
			return nil, fmt.Errorf("release store %s: %w", dir, err)
		}
		if err := s.create("index.json", index); err != nil {
			return nil, fmt.Errorf("release store %s: %w", dir, err)
		}
	}
	if err := s.create("oci-layout", []byte(layoutVersion)); err != nil {
		return nil, fmt.Errorf("release store %s: %w", dir, err)
	}
	if _, err := s.index(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Store) blobs() string     { return filepath.Join(s.dir, "blobs", "sha256") }
func (s *Store) temp() string      { return filepath.Join(s.dir, "tmp") }
func (s *Store) indexFile() string { return filepath.Join(s.dir, "index.json") }

// create makes a whole file that is not there yet. When two do it at once, the
// first one's stays.
func (s *Store) create(name string, content []byte) error {
	file := filepath.Join(s.dir, name)
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	f, err := os.CreateTemp(s.dir, ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := finish(f, bytes.NewReader(content), 0o600); err != nil {
		return err
	}
	if err := os.Link(f.Name(), file); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncFolder(s.dir)
}

// finish writes content to f, has it on disk and closes f.
func finish(f *os.File, content io.Reader, mode os.FileMode) error {
	_, err := io.Copy(f, content)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// index reads index.json and refuses one that could not have been written here.
func (s *Store) index() (*v1.IndexManifest, error) {
	b, err := os.ReadFile(s.indexFile())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(b, &index); err != nil || index.SchemaVersion != 2 || index.MediaType != types.OCIImageIndex {
		return nil, fmt.Errorf("%w: %s is not an OCI index: restore it from a backup", ErrCorrupt, s.indexFile())
	}
	return &index, nil
}

// writeIndex replaces index.json. The caller holds the lock.
func (s *Store) writeIndex(index *v1.IndexManifest) error {
	b, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(s.temp(), "index-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := finish(f, bytes.NewReader(append(b, '\n')), 0o600); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), s.indexFile()); err != nil {
		return err
	}
	return syncFolder(s.dir)
}

// lock locks the store for writing and clears what a killed writer left: only
// the holder of the lock writes there.
func (s *Store) lock(ctx context.Context) (func(), error) {
	unlock, err := lockFolder(ctx, s.dir)
	if err != nil {
		return nil, fmt.Errorf("release store: %w", err)
	}
	left, err := os.ReadDir(s.temp())
	for _, e := range left {
		if err == nil {
			err = os.Remove(filepath.Join(s.temp(), e.Name()))
		}
	}
	if err != nil {
		unlock()
		return nil, fmt.Errorf("release store %s: %w", s.dir, err)
	}
	return unlock, nil
}

// Put adds an image and returns its digest. It may be there already. The
// blobs are on disk before the index names them.
//
// Errors: ErrNotImage for an image that is not a release.
func (s *Store) Put(ctx context.Context, img v1.Image) (string, error) {
	h, err := img.Digest()
	if err != nil {
		return "", fmt.Errorf("store a release: %w", err)
	}
	manifest, err := img.RawManifest()
	if err != nil {
		return "", fmt.Errorf("store release %s: %w", h, err)
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return "", fmt.Errorf("store release %s: %w", h, err)
	}
	m, err := parseManifest(manifest)
	if err != nil {
		return "", err
	}
	l, err := parseConfig(config)
	if err != nil {
		return "", err
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	for _, d := range m.Layers {
		layer, err := img.LayerByDigest(d.Digest)
		if err != nil {
			return "", fmt.Errorf("store release %s: layer %s: %w", h, d.Digest, err)
		}
		if err := s.writeBlob(ctx, d.Digest, d.Size, layer.Compressed); err != nil {
			return "", fmt.Errorf("store release %s: %w", h, err)
		}
	}
	if err := s.writeBlob(ctx, m.Config.Digest, m.Config.Size, reader(config)); err != nil {
		return "", fmt.Errorf("store release %s: %w", h, err)
	}
	if err := s.writeBlob(ctx, h, int64(len(manifest)), reader(manifest)); err != nil {
		return "", fmt.Errorf("store release %s: %w", h, err)
	}
	if err := syncFolder(s.blobs()); err != nil {
		return "", fmt.Errorf("store release %s: %w", h, err)
	}
	index, err := s.index()
	if err != nil {
		return "", err
	}
	for _, d := range index.Manifests {
		if d.Digest == h {
			return h.String(), nil
		}
	}
	index.Manifests = append(index.Manifests, v1.Descriptor{
		MediaType: types.OCIManifestSchema1,
		Digest:    h,
		Size:      int64(len(manifest)),
		Platform:  &v1.Platform{OS: l.os, Architecture: l.arch},
	})
	if err := s.writeIndex(index); err != nil {
		return "", fmt.Errorf("store release %s: %w", h, err)
	}
	return h.String(), nil
}

// List returns the digests of all releases, the one added last at the end.
func (s *Store) List() ([]string, error) {
	index, err := s.index()
	if err != nil {
		return nil, err
	}
	digests := make([]string, 0, len(index.Manifests))
	for _, d := range index.Manifests {
		digests = append(digests, d.Digest.String())
	}
	return digests, nil
}

// Prune removes every release whose digest is not true in keep, and all that
// belongs to none, and returns what it removed. It does nothing at all when
// keep names no release that is here, or when one of those is corrupt.
func (s *Store) Prune(ctx context.Context, keep map[string]bool) (removed []string, err error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	index, err := s.index()
	if err != nil {
		return nil, err
	}
	needed := map[string]bool{}
	var kept []v1.Descriptor
	for _, d := range index.Manifests {
		if !keep[d.Digest.String()] {
			removed = append(removed, d.Digest.String())
			continue
		}
		kept = append(kept, d)
		m, _, err := s.manifest(d.Digest)
		if err != nil {
			return nil, err
		}
		needed[d.Digest.Hex], needed[m.Config.Digest.Hex] = true, true
		for _, l := range m.Layers {
			needed[l.Digest.Hex] = true
		}
	}
	if len(kept) == 0 && len(index.Manifests) > 0 {
		return nil, fmt.Errorf("clean up release store %s: that would remove every release: name at least one to keep", s.dir)
	}
	if len(removed) > 0 {
		index.Manifests = kept
		if err := s.writeIndex(index); err != nil {
			return nil, fmt.Errorf("clean up release store %s: %w", s.dir, err)
		}
	}
	blobs, err := os.ReadDir(s.blobs())
	if err != nil {
		return removed, fmt.Errorf("clean up release store %s: %w", s.dir, err)
	}
	for _, b := range blobs {
		if needed[b.Name()] {
			continue
		}
		if err := os.Remove(filepath.Join(s.blobs(), b.Name())); err != nil {
			return removed, fmt.Errorf("clean up release store %s: %w", s.dir, err)
		}
	}
	return removed, nil
}
