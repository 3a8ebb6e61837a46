package scaffold

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/modfile"
)

// maxFile is how much of one file is looked at: what is bigger was generated.
const maxFile = 1 << 20

// tree is what there is in a repository, as far as it says how its programs are
// built and run.
type tree struct {
	root    fs.FS
	set     *token.FileSet
	modules map[string]*module // by folder; "." is the top
	folders map[string]*folder // packages, by folder
	sql     map[string]int     // folder → files of SQL
	other   map[string]bool    // files that are looked at by name
	broken  []string           // Go files that can't be parsed, with the reason
	tests   []string           // places of test functions, one a file
}

// module is one go.mod.
type module struct {
	dir  string
	path string
	file *modfile.File
}

// folder is one package: its files that are built into a release.
type folder struct {
	dir     string
	module  *module
	name    string
	files   []*goFile
	imports []string
	main    string // where func main stands; empty: it has none
}

type goFile struct {
	path   string
	syntax *ast.File
}

// skipped are folders that the go command passes over, or that hold the code of
// others.
func skipped(name string) bool {
	return name == "vendor" || name == "node_modules" || name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")
}

// look reads the repository. Links are not followed.
func look(root fs.FS) (*tree, error) {
	t := &tree{
		root: root, set: token.NewFileSet(), modules: map[string]*module{}, folders: map[string]*folder{},
		sql: map[string]int{}, other: map[string]bool{},
	}
	target := build.Default
	target.GOOS, target.GOARCH, target.CgoEnabled = "linux", "amd64", false
	target.JoinPath = path.Join
	target.OpenFile = func(name string) (io.ReadCloser, error) { return root.Open(name) }
	var sources []string
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if name != "." && skipped(d.Name()) {
				return fs.SkipDir
			}
		case !d.Type().IsRegular():
		case d.Name() == "go.mod":
			return t.module(name)
		case path.Ext(name) == ".go":
			sources = append(sources, name)
		case path.Ext(name) == ".sql":
			t.sql[path.Dir(name)]++
		default:
			t.other[name] = true
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look at the repository: %w", err)
	}
	for _, name := range sources {
		if err := t.source(&target, name); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (t *tree) module(name string) error {
	text, err := fs.ReadFile(t.root, name)
	if err != nil {
		return err
	}
	f, err := modfile.Parse(name, text, nil)
	if err != nil { // lines of a Go that is newer than this gate
		f, err = modfile.ParseLax(name, text, nil)
	}
	if err != nil || f.Module == nil {
		t.broken = append(t.broken, name+" names no module")
		return nil
	}
	t.modules[path.Dir(name)] = &module{dir: path.Dir(name), path: f.Module.Mod.Path, file: f}
	return nil
}

func (t *tree) source(target *build.Context, name string) error {
	fi, err := fs.Stat(t.root, name)
	if err != nil {
		return err
	}
	if fi.Size() > maxFile {
		return nil
	}
	text, err := fs.ReadFile(t.root, name)
	if err != nil {
		return err
	}
	if strings.HasSuffix(name, "_test.go") {
		if i := bytes.Index(text, []byte("\nfunc Test")); i >= 0 {
			t.tests = append(t.tests, fmt.Sprintf("%s:%d", name, 2+bytes.Count(text[:i], []byte("\n"))))
		}
		return nil
	}
	if ok, err := target.MatchFile(path.Dir(name), path.Base(name)); err == nil && !ok {
		return nil
	}
	syntax, err := parser.ParseFile(t.set, name, text, parser.SkipObjectResolution|parser.ParseComments)
	if err != nil {
		t.broken = append(t.broken, first(err.Error()))
		return nil
	}
	m := t.moduleOf(path.Dir(name))
	if m == nil {
		return nil
	}
	f := t.folders[path.Dir(name)]
	if f == nil {
		f = &folder{dir: path.Dir(name), module: m, name: syntax.Name.Name}
		t.folders[f.dir] = f
	}
	f.files = append(f.files, &goFile{name, syntax})
	for _, s := range syntax.Imports {
		if p, err := strconv.Unquote(s.Path.Value); err == nil && !slices.Contains(f.imports, p) {
			f.imports = append(f.imports, p)
		}
	}
	for _, d := range syntax.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && syntax.Name.Name == "main" && fn.Recv == nil && fn.Name.Name == "main" {
			f.name, f.main = "main", t.at(fn)
		}
	}
	return nil
}

// moduleOf is the module that the folder belongs to: the nearest go.mod at it or
// above it.
func (t *tree) moduleOf(dir string) *module {
	for ; ; dir = path.Dir(dir) {
		if m := t.modules[dir]; m != nil || dir == "." {
			return m
		}
	}
}

// mains are the packages that become programs, by folder.
func (t *tree) mains() []*folder {
	var all []*folder
	for _, f := range t.folders {
		if f.name == "main" && f.main != "" {
			all = append(all, f)
		}
	}
	slices.SortFunc(all, func(a, b *folder) int { return strings.Compare(a.dir, b.dir) })
	return all
}

// reach is the package and what it imports of this repository: what is said
// there is said of the program.
func (t *tree) reach(from *folder) []*folder {
	all, seen := []*folder{from}, map[string]bool{from.dir: true}
	for i := 0; i < len(all); i++ {
		for _, imp := range all[i].imports {
			m := all[i].module
			rest, own := strings.CutPrefix(imp, m.path)
			if !own || rest != "" && rest[0] != '/' {
				continue
			}
			dir := path.Join(m.dir, rest)
			if f := t.folders[dir]; f != nil && !seen[dir] {
				seen[dir] = true
				all = append(all, f)
			}
		}
	}
	return all
}

// at is where the node stands, "cmd/x/main.go:12".
func (t *tree) at(n ast.Node) string {
	p := t.set.Position(n.Pos())
	return fmt.Sprintf("%s:%d", p.Filename, p.Line)
}

func first(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}
