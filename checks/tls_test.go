package checks

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// tlsTestServe starts a server with a certificate for name that ends at a time.
func tlsTestServe(ca *loadTestCA, name string, ends time.Time, low, high uint16) string {
	ca.t.Helper()
	s := loadTestServer(ca, loadTestOK)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue(name, ends)}, MinVersion: low, MaxVersion: high}
	s.StartTLS()
	ca.t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func tlsTestMeasure(t *testing.T, in Input) TLSPayload {
	t.Helper()
	m, err := TLS().Measure(t.Context(), in)
	if err != nil || m.Status != Completed {
		t.Fatalf("%s (%s) %v", m.Status, m.Reason, err)
	}
	return m.Payload.(TLSPayload)
}

func TestTLS(t *testing.T) {
	t.Parallel()
	ca, stranger := newLoadTestCA(t), newLoadTestCA(t)
	tomorrow := time.Now().Add(24 * time.Hour).Truncate(time.Second).UTC()
	yesterday := tomorrow.Add(-36 * time.Hour)
	const v10, v11, v12, v13 = tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13
	for name, c := range map[string]struct {
		address         string
		version, oldest string
		chain, named    bool
		ends            time.Time
		problem         string
	}{
		"good":                  {tlsTestServe(ca, loadTestName, tomorrow, v12, v13), "TLS 1.3", "TLS 1.2", true, true, tomorrow, ""},
		"1.3 only":              {tlsTestServe(ca, loadTestName, tomorrow, v13, v13), "TLS 1.3", "TLS 1.3", true, true, tomorrow, ""},
		"still takes 1.1":       {tlsTestServe(ca, loadTestName, tomorrow, v11, v13), "TLS 1.3", "TLS 1.1", true, true, tomorrow, ""},
		"1.0 only":              {tlsTestServe(ca, loadTestName, tomorrow, v10, v10), "TLS 1.0", "TLS 1.0", true, true, tomorrow, ""},
		"expired":               {tlsTestServe(ca, loadTestName, yesterday, v12, v13), "TLS 1.3", "TLS 1.2", false, true, yesterday, "expired"},
		"wrong name":            {tlsTestServe(ca, "other.test", tomorrow, v12, v13), "TLS 1.3", "TLS 1.2", true, false, tomorrow, loadTestName},
		"wrong CA":              {tlsTestServe(stranger, loadTestName, tomorrow, v12, v13), "TLS 1.3", "TLS 1.2", false, true, tomorrow, "unknown authority"},
		"expired, wrong name":   {tlsTestServe(ca, "other.test", yesterday, v12, v13), "TLS 1.3", "TLS 1.2", false, false, yesterday, "; "},
		"does not speak it":     {tlsTestPlain(t), "", "", false, false, time.Time{}, "agrees on no version"},
		"hangs up when greeted": {tlsTestHangUp(t), "", "", false, false, time.Time{}, "agrees on no version"},
	} {
		p := tlsTestMeasure(t, Input{Address: c.address, Name: loadTestName, Roots: ca.roots})
		if p.Version != c.version || p.MinVersion != c.oldest || p.ChainValid != c.chain || p.NameValid != c.named || !p.NotAfter.Equal(c.ends) ||
			!p.PrivateTrust || !strings.Contains(p.Problem, c.problem) || (c.problem == "") != (p.Problem == "") {
			t.Errorf("%s: %+v", name, p)
		}
		if c.version != "" && p.Issuer != "CN=test CA" {
			t.Errorf("%s: issuer %q", name, p.Issuer)
		}
	}
}

func tlsTestPlain(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(loadTestOK)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// tlsTestHangUp accepts, listens to the greeting and closes.
func tlsTestHangUp(t *testing.T) string {
	t.Helper()
	return tlsTestListen(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		_ = c.Close()
	})
}

func tlsTestListen(t *testing.T, each func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			each(c)
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

func TestTLSOfTheSystemsRootsIsNotPrivate(t *testing.T) {
	t.Parallel()
	ca := newLoadTestCA(t)
	p := tlsTestMeasure(t, Input{Address: ca.serve(loadTestOK), Name: loadTestName})
	if p.PrivateTrust || p.ChainValid || !p.NameValid {
		t.Errorf("%+v", p)
	}
}

func TestTLSUnavailable(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	for name, in := range map[string]Input{
		"refused":    {Address: l.Addr().String(), Name: loadTestName},
		"no address": {Name: loadTestName},
		"no name":    {Address: l.Addr().String()},
	} {
		if m, err := TLS().Measure(t.Context(), in); err != nil || m.Status != Unavailable || m.Reason == "" || m.Payload != nil {
			t.Errorf("%s: %s %q %v", name, m.Status, m.Reason, err)
		}
	}
}

func TestTLSStops(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var conns []net.Conn
	address := tlsTestListen(t, func(c net.Conn) {
		conns = append(conns, c) // and says nothing
		cancel()
	})
	began := time.Now()
	if _, err := TLS().Measure(ctx, Input{Address: address, Name: loadTestName}); !errors.Is(err, context.Canceled) || time.Since(began) > 3*time.Second {
		t.Errorf("%v after %s", err, time.Since(began))
	}
	t.Cleanup(func() {
		for _, c := range conns {
			_ = c.Close()
		}
	})
}

func TestTLSPoolKeepsTheNewest(t *testing.T) {
	t.Parallel()
	raw, err := tlsPool([][]byte{[]byte(`{"issuer":"old","chain_valid":true}`), []byte(`{"issuer":"new"}`)})
	var p TLSPayload
	if err == nil {
		err = json.Unmarshal(raw, &p)
	}
	if err != nil || p.Issuer != "new" || p.ChainValid {
		t.Errorf("%+v %v", p, err)
	}
	if _, err := tlsPool(nil); err == nil {
		t.Error("nothing is pooled")
	}
}
