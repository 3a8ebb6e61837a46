package supervisor

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// process is a running process behind a pidfd, child of ours or not: a signal
// can't hit another process that has got its number since.
type process struct {
	pid   int
	ticks uint64 // start time, field 22 of /proc/PID/stat
	fd    *os.File
	gone  chan struct{} // closed once it has ended
	exit  string        // set before gone is closed, where we were its parent
}

// startProcess runs spec in a session of its own with its output in log. The
// environment must hold the token already.
func startProcess(spec Spec, env []string, log *os.File) (*process, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	dir := spec.Dir
	if dir == "" {
		dir = "/"
	}
	child, err := os.StartProcess(spec.Path, append([]string{spec.Path}, spec.Args...), &os.ProcAttr{
		Dir: dir, Env: env, Files: []*os.File{null, log, log},
		Sys: &syscall.SysProcAttr{Setsid: true, Credential: spec.Credential},
	})
	if err != nil {
		return nil, err
	}
	pid := child.Pid
	// We reap it ourselves, the same way as adopted ones; until then its number
	// can't be taken by another.
	if err := child.Release(); err != nil {
		return nil, errors.Join(err, killChild(pid))
	}
	p, err := openProcess(pid)
	if err != nil {
		return nil, errors.Join(err, killChild(pid))
	}
	return p, nil
}

func killChild(pid int) error {
	if err := unix.Kill(-pid, unix.SIGKILL); err != nil {
		return err
	}
	_, err := unix.Wait4(pid, nil, 0, nil)
	return err
}

// openProcess fails for a process that does not exist; one that has ended and is
// not reaped it opens. The caller runs watch.
func openProcess(pid int) (*process, error) {
	// Non-blocking, so that the runtime's poller waits for it: no thread for
	// each instance, and Close ends the wait.
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.EINVAL) {
		if fd, err = unix.PidfdOpen(pid, 0); err == nil {
			err = unix.SetNonblock(fd, true)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("watch process %d: %w", pid, err)
	}
	p := &process{pid: pid, fd: os.NewFile(uintptr(fd), "pidfd"), gone: make(chan struct{})}
	// Read after the pidfd was opened: it is this very process's.
	st, err := readStat(pid)
	if err != nil {
		p.fd.Close()
		return nil, fmt.Errorf("watch process %d: %w", pid, err)
	}
	p.ticks = st.ticks
	return p, nil
}

// watch waits for the end of the process, kills what is left of its group,
// reaps it, and closes gone. It returns without that after close.
func (p *process) watch() {
	raw, err := p.fd.SyscallConn()
	if err != nil {
		return
	}
	err = raw.Read(func(fd uintptr) bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return n > 0 || (err != nil && !errors.Is(err, unix.EINTR))
	})
	if err != nil {
		return
	}
	// Before the reaping: until then the group's number is surely ours.
	_ = p.signalGroup(unix.SIGKILL)
	var ws unix.WaitStatus
	for {
		pid, err := unix.Wait4(p.pid, &ws, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil && pid == p.pid {
			p.exit = exitWords(ws)
		}
		break
	}
	close(p.gone)
}

func (p *process) close() { p.fd.Close() }

func (p *process) isGone() bool {
	select {
	case <-p.gone:
		return true
	default:
		return false
	}
}

func (p *process) signal(sig unix.Signal) error { return p.send(sig, 0) }

// signalGroup signals every process of the group that the process leads, even
// when the process itself has ended.
func (p *process) signalGroup(sig unix.Signal) error {
	err := p.send(sig, unix.PIDFD_SIGNAL_PROCESS_GROUP)
	if !errors.Is(err, unix.EINVAL) {
		return err
	}
	// Linux before 6.9: by number, while the process (dead or alive) holds it.
	if st, err := readStat(p.pid); err != nil || st.ticks != p.ticks {
		return unix.ESRCH
	}
	return unix.Kill(-p.pid, sig)
}

func (p *process) send(sig unix.Signal, flags int) error {
	raw, err := p.fd.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	if err := raw.Control(func(fd uintptr) { sent = unix.PidfdSendSignal(int(fd), sig, nil, flags) }); err != nil {
		return err
	}
	return sent
}

// exitReason says in words how it ended. Call it after gone, before close.
func (p *process) exitReason() string {
	if p.exit != "" {
		return p.exit
	}
	// Not our child. Its parent, which is init by now, reaps it at any moment:
	// before, /proc has the status, and afterwards the kernel (6.15 and newer)
	// keeps it for holders of a pidfd.
	for range 10 {
		if st, err := readStat(p.pid); err == nil && st.dead && st.ticks == p.ticks {
			return exitWords(st.exit)
		}
		if ws, ok := p.askStatus(); ok {
			return exitWords(ws)
		}
		time.Sleep(2 * time.Millisecond)
	}
	return "ended, exit status unknown (it was started by an earlier daemon)"
}

func (p *process) askStatus() (ws unix.WaitStatus, ok bool) {
	raw, err := p.fd.SyscallConn()
	if err != nil {
		return 0, false
	}
	err = raw.Control(func(fd uintptr) {
		info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, unix.PIDFD_GET_INFO, uintptr(unsafe.Pointer(&info)))
		if errno == 0 && info.Mask&unix.PIDFD_INFO_EXIT != 0 {
			ws, ok = unix.WaitStatus(info.Exit_code), true
		}
	})
	return ws, ok && err == nil
}

func exitWords(ws unix.WaitStatus) string {
	if ws.Signaled() {
		name := unix.SignalName(ws.Signal())
		if name == "" {
			name = fmt.Sprintf("signal %d", int(ws.Signal()))
		}
		return "killed by " + name
	}
	return fmt.Sprintf("exit status %d", ws.ExitStatus())
}
