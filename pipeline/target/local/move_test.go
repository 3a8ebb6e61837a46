package local

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/pipeline/target/local/certs"
)

// at asks the address by the name, and returns who answers.
func at(roots *x509.CertPool, address, name string) (string, error) {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: name}}}
	res, err := client.Get("https://" + address + "/")
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return string(b), err
}

// TestWithdrawalBringsTheAddressBack: a release that declares another address and
// another certificate leaves neither behind, whether it was completed or has
// failed at the last moment.
func TestWithdrawalBringsTheAddressBack(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED under -short: some seconds with real instances and a real PostgreSQL. Without it a rollback is not known to bring an address back")
	}
	t.Parallel()
	p := newPlaceWith(t, func(o *Options) { o.Hold = true }, "one", "two")
	ctx := t.Context()
	p.must(p.Complete(ctx, 1, p.rev("one")))
	p.must(p.Retire(ctx, 1))
	p.held()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	p.must(err)
	there, here := l.Addr().String(), p.opt.Declared.Listen
	p.must(l.Close())
	elsewhere := *p.opt.Declared
	elsewhere.Listen, elsewhere.TLS = there, environments.TLS{Trust: "private", Names: []string{"elsewhere.test"}}
	two := target.Revision{Release: p.releases["two"], Commit: "two", Environment: &elsewhere}
	back := func(t *testing.T) {
		t.Helper()
		if who, err := at(p.roots, here, "localhost"); err != nil || who != "one" {
			t.Errorf("at the old address, by the old name: %q, %v", who, err)
		}
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			c, err := net.Dial("tcp", there)
			if err != nil {
				break
			}
			c.Close()
			if time.Now().After(deadline) {
				t.Error("the withdrawn address is still listened on")
				break
			}
		}
		if s := p.now(); s.Address != here || s.Stable != p.releases["one"] {
			t.Errorf("it says %+v", s)
		}
	}
	t.Run("completed, and withdrawn", func(t *testing.T) {
		for range 2 { // and there again
			p.must(p.Complete(ctx, 2, two))
			// The authority signs for other names now; with the old ones it is as before.
			roots, err := certs.LoadPool(filepath.Dir(p.opt.Paths.CA()))
			p.must(err)
			if who, err := at(roots, there, "elsewhere.test"); err != nil || who != "two" {
				t.Fatalf("at the new address, by the new name: %q, %v", who, err)
			}
			p.must(p.Withdraw(ctx, 2))
			back(t)
		}
	})
	t.Run("failed when all but the state had moved", func(t *testing.T) {
		p.must(p.StartCanary(ctx, 3, two, 50))
		file, kept := p.paths.stateFile(), p.paths.stateFile()+".kept"
		p.must(os.Rename(file, kept))
		p.must(os.Mkdir(file, 0o700)) // root may write anywhere else
		if err := p.Complete(ctx, 3, two); err == nil {
			t.Error("nothing was written, and nothing said")
		}
		p.must(os.Remove(file))
		p.must(os.Rename(kept, file))
		if _, err := at(p.roots, here, "localhost"); err != nil {
			t.Errorf("at the old address: %v", err)
		}
		p.must(p.Withdraw(ctx, 3))
		back(t)
	})
	p.serves("one")
}
