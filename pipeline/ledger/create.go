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
)

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
// genesis, so that there never is a ledger without one. Where the remote has a
// ledger, it is that one.
func (l *Ledger) create(ctx context.Context, lock *os.File) error {
	m, err := readMark(l.path(markName))
	if err != nil {
		return err
	}
	source := l.remote
	if l.opt.Apart {
		source = l.opt.Remote
	}
	if m != nil && source == "" {
		return fmt.Errorf("%w: %s is gone, but ledger %s with entry %d was here before: restore it from its mirror or a backup, or set GATE_STATE to another folder", ErrTruncated, l.repo.dir, m.Ledger, m.Seq)
	}
	for range rounds {
		if err = l.tryCreate(ctx, lock, source, m); !errors.Is(err, errRaced) {
			return err
		}
	}
	return err
}

func (l *Ledger) tryCreate(ctx context.Context, lock *os.File, source string, m *mark) error {
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
	found := false
	if source != "" {
		var err error
		if found, err = l.copyFrom(ctx, lock, aside, source, m); err != nil {
			return err
		}
	}
	if !found {
		if m != nil {
			return fmt.Errorf("%w: ledger %s with entry %d was here before, but neither %s nor %s has it: restore it from a backup, or set GATE_STATE to another folder", ErrTruncated, m.Ledger, m.Seq, l.repo.dir, redact(source))
		}
		if err := l.beginIn(ctx, lock, aside); err != nil {
			return err
		}
	}
	l.opt.at("created")
	if err := os.Rename(aside.dir, l.repo.dir); err != nil {
		return storageError("create the ledger", err)
	}
	return storageError("create the ledger", syncFolder(l.opt.Dir))
}

// beginIn writes the genesis, which a remote gets before it counts here: of two
// machines that begin at once, one begins and the other takes that over.
func (l *Ledger) beginIn(ctx context.Context, lock *os.File, aside *repository) error {
	if l.remote != "" && !l.listed(l.own) {
		return fmt.Errorf("%s has no ledger yet, and this machine can't begin one there: list its key %s in environments/trust.yaml, or leave remote empty to work on this machine alone", redact(l.remote), l.own)
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
	first, files, err := l.place(ctx, env, 0, "", now, 0)
	if err != nil {
		return err
	}
	files = append(files, file{path: "README.md", data: []byte(readme)})
	id, err := aside.write(ctx, lock, commit{branch: ledgerRef, message: "0: genesis of " + l.opt.App, at: now, files: files})
	if err != nil || l.remote == "" {
		return err
	}
	if err := aside.push(ctx, lock, l.remote, map[string]string{ledgerRef: id}); err != nil {
		return fmt.Errorf("begin the ledger: %w", err)
	}
	if err := aside.setRef(ctx, lock, seenRefs+ledgerName, "", id); err != nil {
		return err
	}
	at := pointOf([]Record{first})
	return mark{Ledger: l.id, point: *at, Published: at}.write(l.path(markName))
}

// copyFrom makes the ledger in aside a copy of the remote's; found is false when
// that truly has none. Nothing is believed before all of it is verified.
func (l *Ledger) copyFrom(ctx context.Context, lock *os.File, aside *repository, source string, m *mark) (found bool, err error) {
	theirs, err := aside.fetch(ctx, lock, source)
	if err != nil {
		return false, fmt.Errorf("no ledger is in %s yet, and whether there is one elsewhere can't be told: %w", l.opt.Dir, err)
	}
	l.opt.at("fetched")
	// A ledger of nothing, over what was fetched.
	a := &Ledger{opt: l.opt, own: l.own, trust: l.trust, remote: l.remote, repo: aside, byDigest: map[string][]int64{}, requests: map[string]RequestCommit{}}
	a.objects.repo = aside
	defer a.objects.close()
	if theirs.ledger != "" {
		if err := a.identify(ctx, theirs.ledger, redact(source)); err != nil {
			return false, err
		}
	}
	in, err := a.incoming(ctx, theirs, source)
	if err != nil || theirs.ledger == "" {
		return false, err
	}
	if m != nil {
		if err := m.check(l.path(markName), a.id, in.records); err != nil {
			return false, err
		}
	}
	for ref, id := range theirs.named("refs/heads/") {
		if err := aside.setRef(ctx, lock, ref, "", id); err != nil {
			return false, err
		}
	}
	next := mark{Ledger: a.id, point: *pointOf(in.records)}
	if l.remote != "" {
		next.Published = pointOf(in.records)
		for ref, id := range theirs.named(seenRefs) {
			if err := aside.setRef(ctx, lock, ref, "", id); err != nil {
				return false, err
			}
		}
	}
	l.opt.at("verified")
	// Before the ledger is there: one without its mark would be taken for cut.
	return true, next.write(l.path(markName))
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

// identify reads the genesis below the commit, or ref, and refuses another app's
// ledger; where says who has it.
func (l *Ledger) identify(ctx context.Context, at, where string) error {
	commit, err := l.objects.one(ctx, at, "commit")
	if errors.Is(err, errMissing) {
		return fmt.Errorf("%w: %s has no branch gate/ledger: restore it from its mirror or a backup", ErrTruncated, where)
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
		return fmt.Errorf("%w: %s: %w", ErrBroken, where, &EntryError{0, err})
	}
	r, err := open(ctx, 0, raw[0], raw[1])
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrBroken, where, err)
	}
	g, err := r.genesis()
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrBroken, where, err)
	}
	if g.App != l.opt.App {
		return fmt.Errorf("%w: %s holds the ledger of %.80q, not of %q: set GATE_STATE to another folder, or mend remote in environments/trust.yaml", ErrForeign, where, g.App, l.opt.App)
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
