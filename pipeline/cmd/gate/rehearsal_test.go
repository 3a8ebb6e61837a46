package main

import (
	"encoding/json"
	"slices"
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
	if testing.Short() {
		t.Skip("SKIPPED under -short: minutes of workflows, measurements and promotions. Without it nothing here shows that GitHub's side and the machines' fit together")
	}
	r := newRehearsal(t)
	for _, stage := range []struct {
		name string
		run  func(*rehearsal)
	}{
		{"a proposal is measured, judged and shown", (*rehearsal).proposal},
		{"two commits are signed for at once", (*rehearsal).signed},
		{"promoted into staging by hand", (*rehearsal).staging},
		{"promoted into production by a pull request", (*rehearsal).production},
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
	r.want(promotion.CodePass, "ledger", "verify")
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
func (r *rehearsal) proposal() {
	t := r.t
	r.git("switch", "-q", "-c", "feature")
	r.append("notes.go", "\n// edition is the first one.\nconst edition = 1\n")
	r.commit("the first edition")
	head := r.git("rev-parse", "HEAD")
	r.git("push", "-q", "origin", "feature")
	number := r.actions.OpenPull("feature", "main", "dev", "the first edition")
	if _, err := r.actions.Merge(number, "lead"); err == nil || !strings.Contains(err.Error(), "no such check run") {
		t.Errorf("it could be merged before it was judged: %v", err)
	}
	r.measured()
	published := r.concluded("publish.yml", runner.Success)
	v := r.hub.View()
	for _, name := range []string{"gate", "gate / change", "gate / tests", "gate / scan", "gate / load", "gate / update", "gate / tls"} {
		if c := v.Commits[head].Check(githubtest.AppSlug, name); c == nil || c.Conclusion != "success" {
			t.Errorf("the change's check run %s: %+v", name, c)
		}
	}
	if said := v.Comments[number]; len(said) != 1 || said[0].Login != githubtest.AppSlug+"[bot]" || !strings.Contains(said[0].Body, "pass: staging (change)") || !strings.Contains(said[0].Body, head) {
		t.Errorf("the pull request says %+v", said)
	}
	if s := published.Job("change").Summary; !strings.Contains(s, "pass") {
		t.Errorf("the run's summary says %q", s)
	}
	if len(v.Uploads) != 1 || v.Uploads[0].Commit != head {
		t.Errorf("code scanning has %d uploads", len(v.Uploads))
	}
	if refs := r.hubGit("for-each-ref", "--format=%(refname)", "refs/heads/gate/", "refs/heads/env/"); refs != "" {
		t.Errorf("a change has written to the ledger: %s", refs)
	}
	r.actions.Pause("publish.yml")
	merged, err := r.actions.Merge(number, "lead")
	if err != nil {
		t.Fatal(err)
	}
	r.first.commit = merged
	r.measured()
}

// measured waits until commit.yml has measured. A machine that was too busy is
// asked again.
func (r *rehearsal) measured() {
	r.t.Helper()
	for range 3 {
		r.actions.Wait(soon)
		run := r.actions.Last("commit.yml")
		if run.Conclusion == runner.Success {
			return
		}
		if !strings.Contains(run.Log(), "exit code 4") {
			break
		}
		r.t.Logf("inconclusive, and asked again: %s", run)
		r.actions.Rerun(run)
	}
	r.concluded("commit.yml", runner.Success)
}

// signed publishes two commits of the protected branch at once: whoever is second
// at the remote records again behind the first.
func (r *rehearsal) signed() {
	t := r.t
	r.git("fetch", "-q", "origin")
	r.git("switch", "-q", "-C", "main", "origin/main")
	r.replace("notes.go", `	mux.HandleFunc("GET /notes", func(w http.ResponseWriter, r *http.Request) {
`, `	mux.HandleFunc("GET /notes", func(w http.ResponseWriter, r *http.Request) {
		if os.Getenv("ENVIRONMENT") == "production" {
			http.Error(w, "planted", http.StatusInternalServerError)
			return
		}
`, "\t\"net/http\"\n", "\t\"net/http\"\n\t\"os\"\n")
	r.commit("wrong in production alone")
	r.second.commit = r.git("rev-parse", "HEAD")
	dev := r.env
	r.env = append(slices.Clone(dev), r.actions.Credentials("admin")...)
	r.git("push", "-q", "origin", "main")
	r.env = dev
	r.measured()
	r.actions.Resume("publish.yml")
	r.actions.Wait(soon)
	all := r.actions.Of("publish.yml")
	for _, run := range all[len(all)-2:] {
		if run.Conclusion != runner.Success || run.Job("protected").Conclusion != runner.Success {
			t.Errorf("a commit of main was not signed for:\n%s", run)
		}
	}
	for _, of := range []*edition{&r.first, &r.second} {
		if c := r.hub.View().Commits[of.commit].Check(githubtest.AppSlug, "gate"); c == nil || c.Conclusion != "success" {
			t.Errorf("the check run of %.12s: %+v", of.commit, c)
		}
		of.digest = r.digest(of.commit)
	}
	r.want(promotion.CodePass, "ledger", "verify")
	list := r.want(promotion.CodePass, "evidence", "list").out
	for _, of := range []edition{r.first, r.second} {
		if n := strings.Count(list, strings.TrimPrefix(of.digest, "sha256:")[:12]); n < 5 {
			t.Errorf("the ledger has %d pieces of evidence about %s:\n%s", n, of.digest, list)
		}
	}
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
