package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"runtime"
	"slices"
	"sync"
)

const (
	entrySuffix     = ".entry.json"
	statementSuffix = ".statement.json"
)

// entryPath is where entry seq lies, without suffix. A hundred entries a folder
// keep the trees small that every append writes anew.
func entryPath(seq int64) string {
	return fmt.Sprintf("log/%04d/%02d/%09d", seq/10000, seq/100%100, seq)
}

// located are the blobs of one entry.
type located struct{ entry, statement string }

// Entries returns the records with a sequence number of at least from, in
// order. Signatures, chain and high-water mark have been verified; what is new
// since the last call is all that is read. Callers must not change the records.
func (l *Ledger) Entries(ctx context.Context, from int64) ([]Record, error) {
	leave, err := l.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	if err := l.refresh(ctx); err != nil {
		return nil, err
	}
	from = min(max(from, 0), int64(len(l.records)))
	return slices.Clip(l.records[from:]), nil
}

// Head returns the last entry's sequence number and the digest of its payload.
func (l *Ledger) Head(ctx context.Context) (seq int64, digest string, err error) {
	all, err := l.Entries(ctx, 0)
	if err != nil {
		return 0, "", err
	}
	last := all[len(all)-1]
	return last.Entry.Seq, last.EntryDigest, nil
}

// Statement returns the first record of the statement that digest names, or
// ErrUnknown.
func (l *Ledger) Statement(ctx context.Context, digest string) (Record, error) {
	leave, err := l.enter(ctx)
	if err != nil {
		return Record{}, err
	}
	defer leave()
	return l.statement(ctx, digest)
}

func (l *Ledger) statement(ctx context.Context, digest string) (Record, error) {
	if err := l.refresh(ctx); err != nil {
		return Record{}, err
	}
	seqs := l.byDigest[digest]
	if len(seqs) == 0 {
		return Record{}, fmt.Errorf("%w: %s in ledger %s", ErrUnknown, digest, l.id)
	}
	return l.records[seqs[0]], nil
}

// Envelope returns the signed envelope of the statement that digest names, as
// it is stored, for those who verify it themselves.
func (l *Ledger) Envelope(ctx context.Context, digest string) ([]byte, error) {
	leave, err := l.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	r, err := l.statement(ctx, digest)
	if err != nil {
		return nil, err
	}
	ob, err := l.objects.one(ctx, ledgerRef+":"+entryPath(r.Entry.Seq)+statementSuffix, "blob")
	if err != nil {
		return nil, fmt.Errorf("read statement %s: %w", digest, err)
	}
	payload, _, err := unseal(ctx, ob.data, statementPayload)
	if err != nil || digestOf(payload) != digest {
		return nil, fmt.Errorf("%w: %w", ErrBroken, badEntry(r.Entry.Seq, "its statement is no longer %s", digest))
	}
	return ob.data, nil
}

// refresh reads what was appended since the last call, and what was recorded
// again. Mark and branch can't be read in one step: when they don't fit and one
// of them has moved meanwhile, both are read once more.
func (l *Ledger) refresh(ctx context.Context) error {
	for {
		m, err := readMark(l.path(markName))
		if err != nil {
			return err
		}
		commit, err := l.objects.one(ctx, ledgerRef, "commit")
		if errors.Is(err, errMissing) {
			return fmt.Errorf("%w: branch gate/ledger is gone: restore it from its mirror or a backup", ErrTruncated)
		} else if err != nil {
			return err
		}
		err = l.advance(ctx, commit, m)
		if err == nil || !errors.Is(err, ErrTruncated) && !errors.Is(err, ErrBroken) {
			return err
		}
		again, rerr := readMark(l.path(markName))
		tip, oerr := l.objects.one(ctx, ledgerRef, "commit")
		if rerr != nil || oerr != nil || tip.id == commit.id && reflect.DeepEqual(again, m) {
			return err
		}
	}
}

