package promotion

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"gonum.org/v1/gonum/stat"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/ledger"
	"github.com/smartcloudops/gate/policies"
)

// Figures are what an environment's history adds up to.
type Figures struct {
	Environment string    `json:"environment"`
	Since       time.Time `json:"since"`
	Until       time.Time `json:"until"`
	// Changes are promotions that gave a release all traffic, or were found wanting
	// while it got some, Failed those of them that went back, by themselves or by a
	// rollback as the next thing that came to pass. Aborted are no changes: they gave
	// a release a share of the traffic, and ended without a verdict.
	Changes     int     `json:"changes"`
	Failed      int     `json:"failed"`
	Aborted     int     `json:"aborted"`
	PerWeek     float64 `json:"per_week"`
	FailureRate float64 `json:"failure_rate"`
	// Lead is from the commit to all traffic, Restore from the beginning of a change
	// that failed by itself, or from the end of one that somebody rolled back, to
	// the old release with all traffic.
	Lead     Spans              `json:"lead"`
	Restore  Spans              `json:"restore"`
	Criteria []CriterionFigures `json:"criteria"`
}

// Spans are how long something took.
type Spans struct {
	N      int     `json:"n"`
	Median float64 `json:"median_seconds"`
	P90    float64 `json:"p90_seconds"`
}

func spansOf(all []time.Duration) Spans {
	s := Spans{N: len(all)}
	if s.N == 0 {
		return s
	}
	var x []float64
	for _, d := range all {
		x = append(x, max(0, d.Seconds()))
	}
	slices.Sort(x)
	s.Median, s.P90 = (x[(s.N-1)/2]+x[s.N/2])/2, stat.Quantile(0.9, stat.Empirical, x, nil)
	return s
}

// CriterionFigures are what a criterion has caught, and what it has cost.
type CriterionFigures struct {
	ID        string  `json:"id"`
	Decisions int     `json:"decisions"`
	Failed    int     `json:"failed"`
	Alone     int     `json:"alone"`   // decisions that nothing else has kept from promoting
	Runs      int     `json:"runs"`    // measurements
	Minutes   float64 `json:"minutes"` // spent on them
	// Flaked of Repeated: releases that were judged more than once at a stage by the
	// same policies, each time with an outcome, and passed one time and failed another.
	Repeated  int     `json:"repeated"`
	Flaked    int     `json:"flaked"`
	FlakeRate float64 `json:"flake_rate"`
}

// Figures adds up the environment's history since then; all are the checks that
// measure for criteria.
func (j *Journal) Figures(ctx context.Context, environment string, since time.Time, all []checks.Check) (Figures, error) {
	v, err := j.View(ctx)
	if err != nil {
		return Figures{}, err
	}
	f := v.changes(environment, since, j.Now())
	records, err := j.Ledger.Entries(ctx, 0)
	if err != nil {
		return f, err
	}
	criterionOf := map[string]string{}
	for _, c := range all {
		criterionOf[c.Name] = c.Criterion
	}
	t := &tally{criteria: map[string]*CriterionFigures{}, judged: map[string][2]bool{}, times: map[string]int{}}
	for _, r := range records {
		switch r.Statement.Type {
		case DecisionType:
			var d struct {
				Decision policies.Decision `json:"decision"`
			}
			if err := json.Unmarshal(r.Statement.Predicate, &d); err != nil {
				return f, fmt.Errorf("ledger entry %d: %s: %w", r.Entry.Seq, r.Statement.Type, err)
			}
			if d.Decision.Environment == environment && !d.Decision.At.Before(since) && j.Ledger.Trusted(r, ledger.Decide, environment) {
				t.decision(d.Decision)
			}
		case checks.EvidenceType:
			var e checks.Evidence
			if err := json.Unmarshal(r.Statement.Predicate, &e); err != nil {
				return f, fmt.Errorf("ledger entry %d: %s: %w", r.Entry.Seq, r.Statement.Type, err)
			}
			// What is measured on the source alone is of no environment.
			if criterion := criterionOf[e.Check]; criterion != "" && (e.Environment == environment || e.Environment == "") && !e.Finished.Before(since) {
				c := t.of(criterion)
				c.Runs++
				c.Minutes += max(0, e.Finished.Sub(e.Started).Minutes())
			}
		}
	}
	f.Criteria = t.sum()
	return f, nil
}

