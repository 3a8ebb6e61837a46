package github

import (
	"context"
	"errors"
	"fmt"
	"net/url"
)

// LatestRun is the id of the newest run of the workflow's file for the commit.
//
// Errors: ErrNotFound for none.
func (c *Client) LatestRun(ctx context.Context, workflow, head string) (int64, error) {
	if !commitHash.MatchString(head) {
		return 0, errors.New("find a run: the commit is no full hash")
	}
	what := fmt.Sprintf("list the runs of %s for %s", workflow, head)
	list, _, err := get[struct {
		Runs []wireRun `json:"workflow_runs"`
	}](ctx, c, url.Values{"head_sha": {head}, "per_page": {"100"}}, "actions", "workflows", workflow, "runs")
	if err != nil {
		return 0, c.fail(what, err)
	}
	var newest wireRun
	for _, r := range list.Runs {
		if r.HeadSHA == head && r.ID > newest.ID {
			newest = r
		}
	}
	if newest.ID == 0 {
		return 0, fmt.Errorf("GitHub: %s: there is none: %w", what, ErrNotFound)
	}
	return newest.ID, nil
}
