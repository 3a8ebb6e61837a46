package environments

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Dir is the folder of a repository that holds the declarations.
const Dir = "environments"

// ErrNotDeclared: the folder or one of its files is missing.
var ErrNotDeclared = errors.New("not declared")

// Problem is one mistake in a declaration.
type Problem struct {
	File string
	Line int // 0: the file as a whole
	What string
	Next string // what to do
}

func (p *Problem) Error() string {
	at := p.File
	if p.Line > 0 {
		at = fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	s := at + ": " + p.What
	if p.Next != "" {
		s += "; " + p.Next
	}
	return s
}

// Problems are all mistakes that were found, at least one.
type Problems []*Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Read reads and validates the declarations in the folder Dir of root, a
// repository's top folder. The error is a Problems, or wraps ErrNotDeclared.
func Read(root fs.FS) (*Declarations, error) {
	names, err := fs.Glob(root, path.Join(Dir, "*.yaml"))
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s/app.yaml: %w; gate needs it to know how the service is built and run (docs/declarations.md)", Dir, ErrNotDeclared)
	}
	sort.Strings(names)

	d := &Declarations{}
	var problems Problems
	files := map[string]*source{}
	for _, name := range names {
		src, err := open(root, name)
		if err != nil {
			return nil, err
		}
		files[name] = src
		switch path.Base(name) {
		case "app.yaml":
			d.App = &App{Load: Load{Step: DefaultStep, Knee: DefaultKnee}}
			problems = append(problems, src.decode(d.App)...)
		case "trust.yaml":
			d.Trust = new(Trust)
			problems = append(problems, src.decode(d.Trust)...)
		default:
			e := &Environment{File: name, source: src}
			problems = append(problems, src.decode(e)...)
			d.Environments = append(d.Environments, e)
		}
	}
	waivers, wrong, err := readWaivers(root, files)
	if err != nil {
		return nil, err
	}
	d.Waivers, problems = waivers, append(problems, wrong...)
	if d.App == nil {
		problems = append(problems, &Problem{File: path.Join(Dir, "app.yaml"), What: "is missing", Next: "declare how the service is built and run (docs/declarations.md)"})
	}
	if len(d.Environments) == 0 {
		problems = append(problems, &Problem{File: path.Join(Dir, "staging.yaml"), What: "no environment is declared", Next: "declare at least one (docs/declarations.md)"})
	}
	if d.Trust == nil {
		// Nobody is trusted beyond what a ledger without a remote allows.
		d.Trust = &Trust{}
	}
	if len(problems) > 0 {
		return nil, problems
	}
	v := &validator{files: files}
	v.all(d)
	if len(v.problems) > 0 {
		return nil, v.problems
	}
	d.sort()
	return d, nil
}

// sort puts every environment behind the one that it is promoted from.
// Validation has excluded cycles.
func (d *Declarations) sort() {
	depth := func(e *Environment) int {
		n := 0
		for e.Promotion.From != "" {
			e = d.Environment(e.Promotion.From)
			n++
		}
		return n
	}
	sort.SliceStable(d.Environments, func(i, j int) bool {
		a, b := d.Environments[i], d.Environments[j]
		if depth(a) != depth(b) {
			return depth(a) < depth(b)
		}
		return a.Name < b.Name
	})
}

// source is one file with its syntax tree, so that a mistake found later can
// still name its line.
type source struct {
	name string
	text []byte
	tree *ast.File
}

func open(root fs.FS, name string) (*source, error) {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		var path *fs.PathError
		if errors.As(err, &path) {
			err = path.Err
		}
		return nil, Problems{{File: name, What: "can't be read: " + err.Error(), Next: "make it a plain file, or remove it"}}
	}
	return &source{name: name, text: text}, nil
}

func (s *source) decode(into any) Problems {
	tree, err := parser.ParseBytes(s.text, 0)
	if err != nil {
		return Problems{s.problem(err)}
	}
	s.tree = tree
	if len(tree.Docs) != 1 || tree.Docs[0].Body == nil {
		return Problems{{File: s.name, What: "holds no declaration, or more than one", Next: "write exactly one YAML document"}}
	}
	if ps := s.shape(into); len(ps) > 0 {
		return ps
	}
	if err := yaml.NodeToValue(tree.Docs[0].Body, into, yaml.Strict()); err != nil {
		return Problems{s.problem(err)}
	}
	return nil
}

func (s *source) problem(err error) *Problem {
	var own *Problem
	if errors.As(err, &own) {
		own.File = s.name
		return own
	}
	p := &Problem{File: s.name, What: firstLine(err.Error()), Next: seeDocs}
	var at yaml.Error
	if errors.As(err, &at) {
		p.What = firstLine(at.GetMessage())
		if t := at.GetToken(); t != nil && t.Position != nil {
			p.Line = t.Position.Line
		}
	}
	return p
}

// line finds where a path like "$.instances.min" is written; when the key is
// absent, where its nearest written parent is.
func (s *source) line(at string) int {
	for at != "" && at != "$" {
		if p, err := yaml.PathString(at); err == nil {
			if n, err := p.FilterFile(s.tree); err == nil && n != nil && n.GetToken() != nil {
				return n.GetToken().Position.Line
			}
		}
		cut := strings.LastIndexAny(at, ".[")
		if cut < 0 {
			break
		}
		at = at[:cut]
	}
	return 1
}

func firstLine(s string) string {
	s = strings.TrimSpace(s)
	if i := strings.IndexByte(s, '\n'); i >= 0 {
		s = s[:i]
	}
	return s
}
