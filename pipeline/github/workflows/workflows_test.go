package workflows

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rhysd/actionlint"

	"github.com/smartcloudops/gate/environments"
)

// root is this repository's top folder.
const root = "../../.."

// TestThisRepositoryCarriesWhatIsRendered: whoever changes a template runs
// gate github init.
func TestThisRepositoryCarriesWhatIsRendered(t *testing.T) {
	settings, err := os.ReadFile(filepath.Join(root, SettingsFile))
	if err != nil {
		t.Fatal(err)
	}
	p, err := ReadSettings(settings)
	if err != nil {
		t.Fatal(err)
	}
	d, err := environments.Read(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range d.Environments {
		p.Environments = append(p.Environments, e.Name)
	}
	for path, want := range render(t, p) {
		got, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Error(err)
			continue
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s is not what gate github init writes (-want +got):\n%s", path, diff)
		}
	}
	if again, err := p.Settings(); err != nil || !bytes.Equal(again, settings) {
		t.Errorf("%s: gate would write it as\n%s(%v)", SettingsFile, again, err)
	}
}

// TestActionlintFindsNothing knows GitHub's own rules of keys, contexts, types
// and events.
func TestActionlintFindsNothing(t *testing.T) {
	for kind, p := range kinds() {
		// Reusable workflows and their callers are checked against each other only
		// in a repository.
		dir := t.TempDir()
		files := render(t, p)
		var paths []string
		for path, data := range files {
			at := filepath.Join(dir, path)
			if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(at, data, 0o644); err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(path, ".yml") {
				paths = append(paths, at)
			}
		}
		if kind == "own" {
			paths = append(paths, filepath.Join(root, Dir, "ci.yaml"))
		}
		// No shellcheck: it would find something on some machines only.
		lint, err := actionlint.NewLinter(io.Discard, &actionlint.LinterOptions{})
		if err != nil {
			t.Fatal(err)
		}
		found, err := lint.LintFiles(paths, nil)
		if err != nil {
			t.Fatal(err)
		}
		broken := bytes.Replace(files[Dir+"/"+Commit], []byte("github.run_id"), []byte("github.runid"), 1)
		if e, err := lint.Lint("broken.yml", broken, nil); err != nil || len(e) != 1 {
			t.Errorf("%s: a misspelt variable: found %v, %v", kind, e, err)
		}
		for _, e := range found {
			t.Errorf("%s: %v", kind, e)
		}
		if len(paths) < 10 {
			t.Errorf("%s: only %d workflows", kind, len(paths))
		}
	}
}

// TestRenderMakesTheSameBytes: what a drift is told by.
func TestRenderMakesTheSameBytes(t *testing.T) {
	for kind, p := range kinds() {
		a, b := render(t, p), render(t, p)
		if diff := cmp.Diff(a, b); diff != "" {
			t.Errorf("%s: %s", kind, diff)
		}
		for path, data := range a {
			if bytes.Contains(data, []byte("[[")) || bytes.Contains(data, []byte(" \n")) || bytes.Contains(data, []byte("\n\n")) || !bytes.HasSuffix(data, []byte("\n")) {
				t.Errorf("%s: %s is not clean:\n%s", kind, path, data)
			}
		}
	}
	files := render(t, kinds()["enterprise"])
	for path, data := range files {
		if bytes.Contains(data, []byte("deployment: false")) {
			t.Errorf("%s holds what GitHub Enterprise Server does not know", path)
		}
	}
}

// TestParametersAreWhereTheyBelong of a repository that is not gate's own.
func TestParametersAreWhereTheyBelong(t *testing.T) {
	files := render(t, kinds()["other"])
	for path, want := range map[string][]string{
		Dir + "/commit.yml":  {"branches: [release/2]", "cmd/gate@v1.2.3", "go-version: 1.27.1", "runs-on: self-hosted", "-m github.com/smartcloudops/gate@v1.2.3", "--environment=one", "--through one", "vars.GATE_ENGINE || 'none'"},
		Dir + "/promote.yml": {"options: [one, two, three]", "ref: release/2", "refs/heads/release/2"},
		Dir + "/publish.yml": {"head_branch == 'release/2'", "ref: release/2"},
		Carried:              {"uses: o-k/some.service/.github/workflows/request.yml@release/2"},
		CodeOwners:           {"/policies/ @o-k/a @b", "/environments/ @o-k/a @b", "/.github/ @o-k/a @b"},
	} {
		for _, w := range want {
			if !bytes.Contains(files[path], []byte(w)) {
				t.Errorf("%s lacks %q", path, w)
			}
		}
	}
	for path, data := range files {
		if bytes.Contains(data, []byte("./pipeline")) || bytes.Contains(data, []byte("./base")) || bytes.Contains(data, []byte("/checks/")) {
			t.Errorf("%s takes the repository for gate's own", path)
		}
	}
}

// TestWhoeverOwnsTheJudgeOwnsAllOfIt: what the policies treat as owned is what
// GitHub asks owners about.
func TestWhoeverOwnsTheJudgeOwnsAllOfIt(t *testing.T) {
	owners := string(render(t, kinds()["own"])[CodeOwners])
	for _, path := range []string{"/.github/", "/environments/", "/policies/", "/checks/", "/pipeline/", "/CODEOWNERS", "/docs/CODEOWNERS", "/dagger.json", "/go.mod", "/.ci/"} {
		if !strings.Contains(owners, "\n"+path+" @smartcloudops/owners\n") {
			t.Errorf("nobody owns %s", path)
		}
	}
}

func TestUntouchedTellsOursFromTheirs(t *testing.T) {
	data := render(t, kinds()["own"])[Dir+"/commit.yml"]
	if !Untouched(data) {
		t.Error("what was rendered counts as changed")
	}
	for name, d := range map[string][]byte{
		"a changed body":  append(slices.Clone(data), '\n'),
		"a changed sum":   bytes.Replace(data, []byte("sha256:"), []byte("sha256:0"), 1),
		"no first line":   data[bytes.IndexByte(data, '\n')+1:],
		"nothing":         nil,
		"carriage return": bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n")),
	} {
		if Untouched(d) {
			t.Errorf("%s counts as ours", name)
		}
	}
}

// TestNothingHereKnowsTheAPI: rendering is pure.
func TestNothingHereKnowsTheAPI(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range strings.Fields(string(out)) {
		if strings.Contains(p, "go-github") || p == "github.com/smartcloudops/gate/pipeline/github" || p == "net/http" {
			t.Errorf("it depends on %s", p)
		}
	}
}
