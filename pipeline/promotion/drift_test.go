package promotion

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/policies"
)

func whats(all []Difference) string {
	var s []string
	for _, d := range all {
		s = append(s, d.What)
	}
	return strings.Join(s, " ")
}

func TestDrift(t *testing.T) {
	rec := releaseRecord('a')
	rev := rec.Revision("production")
	e := rec.Declarations.Environment("production")
	sound := func() target.Status {
		f := newFake("production")
		f.serve(&rev)
		s, err := f.Status(context.Background())
		must(t, err)
		s.Schema = &target.Schema{Release: digest('a'), Left: "md5:1", Now: "md5:1"}
		return s
	}
	for name, c := range map[string]struct {
		change      func(s *target.Status, v *View)
		certificate string
		want        string
	}{
		"as desired":                  {func(*target.Status, *View) {}, "", ""},
		"another release":             {func(s *target.Status, _ *View) { s.Stable, s.Revision = digest('b'), digest('b')+"+x" }, "", "release"},
		"nothing serves":              {func(s *target.Status, _ *View) { s.Stable, s.Revision, s.Instances = "", "", nil }, "", "release instances"},
		"another configuration":       {func(s *target.Status, _ *View) { s.Revision = digest('a') + "+sha256:0" }, "", "configuration"},
		"an instance is missing":      {func(s *target.Status, _ *View) { s.Instances = s.Instances[:1] }, "", "instances"},
		"one is not healthy":          {func(s *target.Status, _ *View) { s.Instances[0].Health = target.Degraded }, "", "instances"},
		"the certificate":             {func(*target.Status, *View) {}, "x509: expired", "certificate"},
		"the schema was changed":      {func(s *target.Status, _ *View) { s.Schema.Now = "md5:2" }, "", "schema"},
		"it can't be looked at":       {func(s *target.Status, _ *View) { s.Schema.Now, s.Schema.Problem = "", "no connection" }, "", "schema"},
		"nothing is known of it":      {func(s *target.Status, _ *View) { s.Schema = nil }, "", "schema"},
		"what was left can't be read": {func(s *target.Status, _ *View) { s.Schema = &target.Schema{Problem: "no such digit"} }, "", "schema"},
		"it has no migrations": {func(s *target.Status, v *View) {
			s.Schema = nil
			v.Releases["r"] = releaseRecord('a', func(r *ReleaseRecord) { r.Declarations.App.Migrate = nil })
		}, "", ""},
		"a promotion is under way": {func(s *target.Status, v *View) {
			s.Stable, s.Instances, s.Schema.Now = digest('b'), nil, "md5:2"
			v.Environments["production"].Active = &Transition{}
		}, "", ""},
		"nothing is desired, and something serves": {func(_ *target.Status, v *View) { v.Environments["production"].Desired = "" }, "", "release"},
	} {
		v := NewView()
		v.Releases["r"] = rec
		v.environment("production").Desired = "r"
		s := sound()
		c.change(&s, v)
		all := v.Drift(e, s, c.certificate)
		if got := whats(all); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		for _, d := range all {
			if unknown := strings.HasPrefix(d.Got, "not known"); d.Unknown != unknown || d.reason().Own != (unknown || d.Reconcilable()) {
				t.Errorf("%s: %+v", name, d)
			}
		}
	}
}

// overseer looks at the stage's target.
func (s *stage) overseer() *Overseer {
	return &Overseer{
		Environment: releaseRecord('a').Declarations.Environment("production"), Journal: s.journal, Judge: s.judge, Status: s.target.Status,
		Log: s.engine.Log, Now: s.engine.Now, Every: time.Millisecond, Reconcile: s.engine.Reconcile,
	}
}

func (s *stage) look(o *Overseer) Findings {
	s.t.Helper()
	f, err := o.Look(s.t.Context())
	must(s.t, err)
	o.found(s.t.Context(), f)
	return *o.Last()
}

