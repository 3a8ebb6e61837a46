package scaffold

import (
	"archive/zip"
	"bytes"
	"errors"
	"io/fs"

	"github.com/smartcloudops/gate/environments"
)

// after is what environments/ and policies/ would hold with the proposal
// written: an archive in memory, which is a file system.
func (p *Proposal) after(root fs.FS) (fs.FS, error) {
	files := map[string][]byte{}
	for _, dir := range []string{environments.Dir, overlayDir} {
		err := fs.WalkDir(root, dir, func(name string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) && name == dir {
				return fs.SkipAll
			}
			if err == nil && d.Type().IsRegular() {
				files[name], err = fs.ReadFile(root, name)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	for _, f := range p.Files {
		if f.Action != Keep {
			files[f.Path] = f.Text
		}
	}
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, text := range files {
		f, err := w.Create(name)
		if err == nil {
			_, err = f.Write(text)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
}
