package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"
)

// Errors that callers tell apart.
var (
	// ErrNone: the state directory holds no ledger, and it may not be created.
	ErrNone = errors.New("no ledger")
	// ErrForeign: the state directory holds the ledger of another app.
	ErrForeign = errors.New("foreign ledger")
	// ErrLost: the precondition of AppendIf no longer held. It wraps the
	// precondition's own error.
	ErrLost = errors.New("lost to a concurrent change")
	// ErrTruncated: the ledger does not descend from what was seen before.
	ErrTruncated = errors.New("ledger was truncated or replaced")
	// ErrBroken: a record, a signature or the chain is not what it must be.
	ErrBroken = errors.New("ledger is broken")
	// ErrReadOnly: nothing can be written where the ledger is.
	ErrReadOnly = errors.New("state directory is not writable")
	// ErrNoSpace: the disk, or the quota, is full.
	ErrNoSpace = errors.New("no space left for the ledger")
	// ErrDiverged: the remote holds what this ledger lacks, and it the other way
	// round.
	ErrDiverged = errors.New("remote has diverged")
	// ErrRemote: the remote can't be reached, or refuses.
	ErrRemote = errors.New("the ledger's remote can't be used")
	// ErrBusy: what was recorded here can't be moved now.
	ErrBusy = errors.New("not now")
	// ErrUnknown: there is no such statement.
	ErrUnknown = errors.New("no such statement")
)

// EntryError says which entry is bad. Errors about one entry wrap it.
type EntryError struct {
	Seq int64
	Err error
}

func (e *EntryError) Error() string { return fmt.Sprintf("entry %d: %v", e.Seq, e.Err) }

func (e *EntryError) Unwrap() error { return e.Err }

// badEntry makes an EntryError.
func badEntry(seq int64, format string, args ...any) error {
	return &EntryError{Seq: seq, Err: fmt.Errorf(format, args...)}
}

func isAny(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(t error) bool { return errors.Is(err, t) })
}

// errMoved: a branch is no longer where it was read. Nothing was written.
var errMoved = errors.New("branch was moved meanwhile")

// storageError classifies what the file system said of doing what.
func storageError(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: %s: %w; free some space and try again", ErrNoSpace, what, err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS), errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%w: %s: %w; make it writable or set GATE_STATE to another folder", ErrReadOnly, what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// gitError makes one line of a git command that failed. Git runs with LC_ALL=C,
// so that its words are known.
func gitError(what, stderr string, err error) error {
	said := gitSaid(stderr)
	if said == "" {
		said = err.Error()
	}
	switch {
	case strings.Contains(stderr, "No space left on device"), strings.Contains(stderr, "Out of diskspace"), strings.Contains(stderr, "Disk quota exceeded"):
		return fmt.Errorf("%w: %s: %s; free some space and try again", ErrNoSpace, what, said)
	case strings.Contains(stderr, "Read-only file system"), strings.Contains(stderr, "Permission denied") && !strings.Contains(stderr, "publickey"):
		return fmt.Errorf("%w: %s: %s; make it writable or set GATE_STATE to another folder", ErrReadOnly, what, said)
	case strings.Contains(stderr, "Not updating refs/"), strings.Contains(stderr, "but expected"):
		return fmt.Errorf("%w: %s: %s", errMoved, what, said)
	}
	return fmt.Errorf("%s: %s", what, said)
}

// gitSaid picks the line that tells why.
func gitSaid(stderr string) string {
	last := ""
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "fatal:") || strings.HasPrefix(line, "error:") {
			return redact(line)
		}
		if line != "" && !strings.HasPrefix(line, "fast-import: dumping") {
			last = line
		}
	}
	return redact(last)
}

// redact takes credentials out of URLs.
func redact(s string) string {
	words := strings.Fields(s)
	for i, w := range words {
		scheme, rest, ok := strings.Cut(w, "://")
		if !ok {
			continue
		}
		host, path, slash := strings.Cut(rest, "/")
		if at := strings.LastIndexByte(host, '@'); at >= 0 {
			host = "…" + host[at:]
		}
		if slash {
			host += "/" + path
		}
		words[i] = scheme + "://" + host
	}
	return strings.Join(words, " ")
}
