package ledger

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// Mark names one entry of a ledger, as others repeat it outside of the ledger:
// commits on env branches, check runs. A ledger that has not this entry was
// truncated or rewritten.
type Mark struct {
	Ledger string `json:"ledger"`
	Seq    int64  `json:"seq"`
	Digest string `json:"digest"` // of the entry's payload
}

// String is the mark as one line: "<ledger> <seq> <digest>".
func (m Mark) String() string { return fmt.Sprintf("%s %d %s", m.Ledger, m.Seq, m.Digest) }

// ParseMark reads what String wrote, and nothing else.
func ParseMark(text string) (Mark, error) {
	f := strings.Fields(text)
	if len(f) != 3 {
		return Mark{}, fmt.Errorf("mark %.200q is not a ledger id, an entry's number and its digest", text)
	}
	seq, err := strconv.ParseInt(f[1], 10, 64)
	m := Mark{Ledger: f[0], Seq: seq, Digest: f[2]}
	if err != nil || seq < 0 || !releaseDigest.MatchString(m.Digest) || m.String() != text {
		return Mark{}, fmt.Errorf("mark %.200q is not a ledger id, an entry's number and its digest", text)
	}
	return m, nil
}

// Mark is the newest entry that can't move any more: on a ledger with a remote
// the newest one that the remote was seen to have, elsewhere the last one. Where
// the remote has nothing yet, the error is ErrUnknown.
func (l *Ledger) Mark(ctx context.Context) (Mark, error) {
	leave, err := l.enter(ctx)
	if err != nil {
		return Mark{}, err
	}
	defer leave()
	if err := l.refresh(ctx); err != nil {
		return Mark{}, err
	}
	m, ok := l.fixed()
	if !ok {
		return Mark{}, fmt.Errorf("%w: nothing of ledger %s has reached %s yet", ErrUnknown, l.id, redact(l.remote))
	}
	return m, nil
}

// fixed is Mark of what was read; ok is false where there is none.
func (l *Ledger) fixed() (m Mark, ok bool) {
	last := l.records[len(l.records)-1]
	switch {
	case l.published != nil:
		// Also while no remote is declared: it may be again.
		last = l.records[l.published.Seq]
	case l.remote != "":
		return Mark{}, false
	}
	return Mark{Ledger: l.id, Seq: last.Entry.Seq, Digest: last.EntryDigest}, true
}

// CheckMark fails with ErrTruncated unless the ledger has the entry that
// somebody has seen in it, and with ErrForeign when that was another ledger.
func (l *Ledger) CheckMark(ctx context.Context, id string, seq int64, digest string) error {
	leave, err := l.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if err := l.refresh(ctx); err != nil {
		return err
	}
	return Mark{id, seq, digest}.check("what was published", l.id, l.records)
}

// check says whether records, of the ledger id, hold the marked entry, which
// witness has seen.
func (m Mark) check(witness, id string, records []Record) error {
	const next = "restore it from a machine that has it, or from a backup"
	switch {
	case m.Ledger != id:
		return fmt.Errorf("%w: this is ledger %s, but %s speaks of ledger %.80s: see which one is right", ErrForeign, id, witness, m.Ledger)
	case m.Seq < 0 || m.Seq >= int64(len(records)):
		return fmt.Errorf("%w: it ends at entry %d, but %s has seen entry %d: %s", ErrTruncated, len(records)-1, witness, m.Seq, next)
	case records[m.Seq].EntryDigest != m.Digest:
		return fmt.Errorf("%w: entry %d is %s, but %s has seen %.80s: %s", ErrTruncated, m.Seq, records[m.Seq].EntryDigest, witness, m.Digest, next)
	}
	return nil
}
