package supervisor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestStopIsGraceful(t *testing.T) {
	r := newRig(t, nil)
	var pid atomic.Int64
	var late atomic.Bool
	s := r.open(func(o *Options) {
		tell := o.OnChange
		o.OnChange = func(ready []Instance) {
			if n := int(pid.Load()); n != 0 && len(ready) == 0 {
				time.Sleep(100 * time.Millisecond) // a slow balancer
				late.Store(ended(n))
				pid.Store(0)
			}
			tell(ready)
		}
	})
	in := r.start("sha256:one")
	pid.Store(int64(in.PID))
	if err := s.Stop(t.Context(), in.ID); err != nil {
		t.Fatal(err)
	}
	if !ended(in.PID) || len(s.Instances()) != 0 || len(r.readyPIDs()) != 0 {
		t.Error("it still runs")
	}
	if late.Load() {
		t.Error("it was ended before OnChange knew")
	}
	lines, err := s.Tail(in.ID, 3)
	if err != nil || !slices.Contains(lines, "bye") {
		t.Errorf("log ends in %q, %v", lines, err)
	}
	if err := s.Stop(t.Context(), in.ID); err != nil {
		t.Errorf("second stop: %v", err)
	}
	if s.Restarts() != 0 {
		t.Errorf("%d restarts", s.Restarts())
	}
}

func TestStopOfADeafInstanceKillsAllItsProcesses(t *testing.T) {
	for _, fork := range []string{"group", "setsid"} {
		t.Run(fork, func(t *testing.T) {
			r := newRig(t, map[string]string{"APP_DEAF": "1", "APP_FORK": fork, "NAME": t.Name() + run})
			s := r.open(func(o *Options) {
				spec := o.SpecFor
				o.SpecFor = func(release, id string, port int) (Spec, error) {
					sp, err := spec(release, id, port)
					sp.StopTimeout = 300 * time.Millisecond
					return sp, err
				}
			})
			in := r.start("sha256:one")
			all := processesWith("NAME=" + t.Name() + run)
			if len(all) != 2 {
				t.Fatalf("processes %v", all)
			}
			began := time.Now()
			if err := s.Stop(t.Context(), in.ID); err != nil {
				t.Fatal(err)
			}
			if d := time.Since(began); d < 300*time.Millisecond || d > 3*time.Second {
				t.Errorf("stopped after %s", d)
			}
			for _, pid := range all {
				if !ended(pid) {
					t.Errorf("process %d still runs", pid)
				}
			}
		})
	}
}

func TestEndedInstanceLeavesNoProcessBehind(t *testing.T) {
	for _, fork := range []string{"group", "setsid"} {
		t.Run(fork, func(t *testing.T) {
			r := newRig(t, map[string]string{"APP_FORK": fork, "NAME": t.Name() + run})
			s := r.open(nil)
			in := r.start("sha256:one")
			before := processesWith("NAME=" + t.Name() + run)
			r.kill(in.PID, unix.SIGKILL)
			r.until(5*time.Second, "it comes back", func() bool { v := s.Instances()[0]; return v.Ready && v.Restarts == 1 })
			for _, pid := range before {
				if !ended(pid) {
					t.Errorf("process %d still runs", pid)
				}
			}
			if now := processesWith("NAME=" + t.Name() + run); len(before) != 2 || len(now) != 2 {
				t.Errorf("processes %v, then %v", before, now)
			}
		})
	}
}

func TestStopOfAStoppedProcessLetsItSayGoodbye(t *testing.T) {
	r := newRig(t, nil)
	s := r.open(nil)
	in := r.start("sha256:one")
	r.kill(in.PID, unix.SIGSTOP)
	if err := s.Stop(t.Context(), in.ID); err != nil {
		t.Fatal(err)
	}
	if lines, _ := s.Tail(in.ID, 3); !slices.Contains(lines, "bye") {
		t.Errorf("log ends in %q", lines)
	}
}

func TestStopGoesOnWithoutItsCaller(t *testing.T) {
	r := newRig(t, map[string]string{"APP_DEAF": "1"})
	s := r.open(nil)
	in := r.start("sha256:one")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Stop(ctx, in.ID); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	r.until(5*time.Second, "it ends", func() bool { return len(s.Instances()) == 0 && ended(in.PID) })
}

// A service must be stopped, and come back, on a full disk; only a first start
// has to wait for one.
func TestUnwritableState(t *testing.T) {
	r := newRig(t, nil)
	s := r.open(nil)
	one, two := r.start("sha256:one"), r.start("sha256:one")
	// A folder in place of the file: root may write anywhere.
	block := filepath.Join(r.dir, "instances.json")
	if err := errors.Join(os.Remove(block), os.Mkdir(block, 0o700)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Start(t.Context(), "sha256:one"); err == nil || !strings.Contains(err.Error(), "write the instances' state") {
		t.Errorf("error %v", err)
	}
	if len(s.Instances()) != 2 {
		t.Errorf("instances %+v", s.Instances())
	}
	r.kill(one.PID, unix.SIGKILL)
	r.until(5*time.Second, "restart", func() bool { return s.Restarts() == 1 && s.Instances()[0].Ready })
	if err := s.Stop(t.Context(), two.ID); err != nil || !ended(two.PID) {
		t.Errorf("stop: %v", err)
	}
	if err := os.Remove(block); err != nil {
		t.Fatal(err)
	}
}
