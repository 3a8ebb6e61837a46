package github_test

import (
	"errors"
	"testing"
	"time"

	"github.com/smartcloudops/gate/pipeline/github"
	"github.com/smartcloudops/gate/pipeline/github/githubtest"
)

func TestRunIsReadWhole(t *testing.T) {
	s := githubtest.New(t, githubtest.Options{})
	id := s.AddRun(githubtest.Run{Path: ".github/workflows/commit.yml", Event: "pull_request", HeadSHA: commitA, HeadBranch: "fix", HeadRepo: "somebody/gate", Attempt: 2, Started: s.Clock.Now().Add(-time.Hour), Conclusion: "failure"})
	r, err := app(t, s).Run(t.Context(), id)
	if err != nil || r.Path != ".github/workflows/commit.yml" || r.Event != "pull_request" || r.Attempt != 2 || r.Conclusion != "failure" || r.Status != "completed" ||
		r.Head != (github.Head{SHA: commitA, Branch: "fix", Repository: "somebody/gate"}) || !r.Started.Equal(s.Clock.Now().Add(-time.Hour)) || r.Updated.IsZero() || r.Repository == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := app(t, s).Run(t.Context(), 1); !errors.Is(err, github.ErrNotFound) {
		t.Errorf("error %v", err)
	}
}

func TestEvidenceIsExactlyOneArtifact(t *testing.T) {
	s := githubtest.New(t, githubtest.Options{PageSize: 1})
	g := app(t, s)
	id := s.AddRun(githubtest.Run{Path: ".github/workflows/commit.yml", Event: "push", HeadSHA: commitA, Attempt: 2, Started: s.Clock.Now().Add(time.Minute)})
	run, err := g.Run(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	s.AddArtifact(id, "logs", []byte("x"))
	s.AddArtifact(id, github.ArtifactName, []byte("of the first attempt"))
	if _, err := g.Evidence(t.Context(), *run); !errors.Is(err, github.ErrNotFound) {
		t.Errorf("none: error %v", err)
	}
	s.Clock.Advance(2 * time.Minute)
	want := s.AddArtifact(id, github.ArtifactName, []byte("x"))
	if a, err := g.Evidence(t.Context(), *run); err != nil || a.ID != want || a.Size != 1 {
		t.Errorf("%+v, %v", a, err)
	}
	s.AddArtifact(id, github.ArtifactName, []byte("y"))
	if _, err := g.Evidence(t.Context(), *run); !errors.Is(err, github.ErrHostile) {
		t.Errorf("two: error %v", err)
	}
	other := s.AddRun(githubtest.Run{Path: ".github/workflows/commit.yml", Event: "push", HeadSHA: commitA})
	s.AddArtifact(other, github.ArtifactName, []byte("x"))
	s.ExpireArtifacts()
	if _, err := g.Evidence(t.Context(), github.Run{ID: other, Attempt: 1}); !errors.Is(err, github.ErrNotFound) {
		t.Errorf("over: error %v", err)
	}
}

func TestAWorkflowIsDispatchedOnce(t *testing.T) {
	for seed := range uint64(20) {
		s := githubtest.New(t, githubtest.Options{})
		s.SetWorkflow("promote.yml", "name: Promote\nrun-name: promote ${{ inputs.release }} (${{ inputs.request }})\non:\n  workflow_dispatch:\n    inputs:\n      release: {required: true}\n      request: {required: true}\n")
		// Without Late: what is carried out a while after nobody saw it can't be known.
		s.Inject(seed, 0.3, githubtest.Secondary, githubtest.TooMany, githubtest.Primary, githubtest.BrokenAfter, githubtest.Broken, githubtest.LostRequest, githubtest.LostReply, githubtest.Truncated, githubtest.Slow)
		d := github.Dispatch{Workflow: "promote.yml", Ref: "main", Inputs: map[string]string{"release": digest('e'), "request": "comment-12345"}, Marker: "comment-12345", Since: s.Clock.Now().Add(-time.Minute)}
		for range 2 {
			if err := app(t, s).Dispatch(t.Context(), d); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		if all := s.View().Dispatches; len(all) != 1 || all[0].Inputs["release"] != digest('e') {
			t.Errorf("seed %d: %+v", seed, all)
		}
		s.Calm()
		other := d
		other.Marker, other.Inputs = "comment-1234", map[string]string{"release": "r", "request": "comment-1234"}
		if err := app(t, s).Dispatch(t.Context(), other); err != nil || len(s.View().Dispatches) != 2 {
			t.Errorf("a marker within another: %v", err)
		}
		other.Marker, other.Inputs = "comment-9999", map[string]string{"odd": "x"}
		if err := app(t, s).Dispatch(t.Context(), other); !errors.Is(err, github.ErrRefused) {
			t.Errorf("an input that is not declared: error %v", err)
		}
		s.Close()
	}
}
