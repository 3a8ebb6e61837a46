package scaffold

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// findings are all that the source says of one program.
type findings struct {
	*tree
	main    *folder
	pkg     string // as app.yaml names it
	name    string
	nameWhy string

	toolchain, toolchainWhy string

	settings []setting
	commands []command
	routes   []route
	ready    []route // paths that say that the service may get traffic
	alive    []route // and those that say less
	load     []route
	writes   []route
	schema   schema

	listen   chosen
	listens  bool
	database chosen
	connects bool
}

// maxLoad is how many kinds of requests are proposed: each needs some hundred in
// a minute to show anything.
const maxLoad = 5

func (t *tree) find(main *folder, o Options) *findings {
	reach := t.reach(main)
	f := &findings{
		tree: t, main: main, pkg: relative(main.dir),
		settings: t.settings(reach), commands: t.commands(reach), routes: t.routes(reach), schema: t.schema(reach),
	}
	f.name, f.nameWhy = f.called(o.Name)
	f.toolchain, f.toolchainWhy = t.toolchain(main.module, o.Go)
	f.listen, f.listens = address(f.settings)
	f.database, f.connects = connection(f.settings)
	f.ready, f.alive = t.known(reach, f.routes, ready), t.known(reach, f.routes, alive)
	for _, r := range f.routes {
		switch {
		case r.plain() && !slices.ContainsFunc(f.load, func(o route) bool { return o.path == r.path }):
			f.load = append(f.load, r)
		case r.method != "" && r.method != "GET" && r.method != "HEAD":
			f.writes = append(f.writes, r)
		}
	}
	// What surely answers GET goes before what may.
	slices.SortStableFunc(f.load, func(a, b route) int { return strings.Compare(b.method, a.method) })
	return f
}

var notInName = regexp.MustCompile(`[^a-z0-9]+`)

// called is the service's name, and why.
func (f *findings) called(given string) (name, why string) {
	if given != "" {
		return given, "given: --name"
	}
	from, why := path.Base(f.main.dir), fmt.Sprintf("assumed: the folder of the main package, %s", f.main.main)
	if f.main.dir == "." || slices.Contains([]string{"cmd", "main", "server", "app"}, from) {
		from = strings.TrimSuffix(f.main.module.path, "/"+majorSuffix(f.main.module.path))
		from = path.Base(from)
		why = fmt.Sprintf("assumed: the end of the module's path, %s:%d", path.Join(f.main.module.dir, "go.mod"), f.main.module.file.Module.Syntax.Start.Line)
	}
	name = strings.Trim(notInName.ReplaceAllString(strings.ToLower(from), "-"), "-0123456789")
	return strings.TrimRight(name[:min(len(name), 31)], "-"), why
}

var majorVersion = regexp.MustCompile(`^v[0-9]+$`)

// majorSuffix is the last element of a module's path, if it is a major version.
func majorSuffix(p string) string {
	if b := path.Base(p); majorVersion.MatchString(b) {
		return b
	}
	return ""
}

// usesDatabase says whether there is any sign of PostgreSQL.
func (f *findings) usesDatabase() bool {
	return f.connects || f.schema.driver != nil
}

// told is how the setting gets its value: as a variable or as an argument.
func (s setting) told(value string) (env [2]string, arg string) {
	if s.flag {
		return env, "--" + s.name + "=" + value
	}
	return [2]string{s.name, value}, ""
}
