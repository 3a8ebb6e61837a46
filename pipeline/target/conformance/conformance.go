// Package conformance is what every target must do, as tests: a fake in memory
// and a daemon with real processes pass the same suite.
package conformance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/target"
)

// Releases are what a target is asked to run. All declare one environment.
type Releases struct {
	First, Second target.Revision
	Unready       target.Revision // its instances start and never become ready
	Unmigratable  target.Revision // its migrate command fails
	// Ask sends one request to the environment's address and says which release
	// answered. Nil: the target takes no requests.
	Ask func(t *testing.T) string
}

// patience is how long a target may take for what it need not wait for.
const patience = 30 * time.Second

// requests are enough for each arm of a canary with half of the traffic to be
// missed by all of them with a chance of less than one in a billion.
const requests = 40

// suite is one target on its way through the suite.
type suite struct {
	Releases
	target.Target
	token int64
}

// Run takes a target that has never served through everything that the contract
// says. Each part goes on where the one before has left the target.
func Run(t *testing.T, open func(t *testing.T) target.Target, r Releases) {
	t.Helper()
	s := &suite{Releases: r, Target: open(t), token: 10}
	for _, part := range []struct {
		name string
		run  func(t *testing.T)
	}{
		{"has never served", s.neverServed},
		{"a migration that fails", s.migrationFails},
		{"a first release that is never ready", s.firstUnready},
		{"a first release", s.first},
		{"a canary that is withdrawn", s.canaryWithdrawn},
		{"weights that shift", s.weightsShift},
		{"requests that are observed", s.observed},
		{"all traffic at once", s.blueGreen},
		{"a canary that is never ready", s.canaryUnready},
		{"a release that is withdrawn with all traffic on it", s.completedWithdrawn},
		{"a release that stays", s.completed},
		{"a release that is never ready", s.unready},
		{"a release without a canary", s.withoutCanary},
		{"an old token", s.fenced},
	} {
		s.token++ // a promotion of its own
		if !t.Run(part.name, part.run) {
			t.FailNow() // what comes next would only say the same
		}
	}
}

func (s *suite) neverServed(t *testing.T) {
	st := s.status(t)
	if st.Revision != "" || st.Stable != "" || st.Canary != "" || st.Warm != "" || !st.Empty || len(st.Instances) != 0 {
		t.Errorf("a target that has never served says %+v", st)
	}
	// Nothing to withdraw or retire is no error: it is what recovery does.
	must(t, s.Withdraw(t.Context(), s.token))
	must(t, s.Retire(t.Context(), s.token))
	s.alone(t, target.Revision{})
}

func (s *suite) migrationFails(t *testing.T) {
	want(t, s.Migrate(t.Context(), s.token, s.Unmigratable), target.ErrMigration)
	s.alone(t, target.Revision{})
}

func (s *suite) firstUnready(t *testing.T) {
	must(t, s.Migrate(t.Context(), s.token, s.Unready))
	want(t, s.Complete(t.Context(), s.token, s.Unready), target.ErrNotReady)
	must(t, s.Withdraw(t.Context(), s.token))
	s.alone(t, target.Revision{})
}

func (s *suite) first(t *testing.T) {
	s.twice(t, func() error { return s.Migrate(t.Context(), s.token, s.First) })
	s.twice(t, func() error { return s.Complete(t.Context(), s.token, s.First) })
	if st := s.status(t); st.Revision != s.First.ID() || st.Stable != s.First.Release || st.Token != s.token {
		t.Errorf("it serves %s by token %d, want %s by token %d", st.Revision, st.Token, s.First.ID(), s.token)
	}
	s.twice(t, func() error { return s.Retire(t.Context(), s.token) })
	s.alone(t, s.First)
}

func (s *suite) canaryWithdrawn(t *testing.T) {
	must(t, s.Migrate(t.Context(), s.token, s.Second))
	s.twice(t, func() error { return s.StartCanary(t.Context(), s.token, s.Second, 50) })
	st := s.status(t)
	if st.Revision != s.First.ID() || st.Canary != s.Second.Release || st.Weight != 50 {
		t.Errorf("with a canary: %s, canary %s with %d percent", st.Revision, st.Canary, st.Weight)
	}
	s.arms(t, 1, 1)
	if s.Ask != nil {
		// With half of the traffic each for baseline and canary none is left.
		first, second := s.halves(t)
		s.counted(t, 0, first, second)
	}
	s.twice(t, func() error { return s.withdraw(t) })
	s.alone(t, s.First)
}

