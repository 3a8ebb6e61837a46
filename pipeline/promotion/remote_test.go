package promotion

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/ledger"
)

// fleet are machines whose ledgers share a remote, a real bare repository.
type fleet struct {
	t        *testing.T
	remote   string
	trust    *environments.Trust
	machines []*stage
}

var everything = []string{ledger.Measure, ledger.Decide, ledger.Promote, ledger.Approve, ledger.Daemon}

func newFleet(t *testing.T, n int) *fleet {
	t.Helper()
	f := &fleet{t: t, remote: filepath.Join(t.TempDir(), "remote.git")}
	gitIn(t, t.TempDir(), "init", "-q", "--bare", f.remote)
	f.trust = &environments.Trust{Remote: f.remote}
	var keys []*ledger.Key
	var dirs []string
	for i := range n {
		dir := filepath.Join(t.TempDir(), fmt.Sprint("machine-", i))
		key, _, err := ledger.LoadOrCreateKey(filepath.Join(dir, "key"))
		must(t, err)
		f.trust.Keys = append(f.trust.Keys, environments.Key{ID: key.ID(), Name: filepath.Base(dir), May: everything})
		keys, dirs = append(keys, key), append(dirs, dir)
	}
	for i := range n {
		s := sceneOf(t, dirs[i], keys[i], f.trust)
		target := newFake("production")
		f.machines = append(f.machines, &stage{scene: s, target: target, engine: s.engine("production", target)})
	}
	return f
}

// again is another process on the state of machine i, with its target.
func (f *fleet) again(i int) *stage {
	old := f.machines[i]
	s := sceneOf(f.t, old.dir, old.key, f.trust)
	return &stage{scene: s, target: old.target, engine: s.engine("production", old.target)}
}

func gitIn(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"-c", "user.name=Bob", "-c", "user.email=bob@example.org", "-c", "protocol.file.allow=always"}, args...)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// away makes the remote unreachable until the returned function is called.
func (f *fleet) away() (back func()) {
	f.t.Helper()
	must(f.t, os.Rename(f.remote, f.remote+".away"))
	return func() { must(f.t, os.Rename(f.remote+".away", f.remote)) }
}

func (s *scene) sync() ledger.Synced {
	s.t.Helper()
	got, err := s.journal.Sync(s.t.Context())
	must(s.t, err)
	return got
}

func (f *fleet) syncAll() {
	for range 2 {
		for _, m := range f.machines {
			m.sync()
		}
	}
}

// steps records the steps of a promotion as an engine would, without a target.
func (s *scene) promotion(t Transition, steps ...Step) Transition {
	s.t.Helper()
	t.Environment, t.State = "production", Running
	if t.Release == "" {
		t.Release = digest('a')
	}
	for _, step := range steps {
		t.Step = step
		if step == End {
			t.State = Succeeded
		}
		seq, err := s.journal.Record(s.t.Context(), t)
		must(s.t, err)
		if step == Begin {
			t.Token = seq
		}
	}
	return t
}

// agree fails unless all machines have the same ledger and fold it to the same.
func (f *fleet) agree() *EnvironmentView {
	f.t.Helper()
	f.syncAll()
	first := f.machines[0].view()
	for _, m := range f.machines[1:] {
		if v := m.view(); v.at != first.at {
			f.t.Errorf("entry %d is %.19s, and %d is %.19s elsewhere", first.Seq, first.at, v.Seq, v.at)
		}
		if d := cmp.Diff(first.Environment("production"), m.view().Environment("production")); d != "" {
			f.t.Error(d)
		}
	}
	for _, m := range f.machines {
		if _, err := m.ledger.Verify(f.t.Context()); err != nil {
			f.t.Error(err)
		}
	}
	return first.Environment("production")
}

