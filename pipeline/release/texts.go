package release

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Texts hands over all that a release consists of: its manifest, its
// configuration, and every file of every layer. Errors: ErrNoRelease,
// ErrCorrupt, and what each returns.
func (s *Store) Texts(digest string, each func(name string, text io.Reader) error) error {
	img, _, err := s.load(digest)
	if err != nil {
		return err
	}
	if err := each("manifest.json", bytes.NewReader(img.manifest)); err != nil {
		return err
	}
	if err := each("config.json", bytes.NewReader(img.config)); err != nil {
		return err
	}
	whole, err := s.Get(digest)
	if err != nil {
		return err
	}
	layers, err := whole.Layers()
	if err != nil {
		return fmt.Errorf("layers of release %s: %w", digest, err)
	}
	for _, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			return fmt.Errorf("layer of release %s: %w", digest, err)
		}
		err = layerTexts(r, each)
		r.Close()
		if err != nil {
			return fmt.Errorf("layer of release %s: %w", digest, err)
		}
	}
	return nil
}

func layerTexts(r io.Reader, each func(name string, text io.Reader) error) error {
	t := tar.NewReader(r)
	var names bytes.Buffer
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			// Only at the end is it known that the bytes were the right ones.
			if _, err = io.Copy(io.Discard, r); err != nil {
				return err
			}
			return each("names of files", &names)
		}
		if err != nil {
			return err
		}
		fmt.Fprintln(&names, h.Name, h.Linkname)
		if err := each(h.Name, t); err != nil {
			return err
		}
	}
}