// withdraw gives the traffic back within the second.
func (s *suite) withdraw(t *testing.T) error {
	t.Helper()
	began := time.Now()
	err := s.Withdraw(t.Context(), s.token)
	if took := time.Since(began); took > time.Second {
		t.Errorf("all traffic was back after %s", took)
	}
	return err
}

// halves asks, and checks that as good as half of the answers are of each release.
// What else asks, as a watch, is dealt out among these requests.
func (s *suite) halves(t *testing.T) (first, second int64) {
	t.Helper()
	seen := s.ask(t)
	first, second = int64(seen[s.First.Release]), int64(seen[s.Second.Release])
	if first+second != requests || first < requests/2-3 || second < requests/2-3 {
		t.Errorf("answers by release: %v, want half of each", seen)
	}
	return first, second
}

// arms checks how many instances baseline and canary have, and that what is stable
// has kept its own.
func (s *suite) arms(t *testing.T, baseline, canary int) {
	t.Helper()
	st := s.status(t)
	n := roles(st)
	if n["baseline"] != baseline || n["canary"] != canary || n["stable"] < s.First.Environment.Instances.Min {
		t.Errorf("instances by role: %v, want baseline %d and canary %d beside those of before", n, baseline, canary)
	}
	for _, in := range st.Instances {
		if want := map[string]string{"stable": s.First.Release, "baseline": s.First.Release, "canary": s.Second.Release}[in.Role]; want != "" && (in.Release != want || in.Health != target.Healthy) {
			t.Errorf("instance %s, %s, runs %s and is %s", in.ID, in.Role, in.Release, in.Health)
		}
	}
}

// counted waits until each request is counted at its arm; below 0: some are.
func (s *suite) counted(t *testing.T, stable, baseline, canary int64) {
	t.Helper()
	var arms target.Arms
	is := func(a target.Arm, n int64, release string) bool {
		return (a.Requests == n || n < 0 && a.Requests > 0) && a.Errors == 0 && (a.Release == release || n == 0)
	}
	eventually(t, fmt.Sprintf("requests are counted: stable %d, baseline %d, canary %d", stable, baseline, canary), func() bool {
		var err error
		arms, err = s.Arms(t.Context())
		must(t, err)
		return !arms.Since.IsZero() && is(arms.Stable, stable, s.First.Release) && is(arms.Baseline, baseline, s.First.Release) && is(arms.Canary, canary, s.Second.Release)
	})
}

// weightsShift has the arms go on, with what they have counted.
func (s *suite) weightsShift(t *testing.T) {
	ctx := t.Context()
	must(t, s.StartCanary(ctx, s.token, s.Second, 50))
	var first, second int64
	if s.Ask != nil {
		first, second = s.halves(t)
		s.counted(t, 0, first, second)
	}
	before := s.status(t)
	want(t, s.StartCanary(ctx, s.token-1, s.Second, 10), target.ErrFenced)
	s.twice(t, func() error { return s.StartCanary(ctx, s.token, s.Second, 10) })
	after := s.status(t)
	if after.Weight != 10 || !slices.Equal(ids(before), ids(after)) {
		t.Errorf("weight %d with instances %v, want 10 with the same as before, %v", after.Weight, ids(after), ids(before))
	}
	if s.Ask != nil {
		s.ask(t)
		s.counted(t, -1, -1, -1)
		arms, err := s.Arms(ctx)
		must(t, err)
		if n := arms.Stable.Requests + arms.Baseline.Requests + arms.Canary.Requests; arms.Baseline.Requests < first || arms.Canary.Requests < second || n != 2*requests {
			t.Errorf("%d, %d and %d requests at stable, baseline and canary: the figures of before are not among them", arms.Stable.Requests, arms.Baseline.Requests, arms.Canary.Requests)
		}
	}
	for _, weight := range []int{0, 51, 99, 101, -1} {
		if s.StartCanary(ctx, s.token, s.Second, weight) == nil {
			t.Errorf("a canary may have %d percent of the traffic, and the baseline as well", weight)
		}
	}
	if st := s.status(t); st.Weight != 10 {
		t.Errorf("weight %d, though another was refused", st.Weight)
	}
	// Retire is not what ends a canary, but no baseline outlives it.
	must(t, s.Retire(ctx, s.token))
	eventually(t, "no baseline is left", func() bool { return roles(s.status(t))["baseline"] == 0 })
	must(t, s.withdraw(t))
	s.alone(t, s.First)
}

