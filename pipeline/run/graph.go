package run

import (
	"context"
	"fmt"
	"sort"
	"time"
)

// step is one node of the graph.
type step struct {
	name      string
	needs     []string
	exclusive bool // nothing else may run beside it
	estimate  time.Duration
	do        func(ctx context.Context, note func(string)) (reused bool, err error)
}

// execute runs the steps, each once those that it needs have succeeded, as many
// at once as may. The first error keeps further steps from beginning and stops
// those that run; it is returned when all have ended.
func execute(outer context.Context, steps []step, now func() time.Time, tell func(Event)) error {
	ctx, cancel := context.WithCancelCause(outer)
	defer cancel(nil)
	byName := map[string]*step{}
	for i := range steps {
		if byName[steps[i].name] != nil {
			return fmt.Errorf("step %q stands twice in the graph", steps[i].name)
		}
		byName[steps[i].name] = &steps[i]
	}
	for _, s := range steps {
		for _, n := range s.needs {
			if byName[n] == nil {
				return fmt.Errorf("step %q needs %q, which is not in the graph", s.name, n)
			}
		}
	}

	type ended struct {
		name string
		err  error
	}
	var (
		done      = map[string]bool{}
		running   = map[string]*step{}
		begun     = map[string]bool{}
		results   = make(chan ended)
		firstErr  error
		exclusive = func() bool {
			for _, s := range running {
				if s.exclusive {
					return true
				}
			}
			return false
		}
	)
	start := func(s *step) {
		begun[s.name], running[s.name] = true, s
		began := now()
		tell(Event{At: began, Step: s.name, Kind: Started, Estimate: s.estimate})
		go func() {
			reused, err := s.do(ctx, func(note string) {
				tell(Event{At: now(), Step: s.name, Kind: Noted, Note: note})
			})
			e := Event{At: now(), Step: s.name, Kind: Finished, Took: now().Sub(began)}
			switch {
			case err != nil && outer.Err() != nil:
				e.Kind, e.Note = Failed, "stopped from outside"
			case err != nil && ctx.Err() != nil:
				e.Kind, e.Note = Failed, "another step has decided"
			case err != nil:
				e.Kind, e.Note = Failed, err.Error()
			case reused:
				e.Kind = Reused
			}
			tell(e)
			results <- ended{s.name, err}
		}()
	}
	for _, s := range steps {
		tell(Event{At: now(), Step: s.name, Kind: Planned, Estimate: s.estimate})
	}
	for {
		if firstErr == nil && ctx.Err() == nil {
			for _, s := range startable(steps, done, begun) {
				if exclusive() || s.exclusive && len(running) > 0 {
					continue
				}
				start(s)
			}
		}
		if len(running) == 0 {
			break
		}
		e := <-results
		delete(running, e.name)
		if e.err == nil {
			done[e.name] = true
			continue
		}
		if firstErr == nil {
			firstErr = e.err
			cancel(e.err)
		}
	}
	for _, s := range steps {
		if !begun[s.name] {
			tell(Event{At: now(), Step: s.name, Kind: Skipped})
		}
	}
	if firstErr == nil && len(done) < len(steps) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("the graph has a circle: %d of %d steps could begin", len(done), len(steps))
	}
	return firstErr
}

// startable are the steps whose needs are done, exclusive ones last: what can
// overlap goes first.
func startable(steps []step, done, begun map[string]bool) []*step {
	var out []*step
	for i := range steps {
		s := &steps[i]
		if begun[s.name] {
			continue
		}
		ready := true
		for _, n := range s.needs {
			ready = ready && done[n]
		}
		if ready {
			out = append(out, s)
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return !out[i].exclusive && out[j].exclusive })
	return out
}
