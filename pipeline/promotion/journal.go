package promotion

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/ledger"
)

// ErrLost: another promotion was first.
var ErrLost = ledger.ErrLost

// Request asks for a release in an environment.
type Request struct {
	ID          string // of its commit
	Environment string
	Release     string
	Commit      string
	Record      string // release record; empty when the ledger knows none for release and commit
	By          string
	Reason      string
	Rollback    bool
	Automatic   bool // nobody asked for it in person
	At          time.Time
	Err         error // why it can't be read

	named string // release record that it names itself; empty: none
}

// Journal is a ledger in the words of promotions: typed records in, their fold
// out. It may be used concurrently.
type Journal struct {
	Ledger *ledger.Ledger
	Now    func() time.Time
	// Appended is called after something was recorded or asked for here; nil: nobody
	// wants to know.
	Appended func()
	// Reserve is what a full disk still has for ways back; nil: nothing.
	Reserve Reserve

	mu   sync.Mutex
	view *View
	in   records // stands in for Ledger where promotions are simulated; nil: nothing does
}

// records are what a journal needs of a ledger.
type records interface {
	Entries(ctx context.Context, from int64) ([]ledger.Record, error)
	Append(ctx context.Context, s ledger.Statement) (ledger.Entry, error)
	AppendAll(ctx context.Context, s []ledger.Statement) ([]ledger.Entry, error)
	AppendIf(ctx context.Context, s ledger.Statement, ok func(ledger.View) error) (ledger.Entry, error)
	Request(ctx context.Context, environment string, q ledger.Request) (string, error)
	Requests(ctx context.Context, environment string) ([]ledger.RequestCommit, error)
	Tip(ctx context.Context, environment string) (ledger.RequestCommit, bool, error)
	Settle(ctx context.Context, environment string, tip ledger.RequestCommit, runs *ledger.Request, cause string) (string, error)
	Sync(ctx context.Context, r ledger.Resolver) (ledger.Synced, error)
	Trusted(r ledger.Record, action, environment string) bool
	TrustedFor(signers []string, action, environment string) bool
	Trust() *environments.Trust
	Own() string
	Remote() string
}

func (j *Journal) records() records {
	if j.in != nil {
		return j.in
	}
	return j.Ledger
}

// View folds what has been recorded until now. Callers must not change it, and
// it does not change under them.
func (j *Journal) View(ctx context.Context) (*View, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	records, err := j.records().Entries(ctx, 0)
	if err != nil {
		return nil, err
	}
	j.view, err = j.foldOn(j.view, records)
	return j.view, err
}

// foldOn folds the records on a view of some of them. Where others have come in
// between, as a sync may bring them, all are folded anew.
func (j *Journal) foldOn(v *View, records []ledger.Record) (*View, error) {
	last := records[len(records)-1]
	switch {
	case v != nil && v.at == last.EntryDigest:
		return v, nil
	case v == nil, v.Seq < 0, v.Seq > last.Entry.Seq, records[max(v.Seq, 0)].EntryDigest != v.at:
		v = NewView()
	default:
		v = v.clone()
	}
	if err := j.fold(v, records[v.Seq+1:]); err != nil {
		return nil, err
	}
	return v, nil
}

func (j *Journal) fold(v *View, records []ledger.Record) error {
	for _, r := range records {
		err := v.Apply(Item{
			Seq: r.Entry.Seq, First: r.Entry.First(), Digest: r.Digest, Type: r.Statement.Type, Predicate: r.Statement.Predicate, Signers: r.Signers,
			May: func(action, environment string) bool { return j.records().Trusted(r, action, environment) },
		})
		if err != nil {
			return err
		}
		v.Seq, v.at = r.Entry.Seq, r.EntryDigest
	}
	return nil
}

// Evidence records evidence and returns its digest.
func (j *Journal) Evidence(ctx context.Context, e checks.Evidence) (string, error) {
	return j.append(ctx, checks.EvidenceType, ledger.Digested(e.Subject.Name, e.Subject.Digest), e)
}

// Decision records a decision and returns its id. The policies that it was made
// by are recorded with it, unless they are on record.
func (j *Journal) Decision(ctx context.Context, d DecisionRecord) (string, error) {
	var all []ledger.Statement
	if d.by != nil {
		s, err := statement(PoliciesType, ledger.Digested("policies", d.by.Digest()), d.by.Kept())
		if err != nil {
			return "", err
		}
		all = append(all, s)
	}
	s, err := statement(DecisionType, ledger.Digested("release", d.Decision.Release), d)
	if err != nil {
		return "", err
	}
	_, err = j.records().AppendAll(ctx, append(all, s))
	return d.Decision.ID, j.told(err)
}

