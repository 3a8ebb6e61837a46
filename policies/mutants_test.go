package policies

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/types"
)

// unmade are the mutations that are not made, and why.
var unmade = []struct{ what, why string }{
	{"rules and arguments that end in words alone (got, want, why, next, title, notes)", "no verdict depends on them; found by following references from criterion"},
	{"some, := and with", "what they bind is used: without them the module does not compile"},
	{"the guard of a division (x > 0 beside / x)", "division by zero is undefined, and so is the rule without its guard"},
	{"numbers, arithmetic, and kinds within a shape", "thresholds are data and mutated there; a shape's entry is dropped as a whole; figures are compared at their limits"},
	{"the table required of readiness.rego", "Required in evaluate.go says the same, and believable refuses a decision that lacks one of it"},
	{"METADATA", "rules read the title and the remediation, which are words"},
	{"max_age_seconds in thresholds.yaml, changed", "a choice without a right value; it is dropped, and TestEveryCriterionReadsItsOwnAge tries it at its limit"},
	{"other thresholds by less than a tenth, or one", "at-limit tests need not know the default to more digits"},
}

// equivalents are mutants that nothing can tell from the original: a second
// proof of what another one proves as well. One of which every instance is
// noticed must not be listed.
var equivalents = []struct{ file, what, why string }{
	{"readiness/readiness.rego", `condition removed: count(criteria) == count(ids)`, "judged yields something for every id"},
	{"lib/evidence.rego", `condition removed: is_object(given)`, "some is undefined over what is no object"},
	{"lib/evidence.rego", `"pass" becomes "fail"`, "a pass among the refused is the best verdict and says nothing (s.verdict != pass)"},
	{"lib/evidence.rego", `condition removed: s.verdict != "pass"`, "as above"},
	{"lib/evidence.rego", `condition removed: count(standings) == count(records)`, "every record has a standing, by verdict_on's default"},
	{"lib/evidence.rego", `condition removed: youngest(r) >= 0 - tolerance_seconds`, "the branches before have excluded the rest"},
	{"lib/evidence.rego", `condition removed: oldest(r) <= max_age`, "the branches before have excluded the rest"},
	{"lib/shape.rego", `condition removed: is_string(x)`, "what parses a string is undefined for anything else"},
	{"lib/shape.rego", `condition removed: is_number(x)`, "null and booleans are below every number, the rest above: the bounds exclude them"},
	{"lib/shape.rego", `condition removed: is_object(value)`, "a value is not found in what is no object"},
	{"lib/shape.rego", `condition removed: contains(path, ".")`, "split of a name without a point is the name"},
	{"lib/verdict.rego", `limit shifted: gt becomes gte`, "the first of none is undefined"},
	{"lib/verdict.rego", `condition removed: count(verdicts) > 0`, "the first of none is undefined"},
	{"lib/verdict.rego", `entry "got" dropped`, "got is of what was judged, and this was not"},
	{"lib/verdict.rego", `entry "verdict" dropped`, "that it is a known verdict is demanded as well"},
	{"readiness/change/change.rego", `condition removed: is_array(members)`, "a list that is none is a fault already"},
	{"readiness/load/load.rego", `condition removed: count(per_figure) == (count(p.closed.endpoints) + count(p.open.endpoints)) + 2`, "every figure has its rows once its shape is proved"},
	{"readiness/load/load.rego", `entry "name" dropped`, "a figure's name is for people"},
	{"readiness/load/load.rego", `"inconclusive" becomes "warn"`, "too few requests are inconclusive as well"},
	{"readiness/source/source.rego", `condition removed: is_string(id)`, "a pattern matches no other type"},
	{"readiness/tls/tls.rego", `condition removed: p.private_trust == true`, "the clause before takes the other case"},
}

// mutant is one change to one policy file.
type mutant struct {
	id   int
	file string
	line int
	what string
	// shape: of what a payload must look like, which hostile evidence tries
	shape bool
}

func (m mutant) String() string { return fmt.Sprintf("%s:%d: %s", m.file, m.line, m.what) }

