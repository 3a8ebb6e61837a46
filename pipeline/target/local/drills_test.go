package local

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/target"
)

// measured is what a drill found in the place, with the release serving and the
// other one before it. The meter may have been disturbed by a busy machine; its
// figures are there all the same.
func measured[P any](p *place, c checks.Check, name, previous string, users int) (P, checks.Measurement) {
	p.t.Helper()
	in := checks.Input{
		Declarations: &environments.Declarations{App: &environments.App{
			Name:  "hello",
			Serve: environments.Serve{StartTimeout: environments.Duration(2 * time.Second), StopTimeout: environments.Duration(5 * time.Second)},
			Load: environments.Load{Endpoints: []environments.Endpoint{
				{Name: "say", Method: "GET", Path: "/", Weight: 1, Expect: environments.Expect{Status: 200}},
			}},
			Update: environments.Update{Rate: 50},
			Drills: environments.Drills{Lead: environments.Duration(500 * time.Millisecond), Scale: environments.Duration(p.patience), Recover: environments.Duration(p.patience), Users: users},
		}},
		Environment: p.opt.Declared, Release: p.releases[name], Previous: p.releases[previous],
		Address: p.opt.Declared.Listen, Name: "localhost", Roots: p.roots, Target: breakable{NewClient(p.opt.Paths), p, new(atomic.Int64)},
	}
	taken, err := checks.TakeDrills(p.t.Context(), []checks.Check{c}, in, time.Now)
	if err != nil {
		p.t.Fatal(err)
	}
	m := taken[0].Measurement
	payload, ok := m.Payload.(P)
	if !ok {
		p.t.Fatalf("%s: %s: %s", c.Name, m.Status, m.Reason)
	}
	return payload, m
}

// breakable kills all but the daemon, which is this process: that one is ended,
// and the next one opened.
type breakable struct {
	*Client
	p     *place
	opens *atomic.Int64
}

func (b breakable) Break(ctx context.Context, part string) (checks.Broken, error) {
	if part != checks.PartDaemon {
		return b.Client.Break(ctx, part)
	}
	b.p.leave()
	return checks.Broken{What: "the daemon", How: "ended"}, nil
}

func (b breakable) Mend(_ context.Context, part string) (string, error) {
	if part == checks.PartDaemon {
		<-time.After(b.p.away)
		b.p.open()
		b.opens.Add(1)
	}
	return "the test", nil
}

func (b breakable) Parts(ctx context.Context) (checks.Parts, error) {
	p, err := b.Client.Parts(ctx)
	p.Daemon += int(b.opens.Load())
	return p, err
}

// serving is a place where the release of the name serves.
func serving(t *testing.T, declare func(*environments.Environment), names ...string) *place {
	t.Helper()
	return servingWith(t, func(*Options) {}, declare, names...)
}

// servingWith is serving with other options.
func servingWith(t *testing.T, change func(*Options), declare func(*environments.Environment), names ...string) *place {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED under -short: some seconds with a real app and a real PostgreSQL")
	}
	p := newPlaceWith(t, func(o *Options) {
		change(o)
		o.Operations = func(context.Context, []target.Operation, int) error { return errors.New("nothing is recorded here") }
	}, names...)
	if declare != nil {
		declare(p.opt.Declared)
	}
	if err := p.Complete(t.Context(), 1, p.rev(names[0])); err != nil {
		t.Fatal(err)
	}
	return p
}

func quick(e *environments.Environment) {
	e.Instances = environments.Instances{Min: 2, Max: 4}
	e.Scaling = &environments.Scaling{
		Metric: environments.Concurrency, Target: 4,
		UpAfter: environments.Duration(500 * time.Millisecond), DownAfter: environments.Duration(time.Second),
	}
}

// TestScalesASleepingAppUpAndDown: what waits instead of computing shows more
// instances at work than there are cores.
func TestScalesASleepingAppUpAndDown(t *testing.T) {
	p := serving(t, quick, "slow")
	got, m := measured[checks.ScalingPayload](p, checks.Scale(), "slow", "slow", 40)
	if got.Before != 2 || got.Peak != 4 || got.After != 2 || got.NewAnswered != 2 || got.UpSeconds <= 0 {
		t.Errorf("%s (%s): %+v", m.Status, m.Reason, got)
	}
	if slow := int64(got.Failures["slow"]); got.Failed != slow || got.Requests < 500 {
		t.Errorf("%d of %d requests failed: %v", got.Failed, got.Requests, got.Failures)
	}
	if len(got.Changes) < 2 || got.Saved <= 0 {
		t.Errorf("%g instance-hours saved, changes %+v", got.Saved, got.Changes)
	}
	p.did.mu.Lock()
	if did := p.did.waiting; len(did) < 2 || did[0].Kind != target.Scaling || did[0].From != "2" || did[0].To != "4" && did[0].To != "3" || did[0].Why == "" {
		t.Errorf("to be recorded are %+v", did)
	}
	p.did.mu.Unlock()
	// What was saved outlives the daemon.
	p.leave()
	p.open()
	if s := p.now().Scaling; s == nil || s.Saved < got.Saved/2 || !s.Since.Equal(got.Since) || len(s.Changes) < 2 {
		t.Errorf("the next daemon says %+v", s)
	}
}

