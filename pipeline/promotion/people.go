package promotion

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/ledger"
	"github.com/smartcloudops/gate/policies"
)

// Types of the statements by which people have a say in a promotion.
const (
	ApprovalType = "https://gate.smartcloudops.dev/approval/v1"
	OverrideType = "https://gate.smartcloudops.dev/override/v1"
)

// OverrideFor is how long an override may be used: it is for what must be done
// now.
const OverrideFor = time.Hour

// Approval says that somebody agrees to a release in an environment. It counts
// for the next promotion of the record there, and for an override of it that was
// recorded before.
type Approval struct {
	Environment string    `json:"environment"`
	Record      string    `json:"record"` // release record
	Release     string    `json:"release"`
	Commit      string    `json:"commit"`
	GitHub      string    `json:"github,omitempty"` // login that GitHub vouches for; empty: whoever signed it
	Where       string    `json:"where,omitempty"`  // the run of which GitHub said so
	By          string    `json:"by"`
	Reason      string    `json:"reason,omitempty"`
	At          time.Time `json:"at"`

	Signers []string `json:"-"`
	Seq     int64    `json:"-"`
}

// Override lets one promotion of a release past a freeze, past the pace of
// automatic ones, and past approvals that it lacks; never past a verdict or a
// hold.
type Override struct {
	Environment string    `json:"environment"`
	Record      string    `json:"record"`
	Release     string    `json:"release"`
	Commit      string    `json:"commit"`
	By          string    `json:"by"`
	Reason      string    `json:"reason"`
	At          time.Time `json:"at"`

	ID      string   `json:"-"` // digest of its statement
	Signers []string `json:"-"`
	Seq     int64    `json:"-"`
	Used    bool     `json:"-"` // a promotion has begun by it
	// Settled: something else was promoted since, which proves that it was approved
	// by what counted then.
	Settled bool `json:"-"`
}

// People is what people have said of an environment's promotions.
type People struct {
	Approvals []Approval // oldest first
	Overrides []Override // oldest first
	// Ended is where in the ledger the newest promotion of a record has ended:
	// what was approved before is used up.
	Ended map[string]int64
	Began map[string]time.Time // request → when its promotion began
	// Shared and Whole are when a promotion has begun to get traffic, and when it
	// had all of it.
	Shared map[string]time.Time
	Whole  map[string]time.Time
}

// people folds a statement of somebody. What others share is not changed.
func (v *View) people(it Item) error {
	switch it.Type {
	case ApprovalType:
		a := Approval{Signers: it.Signers, Seq: it.Seq}
		if err := json.Unmarshal(it.Predicate, &a); err != nil {
			return fmt.Errorf("ledger entry %d: %s: %w", it.Seq, it.Type, err)
		}
		// To hand on what GitHub has said of others is not to agree oneself.
		may := ledger.Approve
		if a.GitHub != "" {
			may = ledger.Vouch
		}
		if it.May(may, a.Environment) {
			p := &v.environment(a.Environment).People
			p.Approvals = append(slices.Clip(p.Approvals), a)
		}
	case OverrideType:
		o := Override{Signers: it.Signers, Seq: it.Seq, ID: it.Digest}
		if err := json.Unmarshal(it.Predicate, &o); err != nil {
			return fmt.Errorf("ledger entry %d: %s: %w", it.Seq, it.Type, err)
		}
		if it.May(ledger.Promote, o.Environment) {
			p := &v.environment(o.Environment).People
			p.Overrides = append(slices.Clip(p.Overrides), o)
		}
	}
	return nil
}

