package policies

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// irrelevant are the fields without which an input may still pass, by path with
// * for any element: they are for people, or for another judge.
var irrelevant = []string{
	"evidence.*.payload.command", "evidence.*.payload.findings",
	"evidence.*.payload.synthetic",
	"evidence.*.payload.generator.cpu_share", "evidence.*.payload.generator.max_lag_seconds", "evidence.*.payload.generator.p99_lag_seconds",
	"evidence.*.payload.open.rate", "evidence.*.payload.zero_think.rate", "evidence.*.payload.*.timeline",
	"evidence.*.payload.knee.rate", "evidence.*.payload.knee.because",
	"evidence.*.payload.knee.steps.*.seconds", "evidence.*.payload.knee.steps.*.succeeded", "evidence.*.payload.knee.steps.*.carried",
	"evidence.*.payload.knee.steps.*.p95", "evidence.*.payload.knee.steps.*.p95_lower", "evidence.*.payload.knee.steps.*.p95_upper",
	"evidence.*.payload.knee.steps.*.success_lower", "evidence.*.payload.knee.steps.*.success_upper",
	"evidence.*.payload.knee.steps.*.growth", "evidence.*.payload.knee.steps.*.growth_lower", "evidence.*.payload.knee.steps.*.growth_upper",
	"evidence.*.payload.knee.steps.*.generator",
	"evidence.*.payload.checkpoint.at", "evidence.*.payload.checkpoint.seconds", "evidence.*.payload.checkpoint.before",
	"evidence.*.payload.checkpoint.during.seconds", "evidence.*.payload.checkpoint.during.succeeded",
	"evidence.*.payload.checkpoint.during.p50", "evidence.*.payload.checkpoint.during.p99", "evidence.*.payload.checkpoint.during.max",
	"evidence.*.payload.*.endpoints.*.p50", "evidence.*.payload.*.endpoints.*.max",
	"evidence.*.payload.*.all.p50", "evidence.*.payload.*.all.max", "evidence.*.payload.*.all.name",
	"evidence.*.payload.from", "evidence.*.payload.rate", "evidence.*.payload.seconds", "evidence.*.payload.p99", "evidence.*.payload.phases",
	"evidence.*.payload.address", "evidence.*.payload.name", "evidence.*.payload.issuer",
	"evidence.*.payload.environments.1",
	"evidence.*.payload.system_identifier", "evidence.*.payload.server_version", "evidence.*.payload.base_bytes", "evidence.*.payload.wal_bytes",
	"evidence.*.payload.sequences", "evidence.*.payload.indexes", "evidence.*.payload.roles", "evidence.*.payload.extensions",
	"evidence.*.payload.retakes", "evidence.*.payload.restore_seconds", "evidence.*.payload.verify_seconds",
	"evidence.*.payload.declared", "evidence.*.payload.sockets",
	"evidence.*.payload.listeners.*.protocol", "evidence.*.payload.listeners.*.address",
	"evidence.*.payload.listeners.*.role", "evidence.*.payload.listeners.*.process",
	"evidence.*.payload.secrets.*.name", "evidence.*.payload.secrets.*.source",
	"evidence.*.payload.stable.restarts", "evidence.*.payload.stable.open", "evidence.*.payload.stable.oldest_open_seconds", "evidence.*.payload.baseline.p95",
	"evidence.*.payload.figures.*.estimate", "evidence.*.payload.figures.*.low", "evidence.*.payload.figures.*.high",
	"evidence.*.payload.figures.needed", "evidence.*.payload.figures.foreseen",
	"evidence.*.payload.pending_files", "evidence.*.payload.rollback_until",
	"evidence.*.payload.copy.at", "evidence.*.payload.copy.tables", "evidence.*.payload.copy.bytes", "evidence.*.payload.copy.target_bytes",
	"evidence.*.payload.rehearsal.seconds", "evidence.*.payload.rehearsal.blocked", "evidence.*.payload.rehearsal.waited_for",
	"evidence.*.payload.rehearsal.probe_seconds", "evidence.*.payload.rehearsal.factor",
	"evidence.*.payload.rehearsal.users.release", "evidence.*.payload.previous_on_new.release",
	"evidence.*.payload.acid.seconds", "evidence.*.payload.acid.unanswered",
	"evidence.*.payload.app.seconds", "evidence.*.payload.app.unanswered", "evidence.*.payload.app.crashes", "evidence.*.payload.app.miscounted",
	"evidence.*.payload.drills", "evidence.*.payload.quiet_p95", "evidence.*.payload.p95",
	"evidence.*.payload.migrated", "evidence.*.payload.schema", "evidence.*.payload.since", "evidence.*.payload.why",
	"evidence.*.payload.faults.*.what", "evidence.*.payload.faults.*.how", "evidence.*.payload.faults.*.by",
	"evidence.*.payload.incident.file", "evidence.*.payload.earliest", "evidence.*.payload.recovery", "evidence.*.payload.hours",
	"evidence.*.payload.folder", "evidence.*.payload.runbooks.*.file", "evidence.*.payload.runbooks.*.owner",
	"evidence.*.payload.routes.*.route", "evidence.*.payload.routes.*.said",
}

