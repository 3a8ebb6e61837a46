package local

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/smartcloudops/gate/pipeline/target/local/balancer"
)

// Probe sends one declared synthetic request through the load balancer to one
// side of a canary, by the way that clients take.
func (d *Daemon) Probe(ctx context.Context, arm, method, path, body string, headers map[string]string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "https://"+d.snapshot().Environment.Listen+path, strings.NewReader(body))
	if err != nil {
		return fmt.Errorf("synthetic request: %w", err)
	}
	for k, v := range headers {
		req.Header.Set(k, v)
	}
	req.Header.Set(balancer.HeaderArm, arm)
	req.Header.Set(balancer.HeaderSynthetic, d.synthetic)
	res, err := d.prober().Do(req)
	if err != nil {
		return fmt.Errorf("synthetic request: %w", err)
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<20))
	return err
}

// prober is a client for this daemon's own balancer. That it is this one is
// known without a certificate: nobody else can listen on its address.
func (d *Daemon) prober() *http.Client {
	d.probeOnce.Do(func() {
		d.probes = &http.Client{Transport: &http.Transport{
			TLSClientConfig:     &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}, //nolint:gosec // see above; the check tls verifies
			DialContext:         (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
			MaxIdleConnsPerHost: 64,
		}}
	})
	return d.probes
}
