package scaffold

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// app is app.yaml.
func (f *findings) app() []byte {
	p := &page{}
	p.note(0, "What gate knows of the service. Written by gate init: look at every comment that says found, and decide every one that says assumed. What says choose is refused by gate env validate until it is done.")
	p.gap()
	p.note(0, "%s", f.nameWhy)
	p.line(0, "name: %s", quote(f.name))
	p.gap()
	f.build(p)
	f.test(p)
	f.docs(p)
	f.serve(p)
	f.migrate(p)
	f.scenario(p)
	p.line(0, "update:")
	p.note(1, "assumed: requests per second while the service is replaced")
	p.line(1, "rate: 150")
	p.gap()
	p.note(0, "One runbook for each alert.")
	p.line(0, "runbooks: %s", runbooksDir)
	return []byte(p.String())
}

func (f *findings) build(p *page) {
	p.line(0, "build:")
	if n := len(f.mains()); n > 1 {
		p.note(1, "given: one of %d main packages, %s", n, f.main.main)
	} else {
		p.note(1, "found: the only main package, %s", f.main.main)
	}
	p.line(1, "package: %s", quote(f.pkg))
	if f.toolchain == "" {
		p.note(1, "choose: the one exact Go that every release is built with, as go1.26.8; %s", f.toolchainWhy)
	} else {
		p.note(1, "%s", f.toolchainWhy)
	}
	p.line(1, "toolchain: %s", quote(f.toolchain))
	p.gap()
}

func (f *findings) test(p *page) {
	var own []string
	for _, at := range f.tests {
		file, _, _ := strings.Cut(at, ":")
		if f.moduleOf(path.Dir(file)) == f.main.module {
			own = append(own, at)
		}
	}
	p.line(0, "test:")
	switch {
	case f.main.module.dir != ".":
		p.note(1, "choose: a command that runs the tests from the top of the repository and prints \"N passed, N failed\" last; the module is in %s", f.main.module.dir)
		p.line(1, "command: []")
	case len(own) == 0:
		p.note(1, "assumed: no test was found; until there is one, the criterion tests is inconclusive")
		p.line(1, "command: [go, test, ./...]")
	default:
		p.note(1, "found: tests in %s, the first in %s", count(len(own), "file"), own[0])
		p.line(1, "command: [go, test, ./...]")
	}
	p.note(1, "assumed: how long they may take")
	p.line(1, "timeout: 10m")
	p.gap()
}

// docs are files that no build and no test reads. Where code names such files
// that is not sure, and nothing is declared.
func (f *findings) docs(p *page) {
	if at := f.readsDocs(); at != "" {
		p.note(0, "No docs are declared, so that every change is measured: %s names such a file.", at)
		p.gap()
		return
	}
	globs := []string{"**/*.md"}
	for name := range f.other {
		switch top, _, _ := strings.Cut(name, "/"); {
		case top == "docs" && !slices.Contains(globs, "docs/**"):
			globs = append(globs, "docs/**")
		case strings.HasPrefix(name, "LICENSE") && !strings.Contains(name, "/"):
			globs = append(globs, name)
		}
	}
	slices.Sort(globs)
	p.note(0, "assumed: neither the program nor its tests read these, so a commit that changes nothing else is not measured again")
	p.line(0, "docs: %s", list(globs))
	p.gap()
}

func (f *findings) serve(p *page) {
	p.line(0, "serve:")
	var args []string
	if c, ok := serving(f.commands); ok {
		p.note(1, "found: %s takes the command %s", c.at, c.word)
		args = append(args, c.word)
	} else if len(f.commands) > 0 {
		p.note(1, "assumed: it serves without a command; it knows %s", known(f.commands))
	}
	var env [][2]string
	tell := func(s setting, value string) {
		e, arg := s.told(value)
		if arg != "" {
			args = append(args, arg)
		} else {
			env = append(env, e)
		}
	}
	var notes []string
	note := func(format string, a ...any) { notes = append(notes, fmt.Sprintf(format, a...)) }
	if f.listens {
		value, form := "127.0.0.1:${PORT}", "host:port"
		if f.listen.port() {
			value, form = "${PORT}", "a port"
		}
		note("found: %s reads %s; assumed: it takes %s", f.listen.at, f.listen.shown(), form)
		if len(f.listen.rest) > 0 {
			note("assumed: these are other addresses: %s", places(f.listen.rest))
		}
		tell(f.listen.setting, value)
	} else {
		note("choose: the variable or argument that says where to listen, as PORT: ${PORT} or LISTEN_ADDR: 127.0.0.1:${PORT}; every instance gets a port of its own%s", candidates(f.listen.rest))
		env = append(env, [2]string{"CHOOSE_LISTEN", "${the variable that says where to listen}"})
	}
	switch {
	case f.connects:
		note("found: %s reads %s; assumed: it takes the URL of a PostgreSQL database", f.database.at, f.database.shown())
		if len(f.database.rest) > 0 {
			note("assumed: these are other databases, or the same by another name: %s", places(f.database.rest))
		}
		tell(f.database.setting, "${DATABASE_URL}")
	case f.schema.driver != nil:
		all := append(f.database.rest, pieces(f.settings)...)
		note("choose: the variable or argument that takes the URL of the database, as DATABASE_URL: ${DATABASE_URL}; found: %s imports %s%s. gate gives one URL, not its parts", f.schema.driver.at, f.schema.driver.path, candidates(all))
		env = append(env, [2]string{"CHOOSE_DATABASE", "${the variable that takes the URL of the database}"})
	default:
		note("found: nothing that takes the URL of a PostgreSQL database, so none is given")
	}
	if s := beside(f.settings); len(s) > 0 {
		note("assumed: it does not listen on these as well, since all instances share one machine: %s", places(s))
	}
	if e := f.schema.foreign; e != nil {
		note("found: %s imports %s; gate runs PostgreSQL only, other databases are yours to run", e.at, e.path)
	}
	for _, n := range notes {
		p.note(1, "%s", n)
	}
	p.line(1, "args: %s", list(args))
	pairs(p, env)
	f.health(p)
	p.note(1, "assumed: from the start to ready; from SIGTERM to SIGKILL")
	p.line(1, "start_timeout: 20s")
	p.line(1, "stop_timeout: 15s")
	p.gap()
}

