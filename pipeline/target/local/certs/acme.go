package certs

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
)

// ALPN is the protocol by which an ACME authority asks for a proof: whoever
// serves with an Ordered's certificate must offer it.
const ALPN = acme.ALPNProto

// orderTime is how long one order may take.
const orderTime = 3 * time.Minute

// ACME says who is to issue a certificate.
type ACME struct {
	Directory string // URL
	Email     string
	Roots     string // PEM file; empty: the system's
}

// Ordered is a certificate that an ACME authority issues, by tls-alpn-01. Account
// and certificate are kept in a folder of the directory's own.
type Ordered struct {
	Source
	dir   string
	names []string
	acme  ACME

	proofs sync.Map // name → *tls.Certificate, while an order is under way
}

// Order serves the certificate that is kept in dir, and until there is one the
// certificate meanwhile, or where that is nil one that nobody trusts. It asks
// nobody: Renew does.
func Order(dir string, names []string, a ACME, meanwhile *tls.Certificate, now time.Time) (*Ordered, error) {
	wanted, err := clean(names)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(a.Directory))
	o := &Ordered{dir: filepath.Join(dir, hex.EncodeToString(sum[:6])), names: wanted, acme: a}
	o.load = func(time.Time) (*tls.Certificate, error) {
		if pair := o.kept(); pair != nil {
			return pair, nil
		}
		return o.Certificate(), nil
	}
	if meanwhile == nil {
		if meanwhile, err = stopgap(wanted, now); err != nil {
			return nil, err
		}
	}
	o.current.Store(meanwhile)
	_, err = o.Refresh(now)
	return o, err
}

// GetCertificate is for tls.Config.
func (o *Ordered) GetCertificate(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if h == nil || len(h.SupportedProtos) != 1 || h.SupportedProtos[0] != ALPN {
		return o.Certificate(), nil
	}
	if proof, ok := o.proofs.Load(strings.ToLower(h.ServerName)); ok {
		return proof.(*tls.Certificate), nil
	}
	return nil, fmt.Errorf("no proof of %q is asked for now", h.ServerName)
}

// Due says whether a certificate ought to be ordered: none is kept, it is for
// other names, or less than a third of its life is left.
func (o *Ordered) Due(now time.Time) bool {
	pair := o.kept()
	if pair == nil {
		return true
	}
	life := pair.Leaf.NotAfter.Sub(pair.Leaf.NotBefore)
	return now.After(pair.Leaf.NotAfter.Add(-life / 3))
}

// kept is the certificate in the folder, if it is for the names.
func (o *Ordered) kept() *tls.Certificate {
	pem, err := os.ReadFile(filepath.Join(o.dir, serverFile))
	if err != nil {
		return nil
	}
	pair, err := parsePair(pem, pem)
	if err != nil || !covers(pair.Leaf, o.names) {
		return nil
	}
	return pair
}

func covers(leaf *x509.Certificate, names []string) bool {
	return !slices.ContainsFunc(names, func(n string) bool { return leaf.VerifyHostname(n) != nil })
}

// Renew orders a certificate and serves it from the next handshake on. After an
// error the one before goes on.
func (o *Ordered) Renew(ctx context.Context, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, orderTime)
	defer cancel()
	pem, err := o.order(ctx)
	if err != nil {
		return fmt.Errorf("certificate from %s: %w", o.acme.Directory, err)
	}
	if err := writeFile(filepath.Join(o.dir, serverFile), pem); err != nil {
		return err
	}
	_, err = o.Refresh(now)
	return err
}

