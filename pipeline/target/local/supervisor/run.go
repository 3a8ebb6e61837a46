package supervisor

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"
)

const logInterval = time.Second // between looks at the size of the logs

// Run keeps the instances running until ctx ends or Detach is called, and then
// lets go of them as Detach does: they run on. Without Run nothing is started
// anew and nobody is told of changes. It runs once; a second call is ErrRunning.
func (s *Supervisor) Run(ctx context.Context) error {
	s.mu.Lock()
	if s.detached || s.running {
		defer s.mu.Unlock()
		if s.running {
			return ErrRunning
		}
		return ErrDetached
	}
	s.running = true
	s.wg.Go(s.rotateLogs)
	s.mu.Unlock()

	told := s.tell(nil, true)
	close(s.begun)
	s.deliver(ctx, told)
	close(s.ended)
	s.Detach()
	return nil
}

func (s *Supervisor) deliver(ctx context.Context, told []Instance) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.quit:
			return
		case <-s.change:
			told = s.tell(told, false)
		case ack := <-s.flush:
			told = s.tell(told, false)
			close(ack)
		}
	}
}

// changed has Run look at what there is to tell.
func (s *Supervisor) changed() {
	select {
	case s.change <- struct{}{}:
	default:
	}
}

// tell calls OnChange if the ready instances are others than told, then OnExit.
func (s *Supervisor) tell(told []Instance, always bool) []Instance {
	s.mu.Lock()
	ready := s.list(func(in *instance) bool { return in.ready })
	exits := s.exits
	s.exits = nil
	s.mu.Unlock()
	same := slices.EqualFunc(told, ready, func(a, b Instance) bool {
		return a.ID == b.ID && a.Generation == b.Generation && a.Address == b.Address
	})
	if (always || !same) && s.opt.OnChange != nil {
		s.opt.OnChange(slices.Clone(ready))
	}
	for _, in := range exits {
		if s.opt.OnExit != nil {
			s.opt.OnExit(in)
		}
	}
	return ready
}

// rotateLogs works beside Run's goroutine: copying a log must not hold up a
// change of the traffic.
func (s *Supervisor) rotateLogs() {
	tick := time.NewTicker(logInterval)
	defer tick.Stop()
	for {
		select {
		case <-s.quit:
			return
		case <-tick.C:
		}
		for _, in := range s.Instances() {
			if in.Log == "" {
				continue
			}
			if err := s.logs.rotate(in.Log); err != nil && !errors.Is(err, fs.ErrNotExist) {
				s.opt.Log.Warn("log of an instance not rotated", "instance", in.ID, "err", err)
			}
		}
		if err := s.logs.prune(s.living()); err != nil {
			s.opt.Log.Warn("old logs not removed", "err", err)
		}
	}
}

func (s *Supervisor) living() map[string]bool {
	living := map[string]bool{}
	for _, in := range s.Instances() {
		living[in.ID] = true
	}
	return living
}
