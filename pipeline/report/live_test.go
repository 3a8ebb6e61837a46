package report

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/smartcloudops/gate/pipeline/run"
)

// stage is a Live on a screen, with a clock that stands until it is moved.
type stage struct {
	*Live
	screen *screen
	ticks  chan time.Time
	height int

	mu sync.Mutex
	at time.Time
}

func onStage(t *testing.T, width, height int) *stage {
	s := &stage{screen: &screen{width: width}, ticks: make(chan time.Time), height: height, at: epoch}
	s.Live = newLive(s.screen, false, func() (int, int) { return s.screen.width, s.height }, s.now, s.ticks)
	t.Cleanup(func() {
		s.Close()
		if len(s.screen.bad) > 0 {
			t.Errorf("the screen was sent %s", s.screen.bad)
		}
	})
	return s
}

func (s *stage) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}

// pass moves the clock and has the screen drawn: once the second tick is taken,
// the drawing of the first has ended.
func (s *stage) pass(d time.Duration) {
	s.mu.Lock()
	s.at = s.at.Add(d)
	s.mu.Unlock()
	s.ticks <- s.at
	s.ticks <- s.at
}

func (s *stage) tell(step string, kind run.EventKind, change ...func(*run.Event)) {
	e := run.Event{At: s.now(), Step: step, Kind: kind}
	for _, c := range change {
		c(&e)
	}
	s.Tell(e)
}

func note(s string) func(*run.Event)            { return func(e *run.Event) { e.Note = s } }
func estimate(d time.Duration) func(*run.Event) { return func(e *run.Event) { e.Estimate = d } }
func took(d time.Duration) func(*run.Event)     { return func(e *run.Event) { e.Took = d } }

func (s *stage) shows(t *testing.T, want ...string) {
	t.Helper()
	if d := cmp.Diff(strings.Join(want, "\n"), s.screen.String()); d != "" {
		t.Errorf("screen (-want +got):\n%s", d)
	}
}

func TestLiveOnATerminal(t *testing.T) {
	s := onStage(t, 100, 24)
	for step, d := range map[string]time.Duration{"build": 0, "check tests": 30 * time.Second, "check load staging": 100 * time.Second, "decide staging": 0} {
		s.tell(step, planned, estimate(d))
	}
	s.shows(t, "still to begin               4 steps, about 2 min 10 s and 2 of unknown length")
	s.tell("build", run.Started)
	s.tell("check tests", run.Started, estimate(30*time.Second))
	s.shows(t,
		"build                        begun",
		"check tests                  begun, about 30.0 s left",
		"still to begin               2 steps, about 1 min 40 s and 1 of unknown length")
	s.tell("build", run.Noted, note("building ./app\x1b[2J\nfor linux/amd64"))
	s.pass(12 * time.Second)
	s.shows(t,
		`build                        12.0 s  building ./app\x1b[2J for linux/amd64`,
		"check tests                  12.0 s, about 18.0 s left",
		"still to begin               2 steps, about 1 min 40 s and 1 of unknown length")
	s.tell("build", run.Finished, took(12*time.Second))
	s.pass(29 * time.Second)
	s.shows(t,
		`build                        done in 12.0 s: building ./app\x1b[2J for linux/amd64`,
		"check tests                  41.0 s, longer than the usual 30.0 s",
		"still to begin               2 steps, about 1 min 40 s and 1 of unknown length")
	s.tell("check tests", run.Failed, took(41*time.Second), note("check tests: signal: killed"))
	s.tell("check load staging", run.Skipped)
	s.tell("decide staging", run.Skipped)
	kept := []string{
		`build                        done in 12.0 s: building ./app\x1b[2J for linux/amd64`,
		"check tests                  stopped after 41.0 s: check tests: signal: killed",
	}
	s.shows(t, kept...)
	s.tell("check scan", run.Started)
	s.Close()
	s.shows(t, kept...)
	s.Say("report", "written")
	s.shows(t, append(kept, "report                       written")...)
	s.Close()
}

