package promotion

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/policies"
)

// inSteps declares the canary's steps by their weights.
func inSteps(weights ...int) func(*ReleaseRecord) {
	return func(r *ReleaseRecord) {
		p := &r.Declarations.Environment("production").Promotion
		p.Canary = nil
		for _, w := range weights {
			p.Steps = append(p.Steps, environments.Canary{Weight: w, MinSamples: 100, Limit: environments.Duration(60 * time.Millisecond)})
		}
	}
}

// compared has the engine ask the test, and not the policy, about each round.
func (s *stage) compared(verdict func(round int, arms target.Arms) policies.Verdict) {
	n := 0
	s.engine.compare = func(_ context.Context, rec *ReleaseRecord, round int, arms target.Arms) (DecisionRecord, error) {
		n++
		return DecisionRecord{Decision: policies.Decision{
			ID: fmt.Sprintf("sha256:%064d", 1000*round+n), Release: rec.Release, Verdict: verdict(round, arms),
		}}, nil
	}
}

// steps are all transitions of the request, as they are on record.
func (s *stage) steps(request string) (out []Transition) {
	s.t.Helper()
	records, err := s.ledger.Entries(s.t.Context(), 0)
	must(s.t, err)
	for _, r := range records {
		var t Transition
		if r.Statement.Type == TransitionType && json.Unmarshal(r.Statement.Predicate, &t) == nil && t.Request == request {
			out = append(out, t)
		}
	}
	return out
}

func TestSteps(t *testing.T) {
	for name, c := range map[string]struct {
		verdict func(round int) policies.Verdict
		weights []int
		state   State
		serves  byte
		records []string
	}{
		"all pass": {
			func(int) policies.Verdict { return policies.Pass }, []int{5, 20, 50}, Succeeded, 'b',
			[]string{"begin", "migrate", "canary 1/3 5%", "analyse 1/3 5%", "canary 2/3 20%", "analyse 2/3 20%", "canary 3/3 50%", "analyse 3/3 50%", "complete", "soak", "retire", "end"},
		},
		"the second fails": {
			func(round int) policies.Verdict {
				return []policies.Verdict{policies.Pass, policies.Fail}[round-1]
			}, []int{5, 20}, RolledBack, 'a',
			[]string{"begin", "migrate", "canary 1/3 5%", "analyse 1/3 5%", "canary 2/3 20%", "analyse 2/3 20%", "withdraw", "end"},
		},
		"the second can't be told": {
			func(round int) policies.Verdict {
				return []policies.Verdict{policies.Pass, policies.Inconclusive}[round-1]
			}, []int{5, 20}, Aborted, 'a',
			[]string{"begin", "migrate", "canary 1/3 5%", "analyse 1/3 5%", "canary 2/3 20%", "analyse 2/3 20%", "withdraw", "end"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.serves('a')
			s.release(releaseRecord('b', inSteps(5, 20, 50)))
			s.watched()
			s.compared(func(round int, _ target.Arms) policies.Verdict { return c.verdict(round) })
			var weights []int
			s.target.after = func(op string) {
				_ = s.target.locked(func() error {
					if op == "canary" {
						weights = append(weights, s.target.weight)
					}
					return nil
				})
			}
			got := s.promote('b')
			if got.State != c.state {
				t.Errorf("%s: %s", got.State, got.Why)
			}
			s.sound(digest(c.serves))
			if d := cmp.Diff(c.weights, weights); d != "" {
				t.Error(d)
			}
			var records, decisions []string
			for _, one := range s.steps(got.Request) {
				line := string(one.Step)
				if one.Weight != 0 && (one.Step == Canary || one.Step == Analyse) {
					line += fmt.Sprintf(" %d/%d %d%%", one.Round, one.Rounds, one.Weight)
				}
				records = append(records, line)
				if one.Decision != "" && !slices.Contains(decisions, one.Decision) {
					decisions = append(decisions, one.Decision)
				}
			}
			if d := cmp.Diff(c.records, records); d != "" {
				t.Error(d)
			}
			// One for the promotion, and one for each round.
			if len(decisions) != 1+len(c.weights) {
				t.Errorf("%d decisions are cited, want one for each round, and that of the promotion: %v", len(decisions), decisions)
			}
			eventually(t, "every decision is on record", func() bool {
				v := s.view()
				return !slices.ContainsFunc(decisions, func(d string) bool { return v.Decisions[d] == "" })
			})
			if failed := s.view().FailedThere("production", digest('b')) != nil; failed != (c.state == RolledBack) {
				t.Errorf("it has failed there: %v, after it was %s", failed, c.state)
			}
		})
	}
}

// TestBlueGreen: all traffic at once is compared with what was before it.
// TestSoakGoesOnFromTheBaseline: under great weights nothing may have been left
// for what is stable, and nothing shows beside nothing.
func TestSoakGoesOnFromTheBaseline(t *testing.T) {
	s := newStage(t)
	s.serves('a')
	s.release(releaseRecord('b'))
	soaked := false
	s.compared(func(_ int, arms target.Arms) policies.Verdict {
		if arms.Baseline.Release != "" {
			return policies.Pass
		}
		soaked = true
		if arms.Stable.P99 != baselineP99 || arms.Stable.Release != digest('a') || arms.Canary.Release != digest('b') {
			t.Errorf("compared is %+v", arms)
		}
		return policies.Fail
	})
	s.expect(s.promote('b'), RolledBack, CodeRolledBack)
	if !soaked {
		t.Error("it was not compared in the soak")
	}
}

