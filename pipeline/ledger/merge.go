package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
)

// nextRef is where commits are made that are to replace a branch.
const nextRef = "refs/gate/next"

// merge brings what the remote has into the branches here. The caller has the
// turn. A crash leaves each branch as it was or as it will be, and what is
// missing then is done by the next merge.
func (l *Ledger) merge(ctx context.Context, in incoming, r Resolver, s *Synced) error {
	lock, err := acquire(ctx, l.path(lockName))
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := l.refresh(ctx); err != nil {
		return err
	}
	if err := l.mergeRecords(ctx, lock, in, r, s); err != nil {
		return err
	}
	names, err := l.repo.tipsBelow(ctx, "refs/heads/")
	if err != nil {
		return err
	}
	maps.Copy(names.envs, in.envs)
	for _, name := range sortedKeys(names.envs) {
		if err := l.mergeBranch(ctx, lock, name, in.envs[name], r, s); err != nil {
			return err
		}
	}
	l.opt.at("merged")
	return l.believe(ctx, lock, in.tips, in.records)
}

// believe notes what the remote has and that it was verified.
func (l *Ledger) believe(ctx context.Context, lock *os.File, t tips, records []Record) error {
	if len(records) > 0 {
		if err := l.raiseMark(l.records, pointOf(records)); err != nil {
			return err
		}
	}
	l.opt.at("marked")
	old, err := l.repo.tipsBelow(ctx, seenRefs)
	if err != nil {
		return err
	}
	set := func(name, from, to string) error {
		if from == to || to == "" {
			return nil
		}
		return l.repo.setRef(ctx, lock, seenRefs+name, from, to)
	}
	if err := set(ledgerName, old.ledger, t.ledger); err != nil {
		return err
	}
	for _, name := range sortedKeys(t.envs) {
		if err := set(envPrefix+name, old.envs[name], t.envs[name]); err != nil {
			return err
		}
	}
	return nil
}

// mergeRecords moves gate/ledger forward to the remote's, with what only this
// machine has recorded on top.
func (l *Ledger) mergeRecords(ctx context.Context, lock *os.File, in incoming, r Resolver, s *Synced) error {
	if in.ledger == "" {
		return nil
	}
	common := 0
	for common < min(len(l.records), len(in.records)) && l.records[common].EntryDigest == in.records[common].EntryDigest {
		common++
	}
	s.Fetched += len(in.records) - common
	if len(in.records) == common {
		behind, err := l.repo.ancestor(ctx, in.ledger, l.head)
		if err != nil || behind {
			return err
		}
	}
	if len(l.records) == common {
		return l.forward(ctx, lock, in)
	}
	return l.again(ctx, lock, in, common, r, s)
}

// forward moves gate/ledger to the remote's commit, which has all that is here.
func (l *Ledger) forward(ctx context.Context, lock *os.File, in incoming) error {
	// Only behind a bare genesis may the mark be missing.
	if err := l.raiseMark(l.records, nil); err != nil {
		return err
	}
	if err := l.move(ctx, lock, ledgerRef, l.head, in.ledger); err != nil {
		return err
	}
	l.opt.at("moved")
	l.adopt(in.ledger, in.records)
	return nil
}

// move is setRef of a branch, whose stale locks are cleared.
func (l *Ledger) move(ctx context.Context, lock *os.File, ref, from, to string) error {
	if err := l.repo.clearRefLocks(ctx, ref, staleAfter); err != nil {
		return err
	}
	return l.repo.setRef(context.WithoutCancel(ctx), lock, ref, from, to)
}

// again records anew, behind the remote's records, what only this machine has.
// Statements keep their signatures; entries are made by this machine's key.
func (l *Ledger) again(ctx context.Context, lock *os.File, in incoming, common int, r Resolver, s *Synced) error {
	if r == nil {
		return fmt.Errorf("%w: %s has entries that this ledger lacks, and it the other way round: nothing was pushed", ErrDiverged, redact(l.remote))
	}
	ours := slices.DeleteFunc(slices.Clone(l.records[common:]), func(o Record) bool {
		return slices.ContainsFunc(in.records[common:], func(t Record) bool {
			return t.Digest == o.Digest && slices.Equal(t.Signers, o.Signers)
		})
	})
	all, err := r.Again(ctx, viewOf(slices.Clip(in.records)), ours)
	if err != nil {
		return fmt.Errorf("record again what %s lacks: %w", redact(l.remote), err)
	}
	next, records, err := l.rebuild(ctx, lock, in, all)
	if err != nil {
		return err
	}
	l.opt.at("rebuilt")
	m, err := readMark(l.path(markName))
	if err != nil {
		return err
	}
	if m == nil {
		m = &mark{Ledger: l.id, point: *pointOf(l.records)}
	}
	either := m.settled(l.records)
	either.Instead = pointOf(records)
	if err := either.write(l.path(markName)); err != nil {
		return err
	}
	l.opt.at("doubted")
	if err := l.move(ctx, lock, ledgerRef, l.head, next); err != nil {
		return err
	}
	l.opt.at("replaced")
	l.adopt(next, records)
	s.Again += len(all)
	return nil
}

