package environments

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// shape compares what is written with what is declared for it. The decoder
// alone would make 2 of 2.5, 5 of "5" and an empty text of nothing, and its
// complaints are about Go.
type shape struct {
	file     string
	anchors  map[string]ast.Node
	problems Problems
}

var (
	durationType = reflect.TypeFor[Duration]()
	dateType     = reflect.TypeFor[Date]()
)

func (s *source) shape(into any) Problems {
	sh := &shape{file: s.name, anchors: map[string]ast.Node{}}
	body := s.tree.Docs[0].Body
	ast.Walk(sh, body)
	sh.check(body, reflect.TypeOf(into).Elem(), "")
	return sh.problems
}

// Visit implements ast.Visitor: it remembers what aliases may name.
func (s *shape) Visit(n ast.Node) ast.Visitor {
	if a, ok := n.(*ast.AnchorNode); ok {
		s.anchors[a.Name.GetToken().Value] = a.Value
	}
	return s
}

func (s *shape) say(n ast.Node, next, format string, args ...any) {
	p := &Problem{File: s.file, What: fmt.Sprintf(format, args...), Next: next}
	if t := n.GetToken(); t != nil && t.Position != nil {
		p.Line = t.Position.Line
	}
	s.problems = append(s.problems, p)
}

const seeDocs = "see docs/declarations.md for what is allowed"

// want says what it is instead. What is written is not repeated: who mistakes a
// reference for a value may have written a secret.
func (s *shape) want(n ast.Node, at, what string) {
	if at == "" {
		at = "the file"
	}
	s.say(n, seeDocs, "%s is %s, and must be %s", at, kind(n), what)
}

func (s *shape) check(n ast.Node, t reflect.Type, at string) {
	switch v := n.(type) {
	case *ast.AnchorNode:
		s.check(v.Value, t, at)
		return
	case *ast.AliasNode:
		// The decoder complains of a name that nothing has.
		if to, ok := s.anchors[v.Value.GetToken().Value]; ok {
			delete(s.anchors, v.Value.GetToken().Value) // one that names itself ends here
			s.check(to, t, at)
			s.anchors[v.Value.GetToken().Value] = to
		}
		return
	}
	if t == durationType {
		var d Duration
		if p, ok := d.UnmarshalYAML(n).(*Problem); ok {
			p.File, p.What = s.file, at+": "+p.What
			s.problems = append(s.problems, p)
		}
		return
	}
	if t == dateType {
		var d Date
		if p, ok := d.UnmarshalYAML(n).(*Problem); ok {
			p.File, p.What = s.file, at+": "+p.What
			s.problems = append(s.problems, p)
		}
		return
	}
	_, null := n.(*ast.NullNode)
	switch t.Kind() {
	case reflect.Pointer:
		if !null {
			s.check(n, t.Elem(), at)
		}
	case reflect.Struct, reflect.Map:
		pairs, ok := mapping(n)
		if !ok && (!null || at == "") {
			s.want(n, at, "keys with values")
		}
		for _, p := range pairs {
			s.pair(p, t, at)
		}
	case reflect.Slice:
		list, ok := n.(*ast.SequenceNode)
		if !ok {
			if !null {
				s.want(n, at, "a list, as [a, b]")
			}
			return
		}
		for i, v := range list.Values {
			s.check(v, t.Elem(), fmt.Sprintf("%s[%d]", at, i))
		}
	case reflect.String:
		switch v := n.(type) {
		case *ast.StringNode, *ast.LiteralNode:
		case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
			// 0777 would arrive as 511, and 1.20 as 1.2.
			if got := fmt.Sprint(v.(ast.ScalarNode).GetValue()); got != n.GetToken().Value {
				s.say(n, "put it into quotes", "%s is text, but would be read as the number or truth value %s", at, got)
			}
		default:
			s.want(n, at, "text")
		}
	case reflect.Int:
		if _, ok := n.(*ast.IntegerNode); !ok {
			s.want(n, at, "a whole number")
		}
	case reflect.Float64:
		switch n.(type) {
		case *ast.IntegerNode, *ast.FloatNode:
		default:
			s.want(n, at, "a number")
		}
	case reflect.Bool:
		if _, ok := n.(*ast.BoolNode); !ok {
			s.want(n, at, "true or false")
		}
	}
}

func (s *shape) pair(p *ast.MappingValueNode, t reflect.Type, at string) {
	if _, merged := p.Key.(*ast.MergeKeyNode); merged {
		s.check(p.Value, t, at)
		return
	}
	key := p.Key.GetToken().Value
	path := strings.TrimPrefix(at+"."+key, ".")
	if t.Kind() == reflect.Map {
		s.check(p.Value, t.Elem(), path)
		return
	}
	known := fields(t)
	f, ok := known[key]
	if !ok {
		s.say(p.Key, "use one of "+strings.Join(sortedKeys(known), ", "), "unknown key %q", path)
		return
	}
	s.check(p.Value, f, path)
}

func fields(t reflect.Type) map[string]reflect.Type {
	m := map[string]reflect.Type{}
	for i := range t.NumField() {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ","); name != "" && name != "-" {
			m[name] = t.Field(i).Type
		}
	}
	return m
}

func mapping(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch v := n.(type) {
	case *ast.MappingNode:
		return v.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{v}, true
	}
	return nil, false
}

func kind(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "keys with values"
	case *ast.SequenceNode:
		return "a list"
	case *ast.StringNode, *ast.LiteralNode:
		return "text"
	case *ast.IntegerNode:
		return "a whole number"
	case *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number with a fraction"
	case *ast.BoolNode:
		return "true or false"
	case *ast.NullNode:
		return "left empty"
	}
	return "something else"
}