func TestDriftIsReportedOrReconciled(t *testing.T) {
	for _, declared := range []string{"", environments.Report, environments.Reconcile} {
		s := newStage(t)
		s.release(releaseRecord('a', promoting(func(p *environments.Promotion) { p.Drift = declared })))
		s.expect(s.promote('a'), Succeeded, CodePass)
		o := s.overseer()
		if f := s.look(o); len(f.Drift) > 0 {
			t.Fatalf("%q: %v", declared, f.Drift)
		}
		other := releaseRecord('b').Revision("production")
		s.target.mu.Lock()
		s.target.stable = &other
		s.target.mu.Unlock()
		if f := s.look(o); len(f.Drift) > 0 {
			t.Errorf("%q: seen once, it may have passed by: %v", declared, f.Drift)
		}
		// Whoever holds an environment stops what goes by itself.
		must(t, s.journal.Hold(t.Context(), Hold{Environment: "production", Reason: "x", By: "bob"}))
		if f := s.look(o); whats(f.Drift) != "release" || len(f.Degraded) != 1 || !f.Degraded[0].Own {
			t.Errorf("%q: %+v", declared, f)
		}
		serves := func() string {
			st, err := s.target.Status(t.Context())
			must(t, err)
			return st.Stable
		}
		if serves() != digest('b') {
			t.Error("it was brought back while the environment is held")
		}
		must(t, s.journal.Hold(t.Context(), Hold{Environment: "production", By: "bob"}))
		s.look(o)
		if declared != environments.Reconcile {
			time.Sleep(30 * time.Millisecond)
			if serves() != digest('b') || len(s.view().Environment("production").Operations) > 0 {
				t.Errorf("%q: it was brought back", declared)
			}
			continue
		}
		eventually(t, "it is brought back", func() bool { return serves() == digest('a') })
		s.look(o)
		if ops := s.view().Environment("production").Operations; len(ops) != 1 || ops[0].Kind != target.Reconciliation || ops[0].From != short(digest('b')) {
			t.Errorf("on record is %+v", ops)
		}
		if f := s.look(o); len(f.Drift) > 0 {
			t.Errorf("afterwards: %v", f.Drift)
		}
	}
}

// TestDriftThatReadsOtherwiseEachTimeIsSeen: the error about an expired certificate
// names the second, and what comes and goes beside it hides neither that nor what
// judgement has found.
func TestDriftThatReadsOtherwiseEachTimeIsSeen(t *testing.T) {
	s := newStage(t)
	s.serves('a')
	o := s.overseer()
	burns := Reason{About: "burn-fast", Why: "it burns"}
	look := func(drift ...Difference) Findings {
		f := Findings{Drift: drift}
		f.Degraded = Degraded([]Reason{burns}, drift, nil)
		o.found(t.Context(), f)
		return *o.Last()
	}
	expired := func(second string) Difference {
		return Difference{What: "certificate", Want: "one", Got: "current time " + second + " is after"}
	}
	if f := look(expired("1")); len(f.Drift) > 0 || len(f.Degraded) != 1 || f.Degraded[0] != burns {
		t.Errorf("seen once: %+v", f)
	}
	if f := look(expired("2"), Difference{What: "instances", Got: "1"}); whats(f.Drift) != "certificate" || len(f.Degraded) != 2 || !strings.Contains(f.Degraded[1].Why, "current time 2") {
		t.Errorf("seen twice: %+v", f)
	}
	if f := look(expired("3")); whats(f.Drift) != "certificate" || len(f.Degraded) != 2 {
		t.Errorf("what has gone beside it has hidden it: %+v", f)
	}
	if f := look(); len(f.Drift) > 0 || len(f.Degraded) != 1 {
		t.Errorf("it is over: %+v", f)
	}
}

// TestALookAsksForTheCertificate: the one that is presented for what is desired.
func TestALookAsksForTheCertificate(t *testing.T) {
	s := newStage(t)
	s.serves('a')
	o := s.overseer()
	o.Certificate = func(_ context.Context, e *environments.Environment) string { return e.TLS.Names[0] + " has expired" }
	f, err := o.Look(t.Context())
	must(t, err)
	if whats(f.Drift) != "certificate" || len(f.Degraded) != 1 || !strings.Contains(f.Degraded[0].Why, "localhost has expired") {
		t.Errorf("%+v", f)
	}
}

