package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/policies"
)

// undeclared is a world of the service in testdata/foreign as somebody has it
// who never heard of gate.
func undeclared(t *testing.T) *world {
	t.Helper()
	w := emptyWorld(t)
	w.copyTree("testdata/foreign")
	if err := os.RemoveAll(w.path("environments")); err != nil {
		t.Fatal(err)
	}
	w.git("init", "-q", "-b", "main")
	w.commit("begin")
	return w
}

func TestInit(t *testing.T) {
	w := undeclared(t)
	before := snapshot(t, w.clone)
	if r := w.want(promotion.CodePass, "init", "--check"); !strings.Contains(r.out, "would write   environments/app.yaml") || strings.Contains(r.out, "next:") {
		t.Errorf("%s", r)
	}
	if d := cmp.Diff(before, snapshot(t, w.clone)); d != "" {
		t.Errorf("--check changed the clone: %s", d)
	}
	r := w.want(promotion.CodePass, "init")
	for _, s := range []string{"wrote         environments/app.yaml\n", "wrote         policies/README.md\n", "wrote         .gitignore\n", "1. read environments/*.yaml: ", "2. gate env validate\n", "4. gate run\n"} {
		if !strings.Contains(r.out, s) {
			t.Errorf("does not say %q\n%s", s, r)
		}
	}
	if r.err != "" || strings.Contains(r.out, "left to you") {
		t.Errorf("%s", r)
	}
	w.want(promotion.CodePass, "env", "validate")
	if made := snapshot(t, w.state); len(made) > 0 {
		t.Errorf("it made a state directory: %v", made)
	}

	w.replace("environments/app.yaml", "users: 50", "users: 7")
	before = snapshot(t, w.clone)
	if r := w.want(promotion.CodePass, "init"); !strings.Contains(r.out, "kept          environments/app.yaml") || !strings.Contains(r.out, "nothing to write") {
		t.Errorf("%s", r)
	}
	w.want(promotion.CodePass, "init", "--force", "--check")
	if d := cmp.Diff(before, snapshot(t, w.clone)); d != "" {
		t.Errorf("what was there was changed: %s", d)
	}
	got := parsed[struct {
		Package string
		Written bool
		Files   []struct{ Path, Action string }
		Choices []string
	}](t, w.want(promotion.CodePass, "init", "--force", "-o", "json"))
	if got.Package != "." || !got.Written || len(got.Files) != 25 || got.Choices == nil || len(got.Choices) > 0 {
		t.Errorf("got %+v", got)
	}
	if !strings.Contains(w.read("environments/app.yaml"), "users: 50") || strings.Count(w.read(".gitignore"), "gate-evidence") != 1 {
		t.Error("--force does not replace, or extends twice")
	}

	w.want(promotion.CodePass, "init", "--policy", "thresholds.yaml")
	w.write("policies/thresholds.yaml", w.read("policies/thresholds.yaml")+"# mine\n")
	w.want(promotion.CodePass, "init", "--policy", "thresholds.yaml")
	if !strings.HasSuffix(w.read("policies/thresholds.yaml"), "# mine\n") {
		t.Error("a changed policy was written over")
	}
}

// TestInitLeavesChoices: what can't be told is refused until somebody says it.
func TestInitLeavesChoices(t *testing.T) {
	w := undeclared(t)
	w.replace("notes.go", `"GET /healthz"`, `"GET /how-are-you"`)
	w.replace("main.go", `getenv("HTTP_PORT")`, `getenv("WHERE")`)
	r := w.want(promotion.CodePass, "init")
	says := []string{"serve.ready is", "serve.env.CHOOSE_LISTEN holds"}
	for _, s := range says {
		if !strings.Contains(r.out, s) {
			t.Errorf("does not say %q\n%s", s, r)
		}
	}
	r = w.want(promotion.CodeUsage, "env", "validate")
	for _, s := range says {
		if !strings.Contains(r.err, s) {
			t.Errorf("validation does not say %q\n%s", s, r)
		}
	}
	if strings.Count(r.err, "\n") != len(says) {
		t.Errorf("want %d lines\n%s", len(says), r)
	}
	w.replace("environments/app.yaml", `ready: ""`, "ready: /how-are-you", "CHOOSE_LISTEN: \"${the variable that says where to listen}\"", "WHERE: ${PORT}")
	w.want(promotion.CodePass, "env", "validate")
}

