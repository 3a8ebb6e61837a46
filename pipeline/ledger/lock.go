package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// acquire takes the ledger's lock among processes. The kernel frees it when the
// last process that holds the file ends, so no dead one can keep it.
func acquire(ctx context.Context, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, storageError("lock the ledger", err)
	}
	wait := time.Millisecond
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, storageError("lock the ledger", err)
		}
		select {
		case <-ctx.Done():
			holder := make([]byte, 32)
			n, _ := f.ReadAt(holder, 0)
			f.Close()
			return nil, fmt.Errorf("wait for %s, which process %s holds: %w", path, strings.TrimSpace(string(holder[:n])), context.Cause(ctx))
		case <-time.After(wait):
			wait = min(2*wait, 16*time.Millisecond)
		}
	}
	// Only for the message above; a lock without it is as good.
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return f, nil
}

// clearRefLocks removes lock files that a dead git left beside refs. The caller
// holds the ledger's lock, and so did every git of ours; only somebody's push
// into the repository could hold one of the others, for milliseconds: those
// must stay unchanged for grace before they are taken for dead.
func (r *repository) clearRefLocks(ctx context.Context, ref string, grace time.Duration) error {
	for _, name := range []string{ref + ".lock", "packed-refs.lock", "HEAD.lock"} {
		path := filepath.Join(r.dir, name)
		first, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return storageError("look at "+path, err)
		}
		if ref != ledgerRef || name != ref+".lock" {
			if gone, err := vanishes(ctx, path, first, grace); err != nil || gone {
				if err != nil {
					return err
				}
				continue
			}
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return storageError("remove the stale lock "+path, err)
		}
	}
	return nil
}

// clearPrivateLocks removes lock files below a folder of refs that only Sync
// writes. The caller holds the sync lock, as did every git that wrote there.
func (r *repository) clearPrivateLocks(prefix string) error {
	err := filepath.WalkDir(filepath.Join(r.dir, prefix), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ".lock") {
			err = os.Remove(path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return storageError("remove stale locks below "+prefix, err)
}

// vanishes says whether the file is gone, or another one, before grace is over.
func vanishes(ctx context.Context, path string, first fs.FileInfo, grace time.Duration) (bool, error) {
	over := time.NewTimer(grace)
	defer over.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return false, fmt.Errorf("wait for %s: %w", path, context.Cause(ctx))
		case <-over.C:
			return false, nil
		case <-tick.C:
			now, err := os.Lstat(path)
			if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(first, now) {
				return true, nil
			} else if err != nil {
				return false, storageError("look at "+path, err)
			}
		}
	}
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}
