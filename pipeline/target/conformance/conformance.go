// Package conformance is what every target must do, as tests: a fake in memory
// and a daemon with real processes pass the same suite.
package conformance

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

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
	if n := roles(st)["canary"]; n != 1 {
		t.Errorf("%d canaries, want 1", n)
	}
	if s.Ask != nil {
		seen := s.ask(t)
		if seen[s.First.Release] == 0 || seen[s.Second.Release] == 0 || len(seen) != 2 {
			t.Errorf("answers by release: %v, want some of both", seen)
		}
		eventually(t, "each request is counted at its arm", func() bool {
			arms, err := s.Arms(t.Context())
			must(t, err)
			return arms.Stable.Release == s.First.Release && arms.Canary.Release == s.Second.Release &&
				arms.Stable.Requests == int64(seen[s.First.Release]) && arms.Canary.Requests == int64(seen[s.Second.Release]) &&
				arms.Stable.Errors+arms.Canary.Errors == 0 && !arms.Since.IsZero()
		})
	}
	s.twice(t, func() error { return s.Withdraw(t.Context(), s.token) })
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
