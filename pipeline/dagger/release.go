package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/smartcloudops/gate/pipeline/dagger/internal/dagger"
)

// What one commit becomes: an OCI image of one platform, known by its digest.
type Release struct {
	// Digest of the image's manifest. gate build on any machine makes the same.
	Digest string
	// Commit that it was built of.
	Commit string
	// OCI image layout with this one image.
	Layout *dagger.Directory
	// +private
	Archive *dagger.File
}

// Build the release of a commit.
//
// No cache is mounted that another call can write to: modules are a layer made of go.mod and go.sum, and Go compiles anew.
//
// Returns the release: its digest, commit, OCI layout, container and binary.
func (m *Gate) Build(
	ctx context.Context,
	// Commit to build (default: what is checked out, with what is not committed).
	// +optional
	commit string,
) (*Release, error) {
	built := m.built(commit)
	text, err := built.Stdout(ctx)
	if err != nil {
		return nil, err
	}
	var r struct{ Release, Commit string }
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return nil, fmt.Errorf("gate build: %w", err)
	}
	if r.Release == "" {
		return nil, fmt.Errorf("gate build named no release: %.200s", text)
	}
	archive := built.WithExec([]string{"tar", "-C", "/work/layout", "-cf", "/work/release.tar", "."}).File("/work/release.tar")
	return &Release{Digest: r.Release, Commit: r.Commit, Layout: built.Directory("/work/layout"), Archive: archive}, nil
}

// built is a bench that has the commit's release, as a layer: whoever needs it
// again goes on from here.
func (m *Gate) built(commit string) *dagger.Container {
	return m.clean().WithExec(append([]string{"gate", "build", "--layout", "/work/layout", "--output", "json"}, revision(commit)...))
}

// Load the release as a container.
//
// What Dagger pushes of it has another digest: publish pushes the release itself.
//
// Returns the container.
func (r *Release) Container() *dagger.Container {
	return dag.Container().Import(r.Archive)
}

// Take the service's program out of the release.
//
// Returns the file, for Linux.
func (r *Release) Binary(ctx context.Context) (*dagger.File, error) {
	c := r.Container()
	entry, err := c.Entrypoint(ctx)
	if err != nil {
		return nil, err
	}
	if len(entry) == 0 || !strings.HasPrefix(entry[0], "/") {
		return nil, fmt.Errorf("release %.19s does not say what to run: its entrypoint is %q", r.Digest, entry)
	}
	return c.File(entry[0]), nil
}

// Push a release to a registry as it is.
//
// It has the digest there that build names.
//
// Returns its reference, HOST/PATH@sha256:….
//
// +cache="never"
func (m *Gate) Publish(
	ctx context.Context,
	// Repository to push to: HOST/PATH.
	registry string,
	// User at the registry.
	// +optional
	username string,
	// Password or token of the user.
	// +optional
	password *dagger.Secret,
	// Tag to move to it, for people: gate itself names releases by digest.
	// +optional
	tag string,
	// Commit to publish (default: what is checked out).
	// +optional
	commit string,
	// Registry on your own machine, such as tcp://localhost:5000. It is reached as registry.localhost.
	// +optional
	local *dagger.Service,
) (string, error) {
	on := m.built(commit)
	if username != "" {
		on = on.WithEnvVariable("GATE_REGISTRY_USER", username)
	}
	if password != nil {
		on = on.WithSecretVariable("GATE_REGISTRY_PASSWORD", password)
	}
	if local != nil {
		on = on.WithServiceBinding("registry.localhost", local)
	}
	args := append([]string{"gate", "publish", "--registry", registry}, revision(commit)...)
	if tag != "" {
		args = append(args, "--tag", tag)
	}
	text, err := always(on).WithExec(args).Stdout(ctx)
	return strings.TrimSpace(text), err
}

// revision is the flag for a commit that was given.
func revision(commit string) []string {
	if commit == "" {
		return nil
	}
	return []string{"--commit", commit}
}