// maker plants mutants into parsed modules: each becomes a call of a built-in
// function that does what stood there until the mutant is switched on. So all
// of them are compiled at once.
type maker struct {
	file    string
	mutants []mutant
	line    int
	words   map[string]bool // rules of the module that end in words alone
	guards  map[string]bool // what the rule divides by
}

func (m *maker) add(line int, format string, args ...any) *ast.Term {
	id := len(m.mutants) + 1
	m.mutants = append(m.mutants, mutant{id: id, file: m.file, line: line, what: fmt.Sprintf(format, args...)})
	m.mutants[id-1].shape = strings.HasPrefix(format, "entry ")
	return ast.IntNumberTerm(id)
}

func call(name string, args ...*ast.Term) *ast.Term {
	return ast.CallTerm(append([]*ast.Term{ast.NewTerm(ast.MustParseRef("mutant." + name))}, args...)...)
}

// module plants mutants into every rule of the module.
func (m *maker) module(file string, mod *ast.Module, words map[string]bool) {
	m.file, m.words = file, words
	var more []*ast.Rule
	for _, r := range mod.Rules {
		name := ruleName(r)
		if words[name] {
			continue
		}
		if r.Default {
			more = append(more, m.defaulted(mod, r))
			continue
		}
		for at := r; at != nil; at = at.Else {
			m.rule(at)
		}
	}
	mod.Rules = append(mod.Rules, more...)
}

func ruleName(r *ast.Rule) string { return string(r.Head.Ref()[0].Value.(ast.Var)) }

func (m *maker) rule(r *ast.Rule) {
	line := r.Location.Row
	m.guards = divisors(r)
	removed := m.add(line, "rule or branch %s removed", ruleName(r))
	if r.Head.Value != nil {
		r.Head.Value = m.term(r.Head.Value)
	}
	m.body(r.Body)
	off := ast.NewExpr(call("off", removed))
	off.Location = r.Location
	r.Body = append(ast.Body{}, append(r.Body, off)...)
	reindex(r.Body)
}

// defaulted moves a rule with a default aside, and puts one in its place that
// is the same until the default is mutated.
func (m *maker) defaulted(mod *ast.Module, d *ast.Rule) *ast.Rule {
	name := ruleName(d)
	id := m.add(d.Location.Row, "default of %s changed", name)
	alt := other(d.Head.Value)
	args := make([]*ast.Term, len(d.Head.Args))
	for i := range args {
		args[i] = ast.VarTerm(fmt.Sprintf("arg%d", i))
	}
	inner := name + "__inner"
	value := ast.VarTerm(inner)
	if len(args) > 0 {
		value = ast.CallTerm(append([]*ast.Term{ast.NewTerm(ast.Ref{ast.VarTerm(inner)})}, args...)...)
	}
	outer := &ast.Rule{
		Location: d.Location, Module: mod,
		Head: &ast.Head{Name: ast.Var(name), Reference: ast.Ref{ast.VarTerm(name)}, Args: args, Location: d.Location,
			Value: call("fallback", id, value, d.Head.Value.Copy(), alt)},
		Body: ast.NewBody(ast.NewExpr(ast.BooleanTerm(true))),
	}
	for _, r := range mod.Rules {
		for at := r; at != nil; at = at.Else {
			if ruleName(at) == name {
				at.Head.Name = ast.Var(inner)
				at.Head.Reference = ast.Ref{ast.VarTerm(inner)}
			}
		}
	}
	// What could not be told is not what was told to be the default's value.
	d.Head.Value = ast.StringTerm("mutant: undefined")
	return outer
}

// other is what a default becomes: the best that it could say.
func other(t *ast.Term) *ast.Term {
	switch v := t.Value.(type) {
	case ast.Boolean:
		return ast.BooleanTerm(!bool(v))
	case ast.String:
		return ast.StringTerm("pass")
	case ast.Object:
		o := ast.NewObject()
		v.Foreach(func(k, e *ast.Term) {
			if k.Value.Compare(ast.String("verdict")) == 0 {
				e = ast.StringTerm("pass")
			}
			if k.Value.Compare(ast.String("error")) == 0 {
				k, e = ast.StringTerm("pass"), ast.StringTerm("")
			}
			o.Insert(k, e)
		})
		return ast.NewTerm(o)
	}
	return ast.BooleanTerm(true)
}

