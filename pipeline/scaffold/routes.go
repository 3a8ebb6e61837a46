package scaffold

import (
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strings"
)

// route is a path that the program answers.
type route struct {
	method string // empty: any, or not known
	path   string
	at     string
}

var (
	// Of mux, chi, gorilla, gin, echo, fiber and their kind.
	registers = regexp.MustCompile(`^(Handle|HandleFunc|Get|GET|Head|HEAD|Post|POST|Put|PUT|Patch|PATCH|Delete|DELETE|Any|All|Method|MethodFunc|Add)$`)
	groups    = regexp.MustCompile(`^(Route|Group|PathPrefix|Subrouter)$`)
	methods   = regexp.MustCompile(`^(GET|HEAD|POST|PUT|PATCH|DELETE)$`)
	pattern   = regexp.MustCompile(`^(?:([A-Z]+) +)?(/\S*)$`)
)

// ready are paths by which services say that they may get traffic, the most
// telling first. alive are those that say only that a process runs.
var (
	ready = strings.Fields(`/readyz /ready /readiness /health/ready /healthz/ready /-/ready /health/readiness /api/ready /api/readyz
		/healthz /health /_health /api/health /api/healthz /healthcheck /health-check /status/health`)
	alive = strings.Fields(`/livez /live /liveness /health/live /healthz/live /-/healthy /alive /ping /status /up`)
	// tools are paths that no user asks for.
	tools = regexp.MustCompile(`^/(metrics|debug|swagger|docs|openapi|favicon|robots|static|assets|api/docs)\b`)
)

// routes are the paths that the packages register, in the order of the source.
func (t *tree) routes(folders []*folder) []route {
	var all []route
	add := func(r route) {
		r.path = strings.TrimSuffix(r.path, "{$}")
		if !slices.ContainsFunc(all, func(o route) bool { return o.method == r.method && o.path == r.path }) {
			all = append(all, r)
		}
	}
	for _, f := range folders {
		r := &reader{tree: t, consts: map[string]string{}}
		for _, file := range f.files {
			r.constants(file.syntax)
		}
		for _, file := range f.files {
			w := &router{reader: r, under: map[string]string{}, method: map[ast.Node]string{}, add: add}
			w.walk(file.syntax, "")
		}
	}
	return all
}

// router reads one file.
type router struct {
	*reader
	under  map[string]string   // variable → path that its routes stand under
	method map[ast.Node]string // registration → method that is named behind it
	add    func(route)
}

// walk reads what is below n; its routes stand under the path.
func (w *router) walk(n ast.Node, under string) {
	ast.Inspect(n, func(n ast.Node) bool {
		switch v := n.(type) {
		case *ast.AssignStmt:
			// v1 := r.Group("/v1")
			if len(v.Lhs) == 1 && len(v.Rhs) == 1 {
				if p, ok := w.group(v.Rhs[0]); ok {
					w.under[name(v.Lhs[0])] = p
				}
			}
		case *ast.CallExpr:
			return w.call(v, under)
		}
		return true
	})
}

// group is the path of a router that stands under another.
func (w *router) group(e ast.Expr) (string, bool) {
	c, ok := e.(*ast.CallExpr)
	if !ok || !groups.MatchString(called(c)) {
		return "", false
	}
	if called(c) == "Subrouter" {
		if s, ok := c.Fun.(*ast.SelectorExpr); ok {
			return w.group(s.X)
		}
		return "", false
	}
	if len(c.Args) == 0 {
		return "", false
	}
	p, ok := w.text(c.Args[0])
	return w.under[receiver(c)] + strings.TrimSuffix(p, "/"), ok
}

func (w *router) call(c *ast.CallExpr, under string) bool {
	callee := called(c)
	if groups.MatchString(callee) && len(c.Args) > 1 {
		// r.Route("/v1", func(r chi.Router) { … })
		if fn, ok := c.Args[len(c.Args)-1].(*ast.FuncLit); ok {
			if p, ok := w.text(c.Args[0]); ok && strings.HasPrefix(p, "/") {
				w.walk(fn.Body, under+strings.TrimSuffix(p, "/"))
				return false
			}
		}
	}
	if s, ok := c.Fun.(*ast.SelectorExpr); ok && callee == "Methods" && len(c.Args) > 0 {
		if m, ok := w.text(c.Args[0]); ok || name(c.Args[0]) == "http.MethodGet" {
			if !ok {
				m = "GET"
			}
			w.method[s.X] = m
		}
	}
	if len(c.Args) < 2 {
		return true
	}
	one, ok := w.text(c.Args[0])
	if !ok && strings.HasPrefix(name(c.Args[0]), "http.Method") {
		one, ok = strings.ToUpper(strings.TrimPrefix(name(c.Args[0]), "http.Method")), true
	}
	if !ok {
		return true
	}
	r := route{method: w.method[c], at: w.at(c.Args[0])}
	if methods.MatchString(one) && len(c.Args) > 2 {
		two, ok := w.text(c.Args[1])
		if !ok || !strings.HasPrefix(two, "/") {
			return true
		}
		r.method, r.path = one, two
	} else if m := pattern.FindStringSubmatch(one); m != nil && registers.MatchString(callee) {
		r.path = m[2]
		if m[1] != "" {
			r.method = m[1]
		} else if up := strings.ToUpper(callee); methods.MatchString(up) {
			r.method = up
		}
	} else {
		return true
	}
	r.path = under + w.under[receiver(c)] + r.path
	w.add(r)
	return true
}

// plain says whether anybody can ask for the path as it stands, and gets
// something that was meant for users.
func (r route) plain() bool {
	return (r.method == "" || r.method == "GET") && !strings.ContainsAny(r.path, "{}:*$") &&
		(r.path == "/" || !strings.HasSuffix(r.path, "/")) &&
		!slices.Contains(ready, r.path) && !slices.Contains(alive, r.path) && !tools.MatchString(r.path)
}

// known are the paths of the list that stand in the packages: as a route, or as
// a text that a path is compared with. The list's first is the first.
func (t *tree) known(folders []*folder, routes []route, list []string) []route {
	found := map[string]route{}
	for _, r := range routes {
		if _, there := found[r.path]; !there && slices.Contains(list, r.path) && (r.method == "" || r.method == "GET") {
			found[r.path] = r
		}
	}
	t.each(folders, func(r *reader, n ast.Node) bool {
		if b, ok := n.(*ast.BasicLit); ok && b.Kind == token.STRING {
			if s, ok := literal(b); ok && slices.Contains(list, s) {
				// Where it is registered below another path, that one counts.
				if _, there := found[s]; !there && !slices.ContainsFunc(routes, func(o route) bool { return o.at == r.at(b) }) {
					found[s] = route{path: s, at: r.at(b)}
				}
			}
		}
		return true
	})
	var all []route
	for _, p := range list {
		if r, ok := found[p]; ok {
			all = append(all, r)
		}
	}
	return all
}