// decided folds that a revision was found good where it serves. A decision names
// release and commit, and the commit's record what is configured.
func (v *View) decided(it Item) {
	var r struct {
		Decision struct {
			Release, Commit, Environment string
			Stage                        policies.Stage
			Verdict                      policies.Verdict
		}
	}
	if json.Unmarshal(it.Predicate, &r) != nil {
		return
	}
	d := r.Decision
	if d.Stage != policies.Serving || !d.Verdict.Promotes() || !it.May(ledger.Decide, d.Environment) {
		return
	}
	e := v.environment(d.Environment)
	record := e.Desired
	if s := v.Releases[record]; s == nil || s.Release != d.Release || d.Commit != "" && s.Commit != d.Commit {
		record = v.recordOf("", d.Release, d.Commit)
	}
	if revision := v.runs(d.Environment, record); revision != "" {
		if e.Good == nil {
			e.Good = map[string]bool{}
		}
		e.Good[revision] = true
	}
}

// noted is the map with the time, unless an earlier one is there. What others
// share is not changed.
func noted(m map[string]time.Time, request string, at time.Time) map[string]time.Time {
	if _, ok := m[request]; ok {
		return m
	}
	if m = maps.Clone(m); m == nil {
		m = map[string]time.Time{}
	}
	m[request] = at
	return m
}

// step folds what a step of a promotion that is under way means for what people
// have said, and want to know.
func (p *People) step(seq int64, t *Transition) {
	switch {
	case t.Step == Analyse:
		p.Shared = noted(p.Shared, t.Request, t.At)
	case t.Step == Soak, t.Step == Retire, t.Step == Contract && !t.Overdue:
		// Written once all traffic is there.
		p.Whole = noted(p.Whole, t.Request, t.At)
	case t.Step == Begin:
		p.Began = noted(p.Began, t.Request, t.At)
		if t.Kind == Rollback || len(p.Overrides) == 0 {
			return // to go back asks nobody
		}
		p.Overrides = slices.Clone(p.Overrides)
		for i := range p.Overrides {
			o := &p.Overrides[i]
			o.Settled = o.Used
			o.Used = o.Used || t.Override != "" && o.ID == t.Override
		}
	case t.Step == End && t.Kind == Promote:
		p.Ended = maps.Clone(p.Ended)
		if p.Ended == nil {
			p.Ended = map[string]int64{}
		}
		p.Ended[t.Record] = seq
	}
}

// Rules are what is declared for promotions into an environment: by what serves
// there and by the release that is asked for. The stricter of both counts, so
// that no release does away with what stops it.
type Rules struct {
	Approvals environments.Approvals // Required 0: none
	Freeze    []environments.Freeze
	Paces     []environments.Pace
	HoldNext  bool // while the live release is degraded
}

// Rules are those for the release record; empty: those of what serves alone.
func (v *View) Rules(environment, record string) (r Rules) {
	for _, d := range []string{v.Environment(environment).Desired, record} {
		rec := v.Releases[d]
		if rec == nil || rec.Declarations.Environment(environment) == nil {
			continue
		}
		p := rec.Declarations.Environment(environment).Promotion
		if a := p.Approvals; a != nil {
			r.Approvals.Required = max(r.Approvals.Required, a.Required)
			r.Approvals.NotAuthor = r.Approvals.NotAuthor || a.NotAuthor
		}
		for _, f := range p.Freeze {
			if !slices.Contains(r.Freeze, f) {
				r.Freeze = append(r.Freeze, f)
			}
		}
		if p.Pace != nil && !slices.Contains(r.Paces, *p.Pace) {
			r.Paces = append(r.Paces, *p.Pace)
		}
		r.HoldNext = r.HoldNext || p.Degraded == environments.HoldNext
	}
	return r
}

