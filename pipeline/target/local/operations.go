package local

import (
	"context"
	"encoding/json"
	"os"
	"sync"
	"time"

	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/pipeline/target/local/durable"
)

const (
	// operationsEvery is the least time between two records of operations: however
	// often something changes, they don't flood the ledger.
	operationsEvery = time.Minute
	operationsKept  = 100 // that wait to be recorded; of more, the newest
)

// operations are what the daemon did by itself and is not on record yet. They
// outlive it.
type operations struct {
	d *Daemon

	mu      sync.Mutex
	waiting []target.Operation
	left    int // older ones that did not fit
}

type operationsFile struct {
	Waiting []target.Operation `json:"waiting"`
	Left    int                `json:"left,omitempty"`
}

func newOperations(d *Daemon) *operations {
	o := &operations{d: d}
	var f operationsFile
	if b, err := os.ReadFile(d.paths.operations()); err == nil && json.Unmarshal(b, &f) == nil {
		o.waiting, o.left = f.Waiting, f.Left
	}
	return o
}

// add notes what was done, now. Whoever has none to tell it to keeps nothing.
func (o *operations) add(op target.Operation) {
	if o.d.opt.Operations == nil {
		return
	}
	op.At = o.d.opt.Now().UTC()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waiting = append(o.waiting, op)
	if n := len(o.waiting) - operationsKept; n > 0 {
		o.waiting, o.left = o.waiting[n:], o.left+n
	}
	o.save()
}

// run records what waits until ctx ends.
func (o *operations) run(ctx context.Context) error {
	if o.d.opt.Operations == nil {
		return nil
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var last time.Time
	for {
		if last.IsZero() || time.Since(last) >= operationsEvery {
			tried, err := o.record(ctx)
			if tried {
				last = time.Now()
			}
			if err != nil && ctx.Err() == nil {
				o.d.opt.Log.Error("what the daemon did by itself can't be recorded yet", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (o *operations) record(ctx context.Context) (tried bool, err error) {
	o.mu.Lock()
	all, left := append([]target.Operation(nil), o.waiting...), o.left
	o.mu.Unlock()
	if len(all) == 0 {
		return false, nil
	}
	if err := o.d.opt.Operations(ctx, all, left); err != nil {
		return true, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	// Meanwhile the oldest of them may have been dropped.
	gone := o.left - left
	o.waiting, o.left = o.waiting[max(0, len(all)-gone):], max(0, gone-len(all))
	o.save()
	return true, nil
}

// save writes down what outlives the daemon. The caller holds o.mu.
func (o *operations) save() {
	b, err := json.Marshal(operationsFile{o.waiting, o.left})
	if err == nil {
		err = durable.Replace(o.d.paths.operations(), b, 0o600)
	}
	if err != nil {
		o.d.opt.Log.Warn("what the daemon did by itself was not written down", "error", err)
	}
}
