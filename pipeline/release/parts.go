package release

import (
	"fmt"
	"io"
)

// Provenance is a release's manifest, whose SHA-256 is the release's digest, and
// the layer with its SBOM, a tar archive, whose SHA-256 the manifest names.
// Errors: ErrNoRelease, ErrCorrupt.
func (s *Store) Provenance(digest string) (manifest, sbom []byte, err error) {
	img, err := s.Get(digest)
	if err != nil {
		return nil, nil, err
	}
	if manifest, err = img.RawManifest(); err != nil {
		return nil, nil, fmt.Errorf("release %s: %w", digest, err)
	}
	layers, err := img.Layers()
	if err != nil {
		return nil, nil, fmt.Errorf("release %s: %w", digest, err)
	}
	r, err := layers[len(layers)-1].Compressed()
	if err != nil {
		return nil, nil, fmt.Errorf("release %s: %w", digest, err)
	}
	defer r.Close()
	if sbom, err = io.ReadAll(r); err != nil {
		return nil, nil, fmt.Errorf("release %s: %w", digest, err)
	}
	return manifest, sbom, nil
}
