package checks

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/mail"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
)

// alertingSink is the receiving end of a drill: a mail server and an address for
// heartbeats, on loopback, for as long as the drill lasts.
type alertingSink struct {
	mails net.Listener
	beats net.Listener
	smtp  *smtp.Server
	http  *http.Server
	done  sync.WaitGroup

	mu       sync.Mutex
	arrived  []alertingMail
	beatenAt []time.Time
}

// alertingMail is a mail that has arrived whole.
type alertingMail struct {
	at                                  time.Time
	id, alert, state, exercise, runbook string
}

func openAlertingSink(ctx context.Context) (*alertingSink, error) {
	s := &alertingSink{}
	var lc net.ListenConfig
	var err error
	if s.mails, err = lc.Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	if s.beats, err = lc.Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		return nil, errors.Join(err, s.mails.Close())
	}
	s.smtp = smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &alertingSession{sink: s}, nil }))
	s.smtp.Domain, s.smtp.MaxMessageBytes, s.smtp.MaxRecipients = "localhost", 1<<20, 100
	s.smtp.ReadTimeout, s.smtp.WriteTimeout = 10*time.Second, 10*time.Second
	s.http = &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.CopyN(io.Discard, r.Body, 64<<10)
		s.mu.Lock()
		s.beatenAt = append(s.beatenAt, time.Now())
		s.mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
	})}
	s.done.Go(func() { _ = s.smtp.Serve(s.mails) })
	s.done.Go(func() { _ = s.http.Serve(s.beats) })
	return s, nil
}

func (s *alertingSink) close() {
	_ = s.smtp.Close()
	_ = s.http.Close()
	s.done.Wait()
}

// find is the first mail about the exercise's alert in that state.
func (s *alertingSink) find(exercise, alert, state string) (alertingMail, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.arrived {
		if m.alert == alert && m.state == state && m.exercise == exercise {
			return m, true
		}
	}
	return alertingMail{}, false
}

func (s *alertingSink) beatCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.beatenAt)
}

// alertingSession is one client of the mail server.
type alertingSession struct{ sink *alertingSink }

func (*alertingSession) Mail(string, *smtp.MailOptions) error { return nil }
func (*alertingSession) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (*alertingSession) Reset()                               {}
func (*alertingSession) Logout() error                        { return nil }

// Data reads a mail to its end: then it has arrived.
func (c *alertingSession) Data(r io.Reader) error {
	m, err := mail.ReadMessage(r)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, m.Body); err != nil {
		return err
	}
	c.sink.mu.Lock()
	defer c.sink.mu.Unlock()
	c.sink.arrived = append(c.sink.arrived, alertingMail{
		at: time.Now(), id: m.Header.Get("Message-ID"), alert: m.Header.Get("X-Gate-Alert"), state: m.Header.Get("X-Gate-State"),
		exercise: m.Header.Get("X-Gate-Exercise"), runbook: m.Header.Get("X-Gate-Runbook"),
	})
	return nil
}
