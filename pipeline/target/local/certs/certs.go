// Package certs gives an environment its server certificate: from a private CA
// of its own, or from files that somebody else keeps. Either way a renewed
// certificate is served without a restart.
package certs

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Errors that callers tell apart.
var (
	// ErrNoAuthority: the folder holds no CA.
	ErrNoAuthority = errors.New("no certificate authority")
	// ErrAuthorityKey: the CA's key is gone or is not the one of its certificate.
	ErrAuthorityKey = errors.New("the certificate authority's key is missing or wrong")
	// ErrMismatch: certificate and key do not belong together.
	ErrMismatch = errors.New("certificate and key do not belong together")
)

// Source holds the certificate that is served now.
type Source struct {
	current atomic.Pointer[tls.Certificate]
	mu      sync.Mutex // one refresh at a time
	load    func(now time.Time) (*tls.Certificate, error)
}

// GetCertificate is for tls.Config.
func (s *Source) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return s.current.Load(), nil
}

// Certificate is what is served now, its Leaf parsed. It is never nil.
func (s *Source) Certificate() *tls.Certificate { return s.current.Load() }

// Refresh looks whether there is, or ought to be, a newer certificate, and
// serves it from the next handshake on. After an error the one before goes on.
func (s *Source) Refresh(now time.Time) (changed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next, err := s.load(now)
	if err != nil {
		return false, err
	}
	old := s.current.Load()
	if old != nil && len(old.Certificate) > 0 && bytes.Equal(old.Certificate[0], next.Certificate[0]) && len(old.Certificate) == len(next.Certificate) {
		return false, nil
	}
	s.current.Store(next)
	return true, nil
}

// Given serves the certificate in PEM files that somebody else renews, such as
// an ACME client. The certificate file holds the chain, the server's own first.
// Whether it is valid, and for how long, is for the TLS check to measure.
func Given(certFile, keyFile string) (*Source, error) {
	s := &Source{load: func(time.Time) (*tls.Certificate, error) { return readPair(certFile, keyFile) }}
	if _, err := s.Refresh(time.Time{}); err != nil {
		return nil, err
	}
	return s, nil
}

func readPair(certFile, keyFile string) (*tls.Certificate, error) {
	if certFile == "" || keyFile == "" {
		return nil, errors.New("certificate: tls.cert and tls.key must both name a PEM file")
	}
	chain, err := os.ReadFile(certFile) //nolint:gosec // the declaration names the file
	if err != nil {
		return nil, fmt.Errorf("certificate: read tls.cert; put the PEM chain there: %w", err)
	}
	info, err := os.Stat(keyFile)
	if err != nil {
		return nil, fmt.Errorf("certificate: read tls.key; put the PEM key there: %w", err)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("certificate: key %s may be read by every user of the machine (mode %04o); chmod 0600 it", keyFile, info.Mode().Perm())
	}
	key, err := os.ReadFile(keyFile) //nolint:gosec // the declaration names the file
	if err != nil {
		return nil, fmt.Errorf("certificate: read tls.key: %w", err)
	}
	pair, err := parsePair(chain, key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", certFile, keyFile, err)
	}
	return pair, nil
}