func reindex(b ast.Body) {
	for i := range b {
		b[i].Index = i
	}
}

// body plants mutants into conditions.
func (m *maker) body(b ast.Body) {
	for i, e := range b {
		if e.Location != nil {
			m.line = e.Location.Row
		}
		if len(e.With) > 0 {
			continue
		}
		switch t := e.Terms.(type) {
		case *ast.SomeDecl:
			continue
		case *ast.Every:
			m.body(t.Body)
		case *ast.Term:
			if v, ok := t.Value.(ast.Boolean); ok && bool(v) {
				continue
			}
			e.Terms = m.term(t)
		case []*ast.Term:
			if e.IsAssignment() || e.IsEquality() {
				if e.IsAssignment() {
					t[2] = m.term(t[2])
				}
				continue
			}
			e.Terms = []*ast.Term(m.term(ast.CallTerm(t...)).Value.(ast.Call))
		}
		b[i] = m.condition(e)
		b[i].Index = i
	}
}

// condition can be removed or turned round.
func (m *maker) condition(e *ast.Expr) *ast.Expr {
	loc := e.Location
	if loc == nil {
		return e
	}
	if c, ok := e.Terms.([]*ast.Term); ok && !e.Negated && m.isGuard(c) {
		return e
	}
	removed := m.add(loc.Row, "condition removed: %s", short(string(loc.Text)))
	turned := ast.IntNumberTerm(0)
	if e.Negated {
		turned = m.add(loc.Row, "not removed: %s", short(string(loc.Text)))
	} else if !comparison(e) {
		turned = m.add(loc.Row, "not added: %s", short(string(loc.Text)))
	}
	holds := ast.ArrayComprehensionTerm(ast.IntNumberTerm(1), ast.NewBody(e))
	w := ast.NewExpr(call("hold", removed, turned, holds))
	w.Location = loc
	return w
}

// isGuard says whether the comparison keeps a divisor from being zero.
func (m *maker) isGuard(c ast.Call) bool {
	return len(c) == 3 && c[0].String() == "gt" && c[2].Value.Compare(ast.Number("0")) == 0 && m.guards[c[1].String()]
}

// divisors are what the rule, not its branches, divides by.
func divisors(r *ast.Rule) map[string]bool {
	found := map[string]bool{}
	v := ast.NewGenericVisitor(func(x any) bool {
		if c, ok := x.(ast.Call); ok && c[0].String() == "div" {
			found[c[2].String()] = true
		}
		if e, ok := x.(*ast.Expr); ok && e.IsCall() && e.Operator().String() == "div" {
			found[e.Operand(1).String()] = true
		}
		return false
	})
	v.Walk(r.Head)
	v.Walk(r.Body)
	return found
}

// comparison says whether the expression was planted as one already.
func comparison(e *ast.Expr) bool {
	c, ok := e.Terms.([]*ast.Term)
	return ok && c[0].String() == "mutant.compare"
}

func short(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 100 {
		s = s[:100] + "…"
	}
	return s
}

var shifted = map[string]string{"lt": "lte", "lte": "lt", "gt": "gte", "gte": "gt"}

var betterVerdict = map[string]string{"fail": "warn", "error": "warn", "inconclusive": "warn", "warn": "pass", "pass": "fail"}