// TestAPromotionThatLostAtTheRemote is recorded as refused, and what belonged to
// it is nowhere; one that carries out the same request leaves nothing at all.
func TestAPromotionThatLostAtTheRemote(t *testing.T) {
	for name, c := range map[string]struct {
		theirs, ours []Step
		request      string // ours
		kind         Kind
		want         string // what became of ours; empty: no record
	}{
		"theirs is under way":        {[]Step{Begin, Migrate}, []Step{Begin, Complete, Retire, End}, "ours", Rollback, "request theirs by"},
		"theirs has ended":           {[]Step{Begin, Complete, End}, []Step{Begin, Complete, Retire, End}, "ours", Rollback, "production has changed since this was judged"},
		"forward, not yet published": {[]Step{Begin}, []Step{Begin}, "ours", Promote, "request theirs by"},
		"the same request":           {[]Step{Begin, Complete, End}, []Step{Begin, Complete, End}, "theirs", Rollback, ""},
		"the same one, under way":    {[]Step{Begin}, []Step{Begin, Complete, End}, "theirs", Rollback, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, 2)
			a, b := f.machines[0], f.machines[1]
			f.syncAll()
			theirs := a.promotion(Transition{Request: "theirs", Kind: Promote, Record: "x", By: "Ann"}, c.theirs...)
			a.sync()
			// Both have the same number for the token, to begin with.
			ours := b.promotion(Transition{Request: c.request, Kind: c.kind, Record: "y", By: "Bob", Release: digest('b')}, c.ours...)
			if ours.Token != theirs.Token {
				t.Fatal(ours.Token, theirs.Token)
			}
			b.sync()
			ev := f.agree()
			if c.want != "" {
				got := ev.Consumed["ours"]
				if got == nil || got.State != Refused || got.Code != CodeLocked || !strings.Contains(got.Why, c.want) || !strings.Contains(got.Why, "first at the remote") {
					t.Errorf("ours ended as %+v", got)
				}
			}
			n := 0
			for _, h := range ev.History {
				if h.Release == digest('b') {
					n++
				}
			}
			if want := min(1, len(c.want)); n != want {
				t.Errorf("%d ends of ours are on record, want %d", n, want)
			}
			ended := slices.Contains(c.theirs, End)
			if (ev.Active == nil) != ended || !ended && ev.Active.Request != "theirs" || ended && ev.Desired != "x" {
				t.Errorf("theirs was disturbed: %+v", ev)
			}
			if !ended {
				// And it goes on by its token.
				theirs.Step, theirs.State = End, Succeeded
				_, err := a.journal.Record(t.Context(), theirs)
				must(t, err)
				if ev = f.agree(); ev.Active != nil || ev.Desired != "x" {
					t.Errorf("%+v", ev)
				}
			}
		})
	}
}

// TestARollbackWaitsForNoRemote: it is recorded behind the others' entries when
// it has ended, with its steps, whatever number its beginning has then.
func TestARollbackWaitsForNoRemote(t *testing.T) {
	f := newFleet(t, 2)
	a, b := f.machines[0], f.machines[1]
	f.syncAll()
	must(t, a.journal.Hold(t.Context(), Hold{Environment: "staging", Reason: "x"}))
	must(t, a.journal.Hold(t.Context(), Hold{Environment: "production", Reason: "no way forward"}))
	a.sync()
	under := b.promotion(Transition{Request: "r", Kind: Rollback, Record: "x"}, Begin)
	before := b.view().at
	if _, err := b.journal.Sync(t.Context()); !errors.Is(err, ledger.ErrBusy) || strings.Contains(err.Error(), "\n") {
		t.Fatal(err)
	}
	if b.view().at != before {
		t.Error("the ground moved under a rollback")
	}
	under.Token, under.Step = 1, Complete
	b.promotion(under, Complete, Retire, End)
	seq := b.view().Seq
	b.sync()
	ev := f.agree()
	if end := ev.Consumed["r"]; end == nil || end.State != Succeeded || end.Token != 1 || ev.Desired != "x" || ev.Active != nil || ev.Token != 1 {
		t.Errorf("%+v", ev)
	}
	if v := b.view(); v.Seq <= seq {
		t.Error("a later token could be lower")
	}
	records, err := b.ledger.Entries(t.Context(), 0)
	must(t, err)
	if r := records[3]; r.Entry.Was != 1 || r.Entry.First() != 1 {
		t.Errorf("%+v", r.Entry)
	}
	if last := records[len(records)-1].Entry; last.Was != 0 && last.Was == last.Seq {
		t.Errorf("%+v", last)
	}
}

