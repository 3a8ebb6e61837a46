// Package ledger keeps gate's records in Git: signed statements, and a chain of
// signed entries that gives each its place. It owns a bare repository in the
// state directory; nobody's clone is ever touched.
//
// The branch gate/ledger holds for entry 12345 the two files
// log/0001/23/000012345.entry.json and ….statement.json, each a DSSE envelope.
// Branches env/<environment> hold requests.
package ledger

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
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

	// Env is the environment of which git gets PATH and, to reach a remote, what
	// ssh and credential helpers need. Nil: this process's, as in os/exec.
	Env []string
}

// Ledger is an open ledger. Its methods may be called concurrently, also from
// several processes on the same state directory.
type Ledger struct {
	opt   Options
	own   string // id of the machine's own key; empty without one
	trust environments.Trust
	repo  *repository

	turn chan struct{} // holds one token: whoever has it may use what follows

	objects  objects
	head     string // id of the commit that records is from; empty: nothing read yet
	records  []Record
	byDigest map[string][]int64 // statement digest → seqs
	requests map[string]RequestCommit
	id       string
}

// Open opens the ledger in the state directory, and unless ReadOnly creates it
// with its first use. It fails with ErrForeign when the ledger is another
// app's, with ErrNone when there is none and ReadOnly, and with ErrReadOnly or
// ErrNoSpace when it can't be created. Close ends it.
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
	if err := l.identify(ctx); err != nil {
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

// ensure creates the repository with its genesis if it is not there.
func (l *Ledger) ensure(ctx context.Context) error {
	_, err := os.Stat(l.repo.dir)
	switch {
	case err == nil:
		return nil
	case l.opt.ReadOnly && errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w in %s: `gate run` begins one, or set GATE_STATE to the folder that has it", ErrNone, l.opt.Dir)
	case !errors.Is(err, fs.ErrNotExist):
		return storageError("open the ledger", err)
	}
	if err := os.MkdirAll(l.opt.Dir, 0o700); err != nil {
		return storageError("create the state directory", err)
	}
	lock, err := acquire(ctx, l.path(lockName))
	if err != nil {
		return err
	}
	defer lock.Close()
	if _, err := os.Stat(l.repo.dir); err == nil {
		return nil // another process was first
	}
	return l.create(ctx, lock)
}

// create builds the repository aside and renames it into place when it has its
// genesis, so that there never is a ledger without one.
func (l *Ledger) create(ctx context.Context, lock *os.File) error {
	if m, err := readMark(l.path(markName)); err != nil {
		return err
	} else if m != nil {
		return fmt.Errorf("%w: %s is gone, but ledger %s with entry %d was here before: restore it from its mirror or a backup, or set GATE_STATE to another folder", ErrTruncated, l.repo.dir, m.Ledger, m.Seq)
	}
	aside := &repository{dir: l.repo.dir + ".new", bin: l.repo.bin, env: l.repo.env}
	if err := os.RemoveAll(aside.dir); err != nil {
		return storageError("remove an unfinished ledger", err)
	}
	if err := os.Mkdir(aside.dir, 0o700); err != nil {
		return storageError("create the ledger", err)
	}
	if err := aside.initialise(ctx, lock); err != nil {
		return err
	}
	random := make([]byte, 16)
	if _, err := rand.Read(random); err != nil {
		return fmt.Errorf("make a ledger id: %w", err)
	}
	now := l.opt.Now().UTC().Round(0) // without the monotonic clock, as it will be read
	l.id = hex.EncodeToString(random)
	predicate, err := encodeJSON(Genesis{Ledger: l.id, App: l.opt.App, Created: now})
	if err != nil {
		return fmt.Errorf("encode genesis: %w", err)
	}
	env, err := l.sign(ctx, Statement{Type: GenesisType, Subject: []Subject{Named(l.id)}, Predicate: predicate})
	if err != nil {
		return err
	}
	_, files, err := l.place(ctx, env, 0, "", now)
	if err != nil {
		return err
	}
	files = append(files, file{path: "README.md", data: []byte(readme)})
	if _, err := aside.write(ctx, lock, commit{branch: ledgerRef, message: "0: genesis of " + l.opt.App, at: now, files: files}); err != nil {
		return err
	}
	if err := os.Rename(aside.dir, l.repo.dir); err != nil {
		return storageError("create the ledger", err)
	}
	return storageError("create the ledger", syncFolder(l.opt.Dir))
}

const readme = `# Ledger

Written by gate; do not edit. Each entry has two files in log/, both DSSE
envelopes (https://github.com/secure-systems-lab/dsse) signed with ed25519, whose
key id holds the public key:

- *.statement.json: an in-toto Statement v1
- *.entry.json: {ledger, seq, prev, statement, signers, at}, where prev is the
  sha256 of the payload of the entry before, and statement that of the statement

` + "`gate ledger verify`" + ` checks them all.
`

// identify reads the genesis and refuses another app's ledger.
func (l *Ledger) identify(ctx context.Context) error {
	commit, err := l.objects.one(ctx, ledgerRef, "commit")
	if errors.Is(err, errMissing) {
		return fmt.Errorf("%w: %s has no branch gate/ledger: restore it from its mirror or a backup", ErrTruncated, l.repo.dir)
	} else if err != nil {
		return err
	}
	name := commit.id + ":" + entryPath(0)
	raw := make([][]byte, 2)
	err = l.objects.read(ctx, []string{name + entrySuffix, name + statementSuffix}, func(i int, ob object, err error) error {
		raw[i] = ob.data
		return err
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBroken, &EntryError{0, err})
	}
	r, err := open(ctx, 0, raw[0], raw[1])
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBroken, err)
	}
	g, err := r.genesis()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBroken, err)
	}
	if g.App != l.opt.App {
		return fmt.Errorf("%w: %s holds the ledger of %q, not of %q: set GATE_STATE to another folder", ErrForeign, l.opt.Dir, g.App, l.opt.App)
	}
	l.id = g.Ledger
	return nil
}

func (r Record) genesis() (Genesis, error) {
	var g Genesis
	if r.Statement.Type != GenesisType {
		return g, badEntry(0, "is a %.80q, not a genesis", r.Statement.Type)
	}
	if err := json.Unmarshal(r.Statement.Predicate, &g); err != nil || g.Ledger == "" || g.App == "" {
		return g, badEntry(0, "its genesis names no ledger or no app")
	}
	if r.Entry.Ledger != g.Ledger {
		return g, badEntry(0, "is of ledger %.80q, but its genesis of %.80q", r.Entry.Ledger, g.Ledger)
	}
	return g, nil
}
