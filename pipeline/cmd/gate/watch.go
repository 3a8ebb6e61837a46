package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/report"
	"github.com/smartcloudops/gate/pipeline/target/local/watch"
)

// WatchCmd looks at a service from outside, each second.
type WatchCmd struct {
	URL      string        `arg:"" help:"https:// address that answers 200 while the service works."`
	Folder   string        `name:"record" default:"." placeholder:"DIR" help:"Keep the hours in DIR/hours.json, and go on with what is there (default: this folder)."`
	CA       string        `name:"cacert" placeholder:"FILE" help:"Verify the certificate against this authority (default: the system's)."`
	Duration time.Duration `default:"0s" help:"End after this time; 0s: when it is stopped."`
}

// Run looks until it is stopped, and then says what it saw.
func (c *WatchCmd) Run(ctx context.Context, g *Globals) error {
	t, err := c.target()
	if err != nil {
		return &Exit{promotion.CodeUsage, err}
	}
	if err := os.MkdirAll(c.Folder, 0o755); err != nil {
		return fmt.Errorf("folder of the record: %w", err)
	}
	m, err := watch.OpenOutside(filepath.Join(c.Folder, "hours.json"), c.URL)
	if err != nil {
		return fmt.Errorf("%w; move it away to begin anew", err)
	}
	if c.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Duration)
		defer cancel()
	}
	last := ""
	err = watch.Outside(ctx, m, t, func(p watch.Probed) {
		if p.Failure != last {
			last = p.Failure
			if p.Failure == "" {
				fmt.Fprintf(g.Err, "gate: %s answers rightly again\n", time.Now().UTC().Format(time.TimeOnly))
			} else {
				fmt.Fprintf(g.Err, "gate: %s %s\n", time.Now().UTC().Format(time.TimeOnly), report.Line(p.Failure))
			}
		}
	})
	if err != nil {
		return err
	}
	hours := m.Hours()
	if g.Output == "json" {
		return report.JSON(g.Out, hours)
	}
	for _, h := range hours {
		fmt.Fprintf(g.Out, "%s  %4d s right, %4d s failed, %4d s not looked at\n", h.Hour.Format("2006-01-02 15:04Z"), h.OK, h.Failed, h.To-h.From-h.OK-h.Failed)
	}
	return nil
}

// target is what the address names.
func (c *WatchCmd) target() (t watch.Target, err error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return t, errors.New("the address must be https://host/path without a user")
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	path := u.RequestURI()
	t = watch.Target{Address: net.JoinHostPort(u.Hostname(), port), Name: u.Hostname(), Requests: []watch.Request{{
		Path: path, Header: http.Header{"User-Agent": {"gate-watch"}}, Status: http.StatusOK,
	}}}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return t, fmt.Errorf("--cacert: %w", err)
		}
		t.Roots = x509.NewCertPool()
		if !t.Roots.AppendCertsFromPEM(pem) {
			return t, fmt.Errorf("--cacert: %s holds no certificate", c.CA)
		}
	}
	return t, nil
}