// TestTokensNeverGoDown, however often what is recorded has to move.
func TestTokensNeverGoDown(t *testing.T) {
	f := newFleet(t, 3)
	f.syncAll()
	highest := map[int]int64{}
	for round := range 6 {
		for i, m := range f.machines {
			request := fmt.Sprintf("r%d-%d", round, i)
			from := m.view().Environment("production").Desired
			got := m.promotion(Transition{Request: request, Kind: Rollback, Record: request, From: from}, Begin, Complete, End)
			if got.Token <= highest[i] {
				t.Errorf("machine %d has token %d after %d", i, got.Token, highest[i])
			}
			highest[i] = got.Token
		}
		for _, m := range f.machines {
			m.sync()
		}
	}
	ev := f.agree()
	if len(ev.History) != 18 {
		t.Errorf("%d promotions ended, want 18", len(ev.History))
	}
	for _, h := range ev.History {
		if h.State != Succeeded && h.State != Refused {
			t.Errorf("%+v", h)
		}
	}
}

// TestForwardIsPublishedFirst: before the first command to the target, the
// remote knows of the promotion.
func TestForwardIsPublishedFirst(t *testing.T) {
	f := newFleet(t, 2)
	a, b := f.machines[0], f.machines[1]
	a.release(releaseRecord('a'))
	var once sync.Once
	a.target.before = func(op string) {
		once.Do(func() {
			b.sync()
			if ev := b.view().Environment("production"); ev.Active == nil || ev.Active.Token != ev.Token {
				t.Errorf("%s came before anybody knew of it", op)
			}
		})
	}
	stop := a.run(a.engine)
	a.expect(a.settled("production", a.ask("production", 'a')), Succeeded, CodePass)
	stop()
	if ev := f.agree(); ev.Active != nil || len(ev.History) != 1 || ev.Executor[0] != a.key.ID() {
		t.Errorf("%+v", ev)
	}
}

func TestTheRemoteIsAway(t *testing.T) {
	f := newFleet(t, 2)
	a, b := f.machines[0], f.machines[1]
	for _, c := range "ab" {
		a.release(releaseRecord(byte(c)))
	}
	stop := a.run(a.engine)
	a.expect(a.settled("production", a.ask("production", 'a')), Succeeded, CodePass)
	a.prove(releaseRecord('b')) // its update is from a now
	a.expect(a.settled("production", a.ask("production", 'b')), Succeeded, CodePass)
	a.sync()
	back := f.away()
	forward := a.ask("production", 'a')
	eventually(t, "the forward request is tried", func() bool {
		last, err := a.ledger.LastSync()
		return err == nil && last != nil && last.Error != ""
	})
	if got := a.view().Environment("production").Consumed[forward]; got != nil {
		t.Errorf("forward without the remote: %+v", got)
	}
	backward := a.ask("production", 'a', func(r *Request) { r.Rollback = true })
	a.expect(a.settled("production", backward), Succeeded, CodePass)
	a.expect(a.settled("production", forward), Refused, CodeLocked, "another request was first")
	must(t, a.journal.Hold(t.Context(), Hold{Environment: "production", Reason: "incident", By: "ann"}))
	stop()
	// Others have gone on meanwhile.
	must(t, b.journal.Hold(t.Context(), Hold{Environment: "staging", Reason: "x", By: "bob"}))
	back()
	ev := f.agree()
	if r := a.view().Releases[ev.Desired]; r == nil || r.Release != digest('a') || ev.Hold == nil {
		t.Errorf("%+v", ev)
	}
	a.sound(digest('a'))
}

