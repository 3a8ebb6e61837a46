package promotion

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/ledger"
	"github.com/smartcloudops/gate/pipeline/target"
)

// Item is one statement of the ledger, its signature verified.
type Item struct {
	Seq       int64
	First     int64  // the number that it was first given, see ledger.Entry.First; 0: Seq
	Digest    string // of the statement
	Type      string
	Predicate json.RawMessage
	Signers   []string // key ids
	// May says whether the signers may do the action in the environment.
	May func(action, environment string) bool
}

// View is the fold of a ledger: what its records add up to.
type View struct {
	Seq          int64 // of the newest item that was folded
	Releases     map[string]*ReleaseRecord
	Environments map[string]*EnvironmentView
	Decisions    map[string]string   // decision id → digest of the statement
	evidence     map[string][]Signed // key → runs, oldest first
	latest       []string            // digests of release records, oldest first
	at           string              // digest of the entry Seq, where a ledger was folded
}

// Signed is evidence with who signed it.
type Signed struct {
	Digest   string          `json:"digest"`
	Signers  []string        `json:"signers"`
	Trusted  bool            `json:"trusted"` // signed and entered by keys that may measure there
	Evidence checks.Evidence `json:"evidence"`
}

// EnvironmentView is what the records say of one environment.
type EnvironmentView struct {
	Desired  string       // release record; empty: nothing has been accepted
	History  []Transition // of ended promotions, oldest first
	Active   *Transition  // newest transition of a promotion that has not ended
	Reached  Step         // furthest forward step of Active
	Consumed map[string]*Transition
	Hold     *Hold
	// Operations are what the daemon did by itself, oldest first.
	Operations []target.Operation
	// Executor are the keys that signed the newest begin, of whatever promotion:
	// they execute here, and nobody else. Empty: none has begun.
	Executor []string
	Token    int64 // of that promotion
	People   People
	// Good are the revisions, releases with their configuration, that were judged
	// good while they served.
	Good map[string]bool
}

// NewView is the fold of nothing.
func NewView() *View {
	return &View{
		Seq:          -1,
		Releases:     map[string]*ReleaseRecord{},
		Environments: map[string]*EnvironmentView{},
		Decisions:    map[string]string{},
		evidence:     map[string][]Signed{},
	}
}

// Environment is the view of one environment, empty when no record speaks of it.
func (v *View) Environment(name string) *EnvironmentView {
	if e := v.Environments[name]; e != nil {
		return e
	}
	return &EnvironmentView{Consumed: map[string]*Transition{}}
}

// environment is Environment for folding: what is changed stays.
func (v *View) environment(name string) *EnvironmentView {
	e := v.Environment(name)
	v.Environments[name] = e
	return e
}

// clone is a view that can be folded on while others read v.
func (v *View) clone() *View {
	c := *v
	c.Releases, c.Decisions, c.evidence = maps.Clone(v.Releases), maps.Clone(v.Decisions), maps.Clone(v.evidence)
	c.latest = slices.Clip(v.latest)
	for key, runs := range c.evidence {
		c.evidence[key] = slices.Clip(runs)
	}
	c.Environments = map[string]*EnvironmentView{}
	for name, e := range v.Environments {
		n := *e
		n.History, n.Consumed, n.Operations, n.Good = slices.Clip(e.History), maps.Clone(e.Consumed), slices.Clip(e.Operations), maps.Clone(e.Good)
		c.Environments[name] = &n
	}
	return &c
}

// recordOf is the release record that a request means: the named one, if it is
// of the release and commit; without a name the newest that is, one of a clean
// commit before any of uncommitted changes.
func (v *View) recordOf(record, release, commit string) string {
	is := func(r *ReleaseRecord) bool {
		return r != nil && r.Release == release && (commit == "" || r.Commit == commit)
	}
	if record != "" {
		if is(v.Releases[record]) {
			return record
		}
		return ""
	}
	dirty := ""
	for _, d := range slices.Backward(v.latest) {
		switch r := v.Releases[d]; {
		case !is(r):
		case !r.Dirty:
			return d
		case dirty == "":
			dirty = d
		}
	}
	return dirty
}

