package promotion

import (
	"errors"
	"fmt"
	"strings"

	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/policies"
)

// Exit codes that an ended promotion hands to whoever asked for it.
const (
	CodePass         = 0
	CodeInternal     = 1
	CodeUsage        = 2
	CodeFail         = 3
	CodeInconclusive = 4
	CodeApproval     = 5
	CodeLocked       = 6
	CodeRolledBack   = 7
)

// CodeOf is the exit code for a verdict.
func CodeOf(v policies.Verdict) int {
	switch v {
	case policies.Pass, policies.Warn:
		return CodePass
	case policies.Fail:
		return CodeFail
	case policies.Inconclusive:
		return CodeInconclusive
	}
	return CodeInternal
}

func stateOf(v policies.Verdict) State {
	switch v {
	case policies.Fail:
		return Failed
	case policies.Inconclusive:
		return Aborted
	}
	return Errored
}

// Unmet says in one line which criteria did not hold.
func Unmet(d policies.Decision) string {
	var s []string
	for _, c := range d.Criteria {
		if !c.Verdict.Promotes() {
			why := c.Why
			if d.Stage == policies.Canary && c.Verdict == policies.Inconclusive && c.Next != "" {
				why += "; " + c.Next // how many more requests it would have taken
			}
			s = append(s, fmt.Sprintf("%s %s (%s)", c.ID, c.Verdict, why))
		}
	}
	if len(s) == 0 {
		return fmt.Sprintf("the decision is %s", d.Verdict)
	}
	return strings.Join(s, "; ")
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

func short(digest string) string {
	if _, hex, ok := strings.Cut(digest, ":"); ok {
		digest = hex
	}
	return fmt.Sprintf("%.12s", digest)
}

// broken is the state and the code of a promotion that a target's error ended:
// what is the release's own fault has failed, anything else is an error.
func broken(err error) (State, int) {
	if errors.Is(err, target.ErrMigration) || errors.Is(err, target.ErrNotReady) {
		return Failed, CodeFail
	}
	return Errored, CodeInternal
}
