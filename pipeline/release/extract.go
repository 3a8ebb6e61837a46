package release

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

// Binary returns the path of a release's executable, dir/<hex>/<name>, which
// any user may run who may enter dir. It is taken from the image once; after
// that every call hashes it, and one that is damaged is taken out anew, so
// that a rollback needs no free disk and never runs other bytes than the
// release's. It costs one read of the file.
//
// Errors: ErrNoRelease, ErrCorrupt.
func (s *Store) Binary(ctx context.Context, digest, dir string) (string, error) {
	img, l, err := s.load(digest)
	if err != nil {
		return "", err
	}
	h, err := v1.NewHash(digest)
	if err != nil {
		return "", fmt.Errorf("release %s: %w", digest, err)
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("binary of release %s: %w", digest, err)
	}
	folder := filepath.Join(dir, h.Hex)
	file := filepath.Join(folder, l.runtime.App)
	if ready(file, l.binary) {
		return file, nil
	}
	if err := s.extract(ctx, img, l, folder, file); err != nil {
		return "", fmt.Errorf("binary of release %s: %w", digest, err)
	}
	return file, nil
}

// ready says whether file is the wanted executable.
func ready(file string, want v1.Hash) bool {
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() || st.Mode().Perm() != 0o755 {
		return false
	}
	_, err = io.Copy(io.Discard, newVerifier(f, want, st.Size()))
	return err == nil
}

// extract puts the executable at file, which is in folder.
func (s *Store) extract(ctx context.Context, img *stored, l *labels, folder, file string) error {
	if err := os.MkdirAll(folder, 0o711); err != nil {
		return err
	}
	// The umask may have taken away what another user needs to get there.
	if err := os.Chmod(folder, 0o711); err != nil {
		return err
	}
	unlock, err := lockFolder(ctx, folder)
	if err != nil {
		return err
	}
	defer unlock()
	if ready(file, l.binary) {
		return nil // another process was faster
	}
	content, err := img.file(ctx, "app/"+l.runtime.App)
	if err != nil {
		return err
	}
	// One name for all: what a killed process left is written over.
	part := filepath.Join(folder, ".part")
	if err := os.RemoveAll(part); err != nil {
		return err
	}
	if err := writeProgram(part, newVerifier(bytes.NewReader(content), l.binary, int64(len(content)))); err != nil {
		os.Remove(part)
		return err
	}
	if err := os.Rename(part, file); err != nil {
		os.Remove(part)
		return err
	}
	return syncFolder(folder)
}

// writeProgram writes an executable that can be started at once. A process that
// another goroutine forks meanwhile would inherit the open file, and as long
// as anybody has it open for writing the kernel refuses to run it: so nothing
// may fork until it is closed.
func writeProgram(file string, content io.Reader) error {
	if err := func() error {
		syscall.ForkLock.RLock()
		defer syscall.ForkLock.RUnlock()
		f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, content)
		if err == nil {
			err = f.Chmod(0o755)
		}
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		return err
	}(); err != nil {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// file reads one file of the image; the last layer that has it counts. A layer
// is read to its end, and so checked, before anything of it is used.
func (s *stored) file(ctx context.Context, name string) ([]byte, error) {
	for i := len(s.parsed.Layers) - 1; i >= 0; i-- {
		d := s.parsed.Layers[i]
		r, err := s.store.openBlob(d.Digest, d.Size)
		if err != nil {
			return nil, err
		}
		content, err := fileOf(contextReader{ctx, r}, name)
		r.Close()
		if err != nil || content != nil {
			return content, err
		}
	}
	return nil, fmt.Errorf("%w: no file /%s", ErrNotImage, name)
}

func fileOf(layer io.Reader, name string) (content []byte, err error) {
	t := tar.NewReader(layer)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, errors.Join(err, drain(layer))
		}
		if h.Name == name && h.Typeflag == tar.TypeReg {
			if content, err = io.ReadAll(t); err != nil {
				return nil, errors.Join(err, drain(layer))
			}
		}
	}
	return content, drain(layer)
}

// drain reads on to the end, where the digest is checked.
func drain(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}
