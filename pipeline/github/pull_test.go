package github_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/smartcloudops/gate/pipeline/github"
	"github.com/smartcloudops/gate/pipeline/github/githubtest"
)

func TestPullRequestOfACommitAlsoFromAFork(t *testing.T) {
	s := githubtest.New(t, githubtest.Options{PageSize: 2})
	for range 5 {
		s.AddPull(githubtest.Pull{Author: "other", HeadSHA: commitB, HeadBranch: "x"})
	}
	n := s.AddPull(githubtest.Pull{Author: "somebody", HeadSHA: commitA, HeadBranch: "fix", HeadRepo: "somebody/gate", Unreachable: true})
	s.AddPull(githubtest.Pull{Author: "somebody", HeadSHA: commitA, HeadBranch: "fix", HeadRepo: "mallory/gate", Unreachable: true})
	s.AddPull(githubtest.Pull{Author: "somebody", HeadSHA: commitA, HeadBranch: "fix", HeadRepo: "somebody/gate", State: "closed"})
	got, err := app(t, s).PullRequestsOf(t.Context(), github.Head{SHA: commitA, Branch: "fix", Repository: "somebody/gate"})
	if err != nil || len(got) != 1 || got[0].Number != n || !got[0].Fork || got[0].Author != "somebody" || got[0].Base.Branch != "main" {
		t.Fatalf("%+v, %v", got, err)
	}
	if got, err := app(t, s).PullRequestsOf(t.Context(), github.Head{SHA: commitB}); err != nil || len(got) != 5 || got[0].Fork {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := app(t, s).PullRequestsOf(t.Context(), github.Head{SHA: "cccccccccccccccccccccccccccccccccccccccc"}); err != nil || len(got) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := app(t, s).PullRequest(t.Context(), 99); !errors.Is(err, github.ErrNotFound) {
		t.Errorf("error %v", err)
	}
}

func TestChangedFilesAreAllOrAnError(t *testing.T) {
	s := githubtest.New(t, githubtest.Options{PageSize: 7})
	var files []string
	for i := range 20 {
		files = append(files, fmt.Sprintf("app/f%d.go", i))
	}
	n := s.AddPull(githubtest.Pull{Author: "somebody", HeadSHA: commitA, Files: append(files, ".github/workflows/a.yml -> docs/a.yml")})
	got, err := app(t, s).ChangedFiles(t.Context(), n, commitA)
	if err != nil || len(got) != 21 || got[20].Previous != ".github/workflows/a.yml" || got[20].Path != "docs/a.yml" {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := app(t, s).ChangedFiles(t.Context(), n, commitB); !errors.Is(err, github.ErrMoved) {
		t.Errorf("another head: error %v", err)
	}
	few := s.AddPull(githubtest.Pull{Author: "somebody", HeadSHA: commitA, Files: files[:2], Counted: 3})
	if _, err := app(t, s).ChangedFiles(t.Context(), few, commitA); !errors.Is(err, github.ErrTruncated) {
		t.Errorf("a file is not listed: error %v", err)
	}
	none := s.AddPull(githubtest.Pull{Author: "somebody", HeadSHA: commitA, Counted: 1})
	if _, err := app(t, s).ChangedFiles(t.Context(), none, commitA); !errors.Is(err, github.ErrTruncated) {
		t.Errorf("none is listed: error %v", err)
	}
}

func TestMoreFilesThanGitHubListsAreAnError(t *testing.T) {
	s := githubtest.New(t, githubtest.Options{})
	var files []string
	for i := range 3001 {
		files = append(files, fmt.Sprintf("f%d", i))
	}
	n := s.AddPull(githubtest.Pull{Author: "somebody", HeadSHA: commitA, Files: files})
	if _, err := app(t, s).ChangedFiles(t.Context(), n, commitA); !errors.Is(err, github.ErrTruncated) {
		t.Errorf("error %v", err)
	}
	full := s.AddPull(githubtest.Pull{Author: "somebody", HeadSHA: commitA, Files: files[:3000]})
	if _, err := app(t, s).ChangedFiles(t.Context(), full, commitA); !errors.Is(err, github.ErrTruncated) {
		t.Errorf("as many as can be listed: error %v", err)
	}
}

func TestOnlyStandingApprovalsOfTheHeadCount(t *testing.T) {
	s := githubtest.New(t, githubtest.Options{PageSize: 3})
	n := s.AddPull(githubtest.Pull{Author: "author", HeadSHA: commitA})
	at := s.Clock.Now()
	add := func(login, state, commit string, minute int) {
		s.AddReview(n, githubtest.Review{Login: login, State: state, Commit: commit, At: at.Add(time.Duration(minute) * time.Minute)})
	}
	add("stands", "APPROVED", commitA, 1)
	add("stands", "COMMENTED", commitA, 2) // says nothing about the approval
	add("older", "APPROVED", commitB, 1)
	add("changed", "APPROVED", commitA, 1)
	add("changed", "CHANGES_REQUESTED", commitA, 2)
	add("back", "CHANGES_REQUESTED", commitA, 1)
	add("back", "APPROVED", commitA, 2)
	add("dismissed", "DISMISSED", commitA, 1)
	add("moved", "APPROVED", commitA, 1)
	add("moved", "APPROVED", commitB, 2)
	add("author", "APPROVED", commitA, 1)
	add("robot[bot]", "APPROVED", commitA, 1)
	add("unsent", "PENDING", commitA, 1)
	got, err := app(t, s).Approvals(t.Context(), n, commitA)
	if err != nil || len(got) != 2 || got[0].Login != "stands" || got[1].Login != "back" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestPermissions(t *testing.T) {
	s := githubtest.New(t, githubtest.Options{})
	want := map[string]github.Permission{"admin": github.Admin, "maintain": github.Maintain, "write": github.Write, "triage": github.Triage, "read": github.Read, "none": github.None, "release-manager": github.Write}
	for role, p := range want {
		s.SetRole("u-"+role, role)
		got, err := app(t, s).Permission(t.Context(), "u-"+role)
		if err != nil || got != p {
			t.Errorf("%s: %s, %v", role, got, err)
		}
	}
	if got, err := app(t, s).Permission(t.Context(), "stranger"); err != nil || got != github.None || got.CanWrite() {
		t.Errorf("%s, %v", got, err)
	}
	if got, err := app(t, s).Permission(t.Context(), "../../x"); err == nil || got != github.None {
		t.Errorf("%s, %v", got, err)
	}
	if !github.Maintain.CanWrite() || github.Triage.CanWrite() {
		t.Error("who can write")
	}
}
