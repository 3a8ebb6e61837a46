package local

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLetLook: a daemon that has started others as another user can be looked at
// by root, who in a container has no right beyond that.
func TestLetLook(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, who starts others as another user")
	}
	cmd := exec.Command("true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if may, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); may != 0 || err != nil {
		t.Skipf("a start as another user takes nothing away here: %d %v", may, err)
	}
	if err := letLook(); err != nil {
		t.Fatal(err)
	}
	if may, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); may != 1 || err != nil {
		t.Errorf("the daemon can't be looked at: %d %v", may, err)
	}
}
