package github

import (
	"fmt"
	"regexp"
	"strconv"
)

// queueBranch is how GitHub names the branch of a merge queue's commit.
var queueBranch = regexp.MustCompile(`^gh-readonly-queue/.+/pr-([1-9][0-9]{0,9})-[0-9a-f]{40}$`)

// QueuedPullRequest is the number of the pull request that a merge queue's branch
// is about.
func QueuedPullRequest(branch string) (int, error) {
	m := queueBranch.FindStringSubmatch(branch)
	if m == nil {
		return 0, fmt.Errorf("GitHub: %q is no branch of a merge queue: %w", Line(branch, 100), ErrUnavailable)
	}
	return strconv.Atoi(m[1])
}
