package promotion

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/ledger"
)

// promoting changes what a release declares of promotions into production.
func promoting(change func(*environments.Promotion)) func(*ReleaseRecord) {
	return func(r *ReleaseRecord) { change(&r.Declarations.Environment("production").Promotion) }
}

// frozen is a window that every moment is in but those of Wednesdays.
func frozen(r *ReleaseRecord) {
	promoting(func(p *environments.Promotion) {
		p.Freeze = []environments.Freeze{{From: "Thu", To: "Wed", Zone: "Europe/Berlin", Reason: "only on Wednesdays"}}
	})(r)
}

// at makes it that moment for the engine.
func (s *stage) at(text string) {
	s.t.Helper()
	now, err := time.Parse(time.RFC3339, text)
	must(s.t, err)
	s.engine.Now = func() time.Time { return now }
	s.journal.Now = s.engine.Now
}

const (
	tuesday   = "2026-11-24T12:00:00Z"
	wednesday = "2026-11-25T12:00:00Z"
)

// took asks, has the engine look, and says what came of it; nil: nothing yet.
func (s *stage) took(c byte, change ...func(*Request)) *Transition {
	s.t.Helper()
	if rec := s.view().Releases[s.view().recordOf("", digest(c), "")]; rec != nil && c != 'e' {
		s.prove(rec) // from what serves now
	}
	id := s.ask("production", c, change...)
	s.idle()
	return s.view().Environment("production").Consumed[id]
}

func (s *stage) approve(record string, change ...func(*Approval)) {
	s.t.Helper()
	r := s.view().Releases[record]
	a := Approval{Environment: "production", Record: record, Release: r.Release, Commit: r.Commit, By: "somebody", At: s.engine.Now().UTC()}
	for _, f := range change {
		f(&a)
	}
	must(s.t, s.journal.Approve(s.t.Context(), a))
}

func (s *stage) override(record string) {
	s.t.Helper()
	r := s.view().Releases[record]
	must(s.t, s.journal.Override(s.t.Context(), Override{
		Environment: "production", Record: record, Release: r.Release, Commit: r.Commit, By: "ann", Reason: "customers wait", At: s.engine.Now().UTC(),
	}))
}

func TestFreezeStopsForwardOnly(t *testing.T) {
	s := newStage(t)
	a := s.release(releaseRecord('a'))
	s.serves('b')
	s.release(releaseRecord('c', frozen))
	rev := releaseRecord('b').Revision("production")
	s.promotion(Transition{Request: "r0", Record: a, Release: digest('a')}, Begin, End)
	s.promotion(Transition{Request: "r1", Record: s.view().recordOf("", digest('b'), ""), Release: digest('b')}, Begin, End)
	s.target.stable = &rev
	s.at(tuesday)
	got := s.took('c')
	s.expect(*got, Refused, CodeLocked, "frozen until Wed 2026-11-25 00:00 CET", "only on Wednesdays", "--override")
	// What serves declares none: to hold and to go back is as ever.
	must(t, s.journal.Hold(t.Context(), Hold{Environment: "production", Reason: "x", By: "bob"}))
	must(t, s.journal.Hold(t.Context(), Hold{Environment: "production", By: "bob"}))
	s.expect(*s.took('a', back), Succeeded, CodePass)
	s.at(wednesday)
	s.expect(*s.took('c'), Succeeded, CodePass)
	// From now on it is what serves that declares it, and no release gets around
	// it by not declaring it any more. Back is never frozen.
	s.at(tuesday)
	s.release(releaseRecord('d'))
	s.expect(*s.took('d'), Refused, CodeLocked, "frozen until")
	s.expect(*s.took('a', back), Succeeded, CodePass)
	s.sound(digest('a'))
}

