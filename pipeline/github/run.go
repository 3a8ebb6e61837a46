package github

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	gh "github.com/google/go-github/v60/github"
)

// loginName allows what GitHub does, an App's "[bot]" included.
var loginName = regexp.MustCompile(`^[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,99})(\[bot\])?$`)

// Run is one run of a workflow.
type Run struct {
	ID         int64
	Attempt    int
	Path       string // of the workflow's file, without what may follow an @
	Event      string
	Status     string // completed when it is over
	Conclusion string
	Head       Head   // what it ran; Repository is the fork's for a pull request from one
	Repository int64  // id of the repository that it ran in
	Title      string // untrusted
	Actor      string
	Created    time.Time
	Started    time.Time // of this attempt
	Updated    time.Time // about when it ended
	URL        string
}

// wireRun is GitHub's; go-github does not know the path.
type wireRun struct {
	ID         int64     `json:"id"`
	Attempt    int       `json:"run_attempt"`
	Path       string    `json:"path"`
	Event      string    `json:"event"`
	Status     string    `json:"status"`
	Conclusion string    `json:"conclusion"`
	HeadSHA    string    `json:"head_sha"`
	HeadBranch string    `json:"head_branch"`
	Title      string    `json:"display_title"`
	Created    time.Time `json:"created_at"`
	Started    time.Time `json:"run_started_at"`
	Updated    time.Time `json:"updated_at"`
	URL        string    `json:"html_url"`
	Actor      struct {
		Login string `json:"login"`
	} `json:"actor"`
	Repository struct {
		ID       int64  `json:"id"`
		FullName string `json:"full_name"`
	} `json:"repository"`
	HeadRepository struct {
		FullName string `json:"full_name"`
	} `json:"head_repository"`
}

func (w wireRun) run() Run {
	return Run{
		ID: w.ID, Attempt: w.Attempt, Path: beforeAt(w.Path), Event: w.Event, Status: w.Status, Conclusion: w.Conclusion,
		Head:       Head{SHA: w.HeadSHA, Branch: w.HeadBranch, Repository: w.HeadRepository.FullName},
		Repository: w.Repository.ID, Title: w.Title, Actor: w.Actor.Login, Created: w.Created, Started: w.Started, Updated: w.Updated, URL: w.URL,
	}
}

func beforeAt(path string) string {
	for i, r := range path {
		if r == '@' {
			return path[:i]
		}
	}
	return path
}

// Run reads one by its id.
func (c *Client) Run(ctx context.Context, id int64) (*Run, error) {
	what := fmt.Sprintf("read run %d", id)
	w, _, err := get[wireRun](ctx, c, nil, "actions", "runs", fmt.Sprint(id))
	if err != nil {
		return nil, c.fail(what, err)
	}
	r := w.run()
	if r.ID != id || r.Attempt < 1 || r.Path == "" || !commitHash.MatchString(r.Head.SHA) || !strings.EqualFold(w.Repository.FullName, c.Repository()) {
		return nil, fmt.Errorf("GitHub: %s: the answer is incomplete or about another repository: %w", what, ErrUnavailable)
	}
	return &r, nil
}

// ArtifactName is what gate's evidence is uploaded as.
const ArtifactName = "gate-evidence"

// Artifact is a file that a run uploaded.
type Artifact struct {
	ID      int64
	Name    string
	Size    int64 // bytes, packed
	Created time.Time
	Expires time.Time
}

