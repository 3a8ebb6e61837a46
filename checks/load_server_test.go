package checks

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/smartcloudops/gate/environments"
)

const loadTestName = "service.test"

// loadTestCA signs certificates as an environment's own CA does.
type loadTestCA struct {
	t     *testing.T
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	roots *x509.CertPool
}

func newLoadTestCA(t *testing.T) *loadTestCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	ca := &loadTestCA{t: t, key: key, roots: x509.NewCertPool()}
	if ca.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	ca.roots.AddCert(ca.cert)
	return ca
}

// issue signs a certificate for name that ends at a time.
func (ca *loadTestCA) issue(name string, ends time.Time) tls.Certificate {
	ca.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		ca.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: ends,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		ca.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der, ca.cert.Raw}, PrivateKey: key}
}

// loadTestServer is a TLS server that is not started yet.
func loadTestServer(ca *loadTestCA, h http.Handler) *httptest.Server {
	ca.t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue(loadTestName, time.Now().Add(24*time.Hour))}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	return s
}

// serve starts a TLS server that ends with the test.
func (ca *loadTestCA) serve(h http.Handler) (address string) {
	ca.t.Helper()
	s := loadTestServer(ca, h)
	s.StartTLS()
	ca.t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// loadTestOK answers what loadTestScenario expects.
var loadTestOK = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"ok":true}`)) })

func loadTestScenario(users int, think, warmup, closed, open time.Duration) environments.Load {
	return environments.Load{
		Users: users, Think: environments.Duration(think), Warmup: environments.Duration(warmup),
		Closed: environments.Duration(closed), Open: environments.Duration(open),
		Endpoints: []environments.Endpoint{
			{Name: "read", Method: "GET", Path: "/read", Weight: 3, Safe: true, Expect: environments.Expect{Status: 200, Body: `"ok":true`}},
			{Name: "write", Method: "POST", Path: "/write?u=${USER}", Weight: 1, Body: `{"id":"${RUN}-${SEQ}","at":"${NOW}"}`,
				Headers: map[string]string{"content-type": "application/json", "X-Id": "${RUN}-${SEQ}"},
				Expect:  environments.Expect{Status: 200, Body: `"ok":true`}},
		},
	}
}

// loadTestInput is a first environment with the scenario declared for it.
func loadTestInput(ca *loadTestCA, address string, l environments.Load) Input {
	return Input{
		Declarations: &environments.Declarations{App: &environments.App{Name: "app", Load: l, Update: environments.Update{Rate: 100}}},
		Environment:  &environments.Environment{Name: "staging", Instances: environments.Instances{Min: 2, Max: 10}},
		Release:      "sha256:new", Previous: "sha256:old",
		Address: address, Name: loadTestName, Roots: ca.roots,
	}
}
