package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/report"
)

// LoadCmd puts load on an address.
type LoadCmd struct {
	URL      string        `arg:"" help:"What to ask for, with GET."`
	Users    int           `default:"50" help:"Concurrent users, who think for a second on average."`
	Duration time.Duration `default:"60s" help:"How long in all."`
	Knee     bool          `help:"Then let the users ask without thinking, and raise the rate until the service no longer keeps up (40 s more)."`
	CACert   string        `name:"cacert" placeholder:"FILE" help:"Verify the certificate against this authority."`
}

// Run measures by the method of the check load and prints the figures. It needs
// no clone and records nothing: nobody is judged by it.
func (c *LoadCmd) Run(ctx context.Context, g *Globals) error {
	opt, err := checks.LoadURL(c.URL, c.Users, c.Duration)
	if err != nil {
		return &Exit{promotion.CodeUsage, err}
	}
	if c.Knee {
		opt.Scenario.Step, opt.Scenario.Knee = environments.DefaultStep, environments.DefaultKnee
	}
	if c.CACert != "" {
		pem, err := os.ReadFile(c.CACert)
		if err != nil {
			return &Exit{promotion.CodeUsage, fmt.Errorf("--cacert: %w", err)}
		}
		opt.Roots = x509.NewCertPool()
		if !opt.Roots.AppendCertsFromPEM(pem) {
			return &Exit{promotion.CodeUsage, fmt.Errorf("--cacert: %s holds no certificate", c.CACert)}
		}
	}
	live := report.NewLive(g.Err, g.Output == "json")
	opt.Progress = func(note string) { live.Say("load", note) }
	p, status, reason, err := checks.RunLoad(ctx, opt)
	live.Close()
	if err != nil {
		return err
	}
	if g.Output == "json" {
		err = report.JSON(g.Out, map[string]any{"status": status, "reason": reason, "payload": p})
	} else {
		err = report.Load(g.Out, p, status, reason)
	}
	if err == nil && status != checks.Completed {
		return &Exit{Code: promotion.CodeInconclusive}
	}
	return err
}
