package promotion

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/ledger"
)

func TestReleaseIsRecordedOnce(t *testing.T) {
	s := newScene(t)
	record := func(change ...func(*ReleaseRecord)) string {
		t.Helper()
		d, err := s.journal.Release(t.Context(), releaseRecord('a', change...))
		must(t, err)
		return d
	}
	first := record()
	if again := record(); again != first || s.view().Seq != 1 {
		t.Errorf("the same release is on record twice: %s, %s", first, again)
	}
	other := record(func(r *ReleaseRecord) { r.Commit = commitOf('b') })
	if other == first {
		t.Error("another commit has the same record")
	}
	if d := record(); d != first {
		t.Error("another commit's record hides this one's")
	}
	dirty := record(func(r *ReleaseRecord) {
		r.Dirty = true
		r.Declarations.Environment("staging").Config["LOG_LEVEL"] = "debug"
	})
	if dirty == first {
		t.Error("a dirty tree has the clean commit's record")
	}
	clean := record()
	s.ask("staging", 'a')
	pending, err := s.journal.Pending(t.Context(), s.view(), "staging")
	must(t, err)
	if len(pending) != 1 || pending[0].Record != clean || s.view().Releases[clean].Dirty {
		t.Errorf("the request means %+v, want the clean record %s", pending, clean)
	}
}

func TestRecordIf(t *testing.T) {
	s := newScene(t)
	begin := Transition{Request: "r1", Environment: "staging", Release: digest('a'), Step: Begin, State: Running}
	seq, err := s.journal.RecordIf(t.Context(), begin, func(v *View) error {
		if v.Environment("staging").Active != nil {
			return errors.New("busy")
		}
		return nil
	})
	must(t, err)
	if got := s.view().Environment("staging").Active; got == nil || got.Token != seq {
		t.Fatalf("under way: %+v, want token %d", got, seq)
	}
	busy := errors.New("request r1 is under way")
	_, err = s.journal.RecordIf(t.Context(), begin, func(v *View) error {
		if v.Environment("staging").Active == nil {
			t.Error("the precondition was not asked of the newest state")
		}
		return busy
	})
	if !errors.Is(err, ErrLost) || !errors.Is(err, busy) || !strings.Contains(err.Error(), "r1 is under way") {
		t.Errorf("got %v, want ErrLost with the reason", err)
	}
	if n := s.view().Seq; n != seq {
		t.Errorf("something was recorded: the ledger goes to %d, want %d", n, seq)
	}
}