// Withheld is why a request that goes forward must not now, with CodeLocked, or
// waits for approval, with CodeApproval; code 0: nothing keeps it. Nobody's
// verdict is asked here.
func (v *View) Withheld(r Request, trust *environments.Trust, now time.Time) (code int, why string) {
	if rec := v.Releases[r.Record]; r.Rollback || rec == nil || rec.Declarations.Environment(r.Environment) == nil {
		return 0, ""
	}
	if t := v.FailedThere(r.Environment, r.Release); r.Automatic && t != nil {
		return CodeLocked, fmt.Sprintf("%s went back from release %s at %s, and nothing brings that forward again by itself; a person does with gate promote %s --to %s", r.Environment, short(r.Release), stamp(t.At), short(r.Release), r.Environment)
	}
	if o := v.Unapproved(r.Environment, trust); o != nil {
		return CodeLocked, fmt.Sprintf("the override by %s of %s (%s) is not approved yet: somebody else runs gate approve %s --to %s first", o.By, stamp(o.At), o.Reason, short(o.Release), r.Environment)
	}
	o := v.Environment(r.Environment).People.override(r.Record, now)
	if o != nil && v.Told(r.Environment, r.Record) {
		return 0, ""
	}
	code, why = v.declared(r, trust, now)
	if code != 0 && o != nil {
		why += "; the override by " + o.By + " does not count, since nobody would be told of it: " + declareRoute
	}
	return code, why
}

const declareRoute = "declare smtp, webhook or incident under alerts in what serves there"

// Told says whether an override in the environment reaches anybody, by what
// serves there; where nothing does, by the release record itself.
func (v *View) Told(environment, record string) bool {
	rec := v.Releases[cmp.Or(v.Environment(environment).Desired, record)]
	if rec == nil {
		return false
	}
	e := rec.Declarations.Environment(environment)
	return e != nil && e.Alerts.TellPeople()
}

// declared is what is declared against the request now.
func (v *View) declared(r Request, trust *environments.Trust, now time.Time) (code int, why string) {
	rules := v.Rules(r.Environment, r.Record)
	if w, until := environments.Frozen(rules.Freeze, now); w != nil {
		return CodeLocked, fmt.Sprintf("%s is frozen until %s: %s; ask again then, or gate promote %s --to %s --override --reason TEXT", r.Environment, Until(*w, until), w.Reason, short(r.Release), r.Environment)
	}
	if why := v.paced(r, rules.Paces, now); why != "" {
		return CodeLocked, why
	}
	if why := v.lacksApprovals(r.Environment, r.Record, rules.Approvals, trust); why != "" {
		return CodeApproval, why
	}
	return 0, ""
}

