package durable

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestReserve(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=56m"); err != nil {
		t.Skipf("SKIPPED: a small disk cannot be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	r := NewReserve(disk)
	for range 2 {
		if err := r.Fill(); err != nil {
			t.Fatal(err)
		}
	}
	free := func() int64 {
		var s syscall.Statfs_t
		if err := syscall.Statfs(disk, &s); err != nil {
			t.Fatal(err)
		}
		return int64(s.Bavail) * s.Bsize
	}
	if got := free(); got > 24<<20 {
		t.Fatalf("%d bytes are free, so nothing is really kept", got)
	}
	fill := filepath.Join(disk, "fill")
	write := func() error { return os.WriteFile(filepath.Join(disk, "wanted"), make([]byte, 1<<20), 0o600) }
	if err := os.WriteFile(fill, make([]byte, 30<<20), 0o600); !IsFull(err) {
		t.Fatalf("the disk takes too much: %v", err)
	}
	if err := write(); !IsFull(err) {
		t.Fatalf("the disk is not full: %v", err)
	}
	if err := r.Do(write); err != nil {
		t.Fatalf("by the reserve: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(disk, "reserve", "*")); len(left) != reserveParts-1 {
		t.Errorf("one part should have been given up: %v", left)
	}
	err := r.Fill()
	if err == nil || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "28 MiB") || !strings.Contains(err.Error(), disk) {
		t.Errorf("what is missing, and what to do: %v", err)
	}
	n := 0
	if err := r.Do(func() error { n++; return syscall.EDQUOT }); !errors.Is(err, syscall.EDQUOT) || n != reserveParts {
		t.Errorf("tried %d times: %v", n, err)
	}
	if err := r.Fill(); err == nil || !strings.Contains(err.Error(), "nothing is kept") {
		t.Errorf("with nothing left: %v", err)
	}
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	if err := r.Fill(); err != nil {
		t.Errorf("with space again: %v", err)
	}
	// A hole keeps nothing.
	if err := errors.Join(os.Remove(r.part(0)), os.WriteFile(r.part(0), nil, 0o600), os.Truncate(r.part(0), reservePart)); err != nil || taken(r.part(0)) {
		t.Errorf("a hole counts: %v", err)
	}
	if err := r.Fill(); err != nil || !taken(r.part(0)) {
		t.Errorf("the hole stays: %v", err)
	}
}