// TestOneExecutes: a daemon elsewhere leaves the environment alone, also what is
// under way there, until somebody says that it shall take over.
func TestOneExecutes(t *testing.T) {
	f := newFleet(t, 2)
	a, b := f.machines[0], f.machines[1]
	a.release(releaseRecord('a'))
	a.release(releaseRecord('b'))
	stop := a.run(a.engine)
	a.expect(a.settled("production", a.ask("production", 'a')), Succeeded, CodePass)
	stop()
	a.prove(releaseRecord('b'))
	a.sync()
	b.sync()
	request := b.ask("production", 'b')
	for range 3 {
		if err := b.engine.once(t.Context()); !errors.Is(err, ErrElsewhere) || !strings.Contains(err.Error(), a.key.ID()) {
			t.Errorf("got %v", err)
		}
	}
	if len(b.target.ops()) > 0 || b.view().Environment("production").Consumed[request] != nil {
		t.Error("two execute in one environment")
	}
	// Its own daemon takes it, from the remote.
	b.sync()
	a = f.again(0)
	a.sync()
	stop = a.run(a.engine)
	a.expect(a.settled("production", request), Succeeded, CodePass)
	stop()

	// It dies in the middle of the next one.
	a.release(releaseRecord('c'))
	a.promotion(Transition{Request: "dead", Kind: Promote, Record: "z", From: a.view().Environment("production").Desired}, Begin, Migrate, Canary)
	a.sync()
	b.sync()
	if err := b.engine.once(t.Context()); !errors.Is(err, ErrElsewhere) || b.view().Environment("production").Active == nil {
		t.Error("what is under way elsewhere was taken for one's own:", err)
	}
	b.engine.Claim = true
	must(t, b.engine.once(t.Context()))
	ev := b.view().Environment("production")
	if got := ev.Consumed["dead"]; got == nil || got.State != Aborted || ev.Active != nil || !slices.Equal(ev.Executor, []string{b.key.ID()}) {
		t.Errorf("%+v", ev)
	}
	if released(b.target.stable) != digest('b') {
		t.Errorf("%q serves after the takeover", released(b.target.stable))
	}
	// From now on without being told, and the other one has lost.
	b = f.again(1)
	must(t, b.engine.once(t.Context()))
	b.sync()
	a = f.again(0)
	a.sync()
	if err := a.engine.once(t.Context()); !errors.Is(err, ErrElsewhere) {
		t.Errorf("the old executor goes on: %v", err)
	}
}

// TestAnExecutorThatWasOvertaken gives the traffic back.
func TestAnExecutorThatWasOvertaken(t *testing.T) {
	f := newFleet(t, 2)
	a, b := f.machines[0], f.machines[1]
	a.serves('a')
	a.release(releaseRecord('b', func(r *ReleaseRecord) {
		r.Declarations.Environment("production").Promotion.Canary.Limit = environments.Duration(time.Hour)
	}))
	a.target.samples[digest('b')] = [2]int64{3, 0}
	request := a.ask("production", 'b')
	stop := a.run(a.engine)
	eventually(t, "the canary runs", func() bool { return slices.Contains(a.target.ops(), "canary") })
	b.sync()
	rev := releaseRecord('a').Revision("production")
	b.target.serve(&rev)
	b.engine.Claim = true
	must(t, b.engine.once(t.Context()))
	b.sync()
	a.sync()
	// Whatever ends its comparison, it has no say any more.
	must(t, a.journal.Hold(t.Context(), Hold{Environment: "production", Reason: "x", By: "ann"}))
	eventually(t, "the traffic is given back", func() bool { return slices.Contains(a.target.ops(), "withdraw") })
	stop()
	ev := f.agree()
	if got := ev.Consumed[request]; got == nil || got.State != Aborted || !strings.Contains(got.Why, "taken over") {
		t.Errorf("%+v", got)
	}
	if a.target.canary != nil || ev.Executor[0] != b.key.ID() {
		t.Errorf("%+v", ev)
	}
}

// TestWhoMayNotExecuteDoesNotTry: what it would record does not count, so that it
// would carry out the same request for ever.
func TestWhoMayNotExecuteDoesNotTry(t *testing.T) {
	f := newFleet(t, 2)
	f.trust.Keys[1].May = []string{ledger.Measure}
	a := f.machines[0]
	a.release(releaseRecord('a'))
	a.ask("production", 'a')
	a.sync()
	b := f.again(1)
	b.sync()
	seq := b.view().Seq
	for range 3 {
		if err := b.engine.once(t.Context()); !errors.Is(err, ErrUntrusted) || !strings.Contains(err.Error(), "may: [daemon]") {
			t.Error(err)
		}
	}
	if len(b.target.ops()) > 0 || b.view().Seq != seq {
		t.Error("it tried all the same")
	}
}

