package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// attempts bounds how often a write is tried whose branch somebody moved
// without the ledger's lock.
const attempts = 5

// staleAfter is how long another's ref lock stays untouched before it is taken
// for a dead process's.
const staleAfter = 2 * time.Second

// View is the ledger as it is while nobody else can append.
type View struct {
	Records []Record // all, in order; not to be changed
	Seq     int64    // of the last entry
	Digest  string   // of the last entry's payload
}

// envelope is a signed statement.
type envelope struct {
	raw       []byte
	digest    string
	signers   []string
	statement Statement
}

// Append records a statement, signed with the machine's own key, and returns
// its entry when it is durable. A statement that is there already, signed by
// the same key, is not recorded again: its entry is returned.
func (l *Ledger) Append(ctx context.Context, s Statement) (Entry, error) {
	entries, err := l.AppendAll(ctx, []Statement{s})
	if err != nil {
		return Entry{}, err
	}
	return entries[0], nil
}

// AppendAll is Append of several statements at once: all become durable
// together, or none.
func (l *Ledger) AppendAll(ctx context.Context, statements []Statement) ([]Entry, error) {
	envs := make([]envelope, len(statements))
	for i, s := range statements {
		var err error
		if envs[i], err = l.sign(ctx, s); err != nil {
			return nil, err
		}
	}
	return l.append(ctx, envs, true, nil)
}

// AppendIf records a statement provided that precondition, called while nobody
// else can append, returns nil. Otherwise it records nothing and fails with an
// error that is both ErrLost and the precondition's.
//
// The precondition must not call the ledger's methods. Trusted and TrustedFor
// are free to use.
func (l *Ledger) AppendIf(ctx context.Context, s Statement, precondition func(View) error) (Entry, error) {
	env, err := l.sign(ctx, s)
	if err != nil {
		return Entry{}, err
	}
	entries, err := l.append(ctx, []envelope{env}, false, precondition)
	if err != nil {
		return Entry{}, err
	}
	return entries[0], nil
}

// Import records a statement that others signed, with their signatures. All
// signers must be known here.
func (l *Ledger) Import(ctx context.Context, raw []byte) (Entry, error) {
	if len(raw) > 2*maxPayload {
		return Entry{}, fmt.Errorf("import: envelope has %d bytes, more than %d", len(raw), 2*maxPayload)
	}
	payload, signers, err := unseal(ctx, raw, statementPayload)
	if err != nil {
		return Entry{}, fmt.Errorf("import: %w", err)
	}
	s, err := decodeStatement(payload)
	if err != nil {
		return Entry{}, fmt.Errorf("import: %w", err)
	}
	if !l.known(signers) {
		return Entry{}, fmt.Errorf("import: statement %s is signed by %s, whom environments/trust.yaml does not list: list the key, or leave the statement", digestOf(payload), join(signers))
	}
	entries, err := l.append(ctx, []envelope{{raw, digestOf(payload), signers, s}}, true, nil)
	if err != nil {
		return Entry{}, err
	}
	return entries[0], nil
}

func (l *Ledger) sign(ctx context.Context, s Statement) (envelope, error) {
	if l.opt.Signer == nil {
		return envelope{}, fmt.Errorf("%w: the ledger was opened for reading", ErrReadOnly)
	}
	payload, err := s.encode()
	if err != nil {
		return envelope{}, err
	}
	raw, err := seal(ctx, l.opt.Signer, statementPayload, payload)
	if err != nil {
		return envelope{}, err
	}
	// As it will be read: compact, and sharing no memory with the caller.
	if s, err = decodeStatement(payload); err != nil {
		return envelope{}, err
	}
	return envelope{raw, digestOf(payload), []string{l.own}, s}, nil
}

// place makes the entry that puts a statement at seq, and both files. was is
// where it stood before; 0: nowhere.
func (l *Ledger) place(ctx context.Context, env envelope, seq int64, prev string, at time.Time, was int64) (Record, []file, error) {
	e := Entry{Ledger: l.id, Seq: seq, Prev: prev, Statement: env.digest, Signers: env.signers, At: at, Was: was}
	payload, err := encodeJSON(e)
	if err != nil {
		return Record{}, nil, fmt.Errorf("encode entry %d: %w", seq, err)
	}
	raw, err := seal(ctx, l.opt.Signer, entryPayload, payload)
	if err != nil {
		return Record{}, nil, err
	}
	path := entryPath(seq)
	r := Record{
		Entry: e, Statement: env.statement, Digest: env.digest, EntryDigest: digestOf(payload),
		Signers: env.signers, EntrySigners: []string{l.own},
	}
	return r, []file{{path: path + entrySuffix, data: raw}, {path: path + statementSuffix, data: env.raw}}, nil
}

