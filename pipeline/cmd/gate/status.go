package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/ledger"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/report"
	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/pipeline/target/local"
)

// StatusCmd shows what runs.
type StatusCmd struct {
	Environment string        `arg:"" optional:"" help:"One environment alone."`
	Watch       bool          `help:"Show it anew every second, until nothing moves any more."`
	Timeout     time.Duration `default:"30m" help:"End watching after this time."`
	shown       string
	Remote      bool `help:"Show what the ledger's remote knows of environments on other machines."`
}

// Run prints one state, or one a second.
func (c *StatusCmd) Run(ctx context.Context, g *Globals) error {
	s, err := g.open(ctx, c.Environment)
	if err != nil {
		return err
	}
	defer s.close()
	return c.watch(ctx, func(ctx context.Context) (bool, error) { return c.show(ctx, s) })
}

// watch shows it once, or until nothing moves any more.
func (c *StatusCmd) watch(parent context.Context, show func(context.Context) (moving bool, err error)) error {
	ctx, cancel := context.WithTimeout(parent, c.Timeout)
	defer cancel()
	for {
		moving, err := show(ctx)
		if c.Watch && ctx.Err() != nil {
			return c.over(parent)
		}
		if err != nil || !c.Watch || !moving {
			return err
		}
		select {
		case <-ctx.Done():
			return c.over(parent)
		case <-time.After(c.pause()):
		}
	}
}

// over is why nobody watches any more: somebody has had enough, or the time is
// over.
func (c *StatusCmd) over(parent context.Context) error {
	if parent.Err() != nil {
		return &Exit{promotion.CodeInternal, errors.New("stopped watching; what moves goes on")}
	}
	return &Exit{promotion.CodeInternal, fmt.Errorf("still moving after %s", c.Timeout)}
}

func (c *StatusCmd) pause() time.Duration {
	if c.Remote {
		return syncEvery
	}
	return time.Second
}

// show writes what is known. That the remote could not be asked is said behind
// it, and is a failure only for who wanted to know what that knows.
func (c *StatusCmd) show(ctx context.Context, s *session) (moving bool, err error) {
	look, failed := s.statuses, error(nil)
	if c.Remote {
		look, failed = s.statusesElsewhere, s.forRemote(ctx)
		if exit := new(Exit); errors.As(failed, &exit) {
			return false, failed
		}
	}
	all, moving, err := look(ctx, c.Environment)
	if err != nil {
		return false, err
	}
	for i := range all {
		all[i].Waivers = s.waivers(all[i].Name)
		waits, err := s.people(ctx, &all[i])
		if err != nil {
			return false, err
		}
		moving = moving || waits
	}
	last, err := s.ledger.LastSync()
	if err != nil {
		return false, err
	}
	if s.Output == "json" {
		out := make([]standingOf, 0, len(all))
		for _, e := range all {
			out = append(out, standingOf{e, last})
		}
		err = report.JSON(s.Out, out)
	} else {
		var text bytes.Buffer
		err = errors.Join(report.Status(&text, all), inStep(&text, last))
		if c.shown != text.String() {
			c.shown = text.String() // once more is no news
			_, werr := s.Out.Write(text.Bytes())
			err = errors.Join(err, werr)
		}
	}
	return moving, errors.Join(err, failed)
}

// waivers are those of the environment that count here, with how they stand now.
func (s *session) waivers(environment string) (all []report.Waiver) {
	now := s.judge.Now()
	for _, w := range s.judge.Waivers {
		if w.Environment != environment {
			continue
		}
		state := "in force"
		switch {
		case !now.Before(w.Until.Time()):
			state = "expired"
		case now.Before(w.Since.Time()):
			state = "not yet in force"
		}
		all = append(all, report.Waiver{Criterion: w.Criterion, State: state, Until: w.Until.String(), Reason: w.Reason, Author: w.Author})
	}
	return all
}

// standingOf is what there is to say of an environment, and of what it is known
// by.
type standingOf struct {
	report.Environment
	Sync *ledger.LastSync `json:"sync,omitempty"`
}

// inStep says whether the ledger and its remote have the same; nil: there is
// none, or it was never asked.
func inStep(w io.Writer, last *ledger.LastSync) error {
	if last == nil {
		return nil
	}
	var err error
	since := "ever"
	if !last.OK.IsZero() {
		since = last.OK.UTC().Format("2006-01-02 15:04:05Z")
	}
	switch {
	case last.Error != "":
		_, err = fmt.Fprintf(w, "\nledger  not in step with %s since %s: %s\n", report.Line(last.Remote), since, report.Line(last.Error))
	case last.Kept > 0:
		_, err = fmt.Fprintf(w, "\nledger  in step with %s at %s, but for %d entries that stay here: %s\n", report.Line(last.Remote), since, last.Kept, report.Line(last.Why))
	default:
		_, err = fmt.Fprintf(w, "\nledger  in step with %s at %s\n", report.Line(last.Remote), since)
	}
	return err
}

