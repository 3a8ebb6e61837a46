package scaffold

import (
	"go/ast"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// setting is something that the program can be told when it starts.
type setting struct {
	name  string // of a variable of the environment, or of a flag
	flag  bool
	value string // the default that stands beside it; empty: none was seen
	at    string
	sure  bool // it is read as a variable, and not merely named like one
	must  bool // it says itself that it has to be set
}

var (
	variable  = regexp.MustCompile(`^[A-Z][A-Z0-9]*(_[A-Z0-9]+)*$`)
	reads     = regexp.MustCompile(`(?i)env`)
	declares  = regexp.MustCompile(`^(String|Int|Uint|Uint16|Bool|TextVar|Var|Func)(Var)?(P|VarP)?$`)
	flagOwner = regexp.MustCompile(`(?i)flag|^fs$|^fset$|^set$`)
	flagName  = regexp.MustCompile(`^[a-z][a-z0-9._-]*$`)
)

// settings are those that the packages read: calls like os.Getenv("X"), tags
// like `env:"X"`, and flags.
func (t *tree) settings(folders []*folder) []setting {
	var all []setting
	add := func(s setting) {
		i := slices.IndexFunc(all, func(o setting) bool { return o.name == s.name && o.flag == s.flag })
		if i < 0 {
			all = append(all, s)
		} else if s.sure && !all[i].sure {
			all[i] = s
		}
	}
	t.each(folders, func(r *reader, n ast.Node) bool {
		switch v := n.(type) {
		case *ast.CallExpr:
			r.call(v, add)
		case *ast.Field:
			if v.Tag != nil {
				r.tag(v, add)
			}
		}
		return true
	})
	return all
}

func (r *reader) call(c *ast.CallExpr, add func(setting)) {
	callee, on := called(c), receiver(c)
	if declares.MatchString(callee) && flagOwner.MatchString(on) {
		for i, a := range c.Args[:min(2, len(c.Args))] {
			if s, ok := r.text(a); ok && flagName.MatchString(s) {
				add(setting{name: s, flag: true, value: r.beside(c, i+1), at: r.at(a), sure: true})
				return
			}
		}
		return
	}
	for i, a := range c.Args {
		s, ok := r.text(a)
		switch {
		case !ok || !variable.MatchString(s):
			// A name follows a key in viper.BindEnv, and the variables of getEnv its
			// default.
			if i > 0 {
				return
			}
		case reads.MatchString(callee):
			add(setting{name: s, value: r.beside(c, i+1), at: r.at(a), sure: true})
			return
		case strings.Contains(s, "_"):
			add(setting{name: s, value: r.beside(c, i+1), at: r.at(a)})
			return
		}
	}
}

// beside is the argument with the number, where it is a literal.
func (r *reader) beside(c *ast.CallExpr, i int) string {
	if i >= len(c.Args) {
		return ""
	}
	if b, ok := c.Args[i].(*ast.BasicLit); ok {
		if s, err := strconv.Unquote(b.Value); err == nil {
			return s
		}
		return b.Value
	}
	return ""
}

func (r *reader) tag(f *ast.Field, add func(setting)) {
	text, err := strconv.Unquote(f.Tag.Value)
	if err != nil {
		return
	}
	tag := reflect.StructTag(text)
	value := tag.Get("envDefault")
	if value == "" {
		value = tag.Get("default")
	}
	for _, key := range []string{"env", "envconfig"} {
		if s, more, _ := strings.Cut(tag.Get(key), ","); variable.MatchString(s) {
			must := strings.Contains(more, "required") || strings.Contains(more, "notEmpty") || tag.Get("required") == "true"
			add(setting{name: s, value: value, at: r.at(f.Tag), sure: true, must: must && value == ""})
		}
	}
}

// words are the parts of the setting's name, in capital letters.
func (s setting) words() []string {
	return strings.FieldsFunc(strings.ToUpper(s.name), func(r rune) bool { return r == '_' || r == '-' || r == '.' })
}

// of says whether one of the name's words is among them.
func (s setting) of(words []string) bool {
	return slices.ContainsFunc(s.words(), func(w string) bool { return slices.Contains(words, w) })
}

func (s setting) ends(words []string) bool {
	w := s.words()
	return len(w) > 0 && slices.Contains(words, w[len(w)-1])
}