func (l *Ledger) append(ctx context.Context, envs []envelope, dedup bool, precondition func(View) error) ([]Entry, error) {
	if l.opt.ReadOnly {
		return nil, fmt.Errorf("%w: the ledger was opened for reading", ErrReadOnly)
	}
	leave, err := l.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	lock, err := acquire(ctx, l.path(lockName))
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	for range attempts {
		var entries []Entry
		if entries, err = l.tryAppend(ctx, lock, envs, dedup, precondition); !errors.Is(err, errMoved) {
			return entries, err
		}
	}
	return nil, fmt.Errorf("append to the ledger: gave up after %d attempts, something else writes gate/ledger: %w", attempts, err)
}

func (l *Ledger) tryAppend(ctx context.Context, lock *os.File, envs []envelope, dedup bool, precondition func(View) error) ([]Entry, error) {
	if err := l.refresh(ctx); err != nil {
		return nil, err
	}
	records := slices.Clip(l.records)
	if precondition != nil {
		last := records[len(records)-1]
		if err := precondition(View{Records: records, Seq: last.Entry.Seq, Digest: last.EntryDigest}); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrLost, err)
		}
	}
	now := l.opt.Now().UTC().Round(0) // without the monotonic clock, as it will be read
	entries := make([]Entry, len(envs))
	fresh := map[string]int64{} // within this batch
	var files []file
	for i, env := range envs {
		if seq, ok := l.recorded(records, env, fresh); ok && dedup {
			entries[i] = records[seq].Entry
			continue
		}
		last := records[len(records)-1]
		r, both, err := l.place(ctx, env, last.Entry.Seq+1, last.EntryDigest, now, 0)
		if err != nil {
			return nil, err
		}
		fresh[env.digest] = r.Entry.Seq
		files = append(files, both...)
		records = append(records, r)
		entries[i] = r.Entry
	}
	if len(files) == 0 {
		return entries, l.raiseMark(records, nil)
	}
	// Only behind a bare genesis may the mark be missing, so it must be there
	// before the next entry is.
	if err := l.raiseMark(l.records, nil); err != nil {
		return nil, err
	}
	if err := l.repo.clearRefLocks(ctx, ledgerRef, staleAfter); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("append to the ledger: %w", context.Cause(ctx))
	}
	// From here on it is a matter of milliseconds; half-way out would leave the
	// caller unsure of what is recorded.
	id, err := l.repo.write(context.WithoutCancel(ctx), lock, commit{
		branch: ledgerRef, parent: l.head, message: summary(records[len(l.records):]), at: now, files: files,
	})
	if err != nil {
		return nil, err
	}
	l.adopt(id, records)
	return entries, l.raiseMark(records, nil)
}

// recorded finds the entry of the same statement signed by the same keys.
func (l *Ledger) recorded(records []Record, env envelope, fresh map[string]int64) (int64, bool) {
	if seq, ok := fresh[env.digest]; ok {
		return seq, true
	}
	for _, seq := range l.byDigest[env.digest] {
		if slices.Equal(records[seq].Signers, env.signers) {
			return seq, true
		}
	}
	return 0, false
}

// raiseMark makes the mark the last of records, and notes that the remote has
// the entry published, if that is not nil. The caller holds the lock.
func (l *Ledger) raiseMark(records []Record, published *point) error {
	m, err := readMark(l.path(markName))
	if err != nil {
		return err
	}
	next := mark{Ledger: l.id, point: *pointOf(records)}
	if m != nil {
		was := m.settled(records)
		if was.Seq >= next.Seq {
			next.point = was.point
		}
		next.Published = was.Published
	}
	if published != nil && (next.Published == nil || published.Seq > next.Published.Seq) {
		next.Published = published
	}
	if m == nil || m.Instead != nil || *m != next {
		if err := next.write(l.path(markName)); err != nil {
			return err
		}
	}
	l.published = next.Published
	return nil
}

// summary is the commit message: what git log shows.
func summary(records []Record) string {
	var b strings.Builder
	if n := len(records); n > 1 {
		fmt.Fprintf(&b, "%d to %d\n\n", records[0].Entry.Seq, records[n-1].Entry.Seq)
	}
	for i, r := range records {
		if i == 100 {
			fmt.Fprintf(&b, "and %d more\n", len(records)-i)
			break
		}
		kind := strings.Split(strings.TrimRight(r.Statement.Type, "/"), "/")
		fmt.Fprintf(&b, "%d: %s", r.Entry.Seq, strings.Join(kind[max(0, len(kind)-2):], "/"))
		if name := r.Statement.Subject[0].Name; name != "" {
			fmt.Fprintf(&b, " of %.100q", name)
		}
		b.WriteByte('\n')
	}
	return strings.TrimRight(b.String(), "\n")
}
