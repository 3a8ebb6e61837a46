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

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/target/local/balancer"
)

// probeWithin is how long the answer to a synthetic request may take.
const probeWithin = 10 * time.Second

// Probe sends one declared synthetic request through the load balancer to one
// side of a canary, by the way that clients take. The load balancer sees whether
// the answer is the declared one, and counts it as an error where it is not.
func (d *Daemon) Probe(ctx context.Context, arm string, ep environments.Endpoint) error {
	// By then the load balancer counts it as too slow.
	ctx, cancel := context.WithTimeout(ctx, probeWithin+time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, ep.Method, "https://"+d.snapshot().Environment.Listen+ep.Path, strings.NewReader(ep.Body))
	if err != nil {
		return fmt.Errorf("synthetic request: %w", err)
	}
	req.Header.Set("User-Agent", "gate")
	for k, v := range ep.Headers {
		req.Header.Set(k, v)
	}
	// Compressed, an answer can't be compared with what is declared.
	req.Header.Set("Accept-Encoding", "identity")
	req.Header.Set(balancer.HeaderExpect, balancer.Expected{Status: ep.Expect.Status, Body: []byte(ep.Expect.Body), Within: probeWithin}.Header())
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
