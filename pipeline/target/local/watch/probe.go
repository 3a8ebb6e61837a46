package watch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// Request is one request of a probe.
type Request struct {
	Path   string
	Header http.Header
	Status int
	Body   string // must be contained
}

// Target is what a probe asks.
type Target struct {
	Address  string // host:port
	Name     string // that the certificate must be for
	Roots    *x509.CertPool
	Requests []Request
}

// Ask shakes hands anew, and sends the requests over that connection. Only right
// answers to all of them, in time, are none of a failure.
func Ask(ctx context.Context, t Target) (p Probed) {
	began := time.Now()
	defer func() { p.Took = time.Since(began) }()
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.Name, RootCAs: t.Roots},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", t.Address)
		},
		MaxResponseHeaderBytes: 64 << 10,
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, r := range t.Requests {
		if p.Failure = ask(ctx, client, t, r, &p.NotAfter); p.Failure != "" {
			return p
		}
	}
	return p
}

func ask(ctx context.Context, client *http.Client, t Target, r Request, notAfter *time.Time) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+t.Address+r.Path, nil)
	if err != nil {
		return "GET " + r.Path + ": " + err.Error()
	}
	for k, v := range r.Header {
		req.Header[k] = v
	}
	res, err := client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Sprintf("GET %s: no answer within %s", r.Path, Patience)
		}
		return err.Error()
	}
	defer res.Body.Close()
	if res.TLS != nil && len(res.TLS.PeerCertificates) > 0 {
		*notAfter = res.TLS.PeerCertificates[0].NotAfter
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	switch {
	case err != nil:
		return "GET " + r.Path + ": " + err.Error()
	case res.StatusCode != r.Status:
		return fmt.Sprintf("GET %s: answered %d, want %d", r.Path, res.StatusCode, r.Status)
	case !strings.Contains(string(body), r.Body):
		return fmt.Sprintf("GET %s: the answer lacks what it must contain", r.Path)
	}
	return ""
}
