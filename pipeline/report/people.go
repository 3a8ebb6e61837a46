package report

import (
	"fmt"

	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/target"
)

// people writes what people have declared, asked for and agreed to, and what is
// to be said against what serves.
func (p *printer) people(e Environment) {
	if f := e.Frozen; f != nil {
		p.hang("  frozen     ", fmt.Sprintf("until %s: %s", f.Until, f.Reason))
	}
	for _, o := range e.Overrides {
		state := "may be used until " + stamp(o.At.Add(promotion.OverrideFor))
		if o.Used {
			state = "is to be approved by somebody else: gate approve " + short(o.Release) + " --to " + e.Name
		}
		p.hang("  overridden ", fmt.Sprintf("for %s by %s at %s (%s); it %s", short(o.Release), o.By, stamp(o.At), o.Reason, state))
	}
	for _, t := range e.Waiting {
		p.hang("  waiting    ", fmt.Sprintf("%s since %s, asked for by %s: %s", short(t.Release), stamp(t.At), t.By, t.Why))
	}
	for _, t := range e.Queued {
		p.hang("  asked for  ", fmt.Sprintf("%s since %s by %s: the daemon has not taken it yet", short(t.Release), stamp(t.At), t.By))
	}
	for _, r := range e.Degraded {
		p.hang("  degraded   ", fmt.Sprintf("%s: %s", r.About, r.Why))
	}
}

// arms writes what the sides of a canary have shown so far.
func (p *printer) arms(a *target.Arms) {
	if a == nil {
		return
	}
	for _, arm := range []struct {
		name string
		target.Arm
	}{{"canary", a.Canary}, {"baseline", a.Baseline}, {"stable", a.Stable}} {
		if arm.Release != "" {
			p.hang("             ", fmt.Sprintf("%s %s: %d requests (%d of gate's own), %d errors, p50 %.0f ms, p95 %.0f ms, %d restarts", arm.name, short(arm.Release), arm.Requests, arm.Synthetic, arm.Errors, 1000*arm.P50, 1000*arm.P95, arm.Restarts))
		}
	}
}
