package policies

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
)

// judgingRoots are the rules from which verdicts come, by package.
func judgingRoots(file string, all map[string]*ast.Module) []string {
	switch path.Dir(file) {
	case "readiness":
		return []string{"decision", "judged"}
	case "lib":
		// What the criteria and the decision use of it, outside of words.
		roots := map[string]bool{}
		for name, mod := range all {
			if strings.HasSuffix(name, "_test.rego") || path.Dir(name) == "fixtures" {
				continue
			}
			words := map[string]bool{}
			if path.Dir(name) != "lib" {
				words = wordRules(mod, judgingRoots(name, all))
			}
			for _, r := range mod.Rules {
				if words[ruleName(r)] || path.Dir(name) == "lib" {
					continue
				}
				for at := r; at != nil; at = at.Else {
					libs(at.Head.Value, roots)
					libs(at.Body, roots)
				}
			}
		}
		return slices.Sorted(maps.Keys(roots))
	}
	return []string{"criterion"}
}

// libs notes what x uses of package lib outside of words.
func libs(x any, roots map[string]bool) {
	ast.NewGenericVisitor(func(x any) bool {
		switch v := x.(type) {
		case ast.Call:
			if textCall(v) {
				return true
			}
			base := path.Ext("x." + v[0].String())[1:]
			if (base == "row" || base == "ruled") && len(v) == 4 {
				libs(v[0].Value, roots)
				libs(v[1], roots)
				if base == "row" {
					libs(v[2], roots)
				}
				return true
			}
		case ast.Object:
			v.Foreach(func(k, e *ast.Term) {
				if s, ok := k.Value.(ast.String); ok && isWords(string(s)) {
					return
				}
				libs(e, roots)
			})
			return true
		case ast.Ref:
			if v[0].Value.Compare(ast.Var("lib")) == 0 && len(v) > 1 {
				if s, ok := v[1].Value.(ast.String); ok {
					roots[string(s)] = true
				}
			}
		}
		return false
	}).Walk(x)
}

// trial is one question whose answer may tell a mutant from the original.
type trial struct {
	name   string
	ask    rego.PreparedEvalQuery
	input  ast.Value // nil for a Rego test
	passes bool      // the input must pass, any other must not
	names  string    // what the reason must hold; empty: anything
	took   time.Duration
	told   int // mutants from the original
}

// tells says whether the answer differs from what the original gives.
func (q trial) tells(ctx context.Context, e *evaluation) bool {
	ctx = context.WithValue(ctx, active{}, e)
	if q.input == nil {
		rs, err := q.ask.Eval(ctx)
		return err != nil || len(rs) != 1 || rs[0].Bindings["x"] != true
	}
	rs, err := q.ask.Eval(ctx, rego.EvalParsedInput(q.input))
	if err != nil || len(rs) != 1 {
		return q.passes || q.names != "" // no verdict, so none that promotes
	}
	c, _ := rs[0].Bindings["x"].(map[string]any)
	if q.passes {
		return c["verdict"] != string(Pass)
	}
	verdict, _ := c["verdict"].(string)
	why, _ := c["why"].(string)
	return Verdict(verdict).Promotes() || !strings.Contains(why, q.names)
}

