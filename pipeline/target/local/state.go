package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/pipeline/target/local/durable"
)

// state is what the daemon must still know after it was killed. It is written
// before the traffic follows it.
type state struct {
	Token  int64 `json:"token"` // highest fencing token seen
	Weight int   `json:"weight"`
	Stable arm   `json:"stable"`
	Canary arm   `json:"canary"`
	// Baseline is as fresh and as large as the canary, and of the stable revision.
	Baseline arm `json:"baseline,omitzero"`
	Warm     arm `json:"warm"`
	// Replacing: the canary is no canary, but what Replace has done until now.
	Replacing bool `json:"replacing,omitempty"`
	// Rehearsing: what is warm is what serves but for a rehearsed rollback.
	Rehearsing bool `json:"rehearsing,omitempty"`
	// Migrated are the releases whose migrations were carried out, the newest last.
	Migrated []migrated `json:"migrated,omitempty"`
	// Secrets are fingerprints of the values that each instance was started with.
	Secrets map[string]string `json:"secrets,omitempty"`
	// Environment is the declaration in force: address, certificate, database.
	Environment *environments.Environment `json:"environment"`
}

// arm is a revision with the instances that serve it.
type arm struct {
	Revision  *target.Revision `json:"revision,omitempty"`
	Instances []string         `json:"instances,omitempty"`
}

func (a arm) id() string {
	if a.Revision == nil {
		return ""
	}
	return a.Revision.ID()
}

func (a arm) release() string {
	if a.Revision == nil {
		return ""
	}
	return a.Revision.Release
}

// arms are all that may have instances.
func (s *state) arms() []arm { return []arm{s.Stable, s.Baseline, s.Canary, s.Warm} }

// instances are those of all arms.
func (s *state) instances() (ids []string) {
	for _, a := range s.arms() {
		ids = append(ids, a.Instances...)
	}
	return ids
}

func (a arm) clone() arm {
	a.Instances = slices.Clone(a.Instances)
	return a
}

func readState(file string) (state, error) {
	var s state
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("read the environment's state: %w", err)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("the environment's state %s is damaged: %w; gate down --reset starts over from the ledger", file, err)
	}
	return s, nil
}

func (s state) write(file string) error {
	b, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return fmt.Errorf("write the environment's state: %w", err)
	}
	return durable.Replace(file, b, 0o600)
}

// undo takes back what a killed daemon was in the middle of, where that is no
// promotion, and says whether there was anything.
func (s *state) undo() bool {
	if !s.Replacing && !s.Rehearsing {
		return false
	}
	// What served before still does, and fill brings back what was replaced
	// already.
	if s.Rehearsing && s.Warm.Revision != nil {
		s.Stable, s.Warm = s.Warm, arm{}
	}
	s.Canary, s.Baseline, s.Weight, s.Replacing, s.Rehearsing = arm{}, arm{}, 0, false, false
	return true
}
