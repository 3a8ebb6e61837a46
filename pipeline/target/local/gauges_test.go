package local

import (
	"os"
	"testing"
	"time"
)

func TestGaugesReadInstancesAndDatabase(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "one")
	ctx := t.Context()
	p.must(p.Complete(ctx, 1, p.rev("one")))
	client := NewClient(p.opt.Paths)
	deadline := time.Now().Add(30 * time.Second)
	first, err := client.Gauges(ctx)
	for ; (err != nil || first.Database == nil || first.Database.Used <= 0) && time.Now().Before(deadline); first, err = client.Gauges(ctx) {
		<-time.After(10 * time.Millisecond)
	}
	p.must(err)
	pids := map[int]bool{}
	for _, in := range p.now().Instances {
		pids[in.PID] = true
	}
	if first.Processors < 1 || first.Busy <= 0 || len(first.Instances) != 2 || !pids[first.Instances[0].PID] || first.Instances[0].Processors < 1 {
		t.Errorf("%+v", first)
	}
	if db := first.Database; db == nil || db.Limit < 10 || db.Used <= 0 || db.Connections != 0 {
		t.Errorf("database %+v", db)
	}
	p.must(client.Checkpoint(ctx))
	// Whoever works is seen to: this process balances.
	then := first
	for deadline := time.Now().Add(30 * time.Second); then.Balancer-first.Balancer < 0.05 || then.Busy-first.Busy < 0.05; {
		if time.Now().After(deadline) {
			t.Fatalf("at work for 30 s: %+v, before %+v", then, first)
		}
		for began := time.Now(); time.Since(began) < 20*time.Millisecond; {
		}
		then, err = client.Gauges(ctx)
		p.must(err)
	}
	if used, parent, err := processUsed(os.Getpid()); err != nil || used <= 0 || parent != os.Getppid() {
		t.Errorf("this process used %g s, its parent is %d: %v", used, parent, err)
	}
}
