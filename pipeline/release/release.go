// Package release turns a commit into a release: an OCI image of one platform
// whose digest depends on nothing but the files of the commit that matter and
// a pinned toolchain.
//
// It goes in two steps, since what the second one builds is declared in what
// the first one exports:
//
//	clone, err := release.OpenClone(ctx, dir, os.Environ())
//	exported, err := release.Export(ctx, clone, "HEAD", false, folder)
//	// load app.yaml from exported.Dir
//	rel, err := release.Make(ctx, exported, app, store, release.Options{Environ: os.Environ()})
package release

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"

	"github.com/smartcloudops/gate/environments"
)

// Release is the immutable result of one commit.
type Release struct {
	Digest       string // of the image manifest, "sha256:…"
	Commit       string // full id
	Dirty        bool   // the tree had uncommitted changes
	SourceDigest string // of the exported files without app.yaml's docs
	TreeDigest   string // of all exported files
	Size         int64  // bytes of the layers
}

// Runtime is what a release says of how it is run. It is part of the image, so
// that an old release runs the way its own commit declared.
type Runtime struct {
	App     string                `json:"app"`
	Serve   environments.Serve    `json:"serve"`
	Migrate *environments.Migrate `json:"migrate,omitempty"`
}

// Options of Make.
type Options struct {
	// Environ is the user's environment. Only what cannot reach the bytes of the
	// binary is handed on: where caches are, and how modules are fetched.
	Environ []string
	// Arch is the GOARCH of the release: amd64 or arm64. Empty: this machine's.
	Arch string
	// Progress tells people what goes on; it may be nil.
	Progress func(note string)
}

func (o Options) note(format string, args ...any) {
	if o.Progress != nil {
		o.Progress(fmt.Sprintf(format, args...))
	}
}

// ErrApp marks a declaration that no release can be made of.
var ErrApp = errors.New("app.yaml cannot be built")

// appName bounds what becomes a file name in the image and on the machine.
var appName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// Make builds app from an export, packs it and puts the image into the store.
// app must have been loaded from the same export. The export is hashed again
// first, so that nothing that ran in the folder meanwhile gets into a release.
//
// Errors: *BuildError when the code does not compile, ErrToolchain when the
// declared Go cannot be had, ErrApp, ErrChanged, ErrBinary.
func Make(ctx context.Context, e *Exported, app *environments.App, store *Store, o Options) (Release, error) {
	if !appName.MatchString(app.Name) {
		return Release{}, fmt.Errorf("%w: name %q is not a plain name: use lower-case letters, digits, dot, dash and underscore", ErrApp, app.Name)
	}
	if o.Arch == "" {
		o.Arch = runtime.GOARCH
	}
	source, err := e.SourceDigest(app.Docs)
	if err != nil {
		return Release{}, err
	}
	if err := e.verify(ctx); err != nil {
		return Release{}, err
	}
	work, err := os.MkdirTemp(filepath.Dir(e.Dir), "build-")
	if err != nil {
		return Release{}, fmt.Errorf("no folder to build in: %w", err)
	}
	defer os.RemoveAll(work)

	o.note("building %s with %s for linux/%s", app.Build.Package, app.Build.Toolchain, o.Arch)
	file := filepath.Join(work, app.Name)
	if err := compile(ctx, e, app.Build, o, file); err != nil {
		return Release{}, err
	}
	binary, err := os.ReadFile(file)
	if err != nil {
		return Release{}, fmt.Errorf("read the built binary: %w", err)
	}
	info, err := inspect(binary, app.Build.Toolchain, o.Arch)
	if err != nil {
		return Release{}, err
	}
	bom, err := sbom(app.Name, info, binary)
	if err != nil {
		return Release{}, err
	}
	img, err := newImage(Runtime{App: app.Name, Serve: app.Serve, Migrate: app.Migrate}, o.Arch, binary, bom)
	if err != nil {
		return Release{}, err
	}
	digest, err := store.Put(ctx, img)
	if err != nil {
		return Release{}, err
	}
	manifest, err := img.Manifest()
	if err != nil {
		return Release{}, fmt.Errorf("manifest of release %s: %w", digest, err)
	}
	r := Release{Digest: digest, Commit: e.Commit, Dirty: e.Dirty, SourceDigest: source, TreeDigest: e.TreeDigest}
	for _, l := range manifest.Layers {
		r.Size += l.Size
	}
	o.note("release %s", digest)
	return r, nil
}
