package scaffold

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/smartcloudops/gate/environments"
)

// repo is a repository of pairs of name and content.
func repo(pairs ...string) fstest.MapFS {
	all := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		all[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return all
}

const (
	someModule  = "module example.org/x\n\ngo 1.26.0\n"
	someProgram = "package main\n\nimport \"net/http\"\n\nfunc main() { http.HandleFunc(\"/a\", nil) }\n"
)

func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		name string
		root fstest.MapFS
		o    Options
		want error
		says []string
	}{
		{"nothing at all", repo("README.md", "x"), Options{}, ErrNoProgram, []string{"there is no go.mod", "-C DIR"}},
		{"a library", repo("go.mod", someModule, "x.go", "package x\n"), Options{}, ErrNoProgram, []string{"no package main"}},
		{"for another system alone", repo("go.mod", someModule, "main_windows.go", someProgram), Options{}, ErrNoProgram, []string{"built for Linux"}},
		{"kept out of builds", repo("go.mod", someModule, "gen.go", "//go:build ignore\n\n"+someProgram), Options{}, ErrNoProgram, []string{"no package main"}},
		{"in folders that Go passes over", repo("go.mod", someModule, "testdata/main.go", someProgram, "vendor/a/main.go", someProgram, "_old/main.go", someProgram, ".hidden/main.go", someProgram), Options{}, ErrNoProgram, []string{"no package main"}},
		{"does not parse", repo("go.mod", someModule, "main.go", "package main\n\nfunc main() {\n"), Options{}, ErrNoProgram, []string{"main.go:3", "mend it first"}},
		{"a module without a name", repo("go.mod", "go 1.26\n", "main.go", someProgram), Options{}, ErrNoProgram, []string{"go.mod names no module"}},
		{"several", repo("go.mod", someModule, "cmd/b/main.go", someProgram, "cmd/a/main.go", someProgram), Options{}, ErrManyPrograms, []string{"--package", "./cmd/a, ./cmd/b"}},
		{"several, at the top as well", repo("go.mod", someModule, "main.go", someProgram, "tools/x/main.go", someProgram), Options{}, ErrManyPrograms, []string{"one of ., ./tools/x"}},
		{"another one named", repo("go.mod", someModule, "cmd/a/main.go", someProgram), Options{Package: "./cmd/b"}, ErrNoProgram, []string{"./cmd/b", "./cmd/a"}},
		{"one outside named", repo("go.mod", someModule, "cmd/a/main.go", someProgram), Options{Package: "../x"}, ErrNoProgram, []string{"../x", "./cmd/a"}},
		{"one named, and none there", repo("x.go", someProgram), Options{Package: "."}, ErrNoProgram, []string{"no go.mod"}},
		{"a bad name", repo("go.mod", someModule, "main.go", someProgram), Options{Name: "Notes"}, ErrName, []string{"lower-case"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Propose(t.Context(), tt.root, tt.o)
			if !errors.Is(err, tt.want) {
				t.Fatalf("got %v, %v", p, err)
			}
			for _, s := range tt.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q does not say %q", err, s)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
		})
	}
}

func TestNamedPackages(t *testing.T) {
	root := repo("go.mod", someModule, "main.go", someProgram, "cmd/a/main.go", someProgram)
	for _, named := range []string{"cmd/a", "./cmd/a", "./cmd/a/", "./cmd/../cmd/a"} {
		if p := propose(t, root, Options{Package: named}); p.Package != "./cmd/a" {
			t.Errorf("%s: got %s", named, p.Package)
		}
	}
	for _, named := range []string{".", "./"} {
		if p := propose(t, root, Options{Package: named}); p.Package != "." {
			t.Errorf("%s: got %s", named, p.Package)
		}
	}
}

// TestWhatIsThereIsKept: declarations are kept together, mended or not, and
// nothing is put between them.
func TestWhatIsThereIsKept(t *testing.T) {
	root := repo("go.mod", someModule, "main.go", someProgram,
		"environments/dev.yaml", "replicas: 3\n", "policies/k8s/deny.rego", "package main\n\ndeny[msg] { msg := 1 }\n", ".gitignore", "/bin/")
	p := propose(t, root, Options{Go: "go1.26.8"})
	got := map[string]string{}
	for _, f := range p.Files {
		got[f.Path] = f.Action
		if f.Action == Keep && f.Text != nil {
			t.Errorf("%s is kept and has a text", f.Path)
		}
	}
	if got["environments/dev.yaml"] != Keep || got["environments/app.yaml"] != "" || got["policies/README.md"] != Write || got[".gitignore"] != Extend {
		t.Errorf("got %v", got)
	}
	if s := p.text(t, ".gitignore"); s != "/bin/\n# what gate measures apart\n/gate-evidence/\n" {
		t.Errorf("got %q", s)
	}
	if len(p.Choices) == 0 || !strings.Contains(strings.Join(p.Choices, "\n"), `environments/dev.yaml:1: unknown key "replicas"`) {
		t.Errorf("choices are %q", p.Choices)
	}

	forced := propose(t, root, Options{Go: "go1.26.8", Force: true})
	for _, f := range forced.Files {
		got[f.Path] = f.Action
	}
	if got["environments/app.yaml"] != Write || got["environments/dev.yaml"] != Keep || got["policies/README.md"] != Write {
		t.Errorf("forced: got %v", got)
	}
	again := propose(t, with(repo("go.mod", someModule, "main.go", someProgram), propose(t, repo("go.mod", someModule, "main.go", someProgram), Options{})), Options{Force: true})
	for _, f := range again.Files {
		if f.Action != Replace {
			t.Errorf("%s: %s", f.Path, f.Action)
		}
	}
}

