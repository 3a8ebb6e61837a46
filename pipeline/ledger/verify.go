package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// Report is what Verify found.
type Report struct {
	Ledger     string         `json:"ledger"`
	App        string         `json:"app"`
	Created    time.Time      `json:"created"`
	Entries    int            `json:"entries"`
	Statements int            `json:"statements"` // different ones
	Commits    int            `json:"commits"`
	Seq        int64          `json:"seq"`    // of the last entry
	Digest     string         `json:"digest"` // of the last entry's payload
	Mark       int64          `json:"mark"`   // seq of the high-water mark; -1: none yet
	Signers    map[string]int `json:"signers"`
	Problems   []Problem      `json:"problems,omitempty"`
}

// Problem is one thing that is wrong. Seq is -1 where it is about no one entry.
type Problem struct {
	Seq  int64  `json:"seq"`
	What string `json:"what"`
}

// maxProblems bounds the report of a ledger that is wholly broken.
const maxProblems = 100

func (r *Report) problem(err error) {
	if len(r.Problems) >= maxProblems {
		return
	}
	p := Problem{Seq: -1, What: err.Error()}
	if e, ok := errors.AsType[*EntryError](err); ok {
		p.Seq, p.What = e.Seq, e.Error()
	}
	r.Problems = append(r.Problems, p)
}

// Verify reads the whole ledger anew and checks everything: each signature and
// that its key is known, each digest, the chain without a gap, one line of
// commits, and that it descends from the high-water mark. The report names
// every problem; the error is ErrTruncated, ErrBroken, or both.
func (l *Ledger) Verify(ctx context.Context) (Report, error) {
	leave, err := l.enter(ctx)
	if err != nil {
		return Report{}, err
	}
	defer leave()
	report, _, truncated, err := l.verify(ctx)
	if err != nil {
		return report, err
	}
	if truncated != nil {
		report.problem(truncated)
	}
	return report, report.verdict(truncated)
}

func (r Report) verdict(truncated error) error {
	n := len(r.Problems)
	if truncated != nil {
		n--
	}
	var broken error
	switch {
	case n == 1:
		broken = fmt.Errorf("%w: %s; restore it from its mirror or a backup", ErrBroken, r.Problems[0].What)
	case n > 1:
		broken = fmt.Errorf("%w: %s, and %d more problems; restore it from its mirror or a backup", ErrBroken, r.Problems[0].What, n-1)
	}
	if broken != nil && truncated != nil {
		return fmt.Errorf("%w; also: %w", broken, truncated)
	} else if broken != nil {
		return broken
	}
	return truncated
}

// Accept makes the ledger as it stands the one to descend from, after the rest
// of Verify has passed. It is for a person who has restored a ledger, or whose
// mark was lost, and has looked: it gives up the protection against truncation
// up to here.
func (l *Ledger) Accept(ctx context.Context) (Report, error) {
	if l.opt.ReadOnly {
		return Report{}, fmt.Errorf("%w: the ledger was opened for reading", ErrReadOnly)
	}
	leave, err := l.enter(ctx)
	if err != nil {
		return Report{}, err
	}
	defer leave()
	lock, err := acquire(ctx, l.path(lockName))
	if err != nil {
		return Report{}, err
	}
	defer lock.Close()
	report, records, _, err := l.verify(ctx)
	if err != nil {
		return report, err
	}
	if err := report.verdict(nil); err != nil {
		return report, err
	}
	report.Mark = report.Seq
	// What was read from the other one is forgotten, and what the remote had.
	l.head, l.records, l.published = "", nil, nil
	clear(l.byDigest)
	if err := l.forget(ctx, lock); err != nil {
		return report, err
	}
	return report, mark{Ledger: l.id, point: *pointOf(records)}.write(l.path(markName))
}

// forget makes the next Sync look at all of the remote's ledger anew, and take
// the env branches from where they were when it last refused them.
func (l *Ledger) forget(ctx context.Context, lock *os.File) error {
	seen, err := l.repo.tipsBelow(ctx, seenRefs)
	if err != nil {
		return err
	}
	last, err := l.repo.tipsBelow(ctx, fetchedRefs)
	if err != nil {
		return err
	}
	last.ledger = ""
	was, now := seen.named(seenRefs), last.named(seenRefs)
	for ref, id := range was {
		if now[ref] == "" {
			err = errors.Join(err, l.repo.setRef(ctx, lock, ref, id, ""))
		}
	}
	for ref, id := range now {
		if was[ref] != id {
			err = errors.Join(err, l.repo.setRef(ctx, lock, ref, was[ref], id))
		}
	}
	return err
}