// rebuild makes the commit that has the remote's records and behind them all,
// on no branch yet.
func (l *Ledger) rebuild(ctx context.Context, lock *os.File, in incoming, all []Again) (head string, records []Record, err error) {
	envs := make([]envelope, len(all))
	was := make([]int64, len(all))
	for i, a := range all {
		if a.Ours == nil {
			if envs[i], err = l.sign(ctx, *a.New); err != nil {
				return "", nil, err
			}
			continue
		}
		path := entryPath(a.Ours.Entry.Seq) + statementSuffix
		blob, err := l.objects.one(ctx, l.head+":"+path, "blob")
		if err != nil {
			return "", nil, fmt.Errorf("%w: %w", ErrBroken, &EntryError{a.Ours.Entry.Seq, err})
		}
		envs[i] = envelope{blob.data, a.Ours.Digest, a.Ours.Signers, a.Ours.Statement}
		was[i] = a.Ours.Entry.First()
	}
	records = slices.Clip(in.records)
	now := l.opt.Now().UTC().Round(0) // without the monotonic clock, as it will be read
	var files []file
	for i, env := range envs {
		last := records[len(records)-1]
		seq := last.Entry.Seq + 1
		if was[i] == seq {
			was[i] = 0
		}
		rec, both, err := l.place(ctx, env, seq, last.EntryDigest, now, was[i])
		if err != nil {
			return "", nil, err
		}
		records, files = append(records, rec), append(files, both...)
	}
	if len(files) == 0 {
		return in.ledger, records, nil
	}
	if err := l.repo.clearRefLocks(ctx, nextRef, staleAfter); err != nil {
		return "", nil, err
	}
	head, err = l.repo.writeAll(ctx, lock, []commit{{
		branch: nextRef, parent: in.ledger, message: summary(records[len(in.records):]), at: now, files: files,
	}}, "--force")
	return head, records, err
}

// mergeBranch moves env/<name> forward to the remote's, empty for none, with the
// requests that only this machine has committed again on top.
func (l *Ledger) mergeBranch(ctx context.Context, lock *os.File, name, theirs string, r Resolver, s *Synced) error {
	ref, err := environmentRef(name)
	if err != nil {
		return err
	}
	tip, err := l.objects.one(ctx, ref, "commit")
	if err != nil && !errors.Is(err, errMissing) {
		return err
	}
	ours, next := tip.id, theirs
	if ours != "" {
		switch as, err := l.compare(ctx, name, ours, theirs); {
		case err != nil:
			return err
		case as == ahead:
			return nil
		case as == behind:
		case r == nil:
			return fmt.Errorf("%w: %s has commits on env/%s that are not here: nothing was pushed", ErrDiverged, redact(l.remote), name)
		default:
			if next, err = l.requestAgain(ctx, lock, name, ours, theirs, r); err != nil {
				return err
			}
			l.opt.at("requested")
		}
	}
	if next == ours {
		return nil
	}
	s.Moved = append(s.Moved, name)
	return l.move(ctx, lock, ref, ours, next)
}

// How two branches stand to each other.
type standing int

const (
	parted standing = iota
	ahead           // ours has all of theirs, or is the same
	behind
)

// compare says how env/<name> here stands to the remote's. It is ahead only if
// the others can believe it: what it has seen of a ledger that was given up is
// to be committed again without that.
func (l *Ledger) compare(ctx context.Context, name, ours, theirs string) (standing, error) {
	has := true
	var err error
	if theirs != "" {
		if has, err = l.repo.ancestor(ctx, theirs, ours); err != nil {
			return parted, err
		}
	}
	if has {
		if ours == theirs {
			return ahead, nil
		}
		err := l.verifyBranch(ctx, name, theirs, ours, l.records)
		switch {
		case err == nil:
			return ahead, nil
		case isAny(err, ErrTruncated, ErrForeign):
			return parted, nil
		}
		return parted, err
	}
	if has, err = l.repo.ancestor(ctx, ours, theirs); err == nil && has {
		return behind, nil
	}
	return parted, err
}
