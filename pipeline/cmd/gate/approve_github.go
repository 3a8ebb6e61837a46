package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/smartcloudops/gate/pipeline/promotion"
)

// reviewed are the approvals that GitHub knows of this workflow's run: of its
// protected environment, by people whom trust.yaml lets approve.
func (s *session) reviewed(ctx context.Context, a promotion.Approval) ([]promotion.Approval, error) {
	run, err := strconv.ParseInt(s.Getenv("GITHUB_RUN_ID"), 10, 64)
	if err != nil || run <= 0 {
		return nil, &Exit{promotion.CodeUsage, fmt.Errorf("--github asks who has approved this workflow's run, and GITHUB_RUN_ID names none: leave it out to approve with your own key")}
	}
	client, err := s.github()
	if err != nil {
		return nil, err
	}
	what, err := client.Run(ctx, run)
	if err != nil {
		return nil, err
	}
	if !what.Names(client.Repository(), a.Release, a.Commit) {
		return nil, &Exit{promotion.CodeUsage, fmt.Errorf("who has approved run %d has not approved release %s: it runs commit %.12s, and no input that its title shows names the release; start it with run-name: … ${{ inputs.release }}, given the whole digest", run, short(a.Release), what.Head.SHA)}
	}
	found, err := client.Reviewers(ctx, run, a.Environment)
	if err != nil {
		return nil, err
	}
	var all []promotion.Approval
	for _, r := range found {
		if !s.trust().Approver(r.Login, a.Environment) {
			fmt.Fprintf(s.Err, "gate: %s has approved run %d, and is not listed in environments/trust.yaml with may: [approve] for %s\n", r.Login, run, a.Environment)
			continue
		}
		one := a
		one.GitHub, one.By, one.Where = r.Login, r.Login+" on GitHub", fmt.Sprintf("%s/actions/runs/%d", client.Repository(), run)
		if one.Reason == "" {
			one.Reason = r.Comment
		}
		all = append(all, one)
	}
	if len(all) == 0 {
		return nil, &Exit{promotion.CodeApproval, fmt.Errorf("nobody who may approve for %s has approved run %d: set required reviewers for the environment on GitHub, and list them under people in environments/trust.yaml", a.Environment, run)}
	}
	return all, nil
}