// servedRecordOf is the newest record of the release and commit whose revision
// has served in the environment.
func (v *View) servedRecordOf(environment, release, commit string) string {
	for _, d := range slices.Backward(v.latest) {
		if r := v.Releases[d]; r.Release == release && (commit == "" || r.Commit == commit) && v.Served(environment, d) {
			return d
		}
	}
	return ""
}

// recordFor is the release record that the request means; empty when there is
// none.
func (v *View) recordFor(environment string, r Request) string {
	if r.Err != nil {
		return ""
	}
	if r.Rollback && r.named == "" {
		if served := v.servedRecordOf(environment, r.Release, r.Commit); served != "" {
			return served
		}
	}
	return v.recordOf(r.named, r.Release, r.Commit)
}

// Apply folds one more item. Types that it does not know are passed over, so
// that an older gate can read a newer ledger; a known type that does not parse
// is an error, since a state folded from half of the records is a wrong state.
// What its signers may not say counts as not said.
func (v *View) Apply(it Item) error {
	if it.Seq <= v.Seq {
		return nil
	}
	into := func(x any) error {
		if err := json.Unmarshal(it.Predicate, x); err != nil {
			return fmt.Errorf("ledger entry %d: %s: %w", it.Seq, it.Type, err)
		}
		return nil
	}
	switch it.Type {
	case ReleaseType:
		r := new(ReleaseRecord)
		if err := into(r); err != nil {
			return err
		}
		if !it.May(ledger.Measure, "") || r.Declarations == nil {
			break
		}
		v.Releases[it.Digest] = r
		v.latest = append(v.latest, it.Digest)
	case DecisionType:
		var d struct {
			Decision struct {
				ID string `json:"decision"`
			} `json:"decision"`
		}
		if err := into(&d); err != nil {
			return err
		}
		v.Decisions[d.Decision.ID] = it.Digest
		v.decided(it)
	case checks.EvidenceType:
		s := Signed{Digest: it.Digest, Signers: it.Signers}
		if err := into(&s.Evidence); err != nil {
			return err
		}
		s.Trusted = it.May(ledger.Measure, s.Evidence.Environment)
		v.evidence[s.Evidence.Key] = append(v.evidence[s.Evidence.Key], s)
	case HoldType:
		h := new(Hold)
		if err := into(h); err != nil {
			return err
		}
		if !it.May(ledger.Promote, h.Environment) {
			break
		}
		e := v.environment(h.Environment)
		if e.Hold = h; h.Reason == "" {
			e.Hold = nil
		}
	case ApprovalType, OverrideType:
		if err := v.people(it); err != nil {
			return err
		}
	case OperationsType:
		var o Operations
		if err := into(&o); err != nil {
			return err
		}
		if it.May(ledger.Promote, o.Environment) || it.May(ledger.Daemon, o.Environment) {
			e := v.environment(o.Environment)
			e.Operations = append(e.Operations, o.Operations...)
		}
	case TransitionType:
		t := new(Transition)
		if err := into(t); err != nil {
			return err
		}
		if it.May(ledger.Promote, t.Environment) || it.May(ledger.Daemon, t.Environment) {
			v.transition(it, t)
		}
	}
	v.Seq = it.Seq
	return nil
}

// transition folds one more step. What does not belong to the promotion under
// way is passed over: it was written by somebody who has been overtaken.
func (v *View) transition(it Item, t *Transition) {
	e := v.environment(t.Environment)
	if e.Consumed[t.Request] != nil {
		return
	}
	own := e.Active != nil && e.Active.Request == t.Request
	switch {
	case t.Step == Begin, t.Step == Claim:
		if e.Active != nil {
			return
		}
		// The number that it was first given, by which the target was commanded,
		// whatever came in between at the remote.
		t.Token = cmp.Or(it.First, it.Seq)
		e.Executor, e.Token = it.Signers, t.Token
		if t.Step == Begin {
			e.Active, e.Reached = t, Begin
			e.People.step(it.Seq, t)
		}
		return
	case own && e.Active.Token != t.Token, !own && t.Token != 0, !own && t.Step != End:
		return
	case t.Step != End:
		if t.Step != Withdraw {
			e.Reached = t.Step
		}
		if t.Step == Contract && !t.Overdue {
			// It serves, and nothing else can any more, whatever comes in between.
			e.Desired = t.Record
		}
		e.Active = t
		e.People.step(it.Seq, t)
		return
	}
	e.Consumed[t.Request] = t
	e.History = append(e.History, *t)
	if own {
		e.Active, e.Reached = nil, ""
		e.People.step(it.Seq, t)
	}
	if t.State == Succeeded {
		e.Desired = t.Record
	}
}

