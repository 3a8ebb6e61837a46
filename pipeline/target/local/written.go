package local

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/smartcloudops/gate/pipeline/target"
)

const (
	// writtenAtOnce is how much of a log is read at a time, so that one that grows
	// quickly does not keep the daemon busy.
	writtenAtOnce = 8 << 20
	// writtenLine is the longest line that is looked at.
	writtenLine = 1 << 20
)

// logCounts count lines in the logs of instances, each line once.
type logCounts struct {
	mu   sync.Mutex
	byID map[string]*logCount
}

// logCount is how far an instance's logs were read, joined as they were written:
// when one gets too big its beginning is moved to a file before it.
type logCount struct {
	ended map[string]int64 // files that are no longer written to → size
	at    int64            // read so far
	rest  []byte           // a line that has not ended yet

	lines, errors int64
}

// of is what the instance has written so far; files lists its logs, oldest first.
func (l *logCounts) of(id string, files func() ([]string, error)) (logCount, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byID == nil {
		l.byID = map[string]*logCount{}
	}
	c := l.byID[id]
	if c == nil {
		c = &logCount{ended: map[string]int64{}}
		l.byID[id] = c
	}
	err := c.read(files)
	return *c, err
}

// keep forgets instances that are none of these.
func (l *logCounts) keep(all []target.Usage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range l.byID {
		if !slices.ContainsFunc(all, func(u target.Usage) bool { return u.Instance == id }) {
			delete(l.byID, id)
		}
	}
}

// read goes on where it ended. A log that is moved meanwhile is left for later.
func (c *logCount) read(files func() ([]string, error)) error {
	list, err := files()
	if err != nil {
		return err
	}
	sizes := make([]int64, len(list))
	total := int64(0)
	for path, n := range c.ended {
		if !slices.Contains(list, path) {
			total += n // removed: nobody keeps logs for ever
		}
	}
	at := max(c.at, total)
	var text []byte
	for i, path := range list {
		info, err := os.Stat(path)
		if err != nil {
			return ignored(err)
		}
		sizes[i] = info.Size()
		if from := at - total; from < sizes[i] && len(text) < writtenAtOnce {
			b, err := readFrom(path, from, min(sizes[i]-from, int64(writtenAtOnce-len(text))))
			if err != nil {
				return ignored(err)
			}
			text = append(text, b...)
			at += int64(len(b))
		}
		total += sizes[i]
	}
	if again, err := files(); err != nil || !slices.Equal(again, list) {
		return err
	}
	for i, path := range list[:max(0, len(list)-1)] {
		c.ended[path] = sizes[i]
	}
	c.at = min(at, total)
	c.count(text)
	return nil
}

func ignored(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func readFrom(path string, at, n int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.NewSectionReader(f, at, n))
}

func (c *logCount) count(text []byte) {
	text = append(c.rest, text...)
	for {
		line, rest, ended := bytes.Cut(text, []byte("\n"))
		if !ended {
			break
		}
		text = rest
		if level := levelOf(line); level != "" {
			c.lines++
			if grave(level) {
				c.errors++
			}
		}
	}
	c.rest = bytes.Clone(text[max(0, len(text)-writtenLine):])
}

// levelOf is what a line says of its level; empty: nothing.
func levelOf(line []byte) string {
	if !bytes.HasPrefix(line, []byte("{")) || len(line) > writtenLine {
		return ""
	}
	var l struct {
		Level string `json:"level"`
	}
	if json.Unmarshal(line, &l) != nil {
		return ""
	}
	return strings.ToLower(l.Level)
}

func grave(level string) bool {
	for _, l := range []string{"err", "fatal", "crit", "panic", "dpanic", "alert", "emerg"} {
		if strings.HasPrefix(level, l) {
			return true
		}
	}
	return false
}