// statusesElsewhere are what the ledger knows of environments on other machines:
// what runs there, only their daemons do.
func (s *session) statusesElsewhere(ctx context.Context, only string) (all []report.Environment, moving bool, err error) {
	v, err := s.journal.View(ctx)
	if err != nil {
		return nil, false, err
	}
	for _, e := range s.decl.Environments {
		if only != "" && e.Name != only {
			continue
		}
		one := known(v, e)
		one.Problem = "what runs there, its daemon on another machine knows; this is what the ledger says"
		pending, err := s.journal.Pending(ctx, v, e.Name)
		if err != nil {
			return nil, false, err
		}
		moving = moving || one.Active != nil || len(pending) > 0
		all = append(all, one)
	}
	return all, moving, nil
}

// known is what the ledger says of an environment.
func known(v *promotion.View, e *environments.Environment) report.Environment {
	ev := v.Environment(e.Name)
	one := report.Environment{Name: e.Name, Address: "https://" + e.Listen, Hold: ev.Hold, Active: ev.Active}
	if d := v.Releases[ev.Desired]; d != nil {
		one.Desired, one.DesiredCommit, one.DesiredDirty = d.Release, d.Commit, d.Dirty
	}
	if n := len(ev.History); n > 0 {
		one.Last = &ev.History[n-1]
	}
	return one
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
		one := known(v, e)
		st, err := s.executor(e.Name).Status(ctx)
		switch {
		case err == nil:
			one.Actual = &st
		case errors.Is(err, local.ErrNoDaemon):
			one.Problem = err.Error()
		default:
			return nil, false, err
		}
		moving = moving || one.Active != nil
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

// pastOperation is what the daemon did by itself. No promotion has its kinds.
type pastOperation struct {
	Environment string `json:"environment"`
	target.Operation
}

// HistoryCmd shows what was promoted, and what the daemon did by itself.
type HistoryCmd struct {
	Environment string `arg:"" help:"The environment."`
	Number      int    `short:"n" default:"20" help:"How many of each, the newest first."`
	Days        int    `default:"90" help:"Of how many days the figures are."`
	Figures     bool   `help:"Show the figures alone: lead time, frequency, failures, time to restore, and what each criterion has caught and cost."`
	Remote      bool   `help:"Ask the ledger's remote first."`
}

// Run prints the ended promotions, and behind them the daemon's own operations.
func (c *HistoryCmd) Run(ctx context.Context, g *Globals) error {
	s, err := g.open(ctx, c.Environment)
	if err != nil {
		return err
	}
	defer s.close()
	if c.Remote {
		if err := s.forRemote(ctx); err != nil {
			return err
		}
	}
	v, err := s.journal.View(ctx)
	if err != nil {
		return err
	}
	if c.Days < 1 {
		return &Exit{promotion.CodeUsage, fmt.Errorf("--days %d is no time", c.Days)}
	}
	figures, err := s.journal.Figures(ctx, c.Environment, s.journal.Now().AddDate(0, 0, -c.Days), s.judge.Checks)
	if err != nil {
		return err
	}
	if c.Figures {
		if s.Output == "json" {
			return report.JSON(s.Out, figures)
		}
		return report.Figures(s.Out, figures)
	}
	var newest []promotion.Transition
	all := []any{}
	h := v.Environment(c.Environment).History
	for i := len(h) - 1; i >= 0 && len(newest) < c.Number; i-- {
		newest = append(newest, h[i])
		one := pastPromotion{Transition: h[i]}
		if r := v.Releases[h[i].Record]; r != nil {
			one.Subject, one.Dirty = r.Subject, r.Dirty
		}
		all = append(all, one)
	}
	var own []target.Operation
	for _, o := range slices.Backward(v.Environment(c.Environment).Operations) {
		if len(own) == c.Number {
			break
		}
		own = append(own, o)
		all = append(all, pastOperation{c.Environment, o})
	}
	if s.Output == "json" {
		return report.JSON(s.Out, all)
	}
	err = errors.Join(report.History(s.Out, newest), report.Operations(s.Out, own))
	if err == nil && figures.Changes > 0 {
		err = report.Figures(s.Out, figures)
	}
	return err
}
