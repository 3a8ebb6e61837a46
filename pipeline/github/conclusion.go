package github

import "github.com/smartcloudops/gate/policies"

// Conclusions of a check run that gate uses.
const (
	success        = "success"
	neutral        = "neutral"
	failure        = "failure"
	actionRequired = "action_required"
	cancelled      = "cancelled"
)

// conclusion is the only place that says success. What it does not know needs
// somebody to look.
func conclusion(v policies.Verdict) string {
	switch v {
	case policies.Pass:
		return success
	case policies.Warn:
		return neutral
	case policies.Fail:
		return failure
	}
	return actionRequired
}

// overall is the verdict that the aggregate shows: the decision's, unless its
// criteria don't bear it out, which only somebody who looks can resolve.
func overall(d policies.Decision) policies.Verdict {
	if len(d.Criteria) == 0 {
		return policies.Error
	}
	for _, c := range d.Criteria {
		if d.Verdict.Promotes() && !c.Verdict.Promotes() || d.Verdict == policies.Pass && c.Verdict != policies.Pass {
			return policies.Error
		}
	}
	return d.Verdict
}

// repeated is the conclusion of a run that repeats another one's. What gate
// never concludes is not repeated.
func repeated(other string) string {
	switch other {
	case success, neutral, failure:
		return other
	}
	return actionRequired
}