func TestAReleaseIsBroughtWhereItIsMissing(t *testing.T) {
	s := newStage(t)
	s.release(releaseRecord('a'))
	var asked []string
	boom := errors.New("no such commit")
	s.engine.Provide = func(_ context.Context, r *ReleaseRecord) error {
		asked = append(asked, r.Release)
		if len(asked) == 1 {
			return boom
		}
		return nil
	}
	stop := s.run(s.engine)
	s.expect(s.settled("production", s.ask("production", 'a')), Errored, CodeInternal, "no such commit; what served before serves on")
	s.called()
	s.expect(s.settled("production", s.ask("production", 'a')), Succeeded, CodePass)
	stop()
	// What is desired is brought, too, where the target has lost it.
	s.target.stable = nil
	s.engine.restored = false
	must(t, s.engine.once(t.Context()))
	if d := cmp.Diff([]string{digest('a'), digest('a'), digest('a')}, asked); d != "" || released(s.target.stable) != digest('a') {
		t.Error(d)
	}
}

// TestBringingAReleaseStopsForARollback.
func TestBringingAReleaseStopsForARollback(t *testing.T) {
	s := newStage(t)
	s.serves('a')
	s.release(releaseRecord('b'))
	begun := make(chan struct{})
	s.engine.Provide = func(ctx context.Context, r *ReleaseRecord) error {
		close(begun)
		<-ctx.Done()
		return ctx.Err()
	}
	forward := s.ask("production", 'b')
	s.run(s.engine)
	<-begun
	back := s.ask("production", 'a', back)
	s.expect(s.settled("production", forward), Aborted, CodeLocked, "asked for a rollback", "nothing was touched")
	s.expect(s.settled("production", back), Succeeded, CodePass, "it serves already")
}

// TestCrashAnywhereWithARemote: the engine is killed at each moment while another
// machine records something, too. The ledger is one in the end, and says what
// serves.
func TestCrashAnywhereWithARemote(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED in short mode: killing the engine at each moment beside a remote takes about a minute")
	}
	for name, kind := range map[string]Kind{"forward": Promote, "back": Rollback} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 2)
			a, b := f.machines[0], f.machines[1]
			for _, c := range "ab" {
				a.release(releaseRecord(byte(c)))
			}
			stop := a.run(a.engine)
			a.expect(a.settled("production", a.ask("production", 'a')), Succeeded, CodePass)
			a.prove(releaseRecord('b'))
			a.expect(a.settled("production", a.ask("production", 'b')), Succeeded, CodePass)
			stop()
			ask := byte('a')
			if kind == Promote {
				a.release(releaseRecord('c'))
				ask = 'c'
			}
			request := a.ask("production", ask, func(r *Request) { r.Rollback = kind == Rollback })
			f.syncAll()
			for at := 1; ; at++ {
				dir := filepath.Join(t.TempDir(), fmt.Sprint("killed-at-", at))
				copyFolder(t, filepath.Dir(a.dir), filepath.Join(dir, "a"))
				copyFolder(t, filepath.Dir(b.dir), filepath.Join(dir, "b"))
				copyFolder(t, f.remote, filepath.Join(dir, "remote.git"))
				trust := *f.trust
				trust.Remote = filepath.Join(dir, "remote.git")
				at1 := func() *scene {
					return sceneOf(t, filepath.Join(dir, "a", filepath.Base(a.dir)), a.key, &trust)
				}
				other := sceneOf(t, filepath.Join(dir, "b", filepath.Base(b.dir)), b.key, &trust)
				fake := a.target.clone()
				passed, _ := untilIn(t, at1(), fake, at)
				must(t, other.journal.Hold(t.Context(), Hold{Environment: "staging", Reason: fmt.Sprint("meanwhile ", at), By: "bob"}))
				other.sync()
				_, last := untilIn(t, at1(), fake, 0)
				last.sync()
				other.sync()
				if x, y := last.view(), other.view(); x.at != y.at {
					t.Errorf("killed at %d: not one ledger", at)
				}
				ev := last.view().Environment("production")
				end := ev.Consumed[request]
				serving := released(fake.stable)
				if end == nil || (end.State == Succeeded) != (serving == digest(ask)) || kind == Rollback && end.State != Succeeded {
					t.Errorf("killed at %d: %.19s serves, and the request ended as %+v", at, serving, end)
				}
				world := &stage{scene: last, target: fake}
				world.sound(serving)
				if t.Failed() {
					t.Fatalf("commands: %v", fake.ops())
				}
				if passed < at {
					return
				}
			}
		})
	}
}