// advance makes the records of the commit what is known, if they go on from what
// was read before and from the mark.
func (l *Ledger) advance(ctx context.Context, commit object, m *mark) error {
	records := l.records
	if commit.id != l.head {
		var err error
		records, err = l.extend(ctx, commit, l.records)
		if isAny(err, ErrTruncated, ErrBroken) && l.published != nil && l.published.Seq+1 < int64(len(l.records)) {
			// Up to what the remote has, nothing moves; behind it others may have
			// come in between.
			records, err = l.extend(ctx, commit, l.records[:l.published.Seq+1])
		}
		if err != nil {
			return err
		}
	}
	if err := m.check(l.path(markName), l.id, records); err != nil {
		return err
	}
	l.adopt(commit.id, records)
	if m != nil && m.Published != nil {
		l.published = m.Published
	}
	return nil
}

// extend returns base with the records that the commit has behind it.
func (l *Ledger) extend(ctx context.Context, commit object, base []Record) ([]Record, error) {
	start := int64(len(base))
	found, err := l.locate(ctx, commit, start)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 && start > 0 {
		// It moved, and has nothing new: that is no append. Say what is missing
		// if that is it.
		all, err := l.locate(ctx, commit, 0)
		if err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%w: it has %d entries, but %d were read before: restore it from its mirror or a backup", ErrTruncated, len(all), start)
	}
	opened, err := l.load(ctx, found, start)
	if err != nil {
		return nil, err
	}
	records := slices.Clip(base)
	for i, o := range opened {
		if i == 0 && start > 0 && o.err == nil && o.record.Entry.Prev != records[start-1].EntryDigest {
			return nil, fmt.Errorf("%w: entry %d does not follow the entry %d that was read before: restore it from its mirror or a backup", ErrTruncated, start, start-1)
		}
		if o.err == nil {
			o.err = l.follows(records, o.record)
		}
		if o.err != nil {
			return nil, fmt.Errorf("%w: %w", ErrBroken, o.err)
		}
		records = append(records, o.record)
	}
	return records, nil
}

// adopt makes records what is known. What they have in common with the old ones
// is found by its entries.
func (l *Ledger) adopt(head string, records []Record) {
	same := min(len(l.records), len(records))
	for same > 0 && l.records[same-1].EntryDigest != records[same-1].EntryDigest {
		same--
	}
	if same < len(l.records) {
		clear(l.byDigest)
		same = 0
	}
	for _, r := range records[same:] {
		l.byDigest[r.Digest] = append(l.byDigest[r.Digest], r.Entry.Seq)
	}
	l.head, l.records = head, records
}

// follows says whether r may stand right behind records.
func (l *Ledger) follows(records []Record, r Record) error {
	seq := int64(len(records))
	prev := ""
	if seq > 0 {
		prev = records[seq-1].EntryDigest
	}
	switch {
	case r.Entry.Seq != seq:
		return badEntry(seq, "says that it is entry %d", r.Entry.Seq)
	case r.Entry.Ledger != l.id:
		return badEntry(seq, "is of ledger %.80q, not %s", r.Entry.Ledger, l.id)
	case r.Entry.Prev != prev:
		return badEntry(seq, "follows %.80s, but entry %d is %s", r.Entry.Prev, seq-1, prev)
	}
	if seq == 0 {
		_, err := r.genesis()
		return err
	}
	return nil
}

// locate finds the blobs of the entries from seq from on. It refuses a gap, half
// an entry and any file in log/ that is none.
func (l *Ledger) locate(ctx context.Context, c object, from int64) ([]located, error) {
	trees := header(c.data, "tree")
	if len(trees) != 1 {
		return nil, fmt.Errorf("%w: commit %s has no tree", ErrBroken, c.id)
	}
	found := map[string]string{} // path → blob
	if err := l.walk(ctx, trees[0], "", from, found); err != nil {
		return nil, err
	}
	out := make([]located, 0, len(found)/2)
	for seq := from; len(found) > 0; seq++ {
		path := entryPath(seq)
		it := located{found[path+entrySuffix], found[path+statementSuffix]}
		if it.entry == "" || it.statement == "" {
			return nil, fmt.Errorf("%w: %w", ErrBroken, badEntry(seq, "it, or its statement, is missing, but %s is there", slices.Min(slices.Collect(maps.Keys(found)))))
		}
		delete(found, path+entrySuffix)
		delete(found, path+statementSuffix)
		out = append(out, it)
	}
	return out, nil
}