// Evidence is the one artifact named gate-evidence of the run. None, one that is
// over, or several are errors.
func (c *Client) Evidence(ctx context.Context, run Run) (*Artifact, error) {
	what := fmt.Sprintf("find the artifact %s of run %d", ArtifactName, run.ID)
	all, err := pages(c, what, func(o gh.ListOptions) ([]*gh.Artifact, *gh.Response, error) {
		list, resp, err := c.api.Actions.ListWorkflowRunArtifacts(ctx, c.owner, c.repo, run.ID, &o)
		if err != nil {
			return nil, resp, err
		}
		return list.Artifacts, resp, nil
	})
	if err != nil {
		return nil, err
	}
	var found []*gh.Artifact
	for _, a := range all {
		// An earlier attempt's stays listed: it was made before this one began.
		old := run.Attempt > 1 && a.GetCreatedAt().Before(run.Started)
		if a.GetName() == ArtifactName && !old && !slices.ContainsFunc(found, func(o *gh.Artifact) bool { return o.GetID() == a.GetID() }) {
			found = append(found, a)
		}
	}
	slices.SortFunc(found, func(a, b *gh.Artifact) int { return cmp.Compare(a.GetID(), b.GetID()) })
	switch {
	case len(found) == 0:
		return nil, fmt.Errorf("GitHub: %s: the run has none: its measuring job broke off before the upload: %w", what, ErrNotFound)
	case len(found) > 1:
		return nil, fmt.Errorf("GitHub: %s: there are %d: %w", what, len(found), ErrHostile)
	case found[0].GetExpired() || !found[0].GetExpiresAt().IsZero() && !found[0].GetExpiresAt().After(c.now()):
		return nil, fmt.Errorf("GitHub: %s: its time is over: run the workflow again: %w", what, ErrNotFound)
	}
	a := found[0]
	return &Artifact{ID: a.GetID(), Name: a.GetName(), Size: a.GetSizeInBytes(), Created: a.GetCreatedAt().Time, Expires: a.GetExpiresAt().Time}, nil
}

// Dispatch starts a workflow by hand.
type Dispatch struct {
	Workflow string // file name
	Ref      string // branch
	Inputs   map[string]string
	// Marker occurs in the title of the run (run-name in the workflow's file) and
	// names this dispatch alone: by it a run is known that was started already.
	Marker string
	Since  time.Time // no run of this dispatch is older
}

var workflowName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}\.ya?ml$`)

// Dispatch starts the workflow once, however often it is called with one marker.
// A run that was started is listed only after a while: when a reply was lost,
// Dispatch waits for it.
func (c *Client) Dispatch(ctx context.Context, d Dispatch) error {
	if !workflowName.MatchString(d.Workflow) || d.Ref == "" || len(d.Marker) < 6 || d.Since.IsZero() {
		return errors.New("dispatch a workflow: its file's name, the branch, a marker or the earliest time is missing or odd")
	}
	return c.ensure(ctx, func(ctx context.Context) (bool, error) {
		return c.dispatched(ctx, d)
	}, func(ctx context.Context) error {
		inputs := map[string]any{}
		for k, v := range d.Inputs {
			inputs[k] = v
		}
		_, err := c.api.Actions.CreateWorkflowDispatchEventByFileName(ctx, c.owner, c.repo, d.Workflow, gh.CreateWorkflowDispatchEventRequest{Ref: d.Ref, Inputs: inputs})
		err = c.fail("dispatch "+d.Workflow, err)
		if errors.Is(err, ErrUnknownOutcome) {
			if err := c.sleep(ctx, 15*time.Second); err != nil {
				return err
			}
		}
		return err
	})
}

func (c *Client) dispatched(ctx context.Context, d Dispatch) (bool, error) {
	all, err := pages(c, "list the runs of "+d.Workflow, func(o gh.ListOptions) ([]wireRun, *gh.Response, error) {
		q := page(o)
		q.Set("event", "workflow_dispatch")
		q.Set("created", ">="+d.Since.UTC().Format(time.RFC3339))
		list, resp, err := get[struct {
			Runs []wireRun `json:"workflow_runs"`
		}](ctx, c, q, "actions", "workflows", d.Workflow, "runs")
		return list.Runs, resp, err
	})
	return slices.ContainsFunc(all, func(r wireRun) bool { return markedBy(r.Title, d.Marker) }), err
}

// markedBy looks for the marker as a word of its own: 12 is not in 123.
func markedBy(title, marker string) bool {
	for i := 0; i+len(marker) <= len(title); i++ {
		if title[i:i+len(marker)] == marker && !wordAt(title, i-1) && !wordAt(title, i+len(marker)) {
			return true
		}
	}
	return false
}

func wordAt(s string, i int) bool {
	return i >= 0 && i < len(s) && (s[i] == '-' || s[i] == '_' || '0' <= s[i] && s[i] <= '9' || 'a' <= s[i]|0x20 && s[i]|0x20 <= 'z')
}
