package aside

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func niceness(t *testing.T, pid int) int {
	t.Helper()
	n, err := unix.Getpriority(unix.PRIO_PROCESS, pid)
	if err != nil {
		t.Fatal(err)
	}
	return 20 - n
}

// session is the niceness of the session that pid leads; -1: this kernel does
// not group by sessions.
func session(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/autogroup")
	if err != nil {
		return -1
	}
	at := strings.LastIndex(string(b), "nice ")
	n, err := strconv.Atoi(strings.TrimSpace(string(b[at+len("nice "):])))
	if at < 0 || err != nil {
		t.Fatalf("autogroup: %q", b)
	}
	return n
}

// sleeper is a shell that waits for its child, both in a session of their own.
func sleeper() *exec.Cmd {
	cmd := exec.Command("/bin/sh", "-c", "sleep 60 & wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}

func end(t *testing.T, cmd *exec.Cmd) {
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
}

// childOf waits for the child of a sleeper.
func childOf(t *testing.T, pid int) int {
	t.Helper()
	for range 500 {
		b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/task/" + strconv.Itoa(pid) + "/children")
		if n, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
			return n
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("it has no child")
	return 0
}

func TestWhatIsStartedGivesWayWithItsChildren(t *testing.T) {
	if own := niceness(t, os.Getpid()); own >= Niceness {
		t.Skipf("SKIPPED: this process has niceness %d itself; that others give way is NOT shown", own)
	}
	before := niceness(t, os.Getpid())
	cmd := sleeper()
	if err := Start(cmd); err != nil {
		t.Fatal(err)
	}
	end(t, cmd)
	child := childOf(t, cmd.Process.Pid)
	for _, pid := range []int{cmd.Process.Pid, child} {
		if n := niceness(t, pid); n != Niceness {
			t.Errorf("niceness %d of %d, want %d", n, pid, Niceness)
		}
		if n := session(t, pid); n != -1 && n != Niceness {
			t.Errorf("niceness %d of its session, want %d", n, Niceness)
		}
		var own, its unix.CPUSet
		if unix.SchedGetaffinity(0, &own) != nil || unix.SchedGetaffinity(pid, &its) != nil || its.Count() != (own.Count()+1)/2 {
			t.Errorf("it may use %d of %d processors", its.Count(), own.Count())
		}
	}
	if after := niceness(t, os.Getpid()); after != before {
		t.Errorf("this process had niceness %d and has %d", before, after)
	}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	// The thread that forked it ends with its goroutine, which may take a moment.
	for range 100 {
		lowered := 0
		for _, e := range tasks {
			tid, _ := strconv.Atoi(e.Name())
			if nice, err := unix.Getpriority(unix.PRIO_PROCESS, tid); err == nil && 20-nice >= Niceness {
				lowered++
			}
		}
		if lowered == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("a thread of this process gives way for good")
}

func TestChildrenAreFollowed(t *testing.T) {
	if own := niceness(t, os.Getpid()); own >= Niceness {
		t.Skipf("SKIPPED: this process has niceness %d itself; that others give way is NOT shown", own)
	}
	cmd := sleeper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end(t, cmd)
	child := childOf(t, cmd.Process.Pid)
	stop := Follow(cmd.Process.Pid)
	defer stop()
	for range 500 {
		if niceness(t, cmd.Process.Pid) == Niceness && niceness(t, child) == Niceness {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("niceness %d, its child's %d, want %d", niceness(t, cmd.Process.Pid), niceness(t, child), Niceness)
}
