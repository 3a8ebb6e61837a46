package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/ledger"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/report"
	"github.com/smartcloudops/gate/pipeline/target/local/watch"
)

// hoursBytes bounds a file of hours: a year of them has a tenth of it.
const hoursBytes = 16 << 20

// hours takes full hours that gate watch has seen into the record, under this
// machine's key. All of the file is sound, or nothing of it is taken.
func (c *EvidenceImportCmd) hours(ctx context.Context, g *Globals) error {
	if c.Env == "" || c.Commit != "" || c.Nonce != "" || !c.Since.IsZero() || !c.Until.IsZero() || c.Change {
		return &Exit{promotion.CodeUsage, errors.New("a file of hours needs --env with the environment that was watched, and takes nothing else")}
	}
	s, err := g.open(ctx, c.Env)
	if err != nil {
		return err
	}
	defer s.close()
	e, err := s.environment(c.Env)
	if err != nil {
		return err
	}
	f, err := os.Open(c.Path)
	if err != nil {
		return fmt.Errorf("hours of uptime: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, hoursBytes))
	if err != nil {
		return fmt.Errorf("hours of uptime: %w", err)
	}
	address, hours, err := watch.ReadOutside(b)
	if err == nil {
		hours, err = outsideHours(e, address, hours, time.Now())
	}
	if err != nil {
		return &Exit{promotion.CodeFail, fmt.Errorf("%s: %w", c.Path, err)}
	}
	if !s.ledger.TrustedFor([]string{s.ledger.Own()}, ledger.Measure, c.Env) {
		return &Exit{promotion.CodeFail, fmt.Errorf("this machine's key %s may not measure in %s, so that its hours would not count: add it to environments/trust.yaml with may: [measure]", s.ledger.Own(), c.Env)}
	}
	all := make([]checks.Evidence, 0, len(hours))
	for _, h := range hours {
		// As old as the hour is: nothing becomes fresher by being imported.
		all = append(all, checks.UptimeOf(checks.Input{Declarations: s.decl, Environment: e}, []checks.UptimeHour{h}, endOf(h)))
	}
	if _, err := s.journal.EvidenceAll(ctx, all); err != nil {
		return err
	}
	if s.Output == "json" {
		return report.JSON(s.Out, hours)
	}
	for _, h := range hours {
		fmt.Fprintf(s.Out, "%s  %4d s right, %4d s failed, %4d s not looked at\n", h.Hour.Format("2006-01-02 15:04Z"), h.OK, h.Failed, h.To-h.From-h.OK-h.Failed)
	}
	return nil
}

func endOf(h checks.UptimeHour) time.Time { return h.Hour.Add(time.Duration(h.To) * time.Second).UTC() }

// outsideHours are those hours that count, the oldest first: they are over, and
// in the window that uptime is about. Anything that can't be is an error.
func outsideHours(e *environments.Environment, address string, hours []checks.UptimeHour, now time.Time) ([]checks.UptimeHour, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || !slices.Contains(e.TLS.Names, u.Hostname()) {
		return nil, fmt.Errorf("it is about %.200q, and %s is reached as %v", address, e.Name, e.TLS.Names)
	}
	seen := map[int64]bool{}
	var out []checks.UptimeHour
	for _, h := range hours {
		at := h.Hour.UTC().Format("2006-01-02 15:04Z")
		switch {
		case !h.Sound() || h.Prober != checks.ProberOutside:
			return nil, fmt.Errorf("the record of %s is not what an outside prober can have seen in an hour", at)
		case seen[h.Hour.Unix()]:
			return nil, fmt.Errorf("the hour %s is there twice", at)
		case endOf(h).After(now.Add(5 * time.Second)):
			return nil, fmt.Errorf("the hour %s is not over yet: compare the clocks", at)
		}
		seen[h.Hour.Unix()] = true
		if over := h.Hour.Add(time.Hour); !over.After(now) && over.After(now.Add(-checks.UptimeWindow)) {
			out = append(out, h)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("it holds no full hour of the last 30 days")
	}
	slices.SortFunc(out, func(a, b checks.UptimeHour) int { return a.Hour.Compare(b.Hour) })
	return out, nil
}
