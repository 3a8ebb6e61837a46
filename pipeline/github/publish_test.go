package github_test

import (
	"strings"
	"testing"
	"time"

	"github.com/smartcloudops/gate/pipeline/github"
	"github.com/smartcloudops/gate/pipeline/github/githubtest"
	"github.com/smartcloudops/gate/policies"
)

func TestVerdictBecomesCheckRuns(t *testing.T) {
	s := githubtest.New(t, githubtest.Options{})
	v := verdict(s.Clock.Now(), policies.Pass, policies.Warn, policies.Fail, policies.Inconclusive, policies.Error, "odd")
	v.Mark = github.Mark{Seq: 12, Digest: digest('9')}
	for i := range 3 {
		v.Findings = append(v.Findings, finding(i))
	}
	got, err := app(t, s).PublishVerdict(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"gate": "action_required", "gate / tests": "success", "gate / scan": "neutral", "gate / config": "failure",
		"gate / load": "action_required", "gate / update": "action_required", "gate / tls": "action_required",
	}
	commit := s.View().Commits[commitA]
	if len(commit.Checks) != len(want) || len(got.Runs) != len(want) {
		t.Fatalf("%d checks, %d published; want %d", len(commit.Checks), len(got.Runs), len(want))
	}
	for name, conclusion := range want {
		c := commit.Check(githubtest.AppSlug, name)
		if c == nil || c.Status != "completed" || c.Conclusion != conclusion || c.Runs != 1 {
			t.Errorf("%s: %+v; want %s", name, c, conclusion)
		}
	}
	scan := commit.Check(githubtest.AppSlug, "gate / scan")
	if len(scan.Annotations) != 3 || scan.Annotations[1] != "app/f1.go:2 failure gosec G404: weak random numbers\nFix: crypto/rand" {
		t.Errorf("annotations %q", scan.Annotations)
	}
	for _, part := range []string{"| got | p95 2.31 s |", "| want | p95 &lt; 2 s |", "| why | because |", "| next | gate verify staging |", v.DetailsURL} {
		if !strings.Contains(scan.Summary, part) {
			t.Errorf("the summary lacks %q:\n%s", part, scan.Summary)
		}
	}
	// The aggregate begins first and ends last.
	var order []string
	for _, r := range s.Requests() {
		switch {
		case r.Method == "POST" && strings.HasSuffix(r.Path, "/check-runs"), r.Method == "PATCH":
			order = append(order, string(r.Body))
		}
	}
	if !strings.Contains(order[0], `"name":"gate"`) || !strings.Contains(order[0], `"in_progress"`) {
		t.Errorf("the first request is %s", order[0])
	}
	if last := order[len(order)-1]; !strings.Contains(last, `"name":"gate"`) || !strings.Contains(last, `"completed"`) {
		t.Errorf("the last request is %.200s", last)
	}
}

// TestALostReplyMakesNothingTwice: what was carried out, though nobody heard of
// it, is found and not done again.
func TestALostReplyMakesNothingTwice(t *testing.T) {
	for _, fault := range []githubtest.Fault{githubtest.LostReply, githubtest.BrokenAfter, githubtest.Truncated} {
		t.Run(string(fault), func(t *testing.T) {
			s := githubtest.New(t, githubtest.Options{})
			s.SetWorkflow("w.yml", "run-name: ${{ inputs.request }}\non:\n  workflow_dispatch:\n    inputs:\n      request: {required: true}\n")
			s.AddPull(githubtest.Pull{Author: "somebody", HeadSHA: commitA})
			s.FailNext("POST", "/check-runs", fault, 2)
			s.FailNext("PATCH", "/check-runs", fault, 2)
			s.FailNext("POST", "/deployments", fault, 2)
			s.FailNext("POST", "/statuses", fault, 1)
			s.FailNext("POST", "/comments", fault, 1)
			s.FailNext("POST", "/dispatches", fault, 1)
			g := app(t, s)
			v := verdict(s.Clock.Now(), "fail")
			for i := range 170 {
				f := finding(i)
				f.Tool = "tests"
				v.Findings = append(v.Findings, f)
			}
			if _, err := g.PublishVerdict(t.Context(), v); err != nil {
				t.Fatal(err)
			}
			if _, err := g.RecordDeployment(t.Context(), deployment("r1", github.Queued)); err != nil {
				t.Fatal(err)
			}
			if _, err := g.UpdateComment(t.Context(), commentOn(s, "fail", 0)); err != nil {
				t.Fatal(err)
			}
			if err := g.Dispatch(t.Context(), github.Dispatch{Workflow: "w.yml", Ref: "main", Inputs: map[string]string{"request": "req-1"}, Marker: "req-1", Since: s.Clock.Now().Add(-time.Hour)}); err == nil {
				t.Error("a marker of five characters is taken")
			}
			if err := g.Dispatch(t.Context(), github.Dispatch{Workflow: "w.yml", Ref: "main", Inputs: map[string]string{"request": "request-1"}, Marker: "request-1", Since: s.Clock.Now().Add(-time.Hour)}); err != nil {
				t.Fatal(err)
			}
			view := s.View()
			for _, c := range view.Commits[commitA].Checks {
				if c.Runs != 1 || c.Name == "gate / tests" && len(c.Annotations) != 170 {
					t.Errorf("%s: %d runs, %d annotations", c.Name, c.Runs, len(c.Annotations))
				}
			}
			if len(view.Deployments) != 1 || len(view.Deployments[0].States) != 1 || len(view.Comments[1]) != 1 || len(view.Dispatches) != 1 {
				t.Errorf("%+v", view)
			}
			deleted := 0
			for _, r := range s.Requests() {
				if r.Method == "DELETE" {
					deleted++
				}
			}
			if deleted != 0 {
				t.Errorf("%d comments were deleted", deleted)
			}
		})
	}
}
