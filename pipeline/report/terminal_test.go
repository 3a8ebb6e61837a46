package report

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openTerminal opens a real terminal. The function reads what has been written
// to it until the text has come.
func openTerminal(t *testing.T, width, height uint16) (*os.File, func(until string) string) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("THIS MACHINE HAS NO TERMINALS, so nothing is shown on one: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: height, Col: width}); err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	var mu sync.Mutex
	var all strings.Builder
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			select {
			case <-stop:
				return
			default:
			}
			ready := []unix.PollFd{{Fd: int32(master.Fd()), Events: unix.POLLIN}}
			if n, err := unix.Poll(ready, 20); err != nil || n < 1 {
				continue
			}
			n, err := master.Read(buf)
			if err != nil {
				return
			}
			mu.Lock()
			all.Write(buf[:n])
			mu.Unlock()
		}
	}()
	t.Cleanup(func() { close(stop); <-done })
	return slave, func(until string) string {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			mu.Lock()
			got := all.String()
			mu.Unlock()
			if strings.Contains(got, until) {
				return got
			}
			if time.Now().After(deadline) {
				t.Fatalf("%q never came: %q", until, got)
			}
		}
	}
}

// screen is a terminal that understands as much as Live uses. Lines that are
// longer than it is wide are broken, as on a real one.
type screen struct {
	mu     sync.Mutex
	width  int
	rows   []string
	cursor int
	writes []string
	bad    []string
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes = append(s.writes, string(b))
	for rest := string(b); rest != ""; {
		var n int
		switch {
		case strings.HasPrefix(rest, "\r"):
			rest = rest[1:]
		case strings.HasPrefix(rest, "\x1b[J"):
			s.rows, rest = s.rows[:s.cursor], rest[3:]
		case strings.HasPrefix(rest, "\x1b["):
			if _, err := fmt.Sscanf(rest, "\x1b[%dA", &n); err != nil || n > s.cursor {
				s.bad = append(s.bad, fmt.Sprintf("%.8q at row %d", rest, s.cursor))
			}
			s.cursor = max(s.cursor-n, 0)
			rest = rest[strings.IndexByte(rest, 'A')+1:]
		default:
			line, after, ok := strings.Cut(rest, "\n")
			if !ok || strings.ContainsAny(line, "\x1b\r\t") {
				s.bad = append(s.bad, fmt.Sprintf("%q", line))
			}
			r := []rune(line)
			for {
				k := min(len(r), s.width)
				s.rows = append(s.rows[:s.cursor], string(r[:k]))
				s.cursor++
				if r = r[k:]; len(r) == 0 {
					break
				}
			}
			rest = after
		}
	}
	return len(b), nil
}

// resize breaks the lines anew, as terminals do.
func (s *screen) resize(width int) {
	rows := s.rows
	s.width, s.rows, s.cursor = width, nil, 0
	_, _ = s.Write([]byte(strings.Join(rows, "\n") + "\n"))
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.rows, "\n")
}