func TestOverride(t *testing.T) {
	s := newStage(t)
	s.serves('a')
	c := s.release(releaseRecord('c', frozen))
	d := s.release(releaseRecord('d', frozen))
	trust := s.ledger.Trust()
	s.at(tuesday)
	s.override(d)
	s.expect(*s.took('c'), Refused, CodeLocked, "frozen") // it was for another
	if n := len(s.view().Pressing("production", trust, s.engine.Now())); n != 1 {
		t.Errorf("%d overrides are pressing before one is used", n)
	}
	got := s.took('d')
	s.expect(*got, Succeeded, CodePass)
	if o := s.view().Environment("production").People.Overrides[0]; got.Override != o.ID || !o.Used {
		t.Errorf("it went by override %q: %+v", got.Override, o)
	}
	// Once, and until it is approved nothing else goes, not even in time.
	s.at(wednesday)
	for _, by := range []func(*Request){nil, func(r *Request) { r.Automatic = true }} {
		var change []func(*Request)
		if by != nil {
			change = append(change, by)
		}
		s.expect(*s.took('c', change...), Refused, CodeLocked, "the override by ann", "customers wait", "gate approve dddddddddddd --to production")
	}
	s.override(c)
	s.expect(*s.took('c'), Refused, CodeLocked, "the override by ann")
	if n := len(s.view().Pressing("production", trust, s.engine.Now())); n != 2 {
		t.Errorf("%d overrides are pressing", n)
	}
	s.approve(c) // of another
	s.expect(*s.took('c'), Refused, CodeLocked, "the override by ann")
	s.approve(d)
	s.expect(*s.took('c'), Succeeded, CodePass)
	s.at("2026-12-02T12:00:00Z")
	s.sound(digest('c'))
}

func TestAnOverrideIsForNow(t *testing.T) {
	s := newStage(t)
	s.serves('a')
	d := s.release(releaseRecord('d', frozen))
	s.at("2026-11-24T10:00:00Z")
	s.override(d)
	s.at("2026-11-24T11:00:00Z")
	s.expect(*s.took('d'), Refused, CodeLocked, "frozen")
	if n := len(s.view().Pressing("production", s.ledger.Trust(), s.engine.Now())); n != 0 {
		t.Errorf("%d overrides are pressing that nobody can use", n)
	}
	// It goes past no verdict, and past no hold.
	s.override(d)
	must(t, s.journal.Hold(t.Context(), Hold{Environment: "production", Reason: "x", By: "bob"}))
	s.expect(*s.took('d'), Refused, CodeLocked, "held by bob")
	must(t, s.journal.Hold(t.Context(), Hold{Environment: "production", By: "bob"}))
	e, err := s.journal.Release(t.Context(), releaseRecord('e', func(r *ReleaseRecord) { r.SourceDigest = digest('9') }))
	must(t, err)
	s.override(e)
	s.expect(*s.took('e'), Aborted, CodeInconclusive, "no evidence of check tests")
	s.sound(digest('a'))
}

// crew is a ledger whose trust names people: the machine, and some who may
// approve with keys of their own.
func crew(t *testing.T, people ...environments.Person) (*stage, map[string]*ledger.Key) {
	t.Helper()
	dir := t.TempDir()
	trust := &environments.Trust{People: people}
	keys := map[string]*ledger.Key{}
	for name, may := range map[string][]string{
		"machine": {ledger.Measure, ledger.Decide, ledger.Promote, ledger.Daemon},
		"ann":     {ledger.Approve}, "bob": {ledger.Approve}, "ann2": {ledger.Approve}, "eve": {ledger.Promote}, "ci": {ledger.Vouch}, "nameless": {ledger.Approve},
	} {
		key, _, err := ledger.LoadOrCreateKey(filepath.Join(dir, name, "key"))
		must(t, err)
		keys[name] = key
		k := environments.Key{ID: key.ID(), Name: name, May: may}
		if name != "nameless" && name != "ci" {
			k.Emails = []string{strings.TrimSuffix(name, "2") + "@example.org"}
		}
		trust.Keys = append(trust.Keys, k)
	}
	// A remote that is declared, so that the machine's own key counts as listed.
	trust.Remote = filepath.Join(dir, "remote.git")
	gitIn(t, dir, "init", "-q", "--bare", trust.Remote)
	s := sceneOf(t, filepath.Join(dir, "state"), keys["machine"], trust)
	target := newFake("production")
	return &stage{scene: s, target: target, engine: s.engine("production", target)}, keys
}

