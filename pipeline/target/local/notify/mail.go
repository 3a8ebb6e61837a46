package notify

import (
	"context"
	"crypto/tls"
	"fmt"
	"strings"
	"time"

	"github.com/wneessen/go-mail"
)

// Mail sends by SMTP.
type Mail struct {
	Host string
	Port int
	TLS  string // starttls, tls, none
	From string
	To   []string
	User string
	// Password is asked for with each mail, so that a changed one counts; nil: none.
	Password func() (string, error)
	Config   *tls.Config // nil: the system's roots
}

// mailPatience bounds one conversation with a mail server.
const mailPatience = 15 * time.Second

// Send implements Sender. It returns the server's answer to the whole mail,
// which as a rule names its queue id.
func (s Mail) Send(ctx context.Context, m Message) (string, error) {
	where := fmt.Sprintf("mail server %s:%d", s.Host, s.Port)
	options := []mail.Option{
		mail.WithPort(s.Port), mail.WithTimeout(mailPatience), mail.WithoutNoop(), mail.WithoutRset(),
	}
	switch s.TLS {
	case "tls":
		options = append(options, mail.WithSSL())
	case "none":
		options = append(options, mail.WithTLSPolicy(mail.NoTLS))
	default:
		options = append(options, mail.WithTLSPolicy(mail.TLSMandatory))
	}
	if s.Config != nil {
		c := s.Config.Clone()
		c.ServerName = s.Host
		options = append(options, mail.WithTLSConfig(c))
	}
	if s.User != "" {
		password, err := s.Password()
		if err != nil {
			return "", fmt.Errorf("%s: %w", where, err)
		}
		options = append(options, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover), mail.WithUsername(s.User), mail.WithPassword(password))
	}
	client, err := mail.NewClient(s.Host, options...)
	if err != nil {
		return "", fmt.Errorf("%s: %w", where, err)
	}
	msg := mail.NewMsg(mail.WithNoDefaultUserAgent())
	if err := msg.From(s.From); err != nil {
		return "", fmt.Errorf("sender of mails: %w", err)
	}
	if err := msg.To(s.To...); err != nil {
		return "", fmt.Errorf("receivers of mails: %w", err)
	}
	msg.Subject(m.Subject())
	// The same mail keeps its id when it is sent again, and can be told by it.
	msg.SetMessageIDWithValue(m.ID + "@gate")
	msg.SetGenHeader("In-Reply-To", "<"+m.Incident+"@gate>")
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	for name, value := range map[string]string{"Alert": m.Alert, "State": m.State, "Severity": m.Severity, "Fingerprint": m.Fingerprint, "Exercise": m.Exercise, "Runbook": m.Runbook} {
		if value != "" {
			msg.SetGenHeader(mail.Header("X-Gate-"+name), line(value))
		}
	}
	msg.SetBodyString(mail.TypeTextPlain, m.Text())
	ctx, cancel := context.WithTimeout(ctx, mailPatience)
	defer cancel()
	if err := client.DialAndSendWithContext(ctx, msg); err != nil && !msg.IsDelivered() {
		return "", fmt.Errorf("%s: %w", where, err)
	}
	return strings.TrimSpace("250 " + line(strings.TrimPrefix(msg.ServerResponse(), "250 "))), nil
}
