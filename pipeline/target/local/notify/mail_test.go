package notify

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/smartcloudops/gate/pipeline/target/local/certs"
)

// office is a mail server that asks for a password.
type office struct {
	box      mailbox
	password string

	mu    sync.Mutex
	tries int
	clear int    // logins without TLS
	heard []byte // all that clients have sent before TLS, or without it
}

type visitor struct {
	letter
	o    *office
	conn *smtp.Conn
	in   *bool
}

func (v visitor) AuthMechanisms() []string { return []string{sasl.Plain} }

func (v visitor) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		v.o.mu.Lock()
		defer v.o.mu.Unlock()
		v.o.tries++
		if _, ok := v.conn.TLSConnectionState(); !ok {
			v.o.clear++
		}
		if user != "gate" || password != v.o.password {
			return smtp.ErrAuthFailed
		}
		*v.in = true
		return nil
	}), nil
}

func (v visitor) Mail(from string, o *smtp.MailOptions) error {
	if !*v.in {
		return smtp.ErrAuthRequired
	}
	return v.letter.Mail(from, o)
}

// ears are connections that note what they read.
type ears struct {
	net.Listener
	o *office
}

func (e ears) Accept() (net.Conn, error) {
	c, err := e.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return ear{c, e.o}, nil
}

type ear struct {
	net.Conn
	o *office
}

func (e ear) Read(b []byte) (int, error) {
	n, err := e.Conn.Read(b)
	e.o.mu.Lock()
	defer e.o.mu.Unlock()
	e.o.heard = append(e.o.heard, b[:n]...)
	return n, err
}

func openOffice(t *testing.T, config *tls.Config) (*office, int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &office{password: rand.Text(), box: mailbox{ended: make(chan struct{})}}
	o.box.srv = smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		return visitor{letter{&o.box}, o, c, new(bool)}, nil
	}))
	// Without TLS it takes a password all the same, as one does that somebody has
	// put in between.
	o.box.srv.Domain, o.box.srv.TLSConfig, o.box.srv.AllowInsecureAuth = "localhost", config, true
	go func() {
		defer close(o.box.ended)
		_ = o.box.srv.Serve(ears{l, o})
	}()
	t.Cleanup(o.box.close)
	return o, l.Addr().(*net.TCPAddr).Port
}

// logins are how often somebody has tried, and how often without TLS.
func (o *office) logins() (all, clear int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.tries, o.clear
}

// kept fails when the password is in the text, as it is or as PLAIN sends it.
func kept(t *testing.T, where string, text []byte, password string) {
	t.Helper()
	for _, hidden := range []string{password, base64.StdEncoding.EncodeToString([]byte("\x00gate\x00" + password)), base64.StdEncoding.EncodeToString([]byte(password))} {
		if bytes.Contains(text, []byte(hidden)) {
			t.Errorf("the password is in %s", where)
		}
	}
}

// authority makes certificates for 127.0.0.1; ours trusts them.
func authority(t *testing.T) (theirs, ours *tls.Config) {
	t.Helper()
	dir := t.TempDir()
	a, err := certs.Ensure(dir, []string{"127.0.0.1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	roots, err := certs.LoadPool(dir)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{GetCertificate: a.GetCertificate}, &tls.Config{RootCAs: roots}
}

func TestAMailWithAPasswordGoesByTLSAlone(t *testing.T) {
	theirs, ours := authority(t)
	o, port := openOffice(t, theirs)
	var mu sync.Mutex
	password := "not " + o.password
	m := mailTo(port)
	m.TLS, m.User, m.Config = "starttls", "gate", ours
	m.Password = func() (string, error) {
		mu.Lock()
		defer mu.Unlock()
		return password, nil
	}
	var said bytes.Buffer
	n, err := New(Options{Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(&said, nil)), Wait: Backoff{Min: 5 * time.Millisecond, Max: 20 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	n.Use(map[string]Sender{"smtp": m}, []string{"smtp"})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = n.Run(ctx) })
	defer running.Wait()
	defer cancel()
	if err := n.Tell(alarm(Firing)); err != nil {
		t.Fatal(err)
	}
	// A wrong password is a trouble like any other: it waits, and is tried again.
	until(t, "second try", func() bool { all, _ := o.logins(); return all >= 2 })
	if s := n.State(); s.Queued != 1 || s.Problem == "" || len(o.box.got()) != 0 {
		t.Errorf("with a wrong password: %+v, %d mails", s, len(o.box.got()))
	}
	mu.Lock()
	password = o.password
	mu.Unlock()
	until(t, "delivery", func() bool { return n.State().Queued == 0 })
	cancel()
	running.Wait()
	if mails := o.box.got(); len(mails) != 1 || !strings.Contains(mails[0], "X-Gate-Alert: unavailable") {
		t.Errorf("arrived %v", mails)
	}
	if _, clear := o.logins(); clear != 0 {
		t.Errorf("%d logins without TLS", clear)
	}
	kept(t, "the log", said.Bytes(), o.password)
	kept(t, "what went in the clear", o.heard, o.password)
	if !bytes.Contains(o.heard, []byte("STARTTLS")) || bytes.Contains(o.heard, []byte("X-Gate-Alert")) {
		t.Errorf("in the clear went %.200q", o.heard)
	}
}

func TestWithoutTLSNothingIsSaid(t *testing.T) {
	theirs, ours := authority(t)
	for what, c := range map[string]struct{ theirs, ours *tls.Config }{
		"a server that offers no STARTTLS":        {nil, ours},
		"a server whose certificate is unknown":   {theirs, nil},
		"a server with another one's certificate": {theirs, &tls.Config{}},
	} {
		o, port := openOffice(t, c.theirs)
		m := mailTo(port)
		m.TLS, m.User, m.Config = "starttls", "gate", c.ours
		m.Password = func() (string, error) { return o.password, nil }
		said, err := m.Send(t.Context(), alarm(Firing))
		if err == nil {
			t.Errorf("%s: %q", what, said)
			continue
		}
		kept(t, "the error", []byte(err.Error()), o.password)
		if all, _ := o.logins(); all != 0 || len(o.box.got()) != 0 {
			t.Errorf("%s: %d logins, %d mails", what, all, len(o.box.got()))
		}
		o.mu.Lock()
		kept(t, what, o.heard, o.password)
		if bytes.Contains(o.heard, []byte("AUTH")) || bytes.Contains(o.heard, []byte("MAIL FROM")) {
			t.Errorf("%s heard %.200q", what, o.heard)
		}
		o.mu.Unlock()
	}
}
