package notify

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
)

// mailbox is a real mail server with one mailbox.
type mailbox struct {
	mu    sync.Mutex
	mails []string
	srv   *smtp.Server
	ended chan struct{}
}

type letter struct{ box *mailbox }

func (letter) Mail(string, *smtp.MailOptions) error { return nil }
func (letter) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (letter) Reset()                               {}
func (letter) Logout() error                        { return nil }
func (l letter) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	l.box.mu.Lock()
	defer l.box.mu.Unlock()
	l.box.mails = append(l.box.mails, string(b))
	return err
}

func (b *mailbox) got() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.mails...)
}

func openMailbox(t *testing.T, address string) (*mailbox, int) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	b := &mailbox{ended: make(chan struct{})}
	b.srv = smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return letter{b}, nil }))
	b.srv.Domain = "localhost"
	go func() {
		defer close(b.ended)
		_ = b.srv.Serve(l)
	}()
	t.Cleanup(b.close)
	return b, l.Addr().(*net.TCPAddr).Port
}

func (b *mailbox) close() {
	_ = b.srv.Close()
	<-b.ended
}

func mailTo(port int) Mail {
	return Mail{Host: "127.0.0.1", Port: port, TLS: "none", From: "gate@example.org", To: []string{"ops@example.org"}}
}

