package runner

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/rhysd/actionlint"
)

// scope is what an expression sees.
type scope struct {
	contexts object
	status   *outcome // nil: status functions are not available here
}

// outcome is what the status functions answer from.
type outcome struct{ failed, cancelled bool }

// strict are contexts of which every property is known: to ask for another one
// is a mistake, where GitHub would say nothing.
var strict = map[string]bool{"github": true, "runner": true}

// interpolate replaces the expressions in s.
func (s scope) interpolate(in string) (string, error) {
	var out strings.Builder
	for {
		before, after, found := strings.Cut(in, "${{")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		v, rest, err := s.expression(after)
		if err != nil {
			return "", err
		}
		t, err := text(v)
		if err != nil {
			return "", err
		}
		out.WriteString(t)
		in = rest
	}
}

// value is that of s: of another type than string where s is one expression and
// nothing else.
func (s scope) value(in string) (any, error) {
	if rest, ok := strings.CutPrefix(strings.TrimSpace(in), "${{"); ok {
		v, rest, err := s.expression(rest)
		if err != nil || rest == "" {
			return v, err
		}
	}
	return s.interpolate(in)
}

// expression evaluates what stands before }}, and returns what stands behind.
func (s scope) expression(in string) (v any, rest string, err error) {
	lexer := actionlint.NewExprLexer(in)
	node, problem := actionlint.NewExprParser().Parse(lexer)
	if problem != nil {
		return nil, "", fmt.Errorf("expression %.80q: %s", in, problem.Message)
	}
	if v, err = s.eval(node); err != nil {
		return nil, "", fmt.Errorf("expression %.80q: %w", in[:lexer.Offset()], err)
	}
	return v, in[lexer.Offset():], nil
}

// condition is an if. Without a status function in it, it holds only where
// nothing has failed.
func (s scope) condition(in string) (bool, error) {
	in = strings.TrimSpace(in)
	if rest, ok := strings.CutPrefix(in, "${{"); ok && strings.HasSuffix(in, "}}") && strings.Count(in, "${{") == 1 {
		in = strings.TrimSuffix(rest, "}}")
	}
	if strings.Contains(in, "${{") {
		return false, fmt.Errorf("condition %.80q mixes text and expressions", in)
	}
	if in == "" {
		in = "success()"
	}
	node, problem := actionlint.NewExprParser().Parse(actionlint.NewExprLexer(in + "}}"))
	if problem != nil {
		return false, fmt.Errorf("condition %.80q: %s", in, problem.Message)
	}
	asks := false
	actionlint.VisitExprNode(node, func(n, _ actionlint.ExprNode, _ bool) {
		if call, ok := n.(*actionlint.FuncCallNode); ok {
			switch strings.ToLower(call.Callee) {
			case "always", "success", "failure", "cancelled":
				asks = true
			}
		}
	})
	if !asks && (s.status.failed || s.status.cancelled) {
		return false, nil
	}
	v, err := s.eval(node)
	if err != nil {
		return false, fmt.Errorf("condition %.80q: %w", in, err)
	}
	return truthy(v), nil
}

func (s scope) eval(node actionlint.ExprNode) (any, error) {
	switch n := node.(type) {
	case *actionlint.NullNode:
		return nil, nil
	case *actionlint.BoolNode:
		return n.Value, nil
	case *actionlint.IntNode:
		return float64(n.Value), nil
	case *actionlint.FloatNode:
		return n.Value, nil
	case *actionlint.StringNode:
		return n.Value, nil
	case *actionlint.VariableNode:
		v, ok := s.contexts[n.Name]
		if !ok {
			return nil, fmt.Errorf("there is no context %s here", n.Name)
		}
		return v, nil
	case *actionlint.ObjectDerefNode:
		return s.deref(n)
	case *actionlint.NotOpNode:
		v, err := s.eval(n.Operand)
		return !truthy(v), err
	case *actionlint.LogicalOpNode:
		left, err := s.eval(n.Left)
		if err != nil || truthy(left) == (n.Kind == actionlint.LogicalOpNodeKindOr) {
			return left, err
		}
		return s.eval(n.Right)
	case *actionlint.CompareOpNode:
		left, err := s.eval(n.Left)
		if err != nil {
			return nil, err
		}
		right, err := s.eval(n.Right)
		if err != nil {
			return nil, err
		}
		if !n.Kind.IsEqualityOp() {
			return nil, fmt.Errorf("this runner does not know the operator %s", n.Kind)
		}
		same, err := equal(left, right)
		return same == (n.Kind == actionlint.CompareOpNodeKindEq), err
	case *actionlint.FuncCallNode:
		return s.call(n)
	}
	return nil, fmt.Errorf("this runner does not know %T", node)
}

