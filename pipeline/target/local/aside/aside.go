// Package aside has processes give way: what a drill starts beside a service
// must not be felt by whom the service serves.
package aside

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Niceness is what a process has that gives way. By the kernel's weights it gets
// a thirtieth of a processor that somebody else wants, too; less might be nothing
// on a machine that is full, and others may wait for what it holds.
const Niceness = 15

// Start starts cmd, which gives way, and so do its children.
func Start(cmd *exec.Cmd) (err error) {
	StartFor(cmd, func(started error) { err = started })
	return err
}

// StartFor is Start; the thread that has forked cmd stays until f returns.
func StartFor(cmd *exec.Cmd, f func(started error)) {
	onThread(func() {
		// A child has the niceness of the thread that forks it.
		lower(0)
		err := cmd.Start()
		if err == nil {
			lowerSession(cmd.Process.Pid)
		}
		f(err)
	})
}

// onThread calls f on a thread that ends with it: a thread can't take its own
// niceness back. The main thread never ends, so it is none for this.
func onThread(f func()) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread()
			onThread(f)
			return
		}
		f()
	}()
	<-ended
}

// Lower has a process give way that runs already. It does what the system
// allows: where the right for it is lacking the process only disturbs more.
func Lower(pid int) {
	lower(pid)
	lowerSession(pid)
}

// lower is for one thread; 0 is the calling one. One that gives way already, as
// who began it does, stays as it is.
func lower(thread int) {
	if nice, err := unix.Getpriority(unix.PRIO_PROCESS, thread); err != nil || 20-nice >= Niceness {
		return // the kernel answers 20 - nice
	}
	err := unix.SchedSetAttr(thread, &unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL, Nice: Niceness,
		// Since Linux 6.12: how long it goes on while others wait.
		Runtime: uint64(100 * time.Microsecond),
	}, 0)
	if err != nil {
		_ = unix.Setpriority(unix.PRIO_PROCESS, thread, Niceness)
	}
	// Half of the processors stay free of it.
	var may, half unix.CPUSet
	if unix.SchedGetaffinity(thread, &may) != nil {
		return
	}
	left := (may.Count() + 1) / 2
	for cpu := 0; left > 0; cpu++ {
		if may.IsSet(cpu) {
			half.Set(cpu)
			left--
		}
	}
	_ = unix.SchedSetaffinity(thread, &half)
}

// lowerSession lowers the session that the process leads. Where the kernel
// groups by sessions (autogroup in sched(7)), niceness counts within one only,
// and each process of PostgreSQL leads one of its own.
func lowerSession(pid int) {
	if sid, err := unix.Getsid(pid); err != nil || sid != pid {
		return
	}
	if f, err := os.OpenFile("/proc/"+strconv.Itoa(pid)+"/autogroup", os.O_WRONLY, 0); err == nil {
		_, _ = f.WriteString(strconv.Itoa(Niceness))
		_ = f.Close()
	}
}

// Follow lowers the process, and soon after its begin each child that it has,
// until it ends or stop is called, which waits.
func Follow(pid int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		follow(ctx, pid)
	}()
	return func() {
		cancel()
		<-ended
	}
}

func follow(ctx context.Context, pid int) {
	const every = 20 * time.Millisecond
	tick := time.NewTicker(every)
	defer tick.Stop()
	Lower(pid)
	file := fmt.Sprintf("/proc/%d/task/%d/children", pid, pid)
	known := map[string]bool{}
	for {
		b, err := os.ReadFile(file)
		if err != nil {
			return // it has ended, or the kernel does not say
		}
		now := map[string]bool{}
		for child := range strings.FieldsSeq(string(b)) {
			if n, err := strconv.Atoi(child); err == nil && !known[child] {
				Lower(n)
			}
			now[child] = true
		}
		known = now
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
