package promotion

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/policies"
)

func TestFiguresOfChanges(t *testing.T) {
	start := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	at := func(hours float64) time.Time { return start.Add(time.Duration(hours * float64(time.Hour))) }
	v := NewView()
	for c, made := range map[byte]float64{'a': -2, 'b': 20, 'c': 40, 'd': 60} {
		v.Releases[string(c)] = releaseRecord(c, func(r *ReleaseRecord) { r.At = at(made + 1) })
		if c != 'd' {
			v.Releases[string(c)].Committed = at(made)
		}
	}
	e := v.environment("production")
	e.People.Whole = map[string]time.Time{"2c": at(23), "5": at(72.75), "3": at(47.9)}
	e.People.Shared = map[string]time.Time{"2c": at(22), "3": at(47.6), "2d": at(29)}
	e.People.Began = map[string]time.Time{"3": at(47.5)}
	one := func(request string, c byte, kind Kind, state State, token int64, hour float64) {
		e.History = append(e.History, Transition{Request: request, Kind: kind, Record: string(c), Release: digest(c), Commit: commitOf(c), State: state, Token: token, Step: End, At: at(hour)})
	}
	one("0", 'a', Promote, Succeeded, 1, -1000) // long before
	one("1", 'a', Promote, Succeeded, 2, 0)
	one("2", 'b', Promote, Refused, 0, 21)    // nothing was changed
	one("2b", 'b', Promote, Failed, 3, 22)    // began, and never had traffic
	one("2c", 'b', Promote, Succeeded, 4, 24) // had all traffic 3 h after its commit
	one("2d", 'c', Promote, Aborted, 9, 30)   // had a share, and nobody could tell
	one("2e", 'c', Promote, Aborted, 10, 31)  // had none
	one("3", 'c', Promote, RolledBack, 5, 48) // back after half an hour
	one("4", 'd', Promote, Succeeded, 6, 72)  // 11 h after its release
	one("5", 'b', Rollback, Succeeded, 7, 73) // and back three quarters of an hour later
	one("6", 'a', Rollback, Succeeded, 8, 74) // further: that is the same failure
	got := v.changes("production", at(-100), at(14*24))
	want := Figures{
		Environment: "production", Since: at(-100), Until: at(14 * 24), Changes: 4, Failed: 2, Aborted: 1, PerWeek: 4 / ((14*24 + 100) / 24.0 / 7), FailureRate: 0.5,
		Lead: Spans{3, 3 * 3600, 11 * 3600}, Restore: Spans{2, 2250, 2700}, Criteria: []CriterionFigures{},
	}
	if d := cmp.Diff(want, got, cmpopts.EquateApprox(0.001, 0)); d != "" {
		t.Error(d)
	}
	if f := v.changes("staging", at(-100), at(0)); f.Changes != 0 || f.FailureRate != 0 || f.Lead.N != 0 {
		t.Errorf("of nothing: %+v", f)
	}
}

// TestFiguresKnowWhenTheTrafficWasThere: not only when a promotion has ended.
func TestFiguresKnowWhenTheTrafficWasThere(t *testing.T) {
	l := &log{t: t}
	a := l.release('a')
	start := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	step := func(request string, token int64, minute int, step Step, change ...func(*Transition)) {
		tr := Transition{Request: request, Kind: Promote, Environment: "production", Record: a, Release: digest('a'), Token: token, Step: step, State: Running, At: start.Add(time.Duration(minute) * time.Minute)}
		for _, f := range change {
			f(&tr)
		}
		l.add(TransitionType, tr, anybody)
	}
	token := int64(len(l.items))
	step("r1", 0, 0, Begin)
	step("r1", token, 1, Contract, func(t *Transition) { t.Overdue = true })
	step("r1", token, 2, Analyse)
	step("r1", token, 3, Analyse)
	step("r1", token, 4, Complete)
	step("r1", token+1, 5, Soak) // of somebody who has been overtaken
	before := l.fold()
	step("r1", token, 6, Soak)
	step("r1", token, 60, Retire)
	step("r1", token, 61, End, func(t *Transition) { t.State = Succeeded })
	p := l.fold().Environment("production").People
	if got := p.Shared["r1"].Sub(start).Minutes(); got != 2 {
		t.Errorf("it had a share after %v minutes", got)
	}
	if got := p.whole(&l.fold().Environment("production").History[0]).Sub(start).Minutes(); got != 6 {
		t.Errorf("it had all traffic after %v minutes", got)
	}
	if len(before.Environment("production").People.Whole) > 0 {
		t.Error("it had all traffic before it was given that")
	}
}

func TestFiguresOfCriteria(t *testing.T) {
	s := newStage(t)
	decide := func(release byte, stage policies.Stage, verdicts ...string) {
		d := policies.Decision{ID: digest(release), Environment: "production", Release: digest(release), Stage: stage, At: time.Now(), PolicyDigest: "p", Verdict: policies.Pass}
		for i := 0; i < len(verdicts); i += 2 {
			d.Criteria = append(d.Criteria, policies.Criterion{ID: verdicts[i], Verdict: policies.Verdict(verdicts[i+1])})
		}
		_, err := s.journal.Decision(t.Context(), DecisionRecord{Decision: d})
		must(t, err)
	}
	decide('a', policies.Promotion, "load", "fail", "tests", "pass")
	decide('a', policies.Promotion, "load", "pass", "tests", "warn")
	decide('b', policies.Promotion, "load", "fail", "tests", "inconclusive")
	decide('b', policies.Promotion, "load", "fail", "tests", "inconclusive")
	decide('d', policies.Promotion, "load", "inconclusive", "tests", "pass") // not measured yet
	decide('d', policies.Promotion, "load", "pass", "tests", "pass")
	decide('c', policies.Promotion, "load", "pass", "tests", "error")
	decide('c', policies.Serving, "load", "fail", "tests", "pass") // another stage is no repetition
	in := checks.Input{Release: digest('a'), Environment: releaseRecord('a').Declarations.Environment("production"), Declarations: declared()}
	for _, c := range fakeChecks() {
		if c.Name == "load" || c.Name == "tests" {
			e := measured(c, in, map[string]int{})
			e.Started = e.Finished.Add(-90 * time.Second)
			_, err := s.journal.Evidence(t.Context(), e)
			must(t, err)
		}
	}
	f, err := s.journal.Figures(t.Context(), "production", time.Now().Add(-time.Hour), fakeChecks())
	must(t, err)
	want := []CriterionFigures{
		{ID: "load", Decisions: 8, Failed: 4, Alone: 3, Runs: 1, Minutes: 1.5, Repeated: 2, Flaked: 1, FlakeRate: 0.5},
		{ID: "tests", Decisions: 8, Failed: 0, Alone: 1, Runs: 1, Minutes: 1.5, Repeated: 2},
	}
	if d := cmp.Diff(want, f.Criteria); d != "" {
		t.Error(d)
	}
	if f, err := s.journal.Figures(t.Context(), "staging", time.Now().Add(-time.Hour), fakeChecks()); err != nil || f.Changes != 0 {
		t.Errorf("%+v, %v", f, err)
	}
}
