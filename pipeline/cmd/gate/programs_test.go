package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/policies"
)

// blocks are those of checks/README.md that hold what people are to copy, by the
// file that each is for.
func blocks(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../../checks/README.md")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"#!/bin/sh\n":                        "ci/licences",
		"# environments/app.yaml\n":          "environments/app.yaml",
		"# policies/criteria.yaml\n":         "policies/criteria.yaml",
		"package gate.readiness.licences\n":  "policies/readiness/licences/licences.rego",
		"package gate.readiness.licences_te": "policies/readiness/licences/licences_test.rego",
	}
	found := map[string]string{}
	for i, block := range strings.Split(strings.ReplaceAll("\n"+string(text), "\n   ", "\n"), "\n```") {
		_, body, _ := strings.Cut(block, "\n")
		for begin, file := range files {
			if i%2 == 1 && strings.HasPrefix(body, begin) {
				found[file] = body + "\n"
			}
		}
	}
	if len(found) != len(files) {
		t.Fatalf("checks/README.md has %d of %d blocks to copy", len(found), len(files))
	}
	return found
}

// adds gives the repository the check, the criterion and the policy of
// checks/README.md, as a newcomer would.
func (w *world) adds() {
	w.t.Helper()
	for file, text := range blocks(w.t) {
		if file == "environments/app.yaml" {
			text = w.read(file) + text
		}
		w.write(file, text)
	}
	w.write("ci/modules.txt", "yaml MIT\nflags BSD-3-Clause\n")
	if err := os.Chmod(w.path("ci/licences"), 0o755); err != nil {
		w.t.Fatal(err)
	}
}

// oddPrograms are those that measure nothing, or more than they should, and what
// is said of each; empty: it is as good as any.
var oddPrograms = map[string]struct{ script, says string }{
	"garbage": {"echo fine", "printed no JSON object"},
	"hangs":   {"sleep 611", "was stopped after 2s"},
	"floods":  {"head -c 100000000 /dev/zero | tr '\\0' x", "wrote more than"},
	"fails":   {`echo '{"modules": 2, "denied": 0}'; echo the list is gone >&2; exit 3`, "exit status 3: the list is gone"},
	"leaves":  {`setsid sleep 612 >/dev/null 2>&1 & echo '{"modules": 2, "denied": 0}'`, ""},
	"curious": {`
found=$( { env; tr '\0' '\n' </proc/$PPID/environ; cat STATE/key STATE/*/key; } 2>/dev/null | grep -c -e planted -e PRIVATE)
printf '{"modules": 2, "denied": %d}\n' "$found"`, ""},
}

// TestProgramsOfTheRepository: the check that checks/README.md has people write
// is measured and judged, and no program gets by that measures nothing.
func TestProgramsOfTheRepository(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED under -short: builds four commits")
	}
	t.Parallel()
	w := emptyWorld(t)
	w.copyTree("testdata/foreign")
	w.adds()
	w.env = append(w.env, "DEPLOY_TOKEN=planted")
	w.git("init", "-q", "-b", "main")
	w.commit("begin")
	licences := func(code int, verdict policies.Verdict) {
		t.Helper()
		r := w.want(code, "--output", "json", "verify", "staging", "--check", "licences")
		var o outcome
		if err := json.Unmarshal([]byte(r.out), &o); err != nil {
			t.Fatalf("%v\n%s", err, r)
		}
		if c := o.criterion("licences"); c.Verdict != verdict {
			t.Errorf("want %s: %+v", verdict, c)
		}
	}
	licences(promotion.CodePass, policies.Pass)
	if r := w.gate("explain", "staging"); !strings.Contains(r.out, "0 of 2 modules denied") {
		t.Errorf("explain does not show it\n%s", r)
	}
	w.append("ci/modules.txt", "database SSPL\n")
	w.commit("another module")
	licences(promotion.CodeFail, policies.Fail)
	w.write("ci/modules.txt", "")
	w.commit("no module")
	licences(promotion.CodeInconclusive, policies.Inconclusive)

	copied := blocks(t)
	const policy = "policies/readiness/licences/licences.rego"
	_, declared, _ := strings.Cut(copied["environments/app.yaml"], "checks:\n")
	_, criterion, _ := strings.Cut(copied["policies/criteria.yaml"], "criteria:\n")
	args := []string{"--output", "json", "verify", "staging"}
	for name, c := range oddPrograms {
		w.append("environments/app.yaml", strings.ReplaceAll(strings.ReplaceAll(declared, "licences", name), "1m", "2s"))
		w.append("policies/criteria.yaml", strings.ReplaceAll(criterion, "licences", name))
		w.write(strings.ReplaceAll(policy, "licences", name), strings.ReplaceAll(copied[policy], "licences", name))
		w.write("ci/"+name, "#!/bin/sh\n"+strings.ReplaceAll(c.script, "STATE", w.state)+"\n")
		if err := os.Chmod(w.path("ci/"+name), 0o755); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--check", name)
	}
	w.commit("programs of others")
	r := w.gate(args...)
	var o outcome
	if err := json.Unmarshal([]byte(r.out), &o); err != nil || r.code == promotion.CodePass {
		t.Fatalf("%v\n%s", err, r)
	}
	for name, c := range oddPrograms {
		want, status := policies.Error, checks.Errored
		if c.says == "" {
			want, status = policies.Pass, checks.Completed
		}
		got := o.criterion(name)
		if name == "curious" && os.Geteuid() != 0 {
			continue // gate's own files are this user's
		}
		if got.Verdict != want || !strings.Contains(got.Why, c.says) {
			t.Errorf("%s: want %s: %+v", name, want, got)
		}
		for _, m := range o.Evidence {
			if m.Evidence.Check == name && m.Evidence.Status != string(status) {
				t.Errorf("%s: %+v", name, m.Evidence)
			}
		}
	}
	for pid, cmd := range w.processes() {
		t.Errorf("process %d lives on: %s", pid, cmd)
	}
	if len(o.Evidence) != len(oddPrograms) {
		t.Error(fmt.Sprintf("%d of %d programs have left evidence", len(o.Evidence), len(oddPrograms)), r)
	}
}