// term plants mutants into a term.
func (m *maker) term(t *ast.Term) *ast.Term {
	if t.Location != nil && t.Location.Row > 0 {
		m.line = t.Location.Row
	}
	line := m.line
	switch v := t.Value.(type) {
	case ast.Boolean:
		return call("pick", m.add(line, "%v becomes %v", v, !v), t, ast.BooleanTerm(!bool(v)))
	case ast.String:
		if b, ok := betterVerdict[string(v)]; ok {
			return call("pick", m.add(line, "%s becomes %q", v, b), t, ast.StringTerm(b))
		}
	case ast.Ref:
		if len(v) > 0 {
			if _, ok := v[0].Value.(ast.Var); !ok {
				v[0] = m.term(v[0])
			}
		}
	case *ast.Array:
		terms := []*ast.Term{}
		v.Foreach(func(e *ast.Term) { terms = append(terms, m.term(e)) })
		if constant(v) && len(terms) > 0 {
			return m.dropping(line, ast.ArrayTerm(terms...), len(terms), func(i int) string { return v.Elem(i).String() })
		}
		return ast.ArrayTerm(terms...)
	case ast.Set:
		if constant(v) && v.Len() > 0 {
			all := v.Slice()
			return m.dropping(line, t, v.Len(), func(i int) string { return all[i].String() })
		}
	case ast.Object:
		return m.object(line, v)
	case *ast.ArrayComprehension:
		v.Term = m.term(v.Term)
		m.body(v.Body)
	case *ast.SetComprehension:
		if !wordy(v.Term) {
			v.Term = m.term(v.Term)
		}
		m.body(v.Body)
	case *ast.ObjectComprehension:
		v.Value = m.term(v.Value)
		m.body(v.Body)
	case ast.Call:
		return m.called(line, t, v)
	}
	return t
}

func (m *maker) object(line int, v ast.Object) *ast.Term {
	o, keys := ast.NewObject(), []string{}
	v.Foreach(func(k, e *ast.Term) {
		if s, ok := k.Value.(ast.String); ok {
			if isWords(string(s)) {
				o.Insert(k, e)
				return
			}
			if kind, ok := e.Value.(ast.String); ok {
				if isKind(string(kind)) {
					o.Insert(k, e)
					return
				}
			}
		}
		o.Insert(k, m.term(e))
	})
	if !constant(v) {
		return ast.NewTerm(o)
	}
	all := v.Keys()
	slices.SortFunc(all, func(a, b *ast.Term) int { return a.Value.Compare(b.Value) })
	for _, k := range all {
		keys = append(keys, k.String())
	}
	if len(keys) == 0 {
		return ast.NewTerm(o)
	}
	return m.dropping(line, ast.NewTerm(o), len(keys), func(i int) string { return keys[i] })
}

// constant says whether v holds neither calls nor references, so that it is a
// table and no list of arguments.
func constant(v ast.Value) bool {
	found := false
	ast.NewGenericVisitor(func(x any) bool {
		switch x.(type) {
		case ast.Call, ast.Ref, ast.Var, *ast.ArrayComprehension, *ast.SetComprehension, *ast.ObjectComprehension:
			found = true
		}
		return found
	}).Walk(v)
	return !found
}

// isKind says whether the policies know the word as a kind of value.
func isKind(s string) bool {
	return slices.Contains([]string{
		"array", "count", "counts", "digest", "digests", "findings", "flag", "number", "object", "positive", "scope",
		"share", "signed", "status", "string", "text", "texts", "time",
	}, s)
}

// isWords says that what stands under the key is for people.
func isWords(key string) bool {
	return slices.Contains([]string{"why", "want", "got", "next", "title", "id", "meta"}, key)
}

// wordy says whether the term is made by sprintf.
func wordy(t *ast.Term) bool {
	c, ok := t.Value.(ast.Call)
	return ok && textCall(c)
}

// dropping makes a mutant for each entry of a table.
func (m *maker) dropping(line int, t *ast.Term, n int, name func(int) string) *ast.Term {
	first := 0
	for i := range n {
		id := m.add(line, "entry %s dropped", name(i))
		if i == 0 {
			first, _ = id.Value.(ast.Number).Int()
		}
	}
	return call("drop", ast.IntNumberTerm(first), ast.IntNumberTerm(n), t)
}

// textCall says that a function makes nothing but words.
func textCall(c ast.Call) bool {
	name := c[0].String()
	return slices.Contains([]string{"sprintf", "concat", "substring", "lower"}, name) ||
		slices.Contains([]string{"figure", "percent", "percentage", "span", "with_findings", "first", "measure", "fixed"}, path.Ext("x." + name)[1:])
}

