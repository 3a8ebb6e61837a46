package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/smartcloudops/gate/pipeline/dagger/internal/dagger"
)

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

// revision is the flag for a commit that was given.
func revision(commit string) []string {
	if commit == "" {
		return nil
	}
	return []string{"--commit", commit}
}

// build reads what the build says of itself.
func (m *Gate) build(ctx context.Context, commit string) (*Release, error) {
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

// shelf is where a release is pushed to.
type shelf struct {
	registry, user, tag string
	password            *dagger.Secret
	local               *dagger.Service
}

func (m *Gate) publish(ctx context.Context, to shelf, commit string) (string, error) {
	on := m.built(commit)
	if to.user != "" {
		on = on.WithEnvVariable("GATE_REGISTRY_USER", to.user)
	}
	if to.password != nil {
		on = on.WithSecretVariable("GATE_REGISTRY_PASSWORD", to.password)
	}
	if to.local != nil {
		on = on.WithServiceBinding("registry.localhost", to.local)
	}
	args := append([]string{"gate", "publish", "--registry", to.registry}, revision(commit)...)
	if to.tag != "" {
		args = append(args, "--tag", to.tag)
	}
	text, err := always(on).WithExec(args).Stdout(ctx)
	return strings.TrimSpace(text), err
}
