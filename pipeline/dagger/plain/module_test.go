package plain

// What can be known of the module without an engine. try.sh is what runs it.

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// engine is the release of Dagger that the generated code is of. Raise all three
// together: dagger.json, this, and what dagger develop writes.
const (
	engine    = "v0.19.7"
	generated = "bbc38e385081fdc9de9a693ad9e685871b1b90387fcbce2955f3863acb3e5d52"
)

// newestGo is what the module may ask for: the engine's own Go compiles it.
const newestGo = "1.25"

const (
	module = ".."
	root   = "../../.."
)

// computes are the functions whose result depends on their arguments alone.
// Every other one measures, deploys or publishes, and must never be cached.
var computes = []string{"Gate", "Build", "Lint", "Policies"}

func settings(t *testing.T) (s struct {
	Name, EngineVersion, Source string
	Codegen                     struct{ AutomaticGitignore *bool }
},
) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "dagger.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSettings(t *testing.T) {
	s := settings(t)
	if s.EngineVersion != engine || s.Source != "pipeline/dagger" || s.Codegen.AutomaticGitignore == nil || *s.Codegen.AutomaticGitignore {
		t.Errorf("dagger.json says %+v", s)
	}
	b, err := os.ReadFile(filepath.Join(module, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "go "); ok && v != newestGo && !strings.HasPrefix(v, newestGo+".") {
			t.Errorf("go.mod asks for Go %s, and engine %s compiles with %s", v, engine, newestGo)
		}
	}
}

// TestGeneratedCode: no file of it names a version, so its content has to.
func TestGeneratedCode(t *testing.T) {
	h := sha256.New()
	err := fs.WalkDir(os.DirFS(module), "internal", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(filepath.Join(module, path))
		h.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != generated {
		t.Errorf("internal/ is not what dagger develop of %s writes: its files have %s", engine, got)
	}
}

// TestGeneratedCallsAreUpToDate: dagger.gen.go names every function and every
// argument that the code has.
func TestGeneratedCallsAreUpToDate(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(module, "dagger.gen.go"))
	if err != nil {
		t.Fatal(err)
	}
	_, calls, _ := bytes.Cut(b, []byte("func invoke("))
	for _, f := range functions(t) {
		_, after, found := strings.Cut(string(calls), "case \""+f.on+"\":")
		if !found {
			t.Errorf("dagger.gen.go does not know %s: run dagger develop", f.on)
			continue
		}
		name := f.name
		if name == "New" {
			name = ""
		}
		_, after, found = strings.Cut(after, "case \""+name+"\":")
		if !found {
			t.Errorf("dagger.gen.go does not know %s.%s: run dagger develop", f.on, f.name)
			continue
		}
		after, _, _ = strings.Cut(after, "\tcase \"")
		for _, p := range f.params {
			if !strings.Contains(after, `inputArgs["`+p.name+`"]`) {
				t.Errorf("dagger.gen.go does not know the argument %s of %s.%s: run dagger develop", p.name, f.on, f.name)
			}
		}
	}
}

// TestOwnCoversGate: gate and the policies' tests are made of what the argument
// own lets in, and of nothing else.
func TestOwnCoversGate(t *testing.T) {
	var include []string
	for _, f := range functions(t) {
		for _, p := range f.params {
			if f.name != "New" || p.name != "own" {
				continue
			}
			_, list, _ := strings.Cut(p.doc, "+ignore=")
			if err := json.Unmarshal([]byte(strings.TrimSpace(list)), &include); err != nil {
				t.Fatalf("the argument own: %v in %q", err, p.doc)
			}
		}
	}
	if len(include) == 0 || include[0] != "*" {
		t.Fatalf("the argument own begins with everything: %q", include)
	}
	for _, f := range []string{"go.mod", "go.sum", "tools"} {
		if !slices.Contains(include, "!"+f) {
			t.Errorf("the argument own leaves out %s", f)
		}
	}
	cmd := exec.Command("go", "list", "-deps", "-test", "-f", `{{if .Module}}{{if .Module.Main}}{{.Dir}}{{end}}{{end}}`, "./pipeline/cmd/gate", "./policies/...")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	top, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(out)) {
		dir := strings.TrimSpace(line)
		if dir == "" {
			continue
		}
		n++
		rel, err := filepath.Rel(top, dir)
		if err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(filepath.ToSlash(rel), "/")
		// The gate command's own tests ship the service; the module builds no test of it.
		if !slices.Contains(include, "!"+first) && first != "app" {
			t.Errorf("gate needs %s, which the argument own leaves out", rel)
		}
	}
	if n < 10 {
		t.Errorf("only %d packages were looked at", n)
	}
}

// TestNothingOfTheRepositoryIsImported: the engine's own Go compiles the module,
// and is older than the one that the repository asks for.
func TestNothingOfTheRepositoryIsImported(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-test", module+"/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		own := "github.com/smartcloudops/gate/"
		if strings.HasPrefix(line, own) && !strings.HasPrefix(line, own+"pipeline/dagger") {
			t.Errorf("the module imports %s", strings.TrimSpace(line))
		}
	}
}

