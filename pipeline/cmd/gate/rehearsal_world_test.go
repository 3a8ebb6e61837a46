package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/github/githubtest"
	"github.com/smartcloudops/gate/pipeline/github/githubtest/runner"
	"github.com/smartcloudops/gate/pipeline/ledger"
)

// rehearsal is a world with a GitHub: a bare repository, its API, workflows as
// gate github init writes them, which really run, and two machines that serve.
type rehearsal struct {
	*world
	hub     *githubtest.Server
	actions *runner.Runner
	bare    string
	began   time.Time
	keys    map[string]string // private keys (PEM), by whose
	pull    int               // the newest proposal

	first, second edition          // the second one answers wrongly in production alone
	hosts         map[string]*host // by the environment that they serve
}

// edition is a release on its way.
type edition struct{ commit, digest string }

const (
	project  = "o/notes"
	version1 = "v1.0.0" // of the gate that the workflows install
	soon     = 3 * time.Minute
)

// newRehearsal makes a repository of the small service in testdata/foreign, with
// its declarations made fast, and nothing of which has run yet.
func newRehearsal(t *testing.T) *rehearsal {
	t.Helper()
	r := &rehearsal{world: emptyWorld(t), began: time.Now(), keys: map[string]string{}, hosts: map[string]*host{}}
	r.bare = filepath.Join(r.root, "hub.git")
	r.copyTree("testdata/foreign")
	for _, e := range []string{"staging", "production"} {
		r.append("environments/"+e+".yaml", "thresholds:\n  load: {min_seconds: 2, min_users: 5, min_requests: 20, success: 0.8, min_headroom: 0.1}\n  update: {min_requests: 100, slack_seconds: 0.5}\n"+shortDrills)
	}
	r.usePorts()
	trust := fmt.Sprintf("remote: %s\nprotected: main\nmachines: [%s]\nkeys:\n", r.bare, checks.Machine())
	for _, k := range []struct{ name, may string }{
		{"ci", "measure, decide"}, {"staging", "promote"}, {"production", "promote"},
		{"staging-machine", "measure, decide, promote, daemon"}, {"production-machine", "measure, decide, promote, daemon"},
	} {
		file := filepath.Join(r.root, k.name, "keys", "ed25519")
		if err := os.MkdirAll(filepath.Dir(file), 0o711); err != nil {
			t.Fatal(err)
		}
		key, _, err := ledger.LoadOrCreateKey(file)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		r.keys[k.name] = string(text)
		trust += fmt.Sprintf("  - {id: %q, name: %s, may: [%s]}\n", key.ID(), k.name, k.may)
	}
	trust += "people:\n  - {github: lead, may: [approve]}\n"
	r.write("environments/trust.yaml", trust)
	r.git("init", "-q", "-b", "main")
	r.commit("begin")
	if got := r.want(0, "github", "init", "--repository", project, "--version", version1, "--owners", "@lead", "--engine", "none"); !strings.Contains(got.out, "publish.yml") {
		t.Fatalf("no workflows:\n%s", got)
	}
	r.commit("workflows")
	r.git("clone", "-q", "--bare", r.clone, r.bare)
	r.git("remote", "add", "origin", r.bare)
	r.git("fetch", "-q", "origin")
	r.start()
	return r
}