// begin runs a notifier on the folder until the returned function is called.
func begin(t *testing.T, dir string, routes map[string]Sender, order ...string) (*Notifier, func()) {
	t.Helper()
	n, err := New(Options{Dir: dir, Log: slog.New(slog.DiscardHandler), Wait: Backoff{Min: 5 * time.Millisecond, Max: 20 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	n.Use(routes, order)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = n.Run(ctx)
	}()
	stop := sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return n, stop
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("no %s in time", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func alarm(state string) Message {
	return Message{Fingerprint: "unavailable", Alert: "unavailable", Severity: "page", State: state, App: "shop", Environment: "staging",
		Summary: "3 probes in a row failed:\r\nBcc: x@example.org", Runbook: "docs/runbooks/unavailable.md", Since: time.Unix(1700000000, 0)}
}

func TestAMailArrivesOnceWithAllThatIsNeeded(t *testing.T) {
	box, port := openMailbox(t, "127.0.0.1:0")
	n, _ := begin(t, t.TempDir(), map[string]Sender{"smtp": mailTo(port)}, "smtp")
	for range 3 {
		if err := n.Tell(alarm(Firing)); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.Tell(alarm(Resolved)); err != nil {
		t.Fatal(err)
	}
	until(t, "empty queue", func() bool { return n.State().Queued == 0 && len(n.State().Receipts) == 2 })
	mails := box.got()
	if len(mails) != 2 {
		t.Fatalf("%d mails arrived, want one for the alert and one for its end:\n%s", len(mails), strings.Join(mails, "\n---\n"))
	}
	for _, want := range []string{"X-Gate-Alert: unavailable", "X-Gate-State: firing", "docs/runbooks/unavailable.md", "To: <ops@example.org>"} {
		if !strings.Contains(mails[0], want) {
			t.Errorf("the mail lacks %q:\n%s", want, mails[0])
		}
	}
	if strings.Contains(mails[0], "\nBcc:") {
		t.Errorf("a summary has become a header:\n%s", mails[0])
	}
	if r := n.State().Receipts[0]; !strings.HasPrefix(r.Said, "250 ") || r.Route != "smtp" {
		t.Errorf("receipt %+v", r)
	}
}

func TestWhileTheMailServerIsDownAlertsWaitAndThenArriveOnceInOrder(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	dir := t.TempDir()
	n, stop := begin(t, dir, map[string]Sender{"smtp": mailTo(port)}, "smtp")
	for _, s := range []string{Firing, Resolved} {
		if err := n.Tell(alarm(s)); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "failed attempt", func() bool { return n.State().Problem != "" && !n.State().Failing["smtp"].IsZero() })
	if q := n.State().Queued; q != 2 {
		t.Errorf("%d wait, want 2", q)
	}
	stop() // the process ends, and another one goes on with what is on disk
	box, _ := openMailbox(t, address)
	n, _ = begin(t, dir, map[string]Sender{"smtp": mailTo(port)}, "smtp")
	until(t, "delivery", func() bool { return n.State().Queued == 0 })
	mails := box.got()
	if len(mails) != 2 || !strings.Contains(mails[0], "State: firing") || !strings.Contains(mails[1], "State: resolved") {
		t.Fatalf("arrived:\n%s", strings.Join(mails, "\n---\n"))
	}
	if len(n.State().Failing) != 0 {
		t.Errorf("the route is said to fail still")
	}
}

// sends counts, and may fail.
type sends struct {
	mu  sync.Mutex
	ids []string
	err error
}

func (s *sends) Send(_ context.Context, m Message) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return "", s.err
	}
	s.ids = append(s.ids, m.ID)
	return "taken", nil
}

func TestKilledBetweenDeliveryAndTheQueueItIsNotSentTwice(t *testing.T) {
	dir := t.TempDir()
	first := &sends{}
	n, stop := begin(t, dir, map[string]Sender{"webhook": first}, "webhook")
	if err := n.Tell(alarm(Firing)); err != nil {
		t.Fatal(err)
	}
	until(t, "delivery", func() bool { return n.State().Queued == 0 && len(n.State().Receipts) == 1 })
	stop()
	// As it is when a kill came between the receipt and the queue.
	m := alarm(Firing)
	m.identify()
	b, _ := json.Marshal(queued{Route: "webhook", Message: m})
	if err := os.WriteFile(filepath.Join(dir, "queue", "00-webhook.json"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	second := &sends{}
	n, _ = begin(t, dir, map[string]Sender{"webhook": second}, "webhook")
	until(t, "empty queue", func() bool { return n.State().Queued == 0 })
	if len(second.ids) != 0 {
		t.Errorf("sent again: %v", second.ids)
	}
}

func TestRoutesDoNotWaitForEachOther(t *testing.T) {
	broken, works := &sends{err: errors.New("broken")}, &sends{}
	n, _ := begin(t, t.TempDir(), map[string]Sender{"smtp": broken, "webhook": works}, "smtp", "webhook")
	if err := n.Tell(alarm(Firing)); err != nil {
		t.Fatal(err)
	}
	until(t, "delivery by the other route", func() bool {
		works.mu.Lock()
		defer works.mu.Unlock()
		return len(works.ids) == 1
	})
	if q := n.State().Queued; q != 1 {
		t.Errorf("%d wait, want 1", q)
	}
}

func TestWebhookSignsAndKeepsItsAddressOutOfErrors(t *testing.T) {
	var header http.Header
	var body []byte
	status := http.StatusAccepted
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header = r.Header.Clone()
		body, _ = io.ReadAll(r.Body)
		w.WriteHeader(status)
	}))
	defer srv.Close()
	hidden := strings.Repeat("t0k", 3)
	w := Webhook{
		Address: func() (string, error) { return srv.URL + "/" + hidden, nil },
		Secret:  func() (string, error) { return "shared", nil },
		Body:    Incident,
	}
	m := alarm(Firing)
	m.identify()
	said, err := w.Send(t.Context(), m)
	if err != nil || said != "HTTP 202 Accepted" {
		t.Fatalf("%q, %v", said, err)
	}
	if got, want := header.Get("X-Gate-Signature"), Signature("shared", header.Get("X-Gate-Timestamp"), body); got != want {
		t.Errorf("signature %s, want %s", got, want)
	}
	var sent struct {
		Action   string `json:"action"`
		Incident string `json:"incident_id"`
	}
	if err := json.Unmarshal(body, &sent); err != nil || sent.Action != "open" || sent.Incident != m.Incident {
		t.Errorf("sent %s: %v", body, err)
	}
	end := alarm(Resolved)
	end.identify()
	if b, _ := json.Marshal(Incident(end)); end.Incident != m.Incident || !strings.Contains(string(b), `"action":"resolve"`) || end.ID == m.ID {
		t.Errorf("the end is of another incident: %s", b)
	}
	for _, status = range []int{302, 404, 500} {
		if _, err := w.Send(t.Context(), m); err == nil || strings.Contains(err.Error(), hidden) {
			t.Errorf("status %d gives %v", status, err)
		}
	}
	srv.Close()
	if _, err := w.Send(t.Context(), m); err == nil || strings.Contains(err.Error(), hidden) {
		t.Errorf("nobody there gives %v", err)
	}
}

func TestIncidentsAreForPages(t *testing.T) {
	s := &sends{}
	n, _ := begin(t, t.TempDir(), map[string]Sender{"incident": s, "webhook": s}, "incident", "webhook")
	m := alarm(Firing)
	m.Severity = "ticket"
	if err := n.Tell(m); err != nil {
		t.Fatal(err)
	}
	until(t, "delivery", func() bool { return n.State().Queued == 0 && len(n.State().Receipts) > 0 })
	if r := n.State().Receipts; len(r) != 1 || r[0].Route != "webhook" {
		t.Errorf("receipts %+v", r)
	}
}
