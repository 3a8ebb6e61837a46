package checks

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// LookAt calls look, which reads in a process's folder dir of /proc. Root in a
// container may not look at what another user runs; that user itself may.
func LookAt(dir string, look func() error) error {
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
	return asUser(int(owner.Uid), int(owner.Gid), look)
}

// asUser calls look on a thread that meets files as another user, and then as
// root again. To end the thread instead would end what it has started.
func asUser(uid, gid int, look func() error) (err error) {
	runtime.LockOSThread()
	defer func() {
		back := errors.Join(unix.Setfsuid(os.Geteuid()), unix.Setfsgid(os.Getegid()))
		if now, _ := unix.SetfsuidRetUid(-1); now != os.Geteuid() {
			back = errors.Join(back, errors.New("a thread did not become root again"))
		}
		if err = errors.Join(err, back); back == nil {
			runtime.UnlockOSThread()
		}
	}()
	if err := errors.Join(unix.Setfsgid(gid), unix.Setfsuid(uid)); err != nil {
		return err
	}
	return look()
}
