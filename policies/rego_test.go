package policies

import (
	"context"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/format"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
)

// modules are all Rego files of this folder, tests as well.
func modules(t *testing.T) map[string]*ast.Module {
	t.Helper()
	found := map[string]*ast.Module{}
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || path.Ext(name) != ".rego" {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		found[name], err = ast.ParseModuleWithOpts(name, string(text), ast.ParserOptions{
			ProcessAnnotation: true,
			RegoVersion:       ast.RegoV1,
		})
		if err != nil {
			return err
		}
		formatted, err := format.Source(name, text)
		if err != nil {
			return err
		}
		if string(formatted) != string(text) {
			t.Errorf("%s is not formatted as opa fmt does it", name)
			if os.Getenv("POLICIES_FORMAT") != "" {
				return os.WriteFile(name, formatted, 0o644)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestRego runs the tests that stand beside the policies, and wants every line
// of every policy covered.
func TestRego(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	all := modules(t)
	data := map[string]any{}
	for criterion, named := range embeddedLimits(t) {
		declared := map[string]any{}
		for name, l := range named {
			declared[name] = map[string]any{"default": l.Default, "kind": l.Kind}
		}
		data[criterion] = declared
	}
	store := inmem.NewFromObject(map[string]any{"thresholds": data})
	txn := storage.NewTransactionOrDie(ctx, store)
	defer store.Abort(ctx, txn)
	coverage := cover.New()
	results, err := tester.NewRunner().
		SetCompiler(ast.NewCompiler().WithCapabilities(capabilities()).WithRewriteTestRules(true)).
		SetModules(all).
		SetStore(store).
		SetCoverageQueryTracer(coverage).
		SetCoverageRuns(nil). // each would run every test once more, only to say why something is not covered
		SetTimeout(time.Minute).
		SetParallel(runtime.NumCPU()).
		CapturePrintOutput(false).
		RunTests(ctx, txn)
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for r := range results {
		ran++
		if !r.Pass() {
			t.Errorf("%s: %s.%s: %v", r.Location, r.Package, r.Name, r.Error)
		}
	}
	if ran < 100 {
		t.Errorf("only %d tests ran", ran)
	}
	report := coverage.Report(all)
	for name, file := range report.Files {
		if strings.HasSuffix(name, "_test.rego") {
			continue
		}
		for _, missing := range file.NotCovered {
			t.Errorf("%s:%d-%d is not covered by any test", name, missing.Start.Row, missing.End.Row)
		}
	}
	for name := range all {
		if _, ok := report.Files[name]; !ok {
			t.Errorf("%s is not in the coverage report", name)
		}
	}
}

func embeddedLimits(t testing.TB) limits {
	t.Helper()
	text, err := fs.ReadFile(Embedded, thresholdsFile)
	if err != nil {
		t.Fatal(err)
	}
	ls, err := parseLimits(text)
	if err != nil {
		t.Fatal(err)
	}
	return ls
}

// TestAnnotations wants a title and a description for every rule, the roadmap's
// words and a remediation for every criterion, and a package that is where its
// name says.
func TestAnnotations(t *testing.T) {
	t.Parallel()
	all := modules(t)
	criteria := []string{}
	for name, m := range all {
		folder := "data.gate." + strings.ReplaceAll(path.Dir(name), "/", ".")
		if got := strings.TrimSuffix(m.Package.Path.String(), "_test"); got != folder {
			t.Errorf("%s holds package %s, must be %s", name, got, folder)
		}
		if strings.HasSuffix(name, "_test.rego") {
			continue
		}
		described := map[string]bool{}
		for _, r := range m.Rules {
			ref := r.Head.Ref().GroundPrefix().String()
			if len(r.Head.Reference) > 1 {
				ref = r.Head.Reference[0].String()
			}
			for _, a := range r.Annotations {
				if a.Title == "" || a.Description == "" {
					t.Errorf("%s: METADATA of %s lacks title or description", r.Location, ref)
				}
				described[ref] = true
			}
			if !described[ref] {
				t.Errorf("%s: %s has no METADATA", r.Location, ref)
			}
			if ref == "criterion" {
				criteria = append(criteria, path.Base(path.Dir(name)))
				if s, _ := r.Annotations[0].Custom["remediation"].(string); s == "" {
					t.Errorf("%s: a criterion says how to mend it (custom.remediation)", r.Location)
				}
				if _, ok := all[strings.TrimSuffix(name, ".rego")+"_test.rego"]; !ok {
					t.Errorf("%s has no test beside it", name)
				}
			}
		}
	}
	slices.Sort(criteria)
	want := []string{"alerting", "backup", "canary", "change", "config", "load", "migration", "network", "restart", "rollback", "runbooks", "scaling", "scan", "secrets", "source", "tests", "tls", "update", "uptime"}
	if !slices.Equal(criteria, want) {
		t.Errorf("criteria are %v, want %v", criteria, want)
	}
}
