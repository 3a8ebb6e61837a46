package github

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	gh "github.com/google/go-github/v60/github"
)

// DeploymentState is how far a deployment is.
type DeploymentState string

// States, in GitHub's words.
const (
	Queued     DeploymentState = "queued"
	InProgress DeploymentState = "in_progress"
	Succeeded  DeploymentState = "success"
	Failed     DeploymentState = "failure"
	Inactive   DeploymentState = "inactive"
)

// rank orders states: a deployment never goes back.
func (s DeploymentState) rank() int {
	switch s {
	case Queued, "pending":
		return 1
	case InProgress:
		return 2
	case Succeeded, Failed, "error":
		return 3
	case Inactive:
		return 4
	}
	return 0
}

// Deployment is what one request did to an environment.
type Deployment struct {
	Request     string // id of the request: there is one deployment of each
	Commit      string
	Environment string
	State       DeploymentState
	Production  bool
	Description string // cut to 140 characters
	URL         string // where the environment serves; may be empty
	LogURL      string // may be empty
}

// DeploymentStatus is a deployment as GitHub has it.
type DeploymentStatus struct {
	ID    int64
	State DeploymentState
	At    time.Time
}

// payload identifies the request.
type payload struct {
	Request string `json:"gate_request"`
}

// RecordDeployment makes GitHub show d: it finds or makes the request's
// deployment and takes it to the state, unless it is there or further. It may be
// called any number of times. It returns the state that stands.
func (c *Client) RecordDeployment(ctx context.Context, d Deployment) (*DeploymentStatus, error) {
	switch {
	case d.Request == "" || len(d.Request) > 200 || Line(d.Request, 200) != d.Request:
		return nil, errors.New("record a deployment: the request's id is missing or odd")
	case !commitHash.MatchString(d.Commit):
		return nil, errors.New("record a deployment: the commit is no full hash")
	case !envName.MatchString(d.Environment):
		return nil, fmt.Errorf("record a deployment: %q is no environment's name", Line(d.Environment, 100))
	case d.State.rank() == 0 || d.State == "pending" || d.State == "error":
		return nil, fmt.Errorf("record a deployment: %q is no state", Line(string(d.State), 30))
	}
	var ids []int64
	looked := func(ctx context.Context) (bool, error) {
		var err error
		ids, err = c.deployments(ctx, d)
		return len(ids) > 0, err
	}
	if err := c.ensure(ctx, looked, func(ctx context.Context) error { return c.createDeployment(ctx, d) }); err != nil {
		return nil, err
	}
	if _, err := looked(ctx); err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("GitHub: record the deployment of %s: it is not listed: %w", d.Request, ErrUnavailable)
	}
	// Two runners at once can both have made one: the first is the deployment.
	for _, id := range ids[1:] {
		twin := d
		twin.State, twin.Description, twin.URL = Inactive, "the same request has another deployment", ""
		if _, err := c.deploymentStatus(ctx, id, twin); err != nil {
			return nil, err
		}
	}
	stands, err := c.deploymentStatus(ctx, ids[0], d)
	if err != nil || stands.State != Succeeded || d.State != Succeeded || !d.Production {
		return stands, err
	}
	return stands, c.retireOthers(ctx, d, ids[0])
}

// maxRetired is how far back retireOthers looks: what is older was retired when
// those came.
const maxRetired = 10

// retireOthers leaves one deployment of a production environment active, the
// last one; of other environments, GitHub does that itself.
func (c *Client) retireOthers(ctx context.Context, d Deployment, id int64) error {
	all, _, err := c.api.Repositories.ListDeployments(ctx, c.owner, c.repo, &gh.DeploymentsListOptions{Environment: d.Environment, ListOptions: gh.ListOptions{PerPage: maxRetired}})
	if err != nil {
		return c.fail("list deployments", err)
	}
	var active []int64
	for _, one := range all {
		if requestOf(one.Payload) == "" {
			continue // somebody else's
		}
		list, _, err := c.api.Repositories.ListDeploymentStatuses(ctx, c.owner, c.repo, one.GetID(), &gh.ListOptions{PerPage: 1})
		if err != nil {
			return c.fail("list a deployment's statuses", err)
		}
		if len(list) > 0 && list[0].GetState() == string(Succeeded) || one.GetID() == id {
			active = append(active, one.GetID())
		}
	}
	slices.Sort(active)
	for _, old := range active[:max(len(active)-1, 0)] {
		over := Deployment{State: Inactive, Description: "another release serves"}
		if _, err := c.deploymentStatus(ctx, old, over); err != nil {
			return err
		}
	}
	return nil
}

