package main

import (
	"context"
	"fmt"

	"github.com/smartcloudops/gate/pipeline/dagger/internal/dagger"
	"github.com/smartcloudops/gate/pipeline/dagger/plain"
)

// Folders in the containers.
const (
	sourceDir  = "/work/source"
	modulesDir = "/work/go/mod"
	buildDir   = "/work/go/build"
	cacheDir   = "/var/cache/gate"
	vulnDir    = "/work/vulndb"
)

// fromRootfs is an image of a root file system, which says nothing of itself.
func fromRootfs(dir *dagger.Directory) *dagger.Container {
	return dag.Container().WithRootfs(dir).
		WithEnvVariable("PATH", "/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").
		WithEnvVariable("LANG", "C.UTF-8")
}

// machine is the base with what Go needs to know. It mounts no cache.
func (m *Gate) machine() *dagger.Container {
	c := m.Base.
		WithUser("0:0").
		WithEnvVariable("HOME", "/root").
		WithEnvVariable("CGO_ENABLED", "0").
		WithEnvVariable("GOMODCACHE", modulesDir).
		WithEnvVariable("GOCACHE", buildDir).
		WithoutEntrypoint()
	if m.Goproxy != "" {
		c = c.WithEnvVariable("GOPROXY", m.Goproxy)
	}
	return c
}

// modules is the machine with the modules of a go.mod, and the standard library
// compiled. They are layers made of go.mod, go.sum and the base alone, so nobody
// can write into another's.
func (m *Gate) modules(source *dagger.Directory) *dagger.Container {
	only := source.Filter(dagger.DirectoryFilterOpts{Include: []string{"go.mod", "go.sum"}})
	got := m.machine().
		WithMountedDirectory("/work/modules", only).
		WithWorkdir("/work/modules").
		WithExec([]string{"sh", "-c", "mkdir -p " + modulesDir + "; [ ! -f go.mod ] || go mod download"}).
		Directory(modulesDir)
	return m.machine().WithMountedDirectory(modulesDir, got).WithMountedDirectory(buildDir, m.standard())
}

// standard is Go's cache after the standard library was compiled, in the way that
// gate compiles releases.
func (m *Gate) standard() *dagger.Directory {
	return m.machine().WithExec([]string{"go", "build", "-trimpath", "std"}).Directory(buildDir)
}

// bench is the machine with gate and the clone.
func (m *Gate) bench(on *dagger.Container) *dagger.Container {
	c := on.
		WithFile("/usr/local/bin/gate", m.program(), dagger.ContainerWithFileOpts{Permissions: 0o755}).
		WithMountedDirectory(sourceDir, m.Source).
		WithWorkdir(sourceDir).
		WithDirectory(plain.OutDir, dag.Directory()).
		// The clone's files are another user's.
		WithEnvVariable("GIT_CONFIG_COUNT", "1").
		WithEnvVariable("GIT_CONFIG_KEY_0", "safe.directory").
		WithEnvVariable("GIT_CONFIG_VALUE_0", "*").
		WithEnvVariable("GATE_CACHE", cacheDir)
	if m.Vulndb != nil {
		c = c.WithMountedDirectory(vulnDir, m.Vulndb).WithEnvVariable("GOVULNDB", "file://"+vulnDir)
	}
	return c
}

// measuring is the bench with caches for what is compiled there. Code of the
// commit runs beside them and can write to them. So a change has volumes of its
// own, and what counts, the release, is built without any.
func (m *Gate) measuring(on *dagger.Container, c plain.Call) *dagger.Container {
	whose := "own"
	if c.Base != "" {
		whose = "change"
	}
	return m.bench(on.
		WithMountedCache(modulesDir, dag.CacheVolume("gate-modules-"+whose)).
		WithMountedCache(buildDir, dag.CacheVolume("gate-build-"+whose), dagger.ContainerWithMountedCacheOpts{Source: m.standard()}))
}

// clean is the bench where nothing of an earlier call is mounted.
func (m *Gate) clean() *dagger.Container { return m.bench(m.modules(m.Source)) }

// withTools adds the programs that the check runs, as a layer of their own: gate
// installs what is not there itself, each time anew.
func (m *Gate) withTools(ctx context.Context, c *dagger.Container, tools ...tool) (*dagger.Container, error) {
	pins, err := m.Own.File("tools/go.mod").Contents(ctx)
	if err != nil {
		return nil, fmt.Errorf("the tools' versions: %w", err)
	}
	app, err := m.Source.File("environments/app.yaml").Contents(ctx)
	if err != nil {
		return nil, fmt.Errorf("the clone has no environments/app.yaml: %w", err)
	}
	for _, t := range tools {
		version := plain.Pinned(pins, t.module)
		if version == "" {
			return nil, fmt.Errorf("tools/go.mod does not require %s", t.module)
		}
		// Only pinned tools are compiled there: no code of a commit comes near it.
		folder, on := t.name+"@"+version, m.machine().
			WithMountedCache(modulesDir, dag.CacheVolume("gate-tools-modules")).
			WithMountedCache(buildDir, dag.CacheVolume("gate-tools-build"))
		if t.reads {
			// A tool that reads Go code is built with the Go that the code is built with.
			goes := plain.Toolchain(app)
			if goes == "" {
				continue // gate says what is wrong with it
			}
			folder, on = folder+"+"+goes, on.WithEnvVariable("GOTOOLCHAIN", goes+"+auto")
		}
		at := cacheDir + "/tools/" + folder + "/" + t.name
		c = c.WithFile(at, on.
			WithEnvVariable("GOBIN", "/work/bin").
			WithExec([]string{"go", "install", t.module + t.pkg + "@" + version}).
			File("/work/bin/"+t.name))
	}
	return c, nil
}

// tool is a program that a check runs; reads says that it reads Go code.
type tool struct {
	name, module, pkg string
	reads             bool
}

var (
	gosec       = tool{"gosec", "github.com/securego/gosec/v2", "/cmd/gosec", true}
	govulncheck = tool{"govulncheck", "golang.org/x/vuln", "/cmd/govulncheck", true}
	gitleaks    = tool{"gitleaks", "github.com/zricethezav/gitleaks/v8", "", false}
)

// program is gate, built where nothing of the clone is.
func (m *Gate) program() *dagger.File {
	return m.modules(m.Own).
		WithMountedDirectory("/work/gate", m.Own.Filter(dagger.DirectoryFilterOpts{Exclude: []string{"**/*_test.go", "tools"}})).
		WithWorkdir("/work/gate").
		WithExec([]string{"go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", "/work/bin/gate", "./pipeline/cmd/gate"}).
		File("/work/bin/gate")
}