func (m *maker) called(line int, t *ast.Term, c ast.Call) *ast.Term {
	name := c[0].String()
	if textCall(c) {
		return t
	}
	base := path.Ext("x." + name)[1:]
	skip := map[int]bool{}
	switch {
	case base == "row" && len(c) == 4:
		skip[3] = true
	case base == "ruled" && len(c) == 4:
		skip[2], skip[3] = true, true
	case base == "faults" && len(c) == 4:
		skip[3] = true
	case base == "mistyped" || base == "nothing":
		skip[len(c)-1] = base == "nothing"
	case slices.Contains(pure, name) || m.words[name]:
		for i := range c {
			skip[i] = name != "object.get" || i != 1
		}
	}
	for i := 1; i < len(c); i++ {
		if !skip[i] {
			c[i] = m.term(c[i])
		}
	}
	switch name {
	case "lt", "lte", "gt", "gte", "equal", "neq":
		if m.isGuard(c) {
			return t
		}
		flip := m.add(line, "comparison flipped: not %s", name)
		shift := ast.IntNumberTerm(0)
		if s, ok := shifted[name]; ok {
			shift = m.add(line, "limit shifted: %s becomes %s", name, s)
		}
		return call("compare", flip, shift, ast.StringTerm(name), c[1], c[2])
	case "or", "array.concat", "and":
		return call("pick", m.add(line, "%s: left alone", name), call("pick", m.add(line, "%s: right alone", name), t, c[2].Copy()), c[1].Copy())
	}
	if base == "row" && len(c) == 4 {
		c[1] = call("pick", m.add(line, "demand dropped: %s", short(string(t.Location.Text))), c[1], ast.BooleanTerm(true))
	}
	return t
}

// pure are functions whose constant arguments only name things.
var pure = []string{"object.get", "startswith", "contains", "regex.match", "split", "array.slice"}

// words are the rules of a module that end in words alone: no reference leads
// to them from a verdict.
func wordRules(mod *ast.Module, roots []string) map[string]bool {
	rules := map[string][]*ast.Rule{}
	for _, r := range mod.Rules {
		rules[ruleName(r)] = append(rules[ruleName(r)], r)
	}
	judging := map[string]bool{}
	var follow func(name string)
	follow = func(name string) {
		if judging[name] || rules[name] == nil {
			return
		}
		judging[name] = true
		for _, r := range rules[name] {
			for at := r; at != nil; at = at.Else {
				references(at.Head.Value, follow)
				references(at.Body, follow)
			}
		}
	}
	for _, root := range roots {
		follow(root)
	}
	words := map[string]bool{"required": true, "kind_words": true}
	for name := range rules {
		words[name] = words[name] || !judging[name]
	}
	return words
}

// references calls found for every name that x refers to where it matters.
func references(x any, found func(string)) {
	ast.NewGenericVisitor(func(x any) bool {
		switch v := x.(type) {
		case ast.Call:
			if textCall(v) {
				return true
			}
			name := v[0].String()
			base := path.Ext("x." + name)[1:]
			if (base == "row" || base == "ruled") && len(v) == 4 {
				references(v[0].Value, found)
				references(v[1], found)
				if base == "row" {
					references(v[2], found)
				}
				return true
			}
		case ast.Object:
			v.Foreach(func(k, e *ast.Term) {
				if s, ok := k.Value.(ast.String); ok && isWords(string(s)) {
					return
				}
				references(k, found)
				references(e, found)
			})
			return true
		case ast.Ref:
			if n, ok := v[0].Value.(ast.Var); ok {
				found(string(n))
			}
		case ast.Var:
			found(string(v))
		}
		return false
	}).Walk(x)
}

// active is how an evaluation is told which mutant is switched on, and how it
// tells which mutants would have changed anything.
type active struct{}

// evaluation is one run of a test.
type evaluation struct {
	on      int          // the mutant that is switched on; 0: none
	touched map[int]bool // nil: nobody asks
}

