package promotion

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/target"
)

// contracting is a target that can carry out contracts.
type contracting struct {
	*fake
	done []string // releases whose contract was carried out
	err  error
}

func (c *contracting) Contract(ctx context.Context, token int64, rev target.Revision) error {
	return c.command(ctx, "contract", token, &rev, func() error {
		if c.err == nil {
			c.done = append(c.done, rev.Release)
		}
		return c.err
	})
}

func contracts(name string) func(*ReleaseRecord) {
	return func(r *ReleaseRecord) {
		r.Declarations.App.Migrate.Contract = &environments.Contract{Name: name, Args: []string{"contract"}}
	}
}

func (s *stage) contracting() *contracting {
	c := &contracting{fake: s.target}
	s.engine.Target = c
	return c
}

// TestContract: it comes after the soak, once, and is the point of no return.
func TestContract(t *testing.T) {
	s := newStage(t)
	c := s.contracting()
	first := s.serves('a')
	second := s.release(releaseRecord('b', contracts("drop-old")))
	s.release(releaseRecord('c', contracts("drop-old")))
	if why := s.view().NoReturn("production", s.view().Releases[second]); !strings.Contains(why, "drop-old") || !strings.Contains(why, "can't go back") {
		t.Errorf("it is not announced: %q", why)
	}
	s.watched()
	before := s.target.before
	s.target.before = func(op string) {
		if op != "contract" {
			before(op)
		}
	}
	s.expect(s.promote('b'), Succeeded, CodePass)
	s.called("migrate", "canary", "complete", "retire", "contract")
	s.sound(digest('b'))

	v := s.view()
	if got := v.PreviousRecord("production"); got != "" {
		t.Errorf("%.19s can be gone back to", got)
	}
	if why := v.NoWayBackTo("production", first); !strings.Contains(why, "the contract drop-old, begun with release bbbbbbbbbbbb") {
		t.Errorf("the refusal says %q", why)
	}
	s.expect(s.settled("production", s.ask("production", 'a', back)), Refused, CodeUsage, "drop-old", "took away what it needs")
	s.expect(s.settled("production", s.ask("production", 'a')), Refused, CodeUsage, "drop-old", "took away what it needs")

	// The next release has nothing more to do, and is a way back from.
	s.prove(releaseRecord('c', contracts("drop-old")))
	if why := v.NoReturn("production", v.Releases[v.Find(digest('c'))[0]]); why != "" {
		t.Errorf("announced again: %s", why)
	}
	s.expect(s.settled("production", s.ask("production", 'c')), Succeeded, CodePass)
	s.expect(s.settled("production", s.ask("production", 'b', back)), Succeeded, CodePass)
	if len(c.done) != 1 {
		t.Errorf("it was carried out for %.15v", c.done)
	}
	s.sound(digest('b'))
}

func TestContractThatFails(t *testing.T) {
	s := newStage(t)
	c := s.contracting()
	s.serves('a')
	s.release(releaseRecord('b', contracts("drop-old")))
	c.err = fmt.Errorf("%w: a lock", target.ErrMigration)
	s.expect(s.promote('b'), Succeeded, CodePass, "its contract drop-old failed", "a lock")
	s.sound(digest('b'))
	// What it has done nobody knows: there is no way back, and it is tried again.
	if why := s.view().NoWayTo("production", digest('a')); why == "" {
		t.Error("the release before may serve again")
	}
	c.err = nil
	rec := releaseRecord('c', contracts("drop-old"))
	s.release(rec)
	s.expect(s.settled("production", s.ask("production", 'c')), Succeeded, CodePass)
	if len(c.done) != 1 {
		t.Errorf("it was carried out for %.15v", c.done)
	}
}

// TestContractIsRefusedWhereItCantRun: before anything is touched.
func TestContractIsRefusedWhereItCantRun(t *testing.T) {
	s := newStage(t)
	s.serves('a')
	s.release(releaseRecord('b', contracts("drop-old")))
	s.expect(s.promote('b'), Refused, CodeUsage, "leave migrate.contract out")
	s.called()
}

// TestContractWaitsWhereReleasesAreDrilled: in the first environment the release
// before must be able to serve until the next one comes.
func TestContractWaitsWhereReleasesAreDrilled(t *testing.T) {
	s := newScene(t)
	f := newFake("staging")
	c := &contracting{fake: f}
	e := s.engine("staging", f)
	e.Target = c
	for _, l := range "ab" {
		s.release(releaseRecord(byte(l), contracts("of-"+string(l))))
	}
	s.run(e)
	ask := func(c byte, change ...func(*Request)) Transition {
		return s.settled("staging", s.ask("staging", c, change...))
	}
	if got := ask('a'); got.State != Succeeded || len(c.done) != 0 {
		t.Fatalf("%+v, contracts of %v", got, c.done)
	}
	if got := ask('b'); got.State != Succeeded || !slices.Equal(c.done, []string{digest('a')}) || got.Contract != "of-a" || !got.Overdue {
		t.Fatalf("%+v, contracts of %v", got, c.done)
	}
	// b's own waits: a, whose contract is done, can serve again.
	if got := ask('a', back); got.State != Succeeded {
		t.Errorf("%+v", got)
	}
	if len(c.done) != 1 {
		t.Errorf("contracts of %v", c.done)
	}
}