// TestReconcileWaits: for who holds the environment, and for who wants back.
func TestReconcileWaits(t *testing.T) {
	s := newStage(t)
	a := s.serves('a')
	s.release(releaseRecord('b'))
	s.expect(*s.took('b'), Succeeded, CodePass)
	serve := func(c byte) {
		rev := releaseRecord(c).Revision("production")
		s.target.mu.Lock()
		defer s.target.mu.Unlock()
		s.target.stable, s.target.calls = &rev, nil
	}
	serve('c')
	must(t, s.journal.Hold(t.Context(), Hold{Environment: "production", Reason: "x", By: "bob", At: time.Now()}))
	s.engine.Reconcile()
	s.idle()
	s.called()
	// It was tried, and fails: from then on no less.
	must(t, s.journal.Hold(t.Context(), Hold{Environment: "production", By: "bob", At: time.Now()}))
	s.target.fail["complete"] = target.ErrNotReady
	if err := s.engine.once(t.Context()); err == nil {
		t.Error("it was brought back")
	}
	must(t, s.journal.Hold(t.Context(), Hold{Environment: "production", Reason: "x", By: "bob", At: time.Now()}))
	serve('c')
	s.idle()
	s.called()
	delete(s.target.fail, "complete")
	must(t, s.journal.Hold(t.Context(), Hold{Environment: "production", By: "bob", At: time.Now()}))
	s.idle()
	s.called("complete", "retire")
	if released(s.target.stable) != digest('b') {
		t.Errorf("it serves %s", released(s.target.stable))
	}
	// What is desired is not brought back first for somebody who wants away from it.
	serve('c')
	s.engine.Reconcile()
	id := s.ask("production", 'a', back)
	s.idle()
	s.expect(*s.view().Environment("production").Consumed[id], Succeeded, CodePass)
	s.target.mu.Lock()
	for _, c := range s.target.calls {
		if c.Rev == digest('b') {
			t.Errorf("%s of what is fled from came first", c.Op)
		}
	}
	s.target.mu.Unlock()
	if d := s.view().Environment("production").Desired; d != a {
		t.Errorf("desired is %s", d)
	}
	s.sound(digest('a'))
}

func TestAReleaseIsJudgedAgain(t *testing.T) {
	holding := promoting(func(p *environments.Promotion) { p.Degraded = environments.HoldNext })
	s := newStage(t)
	rec := releaseRecord('a', holding)
	s.release(rec)
	s.expect(s.promote('a'), Succeeded, CodePass)
	s.prove(rec)
	judge := *s.judge
	o := s.overseer()
	o.Judge = &judge
	again := func() []Reason {
		t.Helper()
		return s.look(o).Degraded
	}
	if r := again(); len(r) > 0 {
		t.Fatalf("nobody has found it good yet: %+v", r)
	}
	d, err := s.judge.Decide(t.Context(), s.view(), rec, "production", policies.Serving)
	must(t, err)
	if !d.Decision.Verdict.Promotes() {
		t.Fatal(Unmet(d.Decision))
	}
	_, err = s.journal.Decision(t.Context(), d)
	must(t, err)
	if r := again(); len(r) > 0 {
		t.Fatalf("it is as good as it was: %+v", r)
	}
	// A year later all that was measured has expired.
	judge.Now = func() time.Time { return time.Now().AddDate(1, 0, 0) }
	r := again()
	about := map[string]bool{}
	for _, one := range r {
		about[one.About] = one.Own
	}
	for criterion, own := range map[string]bool{"load": true, "tls": false, "backup": false} {
		if got, ok := about[criterion]; !ok || got != own {
			t.Errorf("%s: degraded %v, about the release alone %v: %+v", criterion, ok, got, r)
		}
	}
	// Automatic promotions are held, what mends it is not: a person knows of a fix.
	s.engine.Degraded = o.Reasons
	b := releaseRecord('b')
	s.release(b)
	s.prove(b)
	got := func(c byte, change ...func(*Request)) Transition {
		return s.settled("production", s.ask("production", c, change...))
	}
	automatic := func(r *Request) { r.Automatic = true }
	s.expect(got('b', automatic), Refused, CodeLocked, "is degraded", "gate promote bbbbbbbbbbbb --to production")
	s.expect(got('b'), Succeeded, CodePass)
	// A release that is gone is not spoken of any more.
	if r := again(); len(r) > 0 {
		t.Errorf("of what serves now nothing was found: %+v", r)
	}
	// That something else was found good since, or nothing, is not forgotten of a
	// release that is gone back to.
	s.expect(got('a', back), Succeeded, CodePass)
	if r := again(); len(r) == 0 {
		t.Error("it serves again, and nobody looks whether it still stands up to judgement")
	}
	s.sound(digest('a'))
}