func (s scope) deref(n *actionlint.ObjectDerefNode) (any, error) {
	v, err := s.eval(n.Receiver)
	if err != nil || v == nil {
		return nil, err
	}
	o, ok := v.(object)
	if !ok {
		return nil, fmt.Errorf("%s is asked of a %T", n.Property, v)
	}
	v, found := o.property(n.Property)
	if top, ok := n.Receiver.(*actionlint.VariableNode); ok && !found && strict[top.Name] {
		return nil, fmt.Errorf("%s has no property %s that this runner knows", top.Name, n.Property)
	}
	return v, nil
}

func (s scope) call(n *actionlint.FuncCallNode) (any, error) {
	name := strings.ToLower(n.Callee)
	args := make([]any, len(n.Args))
	words := make([]string, len(n.Args))
	for i, a := range n.Args {
		var err error
		if args[i], err = s.eval(a); err == nil {
			words[i], err = text(args[i])
		}
		if err != nil {
			return nil, fmt.Errorf("%s(): %w", name, err)
		}
	}
	want := map[string]int{"startswith": 2, "endswith": 2, "contains": 2, "always": 0, "success": 0, "failure": 0, "cancelled": 0, "format": -1}
	n2, known := want[name]
	if !known || n2 >= 0 && len(args) != n2 || n2 < 0 && len(args) == 0 {
		return nil, fmt.Errorf("this runner does not know %s() with %d arguments", name, len(args))
	}
	switch name {
	case "startswith":
		return strings.HasPrefix(strings.ToLower(words[0]), strings.ToLower(words[1])), nil
	case "endswith":
		return strings.HasSuffix(strings.ToLower(words[0]), strings.ToLower(words[1])), nil
	case "contains":
		return strings.Contains(strings.ToLower(words[0]), strings.ToLower(words[1])), nil
	case "format":
		return format(words[0], words[1:])
	}
	if s.status == nil {
		return nil, fmt.Errorf("%s() is not available here", name)
	}
	switch name {
	case "success":
		return !s.status.failed && !s.status.cancelled, nil
	case "failure":
		return s.status.failed && !s.status.cancelled, nil
	case "cancelled":
		return s.status.cancelled, nil
	}
	return true, nil // always
}

// format replaces {0}, {1}, …; {{ and }} stand for themselves.
func format(f string, args []string) (string, error) {
	var out strings.Builder
	for i := 0; i < len(f); i++ {
		switch c := f[i]; {
		case (c == '{' || c == '}') && i+1 < len(f) && f[i+1] == c:
			out.WriteByte(c)
			i++
		case c == '{':
			end := strings.IndexByte(f[i:], '}')
			n, err := strconv.Atoi(f[i+1 : i+max(end, 1)])
			if end < 0 || err != nil || n < 0 || n >= len(args) {
				return "", fmt.Errorf("format(): %q has a place without a value", f)
			}
			out.WriteString(args[n])
			i += end
		case c == '}':
			return "", fmt.Errorf("format(): %q has a lone }", f)
		default:
			out.WriteByte(c)
		}
	}
	return out.String(), nil
}
