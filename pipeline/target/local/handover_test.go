package local

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/smartcloudops/gate/pipeline/target"
)

// TestAHandoverWaitsForWhoIsConnected: clients that say nothing while the daemon
// is taken over and every instance replaced are answered all the same, and the
// daemon of before lives until they have been, or the environment is down.
func TestAHandoverWaitsForWhoIsConnected(t *testing.T) {
	t.Parallel()
	p := servingWith(t, func(o *Options) { o.Hold = true }, nil, "one", "two")
	c := p.gather(0, func(*crowd) {})
	type visitor struct {
		asks  func(method, path, body string) (int, error)
		leave func()
	}
	var visitors []visitor
	for range 3 {
		asks, leave := c.strict()
		defer leave()
		if status, err := asks("GET", "/", ""); err != nil || status != 200 {
			t.Fatal(status, err)
		}
		visitors = append(visitors, visitor{asks, leave})
	}
	daemon := p.Daemon
	before := p.takeOver()
	for _, name := range []string{"two", "one"} { // nothing is left of what the daemon of before knows
		if _, err := p.Replace(t.Context(), p.releases[name]); err != nil {
			t.Fatal(err)
		}
	}
	for i, v := range visitors[:2] {
		method := []string{"GET", "POST"}[i]
		moved := c.moved.Load()
		if status, err := v.asks(method, "/", strings.Repeat("x", i)); err != nil || status != 200 || c.moved.Load() != moved+1 {
			t.Errorf("%s on a connection to the daemon of before: %d, %v; it was asked to connect anew: %v", method, status, err, c.moved.Load() > moved)
		}
		if status, err := v.asks(method, "/", strings.Repeat("x", i)); err != nil || status != 200 || c.moved.Load() != moved+1 {
			t.Errorf("%s on a connection to the new daemon: %d, %v", method, status, err)
		}
	}
	select {
	case err := <-before:
		t.Fatalf("the daemon of before has ended (%v), and a client is connected to it", err)
	case <-time.After(100 * time.Millisecond):
	}
	if daemon == p.Daemon || p.answers(2)["one"] != 2 {
		t.Error("the new daemon does not serve")
	}
	// A client that never says anything more keeps nobody from going down.
	began := time.Now()
	p.down()
	p.must(awaitLingering(t.Context(), p.opt.Paths))
	select {
	case err := <-before:
		p.must(err)
	case <-time.After(5 * time.Second):
		t.Fatal("the daemon of before has not ended with its environment")
	}
	t.Logf("down, with the daemon of before, after %s", time.Since(began).Round(time.Millisecond))
	p.open()
}

// TestTheNextDaemonGoesOnWithACanary: arms, instances and weights are adopted; the
// figures are not, and say so until the canary is begun anew.
func TestTheNextDaemonGoesOnWithACanary(t *testing.T) {
	t.Parallel()
	p := serving(t, nil, "one", "two")
	ctx := t.Context()
	p.must(p.StartCanary(ctx, 2, p.rev("two"), 20))
	p.answers(20)
	_, cursor, lost, err := p.Observe(ctx, 0)
	if err != nil || lost != 0 {
		t.Fatal(lost, err)
	}
	roles := func() string {
		var all []string
		for _, in := range p.now().Instances {
			all = append(all, fmt.Sprint(in.Role, in.ID, " ", in.PID, in.Health))
		}
		return strings.Join(all, ", ")
	}
	before := roles()
	if n := len(p.pids("baseline")); n != 1 || len(p.pids("canary")) != 1 || len(p.pids("stable")) != 2 {
		t.Fatal(before)
	}
	p.leave()
	p.open()
	p.answers(20)
	p.eventually("the same instances have the same roles", func() bool { return roles() == before })
	if s := p.now(); s.Weight != 20 || s.Canary != p.releases["two"] {
		t.Errorf("%+v", s)
	}
	for _, at := range []int64{0, cursor} {
		if _, _, lost, err := p.Observe(ctx, at); err != nil || lost == 0 {
			t.Errorf("from %d nothing was lost (%v), though the daemon was started anew", at, err)
		}
	}
	p.must(p.StartCanary(ctx, 2, p.rev("two"), 30))
	if now := roles(); now != before {
		t.Errorf("instances %s became %s", before, now)
	}
	if seen, _, lost, err := p.Observe(ctx, 0); err != nil || lost != 0 || len(seen) != 0 {
		t.Errorf("a canary that is begun anew: %d observations, %d lost, %v", len(seen), lost, err)
	}
	if arms, err := p.Arms(ctx); err != nil || arms.Stable.Requests+arms.Canary.Requests+arms.Baseline.Requests != 0 {
		t.Errorf("%+v, %v", arms, err)
	}
	// With a disk that takes nothing the traffic comes back all the same, by a
	// promotion that is newer than what the disk knows, and is written down later.
	state := p.opt.Paths.stateFile()
	p.must(os.Remove(state))
	p.must(os.MkdirAll(filepath.Join(state, "full"), 0o755))
	began := time.Now()
	p.must(p.Withdraw(ctx, 3))
	if took := time.Since(began); took > time.Second {
		t.Errorf("all traffic was back after %s", took)
	}
	if got := p.answers(10); got["one"] != 10 {
		t.Errorf("answers %v", got)
	}
	p.must(os.RemoveAll(state))
	p.eventually("it is written down", func() bool {
		s, err := readState(state)
		return err == nil && s.Token == 3 && s.Canary.Revision == nil && s.Baseline.Revision == nil
	})
	p.serves("one")
}

