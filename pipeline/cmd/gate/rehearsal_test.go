package main

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/smartcloudops/gate/pipeline/github/githubtest"
	"github.com/smartcloudops/gate/pipeline/github/githubtest/runner"
	"github.com/smartcloudops/gate/pipeline/promotion"
)

// TestRehearsal takes changes the way that people take them: from a branch by a
// pull request, workflows and a signed ledger into two environments on two
// machines, and back.
func TestRehearsal(t *testing.T) {
	drill(t)
	r := newRehearsal(t)
	for _, stage := range []struct {
		name string
		run  func(*rehearsal)
	}{
		{"a proposal is measured, judged and shown", (*rehearsal).proposal},
		{"what is merged is measured and signed for", (*rehearsal).merged},
		{"promoted into staging and production by hand", (*rehearsal).byHand},
		{"two runs are signed for at once", (*rehearsal).atOnce},
		{"promoted into staging by a pull request", (*rehearsal).byPull},
		{"a bad canary goes back by itself", (*rehearsal).badCanary},
		{"held, and rolled back while held", (*rehearsal).held},
		{"a ledger that was turned back is refused", (*rehearsal).rewound},
		{"a ledger that was rewritten is refused", (*rehearsal).rewritten},
	} {
		r.stage("%s", stage.name)
		stage.run(r)
		if t.Failed() {
			t.FailNow()
		}
	}
	r.stage("over")
	r.verify()
	for _, run := range r.actions.Runs() {
		for _, j := range run.Jobs {
			if j.Deployed || len(j.Left) > 0 {
				t.Errorf("%s, job %s: GitHub shows a deployment of its own (%v), or it left %v", run.File, j.ID, j.Deployed, j.Left)
			}
		}
	}
	if made := r.actions.Made(); len(made) > 0 {
		t.Errorf("the workflows name environments that nobody has declared: %v", made)
	}
}

// proposal is a pull request: measured, judged, shown, and merged when it may be.
// It touches what an owner has to see.
func (r *rehearsal) proposal() {
	t := r.t
	r.git("switch", "-q", "-c", "feature")
	r.append("notes.go", "\n// edition is the first one.\nconst edition = 1\n")
	r.replace("environments/app.yaml", "    PG_DSN: ${DATABASE_URL}\n  ready", "    PG_DSN: ${DATABASE_URL}\n    ENVIRONMENT: ${ENVIRONMENT}\n  ready")
	head := r.propose("the first edition")
	if _, err := r.actions.Merge(r.pull, "lead"); err == nil || !strings.Contains(err.Error(), "no such check run") {
		t.Errorf("it could be merged before it was judged: %v", err)
	}
	r.measured()
	r.concluded("publish.yml", runner.Success)
	if c := r.check(head, "gate"); c.Conclusion != "action_required" {
		t.Errorf("nobody has approved it, and its verdict is %+v", c)
	}
	if c := r.check(head, "gate / change"); c.Conclusion != "action_required" || !strings.Contains(c.Title+c.Summary, "environments/app.yaml") {
		t.Errorf("the check run does not say what an owner must see: %+v", c)
	}
	if _, err := r.actions.Merge(r.pull, "lead"); err == nil || !strings.Contains(err.Error(), "action_required") {
		t.Errorf("it could be merged before it was approved: %v", err)
	}
	r.hub.AddReview(r.pull, githubtest.Review{Login: "lead", State: "APPROVED", Commit: head})
	r.says("passer-by", "/gate rerun")
	r.says("dev", "/gate rerun")
	if n := len(r.actions.Of("publish.yml")); n != 2 {
		t.Fatalf("two comments, one of somebody who may not, have led to %d runs of publish.yml:\n%s", n, r.actions.Last("commands.yml"))
	}
	r.letThrough(head)
	r.shown(head)
	if refs := r.hubGit("for-each-ref", "--format=%(refname)", "refs/heads/gate/", "refs/heads/env/"); refs != "" {
		t.Errorf("a change has written to the ledger: %s", refs)
	}
}

// propose opens a pull request for what is checked out, and returns its head.
func (r *rehearsal) propose(title string) string {
	r.t.Helper()
	r.commit(title)
	r.git("push", "-q", "origin", "HEAD")
	branch := r.git("branch", "--show-current")
	r.pull = r.actions.OpenPull(branch, "main", "dev", title)
	return r.git("rev-parse", "HEAD")
}

// says comments on the newest proposal, and waits for what comes of it.
func (r *rehearsal) says(login, comment string) {
	r.t.Helper()
	r.actions.Comment(r.pull, login, comment)
	r.actions.Wait(soon)
	r.concluded("commands.yml", runner.Success)
}

// check is a commit's check run as a reader sees it.
func (r *rehearsal) check(commit, name string) githubtest.Check {
	r.t.Helper()
	c := r.hub.View().Commits[commit].Check(githubtest.AppSlug, name)
	if c == nil {
		r.t.Fatalf("commit %s has no check run %s:\n%s", commit, name, r.actions.Last("publish.yml"))
	}
	return *c
}

// letThrough fails unless all check runs of the commit do.
func (r *rehearsal) letThrough(commit string) {
	r.t.Helper()
	for _, name := range []string{"gate", "gate / tests", "gate / scan", "gate / config", "gate / load", "gate / update", "gate / tls"} {
		// Warnings are neutral, and let it through.
		if c := r.check(commit, name); c.Conclusion != "success" && (name != "gate" || c.Conclusion != "neutral") || c.Contradiction {
			r.t.Fatalf("the check run of %.12s: %+v\n%s", commit, c, r.actions.Last("publish.yml"))
		}
	}
}

