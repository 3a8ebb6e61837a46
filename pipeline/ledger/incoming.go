package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// incoming is what a remote has, every record verified.
type incoming struct {
	tips
	records []Record // all of the remote's; empty: it has no ledger
}

// incoming verifies what was fetched. It fails with ErrTruncated when something
// is gone that the remote had before, with ErrBroken when a record is bad or by
// a stranger, and with ErrForeign when it is another ledger. The caller has the
// turn, and has refreshed.
func (l *Ledger) incoming(ctx context.Context, t tips, remote string) (incoming, error) {
	in := incoming{tips: t}
	seen, err := l.repo.tipsBelow(ctx, seenRefs)
	if err != nil {
		return in, err
	}
	fail := func(err error) (incoming, error) {
		return in, fmt.Errorf("what %s has is not taken: %w", redact(remote), err)
	}
	switch {
	case t.ledger != "":
		if in.records, err = l.verifyRecords(ctx, t.ledger, seen.ledger); err != nil {
			return fail(err)
		}
	case l.published != nil:
		return fail(fmt.Errorf("%w: its branch gate/ledger is gone, and entry %d was there before: put it back with git --git-dir=%s push %s %.12s:%s", ErrTruncated, l.published.Seq, l.repo.dir, redact(remote), seen.ledger, ledgerRef))
	}
	for _, name := range sortedKeys(seen.envs) {
		if t.envs[name] == "" {
			return fail(fmt.Errorf("%w: its branch env/%s is gone: put it back with git --git-dir=%s push %s %.12s:refs/heads/env/%s", ErrTruncated, name, l.repo.dir, redact(remote), seen.envs[name], name))
		}
	}
	for _, name := range sortedKeys(t.envs) {
		if err := l.verifyBranch(ctx, name, seen.envs[name], t.envs[name], in.records); err != nil {
			return fail(err)
		}
	}
	return in, nil
}

// verifyRecords returns all records of the commit tip. What was verified before,
// up to the commit seen, is not read again; that it is still the same is.
func (l *Ledger) verifyRecords(ctx context.Context, tip, seen string) ([]Record, error) {
	var base []Record
	if l.published != nil && seen != "" {
		if err := l.descends(ctx, tip, seen); err != nil {
			return nil, err
		}
		base = l.records[:l.published.Seq+1]
	}
	commit, err := l.objects.one(ctx, tip, "commit")
	if err != nil {
		return nil, err
	}
	start := int64(len(base))
	found, err := l.locate(ctx, commit, start)
	if err != nil {
		return nil, err
	}
	all, err := l.load(ctx, found, start)
	if err != nil {
		return nil, err
	}
	records := slices.Clip(base)
	for i, o := range all {
		seq := start + int64(i)
		if o.err == nil && seq == 0 {
			if err := l.same(o.record); err != nil {
				return nil, err
			}
		}
		if o.err == nil {
			o.err = l.follows(records, o.record)
		}
		if o.err == nil {
			o.err = l.stranger(o.record)
		}
		if o.err != nil {
			return nil, fmt.Errorf("%w: %w", ErrBroken, o.err)
		}
		records = append(records, o.record)
	}
	if len(records) == 0 {
		return nil, fmt.Errorf("%w: it has no entry", ErrBroken)
	}
	if l.published != nil && !l.published.in(records) {
		return nil, fmt.Errorf("%w: entry %d is not the one that was there before: see who rewrote gate/ledger there; this machine has the whole ledger in %s", ErrTruncated, l.published.Seq, l.repo.dir)
	}
	return records, nil
}

// descends says whether the ledger at the commit tip has everything that was
// there when seen was: the marked entry, the commits, and every file.
func (l *Ledger) descends(ctx context.Context, tip, seen string) error {
	back := fmt.Sprintf("see who rewrote gate/ledger there, and put it back with git --git-dir=%s push --force REMOTE %.12s:%s", l.repo.dir, seen, ledgerRef)
	p := l.published
	path := entryPath(p.Seq)
	blob, err := l.objects.one(ctx, tip+":"+path+entrySuffix, "blob")
	if errors.Is(err, errMissing) {
		return fmt.Errorf("%w: entry %d was there before and is gone: %s", ErrTruncated, p.Seq, back)
	} else if err != nil {
		return err
	}
	if payload, _, err := unseal(ctx, blob.data, entryPayload); err != nil || digestOf(payload) != p.Digest {
		return fmt.Errorf("%w: entry %d is not the one that was there before: %s", ErrTruncated, p.Seq, back)
	}
	if tip == seen {
		return nil
	}
	after, err := l.repo.ancestor(ctx, seen, tip)
	if err != nil {
		return err
	}
	if !after {
		return fmt.Errorf("%w: its commits do not go on from %.12s, which was there before: %s", ErrTruncated, seen, back)
	}
	// A commit that goes on may still have altered what is old.
	altered, err := l.repo.git(ctx, "diff-tree", "-r", "--no-renames", "--name-only", "--diff-filter=a", seen, tip, "--", "log")
	if err != nil {
		return err
	}
	if len(altered) > 0 {
		return fmt.Errorf("%w: %s was altered: %s", ErrBroken, plain(string(altered)), back)
	}
	return nil
}

// same says whether a first record is of this ledger.
func (l *Ledger) same(r Record) error {
	g, err := r.genesis()
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrBroken, err)
	case g.App != l.opt.App:
		return fmt.Errorf("%w: it has the ledger of %.80q, not of %q: declare another remote in environments/trust.yaml", ErrForeign, g.App, l.opt.App)
	case g.Ledger != l.id:
		return fmt.Errorf("%w: it has ledger %.80s of %s, but %s holds ledger %s: to take the remote's, move ledger.git and ledger.mark in that folder away", ErrForeign, g.Ledger, g.App, l.opt.Dir, l.id)
	}
	return nil
}

// stranger is why a record must not come in: somebody signed it whom nobody has
// declared.
func (l *Ledger) stranger(r Record) error {
	const why = "is signed by %s, whom environments/trust.yaml here does not list: bring the declarations up to date, or see who pushed it (a retired key stays listed, with an empty \"may\")"
	if !l.known(r.EntrySigners) {
		return badEntry(r.Entry.Seq, "it "+why, join(r.EntrySigners))
	}
	if !l.known(r.Signers) {
		return badEntry(r.Entry.Seq, "its statement "+why, join(r.Signers))
	}
	return nil
}

// verifyBranch says whether env/<name> goes on from where it was seen, and
// whether the ledger has all entries that its new commits speak of.
func (l *Ledger) verifyBranch(ctx context.Context, name, seen, tip string, records []Record) error {
	if tip == seen {
		return nil
	}
	if seen != "" {
		after, err := l.repo.ancestor(ctx, seen, tip)
		if err != nil {
			return err
		}
		if !after {
			return fmt.Errorf("%w: its branch env/%s does not go on from %.12s, which was there before: see who rewrote it, and put it back with git --git-dir=%s push --force REMOTE %.12s:refs/heads/env/%s", ErrTruncated, name, seen, l.repo.dir, seen, name)
		}
	}
	marks, err := l.repo.marks(ctx, seen, tip)
	if err != nil {
		return err
	}
	for _, m := range marks {
		witness := fmt.Sprintf("commit %.12s on env/%s", m.commit, name)
		if len(records) == 0 {
			return fmt.Errorf("%w: it has no branch gate/ledger, but %s has seen entry %d: restore it from a machine that has it, or from a backup", ErrTruncated, witness, m.Seq)
		}
		id := records[0].Entry.Ledger
		if err := m.Mark.check(witness, id, records); err != nil {
			return err
		}
	}
	return nil
}