func TestLiveStepThatWasKnown(t *testing.T) {
	s := onStage(t, 80, 24)
	s.tell("check scan", planned, estimate(20*time.Second))
	s.tell("check scan", run.Started, estimate(20*time.Second))
	s.tell("check scan", run.Reused, took(time.Millisecond))
	s.shows(t, "check scan                   known already")
}

// TestLiveFitsTheScreen: a line that breaks, or more lines than the screen has,
// could not be taken away again.
func TestLiveFitsTheScreen(t *testing.T) {
	s := onStage(t, 60, 6)
	for i := range 9 {
		name := fmt.Sprintf("check %d", i)
		s.tell(name, run.Started)
		s.tell(name, run.Noted, note(strings.Repeat("世界 very long ", 20)))
	}
	s.tell("decide", planned)
	s.pass(time.Second)
	rows := strings.Split(s.screen.String(), "\n")
	if len(rows) != 5 || !strings.HasPrefix(rows[3], "and 6 more") || !strings.HasPrefix(rows[4], "still to begin") {
		t.Errorf("%d rows on a screen of 6:\n%s", len(rows), s.screen)
	}
	s.screen.resize(25)
	s.pass(time.Second)
	s.screen.resize(60)
	s.pass(time.Second)
	s.Close()
	s.shows(t, "")
}

func TestLiveWritesOnceForEachDrawing(t *testing.T) {
	s := onStage(t, 80, 24)
	s.tell("build", run.Started)
	before := s.screen.writes
	s.pass(time.Second)
	if n := s.screen.writes - before; n > 2 {
		t.Errorf("%d writes for two drawings: it flickers", n)
	}
}

func events() []run.Event {
	return []run.Event{
		{At: epoch, Step: "build", Kind: planned, Estimate: time.Second},
		{At: epoch, Step: "build", Kind: run.Started},
		{At: epoch, Step: "build", Kind: run.Noted, Note: "building\n./app"},
		{At: epoch, Step: "build", Kind: run.Finished, Took: 4200 * time.Millisecond},
		{At: epoch, Step: "check scan", Kind: run.Started, Estimate: 20 * time.Second},
		{At: epoch, Step: "check scan", Kind: run.Reused, Took: time.Millisecond},
		{At: epoch, Step: "check load staging", Kind: run.Started, Estimate: 100 * time.Second},
		{At: epoch, Step: "check load staging", Kind: run.Failed, Took: 61 * time.Second, Note: "check load: connection refused\nand more"},
		{At: epoch, Step: "decide staging", Kind: run.Skipped},
	}
}

func TestLiveInAPipe(t *testing.T) {
	var b bytes.Buffer
	l := NewLive(&b, false)
	for _, e := range events() {
		l.Tell(e)
	}
	l.Say("promote to production", "canary")
	l.Close()
	l.Close()
	golden(t, "live-pipe", b.Bytes())
}

func TestLiveQuietSaysFailuresAlone(t *testing.T) {
	var b bytes.Buffer
	l := NewLive(&b, true)
	for _, e := range events() {
		l.Tell(e)
	}
	l.Close()
	if want := "check load staging           stopped after 1 min 1 s: check load: connection refused and more\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

func TestLiveOnARealTerminal(t *testing.T) {
	t.Setenv("TERM", "xterm")
	terminal, read := openTerminal(t, 90, 20)
	l := NewLive(terminal, false)
	var steps sync.WaitGroup
	for i := range 4 {
		steps.Go(func() {
			name := fmt.Sprintf("check %d", i)
			l.Tell(run.Event{At: time.Now(), Step: name, Kind: run.Started, Estimate: time.Minute})
			for n := range 50 {
				l.Tell(run.Event{At: time.Now(), Step: name, Kind: run.Noted, Note: fmt.Sprint(n)})
			}
		})
	}
	steps.Wait()
	read("\x1b[4A\x1b[J") // a drawing of all four was replaced
	l.Close()
	l.Say("end", "reached")
	read("end                          reached")

	t.Setenv("TERM", "dumb")
	dumb := NewLive(terminal, false)
	dumb.Tell(run.Event{At: epoch, Step: "build", Kind: run.Started})
	dumb.Close()
	read("build                        started")
}