// Until is the end of a freeze as the people of its zone read it.
func Until(w environments.Freeze, end time.Time) string {
	if end.IsZero() {
		return "it is declared otherwise"
	}
	if l, err := time.LoadLocation(w.Zone); err == nil {
		end = end.In(l)
	}
	return end.Format("Mon 2006-01-02 15:04 MST")
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04Z") }

// override is the one that may be used for the record now; nil: there is none.
func (p People) override(record string, now time.Time) *Override {
	for _, o := range slices.Backward(p.Overrides) {
		if age := now.Sub(o.At); o.Record == record && !o.Used && age >= -time.Minute && age < OverrideFor {
			return &o
		}
	}
	return nil
}

// overrideOf is the id of the override by which the request goes; empty: none.
func (v *View) overrideOf(r Request, now time.Time) string {
	if o := v.Environment(r.Environment).People.override(r.Record, now); o != nil && !r.Rollback && v.Told(r.Environment, r.Record) {
		return o.ID
	}
	return ""
}

// agreed are those who have approved the record by an approval behind the entry,
// each person once.
func (v *View) agreed(environment, record string, behind int64, trust *environments.Trust) (all []environments.Approver) {
	said := map[string]Approval{} // by whom in which run → the first
	for _, a := range v.Environment(environment).People.Approvals {
		spent := false
		if a.GitHub != "" {
			// GitHub knows of the run alone: to run it again is not to approve again.
			run := a.Where + " " + strings.ToLower(a.GitHub)
			first, again := said[run]
			if spent = again && (first.Record != a.Record || first.Seq <= behind); !again {
				said[run] = a
			}
		}
		if a.Record != record || a.Seq <= behind || spent {
			continue
		}
		who := trust.KeyOwner(strings.Join(a.Signers, " "))
		if a.GitHub != "" {
			// The signer vouches for what GitHub said; whether the person may, we say.
			if !trust.Approver(a.GitHub, environment) {
				continue
			}
			who = trust.GitHubUser(a.GitHub)
		}
		if !slices.ContainsFunc(all, who.Same) {
			all = append(all, who)
		}
	}
	return all
}

// strangers says whether one of those who agreed is known not to be among the
// authors. Who has no address on file can't be told from them.
func strangers(agreed []environments.Approver, authors []string) bool {
	return len(authors) > 0 && slices.ContainsFunc(agreed, func(a environments.Approver) bool {
		return len(a.Emails) > 0 && !slices.ContainsFunc(authors, a.Has)
	})
}

// lacksApprovals is what the next promotion of the record still waits for; empty:
// nothing.
func (v *View) lacksApprovals(environment, record string, want environments.Approvals, trust *environments.Trust) string {
	if want.Required == 0 {
		return ""
	}
	rec := v.Releases[record]
	agreed := v.agreed(environment, record, v.Environment(environment).People.ended(record), trust)
	how := fmt.Sprintf("gate approve %s --to %s", short(rec.Release), environment)
	switch {
	case len(agreed) < want.Required:
		return fmt.Sprintf("%d of %d approvals are there: %s by others who may approve; it goes on then", len(agreed), want.Required, how)
	case want.NotAuthor && len(rec.Authors) == 0:
		return fmt.Sprintf("the author of commit %.12s must not approve alone, and is not on record: build it again with gate build", rec.Commit)
	case want.NotAuthor && !strangers(agreed, rec.Authors):
		return fmt.Sprintf("none of those who have approved is known not to be the author, %s: %s by somebody else, whose emails trust.yaml lists", rec.Authors[0], how)
	}
	return ""
}

func (p People) ended(record string) int64 {
	if at, ok := p.Ended[record]; ok {
		return at
	}
	return -1
}

// Unapproved is the override that was used and that nobody else has approved
// since; nil: there is none.
func (v *View) Unapproved(environment string, trust *environments.Trust) *Override {
	for _, o := range v.Environment(environment).People.Overrides {
		if v.open(o, trust) {
			return &o
		}
	}
	return nil
}

// open says whether the override was used and is still to be approved. What has
// become of trust and declarations since does not open it again.
func (v *View) open(o Override, trust *environments.Trust) bool {
	return o.Used && !o.Settled && !v.condoned(o, trust)
}

// condoned says whether the override has been approved: by as many as a promotion
// of it needs, one at least, and not by who overrode alone. Where trust.yaml
// names nobody who may approve, on a ledger of one machine, its key counts for
// this as for everything.
func (v *View) condoned(o Override, trust *environments.Trust) bool {
	agreed := v.agreed(o.Environment, o.Record, o.Seq, trust)
	by := trust.KeyOwner(strings.Join(o.Signers, " "))
	if trust.Remote != "" || trust.Approvers(o.Environment) {
		agreed = slices.DeleteFunc(agreed, by.Same)
	}
	want := v.Rules(o.Environment, o.Record).Approvals
	if len(agreed) < max(1, want.Required) {
		return false
	}
	rec := v.Releases[o.Record]
	return !want.NotAuthor || rec != nil && strangers(agreed, rec.Authors)
}

// Pressing are the overrides that the owners must know of: those that may be used
// now, and those that are not approved yet.
func (v *View) Pressing(environment string, trust *environments.Trust, now time.Time) (all []Override) {
	p := v.Environment(environment).People
	for _, o := range p.Overrides {
		usable := p.override(o.Record, now)
		if v.open(o, trust) || usable != nil && usable.ID == o.ID {
			all = append(all, o)
		}
	}
	return all
}

// paced is why a request that nobody has asked for in person comes too early.
func (v *View) paced(r Request, paces []environments.Pace, now time.Time) string {
	if !r.Automatic {
		return ""
	}
	how := fmt.Sprintf("; a person goes on with gate promote %s --to %s", short(r.Release), r.Environment)
	history := v.Environment(r.Environment).History
	for _, p := range paces {
		var begun []time.Time
		for _, t := range history {
			back := t.State == RolledBack || t.Kind == Rollback && t.State == Succeeded
			if until := t.At.Add(p.Pause.D()); back && now.Before(until) {
				return fmt.Sprintf("%s went back at %s, and automatic promotions pause until %s%s", r.Environment, stamp(t.At), stamp(until), how)
			}
			if t.Token != 0 && cmp.Or(t.Kind, Promote) == Promote && now.Sub(t.At) < p.Per.D() {
				begun = append(begun, t.At)
			}
		}
		if n := len(begun); p.Promotions > 0 && n >= p.Promotions {
			slices.SortFunc(begun, time.Time.Compare)
			return fmt.Sprintf("%d promotions into %s within %s are as many as automatic ones may be, until %s%s", n, r.Environment, p.Per, stamp(begun[n-p.Promotions].Add(p.Per.D())), how)
		}
	}
	return ""
}

// Approve records an approval, and Override an override.
func (j *Journal) Approve(ctx context.Context, a Approval) error {
	_, err := j.append(ctx, ApprovalType, ledger.Digested("release", a.Release), a)
	return err
}

// Override records an override, before the request that is to use it.
func (j *Journal) Override(ctx context.Context, o Override) error {
	_, err := j.append(ctx, OverrideType, ledger.Digested("release", o.Release), o)
	return err
}

// Waits is what the request waits for, whoever it is that must approve; empty: it
// does not wait, or has ended.
func (j *Journal) Waits(v *View, r Request) string {
	ev := v.Environment(r.Environment)
	if ev.Consumed[r.ID] != nil || ev.Active != nil || ev.Hold != nil || r.Err != nil {
		return ""
	}
	if code, why := v.Withheld(r, j.records().Trust(), j.Now()); code == CodeApproval {
		return why
	}
	return ""
}

// Waiting are the pending requests that wait for approval, with what for.
func (j *Journal) Waiting(ctx context.Context, v *View, environment string) (all []Transition, err error) {
	pending, err := j.Pending(ctx, v, environment)
	for _, r := range pending {
		if why := j.Waits(v, r); why != "" {
			all = append(all, Transition{
				Request: r.ID, Kind: Promote, Environment: environment, Record: r.Record, Release: r.Release, Commit: r.Commit,
				State: Waiting, Code: CodeApproval, Why: why, By: r.By, At: r.At,
			})
		}
	}
	return all, err
}

// Standing is the request that waits for approval, or has until a moment ago, and
// asks for the same; empty: none does. Whoever asks again follows that one. A
// person's own is asked for where an automatic one must not go.
func (j *Journal) Standing(ctx context.Context, v *View, r Request) (id string, err error) {
	if r.Rollback || r.Record == "" || v.Environment(r.Environment).Active != nil {
		return "", nil
	}
	pending, err := j.Pending(ctx, v, r.Environment)
	for _, p := range pending {
		if p.Rollback || p.Err != nil || p.Record != r.Record {
			continue
		}
		// Where nobody has to approve, two who ask at once are told who was first.
		if v.Rules(p.Environment, p.Record).Approvals.Required == 0 && v.overrideOf(p, j.Now()) == "" {
			continue
		}
		if code, _ := v.Withheld(p, j.records().Trust(), j.Now()); code == CodeLocked && p.Automatic && !r.Automatic {
			continue
		}
		return p.ID, err
	}
	return "", err
}

// Meant is which of the records, the newest first, somebody means who approves
// their release there: that of an override that is to be approved, else that of a
// request that waits, else the newest.
func (j *Journal) Meant(ctx context.Context, v *View, environment string, found []string) (string, error) {
	for _, o := range v.Pressing(environment, j.records().Trust(), j.Now()) {
		if slices.Contains(found, o.Record) {
			return o.Record, nil
		}
	}
	waiting, err := j.Waiting(ctx, v, environment)
	for _, w := range waiting {
		if slices.Contains(found, w.Record) {
			return w.Record, err
		}
	}
	return found[0], err
}
