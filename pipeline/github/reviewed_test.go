package github_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/smartcloudops/gate/pipeline/github"
	"github.com/smartcloudops/gate/pipeline/github/githubtest"
)

func TestWhatARunIsAbout(t *testing.T) {
	release := digest('e')
	for name, c := range map[string]struct {
		run  github.Run
		want bool
	}{
		"it runs the commit":             {github.Run{Event: "push", Head: github.Head{SHA: commitA, Repository: "SmartCloudOps/gate"}}, true},
		"a fork runs the commit":         {github.Run{Event: "pull_request", Head: github.Head{SHA: commitA, Repository: "mallory/gate"}}, false},
		"it was asked for the release":   {github.Run{Event: "workflow_dispatch", Title: "promote " + release + " to production"}, true},
		"it was asked for the commit":    {github.Run{Event: "workflow_dispatch", Title: "promote " + commitA}, true},
		"it was asked for another":       {github.Run{Event: "workflow_dispatch", Title: "promote " + digest('f')}, false},
		"a commit's subject says so":     {github.Run{Event: "push", Title: "mend " + release}, false},
		"it is part of another word":     {github.Run{Event: "workflow_dispatch", Title: "promote " + commitA + "0"}, false},
		"nobody knows what it was about": {github.Run{Event: "workflow_dispatch", Title: "promote"}, false},
	} {
		if got := c.run.Names("smartcloudops/gate", release, commitA); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestReviewersOfARun(t *testing.T) {
	s := githubtest.New(t, githubtest.Options{})
	s.ReviewRun(7, "production", "ann", "approved")
	s.ReviewRun(7, "staging", "bob", "approved")
	s.ReviewRun(7, "production", "carl", "approved")
	s.ReviewRun(7, "production", "carl", "rejected")
	s.ReviewRun(7, "production", "dora", "rejected")
	s.ReviewRun(7, "production", "dora", "approved")
	s.ReviewRun(7, "production", "Ann", "approved")
	s.ReviewRun(8, "production", "eve", "approved")
	got, err := app(t, s).Reviewers(t.Context(), 7, "production")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]github.Reviewer{{Login: "Ann", Comment: "looks good"}, {Login: "dora", Comment: "looks good"}}, got); d != "" {
		t.Error(d)
	}
	if got, err := app(t, s).Reviewers(t.Context(), 9, "production"); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
}