// observed: single requests, all of them and in order, and what is not whole says
// so. With half of the traffic each, whoever is not the canary is the baseline.
func (s *suite) observed(t *testing.T) {
	o, ok := s.Target.(target.Observer)
	if !ok || s.Ask == nil {
		t.Skip("SKIPPED: the target observes no single requests; a canary there is judged by sums alone")
	}
	ctx := t.Context()
	if _, _, _, err := o.Observe(ctx, 0); err == nil {
		t.Error("requests are observed where there is no canary")
	}
	must(t, s.StartCanary(ctx, s.token, s.Second, 50))
	observe := func(cursor int64) ([]target.Observation, int64) {
		t.Helper()
		seen, next, lost, err := o.Observe(ctx, cursor)
		must(t, err)
		if lost != 0 {
			t.Errorf("%d requests were lost", lost)
		}
		return seen, next
	}
	seen, cursor := observe(0)
	if len(seen) != 0 {
		t.Errorf("before any request %+v was observed", seen)
	}
	var all []target.Observation
	for range requests / 2 {
		arm := map[string]string{s.First.Release: "baseline", s.Second.Release: "canary"}[s.Ask(t)]
		eventually(t, "the request is observed", func() bool {
			seen, cursor = observe(cursor)
			return len(seen) > 0
		})
		if len(seen) != 1 || seen[0].Arm != arm || seen[0].Error || seen[0].Synthetic || seen[0].Seconds <= 0 || seen[0].Class == "" {
			t.Errorf("after a request that was answered by the %s: %+v", arm, seen)
		}
		all = append(all, seen...)
	}
	if p, ok := s.Target.(interface {
		Probe(ctx context.Context, arm string, request environments.Endpoint) error
	}); ok {
		for i, arm := range []string{"baseline", "canary", "canary"} {
			want := environments.Expect{Status: 200}
			if wrong := i == 2; wrong {
				want.Status = 299
			}
			must(t, p.Probe(ctx, arm, environments.Endpoint{Method: "GET", Path: "/", Expect: want}))
			eventually(t, "gate's own request is observed", func() bool {
				seen, cursor = observe(cursor)
				return len(seen) > 0
			})
			if len(seen) != 1 || seen[0].Arm != arm || !seen[0].Synthetic || seen[0].Error != (want.Status != 200) {
				t.Errorf("after gate's own request to the %s: %+v", arm, seen)
			}
			all = append(all, seen...)
		}
	}
	if i, ok := s.Target.(target.Inspector); ok {
		used, err := i.Inspect(ctx)
		must(t, err)
		arms := map[string]int{}
		for _, u := range used {
			if arms[u.Arm]++; u.PID == 0 || u.Memory == 0 || u.CPU < 0 {
				t.Errorf("instance %s uses nothing: %+v", u.Instance, u)
			}
		}
		if arms["baseline"] == 0 || arms["canary"] == 0 || len(arms) != 2 {
			t.Errorf("these use something: %+v", used)
		}
	}
	must(t, s.StartCanary(ctx, s.token, s.Second, 20)) // keeps what was observed
	again, _ := observe(0)
	if !slices.Equal(again, all) {
		t.Errorf("from the beginning it is %+v, and bit by bit it was %+v", again, all)
	}
	must(t, s.withdraw(t))
	s.alone(t, s.First)
	must(t, s.StartCanary(ctx, s.token, s.Second, 50))
	if seen, _ := observe(0); len(seen) != 0 {
		t.Errorf("of the canary before %+v is left", seen)
	}
	if _, _, lost, err := o.Observe(ctx, cursor); err != nil || lost == 0 {
		t.Errorf("with a cursor of the canary before %d were lost (%v): a gap that nobody sees", lost, err)
	}
	must(t, s.withdraw(t))
	s.alone(t, s.First)
}