// TestContractIsResumed: killed in the midst of it, it is carried out, and the
// release stays.
func TestContractIsResumed(t *testing.T) {
	s := newStage(t)
	c := s.contracting()
	from := s.serves('a')
	record := s.release(releaseRecord('b', contracts("drop-old")))
	rev := s.view().Releases[record].Revision("production")
	s.target.serve(&rev)
	tr := Transition{Request: s.ask("production", 'b'), Kind: Promote, Environment: "production", Record: record, Release: digest('b'), From: from}
	var err error
	tr.Token, err = s.engine.begin(t.Context(), &tr)
	must(t, err)
	tr.Contract = "drop-old"
	for _, step := range []Step{Complete, Retire, Contract} {
		must(t, s.engine.record(t.Context(), &tr, step, ""))
	}
	if v := s.view(); v.Environment("production").Desired != record {
		t.Error("what serves beyond the point of no return is not what is desired")
	}
	s.run(s.engine)
	s.expect(s.settled("production", tr.Request), Succeeded, CodePass)
	if !slices.Equal(c.done, []string{digest('b')}) {
		t.Errorf("contracts of %v", c.done)
	}
	s.sound(digest('b'))
}

// TestWaysBack: to go back twice goes further back, and never forward again to
// what was gone back from.
func TestWaysBack(t *testing.T) {
	s := newStage(t)
	s.serves('a')
	s.run(s.engine)
	for _, c := range "bc" {
		s.release(releaseRecord(byte(c)))
		s.prove(releaseRecord(byte(c)))
		s.expect(s.settled("production", s.ask("production", byte(c))), Succeeded, CodePass)
	}
	previous := func() string {
		v := s.view()
		if r := v.Releases[v.PreviousRecord("production")]; r != nil {
			return r.Release
		}
		return ""
	}
	for _, to := range "ba" {
		if got := previous(); got != digest(byte(to)) {
			t.Fatalf("the way back leads to %.12s, want %c", got, to)
		}
		s.expect(s.settled("production", s.ask("production", byte(to), back)), Succeeded, CodePass)
	}
	if got := previous(); got != "" {
		t.Errorf("there is a way back to %.12s", got)
	}
	s.expect(s.settled("production", s.ask("production", 'c', back)), Refused, CodeUsage, "was rolled back from release cccc", "gate promote")
	// Judged anew, it may come back, and be gone back from again.
	s.prove(releaseRecord('c'))
	s.expect(s.settled("production", s.ask("production", 'c')), Succeeded, CodePass)
	if got := previous(); got != digest('a') {
		t.Errorf("the way back leads to %.12s", got)
	}
	s.sound(digest('c'))
}

// TestRollbackWhoseAnswerIsLost: it serves what was asked for, and not what
// somebody fled from.
func TestRollbackWhoseAnswerIsLost(t *testing.T) {
	s := newStage(t)
	s.serves('a')
	s.release(releaseRecord('b'))
	s.expect(s.promote('b'), Succeeded, CodePass)
	s.engine.Target = lossy{s.target}
	s.expect(s.settled("production", s.ask("production", 'a', back)), Succeeded, CodePass)
	s.sound(digest('a'))
}

// lossy loses the answers of Complete.
type lossy struct{ *fake }

func (l lossy) Complete(ctx context.Context, token int64, rev target.Revision) error {
	return errors.Join(l.fake.Complete(ctx, token, rev), errors.New("no answer"))
}

// TestContractIsNotBegun: somebody who wants back, or that nothing moves, is heard
// until the last moment.
func TestContractIsNotBegun(t *testing.T) {
	s := newStage(t)
	c := s.contracting()
	s.serves('a')
	s.release(releaseRecord('b', contracts("drop-old")))
	var asked string
	s.target.before = func(op string) {
		if op == "retire" && asked == "" {
			asked = s.ask("production", 'a', back)
		}
	}
	s.expect(s.promote('b'), Succeeded, CodePass, "its contract drop-old was not begun", "asked for a rollback")
	s.expect(s.settled("production", asked), Succeeded, CodePass)
	if s.sound(digest('a')); len(c.done) != 0 {
		t.Errorf("it was carried out for %.15v", c.done)
	}

	s.target.before = func(op string) {
		if op == "retire" {
			must(t, s.journal.Hold(t.Context(), Hold{Environment: "production", Reason: "look at it", By: "ann", At: time.Now()}))
		}
	}
	s.expect(s.settled("production", s.ask("production", 'b')), Succeeded, CodePass, "its contract drop-old was not begun", "look at it")
	if len(c.done) != 0 {
		t.Errorf("it was carried out for %.15v", c.done)
	}
}

// TestContractThatWasLeft is announced before the promotion that begins with it.
func TestContractThatWasLeft(t *testing.T) {
	s := newScene(t)
	f := newFake("staging")
	e := s.engine("staging", f)
	e.Target = &contracting{fake: f}
	a := s.release(releaseRecord('a', contracts("drop-old")))
	b := s.release(releaseRecord('b'))
	s.run(e)
	if got := s.settled("staging", s.ask("staging", 'a')); got.State != Succeeded {
		t.Fatalf("%+v", got)
	}
	v := s.view()
	if why := v.NoReturn("staging", v.Releases[b]); !strings.Contains(why, "drop-old, which release aaaaaaaaaaaa has left") {
		t.Errorf("it is not announced: %q", why)
	}
	if why := v.NoReturn("staging", v.Releases[a]); strings.Contains(why, "has left") {
		t.Errorf("what serves begins nothing: %q", why)
	}
}

// TestStoppedInComplete: a rollback does not wait until the release has all the
// traffic, and what it would take from there on is not begun.
func TestStoppedInComplete(t *testing.T) {
	s := newStage(t)
	s.serves('a')
	s.release(releaseRecord('b'))
	var asked string
	s.target.before = func(op string) {
		if op == "complete" && asked == "" {
			asked = s.ask("production", 'a', back)
			// It takes its time, as instances that start do.
			for deadline := time.Now().Add(10 * s.engine.Tick); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			}
		}
	}
	s.expect(s.promote('b'), Aborted, CodeLocked, "asked for a rollback")
	s.settled("production", asked)
	s.sound(digest('a'))
}