// TestMutants switches on one mutant of a policy after the other. The Rego
// tests of its criterion (for lib and the decision: all) must tell it from the
// original, or that what passes still does, or else the hostile evidence of
// TestNoMutationPasses.
func TestMutants(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED under -short: minutes. Without it nothing shows that the policies' tests notice a changed rule")
	}
	t.Parallel()
	// Each evaluation leaves much behind that is small and gone at once.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	all := modules(t)
	shared := wordRulesOfLib(all)
	sizes := map[string]int{}
	for name, mod := range all {
		if judges(name) {
			sizes[path.Dir(name)] += len(mod.Rules)
		}
	}
	work := make(chan string)
	var group sync.WaitGroup
	var mu sync.Mutex
	made, noticed, excused := 0, 0, map[string]bool{}
	for range runtime.NumCPU() {
		group.Go(func() {
			for folder := range work {
				p := plant(t, all, shared, folder)
				touching := touched(t, p.trials)
				// Made for criteria that look at a shape.
				hostile := sync.OnceValue(func() map[int][]*trial {
					if path.Dir(folder) != "readiness" {
						return nil
					}
					return touched(t, p.hostile(t))
				})
				kinds := map[string]int{}
				for _, mut := range p.mutants {
					kinds[mut.file+mut.what]++
				}
				// What few tests come by teaches which one looks at a line.
				slices.SortStableFunc(p.mutants, func(a, b mutant) int { return cmp.Compare(len(touching[a.id]), len(touching[b.id])) })
				known := memory{}
				for _, mut := range p.mutants {
					why := equivalent(mut)
					// One of its kind that is excused is not tried: all would run, in vain.
					ok := (why == "" || kinds[mut.file+mut.what] > 1) &&
						(mut.shape && known.notice(t, likely(hostile()[mut.id], mut), mut) ||
							known.notice(t, touching[mut.id], mut) || mut.shape && known.notice(t, hostile()[mut.id], mut))
					mu.Lock()
					made++
					switch {
					case ok:
						noticed++
					case why == "":
						t.Errorf("policies/%s: no test notices (%d come by)", mut, len(touching[mut.id]))
					default:
						excused[mut.file+mut.what] = true
						t.Logf("policies/%s: equivalent: %s", mut, why)
					}
					mu.Unlock()
				}
			}
		})
	}
	only := os.Getenv("GATE_MUTANTS") // one folder, for who works on it: readiness/load
	// The most work first, so that at the end nobody waits for it.
	for _, folder := range slices.SortedFunc(maps.Keys(sizes), func(a, b string) int { return cmp.Compare(sizes[b], sizes[a]) }) {
		if only == "" || only == folder {
			work <- folder
		}
	}
	close(work)
	group.Wait()
	if only != "" {
		return
	}
	for _, e := range equivalents {
		if !excused[e.file+e.what] {
			t.Errorf("policies/%s: %s: every such mutant is noticed; strike it from equivalents", e.file, e.what)
		}
	}
	for _, u := range unmade {
		t.Logf("not mutated: %s: %s", u.what, u.why)
	}
	if noticed < 400 {
		t.Errorf("only %d mutants were noticed: are they made at all?", noticed)
	}
	t.Logf("%d of %d mutants noticed", noticed, made)
}

// judges says whether the file is one that decides, not one that tests.
func judges(name string) bool {
	return !strings.HasSuffix(name, "_test.rego") && path.Dir(name) != "fixtures"
}

// planting are the policies with the mutants of one folder in them. All other
// code is as it is, and as quick.
type planting struct {
	folder  string
	mutants []mutant
	trials  []trial // the Rego tests, and that what passes does pass
	prepare func(query string) rego.PreparedEvalQuery
}

func plant(t *testing.T, all map[string]*ast.Module, shared map[string]bool, folder string) *planting {
	p, m := &planting{folder: folder}, &maker{}
	tests := []string{folder}
	if folder == "lib" {
		tests = append(tests, "readiness")
	}
	some := map[string]*ast.Module{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		mod, dir := all[name], path.Dir(name)
		switch {
		case judges(name) && dir == folder:
			words := shared
			if dir != "lib" {
				words = wordRules(mod, judgingRoots(name, all))
			}
			mod = mod.Copy()
			m.module(name, mod, words)
		case !judges(name) && dir != "fixtures" && !slices.Contains(tests, dir):
			continue
		}
		some[name] = mod
	}
	p.mutants = m.mutants
	decls, impls := planted()
	can := capabilities()
	for _, b := range decls {
		can.Builtins = append(can.Builtins, b)
	}
	compiler := ast.NewCompiler().WithCapabilities(can)
	compiler.Compile(some)
	if compiler.Failed() {
		t.Error(folder, compiler.Errors)
		return p
	}
	store := inmem.NewFromObject(testData(t, nil))
	p.prepare = func(query string) rego.PreparedEvalQuery {
		q, err := rego.New(append(slices.Clone(impls), rego.Query(query), rego.Compiler(compiler), rego.Store(store))...).PrepareForEval(t.Context())
		if err != nil {
			t.Error(err)
		}
		return q
	}
	for name, mod := range some {
		if !slices.Contains(tests, path.Dir(name)) || judges(name) {
			continue
		}
		for _, r := range mod.Rules {
			if test := ruleName(r); strings.HasPrefix(test, "test_") {
				p.trials = append(p.trials, trial{name: test, ask: p.prepare("x = " + mod.Package.Path.String() + "." + test)})
			}
		}
	}
	if id := path.Base(folder); path.Dir(folder) == "readiness" && stageOf(id) != "" {
		v, verdict := p.passing(t)
		passing, err := ast.InterfaceToValue(v)
		if err != nil {
			t.Error(err)
			return p
		}
		if verdict != Pass {
			return p // a criterion that no evidence is about
		}
		p.trials = append(p.trials, trial{name: "what passes", ask: p.judged(), input: passing, passes: true})
	}
	return p
}