// TestPoliciesThatDoNotCompile are named before they stop a run.
func TestPoliciesThatDoNotCompile(t *testing.T) {
	root := repo("go.mod", someModule, "main.go", someProgram, "policies/readiness/deny.rego", "package x\n\ndeny { 1 }\n")
	p := propose(t, root, Options{Go: "go1.26.8"})
	if s := strings.Join(p.Choices, "\n"); !strings.Contains(s, "policies/: ") || !strings.Contains(s, "deny.rego:3") || strings.Count(s, "\n")+1 != len(p.Choices) {
		t.Errorf("choices are %q", p.Choices)
	}
}

// TestHostileSources: what stands in a repository neither ends a comment nor
// becomes a key.
func TestHostileSources(t *testing.T) {
	program := func(body string) string { return "package main\n\nimport \"net/http\"\n\nfunc main() {" + body + "}\n" }
	for name, root := range map[string]fstest.MapFS{
		"a path with a line end": repo("go.mod", someModule, "main.go", program(`http.HandleFunc("GET /a\nupdate: {rate: 1}", nil); http.HandleFunc("/b\u2028x: y", nil); http.HandleFunc("/'\"#: {", nil)`)),
		"a file with a line end": repo("go.mod", someModule, "a\nrate: 1\n#/main.go", program(`getenv("A_B")`)),
		"a default":              repo("go.mod", someModule, "main.go", program(`getenv("A_B", "x\ny: z"); getenv("C", "#"); getenv("D", "*a")`)),
		"a name of nothing":      repo("go.mod", "module example.org/1234\n", "main.go", program("")),
		"a command":              repo("go.mod", someModule, "main.go", program(`switch args[0] { case "serve", "a: b", "no": }`)),
		"a folder in a branch":   repo("go.mod", someModule, "cmd/on: {}/main.go", program("")),
		"many":                   repo("go.mod", someModule, "main.go", program(strings.Repeat(`http.HandleFunc("/a", nil);`, 9)+manyRoutes(200))),
	} {
		t.Run(name, func(t *testing.T) {
			p := propose(t, root, Options{Go: "go1.26.8", Branch: "a\nb: c"})
			_, err := environments.Read(with(root, p))
			var problems environments.Problems
			if err != nil && !errors.As(err, &problems) {
				t.Fatal(err)
			}
			for _, one := range problems {
				if !strings.Contains(one.What, "serve.") && !strings.Contains(one.What, "load.endpoints is empty") && !strings.HasPrefix(one.What, "name is") {
					t.Errorf("%v\n%s", one, p.text(t, one.File))
				}
			}
			if len(problems) != len(p.Choices) {
				t.Errorf("choices are %q, problems %v", p.Choices, problems)
			}
		})
	}
}

func manyRoutes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `http.HandleFunc("POST /p%d", nil); http.HandleFunc("GET /g%d", nil);`, i, i)
	}
	return b.String()
}

// TestOwnRepository looks at gate's own service, which says the same in words of
// its own.
func TestOwnRepository(t *testing.T) {
	root := os.DirFS(filepath.Join("..", ".."))
	tree, err := look(root)
	if err != nil {
		t.Fatal(err)
	}
	main, err := tree.program("./app/cmd/smartcloudops")
	if err != nil {
		t.Fatal(err)
	}
	f := tree.find(main, Options{})
	declared, err := environments.Read(root)
	if err != nil {
		t.Fatal(err)
	}
	app := declared.App
	if f.name != app.Name || f.ready[0].path != app.Serve.Ready {
		t.Errorf("name %s, ready %+v", f.name, f.ready)
	}
	if c, ok := serving(f.commands); !ok || c.word != app.Serve.Args[0] {
		t.Errorf("serve: %+v", f.commands)
	}
	if c, ok := migrating(f.commands); !ok || c.word != app.Migrate.Args[0] {
		t.Errorf("migrate: %+v", f.commands)
	}
	for name := range map[string]bool{f.listen.name: f.listens, f.database.name: f.connects} {
		if _, ok := app.Serve.Env[name]; !ok {
			t.Errorf("%q is not declared", name)
		}
	}
	if len(f.schema.folders) == 0 || f.schema.driver == nil {
		t.Errorf("schema: %+v", f.schema)
	}
}