// Begun says whether a promotion has ever begun here.
func (e *EnvironmentView) Begun() bool {
	return e.Active != nil || e.Desired != "" || slices.ContainsFunc(e.History, func(t Transition) bool { return t.Token != 0 })
}

// Evidence are the runs of one key, oldest first.
func (v *View) Evidence(key string) []Signed { return v.evidence[key] }

// AllEvidence is every run, in no order.
func (v *View) AllEvidence() []Signed {
	var all []Signed
	for _, runs := range v.evidence {
		all = append(all, runs...)
	}
	return all
}

// Bootstrap says whether nothing was ever accepted into the environment.
func (v *View) Bootstrap(environment string) bool {
	return v.Environment(environment).Desired == ""
}

// Previous is the release that the given one replaces in the environment: the
// newest other release that was accepted there before it; the release itself
// when there is none.
func (v *View) Previous(environment, release string) string {
	// Once release serves, it is passed over here: what was proved of the change
	// from its predecessor stays true after the promotion.
	for _, t := range slices.Backward(v.Environment(environment).History) {
		if t.State == Succeeded && t.Release != release {
			return t.Release
		}
	}
	return release
}

// FailedThere says whether the environment went back from the release, by itself
// or because a person wanted that, and how; nil: it did not, or the release has
// served there since.
func (v *View) FailedThere(environment, release string) (failed *Transition) {
	serves := "" // before the transition that is looked at
	history := v.Environment(environment).History
	for i := range history {
		t := &history[i]
		switch {
		case t.State == RolledBack && t.Kind != Rollback && t.Release == release:
			failed = t
		case t.State != Succeeded:
			continue
		case t.Release == release:
			failed = nil
		case t.Kind == Rollback && serves == release:
			failed = t
		}
		if t.State == Succeeded {
			serves = t.Release
		}
	}
	return failed
}

// Find returns the digests of the release records that ref means, newest first:
// a record, a release, a commit, or the beginning of one (8 characters at least).
func (v *View) Find(ref string) []string {
	var found []string
	for _, d := range slices.Backward(v.latest) {
		r := v.Releases[d]
		for _, id := range []string{d, r.Release, r.Commit} {
			if matches(id, ref) {
				found = append(found, d)
				break
			}
		}
	}
	return found
}

func matches(id, ref string) bool {
	if id == ref {
		return true
	}
	const algorithm = "sha256:"
	bare := id
	if len(id) > len(algorithm) && id[:len(algorithm)] == algorithm {
		bare = id[len(algorithm):]
	}
	for _, s := range []string{id, bare} {
		if len(ref) >= 8 && len(ref) < len(s) && s[:len(ref)] == ref {
			return true
		}
	}
	return false
}

// Newest is the release record that was made last; empty when there is none.
func (v *View) Newest() string {
	if len(v.latest) == 0 {
		return ""
	}
	return v.latest[len(v.latest)-1]
}

// Served says whether what the record runs in the environment, the release with
// its configuration, was ever accepted there.
func (v *View) Served(environment, record string) bool {
	what := v.runs(environment, record)
	return what != "" && slices.ContainsFunc(v.Environment(environment).History, func(t Transition) bool {
		return t.State == Succeeded && v.runs(environment, t.Record) == what
	})
}

// runs identifies what the record runs in the environment; empty when it is not
// known or does not declare it.
func (v *View) runs(environment, record string) string {
	r := v.Releases[record]
	if r == nil || r.Declarations.Environment(environment) == nil {
		return ""
	}
	return r.Revision(environment).ID()
}
