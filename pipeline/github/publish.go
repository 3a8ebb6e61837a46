package github

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Published says what became of a verdict.
type Published struct {
	Runs     []PublishedRun // the aggregate first
	Obsolete bool           // a newer decision on the commit is published: it stands
	Newer    string         // start of that decision's digest
	More     int            // findings that only the report has
}

// PublishedRun is one check run as it stands at the end.
type PublishedRun struct {
	Name       string
	ID         int64
	URL        string
	Conclusion string
}

// PublishVerdict makes the commit's check runs say v: all in progress first,
// then each criterion completed, then the aggregate. It may be called again, by
// several at once, and after it broke off anywhere: the commit ends up with what
// the newest decision says, or without a conclusion, which holds a merge up.
//
// Check runs are never rewritten for another decision. Each decision has runs
// of its own, known by their external id, and GitHub shows of one name the run
// that was created last. A publisher that finds, after it created its run, that
// a newer decision has one already, turns its own into a repetition of it; since
// it looks after it created, and completes only after it looked, no order of
// events lets an older decision have the last word.
func (c *Client) PublishVerdict(ctx context.Context, v Verdict) (*Published, error) {
	v.Advisory = v.Advisory || c.Authority() != App
	if err := v.validate(); err != nil {
		return nil, err
	}
	p := &publisher{c: c, v: v, mine: stampOf(v.Decision, v.Mark), sheets: v.sheets()}
	if err := p.begin(ctx); err != nil {
		return nil, err
	}
	// Criteria first: the aggregate must not be there before what it rests on.
	for _, group := range [][]sheet{p.sheets[1:], p.sheets[:1]} {
		if err := p.converge(ctx, group); err != nil {
			return nil, err
		}
	}
	// Once more: somebody may have begun in the meantime.
	if err := p.converge(ctx, slices.Concat(p.sheets[1:], p.sheets[:1])); err != nil {
		return nil, err
	}
	return p.result(), nil
}

// publisher is one call of PublishVerdict.
type publisher struct {
	c      *Client
	v      Verdict
	mine   stamp
	sheets []sheet
	last   map[string][]checkRun // as seen last, by name
}

// begin creates the runs that are not there, in progress. The aggregate comes
// first, so that an earlier decision's success holds no longer.
func (p *publisher) begin(ctx context.Context) error {
	all, err := p.runs(ctx, "")
	if err != nil {
		return err
	}
	for _, s := range p.sheets {
		have := all[s.name]
		if p.newer(have) != nil || len(p.own(have)) > 0 {
			continue
		}
		found := true // by the list above, not again at the first try
		err := p.c.ensure(ctx, func(ctx context.Context) (bool, error) {
			if found {
				found = false
				return false, nil
			}
			all, err := p.runs(ctx, s.name)
			return err == nil && len(p.own(all[s.name])) > 0, err
		}, func(ctx context.Context) error { return p.create(ctx, s) })
		if err != nil {
			return err
		}
	}
	return nil
}

// maxRounds bounds how often converge looks again.
const maxRounds = 8

// converge brings the runs of the sheets to their end, until a look finds
// nothing to do.
func (p *publisher) converge(ctx context.Context, sheets []sheet) error {
	for range maxRounds {
		all, err := p.runs(ctx, "")
		if err != nil {
			return err
		}
		p.last = all
		changed := false
		for _, s := range sheets {
			did, err := p.step(ctx, s, all[s.name])
			if err != nil {
				return err
			}
			changed = changed || did
		}
		if !changed {
			return nil
		}
	}
	return fmt.Errorf("GitHub: publish the verdict on %s: %w", p.v.Commit, ErrContended)
}

// step does for one name what the runs, all of one look, need.
func (p *publisher) step(ctx context.Context, s sheet, all []checkRun) (changed bool, err error) {
	own := p.own(all)
	newer := p.newer(all)
	if newer == nil {
		if len(own) == 0 {
			return false, fmt.Errorf("GitHub: publish the verdict on %s: the check run %s is gone: %w", p.v.Commit, s.name, ErrContended)
		}
		for _, r := range own {
			if r.status == "completed" && r.conclusion == s.conclusion {
				continue
			}
			if r.id == own[len(own)-1].id {
				if err := p.annotate(ctx, r, s); err != nil {
					return false, err
				}
			}
			if err := p.complete(ctx, r, s); err != nil {
				return false, err
			}
			changed = true
		}
		return changed, nil
	}
	for _, r := range own {
		switch {
		case r.id > newer.id:
			err = p.repeat(ctx, r, *newer)
		case r.status != "completed":
			err = p.supersede(ctx, r, *newer)
		default:
			continue
		}
		if err != nil {
			return false, err
		}
		changed = true
	}
	return changed, nil
}

// own are the runs of this decision, oldest first.
func (p *publisher) own(all []checkRun) []checkRun {
	return slices.DeleteFunc(slices.Clone(all), func(r checkRun) bool { return r.stamp.compare(p.mine) != 0 })
}

// newer is the run, created last, of the newest decision if that is newer than
// this one.
func (p *publisher) newer(all []checkRun) *checkRun {
	var best *checkRun
	for i, r := range all {
		if r.stamp.compare(p.mine) > 0 && (best == nil || r.stamp.compare(best.stamp) >= 0) {
			best = &all[i]
		}
	}
	return best
}

func (p *publisher) result() *Published {
	out := &Published{More: p.sheets[0].more}
	for _, s := range p.sheets {
		all := p.last[s.name]
		if n := p.newer(all); n != nil {
			out.Obsolete, out.Newer = true, n.stamp.decision
		}
		if len(all) > 0 {
			r := all[len(all)-1]
			out.Runs = append(out.Runs, PublishedRun{Name: s.name, ID: r.id, URL: r.url, Conclusion: r.conclusion})
		}
	}
	return out
}

// ensure creates what find does not find. When a reply is lost, it looks again
// before it creates again.
func (c *Client) ensure(ctx context.Context, find func(context.Context) (bool, error), create func(context.Context) error) error {
	for n := 1; ; n++ {
		found, err := find(ctx)
		if err != nil || found {
			return err
		}
		err = create(ctx)
		if err == nil || !errors.Is(err, ErrUnknownOutcome) || n == maxAttempts {
			return err
		}
		if err := c.sleep(ctx, backoff(n)); err != nil {
			return err
		}
	}
}