func TestAScalingThatIsStuckShows(t *testing.T) {
	t.Parallel()
	p := serving(t, func(e *environments.Environment) {
		quick(e)
		e.Instances.Max = 2
	}, "slow")
	p.patience = 4 * time.Second // eight times UpAfter
	got, _ := measured[checks.ScalingPayload](p, checks.Scale(), "slow", "slow", 20)
	if got.Peak != 2 || got.UpSeconds != 0 || got.Highest <= got.Target || got.NewAnswered != 0 {
		t.Errorf("%+v", got)
	}
	if !strings.Contains(got.Why, "are both 2") {
		t.Errorf("it says %q", got.Why)
	}
}

// TestALoopOfRestartsShows: what ends again and again is not back.
func TestALoopOfRestartsShows(t *testing.T) {
	t.Parallel()
	p := serving(t, nil, "loops")
	p.patience = 4 * time.Second
	got, m := measured[checks.RestartPayload](p, checks.Restart(), "loops", "loops", 0)
	// Between two ends it may seem to be back: then its restarts fail it.
	if len(got.Faults) == 0 || got.Faults[0].Recovered && got.Faults[0].Restarts <= 3 || got.Faults[0].Failed == 0 {
		t.Errorf("%s (%s): %+v", m.Status, m.Reason, got)
	}
}

// TestNobodyIsRefusedWhileTheDaemonIsAway: who connects waits for the next one.
func TestNobodyIsRefusedWhileTheDaemonIsAway(t *testing.T) {
	t.Parallel()
	p := servingWith(t, func(o *Options) { o.Hold = true }, nil, "one")
	p.held()
	got, m := measured[checks.RestartPayload](p, checks.Restart(), "one", "one", 0)
	if len(got.Faults) != 3 {
		t.Fatalf("%s (%s): %+v", m.Status, m.Reason, got)
	}
	for _, f := range got.Faults {
		if !f.Recovered || f.Refused != 0 {
			t.Errorf("%+v", f)
		}
	}
	// And without it, they are.
	p.grip.leave(true)
	p.opt.Hold = false
	p.away = 400 * time.Millisecond // in which 20 requests are due
	got, m = measured[checks.RestartPayload](p, checks.Restart(), "one", "one", 0)
	if len(got.Faults) != 3 || got.Faults[1].Refused == 0 {
		t.Errorf("%s (%s): %+v", m.Status, m.Reason, got)
	}
}

// TestWithoutAFigureNothingIsTakenAway by the real thing: one of four instances
// gets no traffic, so that nobody knows what they use of the processors.
func TestWithoutAFigureNothingIsTakenAway(t *testing.T) {
	t.Parallel()
	p := serving(t, func(e *environments.Environment) {
		quick(e)
		e.Scaling.Metric, e.Scaling.Target = environments.CPU, 50
	}, "one")
	s := p.snapshot()
	p.op.Lock()
	err := p.scaler.add(t.Context(), s.Stable, 2)
	var missing string
	p.mu.Lock()
	if err == nil {
		missing = p.st.Stable.Instances[3]
	}
	known := p.ready[missing]
	delete(p.ready, missing)
	p.mu.Unlock()
	p.op.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(3 * time.Second); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		if n := len(p.snapshot().Stable.Instances); n != 4 {
			t.Fatalf("%d instances are left: %+v", n, p.now().Scaling)
		}
	}
	if s := p.now().Scaling; s.Known || !strings.Contains(s.Why, "3 of 4 instances get traffic") {
		t.Errorf("it says %+v", s)
	}
	// Once there is a figure, the idle ones go.
	p.mu.Lock()
	p.ready[missing] = known
	p.swap()
	p.mu.Unlock()
	for deadline := time.Now().Add(15 * time.Second); len(p.snapshot().Stable.Instances) != 2; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it says %+v", p.now().Scaling)
		}
	}
}

