package github_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/smartcloudops/gate/pipeline/github"
	"github.com/smartcloudops/gate/pipeline/github/githubtest"
)

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
