package supervisor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/smartcloudops/gate/pipeline/target"
)

// Stop takes the instance from the traffic, waits until OnChange knows it, and
// ends it: SIGTERM, the spec's StopTimeout, SIGKILL for all its processes. It
// returns once nothing of it runs. An instance that is no more is no error.
// When ctx ends first, the stop goes on, and ctx's error is returned. Connections
// are the caller's to drain beforehand.
func (s *Supervisor) Stop(ctx context.Context, id string) error {
	s.mu.Lock()
	if s.detached {
		s.mu.Unlock()
		return fmt.Errorf("stop instance %s: %w", id, ErrDetached)
	}
	in := s.instances[id]
	if in == nil {
		s.mu.Unlock()
		return nil
	}
	begun := in.stopping
	in.stopping, in.rec.Stopping = true, true
	in.ready, in.health, in.reason = false, target.Progressing, "is being stopped"
	s.mu.Unlock()
	if !begun {
		// On record before the deed: a daemon that takes over finishes it.
		s.changed()
		s.saveOrWarn()
		s.awaitDelivery()
		s.mu.Lock()
		in.cancel(errStop)
		s.mu.Unlock()
	}
	select {
	case <-in.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("instance %s is still stopping: %w", id, ctx.Err())
	case <-s.quit:
		return fmt.Errorf("stop instance %s (the next daemon finishes it): %w", id, ErrDetached)
	}
}

// StopAll stops all instances at once, those that are being started too.
func (s *Supervisor) StopAll(ctx context.Context) error {
	all := s.Instances()
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, in := range all {
		wg.Go(func() { errs[i] = s.Stop(ctx, in.ID) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// finish ends an instance that was told to stop.
func (s *Supervisor) finish(in *instance) {
	s.doneReplacing(in)
	if s.end(in, in.rec.StopTimeout, false) {
		s.opt.Log.Info("instance stopped", "instance", in.rec.ID, "release", in.rec.Release)
		s.forget(in)
	}
}

func (s *Supervisor) forget(in *instance) {
	s.mu.Lock()
	delete(s.instances, in.rec.ID)
	s.mu.Unlock()
	s.changed()
	s.saveOrWarn()
	close(in.done)
}

// awaitDelivery returns once OnChange knows what is true now. It does not wait
// for ever: a slow balancer must not keep an instance from being stopped.
func (s *Supervisor) awaitDelivery() {
	select {
	case <-s.begun:
	default:
		return
	}
	limit := time.NewTimer(2 * time.Second)
	defer limit.Stop()
	ack := make(chan struct{})
	select {
	case s.flush <- ack:
	case <-s.ended:
		return
	case <-limit.C:
		return
	}
	select {
	case <-ack:
	case <-limit.C:
	}
}

// end stops the process of in, if it has one: SIGTERM, grace, SIGKILL of its
// group, and SIGKILL to whatever else carries its token. despite: also while
// Detach waits for us. It says whether all is over.
func (s *Supervisor) end(in *instance, grace time.Duration, despite bool) bool {
	s.mu.Lock()
	p, token := in.proc, in.rec.Token
	s.mu.Unlock()
	if p != nil {
		if !s.terminate(p, grace, despite) {
			return false
		}
		p.close()
	}
	if token != "" {
		if _, err := sweep(func(t string) bool { return t == token }); err != nil {
			s.opt.Log.Error("an instance has left processes", "instance", in.rec.ID, "err", err)
		}
	}
	s.mu.Lock()
	in.proc = nil
	in.rec.PID, in.rec.Ticks, in.rec.Token = 0, 0, ""
	s.mu.Unlock()
	return true
}

func (s *Supervisor) terminate(p *process, grace time.Duration, despite bool) bool {
	quit := s.quit
	if despite {
		quit = nil
	}
	if grace > 0 {
		_ = p.signal(unix.SIGTERM)
		_ = p.signal(unix.SIGCONT) // a stopped process would not hear the other
		select {
		case <-p.gone:
			return true
		case <-quit:
			return false
		case <-time.After(grace):
		}
	}
	_ = p.signalGroup(unix.SIGKILL)
	for {
		select {
		case <-p.gone:
			return true
		case <-quit:
			return false
		case <-time.After(10 * time.Second):
			s.opt.Log.Error("an instance does not end after SIGKILL: see what it waits for in /proc/PID/stack", "pid", p.pid)
			if despite {
				return false
			}
		}
	}
}
