package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"time"
)

const (
	syncLockName = "ledger.sync.lock"
	syncName     = "ledger.sync"
)

// rounds bounds how often it is tried to be the first at a remote. Of machines
// that write there all the time, each loses many times in a row.
const rounds = 40

// Synced is what Sync has done.
type Synced struct {
	Fetched int      `json:"fetched"`         // entries that others have recorded
	Again   int      `json:"again"`           // entries that were recorded again behind those
	Pushed  int      `json:"pushed"`          // entries that the remote did not have
	Moved   []string `json:"moved,omitempty"` // environments whose requests came from the remote
	// Kept are entries that stay on this machine, and Why says why.
	Kept int    `json:"kept,omitempty"`
	Why  string `json:"why,omitempty"`
}

// Sync exchanges the ledger and all env branches with the remote, whatever
// happens in between, so that both have the same in the end. What comes is
// verified before it is believed. Where both have moved, what only this machine
// has is recorded again behind the rest, as r says; nil for r means that this
// must not happen. Without a remote it does nothing.
//
// Errors: ErrRemote when the remote can't be reached or refuses, ErrTruncated,
// ErrBroken and ErrForeign when what it has is not to be believed, ErrDiverged
// without a resolver, ErrBusy when the resolver wants it later. Nothing was
// pushed then, and nothing here is lost.
func (l *Ledger) Sync(ctx context.Context, r Resolver) (Synced, error) {
	if l.remote == "" {
		return Synced{}, nil
	}
	if l.opt.ReadOnly {
		return Synced{}, fmt.Errorf("%w: the ledger was opened for reading", ErrReadOnly)
	}
	lock, err := acquire(ctx, l.path(syncLockName))
	if err != nil {
		return Synced{}, err
	}
	defer lock.Close()
	var s Synced
	err = l.sync(ctx, lock, r, &s)
	if ctx.Err() == nil {
		if nerr := l.noteSync(s, err); err == nil {
			err = nerr
		}
	}
	return s, err
}

// Mirror is Sync that never records anything again.
func (l *Ledger) Mirror(ctx context.Context) error {
	_, err := l.Sync(ctx, nil)
	return err
}

func (l *Ledger) sync(ctx context.Context, lock *os.File, r Resolver, s *Synced) error {
	var err error
	for round := range rounds {
		if round > 0 {
			// Whoever lost together must not come back together.
			wait := rand.N(time.Duration(min(round, 10)) * 50 * time.Millisecond)
			select {
			case <-ctx.Done():
				return fmt.Errorf("sync the ledger: %w", context.Cause(ctx))
			case <-time.After(wait):
			}
		}
		if err = l.exchange(ctx, lock, r, s); !errors.Is(err, errRaced) {
			return err
		}
	}
	return fmt.Errorf("%w: %s: others were first %d times: sync again: %w", ErrRemote, redact(l.remote), rounds, err)
}

// exchange is one round: fetch, verify, merge, push.
func (l *Ledger) exchange(ctx context.Context, lock *os.File, r Resolver, s *Synced) error {
	for _, dir := range []string{fetchedRefs, seenRefs} {
		if err := l.repo.clearPrivateLocks(dir); err != nil {
			return err
		}
	}
	theirs, err := l.repo.fetch(ctx, lock, l.remote)
	if err != nil {
		return err
	}
	l.opt.at("fetched")
	o, err := l.receive(ctx, theirs, r, s)
	if err != nil || len(o.push) == 0 {
		return err
	}
	if err := l.repo.push(ctx, lock, l.remote, o.push); err != nil {
		return err
	}
	l.opt.at("pushed")
	return l.sent(ctx, o, s)
}

// outgoing is what the remote lacks, and what it will have when that is pushed.
type outgoing struct {
	push    map[string]string // full name of the ref → commit
	after   tips
	records []Record
	entries int // that are new there
}

// receive verifies and merges what was fetched, and says what is to be pushed.
func (l *Ledger) receive(ctx context.Context, theirs tips, r Resolver, s *Synced) (o outgoing, err error) {
	leave, err := l.enter(ctx)
	if err != nil {
		return o, err
	}
	defer leave()
	if err := l.refresh(ctx); err != nil {
		return o, err
	}
	in, err := l.incoming(ctx, theirs, l.remote)
	if err != nil {
		return o, err
	}
	l.opt.at("verified")
	if err := l.merge(ctx, in, r, s); err != nil {
		return o, err
	}
	o = outgoing{push: map[string]string{}, after: tips{envs: map[string]string{}}, records: in.records}
	s.Kept, s.Why = 0, ""
	if l.head != in.ledger {
		if n := len(l.records) - len(in.records); l.listed(l.own) {
			o.push[ledgerRef], o.after.ledger, o.records, o.entries = l.head, l.head, l.records, n
		} else {
			s.Kept = n
			s.Why = fmt.Sprintf("this machine's key %s is not listed in environments/trust.yaml, and the others would refuse what it recorded", l.own)
		}
	}
	if len(o.records) == 0 {
		return o, nil // a request without a ledger would be nobody's
	}
	mine, err := l.repo.tipsBelow(ctx, "refs/heads/")
	if err != nil {
		return o, err
	}
	for _, name := range sortedKeys(mine.envs) {
		tip := mine.envs[name]
		if tip == theirs.envs[name] {
			continue
		}
		// A commit that has seen what the others will never see would stop them all.
		if err := l.verifyBranch(ctx, name, theirs.envs[name], tip, o.records); err != nil {
			return o, fmt.Errorf("env/%s is not pushed: %w", name, err)
		}
		o.push["refs/heads/"+envPrefix+name], o.after.envs[name] = tip, tip
	}
	return o, nil
}

// sent notes what the remote has now.
func (l *Ledger) sent(ctx context.Context, o outgoing, s *Synced) error {
	leave, err := l.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	lock, err := acquire(ctx, l.path(lockName))
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := l.refresh(ctx); err != nil {
		return err
	}
	s.Pushed += o.entries
	return l.believe(ctx, lock, o.after, o.records)
}

// LastSync is how the last Sync of this state directory ended.
type LastSync struct {
	Remote string    `json:"remote"`
	At     time.Time `json:"at"`              // when the last one ended
	OK     time.Time `json:"ok,omitzero"`     // when the last one ended well; zero: none has
	Error  string    `json:"error,omitempty"` // of the last one; empty: it ended well
	Kept   int       `json:"kept,omitempty"`  // entries that stay on this machine
	Why    string    `json:"why,omitempty"`   // they do
}

// LastSync reads how the last Sync ended, of whatever process; nil when there was
// none with the present remote.
func (l *Ledger) LastSync() (*LastSync, error) {
	b, err := os.ReadFile(l.path(syncName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, storageError("read how the last sync ended", err)
	}
	var s LastSync
	// One that can't be read says nothing; the next sync writes it anew.
	if json.Unmarshal(b, &s) != nil || s.Remote != redact(l.remote) {
		return nil, nil
	}
	return &s, nil
}

// noteSync writes what LastSync reads. The caller holds the sync lock.
func (l *Ledger) noteSync(s Synced, failed error) error {
	n := LastSync{Remote: redact(l.remote), At: l.opt.Now().UTC(), Kept: s.Kept, Why: s.Why}
	if failed == nil {
		n.OK = n.At
	} else {
		n.Error = failed.Error()
		if last, err := l.LastSync(); err == nil && last != nil {
			n.OK = last.OK
		}
	}
	b, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("note how the sync ended: %w", err)
	}
	return replaceFile("note how the sync ended", l.path(syncName), append(b, '\n'))
}
