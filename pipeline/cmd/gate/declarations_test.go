package main

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDeclarations shows that a wrong declaration is refused by each verb in the
// same way, before anything is made of it.
func TestDeclarations(t *testing.T) {
	w := foreignWorld(t)
	const (
		staging    = "environments/staging.yaml"
		production = "environments/production.yaml"
		app        = "environments/app.yaml"
		trust      = "environments/trust.yaml"
	)
	for _, tt := range []struct {
		name, file, old, new string
		says                 []string
	}{
		{"unknown key", staging, "target: local", "target: local\ncolour: red", []string{staging + ":3: ", `unknown key "colour"`, "use one of alerts, backup, config,"}},
		{"unknown key below", production, "weight: 20", "wieght: 20", []string{production + ":13: ", `unknown key "promotion.canary.wieght"`, "use one of inputs, limit, min_samples, sticky, synthetic, weight"}},
		{"text for a number", staging, "{min: 2, max: 4}", "{min: two, max: 4}", []string{staging + ":4: ", "instances.min is text, and must be a whole number"}},
		{"fraction for a number", staging, "{min: 2, max: 4}", "{min: 2.5, max: 4}", []string{staging + ":4: ", "instances.min is a number with a fraction"}},
		{"list for keys", staging, "{min: 2, max: 4}", "[2, 4]", []string{staging + ":4: ", "instances is a list"}},
		{"min over max", staging, "{min: 2, max: 4}", "{min: 5, max: 4}", []string{staging + ":4: ", "instances.min 5 is greater than instances.max 4", "make it at most instances.max"}},
		{"bad duration", staging, "soak: 1s", "soak: soon", []string{staging + ":11: ", "soon is no duration", "write it as 1m30s"}},
		{"duration without a unit", app, "timeout: 5m", "timeout: 300", []string{app + ":9: ", "300 is no duration", "write it as 1m30s"}},
		{"unknown threshold", staging, "promotion:", "thresholds:\n  load:\n    p95: 1\npromotion:", []string{staging + ":12: ", "load.p95 does not exist", "p95_seconds"}},
		{"unknown criterion", staging, "promotion:", "thresholds:\n  lode: {p95_seconds: 1}\npromotion:", []string{staging + ":11: ", `criterion "lode" does not exist`, "load"}},
		{"text for a threshold", staging, "promotion:", "thresholds:\n  load: {p95_seconds: fast}\npromotion:", []string{staging + ":11: ", `load.p95_seconds: "fast" must be a number`}},
		{"threshold out of range", production, "promotion:", "thresholds:\n  load: {success: 99}\npromotion:", []string{production + ":11: ", "load.success: 99 must be a number from 0 to 1"}},
		{"number for thresholds", staging, "promotion:", "thresholds:\n  load: 5\npromotion:", []string{staging + ":11: ", "thresholds.load is a whole number"}},
		{"no YAML", staging, "target: local", "target: local\n\tlisten: x", []string{staging + ":3: "}},
		{"no closing bracket", app, "command: [go, test, ./...]", "command: [go, test, ./...", []string{app + ":"}},
		{"inexact toolchain", app, "toolchain: go1.26.8", "toolchain: go1.26", []string{app + ":5: ", "build.toolchain", "go1.26.8"}},
		{"unknown placeholder", app, "${PORT}", "${PROT}", []string{app + ":", "${PROT}, which nothing fills", "${PORT}"}},
		{"one address twice", production, w.line(production, "listen:"), w.line(staging, "listen:"), []string{":3: ", "is the address of", "choose another port"}},
		{"unknown target", production, "target: local", "target: moon", []string{production + ":2: ", `"moon"`, "use local"}},
		{"unknown predecessor", production, "from: staging", "from: stagging", []string{production + ":11: ", `"stagging", which is not declared`}},
		{"value in place of a reference", staging, "promotion:", "secrets: {TOKEN: hunter2}\npromotion:", []string{staging + ":10: ", "secrets.TOKEN is text"}},
		{"stranger with a say", trust, "keys: []", "keys:\n  - {id: me, name: me, may: [promote]}", []string{trust + ":", "64 hexadecimal digits"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := w.read(tt.file)
			defer w.write(tt.file, before)
			w.replace(tt.file, tt.old, tt.new)
			for _, args := range [][]string{{"env", "validate"}, {"run"}} {
				w.refused(t, 2, tt.says, args...)
			}
			if r := w.gate("run"); strings.Contains(r.err+r.out, "hunter2") {
				t.Errorf("what may be a secret is repeated\n%s", r)
			}
		})
	}
	restore := func() {
		if err := os.RemoveAll(w.path("environments")); err != nil {
			t.Fatal(err)
		}
		w.git("checkout", "-q", "--", "environments")
	}
	for _, tt := range []struct {
		name string
		gone []string
		says []string
	}{
		{"app.yaml missing", []string{app}, []string{app + ": is missing", "declare how the service is built and run"}},
		{"no environment", []string{staging, production}, []string{staging + ": no environment is declared", "declare at least one"}},
		{"folder missing", []string{"environments"}, []string{app + ": not declared", "docs/declarations.md"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			defer restore()
			for _, file := range tt.gone {
				if err := os.RemoveAll(w.path(file)); err != nil {
					t.Fatal(err)
				}
			}
			for _, args := range [][]string{{"env", "validate"}, {"run"}} {
				w.refused(t, 2, tt.says, args...)
			}
		})
	}
	t.Run("a folder for a file", func(t *testing.T) {
		defer restore()
		if err := os.Remove(w.path(trust)); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(w.path(trust), 0o755); err != nil {
			t.Fatal(err)
		}
		w.refused(t, 2, []string{trust + ": can't be read", "is a directory"}, "run")
	})
	t.Run("every mistake has its line", func(t *testing.T) {
		defer restore()
		w.replace(staging, "target: local", "target: moon", "{min: 2, max: 4}", "{min: 0, max: 4}")
		r := w.want(2, "env", "validate")
		if lines := strings.Split(strings.TrimSpace(r.err), "\n"); len(lines) != 2 || !strings.HasPrefix(lines[0], "gate: "+staging+":2: ") || !strings.HasPrefix(lines[1], "gate: "+staging+":4: ") {
			t.Errorf("want a line for each of two mistakes\n%s", r)
		}
	})
	if made := snapshot(t, w.state); len(made) > 0 {
		t.Errorf("mistakes made a state directory: %v", made)
	}
	t.Run("and right ones are right", func(t *testing.T) {
		clone := snapshot(t, w.clone)
		all := parsed[[]map[string]string](t, w.want(0, "env", "validate", "-o", "json"))
		if len(all) != 2 || all[0]["environment"] != "staging" || all[1]["environment"] != "production" {
			t.Errorf("got %v", all)
		}
		if diff := cmp.Diff(clone, snapshot(t, w.clone)); diff != "" {
			t.Errorf("the clone was changed: %s", diff)
		}
		if made := snapshot(t, w.state); len(made) > 0 {
			t.Errorf("looking made a state directory: %v", made)
		}
	})
}

// line is the line of the file that begins so.
func (w *world) line(file, prefix string) string {
	w.t.Helper()
	for l := range strings.Lines(w.read(file)) {
		if strings.HasPrefix(l, prefix) {
			return strings.TrimSpace(l)
		}
	}
	w.t.Fatalf("%s has no line %s", file, prefix)
	return ""
}
