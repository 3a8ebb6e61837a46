package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/smartcloudops/gate/pipeline/github/githubtest/runner"
	"github.com/smartcloudops/gate/pipeline/promotion"
)

// byHand promotes the first release: the machines pull. For production, somebody
// must approve.
func (r *rehearsal) byHand() {
	t := r.t
	for _, environment := range []string{"staging", "production"} {
		r.serve(environment)
		run := r.by("dev", "promote.yml", map[string]string{"environment": environment, "release": r.first.digest, "reason": "the first edition"})
		if environment == "production" {
			if j := run.Job("promote"); j.Status != runner.Waiting {
				t.Fatalf("nobody was asked:\n%s", run)
			}
			if err := r.actions.Approve(run, "promote", "lead"); err != nil {
				t.Fatal(err)
			}
			r.actions.Wait(soon)
		}
		r.concluded("promote.yml", runner.Success)
		r.settled(environment, r.first)
		r.shows(environment, r.first, "success")
	}
	if n := len(r.actions.Of("env.yml")); n != 0 {
		t.Errorf("what a workflow has pushed started %d workflows", n)
	}
}

// byPull asks for the second release in staging, where nothing is wrong with it.
func (r *rehearsal) byPull() {
	run := r.asked("staging", r.second)
	if j := run.Job("request / follow"); j == nil || run.Conclusion != runner.Success {
		r.t.Errorf("nobody followed the request:\n%s", run)
	}
	r.settled("staging", r.second)
	r.shows("staging", r.second, "success")
}

// asked asks for a release by a pull request for the environment's branch, and
// returns the run that followed it.
func (r *rehearsal) asked(environment string, of edition) *runner.Run {
	r.t.Helper()
	branch := "env/" + environment
	r.git("fetch", "-q", "origin")
	r.git("switch", "-q", "-c", "ship-to-"+environment, "origin/"+branch)
	r.write("request.json", fmt.Sprintf("{\n  \"release\": %q,\n  \"commit\": %q,\n  \"by\": \"dev\",\n  \"reason\": \"it is time\"\n}\n", of.digest, of.commit))
	r.commit("the next edition")
	r.git("push", "-q", "origin", "HEAD")
	number := r.actions.OpenPull("ship-to-"+environment, branch, "dev", "the next edition into "+environment)
	r.actions.Wait(soon)
	before := len(r.actions.Of("env.yml"))
	if _, err := r.actions.Merge(number, "lead"); err != nil {
		r.t.Fatal(err)
	}
	r.actions.Wait(soon)
	all := r.actions.Of("env.yml")
	if len(all) <= before {
		r.t.Fatalf("the merge into %s has started nothing", branch)
	}
	r.git("switch", "-q", "main")
	return all[before]
}

// shows fails unless GitHub shows the release in the environment as one
// deployment in that state.
func (r *rehearsal) shows(environment string, of edition, state string) {
	r.t.Helper()
	if got := r.deployed(environment, of); !slices.Equal(got, []string{state}) {
		r.t.Errorf("GitHub shows the deployments %v of %.12s in %s, want %s", got, of.commit, environment, state)
	}
}

// badCanary asks for the release that answers wrongly in production alone.
func (r *rehearsal) badCanary() {
	t := r.t
	run := r.asked("production", r.second)
	if j := run.Job("request / follow"); j == nil || run.Conclusion != runner.Success {
		t.Errorf("nobody followed the request:\n%s", run)
	}
	r.settled("production", r.first)
	r.shows("production", r.second, "failure")
	var tip, request string
	r.eventually(time.Minute, "a commit on env/production says what came of it", func() bool {
		tip, request = r.hubGit("log", "-1", "--format=%B", "env/production"), r.hubGit("show", "env/production:request.json")
		return strings.Contains(tip, "Gate-Settles")
	})
	if !strings.Contains(tip, "canary") || !strings.Contains(request, r.first.digest) {
		t.Errorf("env/production ends with\n%s\nand asks for %s", tip, request)
	}
	r.actions.Wait(soon)
}

// held stops what goes forward, and nothing that goes back. Both are asked for
// in comments.
func (r *rehearsal) held() {
	r.says("dev", "/gate hold staging an inventory is taken")
	r.concluded("hold.yml", runner.Success)
	run := r.by("dev", "promote.yml", map[string]string{"environment": "staging", "release": r.first.digest, "reason": "rehearsal"})
	if log := run.Log(); run.Conclusion != runner.Failure || !strings.Contains(log, "exit code 6") || !strings.Contains(log, "an inventory is taken") {
		r.t.Errorf("a held environment was promoted into, or nobody says why not:\n%s", run)
	}
	r.settled("staging", r.second)
	r.says("dev", "/gate rollback staging")
	r.concluded("rollback.yml", runner.Success)
	r.settled("staging", r.first)
	r.by("dev", "hold.yml", map[string]string{"environment": "staging", "reason": "done", "lift": "true"})
	r.concluded("hold.yml", runner.Success)
}

// unbelieved puts another ledger onto the remote, and sees to it that nobody
// believes it and nothing here is lost; then it puts the ledger back. The words
// are those of a daemon, which knows how far the ledger was, and of a workflow,
// which has only what the env branches repeat.
func (r *rehearsal) unbelieved(tip, daemon, workflow string) {
	t := r.t
	good := r.hubGit("rev-parse", "refs/heads/gate/ledger")
	r.hubGit("update-ref", "refs/heads/gate/ledger", tip)
	for environment, h := range r.hosts {
		r.eventually(time.Minute, "the daemon of "+environment+" says that it does not believe this", func() bool {
			return strings.Contains(h.said(2000), daemon)
		})
		h.want(promotion.CodePass, "ledger", "verify")
	}
	run := r.by("dev", "promote.yml", map[string]string{"environment": "staging", "release": r.second.digest, "reason": "rehearsal"})
	if log := run.Log(); run.Conclusion != runner.Failure || !strings.Contains(log, workflow) {
		t.Errorf("a workflow believes it, or does not say why not:\n%s", run)
	}
	if now := r.hubGit("rev-parse", "refs/heads/gate/ledger"); now != tip {
		t.Errorf("somebody has pushed to it: %s", now)
	}
	r.hubGit("update-ref", "refs/heads/gate/ledger", good)
	for environment, h := range r.hosts {
		r.eventually(time.Minute, "the daemon of "+environment+" goes on", func() bool {
			said := h.said(2000)
			return strings.LastIndex(said, "one again") > strings.LastIndex(said, daemon)
		})
	}
	r.verify()
	if now := r.hubGit("rev-parse", "refs/heads/gate/ledger"); now != good {
		t.Errorf("the ledger is another one afterwards: %s", now)
	}
}

// rewound is a remote that has lost half of its entries.
func (r *rehearsal) rewound() {
	n, err := strconv.Atoi(r.hubGit("rev-list", "--count", "gate/ledger"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.unbelieved(r.hubGit("rev-parse", fmt.Sprintf("refs/heads/gate/ledger~%d", n/2)), "was there before and is gone", "ledger was truncated or replaced")
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
	r.unbelieved(r.hubGit("rev-parse", "refs/forged"), "was altered", "ledger is broken")
}