func TestBlueGreen(t *testing.T) {
	s := newStage(t)
	s.serves('a')
	s.release(releaseRecord('b', inSteps(environments.AllTraffic)))
	s.target.samples[digest('a')] = [2]int64{777, 1}
	s.target.after = func(op string) {
		if op == "canary" {
			_ = s.target.locked(func() error { s.target.samples[digest('a')] = [2]int64{0, 0}; return nil })
		}
	}
	var before int64
	s.compared(func(_ int, arms target.Arms) policies.Verdict {
		before = arms.Stable.Requests
		return policies.Pass
	})
	s.expect(s.promote('b'), Succeeded, CodePass)
	if before != 777 {
		t.Errorf("it was compared with %d requests, want the 777 of before", before)
	}
	s.sound(digest('b'))
}

// TestRoundsHaveTheirOwnDemands: of the release's declarations, and of the base's.
func TestRoundsHaveTheirOwnDemands(t *testing.T) {
	d := releaseRecord('b', inSteps(5, 50)).Declarations
	d.Environment("production").Promotion.Steps[1].MinSamples = 900
	for round, want := range map[int]int{1: 100, 2: 900, 3: 900} {
		got := inRound(d, "production", round).Environment("production").Promotion
		if got.Canary == nil || got.Canary.MinSamples != want || len(got.Steps) != 0 {
			t.Errorf("round %d: %+v, want %d samples", round, got, want)
		}
	}
	if d.Environment("production").Promotion.Canary != nil {
		t.Error("what is declared was changed")
	}
	if got := inRound(d, "staging", 1).Environment("staging").Promotion; got.Canary != nil {
		t.Errorf("staging declares none: %+v", got)
	}
	// By the policy itself: a round that wants more is not told by fewer.
	s := newStage(t)
	s.serves('a')
	s.release(releaseRecord('b', inSteps(5, 50), func(r *ReleaseRecord) {
		r.Declarations.Environment("production").Promotion.Steps[1].MinSamples = 1_000_000
	}))
	got := s.promote('b')
	if got.State != Aborted || got.Round != 2 {
		t.Errorf("%s in round %d: %s", got.State, got.Round, got.Why)
	}
	s.sound(digest('a'))
}

// TestStoppedIsNotFailed: what gate's own end undid says nothing of the release.
func TestStoppedIsNotFailed(t *testing.T) {
	s := newStage(t)
	from := s.serves('a')
	record := s.release(releaseRecord('b'))
	tr := Transition{Request: s.ask("production", 'b'), Kind: Promote, Environment: "production", Record: record, Release: digest('b'), From: from}
	var err error
	tr.Token, err = s.engine.begin(t.Context(), &tr)
	must(t, err)
	for _, step := range []Step{Canary, Analyse} {
		must(t, s.engine.record(t.Context(), &tr, step, ""))
	}
	if fate := s.view().Environment("production").Fate(); fate != "undone" {
		t.Errorf("its fate is to be %s", fate)
	}
	s.run(s.engine)
	s.expect(s.settled("production", tr.Request), Aborted, CodeInternal, "ask again")
	if s.view().FailedThere("production", digest('b')) != nil {
		t.Error("the release counts as failed there")
	}
	s.sound(digest('a'))
}

// TestResumeKeepsTheEnding: killed between a withdrawal and the end of its
// promotion, an inconclusive one does not become a failure.
func TestResumeKeepsTheEnding(t *testing.T) {
	s := newStage(t)
	from := s.serves('a')
	record := s.release(releaseRecord('b'))
	tr := Transition{Request: s.ask("production", 'b'), Kind: Promote, Environment: "production", Record: record, Release: digest('b'), From: from}
	var err error
	tr.Token, err = s.engine.begin(t.Context(), &tr)
	must(t, err)
	must(t, s.engine.record(t.Context(), &tr, Analyse, ""))
	tr.Ending, tr.Code = Aborted, CodeInconclusive
	must(t, s.engine.record(t.Context(), &tr, Withdraw, "too few requests"))
	s.run(s.engine)
	s.expect(s.settled("production", tr.Request), Aborted, CodeInconclusive, "too few requests")
	s.sound(digest('a'))
}

// TestRehearsalIsDemanded: without fresh proof, of this release, that it can be
// updated to and gone back from, it is not promoted; and what is missing is said.
func TestRehearsalIsDemanded(t *testing.T) {
	for _, check := range []string{"update", "rollback"} {
		for _, how := range []string{"missing", "stale", "of another release"} {
			t.Run(check+" "+how, func(t *testing.T) {
				s := newStage(t)
				s.serves('a')
				rec := releaseRecord('b')
				_, err := s.journal.Release(t.Context(), rec)
				must(t, err)
				for _, e := range proof(t, s.judge, s.view(), rec) {
					if len(s.view().Evidence(e.Key)) > 0 {
						continue // it is not about the release
					}
					if e.Check == check {
						switch how {
						case "missing":
							continue
						case "stale":
							e.Finished = e.Finished.Add(-8 * 24 * time.Hour)
							e.Started = e.Started.Add(-8 * 24 * time.Hour)
						default:
							for _, other := range proof(t, s.judge, s.view(), releaseRecord('c')) {
								if other.Check == check {
									e = other
								}
							}
						}
					}
					if _, err := s.journal.Evidence(t.Context(), e); err != nil {
						t.Fatal(err)
					}
				}
				got := s.promote('b')
				s.expect(got, Aborted, CodeInconclusive, check)
				if strings.Contains(got.Why, ";") {
					t.Errorf("more than the rehearsal was missing: %s", got.Why)
				}
				s.called()
				s.sound(digest('a'))
			})
		}
	}
}
