package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	rootLife   = 10 * 365 * 24 * time.Hour
	rootRenew  = 365 * 24 * time.Hour // re-signed when less is left
	leafLife   = 90 * 24 * time.Hour
	leafRenew  = 30 * 24 * time.Hour
	skew       = time.Hour // clients' clocks may be behind
	rootFile   = "ca.pem"
	keyFile    = "ca.key"
	serverFile = "server.pem" // certificate and key in one file, so that they change in one step
	lockFile   = "lock"
)

// Authority is an environment's own CA with the server certificate it signed.
type Authority struct {
	Source
	dir   string
	names []string
	root  *x509.Certificate
	fresh bool
}

// Ensure reads the CA and the server certificate in dir, and makes what is
// missing: a CA for ten years, a certificate for names (DNS names, wildcards,
// IP addresses) for 90 days. The certificate is made anew when less than 30
// days are left, when the names have changed, or when it cannot be used.
//
// The CA can sign for names and nothing else, so that whoever trusts it does
// not have to trust it with more. For other names the CA's certificate is
// signed anew with the same key: see NewRoot. Two processes may call it at once.
func Ensure(dir string, names []string, now time.Time) (*Authority, error) {
	wanted, err := clean(names)
	if err != nil {
		return nil, err
	}
	a := &Authority{dir: dir, names: wanted}
	a.load = a.ensure
	if _, err := a.Refresh(now); err != nil {
		return nil, err
	}
	return a, nil
}

// Roots is what clients verify the certificate against.
func (a *Authority) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.Root())
	return pool
}

// Root is the CA's certificate.
func (a *Authority) Root() *x509.Certificate {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.root
}

// RootsPEM is the CA's certificate as PEM, to be handed to clients.
func (a *Authority) RootsPEM() []byte { return encodeCert(a.Root().Raw) }

// NewRoot says whether the CA's certificate was made or signed anew since
// Ensure began: clients that keep a copy of it need the new one.
func (a *Authority) NewRoot() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.fresh
}

// LoadPool reads what clients verify the environment's certificate against. It
// returns ErrNoAuthority when Ensure has never run there.
func LoadPool(dir string) (*x509.CertPool, error) {
	root, err := readRoot(dir)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	return pool, nil
}

// ensure runs with mu held.
func (a *Authority) ensure(now time.Time) (*tls.Certificate, error) {
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		return nil, fmt.Errorf("certificates: make folder: %w", err)
	}
	unlock, err := lock(filepath.Join(a.dir, lockFile))
	if err != nil {
		return nil, err
	}
	defer unlock()
	root, key, err := a.authority(now)
	if err != nil {
		return nil, err
	}
	a.root = root
	if pair := a.usable(root, now); pair != nil {
		return pair, nil
	}
	return a.issue(root, key, now)
}

// authority reads or makes the CA.
func (a *Authority) authority(now time.Time) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	path := filepath.Join(a.dir, keyFile)
	root, err := readRoot(a.dir)
	if err != nil && !errors.Is(err, ErrNoAuthority) {
		return nil, nil, err
	}
	if root == nil {
		// The key is written first: without its certificate nobody has trusted it
		// yet, so what an interrupted start left behind may be replaced.
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, nil, fmt.Errorf("certificates: make CA key: %w", err)
		}
		pem, err := encodeKey(key)
		if err != nil {
			return nil, nil, err
		}
		if err := writeFile(path, pem); err != nil {
			return nil, nil, err
		}
		root, err = a.sign(key, "", now)
		return root, key, err
	}
	key, err := readKey(path)
	if err != nil {
		return nil, nil, fmt.Errorf("certificates: CA key %s: %w; restore it from a backup, or remove %s to make a new CA, which clients must then trust anew: %w",
			path, ErrAuthorityKey, filepath.Join(a.dir, rootFile), err)
	}
	if !key.PublicKey.Equal(root.PublicKey) {
		return nil, nil, fmt.Errorf("certificates: CA key %s: %w; restore the key that belongs to %s", path, ErrAuthorityKey, filepath.Join(a.dir, rootFile))
	}
	if root.NotAfter.Sub(now) < rootRenew || now.Before(root.NotBefore) || !permits(root, a.names) {
		root, err = a.sign(key, root.Subject.CommonName, now)
	}
	return root, key, err
}

// sign makes the CA's certificate. Under the name it already had, certificates
// that it signed before stay valid.
func (a *Authority) sign(key *ecdsa.PrivateKey, name string, now time.Time) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	if name == "" {
		name = fmt.Sprintf("gate private CA %x", serial.Bytes()[:4])
	}
	t := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(rootLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	constrain(t, a.names)
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("certificates: sign CA for %s: %w", strings.Join(a.names, ", "), err)
	}
	if err := writeFile(filepath.Join(a.dir, rootFile), encodeCert(der)); err != nil {
		return nil, err
	}
	a.fresh = true
	return x509.ParseCertificate(der)
}

