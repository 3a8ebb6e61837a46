package target

import "time"

// Operation is a change that an environment's daemon made by itself, without a
// request: instances added, changed secrets handed over. It never holds a
// secret's value.
type Operation struct {
	Kind string    `json:"kind"`           // of change, one word: Scaling, Rotation
	What string    `json:"what"`           // was changed
	From string    `json:"from,omitempty"` // before
	To   string    `json:"to,omitempty"`   // after
	Why  string    `json:"why"`
	At   time.Time `json:"at"`
}

// Kinds of operations.
const (
	Scaling  = "scaling"
	Rotation = "rotation"
	// Reconciliation brings back what is desired.
	Reconciliation = "reconciliation"
)