func (o *Ordered) order(ctx context.Context) ([]byte, error) {
	client, err := o.client()
	if err != nil {
		return nil, err
	}
	_, err = client.Register(ctx, &acme.Account{Contact: []string{"mailto:" + o.acme.Email}}, acme.AcceptTOS)
	if err != nil && !errors.Is(err, acme.ErrAccountAlreadyExists) {
		return nil, fmt.Errorf("account: %w", err)
	}
	order, err := client.AuthorizeOrder(ctx, acme.DomainIDs(o.names...))
	if err != nil {
		return nil, fmt.Errorf("order for %s: %w", strings.Join(o.names, ", "), err)
	}
	for _, address := range order.AuthzURLs {
		if err := o.prove(ctx, client, address); err != nil {
			return nil, err
		}
	}
	// Not every authority repeats the order's own address.
	at := order.URI
	if order, err = client.WaitOrder(ctx, at); err != nil {
		return nil, fmt.Errorf("order for %s: %w", strings.Join(o.names, ", "), err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: o.names}, key)
	if err != nil {
		return nil, err
	}
	order.URI = at
	chain, _, err := client.CreateCertFromOrder(ctx, order, csr, true)
	if err != nil {
		return nil, fmt.Errorf("issue: %w", err)
	}
	var pem bytes.Buffer
	for _, der := range chain {
		pem.Write(encodeCert(der))
	}
	text, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	pem.Write(text)
	// What the authority sends is looked at before it is served.
	pair, err := parsePair(pem.Bytes(), pem.Bytes())
	if err != nil {
		return nil, fmt.Errorf("what was issued: %w", err)
	}
	if !covers(pair.Leaf, o.names) {
		return nil, fmt.Errorf("what was issued is not for %s", strings.Join(o.names, ", "))
	}
	return pem.Bytes(), nil
}

// prove shows the authority that a name is served here.
func (o *Ordered) prove(ctx context.Context, client *acme.Client, address string) error {
	authorization, err := client.GetAuthorization(ctx, address)
	if err != nil {
		return fmt.Errorf("authorization: %w", err)
	}
	name := strings.ToLower(authorization.Identifier.Value)
	if authorization.Status == acme.StatusValid {
		return nil
	}
	i := slices.IndexFunc(authorization.Challenges, func(c *acme.Challenge) bool { return c.Type == "tls-alpn-01" })
	if i < 0 {
		return fmt.Errorf("the authority takes no proof of %s by tls-alpn-01", name)
	}
	challenge := authorization.Challenges[i]
	proof, err := client.TLSALPN01ChallengeCert(challenge.Token, name)
	if err != nil {
		return fmt.Errorf("proof of %s: %w", name, err)
	}
	o.proofs.Store(name, &proof)
	defer o.proofs.Delete(name)
	if _, err := client.Accept(ctx, challenge); err != nil {
		return fmt.Errorf("proof of %s: %w", name, err)
	}
	if _, err := client.WaitAuthorization(ctx, address); err != nil {
		return fmt.Errorf("proof of %s: %w; port 443 of the name must lead to this environment's address", name, err)
	}
	return nil
}

func (o *Ordered) client() (*acme.Client, error) {
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return nil, fmt.Errorf("folder: %w", err)
	}
	path := filepath.Join(o.dir, "account.key")
	key, err := readKey(path)
	if errors.Is(err, os.ErrNotExist) {
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return nil, err
		}
		var pem []byte
		if pem, err = encodeKey(key); err == nil {
			err = writeFile(path, pem)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("account's key %s: %w", path, err)
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 30 * time.Second, ForceAttemptHTTP2: true, DisableKeepAlives: true,
	}
	if o.acme.Roots != "" {
		pem, err := os.ReadFile(o.acme.Roots)
		if err != nil {
			return nil, fmt.Errorf("tls.acme.roots: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls.acme.roots: %s holds no certificate", o.acme.Roots)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &acme.Client{Key: key, DirectoryURL: o.acme.Directory, UserAgent: "gate", HTTPClient: &http.Client{Transport: transport, Timeout: time.Minute}}, nil
}

// stopgap is served until there is something better: no client takes it, but the
// authority can reach the address.
func stopgap(names []string, now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "no certificate was issued yet"}, DNSNames: names,
		NotBefore: now.Add(-skew), NotAfter: now.Add(24 * time.Hour), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}