// TestABaselineThatCantStart is not the release's fault.
func TestABaselineThatCantStart(t *testing.T) {
	t.Parallel()
	p := servingWith(t, func(o *Options) {
		o.Declared.Config = map[string]string{"SPENT": filepath.Join(filepath.Dir(o.Paths.State), "spent.now")}
	}, nil, "spent", "two")
	p.must(os.WriteFile(p.opt.Declared.Config["SPENT"], nil, 0o644))
	err := p.StartCanary(t.Context(), 2, p.rev("two"), 20)
	if err == nil || errors.Is(err, target.ErrNotReady) || !strings.Contains(err.Error(), "baseline") {
		t.Errorf("with a baseline that can't be started: %v", err)
	}
	p.serves("spent") // and no canary is left
}

// TestNobodyNotices: at least 100,000 requests by three kinds of clients across
// updates, canaries, rollbacks and upgrades of the balancer:
//
//	GATE_BENCH=1 go test -run NobodyNotices -v -timeout 20m ./pipeline/target/local
func TestNobodyNotices(t *testing.T) {
	if os.Getenv("GATE_BENCH") == "" {
		t.Skip("SKIPPED without GATE_BENCH=1: some minutes of load. Without it fewer requests show that nobody notices")
	}
	want := int64(100_000)
	if n, err := strconv.ParseInt(os.Getenv("GATE_BENCH_REQUESTS"), 10, 64); err == nil {
		want = n
	}
	p := servingWith(t, func(o *Options) { o.Hold = true }, nil, "one", "two")
	p.must(p.Retire(t.Context(), 1))
	c := p.gather(8, func(c *crowd) { c.idle = 8 * time.Second })
	ctx, token, name, other := t.Context(), int64(1), "one", "two"
	began := time.Now()
	var waiting sync.WaitGroup
	var updates, canaries, rollbacks, upgrades, promotions int
	least := func() int64 { return min(c.asked[0].Load(), c.asked[1].Load(), c.asked[2].Load()) }
	for c.total() < want || least() < want/10 {
		begin := func() int64 { token++; return token }
		spread := func(weight int) {
			before := c.total()
			p.eventually("requests", func() bool { return c.total() > before+300 })
			if seen, _, lost, err := p.Observe(ctx, 0); weight <= 50 && (err != nil || lost > 0 || len(seen) == 0) {
				t.Errorf("with weight %d: %d observations, %d lost, %v", weight, len(seen), lost, err)
			}
		}
		// A canary whose weight grows, and a rollback.
		begin()
		for _, weight := range []int{5, 20, 50, 100} {
			p.must(p.StartCanary(ctx, token, p.rev(other), weight))
			spread(weight)
		}
		p.must(p.Withdraw(ctx, token))
		canaries, rollbacks = canaries+1, rollbacks+1
		// All traffic, and a rollback.
		begin()
		p.must(p.StartCanary(ctx, token, p.rev(other), 20))
		spread(20)
		p.must(p.Complete(ctx, token, p.rev(other)))
		p.must(p.Withdraw(ctx, token))
		canaries, rollbacks = canaries+1, rollbacks+1
		// And one that stays.
		begin()
		p.must(p.StartCanary(ctx, token, p.rev(other), 50))
		p.must(p.Complete(ctx, token, p.rev(other)))
		p.must(p.Retire(ctx, token))
		canaries, promotions = canaries+1, promotions+1
		name, other = other, name
		if _, err := p.Replace(ctx, p.releases[name]); err != nil {
			t.Fatal(err)
		}
		updates++
		ended := p.takeOver()
		waiting.Go(func() {
			if err := <-ended; err != nil {
				t.Errorf("the daemon of before: %v", err)
			}
		})
		upgrades++
	}
	took := time.Since(began)
	c.disperse(t)
	waiting.Wait()
	t.Logf("%d requests in %s (%.0f/s) across %d updates, %d canaries, %d rollbacks, %d promotions, %d upgrades of the balancer", c.total(), took.Round(time.Second), float64(c.total())/took.Seconds(), updates, canaries, rollbacks, promotions, upgrades)
	if c.lost.Load() > 0 {
		t.Errorf("%d POSTs lost", c.lost.Load())
	}
	if s := p.now(); s.Problem != "" || !s.Backup.Kept && s.Restarts > 0 {
		t.Errorf("%+v", s)
	}
}
