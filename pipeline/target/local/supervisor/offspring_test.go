package supervisor

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// TestOffspringOfAnotherUser: instances run as another user than root, who in a
// container may not look at them: what they have started is found all the same.
func TestOffspringOfAnotherUser(t *testing.T) {
	const within = "GATE_TEST_WITHOUT_PTRACE"
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root, who has rights to lose; that a container's root sees other users' processes is NOT tested")
	}
	if os.Getenv(within) == "" {
		cmd := exec.Command("setpriv", "--bounding-set=-all,+chown,+dac_override,+fowner,+kill,+setgid,+setuid", os.Args[0], "-test.run=^TestOffspringOfAnotherUser$")
		cmd.Env = append(os.Environ(), within+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	file := filepath.Join(t.TempDir(), "instances.json")
	mark, err := tokenMark(file)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "60")
	cmd.Env = []string{TokenName + "=" + mark + "1"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	if readToken(cmd.Process.Pid) != "" {
		t.Fatal("root may look all the same, so this shows nothing")
	}
	if found, err := Offspring(file); err != nil || !slices.Equal(found, []int{cmd.Process.Pid}) {
		t.Errorf("%v %v", found, err)
	}
}
