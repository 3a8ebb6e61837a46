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
	Seq    int64  `json:"seq"`
	Digest string `json:"digest"` // of the entry's payload
}

// readMark returns nil when there is no mark.
func readMark(path string) (*mark, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, storageError("read the high-water mark", err)
	}
	var m mark
	if err := json.Unmarshal(b, &m); err != nil || m.Ledger == "" || m.Seq < 0 || m.Digest == "" {
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
	// One name for all: the caller holds the ledger's lock, and a dead one's
	// leftover is overwritten.
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return storageError(what, err)
	}
	_, err = f.Write(append(b, '\n'))
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

// check says whether records, of the ledger id, descend from the mark. A ledger
// without a mark is all right only as long as it is nothing but its genesis:
// that is where a crash can come between the two.
func (m *mark) check(path, id string, records []Record) error {
	head := int64(len(records)) - 1
	switch {
	case m == nil && head > 0:
		return fmt.Errorf("%w: high-water mark %s is missing, but the ledger has %d entries: restore it, or check the ledger and take it as it stands with `gate ledger verify --accept`", ErrTruncated, path, head+1)
	case m == nil:
		return nil
	case m.Ledger != id:
		return fmt.Errorf("%w: this is ledger %s, but ledger %s was here before: restore that one, or set GATE_STATE to another folder", ErrTruncated, id, m.Ledger)
	case head < m.Seq:
		return fmt.Errorf("%w: it ends at entry %d, but entry %d was seen before: restore it from its mirror or a backup", ErrTruncated, head, m.Seq)
	case records[m.Seq].EntryDigest != m.Digest:
		return fmt.Errorf("%w: entry %d is %s, but %s was seen before: restore it from its mirror or a backup", ErrTruncated, m.Seq, records[m.Seq].EntryDigest, m.Digest)
	}
	return nil
}
