package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/target/local/notify"
	"github.com/smartcloudops/gate/pipeline/target/local/watch"
)

var (
	_ checks.Alarmer    = (*Daemon)(nil)
	_ checks.Timekeeper = (*Daemon)(nil)
)

// Bounds of an exercise.
const (
	longestFault = 2 * time.Minute
	rampBytes    = 4 << 20
	rampSpan     = 2 * time.Second
	rampStep     = 100 * time.Millisecond
	linger       = time.Minute // that its mail server is told of ends
)

// exercise is one that is under way. Its fields are guarded by watching.mu.
type exercise struct {
	checks.Exercise
	stopped []int // processes that the fault has stopped
	folder  string
	full    time.Time
	unlock  func()
	timer   *time.Timer
	cancel  context.CancelFunc
	done    chan struct{} // closed when the ramp has ended
}

// Alarm implements checks.Alarmer. A fault is refused in an environment that is
// promoted into: people use it.
func (d *Daemon) Alarm(_ context.Context, e checks.Exercise) error {
	w := d.watching
	s := d.snapshot()
	switch {
	case e.ID == "":
		return errors.New("the exercise has no id")
	case e.Limit <= 0 || e.Limit > longestFault:
		return fmt.Errorf("the exercise's limit is %s, and must be at most %s", e.Limit, longestFault)
	case e.Ramp < 0 || e.Ramp > longestFault:
		return fmt.Errorf("the exercise's ramp is %s, and must be at most %s", e.Ramp, longestFault)
	case e.Fault && s.Environment.Promotion.From != "":
		return fmt.Errorf("%s is promoted into: no fault is made where people may be", d.paths.Environment)
	case s.Stable.Revision == nil:
		return errors.New("nothing serves")
	}
	if err := onLoopback(e); err != nil {
		return err
	}
	unlock := func() {}
	if e.Fault {
		// Not in the middle of an operation, and no operation in the middle of it.
		if !d.op.TryLock() {
			return errors.New("it is in the middle of an operation")
		}
		unlock = d.op.Unlock
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.exercise != nil {
		unlock()
		return fmt.Errorf("exercise %s is under way", w.exercise.ID)
	}
	ctx, cancel := context.WithCancel(context.Background())
	x := &exercise{Exercise: e, unlock: unlock, cancel: cancel, done: make(chan struct{})}
	if e.Ramp > 0 {
		x.folder = d.paths.dir("exercise", e.ID)
		if err := os.MkdirAll(x.folder, 0o700); err != nil {
			cancel()
			unlock()
			return fmt.Errorf("folder of the exercise: %w", err)
		}
		go w.climb(ctx, x)
	} else {
		close(x.done)
	}
	if e.Fault {
		for _, in := range d.sup.Instances() {
			// Each is a session of its own, so its children stop with it.
			if in.PID > 0 && syscall.Kill(-in.PID, syscall.SIGSTOP) == nil {
				x.stopped = append(x.stopped, in.PID)
			}
		}
	}
	w.exercise = x
	x.timer = time.AfterFunc(e.Limit, func() { w.end(e.ID) })
	d.opt.Log.Warn("exercise of alerts begins", "id", e.ID, "fault", e.Fault, "stopped", x.stopped, "ramp", e.Ramp, "test", e.Test, "limit", e.Limit)
	if e.Test {
		go w.watcher.Raise("test", e.ID, "a test of the way that alerts take: nothing is wrong")
	}
	return nil
}

// onLoopback refuses to let an exercise speak to anybody else.
func onLoopback(e checks.Exercise) error {
	hosts := []string{}
	if e.Mail != "" {
		host, _, err := net.SplitHostPort(e.Mail)
		if err != nil {
			return fmt.Errorf("mail server of the exercise: %w", err)
		}
		hosts = append(hosts, host)
	}
	if e.Beat != "" {
		u, err := url.Parse(e.Beat)
		if err != nil || u.Scheme != "http" {
			return errors.New("the exercise's address for heartbeats is none")
		}
		hosts = append(hosts, u.Hostname())
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip == nil || !ip.IsLoopback() {
			return fmt.Errorf("the exercise names %s, which is not on loopback", h)
		}
	}
	return nil
}

// Relieve implements checks.Alarmer.
func (d *Daemon) Relieve(context.Context) error {
	d.watching.end("")
	return nil
}

// end undoes the exercise of that id, or with an empty one any.
func (w *watching) end(id string) {
	w.mu.Lock()
	x := w.exercise
	if x == nil || id != "" && x.ID != id {
		w.mu.Unlock()
		return
	}
	// What the exercise has raised ends after it, and whoever listens hears that.
	w.exercise, w.heard, w.heardUntil = nil, x, time.Now().Add(linger)
	w.mu.Unlock()
	x.timer.Stop()
	live := map[int]bool{}
	for _, in := range w.d.sup.Instances() {
		live[in.PID] = true
	}
	for _, pid := range x.stopped {
		// One that was replaced meanwhile is gone, and its number may be another's.
		if live[pid] {
			resume(pid)
		}
	}
	x.unlock()
	x.cancel()
	<-x.done
	if x.folder != "" {
		if err := os.RemoveAll(x.folder); err != nil {
			w.d.opt.Log.Error("folder of the exercise", "error", err)
		}
	}
	w.d.opt.Log.Info("exercise of alerts has ended", "id", x.ID)
}

func resume(pid int) {
	if pid > 0 {
		_ = syscall.Kill(-pid, syscall.SIGCONT) // one that is gone needs none
	}
}

// climb fills the exercise's folder evenly, up to its limit.
func (w *watching) climb(ctx context.Context, x *exercise) {
	defer close(x.done)
	began := time.Now()
	tick := time.NewTicker(rampStep)
	defer tick.Stop()
	f, err := os.Create(filepath.Join(x.folder, "grows"))
	if err != nil {
		w.d.opt.Log.Error("folder of the exercise", "error", err)
		return
	}
	defer f.Close()
	for size := int64(0); size < rampBytes; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		want := min(int64(float64(rampBytes)*float64(time.Since(began))/float64(x.Ramp)), rampBytes)
		n, err := f.Write(make([]byte, want-size))
		size += int64(n)
		if err != nil {
			w.d.opt.Log.Error("folder of the exercise", "error", err)
			return
		}
	}
	w.mu.Lock()
	x.full = w.d.opt.Now().UTC()
	w.mu.Unlock()
}

