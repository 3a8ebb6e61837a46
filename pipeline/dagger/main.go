// Build, measure, judge and ship a service that is declared in environments/.
//
// The judge and the meter are this module's own: gate is built from the module,
// never from the clone that it is given. Call the base's module on a change:
// dagger -m ./base call --source=./head run …
package main

import (
	"errors"
	"fmt"

	"github.com/smartcloudops/gate/pipeline/dagger/internal/dagger"
	"github.com/smartcloudops/gate/pipeline/dagger/plain"
)

// Images that are used where none is given. Change them here alone.
const (
	baseImage     = "golang:1.26.8-bookworm"
	postgresImage = "postgres:17-bookworm"
)

// Gate is the pipeline of one clone.
type Gate struct {
	// +private
	Source *dagger.Directory
	// +private
	Own *dagger.Directory
	// +private
	Environment string
	// +private
	Base *dagger.Container
	// +private
	Database *dagger.Container
	// +private
	Vulndb *dagger.Directory
	// +private
	Goproxy string
}

func New(
	// Git clone to work on, with its .git folder. A linked work tree has none: give a clone of it.
	// +defaultPath="/"
	// +ignore=["bin", "**/*.test", "**/*.out", "**/.env"]
	source *dagger.Directory,
	// What gate itself is built from: the repository that this module is in. Leave it alone.
	// +defaultPath="/"
	// +ignore=["*", "!go.mod", "!go.sum", "!checks", "!environments", "!pipeline", "!policies", "!tools", "pipeline/dagger"]
	own *dagger.Directory,
	// Environment to measure in, as declared in environments/.
	// +default="staging"
	environment string,
	// Image to work in: Go, Git, a shell and the user nobody. Pinned by the module if none is given.
	// +optional
	base *dagger.Container,
	// The same as a folder with a root file system, where no image can be pulled.
	// +optional
	rootfs *dagger.Directory,
	// The same as an OCI or Docker archive.
	// +optional
	tarball *dagger.File,
	// Image with PostgreSQL's programs. With a base of your own: that, if none is given.
	// +optional
	database *dagger.Container,
	// Copy of the Go vulnerability database, where the live one can't be reached.
	// +optional
	vulndb *dagger.Directory,
	// Where Go modules come from, as in the variable GOPROXY.
	// +optional
	goproxy string,
) (*Gate, error) {
	if !plain.Name(environment) {
		return nil, fmt.Errorf("environment %.80q is no name of one: give one that environments/ declares", environment)
	}
	m := &Gate{Source: source, Own: own, Environment: environment, Database: database, Vulndb: vulndb, Goproxy: goproxy}
	given := 0
	if base != nil {
		m.Base, given = base, given+1
	}
	if rootfs != nil {
		m.Base, given = fromRootfs(rootfs), given+1
	}
	if tarball != nil {
		m.Base, given = dag.Container().Import(tarball), given+1
	}
	switch {
	case given > 1:
		return nil, errors.New("--base, --rootfs and --tarball are three ways to give one image: give one of them")
	case given == 0:
		m.Base = dag.Container().From(baseImage)
		if database == nil {
			m.Database = dag.Container().From(postgresImage)
		}
	case database == nil:
		m.Database = m.Base
	}
	return m, nil
}
