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

	mu     sync.Mutex
	at     time.Time
	narrow int // width that the next drawing finds
}

func onStage(t *testing.T, width, height int) *stage {
	s := &stage{screen: &screen{width: width}, ticks: make(chan time.Time), height: height, at: epoch}
	s.Live = newLive(s.screen, false, s.size, s.now, s.ticks)
	t.Cleanup(func() {
		s.Close()
		if len(s.screen.bad) > 0 {
			t.Errorf("the screen was sent %s", s.screen.bad)
		}
	})
	return s
}

// size is asked for by who draws: there the screen changes between two drawings.
func (s *stage) size() (int, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.narrow > 0 {
		s.screen.resize(s.narrow)
		s.narrow = 0
	}
	return s.screen.width, s.height
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
	for range 2 {
		select {
		case s.ticks <- epoch:
		case <-s.done:
		}
	}
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
	s.pass(0)
	if d := cmp.Diff(strings.Join(want, "\n"), s.screen.String()); d != "" {
		t.Errorf("screen (-want +got):\n%s", d)
	}
}

func TestLiveOnATerminal(t *testing.T) {
	s := onStage(t, 100, 24)
	for step, d := range map[string]time.Duration{"build": 0, "check tests": 30 * time.Second, "check load staging": 100 * time.Second, "decide staging": 0} {
		s.tell(step, run.Planned, estimate(d))
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
	s.tell("check tls", run.Planned)
	s.Close()
	s.shows(t, kept...)
	s.Say("report", "written")
	s.shows(t, append(kept, "report                       written")...)
	s.Close()
}

func TestLiveStepThatWasKnown(t *testing.T) {
	s := onStage(t, 80, 24)
	s.tell("check scan", run.Planned, estimate(20*time.Second))
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
	s.tell("decide", run.Planned)
	s.pass(time.Second)
	rows := strings.Split(s.screen.String(), "\n")
	if len(rows) != 5 || !strings.HasPrefix(rows[3], "and 6 more") || !strings.HasPrefix(rows[4], "still to begin") {
		t.Errorf("%d rows on a screen of 6:\n%s", len(rows), s.screen)
	}
}

func TestLiveOnATerminalThatBecomesNarrower(t *testing.T) {
	s := onStage(t, 60, 24)
	s.tell("build", run.Started)
	s.tell("build", run.Noted, note(strings.Repeat("very long ", 20)))
	s.tell("check tests", run.Started)
	s.pass(time.Second)
	s.mu.Lock()
	s.narrow = 35
	s.mu.Unlock()
	s.shows(t,
		"build                        1.0 s",
		"check tests                  1.0 s")
}

func TestLiveWritesOnceForEachDrawing(t *testing.T) {
	s := onStage(t, 80, 24)
	s.tell("build", run.Started)
	for range 5 {
		s.pass(time.Second)
	}
	s.Close()
	all := s.screen.writes
	for i, w := range all[:len(all)-1] { // the last one takes all away
		if !strings.HasSuffix(w, "s\n") && i > 1 || i > 0 && !strings.HasPrefix(w, "\r\x1b[1A\x1b[J") {
			t.Errorf("%q is half a drawing: it flickers", w)
		}
	}
}

// stuck is a terminal that takes nothing until it is let go.
type stuck struct {
	let chan struct{}
	b   bytes.Buffer
}

func (s *stuck) Write(b []byte) (int, error) {
	<-s.let
	return s.b.Write(b)
}

func TestLiveDoesNotWaitForATerminalThatStandsStill(t *testing.T) {
	w := &stuck{let: make(chan struct{})}
	l := newLive(w, false, func() (int, int) { return 80, 24 }, time.Now, nil)
	for i := range 100 { // hangs where a terminal holds up the run
		name := fmt.Sprintf("check %d", i)
		l.Tell(run.Event{At: epoch, Step: name, Kind: run.Started})
		l.Tell(run.Event{At: epoch, Step: name, Kind: run.Finished})
	}
	close(w.let)
	l.Close()
	if n := strings.Count(w.b.String(), "done in"); n != 100 {
		t.Errorf("%d of 100 lines were written", n)
	}
}

func events() []run.Event {
	return []run.Event{
		{At: epoch, Step: "build", Kind: run.Planned, Estimate: time.Second},
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
