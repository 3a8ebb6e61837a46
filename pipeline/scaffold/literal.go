package scaffold

import (
	"go/ast"
	"go/token"
	"strconv"
	"strings"
)

// reader walks through the source of one program.
type reader struct {
	*tree
	consts map[string]string // of the package that is read
}

// each calls visit for every node of every file of the packages. The constants
// of a package are known while it is read.
func (t *tree) each(folders []*folder, visit func(r *reader, n ast.Node) bool) {
	for _, f := range folders {
		r := &reader{tree: t, consts: map[string]string{}}
		for _, file := range f.files {
			r.constants(file.syntax)
		}
		for _, file := range f.files {
			ast.Inspect(file.syntax, func(n ast.Node) bool { return n != nil && visit(r, n) })
		}
	}
}

func (r *reader) constants(f *ast.File) {
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, s := range g.Specs {
			v := s.(*ast.ValueSpec)
			for i, name := range v.Names {
				if i < len(v.Values) {
					if text, ok := literal(v.Values[i]); ok {
						r.consts[name.Name] = text
					}
				}
			}
		}
	}
}

// text is the text that the expression is: a literal, a constant of the package,
// or the sum of some.
func (r *reader) text(e ast.Expr) (string, bool) {
	switch v := e.(type) {
	case *ast.BasicLit:
		return literal(v)
	case *ast.Ident:
		s, ok := r.consts[v.Name]
		return s, ok
	case *ast.ParenExpr:
		return r.text(v.X)
	case *ast.BinaryExpr:
		a, ok := r.text(v.X)
		b, also := r.text(v.Y)
		return a + b, ok && also && v.Op == token.ADD
	}
	return "", false
}

func literal(e ast.Expr) (string, bool) {
	b, ok := e.(*ast.BasicLit)
	if !ok || b.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(b.Value)
	return s, err == nil
}

// called is the name of what is called, without package or receiver.
func called(c *ast.CallExpr) string {
	switch f := c.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	}
	return ""
}

// receiver is what stands before the dot, as far as it is made of names.
func receiver(c *ast.CallExpr) string {
	if s, ok := c.Fun.(*ast.SelectorExpr); ok {
		return name(s.X)
	}
	return ""
}

func name(e ast.Expr) string {
	switch v := e.(type) {
	case *ast.Ident:
		return v.Name
	case *ast.SelectorExpr:
		return strings.TrimPrefix(name(v.X)+"."+v.Sel.Name, ".")
	case *ast.CallExpr:
		return name(v.Fun) + "()"
	case *ast.StarExpr:
		return name(v.X)
	case *ast.UnaryExpr:
		return name(v.X)
	}
	return ""
}