func TestScalingHoldsStillInAPromotion(t *testing.T) {
	t.Parallel()
	p := serving(t, quick, "slow", "one")
	if err := p.StartCanary(t.Context(), 2, p.rev("one"), 50); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for !strings.Contains(p.now().Scaling.Why, "a promotion is under way") {
		if time.Now().After(deadline) {
			t.Fatalf("it says %+v", p.now().Scaling)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if s := p.now().Scaling; s.Desired != 2 || s.Actual != 2 {
		t.Errorf("%+v", s)
	}
}

// TestAPromotionKeepsTheCapacity: what load has called for is there in the next
// release, too.
func TestAPromotionKeepsTheCapacity(t *testing.T) {
	t.Parallel()
	p := serving(t, func(e *environments.Environment) {
		quick(e)
		e.Scaling.DownAfter = environments.Duration(time.Hour)
	}, "slow", "one")
	// As after load that has called for more.
	s := p.snapshot()
	p.op.Lock()
	err := p.scaler.add(t.Context(), s.Stable, 2)
	p.op.Unlock()
	if n := len(p.pids("stable")); err != nil || n != 4 {
		t.Fatalf("%d instances serve, %v", n, err)
	}
	if err := p.Complete(t.Context(), 2, p.rev("one")); err != nil {
		t.Fatal(err)
	}
	if n := len(p.pids("stable")); n != 4 {
		t.Errorf("%d instances of the next release serve", n)
	}
}

func TestRehearsesARollback(t *testing.T) {
	p := serving(t, nil, "one", "two", "broken", "never")
	got, m := measured[checks.RollbackPayload](p, checks.Rollback(), "one", "two", 0)
	if !got.Reached || got.ByPrevious == 0 || got.ByRelease == 0 || got.BackSeconds <= 0 || got.Failed != int64(got.Failures["slow"]) {
		t.Errorf("%s (%s): %+v", m.Status, m.Reason, got)
	}
	p.stands("one")

	// One that serves, but wrongly.
	got, m = measured[checks.RollbackPayload](p, checks.Rollback(), "one", "broken", 0)
	if m.Status != checks.Completed || got.FailedThere == 0 || got.Failures["status 500"] == 0 {
		t.Errorf("%s (%s): %+v", m.Status, m.Reason, got)
	}
	p.stands("one")

	// One that does not come up.
	got, m = measured[checks.RollbackPayload](p, checks.Rollback(), "one", "never", 0)
	if got.Reached || got.Problem == "" || got.ByPrevious != 0 {
		t.Errorf("%s (%s): %+v", m.Status, m.Reason, got)
	}
	p.stands("one")

	// The first release goes to itself.
	got, _ = measured[checks.RollbackPayload](p, checks.Rollback(), "one", "one", 0)
	if !got.Reached || !got.First || got.ByPrevious == 0 || got.ByRelease == 0 {
		t.Errorf("%+v", got)
	}
	p.stands("one")
}

// stands checks that the release serves alone.
func (p *place) stands(name string) {
	p.t.Helper()
	if s := p.now(); s.Stable != p.releases[name] || s.Warm != "" || s.Canary != "" || s.Weight != 0 {
		p.t.Errorf("%+v", s)
	}
}

// TestARehearsalThatWasKilledIsUndone: what was warm serves again.
func TestARehearsalThatWasKilledIsUndone(t *testing.T) {
	t.Parallel()
	p := serving(t, nil, "one", "two")
	pids := p.pids("stable")
	rehearsing := make(chan error, 1)
	go func() {
		_, err := p.Revert(t.Context(), p.releases["two"], 3*time.Second)
		rehearsing <- err
	}()
	deadline := time.Now().Add(20 * time.Second)
	for p.now().Warm == "" {
		if time.Now().After(deadline) {
			t.Fatal("the rehearsal does not begin")
		}
		time.Sleep(5 * time.Millisecond)
	}
	s := p.snapshot()
	if !s.Rehearsing {
		t.Errorf("%+v", s)
	}
	// As the next daemon would find it, were this one killed now.
	next, err := readState(p.opt.Paths.stateFile())
	if err != nil {
		t.Fatal(err)
	}
	next.undo()
	if next.Stable.release() != p.releases["one"] || next.Warm.Revision != nil || len(next.Stable.Instances) != len(pids) {
		t.Errorf("%+v", next)
	}
	p.t.Cleanup(func() { <-rehearsing })
}
