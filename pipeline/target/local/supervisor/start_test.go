package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/smartcloudops/gate/pipeline/target"
)

func TestStartReturnsOnceReady(t *testing.T) {
	r := newRig(t, map[string]string{"APP_DELAY": "300ms"})
	s := r.open(nil)
	began := time.Now()
	in := r.start("sha256:one")
	if d := time.Since(began); d < 300*time.Millisecond {
		t.Errorf("returned after %s, before the app listened", d)
	}
	pid, _ := r.who(in.Address)
	if pid != in.PID || in.Health != target.Healthy || !in.Ready || in.ID != "1" || in.Generation != 1 || in.Restarts != 0 {
		t.Errorf("pid %d, instance %+v", pid, in)
	}
	r.until(time.Second, "told of it", func() bool { return slices.Equal(r.readyPIDs(), []int{in.PID}) })
	two := r.start("sha256:two")
	if two.Address == in.Address || two.ID != "2" {
		t.Errorf("second instance %+v", two)
	}
	if all := s.Instances(); len(all) != 2 || all[0].ID != "1" || all[1].Release != "sha256:two" {
		t.Errorf("instances %+v", all)
	}
	state, err := os.ReadFile(filepath.Join(r.dir, "instances.json"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(state), "hunter2") {
		t.Error("a secret of the environment is in the state file")
	}
	if info, _ := os.Stat(filepath.Join(r.dir, "instances.json")); info.Mode().Perm() != 0o600 {
		t.Errorf("state file has mode %s", info.Mode())
	}
	if info, _ := os.Stat(in.Log); info.Mode().Perm() != 0o600 {
		t.Errorf("log has mode %s", info.Mode())
	}
}

func TestEarlyExitIsNoticedAtOnce(t *testing.T) {
	flag := filepath.Join(t.TempDir(), "exit")
	r := newRig(t, map[string]string{"APP_EXIT_IF": flag})
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := r.open(nil)
	began := time.Now()
	_, err := s.Start(t.Context(), "sha256:one")
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("noticed after %s", d)
	}
	var se *StartError
	if !errors.Is(err, target.ErrNotReady) || !errors.As(err, &se) {
		t.Fatalf("error %v", err)
	}
	if !strings.HasPrefix(se.Reason, "exit status 3 after ") || !slices.Contains(se.Tail, "cannot go on") {
		t.Errorf("reason %q, tail %q", se.Reason, se.Tail)
	}
	if strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "cannot go on") {
		t.Errorf("error is not one line of our own: %q", err)
	}
	if len(s.Instances()) != 0 || s.Restarts() != 0 {
		t.Errorf("left %+v, %d restarts", s.Instances(), s.Restarts())
	}
}

func TestNeverReady(t *testing.T) {
	r := newRig(t, nil)
	var pid int
	s := r.open(func(o *Options) {
		spec := o.SpecFor
		o.SpecFor = func(release, id string, port int) (Spec, error) {
			sp, err := spec(release, id, port)
			sp.StartTimeout = 400 * time.Millisecond
			return sp, err
		}
	})
	done := make(chan error, 1)
	go func() {
		_, err := s.Start(context.Background(), "sha256:never")
		done <- err
	}()
	r.until(2*time.Second, "a process", func() bool {
		all := s.Instances()
		if len(all) == 1 {
			pid = all[0].PID
		}
		return pid != 0
	})
	if in := s.Instances()[0]; in.Ready || in.Health != target.Progressing {
		t.Errorf("while it starts: %+v", in)
	}
	err := <-done
	if !errors.Is(err, target.ErrNotReady) || !strings.Contains(err.Error(), "not ready 400ms after its start (GET /readyz: answered 503 Service Unavailable)") {
		t.Errorf("error %v", err)
	}
	if !ended(pid) || len(s.Instances()) != 0 {
		t.Error("it still runs")
	}
}

func TestStartIsUndone(t *testing.T) {
	r := newRig(t, nil)
	s := r.open(nil)
	for name, undo := range map[string]struct {
		do   func(context.CancelFunc)
		want error
	}{
		"by its context": {func(cancel context.CancelFunc) { cancel() }, context.Canceled},
		"by Stop":        {func(context.CancelFunc) { _ = s.StopAll(context.Background()) }, errStop},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := s.Start(ctx, "sha256:never")
			done <- err
		}()
		r.until(2*time.Second, "a process", func() bool { all := s.Instances(); return len(all) == 1 && all[0].PID != 0 })
		pid := s.Instances()[0].PID
		undo.do(cancel)
		if err := <-done; !errors.Is(err, undo.want) || errors.Is(err, target.ErrNotReady) {
			t.Errorf("%s: error %v", name, err)
		}
		if !ended(pid) || len(s.Instances()) != 0 {
			t.Errorf("%s: it still runs", name)
		}
		cancel()
	}
}

func TestNoExecutable(t *testing.T) {
	r := newRig(t, nil)
	s := r.open(func(o *Options) {
		o.SpecFor = func(release, _ string, _ int) (Spec, error) {
			switch release {
			case "missing":
				return Spec{Path: "/nonexistent", Ready: "/"}, nil
			case "relative":
				return Spec{Path: "app", Ready: "/"}, nil
			}
			return Spec{}, errors.New("no such secret")
		}
	})
	if _, err := s.Start(t.Context(), "missing"); !errors.Is(err, os.ErrNotExist) || !errors.Is(err, target.ErrNotReady) {
		t.Errorf("error %v", err)
	}
	if _, err := s.Start(t.Context(), "relative"); err == nil || !strings.Contains(err.Error(), "absolute") {
		t.Errorf("error %v", err)
	}
	if _, err := s.Start(t.Context(), "other"); err == nil || !strings.Contains(err.Error(), "no such secret") {
		t.Errorf("error %v", err)
	}
	if all := s.Instances(); len(all) != 0 {
		t.Errorf("left %+v", all)
	}
}

// While an instance has not bound it yet, its port is nobody else's; an instance
// that insists on being alone on it gets it all the same.
func TestPorts(t *testing.T) {
	r := newRig(t, nil)
	res, err := reservePort()
	if err != nil {
		t.Fatal(err)
	}
	defer res.release()
	if c, err := net.Dial("tcp", address(res.port)); err == nil {
		c.Close()
		t.Error("a reserved port answers")
	}
	for _, host := range []string{"127.0.0.1", "", "0.0.0.0"} {
		l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", host, res.port))
		if err != nil {
			t.Fatalf("a server can't listen on %q beside the reservation: %v", host, err)
		}
		l.Close()
	}
	for range 2000 {
		l, err := reservePort()
		if err != nil {
			t.Fatal(err)
		}
		l.release()
		if l.port == res.port {
			t.Fatal("a reserved port was handed out again")
		}
	}

	r.app["APP_ALONE"] = "1"
	r.open(nil)
	in := r.start("sha256:alone")
	if in.Generation != 2 || in.Restarts != 0 {
		t.Errorf("instance %+v", in)
	}
	if pid, _ := r.who(in.Address); pid != in.PID {
		t.Errorf("answered by %d", pid)
	}
	r.app["APP_HOST"] = "" // every address
	r.start("sha256:wide")
}