// TestGoodIsARevision: a commit that changes nothing but the configuration has
// the same release, and was not judged yet.
func TestGoodIsARevision(t *testing.T) {
	l := &log{t: t}
	a := l.release('a')
	configured := l.release('a', func(r *ReleaseRecord) {
		r.Commit = commitOf('c')
		r.Declarations.Environment("production").Config["LOG_LEVEL"] = "debug"
	})
	l.promotion("r1", a, 'a', Succeeded)
	good := func(commit string, stage policies.Stage, verdict policies.Verdict) {
		l.add(DecisionType, DecisionRecord{Decision: policies.Decision{Release: digest('a'), Commit: commit, Environment: "production", Stage: stage, Verdict: verdict}}, anybody)
	}
	good(commitOf('c'), policies.Promotion, policies.Pass)
	good(commitOf('c'), policies.Serving, policies.Fail)
	good("", policies.Serving, policies.Warn) // as older gates wrote it: of what serves
	v := l.fold()
	is := func(v *View, record string) bool {
		return v.Environment("production").Good[v.runs("production", record)]
	}
	if !is(v, a) || is(v, configured) {
		t.Errorf("good are %v", v.Environment("production").Good)
	}
	before := v
	v = v.clone()
	l.promotion("r2", configured, 'a', Succeeded)
	good(commitOf('c'), policies.Serving, policies.Pass)
	for _, it := range l.items {
		must(t, v.Apply(it))
	}
	if !is(v, a) || !is(v, configured) || is(before, configured) {
		t.Errorf("good are %v, and before %v", v.Environment("production").Good, before.Environment("production").Good)
	}
}

// TestAnAlarmDoesNotBlockItsFix: while a budget burns, or the release's own
// evidence has expired, what heals that goes.
func TestAnAlarmDoesNotBlockItsFix(t *testing.T) {
	v := NewView()
	rec := releaseRecord('a', promoting(func(p *environments.Promotion) { p.Degraded = environments.HoldNext }))
	v.Releases["a"], v.Releases["b"] = rec, releaseRecord('b')
	v.environment("production").Desired = "a"
	burns := Degraded(nil, nil, &target.Alerts{Firing: []checks.FiringAlert{{Alert: "burn-fast", Summary: "it burns"}, {Alert: "disk"}}})
	drifted := Degraded(nil, []Difference{{What: "release"}}, nil)
	own := []Reason{{About: "load", Own: true}}
	fix := Request{Environment: "production", Release: digest('b'), Record: "b"}
	automatic, same := fix, fix
	automatic.Automatic, same.Automatic = true, true
	same.Release, same.Record = digest('a'), "a"
	for name, c := range map[string]struct {
		r       Request
		reasons []Reason
		held    bool
	}{
		"a person's fix of what burns":          {fix, burns, false},
		"any automatic one while it burns":      {automatic, burns, true},
		"an automatic fix of the release's own": {automatic, own, false},
		"the same release again":                {same, own, true},
		"an automatic one heals its drift":      {automatic, drifted, false},
		"nothing is wrong":                      {automatic, nil, false},
	} {
		if why := v.heldBack(c.r, c.reasons); (why != "") != c.held {
			t.Errorf("%s: %q", name, why)
		}
	}
	if len(burns) != 1 || burns[0].Own {
		t.Errorf("what burns is the service's: %+v", burns)
	}
	rec.Declarations.Environment("production").Promotion.Degraded = environments.Report
	if why := v.heldBack(automatic, burns); why != "" {
		t.Errorf("it is only reported, and holds: %s", why)
	}
}
