package environments

import (
	"fmt"
	"net"
	"net/mail"
	"net/url"
	"slices"
	"strings"
)

// Alerts says who is told when something is wrong with an environment. Of the
// ways none is needed, and without one nobody is told.
type Alerts struct {
	// Local says that nobody beyond this machine is to be told: alerts go into
	// the environment's folder. A drill listens to them by mail on loopback.
	Local bool  `yaml:"local" json:"local,omitempty"`
	SMTP  *SMTP `yaml:"smtp" json:"smtp,omitempty"`
	// Webhook gets every alert and its end, as JSON.
	Webhook *Webhook `yaml:"webhook" json:"webhook,omitempty"`
	// Incident is asked to open an incident for an alert of severity page, and to
	// resolve the same one when the alert has ended.
	Incident *Webhook `yaml:"incident" json:"incident,omitempty"`
	// Heartbeat is asked for once a minute while the watch goes on: the service
	// behind it is to raise the alarm when that ends.
	Heartbeat *Webhook `yaml:"heartbeat" json:"heartbeat,omitempty"`
	// Runbooks is the address that the name of an alert with .md is put behind;
	// empty: alerts name the file in the repository.
	Runbooks string `yaml:"runbooks" json:"runbooks,omitempty"`
	// Disks are folders watched beside the state directory's file system.
	Disks []Disk `yaml:"disks" json:"disks,omitempty"`
}

// Routes are the declared ways to tell people, by name, in order.
func (a *Alerts) Routes() []string {
	var names []string
	if a == nil {
		return names
	}
	for _, r := range []struct {
		name string
		is   bool
	}{{"local", a.Local}, {"smtp", a.SMTP != nil}, {"webhook", a.Webhook != nil}, {"incident", a.Incident != nil}} {
		if r.is {
			names = append(names, r.name)
		}
	}
	return names
}

// TellPeople says whether anybody beyond this machine is told.
func (a *Alerts) TellPeople() bool {
	return slices.ContainsFunc(a.Routes(), func(route string) bool { return route != "local" })
}

// SMTP is a mail server.
type SMTP struct {
	Host     string   `yaml:"host" json:"host"`
	Port     int      `yaml:"port" json:"port"`
	TLS      string   `yaml:"tls" json:"tls"` // starttls, tls, or none on loopback
	From     string   `yaml:"from" json:"from"`
	To       []string `yaml:"to" json:"to"`
	User     string   `yaml:"user" json:"user,omitempty"`
	Password *Secret  `yaml:"password" json:"password,omitempty"`
}

// Webhook is an address that gets a POST. Exactly one of URL and URLEnv is set.
type Webhook struct {
	URL    string `yaml:"url" json:"url,omitempty"`
	URLEnv string `yaml:"url_env" json:"url_env,omitempty"` // environment variable with the address, where that is a secret itself
	// Secret makes the signature: X-Gate-Signature is "sha256=" and the
	// hexadecimal HMAC of X-Gate-Timestamp, a dot and the body.
	Secret *Secret `yaml:"secret" json:"secret,omitempty"`
}

// Disk is a folder with a limit of its own.
type Disk struct {
	Path  string `yaml:"path" json:"path"`
	Bytes int    `yaml:"bytes" json:"bytes"` // what its files may take together; 0: what its file system holds
}

// Metrics says where the daemon serves metrics for Prometheus, beside its admin
// socket.
type Metrics struct {
	Listen string `yaml:"listen" json:"listen"` // host:port on loopback
}

// Alerting says how long the alerting drill may take.
type Alerting struct {
	Fault Duration `yaml:"fault" json:"fault"` // the fault ends by itself after this time; 0: 1m
	Ramp  Duration `yaml:"ramp" json:"ramp"`   // in which the drill fills a folder to its limit; 0: 8s
}

func (v *validator) alerts(f string, a *Alerts) {
	if a == nil {
		return
	}
	if s := a.SMTP; s != nil {
		if s.Host == "" {
			v.say(f, "$.alerts.smtp.host", "name the mail server", "is empty")
		}
		v.between(f, "$.alerts.smtp.port", s.Port, 1, 65535)
		switch s.TLS {
		case "starttls", "tls":
		case "none":
			if !loopback(s.Host) {
				v.say(f, "$.alerts.smtp.tls", "use starttls or tls", "is none, which only a server on loopback may have")
			}
		default:
			v.say(f, "$.alerts.smtp.tls", "use starttls, tls, or none for a server on loopback", "is %q", s.TLS)
		}
		v.address(f, "$.alerts.smtp.from", s.From)
		if len(s.To) == 0 {
			v.say(f, "$.alerts.smtp.to", "list at least one address", "is empty")
		}
		for i, to := range s.To {
			v.address(f, fmt.Sprintf("$.alerts.smtp.to[%d]", i), to)
		}
		if (s.User == "") != (s.Password == nil) {
			v.say(f, "$.alerts.smtp.user", "give both, or none", "and password go together")
		}
		if s.Password != nil {
			v.secret(f, "$.alerts.smtp.password", *s.Password)
		}
	}
	v.webhook(f, "$.alerts.webhook", a.Webhook)
	v.webhook(f, "$.alerts.incident", a.Incident)
	v.webhook(f, "$.alerts.heartbeat", a.Heartbeat)
	if a.Runbooks != "" && !WebAddress(a.Runbooks) {
		v.say(f, "$.alerts.runbooks", "write the https:// address that the name of an alert is put behind", "is %q", a.Runbooks)
	}
	for i, d := range a.Disks {
		at := fmt.Sprintf("$.alerts.disks[%d]", i)
		if !strings.HasPrefix(d.Path, "/") {
			v.say(f, at+".path", "write the whole path of a folder", "is %q", d.Path)
		}
		if d.Bytes < 0 {
			v.say(f, at+".bytes", "write how many bytes its files may take, or leave it out", "is %d", d.Bytes)
		}
	}
	if len(a.Routes()) == 0 {
		v.say(f, "$.alerts", "declare smtp or webhook, or local: true where nobody else is to be told", "tells nobody")
	}
}

func (v *validator) metrics(f string, m *Metrics) {
	if m == nil {
		return
	}
	host, _, err := net.SplitHostPort(m.Listen)
	if err != nil || !loopback(host) {
		v.say(f, "$.metrics.listen", "write host:port on loopback, as 127.0.0.1:9464", "is %q", m.Listen)
	}
}

// webhook says nothing of what stands there: addresses may hold secrets.
func (v *validator) webhook(f, at string, w *Webhook) {
	if w == nil {
		return
	}
	switch {
	case (w.URL == "") == (w.URLEnv == ""):
		v.say(f, at, "give exactly one of url and url_env", "has no address, or two")
	case w.URL != "" && !WebAddress(w.URL):
		v.say(f, at+".url", "write https://…; http:// goes to loopback only", "is no address that alerts may be sent to")
	case w.URLEnv != "" && !envVarRE.MatchString(w.URLEnv):
		v.say(f, at+".url_env", "name an environment variable", "is no name of one")
	}
	if w.Secret != nil {
		v.secret(f, at+".secret", *w.Secret)
	}
}

func (v *validator) address(f, at, s string) {
	if a, err := mail.ParseAddress(s); err != nil || a.Address != s {
		v.say(f, at, "write a mail address, as ops@example.org", "is %q", s)
	}
}

// WebAddress says whether alerts may be sent to the address, wherever it is
// from: in the clear they stay on the machine.
func WebAddress(s string) bool {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil {
		return false
	}
	return u.Scheme == "https" || u.Scheme == "http" && loopback(u.Hostname())
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