// blueGreen: all traffic at once on as many instances, and what is stable stays
// warm.
func (s *suite) blueGreen(t *testing.T) {
	ctx := t.Context()
	s.twice(t, func() error { return s.StartCanary(ctx, s.token, s.Second, 100) })
	st := s.status(t)
	if st.Revision != s.First.ID() || st.Canary != s.Second.Release || st.Weight != 100 {
		t.Errorf("it serves %s, the canary is %s with %d percent", st.Revision, st.Canary, st.Weight)
	}
	s.arms(t, 0, roles(st)["stable"])
	s.answers(t, s.Second)
	if s.Ask != nil {
		s.counted(t, 0, 0, requests)
	}
	must(t, s.withdraw(t))
	s.alone(t, s.First)

	// Step by step it comes to the same.
	must(t, s.StartCanary(ctx, s.token, s.Second, 50))
	s.arms(t, 1, 1)
	s.twice(t, func() error { return s.StartCanary(ctx, s.token, s.Second, 100) })
	eventually(t, "no baseline is left", func() bool { return roles(s.status(t))["baseline"]+roles(s.status(t))["leaving"] == 0 })
	s.arms(t, 0, roles(s.status(t))["stable"])
	s.answers(t, s.Second)
	canaries := roles(s.status(t))["canary"]
	must(t, s.Complete(ctx, s.token, s.Second))
	if n := roles(s.status(t)); n["stable"] != canaries || n["canary"] != 0 {
		t.Errorf("completed, it has instances %v, want the %d canaries as stable", n, canaries)
	}
	must(t, s.withdraw(t))
	s.alone(t, s.First)
}

func (s *suite) canaryUnready(t *testing.T) {
	want(t, s.StartCanary(t.Context(), s.token, s.Unready, 50), target.ErrNotReady)
	s.answers(t, s.First)
	must(t, s.Withdraw(t.Context(), s.token))
	s.alone(t, s.First)
}

func (s *suite) completedWithdrawn(t *testing.T) {
	must(t, s.StartCanary(t.Context(), s.token, s.Second, 50))
	s.twice(t, func() error { return s.Complete(t.Context(), s.token, s.Second) })
	eventually(t, "the baseline ends", func() bool { return roles(s.status(t))["baseline"]+roles(s.status(t))["leaving"] == 0 })
	if st := s.status(t); st.Revision != s.Second.ID() || st.Warm != s.First.Release || st.Canary != "" || st.Weight != 0 {
		t.Errorf("it serves %s with %q warm and the canary %q, want %s with %s warm", st.Revision, st.Warm, st.Canary, s.Second.ID(), s.First.Release)
	}
	s.answers(t, s.Second)
	// Twice, too: what was withdrawn must not come back.
	s.twice(t, func() error { return s.Withdraw(t.Context(), s.token) })
	s.alone(t, s.First)
}

func (s *suite) completed(t *testing.T) {
	must(t, s.StartCanary(t.Context(), s.token, s.Second, 50))
	must(t, s.Complete(t.Context(), s.token, s.Second))
	s.twice(t, func() error { return s.Retire(t.Context(), s.token) })
	s.alone(t, s.Second)
	// With the previous release gone there is nothing to go back to.
	must(t, s.Withdraw(t.Context(), s.token))
	s.alone(t, s.Second)
}

func (s *suite) unready(t *testing.T) {
	want(t, s.Complete(t.Context(), s.token, s.Unready), target.ErrNotReady)
	s.answers(t, s.Second)
	must(t, s.Withdraw(t.Context(), s.token))
	s.alone(t, s.Second)
}

func (s *suite) withoutCanary(t *testing.T) {
	must(t, s.Complete(t.Context(), s.token, s.First))
	s.answers(t, s.First)
	must(t, s.Retire(t.Context(), s.token))
	s.alone(t, s.First)
}

