package checks

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// lookAt calls look, which reads in a process's folder dir of /proc. Root in a
// container may not look at what another user runs; that user itself may.
func lookAt(dir string, look func() error) error {
	err := look()
	if !errors.Is(err, fs.ErrPermission) || os.Geteuid() != 0 {
		return err
	}
	info, statErr := os.Stat(dir)
	if statErr != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid == 0 {
		return err
	}
	done := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine, and who it was with it.
		runtime.LockOSThread()
		err := unix.Setfsgid(int(owner.Gid))
		if err == nil {
			err = unix.Setfsuid(int(owner.Uid))
		}
		if err == nil {
			err = look()
		}
		done <- err
	}()
	return <-done
}
