package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/report"
	"github.com/smartcloudops/gate/pipeline/target/local"
)

// StatusCmd shows what runs.
type StatusCmd struct {
	Environment string        `arg:"" optional:"" help:"One environment alone."`
	Watch       bool          `help:"Show it anew every second, until nothing moves any more."`
	Timeout     time.Duration `default:"30m" help:"End watching after this time."`
}

// Run prints one state, or one a second.
func (c *StatusCmd) Run(ctx context.Context, g *Globals) error {
	s, err := g.open(ctx, c.Environment)
	if err != nil {
		return err
	}
	defer s.close()
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	for {
		all, moving, err := s.statuses(ctx, c.Environment)
		if err != nil {
			return err
		}
		if s.Output == "json" {
			err = report.JSON(s.Out, all)
		} else {
			err = report.Status(s.Out, all)
		}
		if err != nil || !c.Watch || !moving {
			return err
		}
		select {
		case <-ctx.Done():
			return &Exit{promotion.CodeInternal, fmt.Errorf("still moving after %s", c.Timeout)}
		case <-time.After(time.Second):
		}
	}
}

// statuses are the environments' states; moving while a promotion is under way.
func (s *session) statuses(ctx context.Context, only string) (all []report.Environment, moving bool, err error) {
	v, err := s.journal.View(ctx)
	if err != nil {
		return nil, false, err
	}
	for _, e := range s.decl.Environments {
		if only != "" && e.Name != only {
			continue
		}
		ev := v.Environment(e.Name)
		one := report.Environment{Name: e.Name, Address: "https://" + e.Listen, Hold: ev.Hold, Active: ev.Active}
		if d := v.Releases[ev.Desired]; d != nil {
			one.Desired, one.DesiredCommit, one.DesiredDirty = d.Release, d.Commit, d.Dirty
		}
		if n := len(ev.History); n > 0 {
			one.Last = &ev.History[n-1]
		}
		st, err := s.executor(e.Name).Status(ctx)
		switch {
		case err == nil:
			one.Actual = &st
		case errors.Is(err, local.ErrNoDaemon):
			one.Problem = err.Error()
		default:
			return nil, false, err
		}
		moving = moving || ev.Active != nil
		all = append(all, one)
	}
	return all, moving, nil
}

// pastPromotion is a promotion with what its record says of the commit.
type pastPromotion struct {
	promotion.Transition
	Subject string `json:"subject,omitempty"`
	Dirty   bool   `json:"dirty,omitempty"` // built with uncommitted changes
}

// HistoryCmd shows what was promoted.
type HistoryCmd struct {
	Environment string `arg:"" help:"The environment."`
	Number      int    `short:"n" default:"20" help:"How many, the newest first."`
}

// Run prints the ended promotions.
func (c *HistoryCmd) Run(ctx context.Context, g *Globals) error {
	s, err := g.open(ctx, c.Environment)
	if err != nil {
		return err
	}
	defer s.close()
	v, err := s.journal.View(ctx)
	if err != nil {
		return err
	}
	var newest []promotion.Transition
	var all []pastPromotion
	h := v.Environment(c.Environment).History
	for i := len(h) - 1; i >= 0 && len(newest) < c.Number; i-- {
		newest = append(newest, h[i])
		one := pastPromotion{Transition: h[i]}
		if r := v.Releases[h[i].Record]; r != nil {
			one.Subject, one.Dirty = r.Subject, r.Dirty
		}
		all = append(all, one)
	}
	if s.Output == "json" {
		return report.JSON(s.Out, all)
	}
	return report.History(s.Out, newest)
}