// approveAs signs an approval with somebody else's key, on the same ledger.
func (s *stage) approveAs(key *ledger.Key, record string, change ...func(*Approval)) {
	s.t.Helper()
	other := sceneOf(s.t, s.dir, key, s.ledger.Trust())
	defer other.ledger.Close()
	(&stage{scene: other, engine: s.engine}).approve(record, change...)
}

func approvals(n int, notAuthor bool) func(*ReleaseRecord) {
	return promoting(func(p *environments.Promotion) {
		p.Approvals = &environments.Approvals{Required: n, NotAuthor: notAuthor}
	})
}

func byAnn(r *ReleaseRecord) {
	r.Authors = []string{"Ann@Example.org", "4711+Carl@users.noreply.github.com"}
}

func TestApprovals(t *testing.T) {
	s, keys := crew(t, environments.Person{GitHub: "Dora", May: []string{"approve"}}, environments.Person{GitHub: "carl", May: []string{"approve"}, Emails: []string{"carl@home.example.org"}}, environments.Person{GitHub: "ann-on-github", May: []string{"approve"}, Emails: []string{"ann@example.org"}})
	s.serves('a')
	b := s.release(releaseRecord('b', approvals(2, true), byAnn))
	id := s.ask("production", 'b')
	github := func(login string) func(*Approval) {
		return func(a *Approval) { a.GitHub, a.By, a.Where = login, login+" on GitHub", "shop/actions/runs/1" }
	}
	waits := func(why string) {
		t.Helper()
		s.idle()
		v := s.view()
		w, err := s.journal.Waiting(t.Context(), v, "production")
		must(t, err)
		if len(w) != 1 || w[0].Request != id || w[0].Code != CodeApproval || !strings.Contains(w[0].Why, why) || len(s.target.ops()) > 0 {
			t.Fatalf("want it to wait for %q: %+v; %+v", why, w, v.Environment("production").Consumed[id])
		}
		if again, err := s.journal.Standing(t.Context(), v, Request{Environment: "production", Record: b}); again != id || err != nil {
			t.Errorf("who asks again follows %q: %v", again, err)
		}
	}
	waits("0 of 2 approvals")
	s.approveAs(keys["machine"], b)
	s.approveAs(keys["eve"], b)
	s.approveAs(keys["machine"], b, github("Dora"))
	s.approveAs(keys["bob"], b, github("Dora")) // who may approve need not be believed about others
	s.approveAs(keys["ci"], b)                  // nor does who vouches agree by that
	s.approveAs(keys["ci"], b, github("mallory"))
	waits("0 of 2 approvals")
	s.approveAs(keys["ann"], b)
	s.approveAs(keys["ann"], b)
	s.approveAs(keys["ann2"], b)                        // the same person
	s.approveAs(keys["ci"], b, github("ANN-on-GitHub")) // and still
	waits("1 of 2 approvals")
	s.approveAs(keys["nameless"], b)
	waits("none of those who have approved is known not to be the author, Ann@Example.org")
	// Dora has declared no address: she may be Ann.
	s.approveAs(keys["ci"], b, github("dora"))
	waits("none of those who have approved is known not to be the author")
	s.approveAs(keys["ci"], b, github("carl")) // has written it with Ann
	waits("none of those who have approved is known not to be the author")
	s.approveAs(keys["bob"], b)
	s.idle()
	got := s.view().Environment("production").Consumed[id]
	if got == nil {
		t.Fatal("it still waits")
	}
	s.expect(*got, Succeeded, CodePass)

	// They are used up: what was approved once is not approved for ever.
	s.expect(*s.took('a', back), Succeeded, CodePass)
	id = s.ask("production", 'b')
	s.approveAs(keys["ci"], b, github("Carl")) // the same run again
	if why := s.journalWaits(id); !strings.Contains(why, "0 of 2") {
		t.Errorf("the second time it waits for %q", why)
	}
	other := s.release(releaseRecord('b', approvals(2, true), func(r *ReleaseRecord) { r.Commit = commitOf('c') }))
	s.approveAs(keys["ci"], other, github("carl"))
	if got := s.view().agreed("production", other, -1, s.ledger.Trust()); len(got) > 0 {
		t.Errorf("a run that was about something else is taken for %+v", got)
	}
	s.approveAs(keys["ci"], b, github("carl"), func(a *Approval) { a.Where = "shop/actions/runs/2" })
	if why := s.journalWaits(id); !strings.Contains(why, "1 of 2") {
		t.Errorf("after another run it waits for %q", why)
	}
	s.sound(digest('a'))
}