// deployments are the request's own, oldest first.
func (c *Client) deployments(ctx context.Context, d Deployment) ([]int64, error) {
	me, err := c.Identity(ctx)
	if err != nil {
		return nil, err
	}
	all, err := pages(c, "list deployments", func(o gh.ListOptions) ([]*gh.Deployment, *gh.Response, error) {
		return c.api.Repositories.ListDeployments(ctx, c.owner, c.repo, &gh.DeploymentsListOptions{SHA: d.Commit, Environment: d.Environment, ListOptions: o})
	})
	if err != nil {
		return nil, err
	}
	var ids []int64
	for _, one := range all {
		if requestOf(one.Payload) == d.Request && one.GetCreator().GetLogin() == me.Login && !slices.Contains(ids, one.GetID()) {
			ids = append(ids, one.GetID())
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// requestOf reads the payload, which GitHub gives back as an object or as the
// text of one.
func requestOf(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		raw = json.RawMessage(text)
	}
	var p payload
	if json.Unmarshal(raw, &p) != nil {
		return ""
	}
	return p.Request
}

func (c *Client) createDeployment(ctx context.Context, d Deployment) error {
	// No merge and no look at checks by GitHub: gate has decided.
	_, _, err := c.api.Repositories.CreateDeployment(ctx, c.owner, c.repo, &gh.DeploymentRequest{
		Ref: &d.Commit, Environment: &d.Environment, Payload: payload{d.Request}, Description: gh.String(Line(d.Description, 140)),
		AutoMerge: gh.Bool(false), RequiredContexts: &[]string{}, ProductionEnvironment: &d.Production, TransientEnvironment: gh.Bool(false),
	})
	return c.fail("create a deployment", err)
}

// deploymentStatus appends the state unless the deployment was as far already.
// When a reply was late, or somebody else took it further at the same moment, an
// earlier state can come to lie on top: then the furthest is said again.
func (c *Client) deploymentStatus(ctx context.Context, id int64, d Deployment) (*DeploymentStatus, error) {
	for n := 1; ; n++ {
		all, err := pages(c, "list a deployment's statuses", func(o gh.ListOptions) ([]*gh.DeploymentStatus, *gh.Response, error) {
			return c.api.Repositories.ListDeploymentStatuses(ctx, c.owner, c.repo, id, &o)
		})
		if err != nil {
			return nil, err
		}
		req := &gh.DeploymentStatusRequest{State: gh.String(string(d.State)), Description: gh.String(Line(d.Description, 140)), AutoInactive: gh.Bool(true), EnvironmentURL: optional(d.URL), LogURL: optional(d.LogURL)}
		if len(all) > 0 {
			slices.SortFunc(all, func(a, b *gh.DeploymentStatus) int { return cmp.Compare(a.GetID(), b.GetID()) })
			last := all[len(all)-1]
			top := slices.MaxFunc(all, func(a, b *gh.DeploymentStatus) int {
				return cmp.Compare(DeploymentState(a.GetState()).rank(), DeploymentState(b.GetState()).rank())
			})
			rank := DeploymentState(top.GetState()).rank()
			if rank >= d.State.rank() {
				if DeploymentState(last.GetState()).rank() == rank {
					return &DeploymentStatus{ID: id, State: DeploymentState(last.GetState()), At: last.GetCreatedAt().Time}, nil
				}
				req = &gh.DeploymentStatusRequest{State: top.State, Description: top.Description, AutoInactive: gh.Bool(true), EnvironmentURL: optional(top.GetEnvironmentURL()), LogURL: optional(top.GetLogURL())}
			}
		}
		if n > maxAttempts {
			return nil, fmt.Errorf("GitHub: set a deployment's status: it never came to be there: %w", ErrUnavailable)
		}
		_, _, err = c.api.Repositories.CreateDeploymentStatus(ctx, c.owner, c.repo, id, req)
		if err = c.fail("set a deployment's status", err); err != nil {
			if !errors.Is(err, ErrUnknownOutcome) {
				return nil, err
			}
			if err := c.sleep(ctx, backoff(n)); err != nil {
				return nil, err
			}
		}
	}
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
