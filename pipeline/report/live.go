package report

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/smartcloudops/gate/pipeline/run"
)

const nameWidth = 28 // the names of steps, "check update production"

// Live shows a run as it goes: on a terminal what runs now, for how long, and
// about how much is left; in a pipe one plain line an event.
//
// On a terminal only its own goroutine writes: one that stands still, as after
// Ctrl-S, must not hold up what is being measured.
type Live struct {
	w     io.Writer
	size  func() (width, height int) // nil: w is no terminal
	now   func() time.Time
	quiet bool

	mu      sync.Mutex
	running []*liveStep
	ahead   []*liveStep // planned and not begun
	stays   []string    // lines that the next drawing leaves on the screen
	drawn   []int       // widths of the lines that it takes away
	closed  bool

	once sync.Once
	wake chan struct{}
	stop chan struct{}
	done chan struct{}
}

// logEvery is how often a log is told of one long step.
const logEvery = 10 * time.Second

type liveStep struct {
	name     string
	since    time.Time
	estimate time.Duration // 0: unknown
	note     string
	said     time.Time // when a log was last told of it
}

// NewLive shows on w until Close. With quiet only failures are shown, as for a
// program that reads the result.
func NewLive(w io.Writer, quiet bool) *Live {
	if _, _, ok := terminalSize(w); !ok || quiet || os.Getenv("TERM") == "dumb" {
		return newLive(w, quiet, nil, time.Now, nil)
	}
	size := func() (int, int) {
		width, height, _ := terminalSize(w)
		return width, height
	}
	return newLive(w, quiet, size, time.Now, time.NewTicker(200*time.Millisecond).C)
}