// shown fails unless the proposal is shown where people look.
func (r *rehearsal) shown(head string) {
	t := r.t
	v := r.hub.View()
	var own []string
	for _, c := range v.Comments[r.pull] {
		if c.Login == githubtest.AppSlug+"[bot]" {
			own = append(own, c.Body)
		}
	}
	if len(own) != 1 || !strings.Contains(own[0], "warn: staging (change)") || !strings.Contains(own[0], head) {
		t.Errorf("the pull request says %q", own)
	}
	if s := r.actions.Last("publish.yml").Job("change").Summary; !strings.Contains(s, "pass") {
		t.Errorf("the run's summary says %q", s)
	}
	if len(v.Uploads) == 0 || v.Uploads[len(v.Uploads)-1].Commit != head {
		t.Errorf("code scanning has %d uploads", len(v.Uploads))
	}
}

// merged is the first commit of the protected branch that is measured: with its
// evidence, the ledger begins at the remote.
func (r *rehearsal) merged() {
	r.first.commit = r.merge()
	r.measured()
	r.signedFor(&r.first)
}

func (r *rehearsal) merge() string {
	r.t.Helper()
	commit, err := r.actions.Merge(r.pull, "lead")
	if err != nil {
		r.t.Fatal(err)
	}
	return commit
}

// signedFor fails unless the commit has a verdict that lets it through and the
// remote's ledger has evidence about what it became.
func (r *rehearsal) signedFor(of *edition) {
	r.t.Helper()
	r.letThrough(of.commit)
	r.verify()
	of.digest = r.digest(of.commit)
	list := r.want(promotion.CodePass, "evidence", "list").out
	if n := strings.Count(list, strings.TrimPrefix(of.digest, "sha256:")[:12]); n < 5 {
		r.t.Errorf("the ledger has %d pieces of evidence about %s:\n%s", n, of.digest, list)
	}
}

// tooBusy is said where the machine could not measure.
var tooBusy = regexp.MustCompile(`(?m)^\s*(load|update|tls|tests|scan) +inconclusive`)

// measured waits until commit.yml has measured. A machine that was too busy is
// asked again.
func (r *rehearsal) measured() {
	r.t.Helper()
	for again := 3; ; again-- {
		r.actions.Wait(soon)
		run := r.actions.Last("commit.yml")
		log := run.Log()
		switch {
		case run.Conclusion == runner.Success, strings.Contains(log, "exit code 4") && !tooBusy.MatchString(log):
			return
		case again == 0 || !tooBusy.MatchString(log):
			r.t.Fatalf("commit.yml has not measured:\n%s", run)
		}
		r.t.Logf("run %d is inconclusive, and asked again", run.ID)
		r.actions.Rerun(run)
	}
}

// atOnce publishes two runs at once, that of a commit and that of the night:
// whoever is second at the remote records again behind the first.
func (r *rehearsal) atOnce() {
	t := r.t
	// Workflows and machines share this machine's addresses.
	r.hosts["staging"].stop()
	r.git("fetch", "-q", "origin")
	r.git("switch", "-q", "-C", "second", "origin/main")
	r.replace("notes.go", `	mux.HandleFunc("GET /notes", func(w http.ResponseWriter, r *http.Request) {
`, `	mux.HandleFunc("GET /notes", func(w http.ResponseWriter, r *http.Request) {
		if os.Getenv("ENVIRONMENT") == "production" {
			http.Error(w, "planted", http.StatusInternalServerError)
			return
		}
`, "\t\"net/http\"\n", "\t\"net/http\"\n\t\"os\"\n")
	head := r.propose("wrong in production alone")
	r.measured()
	r.letThrough(head)
	r.shown(head)

	r.actions.Pause("publish.yml")
	r.actions.Schedule("23 2 * * 1-6")
	r.actions.Wait(soon)
	r.concluded("drills.yml", runner.Success)
	r.second.commit = r.merge()
	r.measured()
	r.serve("staging")
	r.actions.Resume("publish.yml")
	r.actions.Wait(soon)
	all := r.actions.Of("publish.yml")
	var last []runner.Step
	for _, run := range all[len(all)-2:] {
		j := run.Job("protected")
		if run.Conclusion != runner.Success || j.Conclusion != runner.Success {
			t.Fatalf("it was not signed for:\n%s", run)
		}
		last = append(last, j.Steps[len(j.Steps)-1])
	}
	if a, b := last[0], last[1]; a.Began.Add(a.Took).Before(b.Began) || b.Began.Add(b.Took).Before(a.Began) {
		t.Errorf("they did not meet: %s at %s for %s, %s at %s for %s", a.Name, a.Began, a.Took, b.Name, b.Began, b.Took)
	}
	r.signedFor(&r.first)
	r.signedFor(&r.second)
}

// verify brings a laptop's copy of the ledger up to date, and verifies all of it.
func (r *rehearsal) verify() {
	r.t.Helper()
	r.want(promotion.CodePass, "status", "staging", "--remote")
	r.want(promotion.CodePass, "ledger", "verify")
}

// digest is the release that the commit became, by the ledger at the remote.
func (r *rehearsal) digest(commit string) string {
	r.t.Helper()
	got := r.gate("decide", "staging", "--release", commit, "--output", "json")
	var d struct{ Release string }
	if err := json.Unmarshal([]byte(got.out), &d); err != nil || d.Release == "" {
		r.t.Fatalf("no decision on %s: %v\n%s", commit, err, got)
	}
	return d.Release
}
