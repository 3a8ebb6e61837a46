package promotion

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/smartcloudops/gate/pipeline/ledger"
)

// kept are files on the disk that is to become full.
type kept struct {
	dir   string
	spent atomic.Int64
}

const (
	keptParts = 4
	keptPart  = 1 << 20
)

func (k *kept) part(i int) string { return filepath.Join(k.dir, fmt.Sprint("kept", i)) }

func (k *kept) Spend() bool {
	for i := range keptParts {
		if os.Remove(k.part(i)) == nil {
			k.spent.Add(1)
			return true
		}
	}
	return false
}

func (k *kept) Fill() error {
	var s syscall.Statfs_t
	if err := syscall.Statfs(k.dir, &s); err != nil {
		return err
	}
	for i := range keptParts {
		if _, err := os.Stat(k.part(i)); err == nil {
			continue
		}
		if int64(s.Bavail)*s.Bsize < 2*keptParts*keptPart {
			return fmt.Errorf("disk full: %w", syscall.ENOSPC)
		}
		if err := os.WriteFile(k.part(i), make([]byte, keptPart), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// smallDisk is a disk of a few megabytes, and what fills it.
func smallDisk(t *testing.T) (disk string, fill func()) {
	t.Helper()
	disk = t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=32m"); err != nil {
		t.Skipf("SKIPPED, NOT SHOWN HERE: a small disk cannot be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return disk, func() {
		t.Helper()
		f, err := os.OpenFile(filepath.Join(disk, "fill"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		must(t, err)
		defer f.Close()
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
}

// TestFullDisk: forward is refused and says so, hold and rollback work, and once
// there is space again all is as if there had always been.
func TestFullDisk(t *testing.T) {
	disk, fill := smallDisk(t)
	s := &stage{scene: sceneIn(t, filepath.Join(disk, "state"), nil), target: newFake("production")}
	s.engine = s.scene.engine("production", s.target)
	s.serves('a')
	s.release(releaseRecord('b'))
	s.release(releaseRecord('c'))
	reserve := &kept{dir: disk}
	must(t, reserve.Fill())
	s.journal.Reserve = reserve
	s.expect(s.promote('b'), Succeeded, CodePass)

	fill()
	var was int64
	refused := func(what string, err error) {
		t.Helper()
		if err == nil || !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, ledger.ErrNoSpace) {
			t.Errorf("%s on a full disk: %v", what, err)
		}
	}
	_, err := s.journal.Evidence(t.Context(), proof(t, s.judge, s.view(), releaseRecord('c'))[0])
	refused("evidence", err)
	if got := reserve.spent.Load(); got != was {
		t.Errorf("what goes forward has spent %d parts", got)
	}
	must(t, s.journal.Hold(t.Context(), Hold{Environment: "production", Reason: "the disk is full", By: "ann", At: time.Now().UTC()}))
	if s.view().Environment("production").Hold == nil {
		t.Error("it is not held")
	}
	_, err = s.journal.Request(t.Context(), Request{Environment: "production", Release: digest('c'), Commit: commitOf('c'), By: "ann"})
	if refused("a promotion", err); err != nil && !strings.Contains(err.Error(), "disk full") {
		t.Errorf("it is not said: %v", err)
	}
	refused("the end of a hold", func() error {
		fill()
		return s.journal.Hold(t.Context(), Hold{Environment: "production", By: "ann", At: time.Now().UTC()})
	}())

	began := time.Now()
	back := s.settled("production", s.ask("production", 'a', back))
	took := time.Since(began)
	s.expect(back, Succeeded, CodePass)
	if released(s.target.stable) != digest('a') || took > 10*time.Second {
		t.Errorf("after %s it serves %.12s", took, released(s.target.stable))
	}
	if reserve.spent.Load() == 0 {
		t.Error("the disk was not full")
	}

	must(t, os.Remove(filepath.Join(disk, "fill")))
	must(t, s.journal.Forward())
	must(t, s.journal.Hold(t.Context(), Hold{Environment: "production", By: "ann", At: time.Now().UTC()}))
	s.prove(releaseRecord('c'))
	s.expect(s.settled("production", s.ask("production", 'c')), Succeeded, CodePass)
	s.sound(digest('c'))
}

// TestDiskFillsUpInAPromotion: it is withdrawn, its end is on record, and a
// rollback that waits for that is carried out.
func TestDiskFillsUpInAPromotion(t *testing.T) {
	for _, at := range []string{"migrate", "canary", "complete"} {
		t.Run(at, func(t *testing.T) {
			disk, fill := smallDisk(t)
			s := &stage{scene: sceneIn(t, filepath.Join(disk, "state"), nil), target: newFake("production")}
			s.engine = s.scene.engine("production", s.target)
			s.serves('a')
			s.release(releaseRecord('b'))
			reserve := &kept{dir: disk}
			must(t, reserve.Fill())
			s.journal.Reserve = reserve
			full := false
			s.target.after = func(op string) {
				if op == at && !full {
					full = true
					fill()
				}
			}
			got := s.promote('b')
			if at == "complete" {
				s.expect(got, Succeeded, CodePass)
				s.sound(digest('b'))
				return
			}
			s.expect(got, Aborted, CodeInternal)
			s.sound(digest('a'))
		})
	}
}
