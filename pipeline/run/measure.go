package run

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/release"
)

// measure returns the evidence that a check has or makes, where the release
// replaces previous.
func (s *state) measure(ctx context.Context, c checks.Check, e *environments.Environment, previous string, note func(string)) (Measured, error) {
	in := checks.Input{
		Declarations: s.decl, Environment: e, Root: environments.Dir, Source: s.exported.Dir, Tools: s.Tools,
		SourceDigest: s.source, TreeDigest: s.exported.TreeDigest,
	}
	// What runs beside a first build can't have been measured before.
	early := !onRunning(c) && !s.hasRelease()
	var err error
	if !early {
		m, ok, err := s.reuse(ctx, c, e, previous)
		if err != nil || ok {
			return m, err
		}
		if in, err = s.input(ctx, e, previous); err != nil {
			return Measured{}, err
		}
	}
	if in.Source, err = s.folder(ctx, c); err != nil {
		return Measured{}, err
	}
	in.Progress = note
	if onRunning(c) {
		if err := s.reach(ctx, e, &in); err != nil {
			return Measured{}, err
		}
	}
	if c.Name == "migration" {
		in.Pending, in.PendingProblem = s.pending(ctx, in)
		in.TargetBytes = s.targetBytes(ctx, e)
	}
	taken, err := checks.Take(ctx, c, in, s.Now)
	if err != nil {
		return Measured{}, err
	}
	if early {
		select {
		case <-ctx.Done():
			return Measured{}, context.Cause(ctx)
		case <-s.hasBuilt:
		}
		if in, err = s.input(ctx, e, previous); err != nil {
			return Measured{}, err
		}
	}
	return s.keepEvidence(ctx, c, in, taken, note)
}

// reach says how the environment is reached.
func (s *state) reach(ctx context.Context, e *environments.Environment, in *checks.Input) error {
	x := s.Executor(e.Name)
	st, err := x.Status(ctx)
	if err != nil {
		return err
	}
	if in.Name, in.Roots, _, err = x.Trust(e); err != nil {
		return err
	}
	in.Address, in.Target = st.Address, x.Drills()
	return nil
}