func (s *stage) journalWaits(id string) string {
	s.t.Helper()
	s.idle()
	w, err := s.journal.Waiting(s.t.Context(), s.view(), "production")
	must(s.t, err)
	for _, one := range w {
		if one.Request == id {
			return one.Why
		}
	}
	return ""
}

func TestWhatWaitsStopsNothingElse(t *testing.T) {
	s, keys := crew(t)
	s.serves('a')
	s.release(releaseRecord('b', approvals(1, false)))
	c := s.release(releaseRecord('c', approvals(1, false)))
	waiting := s.ask("production", 'b')
	s.idle()
	s.approveAs(keys["bob"], c)
	s.expect(*s.took('c'), Succeeded, CodePass)
	if got := s.view().Environment("production").Consumed[waiting]; got == nil || got.Code != CodeLocked || !strings.Contains(got.Why, "another request was first") {
		t.Errorf("what waited was made for another world: %+v", got)
	}
	// Who is held is told so at once.
	must(t, s.journal.Hold(t.Context(), Hold{Environment: "production", Reason: "x", By: "bob"}))
	s.expect(*s.took('b'), Refused, CodeLocked, "held by bob")
	must(t, s.journal.Hold(t.Context(), Hold{Environment: "production", By: "bob"}))
	// Nobody knows who wrote it.
	s.release(releaseRecord('d', approvals(1, true)))
	d := s.view().recordOf("", digest('d'), "")
	id := s.ask("production", 'd')
	s.approveAs(keys["bob"], d)
	if why := s.journalWaits(id); !strings.Contains(why, "is not on record: build it again") {
		t.Errorf("it waits for %q", why)
	}
	s.sound(digest('c'))
}

func TestAnOverrideIsApprovedBySomebodyElse(t *testing.T) {
	s, keys := crew(t)
	s.serves('a')
	b := s.release(releaseRecord('b', approvals(2, true), byAnn))
	s.release(releaseRecord('c'))
	s.approveAs(keys["bob"], b) // before: it has nothing to say of an override
	s.override(b)
	s.expect(*s.took('b'), Succeeded, CodePass)
	s.expect(*s.took('c'), Refused, CodeLocked, "is not approved yet")
	s.approveAs(keys["ann"], b)
	s.approveAs(keys["nameless"], b)
	s.expect(*s.took('c'), Refused, CodeLocked, "is not approved yet")
	s.approveAs(keys["bob"], b)
	if got := s.view().Unapproved("production", s.ledger.Trust()); got != nil {
		t.Errorf("still not approved: %+v", got)
	}
	s.expect(*s.took('a', back), Succeeded, CodePass)
	s.sound(digest('a'))
}