// TestFunctionsAreInOneFile: several are read in any order, and dagger develop
// would write another dagger.gen.go each time.
func TestFunctionsAreInOneFile(t *testing.T) {
	in := map[string]string{"Gate": "main.go"}
	for _, f := range functions(t) {
		if in[f.on] == "" {
			in[f.on] = f.file
		}
		if f.file != in[f.on] {
			t.Errorf("%s.%s is in %s, others of %s are in %s", f.on, f.name, f.file, f.on, in[f.on])
		}
	}
}

// TestEnvironmentsAreDeclared: what callers may name, environments/ declares, and
// the other way round.
func TestEnvironmentsAreDeclared(t *testing.T) {
	parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(module, "main.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var named []string
	ast.Inspect(parsed, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && v.Type != nil && kind(v.Type) == "Environment" {
			for _, value := range v.Values {
				named = append(named, strings.Trim(value.(*ast.BasicLit).Value, `"`))
			}
		}
		return true
	})
	files, err := filepath.Glob(filepath.Join(root, "environments", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var declared []string
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if e, ok := strings.CutPrefix(line, "environment:"); ok {
				declared = append(declared, strings.TrimSpace(e))
			}
		}
	}
	slices.Sort(named)
	slices.Sort(declared)
	if len(named) == 0 || !slices.Equal(named, declared) {
		t.Errorf("main.go has the environments %q, environments/ declares %q: make the constants agree, and run dagger develop", named, declared)
	}
}

func TestWhatMeasuresIsNeverCached(t *testing.T) {
	for _, f := range functions(t) {
		if f.on != "Gate" || f.name == "New" {
			continue
		}
		never := strings.Contains(f.doc, `+cache="never"`)
		if want := !slices.Contains(computes, f.name); never != want {
			t.Errorf("%s: +cache=\"never\" is %v, want %v", f.name, never, want)
		}
	}
}

// TestHelp: the comments are what people read in the terminal.
func TestHelp(t *testing.T) {
	for _, f := range functions(t) {
		if f.name != "New" {
			first, rest, _ := strings.Cut(f.doc, "\n")
			if first == "" || !strings.HasSuffix(first, ".") || len(first) > 72 || !unicode.IsUpper(rune(first[0])) {
				t.Errorf("%s.%s: the help begins with %q", f.on, f.name, first)
			}
			if !strings.Contains(rest, "Returns ") {
				t.Errorf("%s.%s: the help does not say what comes back", f.on, f.name)
			}
		}
		for _, p := range f.params {
			if p.doc == "" {
				t.Errorf("%s.%s: nothing is said of the argument %s", f.on, f.name, p.name)
			}
			switch p.name {
			case "password", "token", "key":
				if p.kind != "*dagger.Secret" {
					t.Errorf("%s.%s: %s is no secret", f.on, f.name, p.name)
				}
			}
		}
	}
}

type function struct {
	on, name, doc string
	file          string
	params        []param
}

type param struct{ name, kind, doc string }

// functions are the constructor and the exported methods.
func functions(t *testing.T) []function {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(module, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var all []function
	for _, file := range files {
		if filepath.Base(file) == "dagger.gen.go" {
			continue
		}
		set := token.NewFileSet()
		parsed, err := parser.ParseFile(set, file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		// The parser gives parameters no comment: it is the one that ends above.
		above := map[int]string{}
		for _, c := range parsed.Comments {
			above[set.Position(c.End()).Line+1] = c.Text()
		}
		for _, d := range parsed.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || !fn.Name.IsExported() {
				continue
			}
			f := function{on: "Gate", name: fn.Name.Name, doc: fn.Doc.Text(), file: filepath.Base(file)}
			if fn.Recv != nil {
				f.on = strings.TrimPrefix(kind(fn.Recv.List[0].Type), "*")
			}
			for _, p := range fn.Type.Params.List {
				for _, name := range p.Names {
					if name.Name != "ctx" {
						f.params = append(f.params, param{name.Name, kind(p.Type), above[set.Position(p.Pos()).Line]})
					}
				}
			}
			all = append(all, f)
		}
	}
	if len(all) < 15 {
		t.Fatalf("only %d functions were found", len(all))
	}
	return all
}

// kind is a type as it is written.
func kind(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return "*" + kind(e.X)
	case *ast.ArrayType:
		return "[]" + kind(e.Elt)
	case *ast.SelectorExpr:
		return kind(e.X) + "." + e.Sel.Name
	case *ast.Ident:
		return e.Name
	}
	return "?"
}

// TestImagesAreDigests: a tag is whatever its owner makes of it.
func TestImagesAreDigests(t *testing.T) {
	main, err := os.ReadFile("../main.go")
	if err != nil {
		t.Fatal(err)
	}
	images := regexp.MustCompile(`Image +?= "([^"]+)"`).FindAllStringSubmatch(string(main), -1)
	if len(images) != 2 {
		t.Fatalf("%d images in main.go, want 2", len(images))
	}
	for _, m := range images {
		if !regexp.MustCompile(`^[a-z]+:[a-z0-9.-]+@sha256:[0-9a-f]{64}$`).MatchString(m[1]) {
			t.Errorf("%s: not a tag with a digest", m[1])
		}
	}
}
