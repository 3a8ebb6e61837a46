package workflows

import (
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// workflow is what the tests look at of a workflow.
type workflow struct {
	Name        string
	On          map[string]any
	Permissions any
	Defaults    struct{ Run struct{ Shell string } }
	Concurrency *concurrency
	Env         map[string]any
	Jobs        map[string]job
}

type concurrency struct {
	Group  string
	Cancel any `yaml:"cancel-in-progress"`
}

type job struct {
	If          string
	RunsOn      string `yaml:"runs-on"`
	Timeout     int    `yaml:"timeout-minutes"`
	Environment *struct {
		Name       string
		Deployment any
	}
	Concurrency *concurrency
	Permissions any
	Env         map[string]any
	Uses        string
	With        map[string]any
	Secrets     any
	Container   any
	Services    any
	Steps       []step
}

type step struct {
	Name string
	If   string
	Uses string
	Run  string
	With map[string]any
	Env  map[string]any
	Dir  string `yaml:"working-directory"`
	// Neither is used, so neither may appear.
	Shell           string
	ContinueOnError any `yaml:"continue-on-error"`
}

func parse(t *testing.T, data []byte) workflow {
	t.Helper()
	var w workflow
	if err := yaml.Unmarshal(data, &w); err != nil {
		t.Fatal(err)
	}
	return w
}

// kinds are parameters of every kind of repository.
func kinds() map[string]Params {
	own := Params{
		Repository: "smartcloudops/gate", Gate: Checkout, Owners: []string{"@smartcloudops/owners"},
		Environments: []string{"staging", "production"},
	}
	other := Params{
		Repository: "o-k/some.service", Protected: "release/2", Gate: "v1.2.3", Owners: []string{"@o-k/a", "@b"},
		Go: "1.27.1", Engine: EngineNone, Runner: "self-hosted", Environments: []string{"one", "two", "three"},
	}
	enterprise := other
	enterprise.EnterpriseServer = true
	return map[string]Params{"own": own, "other": other, "enterprise": enterprise}
}

func render(t *testing.T, p Params) map[string][]byte {
	t.Helper()
	files, err := Render(p)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string][]byte{}
	for _, f := range files {
		m[f.Path] = f.Data
	}
	return m
}

// each runs f for every workflow of every kind of repository.
func each(t *testing.T, f func(t *testing.T, p Params, path string, data []byte)) {
	for kind, p := range kinds() {
		for path, data := range render(t, p) {
			if strings.HasSuffix(path, ".yml") {
				t.Run(kind+"/"+path, func(t *testing.T) { f(t, p.WithDefaults(), path, data) })
			}
		}
	}
}

// expressions are what GitHub replaces in s.
func expressions(s string) []string { return expression.FindAllString(s, -1) }

var expression = regexp.MustCompile(`\$\{\{.*?\}\}`)