// changes are the figures of the promotions.
func (v *View) changes(environment string, since, now time.Time) Figures {
	f := Figures{Environment: environment, Since: since.UTC(), Until: now.UTC(), Criteria: []CriterionFigures{}}
	ev := v.Environment(environment)
	var lead, restore []time.Duration
	first := now
	var last *Transition // the newest that came to pass
	for i := range ev.History {
		t := &ev.History[i]
		in := !t.At.Before(since)
		if in && t.At.Before(first) {
			first = t.At
		}
		changed := t.Kind != Rollback && t.Token != 0
		switch {
		case t.Kind == Rollback && t.State == Succeeded && t.Token != 0:
			if in && last != nil && last.Kind != Rollback && !last.At.Before(since) {
				f.Failed++
				restore = append(restore, ev.People.whole(t).Sub(last.At))
			}
			last = t
		case changed && t.State == RolledBack && in:
			f.Changes++
			f.Failed++
			if began, ok := ev.People.Began[t.Request]; ok {
				restore = append(restore, t.At.Sub(began))
			}
		case changed && t.State != Succeeded:
			if _, shared := ev.People.Shared[t.Request]; shared && in {
				f.Aborted++
			}
		case changed && t.State == Succeeded:
			last = t
			if !in {
				continue
			}
			f.Changes++
			if made := v.made(t); !made.IsZero() {
				lead = append(lead, ev.People.whole(t).Sub(made))
			}
		}
	}
	if f.Changes > 0 {
		f.FailureRate = float64(f.Failed) / float64(f.Changes)
		// A young history is no slow one, but a day of it is no week.
		begin := since
		if len(ev.History) > 0 && !ev.History[0].At.Before(since) {
			begin = first
		}
		f.PerWeek = float64(f.Changes) / max(now.Sub(begin).Hours()/24/7, 1)
	}
	f.Lead, f.Restore = spansOf(lead), spansOf(restore)
	return f
}

// whole is when the release had all traffic: before it was watched, and what was
// before it let go. Where that is not on record, the promotion's end.
func (p People) whole(t *Transition) time.Time {
	if at, ok := p.Whole[t.Request]; ok {
		return at
	}
	return t.At
}

// made is when the commit of the promotion was made, or else first built.
func (v *View) made(t *Transition) (at time.Time) {
	for _, r := range v.Releases {
		if r.Commit != t.Commit || r.Release != t.Release {
			continue
		}
		if !r.Committed.IsZero() {
			return r.Committed
		}
		if at.IsZero() || r.At.Before(at) {
			at = r.At
		}
	}
	return at
}

// tally adds up criteria.
type tally struct {
	criteria map[string]*CriterionFigures
	judged   map[string][2]bool // criterion, release, stage and policies → passed, failed
	times    map[string]int
}

func (t *tally) of(criterion string) *CriterionFigures {
	c := t.criteria[criterion]
	if c == nil {
		c = &CriterionFigures{ID: criterion}
		t.criteria[criterion] = c
	}
	return c
}

func (t *tally) decision(d policies.Decision) {
	var against []string
	for _, c := range d.Criteria {
		f := t.of(c.ID)
		f.Decisions++
		if c.Verdict == policies.Fail {
			f.Failed++
		}
		good := c.Verdict.Promotes()
		if !good {
			against = append(against, c.ID)
		}
		if !good && c.Verdict != policies.Fail {
			continue // what could not be told yet is no outcome
		}
		key := strings.Join([]string{c.ID, d.Release, string(d.Stage), d.PolicyDigest}, " ")
		seen := t.judged[key]
		seen[0], seen[1] = seen[0] || good, seen[1] || !good
		t.judged[key] = seen
		t.times[key]++
	}
	if len(against) == 1 {
		t.of(against[0]).Alone++
	}
}

func (t *tally) sum() []CriterionFigures {
	for key, seen := range t.judged {
		criterion, _, _ := strings.Cut(key, " ")
		if t.times[key] < 2 {
			continue
		}
		c := t.of(criterion)
		c.Repeated++
		if seen[0] && seen[1] {
			c.Flaked++
		}
	}
	all := make([]CriterionFigures, 0, len(t.criteria))
	for _, c := range t.criteria {
		if c.Repeated > 0 {
			c.FlakeRate = float64(c.Flaked) / float64(c.Repeated)
		}
		all = append(all, *c)
	}
	slices.SortFunc(all, func(a, b CriterionFigures) int { return strings.Compare(a.ID, b.ID) })
	return all
}
