package durable

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	reserveParts = 8
	reservePart  = 4 << 20
	// ReserveBytes is how much of the disk a reserve keeps: a way back with all its
	// records takes less than one part.
	ReserveBytes = reserveParts * reservePart
	// reserveBeside must be free beside what is to be reserved: else a disk that is
	// filling up would take a part again that was just given up for a way back.
	reserveBeside = 16 << 20
)

// Reserve is space on the disk of a state directory, kept for what must work when
// that is full. It is given up part by part, an inode with each, and taken again
// once there is space. Several processes may share it. Nil keeps nothing.
type Reserve struct{ state, dir string }

// NewReserve is the reserve of the state directory. It takes nothing yet.
func NewReserve(state string) *Reserve {
	return &Reserve{state, filepath.Join(state, "reserve")}
}

// IsFull says whether an error is that of a full disk or quota.
func IsFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

func (r *Reserve) part(i int) string { return filepath.Join(r.dir, strconv.Itoa(i)) }

// Spend gives up a part, and says whether there was one.
func (r *Reserve) Spend() bool {
	if r == nil {
		return false
	}
	for i := reserveParts - 1; i >= 0; i-- {
		if os.Remove(r.part(i)) == nil {
			return true
		}
	}
	return false
}

// Do does what must work on a full disk: again, for as long as that is what it
// fails by and there is a part to give up.
func (r *Reserve) Do(do func() error) error {
	err := do()
	for IsFull(err) && r.Spend() {
		err = do()
	}
	return err
}

// Fill makes the reserve whole. The error says that it is not, what that means,
// and what to do.
func (r *Reserve) Fill() error {
	if r == nil {
		return nil
	}
	missing := 0
	for i := range reserveParts {
		if !taken(r.part(i)) {
			missing++
		}
	}
	if missing == 0 {
		return nil
	}
	err := r.take(missing)
	if err == nil || !IsFull(err) {
		return err
	}
	left := 0
	for i := range reserveParts {
		if taken(r.part(i)) {
			left++
		}
	}
	why := fmt.Sprintf("rollback and hold still work, by the %d MiB that are kept for them", left*reservePart>>20)
	if left == 0 {
		why = "nothing is kept for rollback and hold either"
	}
	return fmt.Errorf("disk full at %s: %w: free %d MiB there before anything goes forward; %s", r.state, syscall.ENOSPC, (missing*reservePart+reserveBeside)>>20, why)
}

func (r *Reserve) take(missing int) error {
	var s unix.Statfs_t
	if err := unix.Statfs(r.state, &s); err != nil {
		return fmt.Errorf("space at %s: %w", r.state, err)
	}
	if s.Bavail*uint64(s.Bsize) < uint64(missing)*reservePart+reserveBeside { // #nosec G115 -- both are positive
		return syscall.ENOSPC
	}
	if err := os.Mkdir(r.dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("keep space for rollback and hold: %w", err)
	}
	for i := range reserveParts {
		if err := allocate(r.part(i)); err != nil {
			return fmt.Errorf("keep space for rollback and hold: %w", err)
		}
	}
	return nil
}

// taken says whether the file has its blocks: one that was copied may be a hole.
func taken(path string) bool {
	fi, err := os.Lstat(path)
	if err != nil || fi.Size() < reservePart {
		return false
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && st.Blocks*512 >= reservePart
}

func allocate(path string) (err error) {
	if taken(path) {
		return nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			os.Remove(path)
		}
	}()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, reservePart); !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOSYS) {
		return err
	}
	// Random, so that no file system can make little of it.
	b := make([]byte, reservePart)
	_, _ = rand.Read(b)
	if _, err := f.WriteAt(b, 0); err != nil {
		return err
	}
	return f.Sync()
}
