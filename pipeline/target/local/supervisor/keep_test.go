package supervisor

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/smartcloudops/gate/pipeline/target"
)

func TestKilledInstanceLeavesAtOnceAndComesBack(t *testing.T) {
	r := newRig(t, nil)
	s := r.open(nil)
	one, two := r.start("sha256:one"), r.start("sha256:one")
	r.until(time.Second, "both ready", func() bool { return len(r.readyPIDs()) == 2 })

	r.kill(one.PID, unix.SIGKILL)
	took := r.until(time.Second, "it leaves", func() bool { return slices.Equal(r.readyPIDs(), []int{two.PID}) })
	t.Logf("left after %s", took)
	if took > 300*time.Millisecond {
		t.Errorf("left after %s", took)
	}
	took = r.until(5*time.Second, "it comes back", func() bool { return len(r.readyPIDs()) == 2 })
	t.Logf("back after %s", took)
	in := s.Instances()[0]
	if in.ID != one.ID || in.PID == one.PID || in.Restarts != 1 || in.Generation != 2 || in.LastExit != "killed by SIGKILL" ||
		in.Health != target.Healthy || s.Restarts() != 1 || in.Log == one.Log || in.Reason != "" {
		t.Errorf("instance %+v, restarts %d", in, s.Restarts())
	}
	if got := r.exitReasons(); !slices.Equal(got, []string{"killed by SIGKILL"}) {
		t.Errorf("told of exits %q", got)
	}
}

func TestCrashAfterRequests(t *testing.T) {
	r := newRig(t, map[string]string{"APP_CRASH_AFTER": "3"})
	s := r.open(nil)
	in := r.start("sha256:one")
	for range 2 {
		r.who(in.Address)
	}
	_, _ = prober.Get("http://" + in.Address + "/who")
	r.until(5*time.Second, "it comes back", func() bool { v := s.Instances()[0]; return v.Restarts == 1 && v.Ready })
	// Go's runtime turns SIGABRT into a dump of its goroutines and exit status 2.
	if v := s.Instances()[0]; v.LastExit != "exit status 2" || len(v.LastLog) != tailLines {
		t.Errorf("instance %+v", v)
	}
}

func TestCrashLoop(t *testing.T) {
	flag := filepath.Join(t.TempDir(), "exit")
	r := newRig(t, map[string]string{"APP_EXIT_IF": flag})
	s := r.open(func(o *Options) { o.Backoff = Backoff{Min: 50 * time.Millisecond, Max: 400 * time.Millisecond} })
	in := r.start("sha256:one")
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	r.kill(in.PID, unix.SIGTERM) // it says bye, unasked
	r.until(10*time.Second, "five ends", func() bool { return s.Restarts() >= 5 })
	// 50 + 100 + 200 + 400 ms lie between five ends.
	if d := time.Since(began); d < 750*time.Millisecond {
		t.Errorf("five ends within %s: no backoff", d)
	}
	v := s.Instances()[0]
	if v.Health != target.Degraded || v.Ready || !slices.Contains(v.LastLog, "cannot go on") || len(v.LastExit) < 13 || v.LastExit[:13] != "exit status 3" {
		t.Errorf("instance in a crash loop: %+v", v)
	}
	if err := os.Remove(flag); err != nil {
		t.Fatal(err)
	}
	r.until(5*time.Second, "it recovers", func() bool { return s.Instances()[0].Ready })
	if got := r.exitReasons(); got[0] != "exit status 0" {
		t.Errorf("told of exits %q", got)
	}
}

func TestBackoff(t *testing.T) {
	b := Backoff{Min: 100 * time.Millisecond, Max: 10 * time.Second}
	want := []time.Duration{100, 100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000}
	for n, w := range want {
		if got := b.after(n); got != w*time.Millisecond {
			t.Errorf("after %d failures %s, not %s", n, got, w*time.Millisecond)
		}
	}
	if got := b.after(1 << 30); got != 10*time.Second {
		t.Errorf("after many %s", got)
	}
}

