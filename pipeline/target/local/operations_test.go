package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/smartcloudops/gate/pipeline/target"
)

// TestOperations: what the daemon did by itself waits on disk until it is
// recorded, once; too many are counted, not kept.
func TestOperations(t *testing.T) {
	var recorded []string
	var left int
	var trouble error
	meanwhile := func() {}
	d := &Daemon{paths: Paths{State: t.TempDir(), Environment: "staging"}, opt: Options{
		Now: time.Now, Log: slog.New(slog.DiscardHandler),
		Operations: func(_ context.Context, all []target.Operation, more int) error {
			if trouble != nil {
				return trouble
			}
			for _, op := range all {
				recorded = append(recorded, op.What)
			}
			left += more
			meanwhile()
			return nil
		},
	}}
	if err := os.MkdirAll(d.paths.dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	o := newOperations(d)
	n := 0
	add := func(count int) {
		for range count {
			o.add(target.Operation{Kind: target.Scaling, What: fmt.Sprint(n)})
			n++
		}
	}
	record := func(want bool) {
		t.Helper()
		if tried, err := o.record(t.Context()); tried != want || (err != nil) != (trouble != nil) {
			t.Fatalf("tried %v, %v", tried, err)
		}
	}
	record(false)
	add(2)
	trouble = errors.New("no space left on device")
	record(true)
	o = newOperations(d) // the daemon is another one now
	trouble = nil
	meanwhile = func() { meanwhile = func() {}; add(1) }
	record(true)
	record(true)
	record(false)
	if got := fmt.Sprint(recorded); got != "[0 1 2]" {
		t.Errorf("recorded %s", got)
	}
	o = newOperations(d)
	record(false)

	recorded = nil
	add(operationsKept + 5)
	meanwhile = func() { meanwhile = func() {}; add(operationsKept + 7) }
	record(true)
	record(true)
	if len(recorded) != 2*operationsKept || left != 5+7 || recorded[len(recorded)-1] != fmt.Sprint(n-1) {
		t.Errorf("%d recorded, %d left out, the last %s of %d", len(recorded), left, recorded[len(recorded)-1], n)
	}
}
