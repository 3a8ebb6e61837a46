package local

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/target/local/certs"
)

// authority is Pebble, an ACME authority for tests, in a process of its own.
type authority struct {
	directory, manage, roots string
	config                   string
	program                  string
	process                  *exec.Cmd
}

func newAuthority(t *testing.T, port string) *authority {
	t.Helper()
	dir := t.TempDir()
	a := &authority{program: filepath.Join(dir, "pebble"), config: filepath.Join(dir, "pebble.json")}
	build := exec.Command("go", "build", "-C", "../../../tools", "-o", a.program, "github.com/letsencrypt/pebble/v2/cmd/pebble")
	if out, err := build.CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: Pebble can't be built, and without it nothing here shows that an ACME authority issues a certificate: %v\n%s", err, out)
	}
	own := filepath.Join(dir, "own")
	if _, err := certs.Ensure(own, []string{"127.0.0.1"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	a.roots = filepath.Join(own, "ca.pem")
	listen, manage := freeAddress(t), freeAddress(t)
	a.directory, a.manage = "https://"+listen+"/dir", "https://"+manage
	b, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": listen, "managementListenAddress": manage, "httpPort": 1, "tlsPort": json.Number(port),
		"certificate": filepath.Join(own, "server.pem"), "privateKey": filepath.Join(own, "server.pem"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a.config, b, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.stop)
	return a
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (a *authority) start(t *testing.T) {
	t.Helper()
	var said bytes.Buffer
	a.process = exec.Command(a.program, "-config", a.config)
	a.process.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1")
	a.process.Stdout, a.process.Stderr = &said, &said
	if err := a.process.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		if _, err := a.root(); err == nil {
			return
		}
		if time.Now().After(deadline) {
			a.stop()
			t.Fatalf("Pebble does not answer: %s", said.String())
		}
		<-time.After(20 * time.Millisecond)
	}
}

func (a *authority) stop() {
	if a.process != nil {
		_ = a.process.Process.Signal(syscall.SIGKILL)
		_ = a.process.Wait()
		a.process = nil
	}
}

// root is what clients trust.
func (a *authority) root() (*x509.CertPool, error) {
	pem, err := os.ReadFile(a.roots)
	if err != nil {
		return nil, err
	}
	own := x509.NewCertPool()
	own.AppendCertsFromPEM(pem)
	c := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: own}}}
	res, err := c.Get(a.manage + "/roots/0")
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if pem, err = io.ReadAll(res.Body); err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no root: %s", pem)
	}
	return pool, nil
}

// shown is the certificate at the address, and whether it verifies against roots.
func shown(t *testing.T, address string, roots *x509.CertPool) (leaf *x509.Certificate, valid error) {
	t.Helper()
	c, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"}}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	chain := c.(*tls.Conn).ConnectionState().PeerCertificates
	between := x509.NewCertPool()
	for _, x := range chain[1:] {
		between.AddCert(x)
	}
	if roots == nil {
		return chain[0], nil
	}
	_, err = chain[0].Verify(x509.VerifyOptions{DNSName: "localhost", Roots: roots, Intermediates: between})
	return chain[0], err
}

// TestCertificateFromAnAuthority: it is issued through the load balancer's own
// address, kept, renewed, and goes on when the authority is away.
func TestCertificateFromAnAuthority(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED under -short: a real ACME authority. Without it nothing here shows that one issues a certificate")
	}
	t.Parallel()
	p := newPlace(t)
	p.down()
	_, port, err := net.SplitHostPort(p.opt.Declared.Listen)
	p.must(err)
	a := newAuthority(t, port)
	p.opt.Declared.TLS = environments.TLS{
		Trust: "public", Names: []string{"localhost"},
		ACME: &environments.ACME{Directory: a.directory, Email: "ops@example.org", Agree: true, Roots: a.roots},
	}
	ahead := time.Duration(0)
	p.opt.Now = func() time.Time { return time.Now().Add(ahead) }

	// Without the authority nothing is issued, and everything else works.
	p.open()
	p.until("trouble is shown", func() bool { return strings.Contains(p.now().Problem, a.directory) })
	if leaf, _ := shown(t, p.opt.Declared.Listen, nil); leaf.Subject.CommonName != "no certificate was issued yet" {
		t.Errorf("shown: %s", leaf.Subject)
	}
	p.leave()

	a.start(t)
	roots, err := a.root()
	p.must(err)
	p.open()
	var first *x509.Certificate
	p.until("a certificate is issued", func() bool {
		var invalid error
		first, invalid = shown(t, p.opt.Declared.Listen, roots)
		return invalid == nil
	})
	p.until("no trouble is left", func() bool { return p.now().Problem == "" })
	p.must(filepath.WalkDir(p.opt.Paths.dir("acme"), func(file string, d fs.DirEntry, err error) error {
		if info, ierr := d.Info(); ierr != nil || !d.IsDir() && info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", file, info, ierr)
		}
		return err
	}))
	p.leave()

	// What is kept is presented at once, and not ordered anew.
	a.stop()
	p.open()
	if leaf, invalid := shown(t, p.opt.Declared.Listen, roots); invalid != nil || leaf.SerialNumber.Cmp(first.SerialNumber) != 0 {
		t.Errorf("%v %v", leaf.Subject, invalid)
	}
	p.leave()

	// With less than a third of its life left it is renewed; while that fails, it
	// goes on.
	life := first.NotAfter.Sub(first.NotBefore)
	ahead = time.Until(first.NotAfter) - life/3 + time.Hour
	p.open()
	p.until("the failed renewal is shown", func() bool { return strings.Contains(p.now().Problem, a.directory) })
	if leaf, invalid := shown(t, p.opt.Declared.Listen, roots); invalid != nil || leaf.SerialNumber.Cmp(first.SerialNumber) != 0 {
		t.Errorf("%v %v", leaf.Subject, invalid)
	}
	p.leave()
	a.start(t) // with another root: it forgets everything
	roots, err = a.root()
	p.must(err)
	p.open()
	p.until("it is renewed", func() bool {
		leaf, invalid := shown(t, p.opt.Declared.Listen, roots)
		return invalid == nil && leaf.SerialNumber.Cmp(first.SerialNumber) != 0
	})
}

// until waits for a condition.
func (p *place) until(what string, is func() bool) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 30*time.Second)
	defer cancel()
	for !is() {
		select {
		case <-ctx.Done():
			p.t.Fatalf("waited in vain until %s: %+v", what, p.now())
		case <-time.After(20 * time.Millisecond):
		}
	}
}