// judged asks for the folder's criterion.
func (p *planting) judged() rego.PreparedEvalQuery {
	return p.prepare(fmt.Sprintf("x = data.gate.readiness.judged(%q)", path.Base(p.folder)))
}

// equivalent is why nothing can tell the mutant from the original; empty: it
// must be noticed.
func equivalent(m mutant) string {
	for _, e := range equivalents {
		if e.file == m.file && e.what == m.what {
			return e.why
		}
	}
	return ""
}

// likely are the trials that break the very field whose shape the mutant drops.
// Every trial comes by a shape's entries, and few depend on one of them.
func likely(trials []*trial, m mutant) []*trial {
	field := m.field()
	return slices.DeleteFunc(slices.Clone(trials), func(q *trial) bool { return field == "" || !strings.HasSuffix("."+q.name, "."+field) })
}

// field is that whose shape the mutant drops, if it is one.
func (m mutant) field() string {
	quoted := strings.TrimSuffix(strings.TrimPrefix(m.what, "entry "), " dropped")
	field, err := strconv.Unquote(quoted)
	if err != nil || !m.shape {
		return ""
	}
	return field
}

// memory is how many mutants of a line something has told from the original: a
// test, or what is broken somewhere, whatever field of it.
type memory map[[2]string]int

func about(q *trial, m mutant) [2]string {
	what := q.name
	if m.shape {
		what = strings.TrimSuffix(q.name, m.field())
	}
	return [2]string{fmt.Sprint(m.file, m.line, m.shape), what}
}

// notice tries those first that have told others of the line, then those that
// are quick and have told the most others.
func (known memory) notice(t *testing.T, trials []*trial, m mutant) bool {
	slices.SortStableFunc(trials, func(a, b *trial) int {
		return cmp.Or(cmp.Compare(known[about(b, m)], known[about(a, m)]), cmp.Compare(a.took/time.Duration(1+a.told), b.took/time.Duration(1+b.told)))
	})
	for _, q := range trials {
		if q.tells(t.Context(), &evaluation{on: m.id}) {
			q.told++
			known[about(q, m)]++
			return true
		}
	}
	return false
}

// touched runs each trial on the original, and says which of them come by a
// mutant that would change what is there: no other can notice it.
func touched(t *testing.T, trials []trial) map[int][]*trial {
	by := map[int][]*trial{}
	for i := range trials {
		e, began := &evaluation{touched: map[int]bool{}}, time.Now()
		tells := trials[i].tells(t.Context(), e)
		trials[i].took = time.Since(began)
		if tells && trials[i].names != "" {
			// Not all of it is named.
			trials[i].names = ""
			tells = trials[i].tells(t.Context(), e)
		}
		if tells {
			if trials[i].input == nil || trials[i].passes {
				t.Errorf("%s does not hold of the original", trials[i].name)
			}
			continue // hostile, but rightly passes
		}
		for id := range e.touched {
			by[id] = append(by[id], &trials[i])
		}
	}
	return by
}

// wordRulesOfLib follows what the criteria use through lib's files, which are
// one package.
func wordRulesOfLib(all map[string]*ast.Module) map[string]bool {
	whole := &ast.Module{}
	for name, mod := range all {
		if path.Dir(name) == "lib" && !strings.HasSuffix(name, "_test.rego") {
			whole.Rules = append(whole.Rules, mod.Rules...)
		}
	}
	return wordRules(whole, judgingRoots("lib/x.rego", all))
}

// passing is an input that passes, with no evidence but what the folder's
// criterion is judged by.
func (p *planting) passing(t *testing.T) (in any, verdict Verdict) {
	id := path.Base(p.folder)
	all := ready(t, stageOf(id))
	behind := map[string]bool{}
	for _, c := range evaluate(t, embedded(t), all).Criteria {
		if c.ID == id {
			verdict = c.Verdict
			for _, d := range c.Evidence {
				behind[d] = true
			}
		}
	}
	all.Evidence = slices.DeleteFunc(all.Evidence, func(r Record) bool { return !behind[r.Digests[0]] })
	in, err := decode(encode(t, Relevant(all)))
	if err != nil {
		t.Error(err)
	}
	return in, verdict
}

