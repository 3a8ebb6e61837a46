package release

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// ErrChanged: the export is not any more what was exported.
var ErrChanged = errors.New("the exported files have changed")

// digestFiles is the SHA-256 of mode, content and path of every file. Paths
// are ended by NUL, the one byte that a path cannot hold.
func digestFiles(files []File) string {
	h := sha256.New()
	for _, f := range files {
		fmt.Fprintf(h, "%s %s %s\x00", f.Mode, f.Digest, f.Path)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// SourceDigest is the digest, "sha256:…", of all files but those that app.yaml
// declares to be docs. What a build, a test or the environments depend on is
// never left out, whatever the globs say. It fails on a glob that is not one.
func (e *Exported) SourceDigest(docs []string) (string, error) {
	globs := make([]glob, 0, len(docs))
	for _, d := range docs {
		g, err := parseGlob(d)
		if err != nil {
			return "", fmt.Errorf("%w: docs: %w", ErrApp, err)
		}
		globs = append(globs, g)
	}
	var files []File
next:
	for _, f := range e.Files {
		if !isSource(f.Path) {
			for _, g := range globs {
				if g.match(f.Path) {
					continue next
				}
			}
		}
		files = append(files, f)
	}
	return digestFiles(files), nil
}

// isSource names what no glob may declare to be docs: all that the go command
// compiles or reads by itself, and the declarations.
func isSource(name string) bool {
	folders := strings.Split(path.Dir(name), "/")
	for _, f := range folders {
		if f == "environments" || f == "vendor" {
			return true
		}
	}
	switch path.Base(name) {
	case "go.mod", "go.sum", "go.work", "go.work.sum":
		return true
	}
	switch path.Ext(name) {
	case ".go", ".s", ".S", ".sx", ".h", ".hh", ".hpp", ".hxx", ".c", ".cc", ".cpp", ".cxx", ".m", ".f", ".F", ".for", ".f90",
		".swig", ".swigcxx", ".syso", ".pgo":
		return true
	}
	return false
}

// verify hashes the folder again. Missing, changed and added files are
// ErrChanged: the folder may have been used by commands of the change.
func (e *Exported) verify(ctx context.Context) error {
	root, err := os.OpenRoot(e.Dir)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrChanged, err)
	}
	defer root.Close()
	want := make(map[string]File, len(e.Files))
	for _, f := range e.Files {
		want[f.Path] = f
	}
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		f, ok := want[name]
		if !ok {
			return fmt.Errorf("%w: %s was not exported: export again", ErrChanged, name)
		}
		delete(want, name)
		mode, digest, err := state(root, name, d)
		if err != nil {
			return err
		}
		if mode != f.Mode || digest != f.Digest {
			return fmt.Errorf("%w: %s is another one: export again", ErrChanged, name)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("check the export in %s: %w", e.Dir, err)
	}
	for name := range want {
		return fmt.Errorf("check the export in %s: %w: %s is gone: export again", e.Dir, ErrChanged, name)
	}
	return nil
}

// state is what a File would say of the file name. Anything that is neither a
// file nor a link has no mode and so equals nothing.
func state(root *os.Root, name string, d fs.DirEntry) (mode, digest string, err error) {
	hash := sha256.New()
	local := filepath.FromSlash(name)
	switch d.Type() {
	case fs.ModeSymlink:
		target, err := root.Readlink(local)
		if err != nil {
			return "", "", err
		}
		mode = modeLink
		_, _ = io.WriteString(hash, target) // a hash never fails
	case 0:
		r, err := root.Open(local)
		if err != nil {
			return "", "", err
		}
		defer r.Close()
		st, err := r.Stat()
		if err != nil {
			return "", "", err
		}
		mode = modeRegular
		if st.Mode()&0o100 != 0 {
			mode = modeExecutable
		}
		if _, err := io.Copy(hash, r); err != nil {
			return "", "", err
		}
	}
	return mode, hex.EncodeToString(hash.Sum(nil)), nil
}
