package supervisor

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/smartcloudops/gate/pipeline/target"
)

func TestAdoption(t *testing.T) {
	r := newRig(t, nil)
	daemon := r.daemon(daemonConfig{Count: 3})
	if _, err := New(r.options()); !errors.Is(err, ErrLocked) {
		t.Fatalf("beside a daemon: %v", err)
	}
	r.killDaemon(daemon)

	s := r.open(nil)
	all := s.Instances()
	if len(all) != 3 {
		t.Fatalf("instances %+v", all)
	}
	for _, in := range all {
		if pid, _ := r.who(in.Address); pid != in.PID || !in.Ready || !in.Adopted || in.Health != target.Healthy || in.Restarts != 0 || in.Generation != 1 {
			t.Errorf("pid %d, instance %+v", pid, in)
		}
	}
	r.until(time.Second, "told of them", func() bool { return len(r.readyPIDs()) == 3 })

	// Its end is noticed though it is not our child, and it comes back.
	r.kill(all[0].PID, unix.SIGKILL)
	took := r.until(time.Second, "it leaves", func() bool { return !slices.Contains(r.readyPIDs(), all[0].PID) })
	if took > 300*time.Millisecond {
		t.Errorf("left after %s", took)
	}
	r.until(5*time.Second, "it comes back", func() bool { return len(r.readyPIDs()) == 3 })
	if in := s.Instances()[0]; in.Restarts != 1 || in.Adopted || in.PID == all[0].PID {
		t.Errorf("instance %+v", in)
	}
	if got := r.exitReasons(); !slices.Equal(got, []string{"killed by SIGKILL"}) {
		t.Errorf("told of exits %q", got)
	}

	if err := s.Stop(t.Context(), all[1].ID); err != nil || !ended(all[1].PID) {
		t.Errorf("stop of an adopted instance: %v", err)
	}
	// Ids go on.
	if in := r.start("sha256:two"); in.ID != "4" {
		t.Errorf("new instance %+v", in)
	}
}

func TestHungAdoptedInstanceIsReplaced(t *testing.T) {
	r := newRig(t, nil)
	r.killDaemon(r.daemon(daemonConfig{Count: 1}))
	s := r.open(func(o *Options) { o.Probe = Probe{Interval: 50 * time.Millisecond, Timeout: 200 * time.Millisecond} })
	pid := s.Instances()[0].PID
	r.kill(pid, unix.SIGSTOP)
	r.until(5*time.Second, "replaced", func() bool { v := s.Instances()[0]; return v.Ready && v.PID != pid && v.PID != 0 })
	if !ended(pid) {
		t.Error("the stopped process is still there")
	}
}

func TestDetachLeavesInstancesRunning(t *testing.T) {
	r := newRig(t, nil)
	s := r.open(nil)
	in := r.start("sha256:one")
	s.Detach()
	s.Detach()
	if _, err := s.Start(t.Context(), "sha256:one"); !errors.Is(err, ErrDetached) {
		t.Errorf("start: %v", err)
	}
	if err := s.Stop(t.Context(), in.ID); !errors.Is(err, ErrDetached) {
		t.Errorf("stop: %v", err)
	}
	if pid, _ := r.who(in.Address); pid != in.PID {
		t.Errorf("answered by %d", pid)
	}
	s = r.open(nil)
	if all := s.Instances(); len(all) != 1 || all[0].PID != in.PID {
		t.Errorf("instances %+v", all)
	}
	// It is a child of this process: reaped, though another supervisor started it.
	r.kill(in.PID, unix.SIGKILL)
	r.until(5*time.Second, "it comes back", func() bool { v := s.Instances()[0]; return v.Ready && v.Restarts == 1 })
	if _, err := readStat(in.PID); err == nil {
		t.Error("a zombie was left")
	}
	if got := r.exitReasons(); !slices.Equal(got, []string{"killed by SIGKILL"}) {
		t.Errorf("exits %q", got)
	}
}

func TestWhatEndedMeanwhileIsStartedAnew(t *testing.T) {
	r := newRig(t, nil)
	r.killDaemon(r.daemon(daemonConfig{Count: 2}))
	st, err := loadState(r.options().StateFile)
	if err != nil {
		t.Fatal(err)
	}
	r.kill(st.Instances[1].PID, unix.SIGKILL)
	r.until(time.Second, "it has ended", func() bool { return ended(st.Instances[1].PID) })
	s := r.open(nil)
	r.until(5*time.Second, "both ready", func() bool { return len(r.readyPIDs()) == 2 })
	all := s.Instances()
	if all[0].PID != st.Instances[0].PID || all[0].Restarts != 0 {
		t.Errorf("the living one: %+v", all[0])
	}
	if all[1].Restarts != 1 || s.Restarts() != 1 || all[1].LastExit != "ended while no daemon was running" {
		t.Errorf("the other: %+v", all[1])
	}
}

