package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/smartcloudops/gate/pipeline/promotion"
)

// TestRollbackOnAFullDisk: no byte is left on the disk of the state directory, of
// the ledger, the daemon and the database. Forward is refused and says so, hold
// and rollback work, nobody's request is lost, and all goes on once there is space.
func TestRollbackOnAFullDisk(t *testing.T) {
	drill(t)
	w := foreignWorld(t)
	if err := os.Mkdir(w.state, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", w.state, "tmpfs", 0, "size=1g,mode=0711"); err != nil {
		t.Skipf("SKIPPED, NOT SHOWN HERE: a small disk cannot be mounted: %v", err)
	}
	t.Cleanup(func() {
		w.gate("down", "staging")
		if err := syscall.Unmount(w.state, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	w.want(0, "deploy", "staging")
	first := status(t, w, "staging").Desired
	w.replace("main.go", "cannot listen on HTTP_PORT", "can not listen on HTTP_PORT")
	w.commit("another")
	w.want(0, "deploy", "staging")
	second := status(t, w, "staging").Desired
	if first == "" || second == "" || first == second {
		t.Fatalf("two releases are wanted: %q, %q", first, second)
	}

	fill := filepath.Join(w.state, "fill")
	f, err := os.Create(fill)
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if cerr := f.Close(); !errors.Is(err, syscall.ENOSPC) || cerr != nil {
		t.Fatal(err, cerr)
	}
	w.want(0, "hold", "staging", "--reason", "the disk is full")
	for _, args := range [][]string{{"promote", first, "--to", "staging"}, {"run"}, {"deploy", "staging"}} {
		r := w.gate(args...)
		if r.code != promotion.CodeInternal || !strings.Contains(r.err, "disk full at "+w.state) || !strings.Contains(r.err, "rollback and hold still work") {
			t.Errorf("gate %s should be refused for the disk\n%s", args[0], r)
		}
	}
	r := w.want(0, "rollback", "staging", "-o", "json")
	if s := status(t, w, "staging"); s.Desired != first || s.Actual.Stable != first || len(s.Actual.Instances) == 0 {
		t.Errorf("after the rollback: %+v", s)
	}
	if r.took > 30*time.Second {
		t.Errorf("it took %s", r.took)
	}
	t.Logf("rolled back in %s", r.took.Round(time.Millisecond))
	if left, _ := filepath.Glob(filepath.Join(w.state, "reserve", "*")); len(left) == 8 || len(left) == 0 {
		t.Errorf("parts of the reserve that are left: %d", len(left))
	}

	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	w.want(0, "unhold", "staging")
	w.want(0, "promote", second, "--to", "staging")
	if s := status(t, w, "staging"); s.Desired != second || s.Actual.Stable != second {
		t.Errorf("with space again: %+v", s)
	}
	if left, _ := filepath.Glob(filepath.Join(w.state, "reserve", "*")); len(left) != 8 {
		t.Errorf("parts of the reserve with space again: %d", len(left))
	}
	w.want(0, "ledger", "verify")
}
