package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/smartcloudops/gate/pipeline/ledger"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/report"
)

// ApproveCmd agrees to a release.
type ApproveCmd struct {
	Release string `arg:"" help:"Digest of the release or of its record, or its commit; eight characters are enough."`
	To      string `required:"" placeholder:"ENV" help:"The environment that may run it."`
	Reason  string `help:"Why, for the record."`
	Github  bool   `help:"Record those whom GitHub says to have approved this workflow's run for the environment, instead of who holds the key."`
	Remote  bool   `help:"Approve for another machine: the approval must reach the ledger's remote."`
}

// Run records the approval, and has the executor look at what waits for it.
func (c *ApproveCmd) Run(ctx context.Context, g *Globals) error {
	s, err := g.open(ctx, c.To)
	if err != nil {
		return err
	}
	defer s.close()
	if c.Remote {
		err = s.forRemote(ctx)
	} else {
		err = s.fetched(ctx)
	}
	if err != nil {
		return err
	}
	v, err := s.journal.View(ctx)
	if err != nil {
		return err
	}
	if _, _, err = one(v, c.Release, c.To); err != nil {
		return err
	}
	record, err := s.journal.Meant(ctx, v, c.To, v.Find(c.Release))
	if err != nil {
		return err
	}
	rec := v.Releases[record]
	may := ledger.Approve
	if c.Github {
		may = ledger.Vouch
	}
	if own := s.ledger.Own(); !s.ledger.TrustedFor([]string{own}, may, c.To) {
		return &Exit{promotion.CodeUsage, fmt.Errorf("an approval by this machine would not count: its key %s is not listed in environments/trust.yaml with may: [%s] for %s", own, may, c.To)}
	}
	a := promotion.Approval{Environment: c.To, Record: record, Release: rec.Release, Commit: rec.Commit, By: s.by(), Reason: c.Reason, At: s.journal.Now().UTC()}
	all := []promotion.Approval{a}
	if c.Github {
		if all, err = s.reviewed(ctx, a); err != nil {
			return err
		}
	}
	for _, a := range all {
		if err := s.journal.Approve(ctx, a); err != nil {
			return err
		}
	}
	if c.Remote {
		if err := s.fetched(ctx); err != nil {
			return fmt.Errorf("%w; it stands on this machine alone, and the next sync takes it along", err)
		}
	} else {
		s.carried(ctx)
	}
	s.client(c.To).Poke(ctx)
	if v, err = s.journal.View(ctx); err != nil {
		return err
	}
	waits := s.journal.Waits(v, promotion.Request{Environment: c.To, Record: record})
	if s.Output == "json" {
		return report.JSON(s.Out, struct {
			Approvals []promotion.Approval `json:"approvals"`
			Waits     string               `json:"waits,omitempty"`
		}{all, waits})
	}
	for _, a := range all {
		fmt.Fprintf(s.Out, "%s approved for %s by %s\n", report.Line(short(a.Release)), c.To, report.Line(a.By))
	}
	if waits != "" {
		_, err = fmt.Fprintf(s.Out, "it still waits: %s\n", report.Line(waits))
	}
	return err
}

// one is the release record that ref means.
func one(v *promotion.View, ref, environment string) (string, *promotion.ReleaseRecord, error) {
	found := v.Find(ref)
	if len(found) == 0 {
		return "", nil, &Exit{promotion.CodeUsage, fmt.Errorf("no release %q is on record: gate build makes one, gate history %s shows some", ref, environment)}
	}
	for _, f := range found[1:] {
		if v.Releases[f].Release != v.Releases[found[0]].Release {
			return "", nil, &Exit{promotion.CodeUsage, fmt.Errorf("%q means %d releases: give more of the digest", ref, len(found))}
		}
	}
	return found[0], v.Releases[found[0]], nil
}

func short(digest string) string { return fmt.Sprintf("%.12s", strings.TrimPrefix(digest, "sha256:")) }

// mayOverride fails where an override of the request would not count, or must
// not be.
func (s *session) mayOverride(v *promotion.View, r promotion.Request) error {
	if strings.TrimSpace(r.Reason) == "" {
		return &Exit{promotion.CodeUsage, errors.New("--override needs --reason: those who are told read it")}
	}
	if own := s.ledger.Own(); !s.ledger.TrustedFor([]string{own}, ledger.Promote, r.Environment) {
		return &Exit{promotion.CodeUsage, fmt.Errorf("an override by this machine would not count: its key %s is not listed in environments/trust.yaml with may: [promote] for %s", own, r.Environment)}
	}
	if v.Unapproved(r.Environment, s.ledger.Trust()) != nil {
		// One more would not help, and would page for nothing.
		_, why := v.Withheld(r, s.ledger.Trust(), s.journal.Now())
		return &Exit{promotion.CodeLocked, errors.New(why)}
	}
	if !v.Told(r.Environment, r.Record) {
		return &Exit{promotion.CodeUsage, fmt.Errorf("an override tells the owners of %s, and what serves there declares nobody who is told (local: true tells nobody): declare smtp, webhook or incident under alerts in environments/%s.yaml, and promote that first", r.Environment, r.Environment)}
	}
	return nil
}

// override records that the request goes past what people have declared.
func (s *session) override(ctx context.Context, r promotion.Request) error {
	return s.journal.Override(ctx, promotion.Override{
		Environment: r.Environment, Record: r.Record, Release: r.Release, Commit: r.Commit, By: r.By, Reason: r.Reason, At: s.journal.Now().UTC(),
	})
}

// written is the id of the request: of one that stands and asks for the same, or
// a new one. An override is recorded once nothing else can fail, before the
// executor may take the request.
func (s *session) written(ctx context.Context, r promotion.Request, override bool) (id string, err error) {
	v, err := s.journal.View(ctx)
	if err != nil {
		return "", err
	}
	if id, err = s.journal.Standing(ctx, v, r); err != nil {
		return "", err
	}
	if override {
		if err := s.override(ctx, r); err != nil {
			return "", err
		}
	}
	if id == "" {
		id, err = s.journal.Request(ctx, r)
	}
	return id, err
}
