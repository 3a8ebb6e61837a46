package runner

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
)

// masks are texts that may appear nowhere, by who they belong to.
type masks struct {
	mu  sync.Mutex
	all map[string]string
}

// shortest is what a text needs to be looked for: one that is shorter is found
// everywhere.
const shortest = 6

// hide makes masks of all secrets that were ever given: no job may show those
// of another one either.
func (r *Runner) hide(given map[string]string) *masks {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, value := range given {
		for line := range strings.Lines(value) {
			if line = strings.TrimSpace(line); len(line) >= shortest && !strings.HasPrefix(line, "-----") {
				r.secrets[line] = name
			}
		}
	}
	return &masks{all: copied(r.secrets)}
}

// found is the name of a secret that is in s, "" for none.
func (m *masks) found(s string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	for value, name := range m.all {
		if strings.Contains(s, value) {
			return name
		}
	}
	return ""
}

func (m *masks) add(value string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all[value] = ""
}

// apply is s as GitHub shows it. told hears of secrets; what a step itself has
// asked to mask is none.
func (m *masks) apply(s string, told func(string)) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	for value, name := range m.all {
		if strings.Contains(s, value) {
			if name != "" {
				told(name)
			}
			s = strings.ReplaceAll(s, value, "***")
		}
	}
	return s
}

// log is what a step says. It carries out GitHub's commands in it.
type log struct {
	masks   *masks
	told    func(secret string)
	errors  []string
	err     error // a command that is not known
	mu      sync.Mutex
	part    bytes.Buffer // of a line
	out     strings.Builder
	stopped string // commands are off until this is said
}

func newLog(m *masks, told func(string)) *log { return &log{masks: m, told: told} }

// maxLog ends a log that is too long for anybody.
const maxLog = 4 << 20

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.part.Write(b)
	for {
		line, err := l.part.ReadString('\n')
		if err != nil {
			l.part.Reset()
			l.part.WriteString(line)
			return len(b), nil
		}
		l.line(strings.TrimRight(line, "\r\n"))
	}
}

func (l *log) line(s string) {
	if l.out.Len() > maxLog {
		return
	}
	if l.command(strings.TrimSpace(s)) {
		return
	}
	l.out.WriteString(l.masks.apply(s, l.told) + "\n")
}

// command carries out ::name properties::value, and says whether nothing is to
// be shown of it.
func (l *log) command(s string) bool {
	rest, ok := strings.CutPrefix(s, "::")
	if !ok {
		return false
	}
	head, value, ok := strings.Cut(rest, "::")
	if !ok {
		return false
	}
	if l.stopped != "" {
		if head == l.stopped {
			l.stopped = ""
		}
		return false
	}
	name, _, _ := strings.Cut(head, " ")
	switch name {
	case "add-mask":
		if len(value) >= shortest {
			l.masks.add(value)
		}
		return true
	case "error":
		l.errors = append(l.errors, l.masks.apply(value, l.told))
	case "stop-commands":
		l.stopped = value
	case "warning", "notice", "group", "endgroup", "debug":
	default:
		l.err = unknownf("the workflow command %q", name)
	}
	return false
}

// say adds a line of the runner's own.
func (l *log) say(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out.WriteString(l.masks.apply(fmt.Sprintf(format, args...), l.told) + "\n")
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.part.Len() > 0 {
		last := l.part.String()
		l.part.Reset()
		l.line(last)
	}
	return l.out.String()
}
