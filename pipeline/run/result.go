// Package run is the pipeline as one command: it takes the commit that is
// checked out through build, measurement and decision into an environment, and
// measures nothing that is already known.
package run

import (
	"encoding/json"
	"time"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/promotion"
)

// EventKind says what happened to a step.
type EventKind string

// Kinds of events.
const (
	Planned  EventKind = "planned" // it stands in the graph
	Started  EventKind = "started"
	Noted    EventKind = "noted" // something to show meanwhile
	Reused   EventKind = "reused"
	Finished EventKind = "finished"
	Failed   EventKind = "failed"
	Skipped  EventKind = "skipped" // not begun, since an earlier step has decided
)

// Event is one thing that people watching a run want to know.
type Event struct {
	At       time.Time     `json:"at"`
	Step     string        `json:"step"` // "build", "check load", "deploy staging", …
	Kind     EventKind     `json:"kind"`
	Note     string        `json:"note,omitempty"`
	Estimate time.Duration `json:"estimate,omitempty"` // with Planned and Started: about how long it takes; 0: unknown
	Took     time.Duration `json:"took,omitempty"`     // with Finished and Failed
}

// Result is what a run came to.
type Result struct {
	App         string                     `json:"app"`
	Release     string                     `json:"release,omitempty"` // empty: it did not build
	Commit      string                     `json:"commit"`
	Subject     string                     `json:"subject"`
	Dirty       bool                       `json:"dirty,omitempty"`
	Through     string                     `json:"through"`
	Started     time.Time                  `json:"started"`
	Finished    time.Time                  `json:"finished"`
	Exit        int                        `json:"exit"`
	Summary     string                     `json:"summary"`        // one line
	Next        string                     `json:"next,omitempty"` // what to do now
	Steps       []Step                     `json:"steps"`
	Decisions   []promotion.DecisionRecord `json:"-"` // the last one is what the run stands on
	Evidence    []Measured                 `json:"evidence"`
	Promotions  []promotion.Transition     `json:"promotions"` // how each ended
	Environment []Serving                  `json:"environments"`
	Findings    []checks.Finding           `json:"findings,omitempty"` // of the build
}

// Step is one step of the run. In JSON, times are seconds.
type Step struct {
	Name   string
	State  EventKind
	Offset time.Duration // from the run's start
	Took   time.Duration
	Note   string
}

// MarshalJSON names the unit.
func (s Step) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]any{
		"name": s.Name, "state": s.State, "offset_seconds": s.Offset.Seconds(), "took_seconds": s.Took.Seconds(), "note": s.Note,
	})
}

// Measured is evidence that the run stands on.
type Measured struct {
	Digest   string          `json:"digest"`
	Reused   bool            `json:"reused"`
	Runs     int             `json:"runs"` // of the key, this one included
	Evidence checks.Evidence `json:"evidence"`
}

// Serving is what an environment serves at the end of the run.
type Serving struct {
	Name    string `json:"name"`
	URL     string `json:"url"`
	Release string `json:"release"`
	CA      string `json:"ca,omitempty"` // file with the authority to verify it with
}
