// Package pipeline_test holds the house rules that no single package can test.
package pipeline_test

import (
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/smartcloudops/gate"

// mayImport lists, for each room, the rooms that it may import. The longest
// matching prefix rules. What is not listed must not be imported.
var mayImport = map[string][]string{
	"app":                   {"app"},
	"environments":          {"environments"},
	"checks":                {"environments", "checks"},
	"policies":              {"environments", "checks", "policies"},
	"pipeline/release":      {"environments", "checks", "pipeline/release"},
	"pipeline/ledger":       {"environments", "checks", "pipeline/ledger"},
	"pipeline/target":       {"environments", "checks", "pipeline/target"},
	"pipeline/target/local": {"environments", "checks", "pipeline/target", "pipeline/target/local", "pipeline/release"},
	"pipeline/promotion":    {"environments", "checks", "policies", "pipeline/target", "pipeline/ledger", "pipeline/promotion"},
	"pipeline/claim":        {"environments", "checks", "pipeline/claim"},
	"pipeline/run":          {"environments", "checks", "policies", "pipeline/target", "pipeline/promotion", "pipeline/release", "pipeline/claim", "pipeline/run"},
	"pipeline/report":       {"environments", "checks", "policies", "pipeline/target", "pipeline/promotion", "pipeline/run", "pipeline/report"},
	"pipeline/plan":         {"environments", "checks", "pipeline/promotion", "pipeline/report", "pipeline/plan"},
	"pipeline/scaffold":     {"environments", "policies", "pipeline/scaffold"},
	"pipeline/github":       {"environments", "checks", "policies", "pipeline/github"},
	"pipeline/cmd":          {"environments", "checks", "policies", "pipeline"},
	"pipeline":              {},
}

// onlyIn lists libraries that one room alone may know.
var onlyIn = map[string]string{
	"github.com/open-policy-agent/opa":           "policies",
	"github.com/google/go-containerregistry":     "pipeline/release",
	"github.com/fergusstrange/embedded-postgres": "pipeline/target/local/cluster",
	"github.com/google/go-github":                "pipeline/github",
	"github.com/golang-jwt/jwt":                  "pipeline/github",
	"github.com/getkin/kin-openapi":              "pipeline/github/githubtest",
	"github.com/aws/aws-sdk-go-v2":               "pipeline/target",
	"github.com/aws/aws-sdk-go-v2/service/s3":    "pipeline/target/local/backup",
}

func TestImportsPointOneWay(t *testing.T) {
	for pkg, imports := range packages(t) {
		room := strings.TrimPrefix(strings.TrimPrefix(pkg, module), "/")
		allowed, ok := rule(room)
		if !ok {
			t.Errorf("%s is in no room of the house: add it to mayImport", pkg)
			continue
		}
		for _, imp := range imports {
			if rest, own := strings.CutPrefix(imp, module+"/"); own {
				// A concrete target is known by the command alone, and by itself.
				concrete := under(rest, "pipeline/target/local") && !under(room, "pipeline/target/local") && !under(room, "pipeline/cmd")
				if !underAny(rest, allowed) || concrete {
					t.Errorf("%s imports %s, which the house forbids", pkg, imp)
				}
			}
			for lib, owner := range onlyIn {
				if under(imp, lib) && !under(room, owner) {
					t.Errorf("%s imports %s, which only %s may know", pkg, imp, owner)
				}
			}
		}
	}
}

// TestAdaptersOfTheAppKeepApart: no adapter of the service imports another.
func TestAdaptersOfTheAppKeepApart(t *testing.T) {
	adapters := []string{"app/http", "app/postgres"}
	for pkg, imports := range packages(t) {
		room := strings.TrimPrefix(pkg, module+"/")
		for _, imp := range imports {
			rest := strings.TrimPrefix(imp, module+"/")
			if underAny(room, adapters) && underAny(rest, adapters) && room != rest {
				t.Errorf("%s imports %s: adapters meet in app/cmd only", pkg, imp)
			}
		}
	}
}

func rule(room string) ([]string, bool) {
	for at := room; ; {
		if allowed, ok := mayImport[at]; ok {
			return allowed, true
		}
		i := strings.LastIndexByte(at, '/')
		if i < 0 {
			return nil, false
		}
		at = at[:i]
	}
}

func under(path, room string) bool { return path == room || strings.HasPrefix(path, room+"/") }

func underAny(path string, rooms []string) bool {
	for _, r := range rooms {
		if under(path, r) {
			return true
		}
	}
	return false
}

// packages are the module's packages with what their code, tests aside, imports.
func packages(t *testing.T) map[string][]string {
	t.Helper()
	cmd := exec.Command("go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, module+"/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	found := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		found[f[0]] = f[1:]
	}
	if len(found) < 10 {
		t.Fatalf("go list found %d packages only", len(found))
	}
	return found
}