func (e *evaluation) is(t *ast.Term, differs bool) bool {
	id, _ := t.Value.(ast.Number).Int()
	if id == 0 {
		return false
	}
	if e.touched != nil && differs {
		e.touched[id] = true
	}
	return e.on == id
}

// planted are the built-in functions, and how they are declared.
func planted() (map[string]*ast.Builtin, []func(*rego.Rego)) {
	decls, impls := map[string]*ast.Builtin{}, []func(*rego.Rego){}
	define := func(name string, arity int, f func(e *evaluation, args []*ast.Term) *ast.Term) {
		args := make([]types.Type, arity)
		for i := range args {
			args[i] = types.A
		}
		decl := types.NewFunction(args, types.A)
		decls["mutant."+name] = &ast.Builtin{Name: "mutant." + name, Decl: decl}
		impls = append(impls, rego.FunctionDyn(&rego.Function{Name: "mutant." + name, Decl: decl},
			func(bctx rego.BuiltinContext, args []*ast.Term) (*ast.Term, error) {
				return f(bctx.Context.Value(active{}).(*evaluation), args), nil
			}))
	}
	define("off", 1, func(e *evaluation, a []*ast.Term) *ast.Term { return ast.BooleanTerm(!e.is(a[0], true)) })
	define("pick", 3, func(e *evaluation, a []*ast.Term) *ast.Term {
		if e.is(a[0], !a[1].Equal(a[2])) {
			return a[2]
		}
		return a[1]
	})
	define("fallback", 4, func(e *evaluation, a []*ast.Term) *ast.Term {
		switch {
		case a[1].Value.Compare(ast.String("mutant: undefined")) != 0:
			return a[1]
		case e.is(a[0], true):
			return a[3]
		}
		return a[2]
	})
	define("hold", 3, func(e *evaluation, a []*ast.Term) *ast.Term {
		holds := a[2].Value.(*ast.Array).Len() > 0
		removed, turned := e.is(a[0], !holds), e.is(a[1], true)
		return ast.BooleanTerm(removed || holds != turned)
	})
	define("drop", 3, func(e *evaluation, a []*ast.Term) *ast.Term {
		first, _ := a[0].Value.(ast.Number).Int()
		n, _ := a[1].Value.(ast.Number).Int()
		for id := first; e.touched != nil && id < first+n; id++ {
			e.touched[id] = true
		}
		return without(a[2], e.on-first)
	})
	define("compare", 5, func(e *evaluation, a []*ast.Term) *ast.Term {
		op := string(a[2].Value.(ast.String))
		n := a[3].Value.Compare(a[4].Value)
		if e.is(a[1], n == 0) {
			op = shifted[op]
		}
		ok := map[string]bool{"lt": n < 0, "lte": n <= 0, "gt": n > 0, "gte": n >= 0, "equal": n == 0, "neq": n != 0}[op]
		return ast.BooleanTerm(ok != e.is(a[0], true))
	})
	return decls, impls
}

// without is the table less its i-th entry.
func without(t *ast.Term, i int) *ast.Term {
	switch v := t.Value.(type) {
	case *ast.Array:
		if i >= 0 && i < v.Len() {
			var rest []*ast.Term
			for j := range v.Len() {
				if j != i {
					rest = append(rest, v.Elem(j))
				}
			}
			return ast.ArrayTerm(rest...)
		}
	case ast.Set:
		if i >= 0 && i < v.Len() {
			return ast.SetTerm(slices.Delete(slices.Clone(v.Slice()), i, i+1)...)
		}
	case ast.Object:
		if i >= 0 && i < v.Len() {
			keys := v.Keys()
			slices.SortFunc(keys, func(a, b *ast.Term) int { return a.Value.Compare(b.Value) })
			o := ast.NewObject()
			v.Foreach(func(k, e *ast.Term) {
				if !k.Equal(keys[i]) {
					o.Insert(k, e)
				}
			})
			return ast.NewTerm(o)
		}
	}
	return t
}