// walk collects the files below log/, leaving out folders and files that lie
// before entry from.
func (l *Ledger) walk(ctx context.Context, tree, prefix string, from int64, found map[string]string) error {
	items, err := l.objects.tree(ctx, tree)
	if err != nil {
		return err
	}
	first := entryPath(from)
	for _, it := range items {
		path := prefix + it.name
		if prefix == "" && path != "log" {
			continue // later versions may keep more here
		}
		// Paths are as long as their level wants and sort as their numbers do.
		if n := min(len(path), len(first)); from > 0 && path[:n] < first[:n] {
			continue
		}
		if !it.folder {
			found[path] = it.id
		} else if err := l.walk(ctx, it.id, path+"/", from, found); err != nil {
			return err
		}
	}
	return nil
}

// opened is a record, or why it is none.
type opened struct {
	record Record
	err    error
}

// load reads and opens the records at found, the first of which is entry start.
// Its error is about reading; a bad record has its own.
func (l *Ledger) load(ctx context.Context, found []located, start int64) ([]opened, error) {
	const chunk = 64
	out := make([]opened, len(found))
	names := make([]string, 0, 2*len(found))
	for _, f := range found {
		names = append(names, f.entry, f.statement)
	}
	// Git reads while the signatures of what it read before are verified.
	var workers sync.WaitGroup
	defer workers.Wait()
	free := make(chan struct{}, runtime.GOMAXPROCS(0))
	raw := make([][]byte, len(names))
	begun := 0
	openUpTo := func(end int) {
		from := begun
		begun = end
		free <- struct{}{}
		workers.Go(func() {
			defer func() { <-free }()
			for i := from; i < end; i++ {
				r, err := open(ctx, start+int64(i), raw[2*i], raw[2*i+1])
				out[i] = opened{r, err}
				raw[2*i], raw[2*i+1] = nil, nil
			}
		})
	}
	err := l.objects.read(ctx, names, func(i int, ob object, err error) error {
		if err != nil || ob.kind != "blob" {
			return fmt.Errorf("%w: %w", ErrBroken, badEntry(start+int64(i/2), "its object %s is missing or no blob: restore the ledger from its mirror or a backup", names[i]))
		}
		raw[i] = ob.data
		if i%2 == 1 && i/2+1-begun == chunk {
			openUpTo(i/2 + 1)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if begun < len(found) {
		openUpTo(len(found))
	}
	workers.Wait()
	return out, nil
}

// open verifies the envelopes of one entry and that they belong together.
func open(ctx context.Context, seq int64, entry, statement []byte) (Record, error) {
	fail := func(err error) (Record, error) { return Record{}, &EntryError{seq, err} }
	payload, by, err := unseal(ctx, entry, entryPayload)
	if err != nil {
		return fail(fmt.Errorf("its envelope: %w", err))
	}
	r := Record{EntryDigest: digestOf(payload), EntrySigners: by}
	if r.Entry, err = decodeEntry(payload); err != nil {
		return fail(err)
	}
	payload, r.Signers, err = unseal(ctx, statement, statementPayload)
	if err != nil {
		return fail(fmt.Errorf("its statement's envelope: %w", err))
	}
	if r.Digest = digestOf(payload); r.Digest != r.Entry.Statement {
		return fail(fmt.Errorf("cites statement %.80s, but %s lies there", r.Entry.Statement, r.Digest))
	}
	if !slices.Equal(r.Signers, r.Entry.Signers) {
		return fail(fmt.Errorf("cites a statement signed by %.400s, but %s signed it", join(r.Entry.Signers), join(r.Signers)))
	}
	if r.Statement, err = decodeStatement(payload); err != nil {
		return fail(err)
	}
	return r, nil
}
