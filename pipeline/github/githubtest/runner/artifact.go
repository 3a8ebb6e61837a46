package runner

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// upload is actions/upload-artifact: what it keeps can't be changed, and a run
// has one of a name.
func (m *machine) upload(_ context.Context, with map[string]string, out *log) error {
	name, from := with["name"], with["path"]
	if name == "" || from == "" || strings.ContainsAny(from, "*?[]!\n~") {
		return unknownf("an artefact %q of %q", name, from)
	}
	if !filepath.IsAbs(from) {
		from = filepath.Join(m.files.workspace, from)
	}
	packed, n, err := m.pack(from)
	if err != nil {
		return err
	}
	if n == 0 {
		switch with["if-no-files-found"] {
		case "error":
			return fmt.Errorf("No files were found with the provided path: %s. No artifacts will be uploaded.", with["path"]) //nolint:staticcheck // GitHub's own words
		case "warn", "", "ignore":
			out.say("no files were found at %s", with["path"])
			return nil
		}
		return unknownf("if-no-files-found: %s", with["if-no-files-found"])
	}
	key := fmt.Sprintf("%d-%d-%s", m.run.ID, m.run.Attempt, name)
	m.mu.Lock()
	there := m.kept[key]
	m.kept[key] = true
	m.mu.Unlock()
	if there {
		return errors.New("Conflict: an artifact with this name already exists on the workflow run") //nolint:staticcheck // GitHub's own words
	}
	m.tick()
	m.o.GitHub.AddArtifact(m.run.ID, name, packed)
	out.say("artifact %s: %d files, %d bytes", name, n, len(packed))
	return nil
}

// pack zips a file or the files below a folder, but hidden ones.
func (m *machine) pack(from string) (packed []byte, n int, err error) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	root := from
	if info, err := os.Stat(from); errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	} else if err != nil {
		return nil, 0, err
	} else if !info.IsDir() {
		root = filepath.Dir(from)
	}
	err = filepath.WalkDir(from, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if file != from && strings.HasPrefix(d.Name(), ".") {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			return nil
		}
		text, err := os.ReadFile(file) // follows links, as the action does
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		if secret := m.masks.found(string(text)); secret != "" {
			m.t.Errorf("%s, job %s: %s of the artefact holds the secret %s", m.run.File, m.job.ID, rel, secret)
		}
		w, err := z.Create(path.Clean(filepath.ToSlash(rel)))
		if err != nil {
			return err
		}
		n++
		_, err = w.Write(text)
		return err
	})
	err = errors.Join(err, z.Close())
	return b.Bytes(), n, err
}
