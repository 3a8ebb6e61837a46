package local

import (
	"encoding/json"
	"errors"
	"io/fs"
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
