package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/smartcloudops/gate/pipeline/target"
)

// New takes over the instances of the state file: it adopts what runs, finishes
// what an earlier supervisor was stopping or starting, and kills what carries a
// token of the state file but isn't vouched for. What has ended meanwhile is
// started anew by Run. ErrLocked: another process has them. The caller must
// Detach in the end.
func New(opt Options) (*Supervisor, error) {
	if err := opt.complete(); err != nil {
		return nil, err
	}
	mark, err := tokenMark(opt.StateFile)
	if err != nil {
		return nil, err
	}
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	if opt.LogDir, err = filepath.Abs(opt.LogDir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(opt.LogDir, 0o700); err != nil {
		return nil, fmt.Errorf("folder of the instances' logs: %w", err)
	}
	lock, err := lockState(opt.StateFile)
	if err != nil {
		return nil, err
	}
	s := &Supervisor{
		opt: opt, boot: boot, mark: mark, lock: lock,
		logs: logs{dir: opt.LogDir, max: opt.MaxLogBytes, keep: opt.KeepLogs},
		quit: make(chan struct{}), begun: make(chan struct{}), ended: make(chan struct{}),
		change: make(chan struct{}, 1), flush: make(chan chan struct{}), replacing: make(chan struct{}, 1),
		instances: map[string]*instance{},
	}
	if err := s.takeOver(); err != nil {
		s.Detach()
		return nil, err
	}
	return s, nil
}

func (s *Supervisor) takeOver() error {
	st, err := loadState(s.opt.StateFile)
	if err != nil {
		return err
	}
	s.next, s.restarts = max(st.Next, 1), st.Restarts
	vouched := map[string]bool{}
	var unsure bool
	for _, rec := range st.Instances {
		in := &instance{rec: rec, health: target.Degraded, cancel: func(error) {}, done: make(chan struct{})}
		if rec.PID != 0 && st.Boot == s.boot {
			if in.proc, err = reopen(rec); err != nil {
				return err
			}
		}
		unsure = unsure || rec.PID == 0 && rec.Token != ""
		if !rec.Born {
			// Its Start never returned: nobody knows of it, so it ends here.
			if in.proc != nil {
				_ = in.proc.signalGroup(unix.SIGKILL)
				in.proc.close()
			}
			continue
		}
		if in.proc != nil {
			vouched[rec.Token] = true
			in.adopted = true
			in.health = target.Progressing
		}
		s.instances[rec.ID] = in
	}
	s.sweepUnvouched(vouched, unsure)
	for _, in := range s.instances {
		s.resume(in)
	}
	if err := s.save(); err != nil {
		return err
	}
	for _, in := range s.instances {
		ctx, err := s.hold(context.Background(), in)
		if errors.Is(err, errStop) {
			s.wg.Go(func() { s.finish(in) })
			continue
		}
		if err != nil {
			return err
		}
		s.wg.Go(func() { s.keep(ctx, in) })
	}
	return nil
}

// resume sets where an instance of the state file stands.
func (s *Supervisor) resume(in *instance) {
	if in.proc != nil {
		s.watchers.Go(in.proc.watch)
	}
	switch {
	case in.rec.Stopping:
		in.stopping, in.reason = true, "is being stopped"
	case in.proc != nil && in.rec.Readied && in.rec.Fit:
		// It was fit for traffic when last looked at. Its first probe follows
		// without delay, and misses count as ever.
		in.ready, in.health, in.readyAt = true, target.Healthy, in.rec.Started
	case in.proc != nil && in.rec.Readied:
		in.health, in.readyAt, in.reason = target.Degraded, in.rec.Started, "was not fit for traffic when it was adopted"
	case in.proc != nil:
		in.reason = "starting"
	case in.rec.PID != 0:
		s.endedUnasked(in, "ended while no daemon was running", true)
	default:
		in.reason = in.rec.LastExit
	}
	if in.proc == nil {
		in.rec.PID, in.rec.Ticks, in.rec.Token = 0, 0, ""
	} else {
		s.opt.Log.Info("instance adopted", "instance", in.rec.ID, "release", in.rec.Release, "pid", in.rec.PID, "address", address(in.rec.Port))
	}
}

// reopen returns the process of rec, or nil when it is gone. A process that has
// its number but started at another time is another process.
func reopen(rec record) (*process, error) {
	p, err := openProcess(rec.PID)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("instance %s: %w", rec.ID, err)
	}
	st, err := readStat(rec.PID)
	if err != nil || st.dead || p.ticks != rec.Ticks {
		p.close()
		return nil, nil
	}
	return p, nil
}

// sweepUnvouched kills our processes that no record vouches for. unsure: there
// may be one between its fork and its exec, which is when its token shows.
// One that can't be killed must not keep the others from being served.
func (s *Supervisor) sweepUnvouched(vouched map[string]bool, unsure bool) {
	rounds := 1
	if unsure {
		rounds = 4
	}
	for i := range rounds {
		if i > 0 {
			time.Sleep(50 * time.Millisecond)
		}
		n, err := sweep(func(token string) bool { return strings.HasPrefix(token, s.mark) && !vouched[token] })
		if err != nil {
			s.opt.Log.Error("search for processes that no record vouches for", "err", err)
		}
		if n > 0 {
			s.opt.Log.Warn("processes of instances that no record vouches for were killed", "count", n)
		}
	}
}
