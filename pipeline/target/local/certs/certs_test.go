package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

func ensure(t *testing.T, dir string, now time.Time, names ...string) *Authority {
	t.Helper()
	a, err := Ensure(dir, names, now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// handshake does a real one over TCP and returns the client's error.
func handshake(t *testing.T, get func(*tls.ClientHelloInfo) (*tls.Certificate, error), roots *x509.CertPool, name string, now time.Time) error {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_ = tls.Server(c, &tls.Config{GetCertificate: get}).Handshake()
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	err = tls.Client(c, &tls.Config{RootCAs: roots, ServerName: name, Time: func() time.Time { return now }}).Handshake()
	_ = c.Close()
	<-done
	return err
}

func TestEnsuredCertificateIsAcceptedForEveryName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	a := ensure(t, dir, t0, "app.example", "*.apps.example", "127.0.0.1", "::1")
	pool, err := LoadPool(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"app.example", "x.apps.example", "127.0.0.1", "::1"} {
		if err := handshake(t, a.GetCertificate, pool, name, t0); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := handshake(t, a.GetCertificate, a.Roots(), "other.example", t0); err == nil {
		t.Error("a name that was not declared was accepted")
	}
	if err := handshake(t, a.GetCertificate, x509.NewCertPool(), "app.example", t0); err == nil {
		t.Error("the certificate was accepted without its CA")
	}
	if !a.NewRoot() || !bytes.Contains(a.RootsPEM(), []byte("BEGIN CERTIFICATE")) {
		t.Error("the first CA is not reported as new, or has no PEM")
	}
}

func TestFilesArePrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	ensure(t, dir, t0, "localhost")
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 4 {
		t.Fatalf("want ca.key, ca.pem, lock and server.pem: %v, %v", entries, err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", e.Name(), info.Mode(), err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder: %v, %v", info.Mode(), err)
	}
}

func TestRenewal(t *testing.T) {
	dir := t.TempDir()
	first := ensure(t, dir, t0, "localhost", "127.0.0.1")
	serial := func(a *Authority) string { return a.Certificate().Leaf.SerialNumber.String() }
	for _, c := range []struct {
		what      string
		now       time.Time
		names     []string
		leaf, top bool // made anew
	}{
		{"the same again, in another order", t0, []string{"127.0.0.1", "LOCALHOST"}, false, false},
		{"30 days left", t0.Add(60 * day), []string{"localhost", "127.0.0.1"}, false, false},
		{"a second less", t0.Add(60*day + time.Second), []string{"localhost", "127.0.0.1"}, true, false},
		{"a clock that went back", t0.Add(-10 * day), []string{"localhost", "127.0.0.1"}, true, true},
		{"other names", t0, []string{"localhost", "app.example"}, true, true},
		{"the CA's last year", t0.Add(9*365*day + time.Hour), []string{"localhost", "app.example"}, true, true},
	} {
		next := ensure(t, dir, c.now, c.names...)
		if leaf := serial(next) != serial(first); leaf != c.leaf {
			t.Errorf("%s: leaf made anew: %v", c.what, leaf)
		}
		if next.NewRoot() != c.top {
			t.Errorf("%s: CA signed anew: %v", c.what, next.NewRoot())
		}
		if err := handshake(t, next.GetCertificate, next.Roots(), c.names[0], c.now); err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		if left := next.Certificate().Leaf.NotAfter.Sub(c.now); left > leafLife || left < leafRenew {
			t.Errorf("%s: %v left", c.what, left)
		}
		first = next
	}
}

func TestRenewedWithoutRestart(t *testing.T) {
	a := ensure(t, t.TempDir(), t0, "localhost")
	old := a.Certificate()
	if changed, err := a.Refresh(t0.Add(59 * day)); changed || err != nil {
		t.Fatal("renewed too early", err)
	}
	later := t0.Add(80 * day)
	if changed, err := a.Refresh(later); !changed || err != nil {
		t.Fatal("not renewed", err)
	}
	if a.Certificate() == old {
		t.Fatal("the old certificate is still served")
	}
	if err := handshake(t, a.GetCertificate, a.Roots(), "localhost", t0.Add(120*day)); err != nil {
		t.Fatal(err)
	}
}

func TestAuthorityCannotSignForOthers(t *testing.T) {
	for _, c := range []struct {
		names []string
		dns   []string
		ip    []net.IP
	}{
		{names: []string{"app.example"}, dns: []string{"bank.example"}},
		{names: []string{"app.example"}, ip: []net.IP{net.ParseIP("10.0.0.1")}},
		{names: []string{"127.0.0.1"}, dns: []string{"bank.example"}},
		{names: []string{"127.0.0.1"}, ip: []net.IP{net.ParseIP("127.0.0.2")}},
	} {
		dir := t.TempDir()
		a := ensure(t, dir, t0, c.names...)
		key, err := readKey(filepath.Join(dir, keyFile))
		if err != nil {
			t.Fatal(err)
		}
		leaf := &x509.Certificate{
			SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "forged"}, NotBefore: t0, NotAfter: t0.Add(day),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, DNSNames: c.dns, IPAddresses: c.ip,
		}
		own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.CreateCertificate(rand.Reader, leaf, a.Root(), &own.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		forged := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: own}
		name := strings.Join(c.dns, "")
		if name == "" {
			name = c.ip[0].String()
		}
		err = handshake(t, func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return forged, nil }, a.Roots(), name, t0)
		if err == nil {
			t.Errorf("a CA for %v signed for %s, and it was believed", c.names, name)
		}
	}
}

