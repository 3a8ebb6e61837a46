package promotion

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/smartcloudops/gate/pipeline/ledger"
)

// Sync exchanges the ledger with its remote. What was recorded here while others
// recorded something else is recorded again behind that, except for promotions
// that have lost by it: they end refused, with CodeLocked.
//
// What is published never moves. A promotion forward is published before its
// first step, see Engine, so it can't lose afterwards. A rollback waits for no
// remote; while one is under way whose beginning is not published, the error is
// ledger.ErrBusy and the next Sync does it. Its token is the number that its
// beginning was first given, and stays so: entries only move up, so that a later
// promotion of this machine always has a higher one.
func (j *Journal) Sync(ctx context.Context) (ledger.Synced, error) {
	return j.records().Sync(ctx, &resolver{journal: j})
}

// resolver implements ledger.Resolver.
type resolver struct {
	journal *Journal
	view    *View // the last that was folded
}

func (r *resolver) fold(v ledger.View) (*View, error) {
	var err error
	r.view, err = r.journal.foldOn(r.view, v.Records)
	return r.view, err
}

// Consumed implements ledger.Resolver.
func (r *resolver) Consumed(_ context.Context, now ledger.View, environment, id string) (bool, error) {
	v, err := r.fold(now)
	if err != nil {
		return false, err
	}
	return v.Environment(environment).Consumed[id] != nil, nil
}

// Again implements ledger.Resolver.
func (r *resolver) Again(_ context.Context, theirs ledger.View, ours []ledger.Record) ([]ledger.Again, error) {
	folded, err := r.fold(theirs)
	if err != nil {
		return nil, err
	}
	v := folded.clone()
	var all []ledger.Again
	lost := map[string]int64{} // request → token of its promotion that has lost
	for i := range ours {
		rec := &ours[i]
		t, err := r.transition(rec)
		if err != nil {
			return nil, err
		}
		if t != nil {
			why, err := r.verdict(v, rec, *t, ours[i+1:], lost)
			if err != nil {
				return nil, err
			}
			if why != "" {
				if t.Step != Begin {
					continue
				}
				end, err := r.refusal(v, *t, why)
				if err != nil {
					return nil, err
				}
				if end != nil {
					all = append(all, ledger.Again{New: end})
				}
				continue
			}
		}
		all = append(all, ledger.Again{Ours: rec})
		if err := r.apply(v, rec.Entry.First(), rec.Digest, rec.Statement, rec.Signers); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// transition is the step that the record speaks of; nil when it is something
// else, or does not count.
func (r *resolver) transition(rec *ledger.Record) (*Transition, error) {
	if rec.Statement.Type != TransitionType {
		return nil, nil
	}
	t := new(Transition)
	if err := json.Unmarshal(rec.Statement.Predicate, t); err != nil {
		return nil, fmt.Errorf("ledger entry %d: %s: %w", rec.Entry.Seq, rec.Statement.Type, err)
	}
	l := r.journal.records()
	if !l.Trusted(*rec, ledger.Promote, t.Environment) && !l.Trusted(*rec, ledger.Daemon, t.Environment) {
		return nil, nil
	}
	return t, nil
}

// verdict is why the step t must not be recorded again, by what others have
// recorded; empty, it may. after are our records behind it.
func (r *resolver) verdict(v *View, rec *ledger.Record, t Transition, after []ledger.Record, lost map[string]int64) (string, error) {
	ev := v.Environment(t.Environment)
	first := rec.Entry.First()
	switch {
	case t.Step == Claim:
		if ev.Active != nil {
			return "a promotion is under way", nil
		}
	case t.Step == Begin:
		if t.Kind == Rollback && !r.ends(after, t.Request, first) {
			// It was not waited for anybody, and it is not taken from under its feet.
			return "", fmt.Errorf("%w: a rollback of %s is under way here (request %.12s); what it records follows when it has ended", ledger.ErrBusy, t.Environment, t.Request)
		}
		if err := v.hinders(t); err != nil {
			lost[t.Request] = first
			return oneLine(err), nil
		}
	case ev.Consumed[t.Request] != nil:
		return "the request was carried out already", nil
	case t.Token != 0 && lost[t.Request] == t.Token:
		return "its promotion has lost", nil
	case ev.Active != nil && ev.Active.Request == t.Request && ev.Active.Token != t.Token:
		return "another carries the request out", nil
	}
	return "", nil
}

// ends says whether the promotion with the token has its end in records.
func (r *resolver) ends(records []ledger.Record, request string, token int64) bool {
	for i := range records {
		if t, err := r.transition(&records[i]); err == nil && t != nil && t.Request == request && t.Token == token && t.Step == End {
			return true
		}
	}
	return false
}

// refusal is the end of a promotion that has lost; nil when its request is, or
// was, carried out by another.
func (r *resolver) refusal(v *View, t Transition, why string) (*ledger.Statement, error) {
	ev := v.Environment(t.Environment)
	if ev.Consumed[t.Request] != nil || ev.Active != nil && ev.Active.Request == t.Request {
		return nil, nil
	}
	t.Step, t.State, t.Code, t.Token, t.At = End, Refused, CodeLocked, 0, r.journal.Now().UTC()
	t.Why = "another was first at the remote: " + why
	s, err := statement(TransitionType, about(t), t)
	if err != nil {
		return nil, err
	}
	return &s, r.apply(v, 0, "", s, []string{r.journal.records().Own()})
}

// apply folds a statement as if it stood behind all of v.
func (r *resolver) apply(v *View, first int64, digest string, s ledger.Statement, signers []string) error {
	return v.Apply(Item{
		Seq: v.Seq + 1, First: first, Digest: digest, Type: s.Type, Predicate: s.Predicate, Signers: signers,
		May: func(action, environment string) bool {
			return r.journal.records().TrustedFor(signers, action, environment)
		},
	})
}

// hinders is why the promotion t can't begin now; nil, it can.
func (v *View) hinders(t Transition) error {
	ev := v.Environment(t.Environment)
	switch {
	case ev.Active != nil:
		return fmt.Errorf("request %.12s by %s for release %s is under way", ev.Active.Request, ev.Active.By, short(ev.Active.Release))
	case ev.Consumed[t.Request] != nil:
		return errors.New("the request was carried out already")
	case ev.Desired != t.From:
		return fmt.Errorf("%s has changed since this was judged", t.Environment)
	case ev.Hold != nil && t.Kind == Promote:
		return errors.New(held(t.Environment, ev.Hold))
	}
	return nil
}
