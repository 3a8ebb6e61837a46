package github

import (
	"archive/zip"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// unzip writes the files of a hostile archive below dir. Names are of a short
// alphabet, so that two which differ are two files on every machine.
func unzip(ctx context.Context, r io.ReaderAt, size int64, dir string, l Limits) error {
	if have, err := os.ReadDir(dir); err != nil || len(have) > 0 {
		return errors.Join(fmt.Errorf("%s is no empty folder", dir), err)
	}
	z, err := zip.NewReader(r, size)
	if err != nil {
		return fmt.Errorf("it is no zip archive: %w", ErrHostile)
	}
	if len(z.File) > l.Entries {
		return fmt.Errorf("it has %d entries, more than %d: %w", len(z.File), l.Entries, ErrHostile)
	}
	// A root can't be left by a symbolic link either.
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	kinds := map[string]bool{} // folded path → it is a folder
	left := l.Total
	for _, f := range z.File {
		if err := ctx.Err(); err != nil {
			return err
		}
		folder, err := entry(f, kinds, size, l)
		if err != nil {
			return err
		}
		if folder {
			if err := root.MkdirAll(strings.TrimSuffix(f.Name, "/"), 0o700); err != nil {
				return err
			}
			continue
		}
		if err := root.MkdirAll(path.Dir(f.Name), 0o700); err != nil {
			return err
		}
		n, err := unzipFile(root, f, min(left, l.File))
		if err != nil {
			return err
		}
		left -= n
	}
	return nil
}

// entry says whether f is a folder, and refuses what is neither that nor a plain
// file with a name of its own.
func entry(f *zip.File, kinds map[string]bool, packed int64, l Limits) (folder bool, err error) {
	refuse := func(why string) (bool, error) {
		return false, fmt.Errorf("its entry %q %s: %w", Line(f.Name, 100), why, ErrHostile)
	}
	name, folder := strings.CutSuffix(f.Name, "/")
	switch mode := f.Mode(); {
	case !plainPath(name):
		return refuse("has a name that gate does not write")
	case mode&fs.ModeType != 0 && mode.Type() != fs.ModeDir, folder != mode.IsDir():
		return refuse("is no plain file")
	case f.Method != zip.Store && f.Method != zip.Deflate:
		return refuse("is packed in an unusual way")
	case f.Flags&1 != 0:
		return refuse("is encrypted")
	case folder && f.UncompressedSize64 > 0:
		return refuse("is a folder with content")
	case f.UncompressedSize64 > uint64(l.File): // #nosec G115 -- a limit is positive
		return refuse(fmt.Sprintf("has more than %d bytes", l.File))
	case f.UncompressedSize64 > 1<<20 && (f.CompressedSize64 == 0 || f.UncompressedSize64/f.CompressedSize64 > uint64(l.Ratio)): // #nosec G115
		return refuse("unpacks to too much")
	case f.CompressedSize64 > uint64(packed): // #nosec G115
		return refuse("is larger than the archive")
	}
	key := strings.ToLower(name)
	if was, ok := kinds[key]; ok && (!was || !folder) {
		return refuse("is there twice")
	}
	kinds[key] = folder
	// A file can't be the folder of another one.
	for at := path.Dir(key); at != "."; at = path.Dir(at) {
		if was, ok := kinds[at]; ok && !was {
			return refuse("lies within a file")
		}
		kinds[at] = true
	}
	return folder, nil
}

const plainLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.+@="

// plainPath allows relative paths of letters, digits and -_.+@=, no more than 8
// deep, no segment of which begins with a dot or ends with one.
func plainPath(p string) bool {
	if p == "" || len(p) > 250 || strings.Count(p, "/") > 7 {
		return false
	}
	for seg := range strings.SplitSeq(p, "/") {
		if seg == "" || strings.HasPrefix(seg, ".") || strings.HasSuffix(seg, ".") || strings.HasPrefix(seg, "-") {
			return false
		}
		if strings.Trim(seg, plainLetters) != "" {
			return false
		}
	}
	return true
}

// unzipFile counts what comes out, whatever the headers say.
func unzipFile(root *os.Root, f *zip.File, limit int64) (int64, error) {
	in, err := f.Open()
	if err != nil {
		return 0, fmt.Errorf("its entry %q can't be read: %w", Line(f.Name, 100), ErrHostile)
	}
	defer in.Close()
	out, err := root.OpenFile(f.Name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(out, io.LimitReader(in, limit+1))
	if closed := out.Close(); err == nil {
		err = closed
	}
	var corrupt flate.CorruptInputError
	switch {
	case n > limit:
		return n, fmt.Errorf("it unpacks to more than what is allowed: %w", ErrHostile)
	case errors.Is(err, zip.ErrChecksum), errors.Is(err, zip.ErrFormat), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &corrupt):
		return n, fmt.Errorf("its entry %q is broken: %w", Line(f.Name, 100), ErrHostile)
	case err != nil:
		return n, fmt.Errorf("unpack %q: %w", Line(f.Name, 100), err)
	}
	return n, nil
}