// Release records what a commit became, unless that is on record, and returns
// the digest of the record.
func (j *Journal) Release(ctx context.Context, r *ReleaseRecord) (string, error) {
	v, err := j.View(ctx)
	if err != nil {
		return "", err
	}
	for _, d := range v.Find(r.Release) {
		want := *r
		want.At = v.Releases[d].At
		if same(v.Releases[d], &want) {
			r.At = want.At
			return d, nil
		}
	}
	r.At = j.Now().UTC()
	return j.append(ctx, ReleaseType, ledger.Digested("release", r.Release), r)
}

func same(a, b any) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && string(x) == string(y)
}

// Hold records a hold, or with an empty reason its end.
func (j *Journal) Hold(ctx context.Context, h Hold) error {
	do := func() error {
		_, err := j.append(ctx, HoldType, ledger.Named(h.Environment), h)
		return err
	}
	if h.Reason == "" {
		return do()
	}
	return j.back(do)
}

// Record records a step before it is taken and returns its sequence number.
func (j *Journal) Record(ctx context.Context, t Transition) (int64, error) {
	s, err := statement(TransitionType, about(t), t)
	if err != nil {
		return 0, err
	}
	var e ledger.Entry
	err = j.spending(t, func() error {
		e, err = j.records().Append(ctx, s)
		return err
	})
	return e.Seq, j.told(err)
}

// told passes err on, and on success that something was written.
func (j *Journal) told(err error) error {
	if err == nil && j.Appended != nil {
		j.Appended()
	}
	return err
}

// RecordIf is Record provided that ok, asked of the newest state while nobody
// else can append, returns nil; else the error is ErrLost and says ok's reason.
func (j *Journal) RecordIf(ctx context.Context, t Transition, ok func(*View) error) (int64, error) {
	s, err := statement(TransitionType, about(t), t)
	if err != nil {
		return 0, err
	}
	base, err := j.View(ctx)
	if err != nil {
		return 0, err
	}
	var e ledger.Entry
	tried, there := false, errors.New("it is on record")
	err = j.spending(t, func() error {
		var seen ledger.Entry
		e, err = j.records().AppendIf(ctx, s, func(now ledger.View) error {
			// A disk may have become full right behind the entry.
			if own, ok := recorded(now.Records, s); tried && ok {
				seen = own
				return there
			}
			v, err := j.foldOn(base, now.Records)
			if err != nil {
				return err
			}
			return ok(v)
		})
		tried = true
		if errors.Is(err, there) {
			e, err = seen, nil
		}
		return err
	})
	return e.Seq, j.told(err)
}

// about is what a transition is about: a release, unless its request could not
// even be read.
func about(t Transition) ledger.Subject {
	if t.Release == "" {
		return ledger.Named(t.Environment)
	}
	return ledger.Digested("release", t.Release)
}

func (j *Journal) append(ctx context.Context, typ string, subject ledger.Subject, predicate any) (string, error) {
	s, err := statement(typ, subject, predicate)
	if err != nil {
		return "", err
	}
	e, err := j.records().Append(ctx, s)
	return e.Statement, j.told(err)
}

func statement(typ string, subject ledger.Subject, predicate any) (ledger.Statement, error) {
	b, err := json.Marshal(predicate)
	if err != nil {
		return ledger.Statement{}, fmt.Errorf("record %s: %w", typ, err)
	}
	return ledger.Statement{Type: typ, Subject: []ledger.Subject{subject}, Predicate: b}, nil
}

// Request writes a request and returns its id.
func (j *Journal) Request(ctx context.Context, r Request) (string, error) {
	var id string
	do := func() (err error) {
		id, err = j.records().Request(ctx, r.Environment, ledger.Request{
			Release: r.Release, Commit: r.Commit, Record: r.Record, By: r.By, Reason: r.Reason, Rollback: r.Rollback, Automatic: r.Automatic,
		})
		return err
	}
	if r.Rollback {
		return id, j.told(j.back(do))
	}
	if err := j.Forward(); err != nil {
		return "", err
	}
	return id, j.told(do())
}

// Pending are the environment's requests that nobody has consumed, oldest
// first.
func (j *Journal) Pending(ctx context.Context, v *View, environment string) ([]Request, error) {
	all, err := j.records().Requests(ctx, environment)
	if err != nil {
		return nil, err
	}
	var out []Request
	for _, c := range all {
		if v.Environment(environment).Consumed[c.ID] != nil {
			continue
		}
		r := Request{
			ID: c.ID, Environment: environment, Release: c.Request.Release, Commit: c.Request.Commit,
			By: c.Request.By, Reason: c.Request.Reason, Rollback: c.Request.Rollback, Automatic: c.Request.Automatic, At: c.At, Err: c.Err,
		}
		if c.Err == nil {
			r.named = c.Request.Record
			r.Record = v.recordFor(environment, r)
		} else if errors.Is(c.Err, context.Canceled) {
			return nil, c.Err
		}
		out = append(out, r)
	}
	return out, nil
}