func (f *findings) health(p *page) {
	if len(f.ready) == 0 {
		more := ""
		if len(f.alive) > 0 {
			more = fmt.Sprintf("; %s (%s) may say only that the process lives", f.alive[0].path, f.alive[0].at)
		}
		p.note(1, "choose: the path that answers 200 once an instance may get traffic; none of the usual ones was found%s", more)
		p.line(1, `ready: ""`)
		return
	}
	r := f.ready[0]
	p.note(1, "found: %s; assumed: it answers 200 only once the instance may get traffic", r.at)
	for _, o := range f.ready[1:] {
		p.note(1, "found, too: %s, %s", o.path, o.at)
	}
	p.line(1, "ready: %s", quote(r.path))
}

func (f *findings) migrate(p *page) {
	found := ""
	if s := append(slices.Clone(f.schema.tools), f.schema.folders...); len(s) > 0 {
		found = "; found: " + strings.Join(s[:min(4, len(s))], ", ")
	}
	if !f.usesDatabase() {
		if f.schema.any() {
			p.note(0, "Nothing is migrated, since no PostgreSQL was found%s", found)
			p.gap()
		}
		return
	}
	p.note(0, "How the schema is brought up to date, as the role that owns it; instances may change rows only. Leave migrate out if there is nothing to bring up to date.")
	p.line(0, "migrate:")
	if files := f.schema.files; len(files) > 0 {
		p.note(1, "found: SQL there; assumed: it is all that migrate carries out, to be read and rehearsed before")
		p.line(1, "files: %s", list(files))
	} else {
		p.note(1, "assumed: files are to be named here once there is SQL, as [migrations/*.sql]; until then the criterion migration is inconclusive")
		p.line(1, "files: []")
	}
	var args []string
	var env [][2]string
	i := slices.IndexFunc(f.settings, func(s setting) bool { return s.flag && migrates.MatchString(s.name) })
	if c, ok := migrating(f.commands); ok {
		p.note(1, "found: %s takes the command %s%s; assumed: it ends when all is done", c.at, c.word, found)
		args = append(args, c.word)
	} else if i >= 0 {
		p.note(1, "found: %s reads --%s%s; assumed: with it the program migrates, and ends", f.settings[i].at, f.settings[i].name, found)
		args = append(args, "--"+f.settings[i].name)
	} else {
		p.note(1, "choose: the arguments with which the program migrates and ends, or take migrate out; no such command was found%s", found)
		args = append(args, "${the arguments that migrate}")
	}
	if f.connects {
		if e, arg := f.database.told("${DATABASE_URL}"); arg != "" {
			args = append(args, arg)
		} else {
			env = append(env, e)
		}
	} else {
		env = append(env, [2]string{"CHOOSE_DATABASE", "${the variable that takes the URL of the database}"})
	}
	p.line(1, "args: %s", list(args))
	pairs(p, env)
	p.line(1, "timeout: 2m")
	p.gap()
}

func pairs(p *page, env [][2]string) {
	if len(env) == 0 {
		return
	}
	p.line(1, "env:")
	for _, e := range env {
		p.line(2, "%s: %s", e[0], quote(e[1]))
	}
}

// candidates names what looked like it and is not sure.
func candidates(all []setting) string {
	if len(all) == 0 {
		return ""
	}
	return "; found: " + places(all)
}

func known(all []command) string {
	var s []string
	for i, c := range all {
		if i == 4 {
			break
		}
		s = append(s, fmt.Sprintf("%s (%s)", c.word, c.at))
	}
	return strings.Join(s, ", ")
}