func TestDamage(t *testing.T) {
	write := func(name, text string) func(string) error {
		return func(dir string) error { return os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600) }
	}
	remove := func(name string) func(string) error {
		return func(dir string) error { return os.Remove(filepath.Join(dir, name)) }
	}
	for _, c := range []struct {
		what   string
		damage func(dir string) error
		want   error // nil: mended
		text   string
	}{
		{"server.pem cut", write(serverFile, "-----BEGIN CERT"), nil, ""},
		{"server.pem gone", remove(serverFile), nil, ""},
		{"CA key gone", remove(keyFile), ErrAuthorityKey, "restore it from a backup"},
		{"CA key empty", write(keyFile, ""), ErrAuthorityKey, ""},
		{"CA certificate cut", write(rootFile, "-----BEGIN"), nil, "is damaged"},
		{"CA certificate gone", remove(rootFile), nil, ""},
	} {
		dir := t.TempDir()
		ensure(t, dir, t0, "localhost")
		if err := c.damage(dir); err != nil {
			t.Fatal(err)
		}
		a, err := Ensure(dir, []string{"localhost"}, t0)
		switch {
		case c.want == nil && c.text == "":
			if err != nil {
				t.Errorf("%s: %v", c.what, err)
			} else if err := handshake(t, a.GetCertificate, a.Roots(), "localhost", t0); err != nil {
				t.Errorf("%s: %v", c.what, err)
			}
		case err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text):
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

func TestAtOnce(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	roots := make([]string, 8)
	for i := range roots {
		wg.Go(func() {
			a, err := Ensure(dir, []string{"localhost"}, t0)
			if err != nil {
				t.Error(err)
				return
			}
			roots[i] = string(a.RootsPEM()) + a.Certificate().Leaf.SerialNumber.String()
		})
	}
	wg.Wait()
	for _, r := range roots {
		if r != roots[0] {
			t.Fatal("two authorities, or two certificates, were made")
		}
	}
}

func TestBadNames(t *testing.T) {
	for _, names := range [][]string{nil, {""}, {"a b"}, {"*"}, {"a..b"}, {"-a"}, {"https://a"}, {"a:443"}} {
		if _, err := Ensure(t.TempDir(), names, t0); err == nil {
			t.Errorf("%q was accepted", names)
		}
	}
}

func TestLoadPoolWithoutAuthority(t *testing.T) {
	if _, err := LoadPool(t.TempDir()); !errors.Is(err, ErrNoAuthority) {
		t.Fatal(err)
	}
}

func TestGiven(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "chain.pem"), filepath.Join(dir, "key.pem")
	put := func(from string) *Authority {
		a := ensure(t, t.TempDir(), t0, from)
		pem, err := os.ReadFile(filepath.Join(a.dir, serverFile))
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.Index(pem, []byte("-----BEGIN PRIVATE"))
		if err := errors.Join(os.WriteFile(cert, pem[:at], 0o600), os.WriteFile(key, pem[at:], 0o600)); err != nil {
			t.Fatal(err)
		}
		return a
	}
	put("one.example")
	s, err := Given(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	if changed, err := s.Refresh(t0); changed || err != nil {
		t.Fatal("nothing has changed", err)
	}
	two := put("two.example")
	if changed, err := s.Refresh(t0); !changed || err != nil {
		t.Fatal("the new files were not seen", err)
	}
	if err := handshake(t, s.GetCertificate, two.Roots(), "two.example", t0); err != nil {
		t.Fatal(err)
	}

	bad := func(what, text string, want error) {
		t.Helper()
		_, err := Given(cert, key)
		if err == nil || !strings.Contains(err.Error(), text) || want != nil && !errors.Is(err, want) {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := s.Refresh(t0); err == nil || s.Certificate().Leaf.DNSNames[0] != "two.example" {
			t.Errorf("%s: the certificate before does not go on: %v", what, err)
		}
	}
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	bad("a key for all to read", "chmod 0600", nil)
	other := ensure(t, t.TempDir(), t0, "x.example")
	pem, err := os.ReadFile(filepath.Join(other.dir, keyFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(key, 0o600), os.WriteFile(key, pem, 0o600)); err != nil {
		t.Fatal(err)
	}
	bad("another's key", key, ErrMismatch)
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	bad("no certificate", "tls.cert", os.ErrNotExist)
	if _, err := Given("", key); err == nil || !strings.Contains(err.Error(), "tls.cert") {
		t.Error(err)
	}
}