// verify returns what descends from the mark or not apart from the rest.
func (l *Ledger) verify(ctx context.Context) (report Report, records []Record, truncated, err error) {
	report = Report{Ledger: l.id, Mark: -1, Signers: map[string]int{}}
	m, err := readMark(l.path(markName))
	if errors.Is(err, ErrTruncated) {
		truncated = err
	} else if err != nil {
		return report, nil, nil, err
	}
	if m != nil {
		report.Mark = m.Seq
	}
	head, err := l.objects.one(ctx, ledgerRef, "commit")
	if errors.Is(err, errMissing) {
		return report, nil, nil, fmt.Errorf("%w: branch gate/ledger is gone: restore it from its mirror or a backup", ErrTruncated)
	} else if err != nil {
		return report, nil, nil, err
	}
	if err := l.oneLine(ctx, head.id, &report); err != nil {
		return report, nil, nil, err
	}
	found, err := l.locate(ctx, head, 0)
	var all []opened
	if err == nil {
		all, err = l.load(ctx, found, 0)
	}
	if errors.Is(err, ErrBroken) || errors.Is(err, errMissing) {
		report.problem(err)
		return report, nil, truncated, nil
	} else if err != nil {
		return report, nil, nil, err
	}

	// A bad record's own digest is not known, so the next one's link to it can't
	// be checked: it stays out of links.
	records = make([]Record, 0, len(all))
	statements := map[string]bool{}
	for i, o := range all {
		seq := int64(i)
		if o.err == nil {
			o.err = l.linked(records, o.record, i > 0 && all[i-1].err != nil)
		}
		if o.err != nil {
			report.problem(o.err)
		} else {
			statements[o.record.Digest] = true
			for _, id := range o.record.Signers {
				report.Signers[id]++
			}
			l.strangers(seq, o.record, &report)
		}
		records = append(records, o.record)
	}
	report.Entries, report.Statements = len(records), len(statements)
	if n := len(records); n > 0 {
		report.Seq, report.Digest = int64(n)-1, records[n-1].EntryDigest
		if g, err := records[0].genesis(); err == nil {
			report.App, report.Created = g.App, g.Created
		}
	} else {
		report.problem(badEntry(0, "the ledger has no entry"))
	}
	// Where the mark's own entry is bad, that is the problem, and is reported.
	if bad := m != nil && m.Seq < int64(len(all)) && all[m.Seq].err != nil; truncated == nil && !bad {
		truncated = m.check(l.path(markName), l.id, records)
	}
	return report, records, truncated, nil
}

// linked is follows, but for the link to a bad record.
func (l *Ledger) linked(records []Record, r Record, afterBad bool) error {
	if afterBad {
		last := records[len(records)-1]
		last.EntryDigest = r.Entry.Prev
		records = append(records[:len(records)-1:len(records)-1], last)
	}
	return l.follows(records, r)
}

// strangers reports signers that nobody has declared.
func (l *Ledger) strangers(seq int64, r Record, report *Report) {
	const why = "is signed by %s, whom environments/trust.yaml does not list (list a retired key with an empty \"may\")"
	if !l.known(r.EntrySigners) {
		report.problem(badEntry(seq, "it "+why, join(r.EntrySigners)))
	}
	if !l.known(r.Signers) {
		report.problem(badEntry(seq, "its statement "+why, join(r.Signers)))
	}
}

// oneLine checks that every commit has one parent but the first, which has none.
func (l *Ledger) oneLine(ctx context.Context, head string, report *Report) error {
	out, err := l.repo.git(ctx, "rev-list", "--parents", head)
	if err != nil {
		report.problem(fmt.Errorf("the commits of gate/ledger can't be followed: %w", err))
		return ctx.Err()
	}
	lines := bytes.Split(bytes.TrimSpace(out), []byte{'\n'})
	report.Commits = len(lines)
	for i, line := range lines {
		ids := bytes.Fields(line)
		if last := i == len(lines)-1; last && len(ids) != 1 || !last && len(ids) != 2 {
			report.problem(fmt.Errorf("commit %s has %d parents: gate/ledger is not one line", ids[0], len(ids)-1))
		}
	}
	return nil
}