// paths are those of every field and element below v.
func paths(v any, at []string) [][]string {
	var found [][]string
	add := func(key string, child any) {
		p := append(slices.Clone(at), key)
		found = append(found, p)
		found = append(found, paths(child, p)...)
	}
	switch x := v.(type) {
	case map[string]any:
		for k, child := range x {
			add(k, child)
		}
	case []any:
		for i, child := range x {
			add(fmt.Sprint(i), child)
		}
	}
	slices.SortFunc(found, slices.Compare)
	return found
}

func isIrrelevant(p []string) bool {
	return slices.ContainsFunc(irrelevant, func(pattern string) bool {
		want := strings.Split(pattern, ".")
		if len(p) < len(want) {
			return false
		}
		for i, w := range want {
			if w != "*" && w != p[i] {
				return false
			}
		}
		return true
	})
}

// mutations are what becomes of a field; the last one deletes it.
var mutations = []any{
	nil, "NaN", "", "0", -1, 1e300, true, []any{}, map[string]any{}, []any{nil}, map[string]any{"a": nil}, deleted{},
}

type deleted struct{}

// mutate puts value at the path of a tree and says whether that changed it.
func mutate(v any, p []string, value any) any {
	switch x := v.(type) {
	case map[string]any:
		if len(p) > 1 {
			x[p[0]] = mutate(x[p[0]], p[1:], value)
		} else if value == any(deleted{}) {
			delete(x, p[0])
		} else {
			x[p[0]] = value
		}
		return x
	case []any:
		var i int
		if _, err := fmt.Sscan(p[0], &i); err != nil {
			panic(err)
		}
		if len(p) > 1 {
			x[i] = mutate(x[i], p[1:], value)
		} else if value == any(deleted{}) {
			return slices.Delete(x, i, i+1)
		} else {
			x[i] = value
		}
		return x
	}
	return v
}

// TestNoMutationPasses breaks one field after the other of an input that passes,
// past Go's types and its filter, straight into the engine.
func TestNoMutationPasses(t *testing.T) {
	t.Parallel()
	for _, stage := range []Stage{Readiness, Canary} {
		in := ready(t, stage)
		keep := map[string]bool{}
		for id, c := range measured(t) {
			for _, check := range c.checks {
				keep[check] = keep[check] || slices.Contains(Required[stage], id)
			}
			keep[id] = keep[id] || slices.Contains(Required[stage], id)
		}
		in.Evidence = slices.DeleteFunc(in.Evidence, func(r Record) bool { return !keep[r.Check] })
		for check := range in.Expected {
			if !keep[check] {
				delete(in.Expected, check)
			}
		}
		for criterion := range in.Thresholds {
			if !keep[criterion] {
				delete(in.Thresholds, criterion)
			}
		}
		text := encode(t, Relevant(in))
		fresh := func() any {
			v, err := decode(text)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		p := embedded(t)
		if v, cs, err := p.judge(t.Context(), fresh()); err != nil || v != Pass {
			t.Fatalf("%s: %v %+v %v", stage, v, cs, err)
		}
		all := paths(fresh(), nil)
		rapid.Check(t, func(t *rapid.T) {
			path := rapid.SampledFrom(all).Draw(t, "path")
			value := rapid.SampledFrom(mutations).Draw(t, "value")
			if isIrrelevant(path) {
				t.Skip("irrelevant")
			}
			before := encodeOr(fresh())
			changed := mutate(fresh(), path, clone(value))
			if encodeOr(changed) == before || stillTrue(stage, path, value) {
				t.Skip("nothing changed")
			}
			verdict, criteria, err := p.judge(t.Context(), changed)
			if err == nil {
				err = believable(stage, verdict, criteria)
			}
			if err == nil && verdict.Promotes() {
				t.Fatalf("%s = %v gives %s", strings.Join(path, "."), value, verdict)
			}
		})
	}
}

// stillTrue says whether the mutation leaves an input that rightly passes.
func stillTrue(stage Stage, path []string, value any) bool {
	_, isText := value.(string)
	switch last := path[len(path)-1]; {
	case len(path) == 1 && last == "bootstrap":
		return stage != Canary && value == any(true)
	case len(path) == 1 && last == "dirty":
		return value == any(true) // warns before a promotion, which promotes
	case len(path) == 1 && last == "commit":
		return stage == Canary // judged before any canary starts
	case len(path) == 1 && last == "environment":
		return stage == Canary && isText && value != ""
	case len(path) == 3 && last == "trust" && path[0] == "expected":
		return path[1] != "tls"
	case len(path) == 4 && last == "app":
		return value == nil || value == any(deleted{}) // warns, which promotes
	case last == "reason":
		return isText
	case last == "same_disk", last == "local_only":
		return value == any(true) // warns
	case last == "age_seconds":
		return value == any(-1) // within the tolerance of clocks
	}
	return false
}

func clone(v any) any {
	if v == any(deleted{}) {
		return v
	}
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	c, err := decode(text)
	if err != nil {
		panic(err)
	}
	return c
}

func encodeOr(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
