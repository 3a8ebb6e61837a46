package promotion

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/smartcloudops/gate/pipeline/target"
)

// crasher ends an engine at one of the moments at which it could be killed: right
// before a record, between a record and its command, right after a command.
type crasher struct {
	passed, at int
	cancel     context.CancelFunc
}

func (c *crasher) point() {
	if c.passed++; c.passed == c.at {
		c.cancel()
	}
}

// until runs an engine in a process of its own until nothing is left to do, or
// until it was killed at the given moment (0: never). It says how many moments
// it passed.
func until(t *testing.T, dir string, f *fake, at int) (passed int, s *scene) {
	t.Helper()
	return untilIn(t, sceneIn(t, dir, nil), f, at)
}

// untilIn is until in a scene of its own.
func untilIn(t *testing.T, s *scene, f *fake, at int) (int, *scene) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := &crasher{at: at, cancel: cancel}
	e := s.engine("production", f)
	e.Now = func() time.Time { c.point(); return time.Now() }
	f.before = func(string) { c.point() }
	f.after = func(string) { c.point() }
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	eventually(t, "the engine is killed, or has nothing left to do", func() bool {
		if ctx.Err() != nil {
			return true
		}
		v := s.view()
		pending, err := s.journal.Pending(t.Context(), v, "production")
		must(t, err)
		return len(pending) == 0 && v.Environment("production").Active == nil
	})
	cancel()
	must(t, <-ended)
	f.before, f.after = nil, nil
	return c.passed, s
}

func TestCrashAnywhere(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED in short mode: killing the engine at each moment of each kind of promotion takes about 15 s")
	}
	bad := func(f *fake) { f.samples[digest('b')] = [2]int64{3000, 600} }
	ending := func(f *fake) { f.crashing[digest('b')] = true }
	unready := func(f *fake) { f.fail["complete"] = target.ErrNotReady }
	none := func(*fake) {}
	for _, c := range []struct {
		name    string
		serving byte // before; 0: nothing
		ask     byte
		back    bool
		set     func(*fake)
		may     []string // what may serve in the end
		never   string   // what must not have served, not for a moment
	}{
		{"a first release", 0, 'a', false, none, []string{"", digest('a')}, ""},
		{"a good release", 'a', 'b', false, none, []string{digest('a'), digest('b')}, ""},
		{"a canary that fails", 'a', 'b', false, bad, []string{digest('a')}, digest('b')},
		{"a release that is never ready", 'a', 'b', false, unready, []string{digest('a')}, digest('b')},
		{"a release that ends when watched", 'a', 'b', false, ending, []string{digest('a')}, ""},
		{"a rollback", 'b', 'a', true, none, []string{digest('a')}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			template := filepath.Join(t.TempDir(), "state")
			s := &stage{scene: sceneIn(t, template, nil), target: newFake("production")}
			s.release(releaseRecord('a'))
			if c.back {
				s.serves('a')
				rev := releaseRecord('b').Revision("production")
				s.target.serve(&rev)
				record := s.release(releaseRecord('b'))
				_, err := s.journal.Record(t.Context(), Transition{Request: "second", Environment: "production", Record: record, Release: rev.Release, Step: End, State: Succeeded})
				must(t, err)
			} else if c.serving != 0 {
				s.serves(c.serving)
				s.release(releaseRecord('b'))
			}
			request := s.ask("production", c.ask, func(r *Request) { r.Rollback = c.back })
			started := len(s.target.served())

			for at := 1; ; at++ {
				dir := filepath.Join(t.TempDir(), fmt.Sprint("killed-at-", at))
				copyFolder(t, template, dir)
				f := s.target.clone()
				c.set(f)
				passed, _ := until(t, dir, f, at)
				// Bad luck does not come alone: what cleans up is killed as well.
				if at%3 == 0 {
					until(t, dir, f, 1+at%5)
				}
				_, last := until(t, dir, f, 0)

				world := &stage{scene: last, target: f}
				serving := released(f.stable)
				if !slices.Contains(c.may, serving) {
					t.Errorf("killed at %d, %.19s serves", at, serving)
				}
				world.sound(serving)
				end := last.view().Environment("production").Consumed[request]
				if end == nil || (end.State == Succeeded) != (serving == digest(c.ask)) {
					t.Errorf("killed at %d: %.19s serves, and the request ended as %+v", at, serving, end)
				}
				if c.back && (end == nil || end.State != Succeeded) {
					t.Errorf("killed at %d: the rollback ended as %+v", at, end)
				}
				seen := map[string]int{}
				for _, r := range f.served()[started:] {
					if seen[r]++; seen[r] > 1 {
						t.Errorf("killed at %d, the traffic went to and fro: %.15v", at, f.served())
					}
					if r == c.never {
						t.Errorf("killed at %d, %.19s had the traffic", at, r)
					}
				}
				if n := f.migrated[digest(c.ask)]; n > 1 {
					t.Errorf("killed at %d, the schema was migrated %d times", at, n)
				}
				if t.Failed() {
					t.Fatalf("commands: %v", f.ops())
				}
				if passed < at {
					if passed < 4 {
						t.Errorf("only %d moments were tried", passed)
					}
					return
				}
			}
		})
	}
}
