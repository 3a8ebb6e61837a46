package promotion

import (
	"context"
	"fmt"
	"strings"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/policies"
)

// Difference between what is desired and what is.
type Difference struct {
	What string `json:"what"` // release, configuration, instances, certificate, schema
	Want string `json:"want"`
	Got  string `json:"got"`
	Next string `json:"next"`
	// Unknown: whether it differs could not be told.
	Unknown bool `json:"unknown,omitempty"`
}

func (d Difference) String() string {
	return fmt.Sprintf("%s: want %s, got %s", d.What, d.Want, d.Got)
}

// Reconcilable says whether the executor can mend it by itself.
func (d Difference) Reconcilable() bool { return d.What == "release" || d.What == "configuration" }

// Drift is what differs between what is desired in the environment and what its
// target says. certificate is why what is presented there is not right; empty: it
// is. While a promotion is under way release and instances differ as they must.
func (v *View) Drift(e *environments.Environment, s target.Status, certificate string) (all []Difference) {
	ev := v.Environment(e.Name)
	desired := v.Releases[ev.Desired]
	if desired == nil || desired.Declarations.Environment(e.Name) == nil {
		if s.Stable != "" && ev.Active == nil {
			all = append(all, Difference{What: "release", Want: "none", Got: short(s.Stable), Next: "gate promote " + short(s.Stable) + " --to " + e.Name})
		}
		return all
	}
	rev := desired.Revision(e.Name)
	reconcile := "gate serve " + e.Name + " --take-over brings it back, as promotion.drift: reconcile does by itself"
	_, config, _ := strings.Cut(s.Revision, "+")
	switch {
	case ev.Active != nil:
	case s.Stable != rev.Release:
		all = append(all, Difference{What: "release", Want: short(rev.Release), Got: shortOr(s.Stable, "nothing"), Next: reconcile})
	case s.Revision != rev.ID():
		all = append(all, Difference{What: "configuration", Want: short(rev.Environment.ConfigDigest()), Got: shortOr(config, "none"), Next: reconcile})
	}
	if ev.Active == nil {
		ready := 0
		for _, in := range s.Instances {
			if in.Role == "stable" && in.Health == target.Healthy {
				ready++
			}
		}
		if b := rev.Environment.Instances; ready < b.Min || ready > b.Max {
			all = append(all, Difference{What: "instances", Want: fmt.Sprintf("%d to %d that are healthy", b.Min, b.Max), Got: fmt.Sprint(ready), Next: "gate status " + e.Name + ", gate logs " + e.Name})
		}
	}
	if certificate != "" {
		all = append(all, Difference{What: "certificate", Want: "one for " + strings.Join(rev.Environment.TLS.Names, ", "), Got: certificate, Next: "gate verify " + e.Name + " --check tls"})
	}
	if d := schemaDrift(e.Name, s.Schema, desired); d != nil && ev.Active == nil {
		all = append(all, *d)
	}
	return all
}

// schemaDrift is how the schema differs from what migrations have left; nil: it
// does not, or no migrations are declared and none have left anything.
func schemaDrift(environment string, m *target.Schema, desired *ReleaseRecord) *Difference {
	unknown := func(want, why string) *Difference {
		return &Difference{What: "schema", Want: want, Got: "not known: " + why, Next: "gate status " + environment + "; the migrations of the next promotion write down what they leave", Unknown: true}
	}
	if m == nil {
		if desired.Declarations.App == nil || desired.Declarations.App.Migrate == nil {
			return nil
		}
		return unknown("as the migrations have left it", "there is no record of what they have left")
	}
	if m.Left == "" {
		return unknown("as the migrations have left it", m.Problem)
	}
	left := "as the migrations of " + short(m.Release) + " have left it (" + short(m.Left) + ")"
	switch {
	case m.Problem != "":
		return unknown(left, m.Problem)
	case m.Now != m.Left:
		return &Difference{What: "schema", Want: left, Got: short(m.Now), Next: "somebody has changed it beside the migrations: write a migration for it, or undo it"}
	}
	return nil
}

func shortOr(digest, otherwise string) string {
	if digest == "" {
		return otherwise
	}
	return short(digest)
}

// Reason is why a live release is degraded.
type Reason struct {
	// About is a criterion, an alert, or what has drifted.
	About string `json:"about"`
	Why   string `json:"why"`
	// Own: it is about the release that serves, and gone with it.
	Own bool `json:"own"`
}

// reason is why what serves is degraded by the difference.
func (d Difference) reason() Reason {
	// What is not known of a schema the next release's migrations make known.
	return Reason{About: d.What, Why: "drift: " + d.String(), Own: d.Reconcilable() || d.Unknown}
}

// Rejudge judges a release that serves again: what was found good there once, and
// is not any more. A release that was never found good while it served, with this
// configuration, is not judged again; that it is not judged yet is no news.
func (j *Judge) Rejudge(ctx context.Context, v *View, environment string) ([]Reason, error) {
	ev := v.Environment(environment)
	rec := v.Releases[ev.Desired]
	if rec == nil || !ev.Good[v.runs(environment, ev.Desired)] || rec.Declarations.Environment(environment) == nil {
		return nil, nil
	}
	d, err := j.Decide(ctx, v, rec, environment, policies.Serving)
	if err != nil {
		return nil, err
	}
	var all []Reason
	for _, c := range d.Decision.Criteria {
		if !c.Verdict.Promotes() {
			all = append(all, Reason{About: c.ID, Why: fmt.Sprintf("%s: %s", c.Verdict, c.Why), Own: j.ofRelease(c.ID)})
		}
	}
	return all, nil
}

// ofRelease says whether all that is measured for the criterion is about a release.
func (j *Judge) ofRelease(criterion string) bool {
	known := false
	for _, c := range j.Checks {
		if c.Criterion == criterion {
			if known = true; c.Scope != "release" {
				return false
			}
		}
	}
	return known
}

// Degraded are the reasons why what serves is degraded: by judgement, by drift,
// and by an error budget that burns as one looks.
func Degraded(judged []Reason, drift []Difference, alerts *target.Alerts) []Reason {
	all := judged[:len(judged):len(judged)]
	for _, d := range drift {
		all = append(all, d.reason())
	}
	if alerts != nil {
		for _, a := range alerts.Firing {
			if strings.HasPrefix(a.Alert, "burn-") {
				all = append(all, Reason{About: a.Alert, Why: a.Summary})
			}
		}
	}
	return all
}

// heldBack is why a request that nobody made in person must not go while what
// serves is degraded, where that is declared. It stops nothing that mends it:
// what is only about the release that serves goes with it, and a person who asks
// knows of a fix. Both are judged as ever.
func (v *View) heldBack(r Request, degraded []Reason) string {
	rec := v.Releases[v.Environment(r.Environment).Desired]
	if !r.Automatic || rec == nil || !v.Rules(r.Environment, r.Record).HoldNext {
		return ""
	}
	for _, why := range degraded {
		if !why.Own || r.Release == rec.Release {
			return fmt.Sprintf("what serves in %s is degraded, and that holds what is promoted automatically: %s (%s); if it mends that, gate promote %s --to %s", r.Environment, why.About, why.Why, short(r.Release), r.Environment)
		}
	}
	return ""
}