// constrain lets the CA sign for names only. A kind of name that is not
// mentioned would be allowed altogether, so both kinds always are.
func constrain(t *x509.Certificate, names []string) {
	t.PermittedDNSDomainsCritical = true
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			t.PermittedIPRanges = append(t.PermittedIPRanges, single(ip))
		} else {
			t.PermittedDNSDomains = append(t.PermittedDNSDomains, strings.TrimPrefix(n, "*."))
		}
	}
	if len(t.PermittedDNSDomains) == 0 {
		t.PermittedDNSDomains = []string{"invalid"} // RFC 2606: no name is below it
	}
	if len(t.PermittedIPRanges) == 0 {
		for _, all := range []string{"0.0.0.0/0", "::/0"} {
			_, everything, _ := net.ParseCIDR(all) // constants
			t.ExcludedIPRanges = append(t.ExcludedIPRanges, everything)
		}
	}
}

// permits says whether root was made for exactly these names.
func permits(root *x509.Certificate, names []string) bool {
	var t x509.Certificate
	constrain(&t, names)
	ranges := func(l []*net.IPNet) []string {
		var out []string
		for _, n := range l {
			out = append(out, n.String())
		}
		slices.Sort(out)
		return out
	}
	domains := func(l []string) []string { return slices.Sorted(slices.Values(l)) }
	return slices.Equal(domains(t.PermittedDNSDomains), domains(root.PermittedDNSDomains)) &&
		slices.Equal(ranges(t.PermittedIPRanges), ranges(root.PermittedIPRanges)) &&
		slices.Equal(ranges(t.ExcludedIPRanges), ranges(root.ExcludedIPRanges))
}

func single(ip net.IP) *net.IPNet {
	if v4 := ip.To4(); v4 != nil {
		return &net.IPNet{IP: v4, Mask: net.CIDRMask(32, 32)}
	}
	return &net.IPNet{IP: ip, Mask: net.CIDRMask(128, 128)}
}

// usable is the server certificate on disk, or nil when a new one is due. What
// is broken is replaced: nothing but this certificate depends on it.
func (a *Authority) usable(root *x509.Certificate, now time.Time) *tls.Certificate {
	pem, err := os.ReadFile(filepath.Join(a.dir, serverFile))
	if err != nil {
		return nil
	}
	pair, err := parsePair(pem, pem)
	if err != nil {
		return nil
	}
	leaf := pair.Leaf
	have := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		have = append(have, ip.String())
	}
	slices.Sort(have)
	if now.Before(leaf.NotBefore) || leaf.NotAfter.Sub(now) < leafRenew || !slices.Equal(have, a.names) || leaf.CheckSignatureFrom(root) != nil {
		return nil
	}
	return pair
}

func (a *Authority) issue(root *x509.Certificate, signer *ecdsa.PrivateKey, now time.Time) (*tls.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("certificates: make server key: %w", err)
	}
	t := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: a.names[0]},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(leafLife),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, n := range a.names {
		if ip := net.ParseIP(n); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, root, &key.PublicKey, signer)
	if err != nil {
		return nil, fmt.Errorf("certificates: sign for %s: %w", strings.Join(a.names, ", "), err)
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	pem := append(encodeCert(der), keyPEM...)
	if err := writeFile(filepath.Join(a.dir, serverFile), pem); err != nil {
		return nil, err
	}
	return parsePair(pem, pem)
}

func newSerial() (*big.Int, error) {
	limit := new(big.Int).Lsh(big.NewInt(1), 126)
	n, err := rand.Int(rand.Reader, limit)
	if err != nil {
		return nil, fmt.Errorf("certificates: random serial number: %w", err)
	}
	return n.Add(n, limit), nil // never short, never negative
}

// clean sorts names, spells them as a certificate does and refuses what cannot
// stand in one.
func clean(names []string) ([]string, error) {
	var out []string
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			out = append(out, ip.String())
			continue
		}
		n = strings.ToLower(strings.TrimSuffix(n, "."))
		if !dnsName(strings.TrimPrefix(n, "*.")) {
			return nil, fmt.Errorf("certificates: %q is neither a DNS name nor an IP address; correct tls.names", n)
		}
		out = append(out, n)
	}
	if len(out) == 0 {
		return nil, errors.New("certificates: no name to make a certificate for; list the public names under tls.names")
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func dnsName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

func readRoot(dir string) (*x509.Certificate, error) {
	path := filepath.Join(dir, rootFile)
	data, err := os.ReadFile(path) //nolint:gosec // a fixed name in the environment's own folder
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("certificates: %w in %s; start the environment once", ErrNoAuthority, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("certificates: read CA: %w", err)
	}
	root, err := decodeCert(data)
	if err != nil {
		return nil, fmt.Errorf("certificates: CA %s is damaged; restore it from a backup, or remove it to make a new CA, which clients must then trust anew: %w", path, err)
	}
	return root, nil
}