func TestPace(t *testing.T) {
	pace := promoting(func(p *environments.Promotion) {
		p.Pace = &environments.Pace{Pause: environments.Duration(30 * time.Minute), Promotions: 2, Per: environments.Duration(24 * time.Hour)}
	})
	automatic := func(r *Request) { r.Automatic = true }
	s := newStage(t)
	s.serves('a')
	for _, c := range []byte("bcdf") {
		s.release(releaseRecord(c, pace))
	}
	s.at("2026-11-24T12:00:00Z")
	s.target.samples[digest('b')] = [2]int64{3000, 600}
	s.expect(*s.took('b', automatic), RolledBack, CodeRolledBack)
	s.at("2026-11-24T12:29:59Z")
	s.expect(*s.took('c', automatic), Refused, CodeLocked, "pause until 2026-11-24 12:30Z", "gate promote cccccccccccc --to production")
	s.at("2026-11-24T12:30:00Z")
	s.expect(*s.took('c', automatic), Succeeded, CodePass)
	s.at("2026-11-24T14:00:00Z")
	s.expect(*s.took('d', automatic), Refused, CodeLocked, "2 promotions into production within 24h", "until 2026-11-25 12:00Z", "gate promote dddddddddddd")
	// People are bounded by nothing, and neither is going back.
	s.expect(*s.took('d'), Succeeded, CodePass)
	s.expect(*s.took('c', back, automatic), Succeeded, CodePass)
	s.at("2026-11-25T14:00:00Z")
	s.expect(*s.took('f', automatic), Succeeded, CodePass)
	s.sound(digest('f'))
}

// TestWhatFailedDoesNotComeBackByItself: neither what was rolled back by a verdict
// nor what a person has gone back from. An override made for a person's request
// does not change that, nor does a wait for approvals hide it.
func TestWhatFailedDoesNotComeBackByItself(t *testing.T) {
	automatic := func(r *Request) { r.Automatic = true }
	for _, want := range []int{0, 1} {
		s, keys := crew(t)
		s.serves('a')
		b := s.release(releaseRecord('b', approvals(1, false)))
		if want == 0 {
			b = s.release(releaseRecord('b'))
		}
		approve := func() {
			if want > 0 {
				s.approveAs(keys["bob"], b)
			}
		}
		named := func(r *Request) { r.Record = b }
		s.target.samples[digest('b')] = [2]int64{3000, 600}
		approve()
		s.expect(*s.took('b', named, automatic), RolledBack, CodeRolledBack)
		s.target.samples[digest('b')] = [2]int64{3000, 0}
		s.expect(*s.took('b', named, automatic), Refused, CodeLocked, "production went back from release bbbbbbbbbbbb", "gate promote bbbbbbbbbbbb --to production")
		s.override(b)
		s.expect(*s.took('b', named, automatic), Refused, CodeLocked, "went back from")
		s.expect(*s.took('b', named), Succeeded, CodePass)
		approve()
		s.approveAs(keys["bob"], b)
		s.expect(*s.took('b', named, automatic), Succeeded, CodePass, "it serves already")
		s.expect(*s.took('a', back), Succeeded, CodePass)
		approve()
		s.expect(*s.took('b', named, automatic), Refused, CodeLocked, "went back from")
		s.expect(*s.took('b', named), Succeeded, CodePass)
		s.sound(digest('b'))
	}
}

// TestASettledOverrideStaysSettled: that something was promoted since proves that
// it was approved, whatever is declared or whoever is listed by now.
func TestASettledOverrideStaysSettled(t *testing.T) {
	s, keys := crew(t)
	s.serves('a')
	b := s.release(releaseRecord('b', frozen))
	c := s.release(releaseRecord('c', approvals(2, true)))
	s.release(releaseRecord('d', approvals(2, true)))
	s.at(tuesday)
	s.override(b)
	s.expect(*s.took('b'), Succeeded, CodePass)
	s.at(wednesday)
	s.approveAs(keys["bob"], b)
	s.override(c) // two have not approved it
	s.expect(*s.took('c'), Succeeded, CodePass)
	v, trust := s.view(), s.ledger.Trust()
	if o := v.Environment("production").People.Overrides; !o[0].Settled || o[1].Settled || !o[1].Used {
		t.Errorf("%+v", o)
	}
	if o := v.Unapproved("production", trust); o == nil || o.Record != c {
		t.Errorf("not approved is %+v", o)
	}
	// Back settles nothing.
	s.expect(*s.took('a', back), Succeeded, CodePass)
	if o := s.view().Unapproved("production", trust); o == nil || o.Record != c {
		t.Errorf("not approved is %+v", o)
	}
	nobody := &environments.Trust{Remote: trust.Remote}
	if p := s.view().Pressing("production", nobody, s.engine.Now().Add(24*time.Hour)); len(p) != 1 || p[0].Record != c {
		t.Errorf("pressing are %+v", p)
	}
}

