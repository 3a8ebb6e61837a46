package checks

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
)

// TestLookAsTheUser: in a container root lacks the right to look at what others
// run, and both checks still see the environment's processes, which are another
// user's.
func TestLookAsTheUser(t *testing.T) {
	const within = "GATE_TEST_WITHOUT_PTRACE"
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root, who has rights to lose; that a container's root sees other users' processes is NOT tested")
	}
	if os.Getenv(within) == "" {
		cmd := exec.Command("setpriv", "--bounding-set=-all,+chown,+dac_override,+fowner,+kill,+setgid,+setuid", os.Args[0], "-test.run=^TestLookAsTheUser$")
		cmd.Env = append(os.Environ(), within+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	cmd := exec.Command("sleep", "60")
	cmd.Env = []string{"HELD=by nobody"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	other := Process{PID: cmd.Process.Pid, Role: "instance", Name: "instance 1"}

	if _, err := networkInodes("/proc/" + strconv.Itoa(other.PID) + "/fd"); !errors.Is(err, os.ErrPermission) {
		t.Fatalf("root may look all the same, so this shows nothing: %v", err)
	}
	if seen, err := networkLook("/proc", []Process{other}); err != nil || seen.processes != 1 {
		t.Errorf("network: %+v %v", seen, err)
	}
	s := newSecretsSearch(HeldSecrets{})
	if err := s.processes(t.Context(), listed{all: []Process{other}}); err != nil || s.counts["environment"].Bytes != int64(len("HELD=by nobody\x00")) || s.counts["arguments"].Items != 1 {
		t.Errorf("secrets: %+v %v", s.counts, err)
	}
}