// hostile are trials in which one field of what passes is broken, as far as the
// original does not promote it.
func (p *planting) hostile(t *testing.T) []trial {
	if stageOf(path.Base(p.folder)) == "" {
		return nil
	}
	passing, _ := p.passing(t)
	q, text := p.judged(), encode(t, passing)
	fresh := func() any {
		v, err := decode(text)
		if err != nil {
			t.Error(err)
		}
		return v
	}
	var trials []trial
	for _, p := range paths(fresh(), nil) {
		if p[0] != "evidence" || len(p) < 4 || p[2] != "payload" {
			continue
		}
		for _, value := range []any{nil, "NaN"} {
			changed, err := ast.InterfaceToValue(mutate(fresh(), p, clone(value)))
			if err != nil {
				continue
			}
			one := trial{name: strings.Join(p, "."), ask: q, input: changed}
			if value == nil {
				// What is missing is named, so that it can be mended.
				one.names = p[len(p)-1] + " is missing"
			}
			trials = append(trials, one)
		}
	}
	return trials
}

// stageOf is a stage that requires the criterion.
func stageOf(id string) Stage {
	for _, s := range []Stage{Readiness, Promotion, Serving, Canary, Proposal} {
		if slices.Contains(Required[s], id) {
			return s
		}
	}
	return ""
}

// testData is what the Rego tests read as data: thresholds with their defaults,
// less what change takes away.
func testData(t testing.TB, change func(map[string]any)) map[string]any {
	t.Helper()
	data := map[string]any{}
	for criterion, named := range embeddedLimits(t) {
		declared := map[string]any{}
		for name, l := range named {
			declared[name] = map[string]any{"default": l.Default, "kind": l.Kind}
		}
		data[criterion] = declared
	}
	if change != nil {
		change(data)
	}
	return map[string]any{"thresholds": data}
}

// TestMutantThresholds drops each threshold of thresholds.yaml, and changes its
// default.
func TestMutantThresholds(t *testing.T) {
	if testing.Short() {
		t.Skip("takes its time")
	}
	t.Parallel()
	all := modules(t)
	compiler := ast.NewCompiler().WithCapabilities(capabilities())
	compiler.Compile(all)
	if compiler.Failed() {
		t.Fatal(compiler.Errors)
	}
	ctx := t.Context()
	store := inmem.NewFromObject(testData(t, nil))
	tests := map[string][]rego.PreparedEvalQuery{}
	for name, mod := range all {
		if !strings.HasSuffix(name, "_test.rego") {
			continue
		}
		for _, r := range mod.Rules {
			if test := ruleName(r); strings.HasPrefix(test, "test_") {
				q, err := rego.New(rego.Query("x = "+mod.Package.Path.String()+"."+test), rego.Compiler(compiler), rego.Store(store)).PrepareForEval(ctx)
				if err != nil {
					t.Fatal(err)
				}
				tests[path.Base(path.Dir(name))] = append(tests[path.Base(path.Dir(name))], q)
			}
		}
	}
	// Of one transaction each, so that nothing has to be put back.
	noticed := func(criterion, name string, value any) bool {
		txn, err := store.NewTransaction(ctx, storage.WriteParams)
		if err != nil {
			t.Fatal(err)
		}
		defer store.Abort(ctx, txn)
		at := storage.Path{"thresholds", criterion, name}
		if value == nil {
			err = store.Write(ctx, txn, storage.RemoveOp, at, nil)
		} else {
			err = store.Write(ctx, txn, storage.ReplaceOp, append(at, "default"), value)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range slices.Concat(tests[criterion], tests["lib"], tests["readiness"]) {
			rs, err := q.Eval(ctx, rego.EvalTransaction(txn))
			if err != nil || len(rs) != 1 || rs[0].Bindings["x"] != true {
				return true
			}
		}
		return false
	}
	for criterion, named := range embeddedLimits(t) {
		for name, l := range named {
			if !noticed(criterion, name, nil) {
				t.Errorf("thresholds.yaml: %s.%s dropped: no test of %s notices", criterion, name, criterion)
			}
			if name == "max_age_seconds" {
				continue
			}
			for _, v := range shiftedDefaults(l) {
				if !noticed(criterion, name, v) {
					t.Errorf("thresholds.yaml: default of %s.%s changed from %v to %v: no test of %s notices", criterion, name, l.Default, v, criterion)
				}
			}
		}
	}
}

// shiftedDefaults are the default a little greater and a little less, where the
// kind allows it.
func shiftedDefaults(l limit) []any {
	f, _ := number(l.Default)
	var all []any
	if l.Kind == "count" || l.Kind == "positive" {
		all = append(all, int64(f)+1)
		if v, err := l.value(int64(f) - 1); err == nil {
			all = append(all, v)
		}
		return all
	}
	if v, err := l.value(f * 1.1); err == nil && f > 0 {
		all = append(all, v)
	}
	if v, err := l.value(f * 0.9); err == nil && f > 0 {
		all = append(all, v)
	}
	return all
}
