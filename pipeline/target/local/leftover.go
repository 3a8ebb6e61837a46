package local

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
)

// LeftOver says whether an environment without a daemon may have left instances
// or a PostgreSQL running.
func LeftOver(p Paths) bool {
	if _, err := os.Stat(p.dir("postgres", "data", "postmaster.pid")); err == nil {
		return true
	}
	b, err := os.ReadFile(p.instances())
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	var known struct {
		Instances []json.RawMessage `json:"instances"`
	}
	// What can't be read may hide some.
	return err != nil || json.Unmarshal(b, &known) != nil || len(known.Instances) > 0
}

// EndHolder ends what keeps the socket of an environment without a daemon open
// for the next one, and says whether there was anything.
func EndHolder(p Paths) bool {
	k := &grip{folder: p.dir(), log: slog.New(slog.DiscardHandler)}
	return k.clear()
}
