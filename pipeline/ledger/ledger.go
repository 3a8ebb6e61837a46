// Package ledger keeps gate's records in Git: signed statements, and a chain of
// signed entries that gives each its place. It owns a bare repository in the
// state directory; nobody's clone is ever touched.
//
// The branch gate/ledger holds for entry 12345 the two files
// log/0001/23/000012345.entry.json and ….statement.json, each a DSSE envelope.
// Branches env/<environment> hold requests.
//
// With a remote, Sync keeps both the same on all machines. Up to the entry that
// the remote was seen to have, published, nothing ever moves; what is behind it
// may be recorded again behind what others have recorded, with a new number and
// the old signature. Where several files or refs have to change for that, their
// order is such that after a crash each is old or new and both fit: objects,
// mark (which allows for both, see mark.Instead), branch, mark, refs/gate/seen.
package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/smartcloudops/gate/environments"
)

const (
	ledgerRef = "refs/heads/gate/ledger"

	repositoryName = "ledger.git"
	lockName       = "ledger.lock"
	markName       = "ledger.mark"
)

// Options says where the ledger is and who writes it.
type Options struct {
	Dir      string              // the state directory
	App      string              // name of the app that the ledger is about
	Signer   Signer              // the machine's own key; may be nil with ReadOnly
	Trust    *environments.Trust // nil: no remote, and no key but the machine's own
	Now      func() time.Time    // required unless ReadOnly
	ReadOnly bool                // create and write nothing

	// Remote is where the ledger travels to, by Git; empty: what Trust declares. A
	// ledger that is not here yet begins as the one that the remote has.
	Remote string
	// Apart keeps the ledger on this machine whatever Trust declares: nothing is
	// ever pushed, and the machine's own key counts as on a ledger without a
	// remote. A Remote that is named all the same is copied from once, when the
	// ledger begins.
	Apart bool
	// EnvFiles are files, by their paths, that every commit of gate on an env
	// branch brings or renews there, beside the request.
	EnvFiles map[string][]byte

	// Env is the environment of which git gets PATH and, to reach a remote, what
	// ssh and credential helpers need. Nil: this process's, as in os/exec.
	Env []string

	stage func(string) // called at each step of what a crash may interrupt; for tests
}

// at says to a test how far something has come.
func (o Options) at(stage string) {
	if o.stage != nil {
		o.stage(stage)
	}
}

// Ledger is an open ledger. Its methods may be called concurrently, also from
// several processes on the same state directory.
type Ledger struct {
	opt    Options
	own    string // id of the machine's own key; empty without one
	trust  environments.Trust
	remote string // empty: the ledger stays here
	repo   *repository

	turn chan struct{} // holds one token: whoever has it may use what follows

	objects objects
	head    string // id of the commit that records is from; empty: nothing read yet
	records []Record
	// published is the last entry of records that can't move any more; nil: none
	// that is known.
	published *point
	byDigest  map[string][]int64 // statement digest → seqs
	requests  map[string]RequestCommit
	id        string
}

// Open opens the ledger in the state directory, and unless ReadOnly creates it
// with its first use: where a remote is declared as a copy of the remote's, once
// all of that is verified, and as a new one only if the remote has none. It
// fails with ErrForeign when the ledger is another app's, with ErrNone when there
// is none and ReadOnly, with ErrRemote when the remote would have to be asked and
// can't be, with ErrTruncated or ErrBroken when what it has is not to be believed,
// and with ErrReadOnly or ErrNoSpace when it can't be created. Close ends it.
func Open(ctx context.Context, opt Options) (*Ledger, error) {
	if opt.Dir == "" || opt.App == "" {
		return nil, errors.New("open ledger: state directory and app name are required")
	}
	if !opt.ReadOnly && (opt.Signer == nil || opt.Now == nil) {
		return nil, errors.New("open ledger: a key and a clock are required for writing")
	}
	dir, err := filepath.Abs(opt.Dir)
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	opt.Dir = dir
	if opt.Env == nil {
		opt.Env = os.Environ()
	}
	l := &Ledger{opt: opt, turn: make(chan struct{}, 1), byDigest: map[string][]int64{}, requests: map[string]RequestCommit{}}
	l.turn <- struct{}{}
	if opt.Trust != nil {
		l.trust = *opt.Trust
	}
	if !opt.Apart {
		l.remote = cmp.Or(opt.Remote, l.trust.Remote)
	}
	if err := checkEnvFiles(opt.EnvFiles); err != nil {
		return nil, err
	}
	if opt.Signer != nil {
		if l.own, err = opt.Signer.KeyID(); err != nil {
			return nil, fmt.Errorf("open ledger: %w", err)
		}
		if _, err := ParseKeyID(l.own); err != nil {
			return nil, fmt.Errorf("open ledger: %w", err)
		}
	}
	if l.repo, err = newRepository(l.path(repositoryName), opt.Env); err != nil {
		return nil, err
	}
	l.objects.repo = l.repo
	if err := l.ensure(ctx); err != nil {
		return nil, err
	}
	if err := l.identify(ctx, ledgerRef, opt.Dir); err != nil {
		l.objects.close()
		return nil, err
	}
	return l, nil
}

// Close ends the git process that reads for the ledger. The ledger must not be
// in use.
func (l *Ledger) Close() error {
	<-l.turn
	defer func() { l.turn <- struct{}{} }()
	l.objects.close()
	return nil
}

// ID is the ledger's random id.
func (l *Ledger) ID() string { return l.id }

// Own is the id of the machine's own key.
func (l *Ledger) Own() string { return l.own }

// Remote is where the ledger travels to; empty: it stays on this machine.
func (l *Ledger) Remote() string { return l.remote }

// Repository is the path of the bare Git repository, for people and git log.
func (l *Ledger) Repository() string { return l.repo.dir }

func (l *Ledger) path(name string) string { return filepath.Join(l.opt.Dir, name) }

// enter waits for the turn to use the ledger's own state.
func (l *Ledger) enter(ctx context.Context) (leave func(), err error) {
	select {
	case <-l.turn:
		return func() { l.turn <- struct{}{} }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the ledger: %w", context.Cause(ctx))
	}
}
