package main

import (
	"context"
	"fmt"

	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/report"
	"github.com/smartcloudops/gate/pipeline/run"
)

// ResumeCmd brings to its end what was interrupted.
type ResumeCmd struct {
	Environment string `arg:"" help:"The environment whose promotion was interrupted."`
}

// Run has the environment's daemon go on, and follows it. The daemon finishes or
// undoes what it finds by itself; this starts it where nobody has.
func (c *ResumeCmd) Run(ctx context.Context, g *Globals) error {
	s, err := g.open(ctx, c.Environment)
	if err != nil {
		return err
	}
	defer s.close()
	e, err := s.environment(c.Environment)
	if err != nil {
		return err
	}
	if err := s.executes(ctx, c.Environment); err != nil {
		return err
	}
	v, err := s.journal.View(ctx)
	if err != nil {
		return err
	}
	ev := v.Environment(c.Environment)
	if ev.Active == nil {
		return s.nothingToResume(c.Environment, ev)
	}
	a := *ev.Active
	fmt.Fprintf(s.Err, "gate: request %.12s by %s for release %.19s was at %s; if nobody carries it on, it is %s\n", a.Request, a.By, a.Release, ev.Reached, ev.Fate())
	x := s.executor(c.Environment)
	if err := s.wake(ctx, e); err != nil {
		return err
	}
	r := promotion.Request{Environment: c.Environment, Release: a.Release, Rollback: a.Kind == promotion.Rollback}
	err = s.follow(ctx, r, "", func(note func(string)) (promotion.Transition, error) {
		return run.Follow(ctx, s.journal, x, c.Environment, a.Request, note)
	})
	s.carried(ctx)
	return err
}

func (s *session) nothingToResume(environment string, ev *promotion.EnvironmentView) error {
	if s.Output == "json" {
		return report.JSON(s.Out, struct{}{})
	}
	fmt.Fprintf(s.Out, "%s: nothing is under way\n", environment)
	if n := len(ev.History); n > 0 {
		return report.Transition(s.Out, ev.History[n-1])
	}
	return nil
}

// standing is what becomes of a request that nobody follows any more.
func (s *session) standing(ctx context.Context, r promotion.Request) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startPatience)
	defer cancel()
	v, err := s.journal.View(ctx)
	if err != nil {
		return "gate status " + r.Environment + " says what has become of the request"
	}
	ev := v.Environment(r.Environment)
	if a := ev.Active; a != nil && a.Release == r.Release {
		return fmt.Sprintf("the promotion of release %.19s is at %s, and the daemon of %s goes on with it: gate status %s --watch; if that is stopped as well, the promotion is %s by gate resume %s", a.Release, a.Step, r.Environment, r.Environment, ev.Fate(), r.Environment)
	}
	pending, err := s.journal.Pending(ctx, v, r.Environment)
	for _, p := range pending {
		if p.Release == r.Release && p.Rollback == r.Rollback {
			return fmt.Sprintf("request %.12s stands, and %s goes on with it: gate status %s", p.ID, r.Environment, r.Environment)
		}
	}
	if n := len(ev.History); err == nil && n > 0 && ev.History[n-1].Release == r.Release {
		return fmt.Sprintf("nothing is under way: gate history %s says how it ended", r.Environment)
	}
	return "nothing was asked of " + r.Environment
}