// TestOnlyOneBegins: many who want the same thing at once, each with a handle
// of its own, as many processes would.
func TestOnlyOneBegins(t *testing.T) {
	first := newScene(t)
	var wg sync.WaitGroup
	errs := make([]error, 6)
	for i := range errs {
		s := sceneIn(t, first.dir, nil)
		wg.Go(func() {
			e := s.engine("staging", newFake("staging"))
			tr := Transition{Request: fmt.Sprint("r", i), Environment: "staging", Release: digest('a')}
			_, errs[i] = e.begin(t.Context(), &tr)
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, ErrLost) {
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d of %d have begun, want 1", won, len(errs))
	}
}

func TestBeginRechecksItsPreconditions(t *testing.T) {
	hold := func(s *scene) {
		must(t, s.journal.Hold(t.Context(), Hold{Environment: "staging", Reason: "freeze", By: "bob"}))
	}
	change := func(s *scene) {
		_, err := s.journal.Record(t.Context(), Transition{Request: "r0", Environment: "staging", Record: "x", Release: digest('b'), Step: End, State: Succeeded})
		must(t, err)
	}
	done := func(s *scene) {
		_, err := s.journal.Record(t.Context(), Transition{Request: "r1", Environment: "staging", Release: digest('a'), Step: End, State: Failed})
		must(t, err)
	}
	for name, c := range map[string]struct {
		meanwhile func(*scene)
		kind      Kind
		want      string
	}{
		"held meanwhile":               {hold, Promote, "held by bob: freeze"},
		"a rollback is never held":     {hold, Rollback, ""},
		"changed meanwhile":            {change, Promote, "staging has changed since this was judged"},
		"a rollback must see it too":   {change, Rollback, "staging has changed since this was judged"},
		"carried out by somebody else": {done, Promote, "carried out already"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			tr := Transition{Request: "r1", Environment: "staging", Release: digest('a'), Kind: c.kind}
			c.meanwhile(sceneIn(t, s.dir, nil))
			_, err := s.engine("staging", newFake("staging")).begin(t.Context(), &tr)
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (!errors.Is(err, ErrLost) || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestPending(t *testing.T) {
	s := newScene(t)
	record := s.release(releaseRecord('a'))
	one := s.ask("staging", 'a')
	two := s.ask("staging", 'b')
	s.ask("production", 'a')
	ids := func() (got []string) {
		t.Helper()
		pending, err := s.journal.Pending(t.Context(), s.view(), "staging")
		must(t, err)
		for _, r := range pending {
			got = append(got, r.ID)
		}
		return got
	}
	if d := cmp.Diff([]string{one, two}, ids()); d != "" {
		t.Fatal(d)
	}
	pending, err := s.journal.Pending(t.Context(), s.view(), "staging")
	must(t, err)
	if pending[0].Record != record || pending[0].By != "ann@example.org" || pending[1].Record != "" {
		t.Errorf("got %+v", pending)
	}
	_, err = s.journal.Record(t.Context(), Transition{Request: one, Environment: "staging", Release: digest('a'), Step: End, State: Refused})
	must(t, err)
	if d := cmp.Diff([]string{two}, ids()); d != "" {
		t.Error(d)
	}
}

// TestPendingMeansItsRecord: of several records of one release and commit the
// one that is named; without a name, to go forward a clean one before a dirty
// one, and to go back one that has served.
func TestPendingMeansItsRecord(t *testing.T) {
	s := newScene(t)
	level := func(l string, dirty bool) string {
		return s.release(releaseRecord('a', func(r *ReleaseRecord) {
			r.Dirty = dirty
			r.Declarations.Environment("staging").Config["LOG_LEVEL"] = l
		}))
	}
	served := level("info", true)
	_, err := s.journal.Record(t.Context(), Transition{Request: "r0", Environment: "staging", Record: served, Release: digest('a'), Step: End, State: Succeeded})
	must(t, err)
	clean, dirty := level("warn", false), level("debug", true)
	other := s.release(releaseRecord('b'))
	named := func(d string) func(*Request) { return func(r *Request) { r.Record = d } }
	s.ask("staging", 'a')
	s.ask("staging", 'a', named(dirty))
	s.ask("staging", 'a', named(other))
	s.ask("staging", 'a', back)
	s.ask("staging", 'a', back, named(clean))
	pending, err := s.journal.Pending(t.Context(), s.view(), "staging")
	must(t, err)
	var got []string
	for _, r := range pending {
		got = append(got, r.Record)
	}
	if d := cmp.Diff([]string{clean, dirty, "", served, clean}, got); d != "" {
		t.Error(d)
	}
}

func TestJournalsSeeEachOther(t *testing.T) {
	one := newScene(t)
	two := sceneIn(t, one.dir, nil)
	record := one.release(releaseRecord('a'))
	before := two.view()
	if before.Releases[record] == nil {
		t.Fatal("the other's release is not seen")
	}
	id := two.ask("staging", 'a')
	pending, err := one.journal.Pending(t.Context(), one.view(), "staging")
	must(t, err)
	if len(pending) != 1 || pending[0].ID != id {
		t.Errorf("the other's request is not seen: %+v", pending)
	}
	must(t, two.journal.Hold(t.Context(), Hold{Environment: "staging", Reason: "freeze"}))
	if one.view().Environment("staging").Hold == nil {
		t.Error("the other's hold is not seen")
	}
	if two.view().Environment("staging").Hold == nil || before.Environment("staging").Hold != nil {
		t.Error("a view has changed under its reader")
	}
	d, err := one.journal.Release(t.Context(), releaseRecord('a'))
	must(t, err)
	if again, err := two.journal.Release(t.Context(), releaseRecord('a')); err != nil || again != d {
		t.Errorf("the other recorded it again: %s, %v", again, err)
	}
}

// TestStrangersMoveNothing: on a ledger with a remote a machine's own key counts
// for what trust.yaml says, and no more.
func TestStrangersMoveNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	own, _, err := ledger.LoadOrCreateKey(filepath.Join(dir, "key"))
	must(t, err)
	id, err := own.KeyID()
	must(t, err)
	remote := filepath.Join(t.TempDir(), "remote.git")
	if out, err := exec.CommandContext(t.Context(), "git", "init", "-q", "--bare", remote).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	trust := &environments.Trust{Remote: remote, Keys: []environments.Key{{ID: id, Name: "ci", May: []string{"measure"}}}}
	s := sceneOf(t, dir, own, trust)
	record := s.release(releaseRecord('a'))
	must(t, s.journal.Hold(t.Context(), Hold{Environment: "staging", Reason: "freeze"}))
	_, err = s.journal.Record(t.Context(), Transition{Request: "r1", Environment: "staging", Record: record, Release: digest('a'), Step: End, State: Succeeded})
	must(t, err)
	v := s.view()
	e := v.Environment("staging")
	if v.Releases[record] == nil {
		t.Error("who may measure may not say what a commit became")
	}
	if e.Hold != nil || e.Desired != "" || len(e.Consumed) != 0 {
		t.Errorf("who may only measure has moved the environment: %+v", e)
	}
}

// TestUnreadableRequestIsTold: a commit of a person that asks for nothing.
func TestUnreadableRequestIsTold(t *testing.T) {
	s := newScene(t)
	s.release(releaseRecord('a'))
	s.ask("staging", 'a')
	botch(t, s)
	pending, err := s.journal.Pending(t.Context(), s.view(), "staging")
	must(t, err)
	if len(pending) != 2 || pending[0].Err != nil || pending[1].Err == nil || pending[1].Record != "" {
		t.Errorf("got %+v", pending)
	}
}

// botch commits something on env/staging that is no request.
func botch(t *testing.T, s *scene) {
	t.Helper()
	clone := filepath.Join(t.TempDir(), "clone")
	git := func(dir string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-c", "user.name=Bob", "-c", "user.email=bob@example.org", "-c", "protocol.file.allow=always"}, args...)...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	git(s.dir, "clone", "-q", "-b", "env/staging", s.ledger.Repository(), clone)
	git(clone, "rm", "-q", "request.json")
	git(clone, "commit", "-q", "-m", "oops")
	git(clone, "push", "-q", "origin", "env/staging")
}

func TestTimesAreKept(t *testing.T) {
	s := newScene(t)
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	must(t, s.journal.Hold(t.Context(), Hold{Environment: "staging", Reason: "freeze", By: "bob", At: at}))
	if d := cmp.Diff(&Hold{Environment: "staging", Reason: "freeze", By: "bob", At: at}, s.view().Environment("staging").Hold); d != "" {
		t.Error(d)
	}
}
