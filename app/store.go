package app

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrUnavailable: the store could not do it now; the same call may succeed
// later and is safe to repeat.
var ErrUnavailable = errors.New("store is unavailable")

// Store keeps samples.
type Store interface {
	// Append stores a batch whole and returns once it is durable. A sample that
	// is there already stays as it is. Errors wrap ErrUnavailable where a repeat
	// may help.
	Append(ctx context.Context, b Batch) error
	// Select returns the samples that q asks for, by time, then source, then
	// metric. Precondition: q.Validate returned nil.
	Select(ctx context.Context, q Query) ([]Sample, error)
	// Ready returns nil if the store can serve this release, else a
	// *NotReadyError.
	Ready(ctx context.Context) error
}

// NotReadyError says why a store cannot serve. Reason may be shown to anyone;
// Err is for the log.
type NotReadyError struct {
	Reason string
	Err    error
}

func (e *NotReadyError) Error() string {
	if e.Err == nil {
		return e.Reason
	}
	return e.Reason + ": " + e.Err.Error()
}

func (e *NotReadyError) Unwrap() error { return e.Err }

// Query asks for samples. Empty fields do not restrict.
type Query struct {
	Source string
	Metric string
	From   time.Time // inclusive
	To     time.Time // exclusive
	Limit  int       // at least 1
}

// Validate returns an *InvalidError if q is not acceptable. limit is the
// highest q.Limit allowed.
func (q Query) Validate(limit int) error {
	if why := badName(q.Source); q.Source != "" && why != "" {
		return &InvalidError{"source", why}
	}
	if why := badName(q.Metric); q.Metric != "" && why != "" {
		return &InvalidError{"metric", why}
	}
	if why := badTime(q.From); !q.From.IsZero() && why != "" {
		return &InvalidError{"from", why}
	}
	if why := badTime(q.To); !q.To.IsZero() && why != "" {
		return &InvalidError{"to", why}
	}
	if !q.From.IsZero() && !q.To.IsZero() && !q.From.Before(q.To) {
		return &InvalidError{"to", "must be after from"}
	}
	if q.Limit < 1 || q.Limit > limit {
		return &InvalidError{"limit", fmt.Sprintf("must be from 1 to %d", limit)}
	}
	return nil
}
