package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/smartcloudops/gate/pipeline/github/githubtest/runner"
	"github.com/smartcloudops/gate/pipeline/github/workflows"
)

// staging promotes both releases there by hand: the machine pulls.
func (r *rehearsal) staging() {
	r.daemon("staging")
	for _, of := range []edition{r.first, r.second} {
		run := r.by("dev", "promote.yml", map[string]string{"environment": "staging", "release": of.digest, "reason": "rehearsal"})
		if run.Conclusion != runner.Success {
			r.t.Fatalf("promotion of %.19s:\n%s", of.digest, run)
		}
		r.settled("staging", of)
		if got := r.deployed("staging", of); !slices.Equal(got, []string{"success"}) {
			r.t.Errorf("GitHub shows the deployments %v of %.12s in staging", got, of.commit)
		}
	}
	if n := len(r.actions.Of("env.yml")); n != 0 {
		r.t.Errorf("what a workflow has pushed started %d workflows", n)
	}
}

// production is promoted into by a pull request for its branch.
func (r *rehearsal) production() {
	t := r.t
	r.daemon("production")
	carried := r.read(workflows.Carried)
	r.git("switch", "-q", "--orphan", "env/production")
	r.write(workflows.Carried, carried)
	r.commit("requests for production")
	r.git("push", "-q", "origin", "env/production")
	r.git("switch", "-q", "-c", "ship-it")
	r.write("request.json", fmt.Sprintf("{\n  \"release\": %q,\n  \"by\": \"dev\",\n  \"reason\": \"the first edition\"\n}\n", r.first.digest))
	r.commit("the first edition")
	r.git("push", "-q", "origin", "ship-it")
	number := r.actions.OpenPull("ship-it", "env/production", "dev", "the first edition into production")
	r.actions.Wait(soon)
	if _, err := r.actions.Merge(number, "lead"); err != nil {
		t.Fatal(err)
	}
	r.actions.Wait(soon)
	run := r.concluded("env.yml", runner.Success)
	if j := run.Job("request / follow"); j == nil || j.Conclusion != runner.Success {
		t.Errorf("nobody followed the request:\n%s", run)
	}
	r.settled("production", r.first)
	if got := r.deployed("production", r.first); !slices.Equal(got, []string{"success"}) {
		t.Errorf("GitHub shows the deployments %v of %.12s in production", got, r.first.commit)
	}
	r.git("switch", "-q", "main")
}

// badCanary promotes the release that answers wrongly in production alone.
func (r *rehearsal) badCanary() {
	t := r.t
	run := r.by("dev", "promote.yml", map[string]string{"environment": "production", "release": r.second.digest, "reason": "the second edition"})
	if j := run.Job("promote"); j.Status != runner.Waiting {
		t.Fatalf("nobody was asked:\n%s", run)
	}
	if err := r.actions.Approve(run, "promote", "lead"); err != nil {
		t.Fatal(err)
	}
	r.actions.Wait(soon)
	run = r.concluded("promote.yml", runner.Failure)
	if log := run.Log(); !strings.Contains(log, "exit code 7") || !strings.Contains(log, "rolled_back") && !strings.Contains(log, "rolled back") {
		t.Errorf("whoever promoted is not told what came of it:\n%s", run)
	}
	r.settled("production", r.first)
	if got := r.deployed("production", r.second); !slices.Equal(got, []string{"failure"}) {
		t.Errorf("GitHub shows the deployments %v of %.12s in production", got, r.second.commit)
	}
	tip := r.hubGit("log", "-1", "--format=%B", "env/production")
	var request string
	r.eventually(soon, "a commit on env/production says what came of it", func() bool {
		tip, request = r.hubGit("log", "-1", "--format=%B", "env/production"), r.hubGit("show", "env/production:request.json")
		return strings.Contains(tip, "Gate-Settles")
	})
	if !strings.Contains(tip, "canary") || !strings.Contains(request, r.first.digest) {
		t.Errorf("env/production ends with\n%s\nand asks for %s", tip, request)
	}
	t.Logf("env/production ends with\n%s", tip)
}

