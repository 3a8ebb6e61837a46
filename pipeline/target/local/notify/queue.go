package notify

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/smartcloudops/gate/pipeline/target/local/durable"
)

// queued is a message on its way to one route.
type queued struct {
	Route   string  `json:"route"`
	Message Message `json:"message"`

	file string
}

func (n *Notifier) queueDir() string { return filepath.Join(n.opt.Dir, "queue") }

// put writes the message for the route. The same one for the same route is there
// once.
func (n *Notifier) put(route string, m Message) error {
	if n.taken(route, m.ID) {
		return nil
	}
	b, err := json.Marshal(queued{Route: route, Message: m})
	if err != nil {
		return fmt.Errorf("alert %s: %w", m.Alert, err)
	}
	for _, q := range n.waiting() {
		if q.Route == route && q.Message.ID == m.ID {
			return nil
		}
	}
	// By time and then in the order of a alert's life: it fires before it ends.
	name := fmt.Sprintf("%020d-%s-%s.json", m.Raised.UnixNano(), route, m.ID)
	return durable.Replace(filepath.Join(n.queueDir(), name), b, 0o600)
}

// waiting are the messages that nobody has taken yet, oldest first. What can't be
// read is put aside, where it holds up nothing.
func (n *Notifier) waiting() []queued {
	names, err := os.ReadDir(n.queueDir())
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			n.opt.Log.Error("alerts that wait can't be read", "error", err)
		}
		return nil
	}
	var all []queued
	for _, e := range names {
		if !strings.HasSuffix(e.Name(), ".json") || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		file := filepath.Join(n.queueDir(), e.Name())
		b, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		q := queued{file: file}
		if err == nil {
			err = json.Unmarshal(b, &q)
		}
		if err != nil {
			n.opt.Log.Error("an alert that waits can't be read and is put aside", "file", file, "error", err)
			_ = os.Rename(file, file+".bad")
			continue
		}
		all = append(all, q)
	}
	slices.SortStableFunc(all, func(a, b queued) int { return strings.Compare(a.file, b.file) })
	return all
}