// TestAnOverrideIsHeardOf: where nobody beyond the machine is told it does not
// count, whatever the tree says of whoever has made it.
func TestAnOverrideIsHeardOf(t *testing.T) {
	quiet := func(r *ReleaseRecord) {
		r.Declarations.Environment("production").Alerts = &environments.Alerts{Local: true}
	}
	s := newStage(t)
	s.at(tuesday)
	s.release(releaseRecord('a', quiet))
	s.expect(*s.took('a'), Succeeded, CodePass)
	b := s.release(releaseRecord('b', frozen))
	s.override(b)
	s.expect(*s.took('b'), Refused, CodeLocked, "is frozen", "the override by ann does not count", "declare smtp, webhook or incident")
	// What stands in its way no more goes, and not by it.
	s.at(wednesday)
	s.override(b)
	got := s.took('b')
	if s.expect(*got, Succeeded, CodePass); got.Override != "" {
		t.Errorf("it went by override %s", got.Override)
	}
	s.at(tuesday)
	c := s.release(releaseRecord('c', quiet))
	s.override(c)
	if s.expect(*s.took('c'), Succeeded, CodePass); !s.view().Environment("production").People.Overrides[2].Used {
		t.Error("what serves tells somebody, and the override was not used")
	}
}

// TestTwoAskAtOnce: where nobody has to approve, who comes second does not follow
// the request of the first, and is told so.
func TestTwoAskAtOnce(t *testing.T) {
	s := newStage(t)
	s.serves('a')
	record := s.release(releaseRecord('b'))
	s.ask("production", 'b')
	got, err := s.journal.Standing(t.Context(), s.view(), Request{Environment: "production", Release: digest('b'), Record: record})
	if must(t, err); got != "" {
		t.Error("it follows the other request")
	}
}

// TestAnOverrideOfWhatWaits: the request that waits is the one that goes by it,
// and who has asked with the override follows that one.
func TestAnOverrideOfWhatWaits(t *testing.T) {
	s, _ := crew(t)
	s.serves('a')
	b := s.release(releaseRecord('b', approvals(1, false)))
	other := s.release(releaseRecord('b', approvals(1, false), func(r *ReleaseRecord) { r.Commit = commitOf('c') }))
	named := func(r *Request) { r.Record = b }
	id := s.ask("production", 'b', named, func(r *Request) { r.Automatic = true })
	s.idle()
	standing := func(change ...func(*Request)) string {
		t.Helper()
		r := Request{Environment: "production", Release: digest('b'), Record: b}
		for _, f := range change {
			f(&r)
		}
		got, err := s.journal.Standing(t.Context(), s.view(), r)
		must(t, err)
		return got
	}
	meant := func() string {
		t.Helper()
		v := s.view()
		got, err := s.journal.Meant(t.Context(), v, "production", v.Find(digest('b')))
		must(t, err)
		return got
	}
	if v := s.view(); v.Find(digest('b'))[0] != other || meant() != b {
		t.Errorf("who approves the release means %s, want the record that waits, %s", meant(), b)
	}
	if standing() != id || standing(func(r *Request) { r.Record = other }) != "" || standing(back) != "" {
		t.Error("who asks again does not follow what waits")
	}
	s.override(b)
	if standing() != id {
		t.Error("it does not wait any more, and stands")
	}
	s.idle()
	s.expect(*s.view().Environment("production").Consumed[id], Succeeded, CodePass)
	if meant() != b {
		t.Errorf("who approves the release means %s, want the record that was overridden, %s", meant(), b)
	}
	if standing() != "" {
		t.Error("it has ended, and stands")
	}
	// A person's own is asked for where an automatic one must not go.
	s.approve(b)
	s.expect(*s.took('a', back), Succeeded, CodePass)
	automatic := s.ask("production", 'b', named, func(r *Request) { r.Automatic = true })
	if standing() != "" || standing(func(r *Request) { r.Automatic = true }) != automatic {
		t.Error("a person follows what automation must not do")
	}
}