// drill measures the drills that have no evidence yet, as phases of one run of
// load.
func (s *state) drill(ctx context.Context, cs []checks.Check, e *environments.Environment, previous string, note func(string)) (all []Measured, err error) {
	var due []checks.Check
	for _, c := range cs {
		m, ok, err := s.reuse(ctx, c, e, previous)
		if err != nil {
			return nil, err
		}
		if ok {
			all = append(all, m)
		} else {
			due = append(due, c)
		}
	}
	if len(due) == 0 {
		return all, nil
	}
	in, err := s.input(ctx, e, previous)
	if err != nil {
		return nil, err
	}
	in.Progress = note
	if err := s.reach(ctx, e, &in); err != nil {
		return nil, err
	}
	taken, err := checks.TakeDrills(ctx, due, in, s.Now)
	if err != nil {
		return nil, err
	}
	for i, c := range due {
		m, err := s.keepEvidence(ctx, c, in, taken[i], note)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// keepEvidence records what was measured.
func (s *state) keepEvidence(ctx context.Context, c checks.Check, in checks.Input, taken checks.Taken, note func(string)) (Measured, error) {
	ev := taken.Evidence(c, in)
	ev.Nonce = s.nonce()
	if ev.Status != checks.Completed {
		note(fmt.Sprintf("%s: %s", ev.Status, ev.Reason))
	}
	digest, err := s.Journal.Evidence(ctx, ev)
	if err != nil {
		return Measured{}, err
	}
	v, err := s.Journal.View(ctx)
	if err != nil {
		return Measured{}, err
	}
	return Measured{Digest: digest, Runs: len(v.Evidence(ev.Key)), Evidence: ev}, nil
}

// folder is the export that the check may look at. The tests get one of their
// own: what they write must not get into a release that is built beside them,
// nor into what others scan.
func (s *state) folder(ctx context.Context, c checks.Check) (string, error) {
	if c.Name != "tests" && !c.Outside {
		return s.exported.Dir, nil
	}
	e, err := release.Export(ctx, s.Clone, s.opts.Revision, s.opts.Revision == "", filepath.Join(s.Work, "export-"+c.Name))
	if err != nil {
		return "", err
	}
	if e.TreeDigest != s.exported.TreeDigest {
		return "", errors.New("the clone has changed since the run began: run again")
	}
	return e.Dir, nil
}

func (s *state) hasRelease() bool {
	select {
	case <-s.hasBuilt:
		return true
	default:
		return false
	}
}

// reuse finds a completed run of the same key that may still stand. A failure
// stands like a success: only measuring anew with --fresh, which pools, or a
// changed key supersedes it.
func (s *state) reuse(ctx context.Context, c checks.Check, e *environments.Environment, previous string) (Measured, bool, error) {
	if s.opts.Fresh {
		return Measured{}, false, nil
	}
	in, err := s.input(ctx, e, previous)
	if err != nil {
		return Measured{}, false, err
	}
	v, err := s.Journal.View(ctx)
	if err != nil {
		return Measured{}, false, err
	}
	if in.Proposal {
		// A full measurement is worth more than one that may stop early.
		full := in
		full.Proposal = false
		if m, ok := s.reusable(c, e, full, v.Evidence(c.Key(full))); ok {
			return m, true, nil
		}
	}
	m, ok := s.reusable(c, e, in, v.Evidence(c.Key(in)))
	return m, ok, nil
}

// reusable is the newest of the runs that may still stand.
func (s *state) reusable(c checks.Check, e *environments.Environment, in checks.Input, runs []promotion.Signed) (Measured, bool) {
	for i := len(runs) - 1; i >= 0; i-- {
		r := runs[i]
		if r.Evidence.Status != checks.Completed || r.Evidence.Trust != checks.TrustBase {
			continue
		}
		if n := s.nonce(); n != "" && r.Evidence.Nonce != n {
			continue // of another call
		}
		if !r.Trusted || !s.Judge.Trusted(r.Signers, "measure", r.Evidence.Environment) {
			continue
		}
		if s.Now().Sub(r.Evidence.Finished) > s.fresh(c, e) || c.Current != nil && !c.Current(in, r.Evidence) {
			break
		}
		return Measured{Digest: r.Digest, Reused: true, Runs: len(runs), Evidence: r.Evidence}, true
	}
	return Measured{}, false
}

// fresh is how old evidence may be so that it will still count while this run
// lasts: the policy's own limit, less an hour. Without a limit nothing is reused.
func (s *state) fresh(c checks.Check, e *environments.Environment) time.Duration {
	all, err := s.Judge.Thresholds(e)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseFloat(fmt.Sprint(all[c.Criterion]["max_age_seconds"]), 64)
	if err != nil {
		return 0
	}
	return time.Duration(n*float64(time.Second)) - time.Hour
}

// request asks for the release in the environment and follows what comes of it.
func (s *state) request(e *environments.Environment) func(context.Context, func(string)) (bool, error) {
	return func(ctx context.Context, note func(string)) (bool, error) {
		x := s.Executor(e.Name)
		st, err := x.Status(ctx)
		if err != nil {
			return false, err
		}
		v, err := s.Journal.View(ctx)
		if err != nil {
			return false, err
		}
		if st.Revision == s.record.Revision(e.Name).ID() && v.Environment(e.Name).Desired != "" {
			note("it serves already")
			return true, nil
		}
		if why := v.NoReturn(e.Name, s.record); why != "" {
			note(why)
		}
		t, err := Ask(ctx, s.Journal, x, promotion.Request{
			Environment: e.Name, Release: s.record.Release, Commit: s.record.Commit, Record: s.digest, By: s.By, Automatic: true,
		}, note)
		if err != nil {
			return false, err
		}
		s.mu.Lock()
		s.result.Promotions = append(s.result.Promotions, t)
		s.mu.Unlock()
		if t.State == promotion.Succeeded {
			return false, nil
		}
		return false, &Stop{Code: t.Code, Summary: fmt.Sprintf("%s: %s: %s", e.Name, strings.ReplaceAll(string(t.State), "_", " "), t.Why), Next: nextAfter(t)}
	}
}

// Ask writes a request, unless the same waits for approval, and follows it until
// the executor has ended it.
func Ask(ctx context.Context, j *promotion.Journal, x Executor, r promotion.Request, note func(string)) (promotion.Transition, error) {
	v, err := j.View(ctx)
	if err != nil {
		return promotion.Transition{}, err
	}
	id, err := j.Standing(ctx, v, r)
	if err == nil && id == "" {
		id, err = j.Request(ctx, r)
	}
	if err != nil {
		return promotion.Transition{}, err
	}
	return Follow(ctx, j, x, r.Environment, id, note)
}

// Follow waits until the request has been consumed, or is found to wait for
// approval. When ctx ends, the request
// stands and the executor goes on with it.
func Follow(ctx context.Context, j *promotion.Journal, x Executor, environment, id string, note func(string)) (promotion.Transition, error) {
	x.Poke(ctx)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var last promotion.Step
	for n := 0; ; n++ {
		v, err := j.View(ctx)
		if err != nil {
			return promotion.Transition{}, err
		}
		ev := v.Environment(environment)
		if t := ev.Consumed[id]; t != nil {
			return *t, nil
		}
		if a := ev.Active; a != nil && a.Request == id && a.Step != last {
			last = a.Step
			note(string(last))
		}
		waiting, err := j.Waiting(ctx, v, environment)
		if err != nil {
			return promotion.Transition{}, err
		}
		for _, w := range waiting {
			if w.Request == id {
				return w, nil
			}
		}
		if n%20 == 19 {
			// The executor must be alive for anything to come of the request.
			if _, err := x.Status(ctx); err != nil {
				return promotion.Transition{}, fmt.Errorf("%s was asked for (request %.12s), and what executes it does not answer: %w; it goes on with gate serve %s", environment, id, err, environment)
			}
		}
		select {
		case <-ctx.Done():
			return promotion.Transition{}, context.Cause(ctx)
		case <-tick.C:
		}
	}
}

func nextAfter(t promotion.Transition) string {
	switch t.State {
	case promotion.Refused:
		return "gate status " + t.Environment
	case promotion.Waiting:
		return fmt.Sprintf("gate approve %.19s --to %s", t.Release, t.Environment)
	case promotion.RolledBack, promotion.Aborted, promotion.Failed:
		return "gate explain " + t.Environment + ", gate logs " + t.Environment
	}
	return "gate logs " + t.Environment
}
