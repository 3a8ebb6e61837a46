package release

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func reader(b []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}

// writeBlob puts a blob into its place, whole and checked. One that is there
// and sound stays; a damaged one is replaced. The caller holds the lock and
// syncs the folder.
func (s *Store) writeBlob(ctx context.Context, h v1.Hash, size int64, open func() (io.ReadCloser, error)) error {
	if err := plain(h); err != nil {
		return err
	}
	if r, err := s.openBlob(h, size); err == nil {
		_, err = io.Copy(io.Discard, r)
		r.Close()
		if err == nil {
			return nil
		}
	}
	content, err := open()
	if err != nil {
		return fmt.Errorf("blob %s: %w", h, err)
	}
	defer content.Close()
	f, err := os.CreateTemp(s.temp(), "blob-")
	if err != nil {
		return fmt.Errorf("blob %s: %w", h, err)
	}
	defer os.Remove(f.Name())
	checked := newVerifier(contextReader{ctx, content}, h, size)
	if err := finish(f, checked, 0o600); err != nil {
		return fmt.Errorf("blob %s: %w", h, err)
	}
	if err := os.Rename(f.Name(), filepath.Join(s.blobs(), h.Hex)); err != nil {
		return fmt.Errorf("blob %s: %w", h, err)
	}
	return nil
}

// openBlob opens a blob for reading. Its last Read fails with ErrCorrupt when
// the bytes were not those of the digest.
func (s *Store) openBlob(h v1.Hash, size int64) (io.ReadCloser, error) {
	if err := plain(h); err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(s.blobs(), h.Hex))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return struct {
		io.Reader
		io.Closer
	}{newVerifier(f, h, size), f}, nil
}

// readBlob reads a small blob whole.
func (s *Store) readBlob(h v1.Hash, size int64) ([]byte, error) {
	const limit = 4 << 20
	if size > limit {
		return nil, fmt.Errorf("%w: blob %s claims %d bytes", ErrCorrupt, h, size)
	}
	r, err := s.openBlob(h, size)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// plain refuses a hash that would not be a plain file name.
func plain(h v1.Hash) error {
	if raw, err := hex.DecodeString(h.Hex); h.Algorithm != "sha256" || err != nil || len(raw) != sha256.Size {
		return fmt.Errorf("%q is not a sha256 digest", h.String())
	}
	return nil
}

// verifier passes bytes on and says at their end whether they were the right
// ones.
type verifier struct {
	r    io.Reader
	hash hash.Hash
	want v1.Hash
	left int64
}

func newVerifier(r io.Reader, want v1.Hash, size int64) *verifier {
	// One byte more than allowed is enough to see that there is more.
	return &verifier{r: io.LimitReader(r, size+1), hash: sha256.New(), want: want, left: size}
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.hash.Write(p[:n])
	v.left -= int64(n)
	if v.left < 0 || err == io.EOF && v.left != 0 {
		return 0, fmt.Errorf("%w: blob %s has another size than its manifest says: build the release again", ErrCorrupt, v.want)
	}
	if err == io.EOF && hex.EncodeToString(v.hash.Sum(nil)) != v.want.Hex {
		return 0, fmt.Errorf("%w: blob %s has other bytes than its name says: build the release again", ErrCorrupt, v.want)
	}
	return n, err
}

// contextReader stops a long copy when ctx ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}