func (s *suite) fenced(t *testing.T) {
	must(t, s.Retire(t.Context(), s.token)) // so that this token is seen
	ctx, old := t.Context(), s.token-1
	want(t, s.Migrate(ctx, old, s.Second), target.ErrFenced)
	want(t, s.StartCanary(ctx, old, s.Second, 50), target.ErrFenced)
	want(t, s.Complete(ctx, old, s.Second), target.ErrFenced)
	want(t, s.Withdraw(ctx, old), target.ErrFenced)
	want(t, s.Retire(ctx, old), target.ErrFenced)
	if st := s.status(t); st.Token != s.token {
		t.Errorf("the highest token is %d, want %d", st.Token, s.token)
	}
	s.alone(t, s.First)
}

// twice gives a command again: nothing may be done twice.
func (s *suite) twice(t *testing.T, command func() error) {
	t.Helper()
	must(t, command())
	before := s.status(t)
	must(t, command())
	after := s.status(t)
	if before.Revision != after.Revision || before.Canary != after.Canary || before.Warm != after.Warm || before.Weight != after.Weight {
		t.Errorf("the same command again changed %+v to %+v", before, after)
	}
	known := map[string]bool{}
	for _, in := range before.Instances {
		known[in.ID] = true
	}
	for _, in := range after.Instances {
		if !known[in.ID] {
			t.Errorf("the same command again started instance %s", in.ID)
		}
	}
}

// alone checks that rev, or nothing where it has no release, has all traffic at
// once, and soon all instances.
func (s *suite) alone(t *testing.T, rev target.Revision) {
	t.Helper()
	id, least := "", 0
	if rev.Release != "" {
		id, least = rev.ID(), rev.Environment.Instances.Min
	}
	st := s.status(t)
	if st.Revision != id || st.Stable != rev.Release || st.Canary != "" || st.Warm != "" || st.Weight != 0 {
		t.Errorf("it serves %q with %q warm and %d percent to the canary %q, want %q alone", st.Revision, st.Warm, st.Weight, st.Canary, id)
	}
	s.answers(t, rev)
	eventually(t, "no instance is left but those that serve", func() bool {
		st = s.status(t)
		n := roles(st)
		return n["stable"] >= least && n["stable"] == len(st.Instances)
	})
	for _, in := range st.Instances {
		if in.Release != rev.Release || in.Health != target.Healthy {
			t.Errorf("instance %s runs %s and is %s", in.ID, in.Release, in.Health)
		}
	}
	if st.Restarts != 0 {
		t.Errorf("%d instances have ended unasked", st.Restarts)
	}
}

// answers checks that every request is answered by rev.
func (s *suite) answers(t *testing.T, rev target.Revision) {
	t.Helper()
	if s.Ask == nil || rev.Release == "" {
		return
	}
	if seen := s.ask(t); seen[rev.Release] != requests {
		t.Errorf("answers by release: %v, want all %d of %s", seen, requests, rev.Release)
	}
}

func (s *suite) ask(t *testing.T) map[string]int {
	t.Helper()
	seen := map[string]int{}
	for range requests {
		seen[s.Ask(t)]++
	}
	return seen
}

func (s *suite) status(t *testing.T) target.Status {
	t.Helper()
	st, err := s.Status(t.Context())
	must(t, err)
	return st
}

func ids(st target.Status) (out []string) {
	for _, in := range st.Instances {
		out = append(out, in.ID)
	}
	slices.Sort(out)
	return out
}

func roles(st target.Status) map[string]int {
	n := map[string]int{}
	for _, in := range st.Instances {
		n[in.Role]++
	}
	return n
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, err, sentinel error) {
	t.Helper()
	if !errors.Is(err, sentinel) {
		t.Fatalf("got error %v, want one that is %q", err, sentinel)
	}
	others := map[string]error{"fenced": target.ErrFenced, "not ready": target.ErrNotReady, "migration": target.ErrMigration}
	for _, name := range slices.Sorted(maps.Keys(others)) {
		if other := others[name]; !errors.Is(sentinel, other) && errors.Is(err, other) {
			t.Errorf("error %v is %s as well", err, name)
		}
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}
