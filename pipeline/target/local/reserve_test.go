package local

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/smartcloudops/gate/pipeline/target/local/durable"
)

// TestWaysBackOnAFullDisk: with no byte left, what a rollback asks of the daemon
// is done all the same, new instances included, by the reserve.
func TestWaysBackOnAFullDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED under -short: some seconds with a real disk that is full. Without it only the record of a rollback is known to need no space")
	}
	var reserve *durable.Reserve
	var disk string
	p := newPlaceWith(t, func(o *Options) {
		disk = o.Paths.State
		if err := os.MkdirAll(disk, 0o711); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=400m,mode=0711"); err != nil {
			t.Skipf("SKIPPED, NOT SHOWN HERE: a small disk cannot be mounted: %v", err)
		}
		t.Cleanup(func() {
			if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
		reserve = durable.NewReserve(disk)
		if err := reserve.Fill(); err != nil {
			t.Fatal(err)
		}
		o.Reserve = reserve
	}, "one", "two")
	ctx := t.Context()
	p.must(p.Complete(ctx, 1, p.rev("one")))
	p.must(p.Complete(ctx, 2, p.rev("two")))
	p.must(p.Retire(ctx, 2))
	p.serves("two")
	fill := filepath.Join(disk, "fill")
	f, err := os.Create(fill)
	p.must(err)
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	p.must(f.Close())

	began := time.Now()
	p.must(p.Complete(ctx, 3, p.rev("one")))
	t.Logf("back in %s", time.Since(began).Round(time.Millisecond))
	p.must(p.Retire(ctx, 3))
	p.serves("one")
	// What was done is known to the next daemon.
	s, err := readState(p.paths.stateFile())
	if err != nil || s.Token != 3 || s.Stable.release() != p.releases["one"] {
		t.Errorf("on disk is %+v, %v", s, err)
	}
	if _, err := os.Stat(filepath.Join(disk, "reserve", "7")); err == nil {
		t.Error("nothing was given up, so the disk was not full")
	}
	p.must(os.Remove(fill))
	p.refill()
	if _, err := os.Stat(filepath.Join(disk, "reserve", "7")); err != nil {
		t.Errorf("it is not kept again: %v", err)
	}
}