// start begins GitHub.
func (r *rehearsal) start() {
	t := r.t
	r.hub = githubtest.New(t, githubtest.Options{Repository: project, Git: r.bare, Clock: githubtest.NewClock(time.Now())})
	r.hub.AddRuleset(githubtest.Ruleset{Name: "main", Branches: []string{"main"}, Rules: []map[string]any{
		{"type": "pull_request", "parameters": map[string]any{}}, {"type": "non_fast_forward"}, {"type": "deletion"}, githubtest.RequiredChecks(githubtest.AppID, "gate"),
	}})
	r.hub.AddRuleset(githubtest.Ruleset{Name: "ledger", Branches: []string{"gate/ledger", "env/staging", "env/production"}, Rules: []map[string]any{{"type": "non_fast_forward"}, {"type": "deletion"}}})
	root := filepath.Join(r.root, "jobs")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	place := func(secrets map[string]string, reviewers ...string) runner.Environment {
		return runner.Environment{Branches: []string{"main"}, Secrets: secrets, Reviewers: reviewers}
	}
	sign := func(name string) map[string]string { return map[string]string{"GATE_SIGNING_KEY": r.keys[name]} }
	r.actions = runner.New(t, runner.Options{
		GitHub: r.hub, Repository: project, Git: r.bare, Root: root, Slots: 3, Limit: 4 * time.Minute,
		Vars: map[string]string{"GATE_APP_ID": fmt.Sprint(githubtest.AppID)},
		Gate: runner.Gate{Binary: gateBinary, Version: version1},
		Environments: map[string]runner.Environment{
			"gate-app":        place(map[string]string{"GATE_APP_KEY": string(r.hub.Key)}),
			"evidence":        place(map[string]string{"GATE_APP_KEY": string(r.hub.Key), "GATE_SIGNING_KEY": r.keys["ci"]}),
			"staging":         place(sign("staging")),
			"staging-back":    place(sign("staging")),
			"production":      place(sign("production"), "lead"),
			"production-back": place(sign("production")),
		},
		Machine: r.machine,
	})
	r.env = append(r.env, r.actions.Credentials("dev")...)
	r.hub.SetRole("dev", "write")
	r.hub.SetRole("lead", "admin")
	r.hub.SetRole("passer-by", "read")
}

// machine is what a job has beside what GitHub gives it: on a machine of its own,
// the state directory and the caches would be its own, too.
func (r *rehearsal) machine(dir string) []string {
	cache, err := cacheDir(os.Getenv)
	if err != nil {
		r.t.Error(err)
	}
	out := []string{"GATE_STATE=" + filepath.Join(dir, "state"), "GATE_CACHE=" + cache}
	for _, kv := range r.env {
		if strings.HasPrefix(kv, "GOVULNDB=") {
			out = append(out, kv)
		}
	}
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPROXY", "GOSUMDB", "GONOSUMDB", "GOPRIVATE"} {
		b, err := exec.Command("go", "env", name).Output()
		if err != nil {
			r.t.Error(err)
		}
		if v := strings.TrimSpace(string(b)); v != "" {
			out = append(out, name+"="+v)
		}
	}
	return out
}

// by starts a workflow by hand and waits until nothing is under way.
func (r *rehearsal) by(login, file string, inputs map[string]string) *runner.Run {
	r.t.Helper()
	if err := r.actions.Dispatch(login, "main", file, inputs); err != nil {
		r.t.Fatal(err)
	}
	r.actions.Wait(soon)
	return r.actions.Last(file)
}

// deployed are the states of an environment's deployments of a commit.
func (r *rehearsal) deployed(environment string, of edition) []string {
	r.t.Helper()
	var states []string
	for _, d := range r.hub.View().Deployments {
		if d.Environment == environment && d.Commit == of.commit {
			states = append(states, d.State)
		}
	}
	return states
}

func (r *rehearsal) eventually(within time.Duration, what string, ok func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(within); !ok(); <-time.After(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("not within %s: %s", within, what)
		}
	}
}

// hubGit runs git in the bare repository, past all rules.
func (r *rehearsal) hubGit(args ...string) string {
	r.t.Helper()
	return r.git(append([]string{"--git-dir=" + r.bare}, args...)...)
}

// stage says when a part of the rehearsal began.
func (r *rehearsal) stage(format string, args ...any) {
	r.t.Helper()
	r.t.Logf("%6s  %s", time.Since(r.began).Round(100*time.Millisecond), fmt.Sprintf(format, args...))
}

// concluded fails unless the newest run of the workflow ended so.
func (r *rehearsal) concluded(file, want string) *runner.Run {
	r.t.Helper()
	run := r.actions.Last(file)
	if run.Status != runner.Completed || run.Conclusion != want {
		r.t.Fatalf("%s should have ended with %s\n%s", file, want, run)
	}
	return run
}