// newLive draws on what has a size, whenever something is told and whenever
// ticks says so.
func newLive(w io.Writer, quiet bool, size func() (int, int), now func() time.Time, ticks <-chan time.Time) *Live {
	l := &Live{w: w, size: size, now: now, quiet: quiet, wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	if size == nil {
		close(l.done)
		return l
	}
	go l.redraw(ticks)
	return l
}

func (l *Live) redraw(ticks <-chan time.Time) {
	defer close(l.done)
	for {
		select {
		case <-l.stop:
			return
		case <-ticks:
		case <-l.wake:
		}
		l.show()
	}
}

// Tell takes one event. It may be called concurrently.
func (l *Live) Tell(e run.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := l.take(e)
	if l.quiet && e.Kind != run.Failed {
		return
	}
	if !l.terminal() {
		if line != "" {
			// Nothing can be done about a reader that has gone; the run goes on.
			_, _ = io.WriteString(l.w, line+"\n")
		}
		return
	}
	if line != "" {
		l.stays = append(l.stays, line)
	}
	select {
	case l.wake <- struct{}{}:
	default: // it will draw anyway
	}
}

// Say is Tell for something that is no step of a run.
func (l *Live) Say(step, note string) {
	l.Tell(run.Event{At: l.now(), Step: step, Kind: run.Noted, Note: note})
}

// Close takes away what is drawn, and ends the drawing. What is told afterwards
// is written as into a pipe.
func (l *Live) Close() {
	l.once.Do(func() {
		close(l.stop)
		<-l.done
		if l.size != nil {
			l.mu.Lock()
			l.running, l.ahead = nil, nil
			l.mu.Unlock()
			l.show()
		}
		l.mu.Lock()
		l.closed = true
		l.mu.Unlock()
	})
}

// show replaces what is drawn by the lines that stay and by what runs now. It
// writes once, so that nothing flickers, and not under the lock. One goroutine
// calls it at a time.
func (l *Live) show() {
	var b strings.Builder
	l.mu.Lock()
	l.erase(&b)
	for _, line := range l.stays {
		b.WriteString(line + "\n")
	}
	l.stays = nil
	l.draw(&b)
	l.mu.Unlock()
	if b.Len() > 0 {
		_, _ = io.WriteString(l.w, b.String())
	}
}

// terminal says whether lines can be replaced. The caller holds l.mu, as for
// all that follows.
func (l *Live) terminal() bool { return l.size != nil && !l.closed }

// take keeps what an event changes and returns the line that stays: on the
// screen, or in the pipe.
func (l *Live) take(e run.Event) string {
	switch e.Kind {
	case run.Planned:
		l.ahead = append(l.ahead, &liveStep{name: e.Step, estimate: e.Estimate})
	case run.Started:
		remove(&l.ahead, e.Step)
		l.running = append(l.running, &liveStep{name: e.Step, since: e.At, estimate: e.Estimate})
		switch {
		case l.terminal():
			return ""
		case e.Estimate > 0:
			return entry(e.Step, "started, about "+seconds(e.Estimate.Round(time.Second)))
		}
		return entry(e.Step, "started")
	case run.Noted:
		for _, s := range l.running {
			if s.name != e.Step {
				continue
			}
			if l.terminal() {
				s.note = e.Note
				return ""
			}
			// What measures for long says something every second: enough for a
			// screen, too much for a log.
			if s.estimate > 0 && e.At.Sub(s.said) < logEvery {
				return ""
			}
			s.said = e.At
		}
		return entry(e.Step, e.Note)
	case run.Reused, run.Finished:
		word := "done in " + seconds(e.Took)
		if e.Kind == run.Reused {
			word = "known already"
		}
		remove(&l.ahead, e.Step)
		if s := remove(&l.running, e.Step); s != nil && s.note != "" {
			word += ": " + s.note
		}
		return entry(e.Step, word)
	case run.Failed:
		remove(&l.running, e.Step)
		return entry(e.Step, "stopped after "+seconds(e.Took)+": "+e.Note)
	case run.Skipped:
		remove(&l.ahead, e.Step)
	}
	return ""
}

func remove(all *[]*liveStep, name string) *liveStep {
	for i, s := range *all {
		if s.name == name {
			*all = append((*all)[:i:i], (*all)[i+1:]...)
			return s
		}
	}
	return nil
}

func entry(step, text string) string {
	step = clean(step)
	return uncommanded(step+strings.Repeat(" ", max(nameWidth-lipgloss.Width(step), 0))+" "+clean(text), `\x3a`, `\x23`)
}

// erase takes the drawn lines away; a terminal that has become narrower since
// has broken them into more.
func (l *Live) erase(b *strings.Builder) {
	width, _ := l.size()
	rows := 0
	for _, w := range l.drawn {
		rows += max(1, (w+width-1)/max(width, 1))
	}
	if rows > 0 {
		fmt.Fprintf(b, "\r\x1b[%dA\x1b[J", rows)
	}
	l.drawn = nil
}

func (l *Live) draw(b *strings.Builder) {
	width, height := l.size()
	now := l.now()
	var lines []string
	for _, s := range l.running {
		lines = append(lines, s.line(now))
	}
	// What the screen can't hold could not be taken away again.
	if room := max(height-2, 1); len(lines) > room {
		lines = append(lines[:room-1:room-1], fmt.Sprintf("and %d more", len(lines)-room+1))
	}
	if rest := l.rest(); rest != "" {
		lines = append(lines, rest)
	}
	for _, line := range lines {
		line = cut(line, width-1)
		b.WriteString(line + "\n")
		l.drawn = append(l.drawn, lipgloss.Width(line))
	}
}

func (s *liveStep) line(now time.Time) string {
	took := max(now.Sub(s.since), 0)
	text := seconds(took.Truncate(time.Second))
	if took < time.Second {
		text = "begun"
	}
	if s.estimate > 0 {
		if left := s.estimate - took; left >= time.Second {
			text += ", about " + seconds(left.Round(time.Second)) + " left"
		} else {
			text += ", longer than the usual " + seconds(s.estimate.Round(time.Second))
		}
	}
	if s.note != "" {
		text += "  " + s.note
	}
	return entry(s.name, text)
}

// rest says what has not begun, and how long that takes as far as it is known.
func (l *Live) rest() string {
	if len(l.ahead) == 0 {
		return ""
	}
	var known time.Duration
	unknown := 0
	for _, s := range l.ahead {
		known += s.estimate
		if s.estimate <= 0 {
			unknown++
		}
	}
	text := plural(len(l.ahead), "step")
	if known > 0 {
		text += ", about " + seconds(known.Round(time.Second))
		if unknown > 0 {
			text += fmt.Sprintf(" and %d of unknown length", unknown)
		}
	}
	return entry("still to begin", text)
}
