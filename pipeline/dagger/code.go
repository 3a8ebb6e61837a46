package main

import (
	"context"

	"github.com/smartcloudops/gate/pipeline/dagger/internal/dagger"
)

func (m *Gate) lint(ctx context.Context) (string, error) {
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

func (m *Gate) policies(ctx context.Context) (string, error) {
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
