package policies

import "time"

// Unbuilt is the verdict on a commit that did not become a release, so that no
// policy has anything to judge: fail where the commit is to blame, else error.
// It never promotes.
func (p *Policies) Unbuilt(commit, environment string, stage Stage, at time.Time, blame bool, why string) (Decision, error) {
	d := Decision{
		Commit: commit, Environment: environment, Stage: stage, Verdict: Error, At: at.UTC().Round(0), PolicyDigest: p.digest,
		Criteria: []Criterion{{
			ID: "build", Title: "The commit becomes a release", Verdict: Error, Got: "no release", Want: "a release",
			Evidence: []string{}, Why: why, Next: "gate build",
		}},
	}
	if blame {
		d.Verdict, d.Criteria[0].Verdict = Fail, Fail
	}
	var err error
	d.ID, err = d.Digest()
	return d, err
}