func TestStableInstanceStartsBackoffAnew(t *testing.T) {
	r := newRig(t, nil)
	s := r.open(func(o *Options) { o.Backoff.Stable = 50 * time.Millisecond })
	r.start("sha256:one")
	for n := range 3 {
		r.until(5*time.Second, "stable", func() bool {
			v := s.Instances()[0]
			return v.Restarts == n && v.Ready && time.Since(v.Started) > time.Second/2
		})
		r.kill(s.Instances()[0].PID, unix.SIGKILL)
	}
	r.until(5*time.Second, "three ends", func() bool { return s.Restarts() == 3 })
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := s.instances["1"].rec.Failures; got != 1 {
		t.Errorf("%d failures in a row, though it was stable between them", got)
	}
}

func TestHungInstanceIsReplaced(t *testing.T) {
	r := newRig(t, nil)
	s := r.open(nil)
	one, two := r.start("sha256:one"), r.start("sha256:one")
	r.kill(one.PID, unix.SIGSTOP)
	took := r.until(9*time.Second, "it leaves", func() bool { return slices.Equal(r.readyPIDs(), []int{two.PID}) })
	if took > 3*time.Second {
		t.Errorf("it has left after %s, want at most 3 s", took)
	}
	t.Logf("out after %s", took)
	took += r.until(5*time.Second, "it comes back", func() bool { return len(r.readyPIDs()) == 2 })
	t.Logf("replaced after %s", took)
	if took < 4*time.Second || took > 8500*time.Millisecond {
		t.Errorf("replaced after %s", took)
	}
	v := s.Instances()[0]
	if v.PID == one.PID || v.Restarts != 1 || v.LastExit != "hung and killed: GET /readyz missed 3 times in a row: no answer within 2s" {
		t.Errorf("instance %+v", v)
	}
	if !ended(one.PID) {
		t.Error("the stopped process is still there")
	}
}

// An app that says it is not ready waits for something: a restart mends nothing.
func TestUnreadyInstanceIsNotKilled(t *testing.T) {
	flag := filepath.Join(t.TempDir(), "unready")
	r := newRig(t, map[string]string{"APP_UNREADY_IF": flag})
	s := r.open(func(o *Options) { o.Probe.Interval = 50 * time.Millisecond })
	in := r.start("sha256:one")
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.until(2*time.Second, "it gets no traffic", func() bool { return len(r.readyPIDs()) == 0 })
	v := s.Instances()[0]
	if v.Health != target.Degraded || v.Reason != "GET /readyz missed 3 times in a row: answered 503 Service Unavailable" {
		t.Errorf("instance %+v", v)
	}
	if err := os.Remove(flag); err != nil {
		t.Fatal(err)
	}
	r.until(2*time.Second, "it gets traffic again", func() bool { return slices.Equal(r.readyPIDs(), []int{in.PID}) })
	if s.Restarts() != 0 {
		t.Errorf("%d restarts", s.Restarts())
	}
}

// When all hang for a common reason they are replaced one after the other.
func TestHungInstancesAreReplacedOneByOne(t *testing.T) {
	r := newRig(t, map[string]string{"APP_DELAY": "300ms"})
	s := r.open(func(o *Options) { o.Probe = Probe{Interval: 50 * time.Millisecond, Timeout: 150 * time.Millisecond} })
	var pids []int
	for range 3 {
		pids = append(pids, r.start("sha256:one").PID)
	}
	for _, pid := range pids {
		r.kill(pid, unix.SIGSTOP)
	}
	r.until(10*time.Second, "all replaced", func() bool {
		var down int
		for i, v := range s.Instances() {
			if v.PID != pids[i] && !v.Ready {
				down++
			}
		}
		if down > 1 {
			t.Fatalf("%d instances are being replaced at once", down)
		}
		return s.Restarts() == 3 && len(r.readyPIDs()) == 3
	})
}
