package report

import (
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/smartcloudops/gate/pipeline/run"
)

// Live shows a run as it goes: on a terminal what runs now, for how long, and
// about how much is left; in a pipe one plain line an event.
type Live struct {
	w     io.Writer
	width func() int // 0: not a terminal
	now   func() time.Time
	quiet bool

	mu      sync.Mutex
	running map[string]*liveStep
	drawn   int // lines on the screen that the next drawing replaces
	stop    chan struct{}
	done    chan struct{}
}

type liveStep struct {
	since    time.Time
	estimate time.Duration
	note     string
}

// NewLive shows on w. With quiet only failures are shown, as for a program that
// reads the result.
func NewLive(w io.Writer, quiet bool) *Live {
	l := &Live{w: w, now: time.Now, quiet: quiet, width: func() int { return 0 }, running: map[string]*liveStep{}}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) && !quiet {
		l.width = func() int {
			if n, _, err := term.GetSize(int(f.Fd())); err == nil && n > 20 {
				return n
			}
			return 80
		}
		l.stop, l.done = make(chan struct{}), make(chan struct{})
		go l.tick()
	}
	return l
}

func (l *Live) tick() {
	defer close(l.done)
	t := time.NewTicker(200 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-t.C:
			l.mu.Lock()
			l.erase()
			l.draw()
			l.mu.Unlock()
		}
	}
}

// Tell takes one event. It may be called concurrently.
func (l *Live) Tell(e run.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch e.Kind {
	case run.Started:
		l.running[e.Step] = &liveStep{since: e.At, estimate: e.Estimate}
	case run.Noted:
		if s := l.running[e.Step]; s != nil {
			s.note = e.Note
		}
	}
	if line := l.line(e); line != "" && (!l.quiet || e.Kind == run.Failed) {
		l.erase()
		fmt.Fprintln(l.w, line)
		l.draw()
	}
}

// Say is Tell for something that is no step of a run.
func (l *Live) Say(step, note string) {
	l.Tell(run.Event{At: l.now(), Step: step, Kind: run.Noted, Note: note})
}

// line is what stays on the screen, or goes into the pipe, for an event.
func (l *Live) line(e run.Event) string {
	terminal := l.width() > 0
	s := l.running[e.Step]
	switch e.Kind {
	case run.Started:
		if terminal {
			return ""
		}
		if e.Estimate > 0 {
			return fmt.Sprintf("%-28s started, about %s", e.Step, seconds(e.Estimate.Round(time.Second)))
		}
		return fmt.Sprintf("%-28s started", e.Step)
	case run.Noted:
		if terminal && s != nil {
			return ""
		}
		return fmt.Sprintf("%-28s %s", e.Step, e.Note)
	case run.Reused, run.Finished:
		delete(l.running, e.Step)
		word := "done in " + seconds(e.Took)
		if e.Kind == run.Reused {
			word = "known already"
		}
		if s != nil && s.note != "" && terminal {
			word += ": " + s.note
		}
		return fmt.Sprintf("%-28s %s", e.Step, word)
	case run.Failed:
		delete(l.running, e.Step)
		return fmt.Sprintf("%-28s stopped after %s: %s", e.Step, seconds(e.Took), e.Note)
	case run.Skipped:
		return ""
	}
	return ""
}

// erase takes the drawn lines away. The caller holds l.mu.
func (l *Live) erase() {
	if l.drawn > 0 {
		fmt.Fprintf(l.w, "\x1b[%dA\x1b[J", l.drawn)
		l.drawn = 0
	}
}

// draw shows what runs now. The caller holds l.mu.
func (l *Live) draw() {
	width := l.width()
	if width == 0 {
		return
	}
	names := make([]string, 0, len(l.running))
	for n := range l.running {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range names {
		s := l.running[n]
		took := l.now().Sub(s.since)
		line := fmt.Sprintf("%-28s %5.0f s", n, took.Seconds())
		if left := s.estimate - took; s.estimate > 0 && left > 0 {
			line += fmt.Sprintf(", about %.0f s left", left.Seconds())
		}
		if s.note != "" {
			line += "  " + s.note
		}
		r := []rune(strings.ReplaceAll(line, "\n", " "))
		fmt.Fprintln(l.w, string(r[:min(len(r), width-1)]))
		l.drawn++
	}
}

// Close ends the showing.
func (l *Live) Close() {
	if l.stop != nil {
		close(l.stop)
		<-l.done
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.erase()
}
