package ledger

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// PackAt is the number of loose parts from which on Pack is worth its time.
const PackAt = 1000

// Loose is how many parts Pack would join: loose objects, and packs beside the
// first. An append adds one.
func (l *Ledger) Loose(ctx context.Context) (int, error) {
	out, err := l.repo.git(ctx, "count-objects", "-v")
	if err != nil {
		return 0, err
	}
	n, packs := 0, 0
	for line := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch v, err := strconv.Atoi(value); {
		case err != nil:
		case key == "count":
			n += v
		case key == "packs":
			packs = v
		}
	}
	return n + max(0, packs-1), nil
}

// Pack joins what appends have left, under the ledger's lock. It changes no
// record; killed at any moment, it leaves the ledger whole.
func (l *Ledger) Pack(ctx context.Context) error {
	if l.opt.ReadOnly {
		return fmt.Errorf("%w: the ledger was opened for reading", ErrReadOnly)
	}
	// A fetch under way keeps its parts where clearLeftovers would find them.
	quiet, err := acquire(ctx, l.path(syncLockName))
	if err != nil {
		return err
	}
	defer quiet.Close()
	leave, err := l.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	lock, err := acquire(ctx, l.path(lockName))
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := l.repo.clearRefLocks(ctx, ledgerRef, staleAfter); err != nil {
		return err
	}
	l.clearLeftovers()
	// Geometric: a pack is written again only when the newer ones have grown to
	// its size, so that the cost of an entry stays about constant.
	for _, args := range [][]string{
		{"repack", "-d", "-q", "--geometric=2"},
		{"prune-packed", "-q"},
		{"pack-refs", "--all"},
	} {
		cmd := l.repo.command(ctx, args...)
		cmd.ExtraFiles = []*os.File{lock}
		if _, err := l.repo.run(ctx, "pack the ledger: git "+args[0], cmd); err != nil {
			return err
		}
	}
	return nil
}

// clearLeftovers removes what gits that were killed have left. All of ours hold
// the lock, which the caller has; a push by hand keeps its own elsewhere.
// Failing to is no harm.
func (l *Ledger) clearLeftovers() {
	for _, pattern := range []string{"fast_import_crash_*", "objects/pack/tmp_pack_*", "objects/pack/tmp_idx_*", "objects/pack/tmp_rev_*", "objects/pack/.tmp-*"} {
		paths, _ := filepath.Glob(filepath.Join(l.repo.dir, pattern))
		for _, p := range paths {
			_ = os.Remove(p)
		}
	}
}