func (w *watching) rampLimit() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.exercise == nil {
		return time.Time{}
	}
	return w.exercise.full
}

// exercising is the id of the exercise, and its folder among those watched.
func (w *watching) exercising(disks []watch.DiskUse) (string, []watch.DiskUse) {
	w.mu.Lock()
	x := w.exercise
	w.mu.Unlock()
	if x == nil {
		return "", disks
	}
	if x.folder == "" {
		return x.ID, disks
	}
	return x.ID, append(disks[:len(disks):len(disks)], watch.DiskUse{Path: x.folder, Used: folderSize(x.folder), Limit: rampBytes, Span: rampSpan})
}

// exerciseMail is the mail server that hears an exercise.
func (w *watching) exerciseMail(m notify.Message) notify.Sender {
	w.mu.Lock()
	defer w.mu.Unlock()
	x := w.exercise
	if x == nil && time.Now().Before(w.heardUntil) {
		x = w.heard
	}
	if x == nil || x.Mail == "" || m.Exercise != x.ID {
		return nil
	}
	host, port, err := net.SplitHostPort(x.Mail)
	if err != nil {
		return nil
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return nil
	}
	return notify.Mail{Host: host, Port: n, TLS: "none", From: "gate@localhost", To: []string{"operator@localhost"}}
}
