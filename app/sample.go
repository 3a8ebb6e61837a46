// Package app is the domain of SmartCloudOps: samples of metrics, what makes
// one acceptable, and what a place to keep them has to offer.
package app

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// Limits of what is accepted.
const (
	MaxBatch = 1000 // samples
	MaxName  = 128  // bytes of a source or a metric
)

// Times outside of [MinTime, MaxTime) are mistakes of a clock or a unit, such
// as milliseconds taken for seconds.
var (
	MinTime = time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)
	MaxTime = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
)

// Sample is one value of one metric of one source at one time. Source, Metric
// and Time identify it.
type Sample struct {
	Source string
	Metric string
	Time   time.Time
	Value  float64
}

// InvalidError says which part of an input is not acceptable and why. Its text
// is meant for whoever sent the input.
type InvalidError struct {
	Field string // "samples[3].source"
	Why   string
}

func (e *InvalidError) Error() string { return e.Field + " " + e.Why }

// Validate returns an *InvalidError if s is not acceptable.
func (s Sample) Validate() error {
	if why := badName(s.Source); why != "" {
		return &InvalidError{"source", why}
	}
	if why := badName(s.Metric); why != "" {
		return &InvalidError{"metric", why}
	}
	if why := badTime(s.Time); why != "" {
		return &InvalidError{"time", why}
	}
	if math.IsNaN(s.Value) || math.IsInf(s.Value, 0) {
		return &InvalidError{"value", "is not a finite number"}
	}
	return nil
}

// compare orders samples by what identifies them.
func compare(a, b Sample) int {
	return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Metric, b.Metric), a.Time.Compare(b.Time))
}

// Batch is a set of acceptable samples that are stored together or not at all.
// Only NewBatch makes one that is not empty.
type Batch struct {
	samples  []Sample
	accepted int
}

// NewBatch checks samples and returns them as a batch, or an *InvalidError that
// names the first one that is not acceptable. Times are cut to microseconds,
// the finest that the store keeps: otherwise a repeat would not be recognised.
// Of several samples with the same identity the first counts.
func NewBatch(samples []Sample) (Batch, error) {
	if len(samples) == 0 {
		return Batch{}, &InvalidError{"samples", "is empty: send at least one sample"}
	}
	if len(samples) > MaxBatch {
		return Batch{}, &InvalidError{"samples", fmt.Sprintf("has %d samples: send at most %d at once", len(samples), MaxBatch)}
	}
	set := make([]Sample, len(samples))
	for i, s := range samples {
		if err := s.Validate(); err != nil {
			invalid := err.(*InvalidError)
			return Batch{}, &InvalidError{fmt.Sprintf("samples[%d].%s", i, invalid.Field), invalid.Why}
		}
		s.Time = s.Time.UTC().Truncate(time.Microsecond)
		set[i] = s
	}
	// Two batches that share samples must lock them in the same order, else they
	// can deadlock in the store.
	slices.SortStableFunc(set, compare)
	set = slices.CompactFunc(set, func(a, b Sample) bool { return compare(a, b) == 0 })
	return Batch{samples: set, accepted: len(samples)}, nil
}

// Samples are the samples of b, each once, in the order of their identity. The
// caller must not change them.
func (b Batch) Samples() []Sample { return b.samples }

// Accepted is how many samples were sent, repeats included.
func (b Batch) Accepted() int { return b.accepted }

// badName says why a source or metric is not acceptable, or nothing. The few
// characters allowed are harmless in logs, labels, URLs and SQL consoles alike.
func badName(s string) string {
	if s == "" {
		return "is missing"
	}
	if len(s) > MaxName {
		return fmt.Sprintf("has %d bytes: at most %d are allowed", len(s), MaxName)
	}
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && (i == 0 || c != '_' && c != '.' && c != ':' && c != '/' && c != '-') {
			return "may hold only letters, digits and _ . : / -, and begins with a letter or digit"
		}
	}
	return ""
}

func badTime(t time.Time) string {
	if t.IsZero() {
		return "is missing"
	}
	if t.Before(MinTime) || !t.Before(MaxTime) {
		return fmt.Sprintf("is not between %s and %s", MinTime.Format(time.DateOnly), MaxTime.Format(time.DateOnly))
	}
	return ""
}
