package supervisor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// TokenName is the variable by which a process is known as an instance, or as
// started by one.
const TokenName = "GATE_INSTANCE_TOKEN"

type stat struct {
	dead  bool            // ended, not yet reaped
	ticks uint64          // start time in clock ticks since boot
	exit  unix.WaitStatus // of a dead one
}

func readStat(pid int) (stat, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, err
	}
	// The name, field 2, may hold blanks and parentheses.
	_, rest, _ := cutLast(string(b), ")")
	f := strings.Fields(rest)
	if len(f) < 50 {
		return stat{}, fmt.Errorf("/proc/%d/stat has %d fields after the name, not 50 or more", pid, len(f))
	}
	ticks, err := strconv.ParseUint(f[19], 10, 64)
	if err != nil {
		return stat{}, fmt.Errorf("/proc/%d/stat: start time: %w", pid, err)
	}
	exit, err := strconv.ParseUint(f[49], 10, 32)
	if err != nil {
		return stat{}, fmt.Errorf("/proc/%d/stat: exit code: %w", pid, err)
	}
	return stat{dead: f[0] == "Z" || f[0] == "X", ticks: ticks, exit: unix.WaitStatus(exit)}, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the machine's boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// readToken is the instance token in the environment that pid was started with;
// empty where there is none, or where we may not look.
func readToken(pid int) string {
	token, err := lookToken(pid)
	if err != nil {
		return ""
	}
	return token
}

func lookToken(pid int) (string, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return "", err
	}
	for v := range bytes.SplitSeq(b, []byte{0}) {
		if t, ok := bytes.CutPrefix(v, []byte(TokenName+"=")); ok {
			return string(t), nil
		}
	}
	return "", nil
}

// sweep kills every process whose token doomed accepts, and waits for its end.
// It returns how many it found. Processes of other users can't be seen unless we
// are root, and then instances run as those users by our own doing.
func sweep(doomed func(token string) bool) (int, error) {
	var killed int
	// A process may be forking while we look: look until there is none.
	for range 5 {
		dir, err := os.Open("/proc")
		if err != nil {
			return killed, err
		}
		names, err := dir.Readdirnames(-1)
		dir.Close()
		if err != nil {
			return killed, err
		}
		var found int
		for _, name := range names {
			pid, err := strconv.Atoi(name)
			if err != nil || pid == os.Getpid() {
				continue
			}
			if t := readToken(pid); t == "" || !doomed(t) {
				continue
			}
			hit, err := killProcess(pid, doomed)
			if err != nil {
				return killed, err
			}
			if hit {
				found++
			}
		}
		killed += found
		if found == 0 {
			return killed, nil
		}
	}
	return killed, errors.New("processes of an ended instance start others faster than they can be killed; stop them by hand")
}

func killProcess(pid int, doomed func(token string) bool) (bool, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false, nil // it is gone
	}
	defer unix.Close(fd)
	// Looked at again behind the pidfd: the number may have changed hands.
	if t := readToken(pid); t == "" || !doomed(t) {
		return false, nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); errors.Is(err, unix.ESRCH) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("kill process %d, left over from an instance: %w", pid, err)
	}
	deadline := time.Now().Add(5 * time.Second)
	for time.Now().Before(deadline) {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 100)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return true, err
		}
		if n > 0 {
			_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil) // where it is a child of ours
			return true, nil
		}
	}
	return true, fmt.Errorf("process %d, left over from an instance, did not end 5s after SIGKILL: see what it waits for in /proc/%d/stack", pid, pid)
}

// Memory is what the process has resident, in bytes.
func Memory(pid int) (int64, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		return 0, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return 0, fmt.Errorf("/proc/%d/statm has %d fields, not 2 or more", pid, len(f))
	}
	pages, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("/proc/%d/statm: %w", pid, err)
	}
	return pages * int64(os.Getpagesize()), nil
}

// CPUTime is how long the process has run on the processor, in user and in
// system mode.
func CPUTime(pid int) (time.Duration, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
	}
	_, rest, _ := cutLast(string(b), ")")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields after the name, not 13 or more", pid, len(f))
	}
	user, err1 := strconv.ParseInt(f[11], 10, 64)
	system, err2 := strconv.ParseInt(f[12], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return 0, fmt.Errorf("/proc/%d/stat: processor time: %w", pid, err)
	}
	// The kernel counts in hundredths of a second for programs, on every machine
	// that Go runs on.
	return time.Duration(user+system) * 10 * time.Millisecond, nil
}