// The daemon dies between the fork of an instance and its record.
func TestOrphanIsKilled(t *testing.T) {
	r := newRig(t, map[string]string{"NAME": t.Name() + run})
	daemon := r.daemon(daemonConfig{Count: 1, DieAfterFork: true})
	_ = daemon.Wait()
	orphans := processesWith("NAME=" + t.Name() + run)
	if len(orphans) != 1 {
		t.Fatalf("orphans %v", orphans)
	}
	st, err := loadState(r.options().StateFile)
	if err != nil || len(st.Instances) != 1 || st.Instances[0].PID != 0 {
		t.Fatalf("state %+v, %v", st, err)
	}
	s := r.open(nil)
	if !ended(orphans[0]) || len(s.Instances()) != 0 {
		t.Errorf("instances %+v", s.Instances())
	}
}

// The daemon dies while a Start has not returned, so nobody knows of it.
func TestHalfStartedInstanceIsKilled(t *testing.T) {
	r := newRig(t, map[string]string{"NAME": t.Name() + run})
	daemon := r.daemon(daemonConfig{Count: 1, Starting: true})
	var st state
	until := time.Now().Add(5 * time.Second)
	for len(st.Instances) != 2 || st.Instances[1].PID == 0 {
		if time.Now().After(until) {
			t.Fatalf("state %+v", st)
		}
		time.Sleep(5 * time.Millisecond)
		var err error
		if st, err = loadState(r.options().StateFile); err != nil {
			t.Fatal(err)
		}
	}
	r.killDaemon(daemon)
	s := r.open(nil)
	if !ended(st.Instances[1].PID) || ended(st.Instances[0].PID) || len(s.Instances()) != 1 {
		t.Errorf("instances %+v", s.Instances())
	}
}

// A stop that the daemon did not live to finish is finished.
func TestStopIsFinishedByTheNextDaemon(t *testing.T) {
	r := newRig(t, nil)
	r.killDaemon(r.daemon(daemonConfig{Count: 2}))
	st := r.editState(func(st *state) { st.Instances[0].Stopping = true })
	s := r.open(nil)
	r.until(5*time.Second, "it is gone", func() bool { return len(s.Instances()) == 1 && ended(st.Instances[0].PID) })
	if s.Instances()[0].PID != st.Instances[1].PID || s.Restarts() != 0 {
		t.Errorf("instances %+v", s.Instances())
	}
}

func (r *rig) editState(change func(*state)) state {
	r.Helper()
	file := r.options().StateFile
	st, err := loadState(file)
	if err != nil {
		r.Fatal(err)
	}
	change(&st)
	b, err := json.Marshal(st)
	if err == nil {
		err = os.WriteFile(file, b, 0o600)
	}
	if err != nil {
		r.Fatal(err)
	}
	return st
}

// A process that has the number of an instance but is another one is neither
// adopted nor killed.
func TestReusedPID(t *testing.T) {
	for name, change := range map[string]func(*record, *state){
		"another start time": func(rec *record, _ *state) { rec.Ticks++ },
		"another boot":       func(_ *record, st *state) { st.Boot = "00000000-0000-0000-0000-000000000000" },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			r.killDaemon(r.daemon(daemonConfig{Count: 1}))
			stranger := exec.Command(os.Args[0])
			stranger.Env = []string{playVar + "=sleeper", runVar + "=" + run}
			if err := stranger.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _, _ = stranger.Process.Kill(), stranger.Wait() }()
			stat, err := readStat(stranger.Process.Pid)
			if err != nil {
				t.Fatal(err)
			}
			r.editState(func(st *state) {
				rec := &st.Instances[0]
				r.kill(rec.PID, unix.SIGKILL)
				r.until(time.Second, "it has ended", func() bool { return ended(rec.PID) })
				rec.PID, rec.Ticks = stranger.Process.Pid, stat.ticks
				change(rec, st)
			})
			s := r.open(nil)
			r.until(5*time.Second, "a new process", func() bool { v := s.Instances()[0]; return v.Ready && v.PID != stranger.Process.Pid })
			if err := s.StopAll(t.Context()); err != nil {
				t.Error(err)
			}
			if ended(stranger.Process.Pid) {
				t.Error("a stranger was killed")
			}
		})
	}
}

func TestDamagedStateIsNotOverwritten(t *testing.T) {
	r := newRig(t, nil)
	file := r.options().StateFile
	for _, content := range []string{"{", `{"version":99}`} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := New(r.options()); err == nil {
			t.Error("no error")
		}
		if b, _ := os.ReadFile(file); string(b) != content {
			t.Errorf("state is now %q", b)
		}
	}
	if _, err := New(Options{StateFile: filepath.Join(r.dir, "none", "x"), LogDir: r.dir, SpecFor: specOf(nil)}); err == nil {
		t.Error("no error without a folder")
	}
}

// The state file is lost while instances run.
func TestLostState(t *testing.T) {
	r := newRig(t, nil)
	r.killDaemon(r.daemon(daemonConfig{Count: 1}))
	st, err := loadState(r.options().StateFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(r.options().StateFile); err != nil {
		t.Fatal(err)
	}
	s := r.open(nil)
	if !ended(st.Instances[0].PID) || len(s.Instances()) != 0 {
		t.Errorf("instances %+v", s.Instances())
	}
}
