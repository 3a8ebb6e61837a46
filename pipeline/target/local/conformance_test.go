package local

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/release"
	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/pipeline/target/conformance"
)

// TestConformance: a daemon with real processes, a real PostgreSQL and real
// requests keeps the contract of a target.
func TestConformance(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED under -short: about 20 s with a real app and a real PostgreSQL. Without it only a fake is known to keep the contract")
	}
	t.Parallel()
	p := newPlace(t, "one", "two", "never")
	p.releases["unmigratable"] = unmigratable(t, p.opt.Store, filepath.Join(filepath.Dir(p.opt.Paths.State), "one", "src"))
	conformance.Run(t, func(*testing.T) target.Target { return p.Daemon }, conformance.Releases{
		First: p.rev("one"), Second: p.rev("two"), Unready: p.rev("never"), Unmigratable: p.rev("unmigratable"),
		Ask: func(t *testing.T) string {
			t.Helper()
			for name := range p.answers(1) {
				return p.releases[name]
			}
			return ""
		},
	})
}

// unmigratable is a release of the program in the clone whose migrate command
// ends with an error.
func unmigratable(t *testing.T, store *release.Store, clone string) string {
	t.Helper()
	c, err := release.OpenClone(t.Context(), clone, os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	work, err := os.MkdirTemp(filepath.Dir(filepath.Dir(clone)), "unmigratable-")
	if err != nil {
		t.Fatal(err)
	}
	exported, err := release.Export(t.Context(), c, "HEAD", false, filepath.Join(work, "export"))
	if err != nil {
		t.Fatal(err)
	}
	app := &environments.App{
		Name: "hello", Build: environments.Build{Package: ".", Toolchain: runtime.Version()},
		Serve: environments.Serve{Ready: "/readyz"},
	}
	// It listens where nobody can, and says so.
	app.Migrate = &environments.Migrate{Env: map[string]string{"LISTEN": "nowhere"}, Timeout: environments.Duration(10 * time.Second)}
	r, err := release.Make(t.Context(), exported, app, store, release.Options{Environ: os.Environ()})
	if err != nil {
		t.Fatal(err)
	}
	return r.Digest
}
