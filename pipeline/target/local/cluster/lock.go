package cluster

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// lock takes the folder for this process. The kernel gives it back when the
// process ends, however it ends.
func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, explainSpace(err, "lock the database folder", path)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := io.ReadAll(io.LimitReader(f, 32))
		f.Close()
		if err != syscall.EWOULDBLOCK {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		who := strings.TrimSpace(string(holder))
		if who == "" {
			who = "unknown"
		}
		return nil, fmt.Errorf("database folder is %w: pid %s holds %s; use that one, or stop it first", ErrLocked, who, path)
	}
	// The pid is for people only: a full disk must not keep a database down.
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return f, nil
}
