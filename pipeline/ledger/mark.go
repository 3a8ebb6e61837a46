package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// mark is the highest entry that this machine has seen. It lives outside of the
// repository: whoever rewrites that does not rewrite the mark with it.
type mark struct {
	Ledger string `json:"ledger"`
	point
	// Published is the highest entry that the remote was seen to have. Up to
	// there nothing ever moves; what comes behind it may be recorded again, on top
	// of what others have recorded.
	Published *point `json:"published,omitempty"`
	// Instead is where the ledger may be in place of point: the branch and this
	// file can't be replaced in one step.
	Instead *point `json:"instead,omitempty"`
}

// point is an entry.
type point struct {
	Seq    int64  `json:"seq"`
	Digest string `json:"digest"` // of the entry's payload
}

// pointOf is the last of records.
func pointOf(records []Record) *point {
	last := records[len(records)-1]
	return &point{last.Entry.Seq, last.EntryDigest}
}

// in says whether records hold the point.
func (p *point) in(records []Record) bool {
	return p != nil && p.Seq >= 0 && p.Seq < int64(len(records)) && records[p.Seq].EntryDigest == p.Digest
}

func (p *point) valid() bool { return p == nil || p.Seq >= 0 && p.Digest != "" }

// readMark returns nil when there is no mark.
func readMark(path string) (*mark, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, storageError("read the high-water mark", err)
	}
	var m mark
	if err := json.Unmarshal(b, &m); err != nil || m.Ledger == "" || !m.point.valid() || !m.Published.valid() || !m.Instead.valid() {
		return nil, fmt.Errorf("%w: high-water mark %s is damaged: restore it, or check the ledger and take it as it stands with `gate ledger verify --accept`", ErrTruncated, path)
	}
	return &m, nil
}

// write replaces the mark so that a crash leaves the old one or the new one.
func (m mark) write(path string) error {
	const what = "write the high-water mark"
	b, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return replaceFile(what, path, append(b, '\n'))
}

// replaceFile writes a file so that a crash leaves the old one or the new one.
// One name for what is not whole yet: the caller holds a lock, and a dead one's
// leftover is overwritten.
func replaceFile(what, path string, b []byte) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return storageError(what, err)
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(path))
	}
	return storageError(what, err)
}

// settled is m without the doubt where the ledger is.
func (m mark) settled(records []Record) mark {
	if m.Instead != nil && !m.point.in(records) && m.Instead.in(records) {
		m.point = *m.Instead
	}
	m.Instead = nil
	return m
}

// check says whether records, of the ledger id, descend from the mark. A ledger
// without a mark is all right only as long as it is nothing but its genesis:
// that is where a crash can come between the two.
func (m *mark) check(path, id string, records []Record) error {
	head := int64(len(records)) - 1
	if m == nil {
		if head > 0 {
			return fmt.Errorf("%w: high-water mark %s is missing, but the ledger has %d entries: restore it, or check the ledger and take it as it stands with `gate ledger verify --accept`", ErrTruncated, path, head+1)
		}
		return nil
	}
	at := m.settled(records)
	if at.Published != nil && at.Published.Seq > at.Seq {
		at.point = *at.Published
	}
	switch {
	case m.Ledger != id:
		return fmt.Errorf("%w: this is ledger %s, but ledger %s was here before: restore that one, or set GATE_STATE to another folder", ErrTruncated, id, m.Ledger)
	case head < at.Seq:
		return fmt.Errorf("%w: it ends at entry %d, but entry %d was seen before: restore it from its mirror or a backup", ErrTruncated, head, at.Seq)
	case !at.point.in(records):
		return fmt.Errorf("%w: entry %d is %s, but %s was seen before: restore it from its mirror or a backup", ErrTruncated, at.Seq, records[at.Seq].EntryDigest, at.Digest)
	case at.Published != nil && !at.Published.in(records):
		return fmt.Errorf("%w: entry %d is not what the remote was seen to have: restore it from the remote or a backup", ErrTruncated, at.Published.Seq)
	}
	return nil
}