// held stops what goes forward, and nothing that goes back.
func (r *rehearsal) held() {
	t := r.t
	run := r.by("dev", "hold.yml", map[string]string{"environment": "staging", "reason": "an inventory is taken"})
	if run.Conclusion != runner.Success {
		t.Fatalf("the hold:\n%s", run)
	}
	run = r.by("dev", "promote.yml", map[string]string{"environment": "staging", "release": r.first.digest, "reason": "rehearsal"})
	if log := run.Log(); run.Conclusion != runner.Failure || !strings.Contains(log, "exit code 6") || !strings.Contains(log, "an inventory is taken") {
		t.Errorf("a held environment was promoted into, or nobody says why not:\n%s", run)
	}
	r.settled("staging", r.second)
	run = r.by("dev", "rollback.yml", map[string]string{"environment": "staging", "reason": "it burns"})
	if run.Conclusion != runner.Success {
		t.Errorf("the way back:\n%s", run)
	}
	r.settled("staging", r.first)
	run = r.by("dev", "hold.yml", map[string]string{"environment": "staging", "reason": "done", "lift": "true"})
	if run.Conclusion != runner.Success {
		t.Errorf("the hold was not lifted:\n%s", run)
	}
}

// unbelieved puts another ledger onto the remote, and sees to it that nobody
// believes it and nothing here is lost; then it puts the ledger back.
func (r *rehearsal) unbelieved(tip string, words ...string) {
	t := r.t
	good := r.hubGit("rev-parse", "refs/heads/gate/ledger")
	seq := r.want(0, "status", "staging").out
	r.hubGit("update-ref", "refs/heads/gate/ledger", tip)
	for environment, w := range r.machines {
		r.eventually(soon, "the daemon of "+environment+" says that it does not believe this", func() bool {
			b, err := os.ReadFile(filepath.Join(w.state, "serve.log"))
			if err != nil {
				t.Fatal(err)
			}
			log := string(b)
			return !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(log, word) })
		})
		w.want(0, "ledger", "verify")
	}
	run := r.by("dev", "promote.yml", map[string]string{"environment": "staging", "release": r.second.digest, "reason": "rehearsal"})
	if log := run.Log(); run.Conclusion != runner.Failure || slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(log, word) }) {
		t.Errorf("a workflow believes it, or does not say why not:\n%s", run)
	}
	t.Logf("the workflow says\n%s", run.Log())
	if now := r.hubGit("rev-parse", "refs/heads/gate/ledger"); now != tip {
		t.Errorf("somebody has pushed to it: %s", now)
	}
	r.hubGit("update-ref", "refs/heads/gate/ledger", good)
	_ = seq
}

// rewound is a remote that has lost its newest entries.
func (r *rehearsal) rewound() {
	r.unbelieved(r.hubGit("rev-parse", "refs/heads/gate/ledger~4"), "was there before")
}

// rewritten is a remote whose old entries say something else.
func (r *rehearsal) rewritten() {
	t := r.t
	dir := filepath.Join(r.root, "forger")
	r.git("clone", "-q", "--branch", "gate/ledger", r.bare, dir)
	files := strings.Fields(r.git("-C", dir, "ls-files", "*.statement.json"))
	file := filepath.Join(dir, files[len(files)/2])
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.ReadFile(filepath.Join(dir, files[len(files)/2-1]))
	if err != nil || string(other) == string(b) {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, other, 0o644); err != nil {
		t.Fatal(err)
	}
	r.git("-C", dir, "commit", "-q", "-a", "-m", "nothing to see")
	r.hubGit("fetch", "-q", dir, "gate/ledger:refs/forged")
	r.unbelieved(r.hubGit("rev-parse", "refs/forged"), "altered")
}