func TestInitPlaces(t *testing.T) {
	t.Run("from a folder below, detached and dirty", func(t *testing.T) {
		w := undeclared(t)
		w.git("checkout", "-q", "--detach")
		w.write("below/deep/x.txt", "x")
		if r := w.gateIn(w.root, "init", "-C", w.path("below/deep")); r.code != promotion.CodePass || !strings.HasPrefix(r.out, w.clone+", package .\n") {
			t.Errorf("%s", r)
		}
		w.read("environments/app.yaml")
	})
	t.Run("several programs", func(t *testing.T) {
		w := undeclared(t)
		w.write("cmd/other/main.go", "package main\n\nfunc main() {}\n")
		w.refused(t, promotion.CodeUsage, []string{"more than one Go program", "--package", "one of ., ./cmd/other"}, "init")
		w.refused(t, promotion.CodeUsage, []string{"./cmd/none", "one of ., ./cmd/other"}, "init", "--package", "./cmd/none")
		w.want(promotion.CodePass, "init", "--package", ".", "--name", "mine")
		if s := w.read("environments/app.yaml"); !strings.Contains(s, "\nname: mine\n") || !strings.Contains(s, "\n  package: .\n") {
			t.Errorf("got\n%s", s)
		}
	})
	t.Run("nothing to declare", func(t *testing.T) {
		w := emptyWorld(t)
		w.refused(t, promotion.CodeUsage, []string{"not in a Git repository"}, "init")
		w.git("init", "-q", "-b", "main")
		w.refused(t, promotion.CodeUsage, []string{"no commit yet", "commit something first"}, "init")
		w.write("index.js", "x")
		w.commit("begin")
		w.refused(t, promotion.CodeUsage, []string{"no Go program is here", "go.mod"}, "init")
		w.refused(t, promotion.CodeUsage, []string{"no such policy file", "thresholds.yaml"}, "init", "--policy", "x.rego")
		w.git("config", "core.bare", "true")
		w.refused(t, promotion.CodeUsage, []string{"no work tree"}, "init")
	})
	t.Run("ignored by Git", func(t *testing.T) {
		w := undeclared(t)
		w.write(".gitignore", "*.yaml\n")
		w.refused(t, promotion.CodeUsage, []string{"environments/app.yaml is ignored by Git", "check-ignore"}, "init")
	})
	t.Run("through a link that leads out", func(t *testing.T) {
		w := undeclared(t)
		out := filepath.Join(w.root, "out")
		if err := os.Mkdir(out, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(out, w.path("environments")); err != nil {
			t.Fatal(err)
		}
		r := w.want(promotion.CodeInternal, "init")
		if !strings.Contains(r.err, "environments") || len(snapshot(t, out)) > 1 {
			t.Errorf("%s\n%v", r, snapshot(t, out))
		}
	})
}

// TestInitAndRun takes a service to staging that was declared by init alone.
// The measurements are made short, and the ports free ones.
func TestInitAndRun(t *testing.T) {
	drill(t)
	w := undeclared(t)
	w.want(promotion.CodePass, "init")
	w.replace("environments/app.yaml", "users: 50", "users: 10", "think: 1s", "think: 50ms", "warmup: 10s", "warmup: 1s", "closed: 60s", "closed: 4s", "open: 60s", "open: 4s", "step: 5s", "step: 1s", "knee: 40s", "knee: 4s")
	for _, e := range []string{"staging", "production"} {
		w.append("environments/"+e+".yaml", "thresholds:\n  load: {min_seconds: 3, min_users: 10, min_requests: 100, success: 0.95, min_headroom: 0.5}\n  update: {min_requests: 100, slack_seconds: 0.5}\n"+shortDrills)
	}
	w.append("environments/staging.yaml", quickScaling)
	// What init can't know: how users write. Without, there is nothing to restore.
	const post = "method: POST, path: /notes, headers: {Content-Type: application/json}, expect: {status: 201, body: '\"id\":'}"
	w.replace("environments/app.yaml", "  endpoints:\n", "  endpoints:\n    - {name: write, "+post+", body: '{\"text\":\"note ${SEQ} of user ${USER}\"}', weight: 1, safe: false}\n")
	w.append("environments/app.yaml", "drills:\n  lead: 500ms\n  write: {"+post+", body: '{\"text\":\"drill ${RUN} by ${USER}, ${SEQ}.\"}', read: '/notes?about=drill+${RUN}+by+${USER},', holds: ', ${SEQ}.\"'}\n")
	w.usePorts()
	w.commit("declare the service")
	o := w.runs(promotion.CodePass, "--through", "staging")
	for _, id := range []string{"source", "tests", "scan", "config", "load", "update", "rollback", "restart", "scaling", "tls", "network", "secrets"} {
		// A machine that is busy with other things makes a drill warn of its latency.
		felt := id == "update" || id == "rollback"
		if c := o.criterion(id); c.Verdict != policies.Pass && (!felt || c.Verdict != policies.Warn) {
			t.Errorf("%s: %+v", id, c)
		}
	}
	if got := w.serves("staging"); got != o.Release {
		t.Errorf("staging serves %s, want %s", got, o.Release)
	}

	// The example that init wrote, asked for as its README says.
	w.want(promotion.CodePass, "init", "--policy", "readiness/readiness.rego")
	w.replace("policies/readiness/readiness.rego",
		"import data.gate.readiness.source\n", "import data.gate.readiness.skipped\nimport data.gate.readiness.source\n",
		fmt.Sprintf("%q: [", "readiness"), fmt.Sprintf("%q: [%q, ", "readiness", "skipped"),
		"found[\"tests\"] := tests.criterion\n", "found[\"tests\"] := tests.criterion\n\nfound[\"skipped\"] := skipped.criterion\n")
	w.commit("ask for a criterion of our own")
	o = w.runs(promotion.CodePass, "--through", "staging")
	if c := o.criterion("skipped"); c.Verdict != policies.Pass || c.Got != "0 skipped, 3 passed" {
		t.Errorf("skipped: %+v", c)
	}
}
