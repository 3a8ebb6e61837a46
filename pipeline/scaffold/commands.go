package scaffold

import (
	"go/ast"
	"go/token"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// command is a word that the program takes as its first argument.
type command struct {
	word string
	at   string
}

var (
	verb       = regexp.MustCompile(`^[a-z][a-z0-9_:-]*$`)
	verbHolder = regexp.MustCompile(`(?i)^(cmd|command|verb|sub|subcmd|subcommand|mode|action)$`)
	argsHolder = regexp.MustCompile(`(?i)args?(\(\))?$`)
	// migrates are commands that bring a schema up to date, serves those that
	// answer requests; the most telling first.
	migrates = regexp.MustCompile(`^(db[:_-]?)?(migrate|migrations?|migrate[:_-]?(up|db)|schema[:_-]?up)$|^db[:_-]?(up|init)$|^(init|update|upgrade)[:_-]?(db|schema)$`)
	serves   = strings.Fields(`serve server start run http web api listen daemon`)
	library  = regexp.MustCompile(`(^|\.)(Command|Cmd)$`)
)

// commands are the words that the packages compare arguments with, or declare
// to one of the usual libraries.
func (t *tree) commands(folders []*folder) []command {
	var all []command
	t.each(folders, func(r *reader, n ast.Node) bool {
		add := func(at ast.Node, word string) {
			if verb.MatchString(word) && !slices.ContainsFunc(all, func(c command) bool { return c.word == word }) {
				all = append(all, command{word, r.at(at)})
			}
		}
		switch v := n.(type) {
		case *ast.BinaryExpr:
			if v.Op == token.EQL || v.Op == token.NEQ {
				for _, pair := range [][2]ast.Expr{{v.X, v.Y}, {v.Y, v.X}} {
					if s, ok := r.text(pair[1]); ok && argument(pair[0]) {
						add(pair[1], s)
					}
				}
			}
		case *ast.SwitchStmt:
			if v.Tag == nil || !argument(v.Tag) && !verbHolder.MatchString(name(v.Tag)) {
				break
			}
			for _, s := range v.Body.List {
				for _, e := range s.(*ast.CaseClause).List {
					if s, ok := r.text(e); ok {
						add(e, s)
					}
				}
			}
		case *ast.CompositeLit:
			r.declared(v, add)
		case *ast.Field:
			if v.Tag == nil || len(v.Names) == 0 {
				break
			}
			if text, err := strconv.Unquote(v.Tag.Value); err == nil {
				tag := reflect.StructTag(text)
				if _, ok := tag.Lookup("cmd"); ok {
					word := tag.Get("name")
					if word == "" {
						word = kebab(v.Names[0].Name)
					}
					add(v.Tag, word)
				}
			}
		}
		return true
	})
	return all
}

// argument says whether the expression is one of the program's arguments.
func argument(e ast.Expr) bool {
	switch v := e.(type) {
	case *ast.IndexExpr:
		return argsHolder.MatchString(name(v.X))
	case *ast.CallExpr: // flag.Arg(0)
		return called(v) == "Arg"
	}
	return false
}

// declared reads cobra's Use, and the Name of urfave/cli and ff. What does
// nothing by itself is no command of ours, nor is the root of all.
func (r *reader) declared(c *ast.CompositeLit, add func(ast.Node, string)) {
	if !library.MatchString(name(c.Type)) {
		return
	}
	acts := false
	var at ast.Node
	word := ""
	for _, e := range c.Elts {
		kv, ok := e.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		switch name(kv.Key) {
		case "Use", "Name":
			if s, ok := r.text(kv.Value); ok {
				word, at = strings.TrimSpace(s), kv.Value
				word, _, _ = strings.Cut(word, " ")
			}
		case "Run", "RunE", "Action", "Exec":
			acts = true
		}
	}
	if acts && at != nil {
		add(at, word)
	}
}

// kebab writes a field's name as kong does.
func kebab(s string) string {
	var b strings.Builder
	for i, r := range s {
		if r >= 'A' && r <= 'Z' {
			if i > 0 {
				b.WriteByte('-')
			}
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// serving is the command that serves, migrating the one that migrates.
func serving(all []command) (command, bool) {
	for _, word := range serves {
		if i := slices.IndexFunc(all, func(c command) bool { return c.word == word }); i >= 0 {
			return all[i], true
		}
	}
	return command{}, false
}

func migrating(all []command) (command, bool) {
	i := slices.IndexFunc(all, func(c command) bool { return migrates.MatchString(c.word) })
	if i < 0 {
		return command{}, false
	}
	return all[i], true
}
