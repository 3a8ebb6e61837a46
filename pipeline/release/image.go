package release

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Labels of a release's image. By them a release can be run and checked
// without the declarations that it was made from.
const (
	RuntimeLabel = "dev.smartcloudops.gate.runtime" // canonical JSON of a Runtime
	BinaryLabel  = "dev.smartcloudops.gate.binary"  // "sha256:…" of /app/<name>
)

// SBOMPath is where the SBOM is in an image.
const SBOMPath = "/app/sbom.cdx.json"

// user is the conventional non-root user of minimal images.
const user = "65532"

// epoch is every time in an image.
var epoch = time.Unix(0, 0).UTC()

// newImage packs a release. Layers are not compressed: what a compressor makes
// changes with its version, and then the same commit would have two digests.
// Certificates of public authorities are left out for that reason too, since
// they change with the machine: a service that calls out brings its own, or
// mounts them.
func newImage(r Runtime, arch string, binary, bom []byte) (v1.Image, error) {
	label, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("runtime of %s: %w", r.App, err)
	}
	sum := sha256.Sum256(binary)
	base, err := layer(
		entry{name: "etc/"},
		entry{name: "etc/group", mode: 0o644, content: []byte("app:x:" + user + ":\n")},
		entry{name: "etc/passwd", mode: 0o644, content: []byte("app:x:" + user + ":" + user + ":app:/:/sbin/nologin\n")},
	)
	if err != nil {
		return nil, err
	}
	// The binary has a layer of its own, so that two releases that differ only in
	// how they are run share it.
	program, err := layer(
		entry{name: "app/"},
		entry{name: "app/" + r.App, mode: 0o755, content: binary},
	)
	if err != nil {
		return nil, err
	}
	parts, err := layer(
		entry{name: "app/"},
		entry{name: SBOMPath[1:], mode: 0o644, content: bom},
	)
	if err != nil {
		return nil, err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err = mutate.ConfigFile(img, &v1.ConfigFile{
		Architecture: arch,
		OS:           "linux",
		Created:      v1.Time{Time: epoch},
		RootFS:       v1.RootFS{Type: "layers"},
		Config: v1.Config{
			Entrypoint: []string{"/app/" + r.App},
			Cmd:        r.Serve.Args,
			User:       user + ":" + user,
			WorkingDir: "/",
			Labels: map[string]string{
				RuntimeLabel:                     string(label),
				BinaryLabel:                      "sha256:" + hex.EncodeToString(sum[:]),
				"org.opencontainers.image.title": r.App,
			},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("pack %s: %w", r.App, err)
	}
	var adds []mutate.Addendum
	for _, l := range []struct {
		content []byte
		what    string
	}{{base, "user"}, {program, "binary"}, {parts, "sbom"}} {
		adds = append(adds, mutate.Addendum{
			Layer:   static.NewLayer(l.content, types.OCIUncompressedLayer),
			History: v1.History{Created: v1.Time{Time: epoch}, CreatedBy: "gate: " + l.what},
		})
	}
	if img, err = mutate.Append(img, adds...); err != nil {
		return nil, fmt.Errorf("pack %s: %w", r.App, err)
	}
	return img, nil
}

// entry is one file of a layer, or, with a slash at the end, one folder.
type entry struct {
	name    string
	mode    int64
	content []byte
}

// layer writes a tar whose bytes follow from the entries alone.
func layer(entries ...entry) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: e.name, Mode: e.mode, Size: int64(len(e.content)), ModTime: epoch, Format: tar.FormatUSTAR}
		if e.name[len(e.name)-1] == '/' {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("pack %s: %w", e.name, err)
		}
		if _, err := w.Write(e.content); err != nil {
			return nil, fmt.Errorf("pack %s: %w", e.name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("pack a layer: %w", err)
	}
	return b.Bytes(), nil
}
