package main

import (
	"context"

	"github.com/smartcloudops/gate/pipeline/dagger/internal/dagger"
)

// Lint the code with golangci-lint, as pinned by the module.
//
// Returns what it says; findings are an error.
//
// +check
func (m *Gate) Lint(ctx context.Context) (string, error) {
	tools := m.Own.Directory("tools")
	linter := m.modules(tools).
		WithMountedDirectory("/work/tools", tools).
		WithWorkdir("/work/tools").
		WithExec([]string{"go", "build", "-trimpath", "-buildvcs=false", "-o", "/work/bin/golangci-lint", "github.com/golangci/golangci-lint/v2/cmd/golangci-lint"}).
		File("/work/bin/golangci-lint")
	return m.modules(m.Source).
		WithFile("/usr/local/bin/golangci-lint", linter).
		WithMountedCache(buildDir, dag.CacheVolume("gate-lint-build")).
		WithMountedDirectory(sourceDir, m.Source.Filter(dagger.DirectoryFilterOpts{Exclude: []string{".git"}})).
		WithWorkdir(sourceDir).
		WithExec([]string{"golangci-lint", "run", "./..."}).
		Stdout(ctx)
}

// Test the policies.
//
// Those of the module by their own tests, those that the clone lays over them by compiling them.
//
// Returns what was tested; a failure is an error.
//
// +check
func (m *Gate) Policies(ctx context.Context) (string, error) {
	tested, err := m.modules(m.Own).
		WithMountedDirectory("/work/gate", m.Own).
		WithWorkdir("/work/gate").
		WithExec([]string{"go", "test", "./policies/..."}).
		Stdout(ctx)
	if err != nil {
		return "", err
	}
	laid, err := m.clean().WithExec([]string{"gate", "env", "validate"}).Stdout(ctx)
	return tested + laid, err
}
