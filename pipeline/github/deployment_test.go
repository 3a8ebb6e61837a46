package github_test

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/smartcloudops/gate/pipeline/github"
	"github.com/smartcloudops/gate/pipeline/github/githubtest"
)

func deployment(request string, state github.DeploymentState) github.Deployment {
	return github.Deployment{
		Request: request, Commit: commitA, Environment: "production", State: state, Production: true, Description: strings.Repeat("long ", 60),
		URL: "https://service.example", LogURL: "https://github.com/smartcloudops/gate/actions/runs/7",
	}
}

func TestADeploymentGoesThroughItsStates(t *testing.T) {
	s := githubtest.New(t, githubtest.Options{})
	g := app(t, s)
	for _, state := range []github.DeploymentState{github.Queued, github.Queued, github.InProgress, github.Succeeded, github.InProgress, github.Succeeded, github.Failed} {
		got, err := g.RecordDeployment(t.Context(), deployment("r1", state))
		if err != nil {
			t.Fatal(err)
		}
		if state == github.InProgress && got.State != github.InProgress && got.State != github.Succeeded {
			t.Errorf("state %s", got.State)
		}
	}
	all := s.View().Deployments
	if len(all) != 1 || !slices.Equal(all[0].States, []string{"queued", "in_progress", "success"}) || all[0].URL != "https://service.example" {
		t.Fatalf("%+v", all)
	}
	// The next one takes its place, also in production, where GitHub itself leaves
	// the earlier one active.
	for _, state := range []github.DeploymentState{github.InProgress, github.Succeeded} {
		if _, err := g.RecordDeployment(t.Context(), deployment("r2", state)); err != nil {
			t.Fatal(err)
		}
	}
	if all = s.View().Deployments; len(all) != 2 || all[0].State != "inactive" || all[1].State != "success" {
		t.Errorf("%+v", all)
	}
}

func TestOneDeploymentARequestWhateverFails(t *testing.T) {
	for seed := range uint64(25) {
		s := githubtest.New(t, githubtest.Options{PageSize: 2})
		s.Inject(seed, 0.3)
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() {
				for _, state := range []github.DeploymentState{github.Queued, github.InProgress, github.Succeeded} {
					if _, err := app(t, s).RecordDeployment(t.Context(), deployment("r1", state)); err != nil {
						t.Errorf("seed %d: %v", seed, err)
					}
				}
			})
		}
		all.Wait()
		s.Calm()
		got, err := app(t, s).RecordDeployment(t.Context(), deployment("r1", github.Succeeded))
		if err != nil || got.State != github.Succeeded {
			t.Fatalf("seed %d: %+v, %v", seed, got, err)
		}
		active := 0
		for _, d := range s.View().Deployments {
			if d.State != "inactive" {
				active++
				if d.State != "success" {
					t.Errorf("seed %d: a deployment is %s", seed, d.State)
				}
			}
		}
		if active != 1 {
			t.Errorf("seed %d: %d deployments are active, want one", seed, active)
		}
		s.Close()
	}
}

func TestOddDeploymentsAreRefused(t *testing.T) {
	s := githubtest.New(t, githubtest.Options{})
	for name, change := range map[string]func(*github.Deployment){
		"no request": func(d *github.Deployment) { d.Request = "" }, "short commit": func(d *github.Deployment) { d.Commit = "abc" },
		"no state": func(d *github.Deployment) { d.State = "" }, "odd environment": func(d *github.Deployment) { d.Environment = "a/b" },
	} {
		d := deployment("r", github.Queued)
		change(&d)
		if _, err := app(t, s).RecordDeployment(t.Context(), d); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestALateStateIsPutRight: what was believed lost lands on top of what came
// after it.
func TestALateStateIsPutRight(t *testing.T) {
	s := githubtest.New(t, githubtest.Options{})
	g := app(t, s)
	if _, err := g.RecordDeployment(t.Context(), deployment("r1", github.Queued)); err != nil {
		t.Fatal(err)
	}
	s.FailNext("POST", "/statuses", githubtest.Late, 1)
	for _, state := range []github.DeploymentState{github.InProgress, github.Succeeded} {
		if _, err := g.RecordDeployment(t.Context(), deployment("r1", state)); err != nil {
			t.Fatal(err)
		}
	}
	s.Calm()
	got, err := g.RecordDeployment(t.Context(), deployment("r1", github.Succeeded))
	if err != nil || got.State != github.Succeeded {
		t.Fatalf("%+v, %v", got, err)
	}
	if d := s.View().Deployments; len(d) != 1 || d[0].State != "success" || !slices.Contains(d[0].States, "in_progress") {
		t.Errorf("%+v", d)
	}
}
