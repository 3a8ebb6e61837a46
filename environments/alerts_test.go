package environments

import (
	"strings"
	"testing"
)

func TestMistakesInAlertsNameFileAndLine(t *testing.T) {
	hidden := "http://203.0.113.7/" + strings.Repeat("t0k", 3)
	for name, c := range map[string]struct {
		alerts, want string
	}{
		"nobody":                 {"alerts: {}", "tells nobody"},
		"heartbeat alone":        {"alerts: {heartbeat: {url: https://x.example.org}}", "tells nobody"},
		"unknown key":            {"alerts: {local: true, pager: x}", `unknown key "alerts.pager"`},
		"no mail server":         {"alerts: {smtp: {host: '', port: 25, tls: tls, from: a@b.c, to: [a@b.c]}}", "alerts.smtp.host"},
		"in the clear":           {"alerts: {smtp: {host: mail.example.org, port: 25, tls: none, from: a@b.c, to: [a@b.c]}}", "only a server on loopback"},
		"unknown tls":            {"alerts: {smtp: {host: x, port: 25, tls: maybe, from: a@b.c, to: [a@b.c]}}", "alerts.smtp.tls"},
		"no receiver":            {"alerts: {smtp: {host: x, port: 25, tls: tls, from: a@b.c, to: []}}", "alerts.smtp.to"},
		"no address":             {"alerts: {smtp: {host: x, port: 25, tls: tls, from: nobody, to: [a@b.c]}}", "alerts.smtp.from"},
		"user without password":  {"alerts: {smtp: {host: x, port: 25, tls: tls, from: a@b.c, to: [a@b.c], user: u}}", "go together"},
		"webhook in the clear":   {"alerts: {webhook: {url: '" + hidden + "'}}", "no address that alerts may be sent to"},
		"webhook with two":       {"alerts: {webhook: {url: https://x.example.org, url_env: X}}", "no address, or two"},
		"secret with none":       {"alerts: {webhook: {url: https://x.example.org, secret: {}}}", "refers to no source"},
		"runbooks in a folder":   {"alerts: {local: true, runbooks: docs}", "alerts.runbooks"},
		"folder without a root":  {"alerts: {local: true, disks: [{path: data, bytes: 1}]}", "alerts.disks[0].path"},
		"metrics for everybody":  {"alerts: {local: true}\nmetrics: {listen: 0.0.0.0:9464}", "metrics.listen"},
		"metrics without a port": {"alerts: {local: true}\nmetrics: {listen: 127.0.0.1}", "metrics.listen"},
	} {
		t.Run(name, func(t *testing.T) {
			m := declared(t)
			f := m["environments/staging.yaml"]
			f.Data = []byte(strings.Replace(string(f.Data), "alerts: {local: true}", c.alerts, 1))
			_, err := Read(m)
			if err == nil || !strings.Contains(err.Error(), "environments/staging.yaml:1") || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), hidden) {
				t.Errorf("want a mistake with line that says %q, got %v", c.want, err)
			}
		})
	}
	m := declared(t)
	f := m["environments/staging.yaml"]
	f.Data = []byte(strings.Replace(string(f.Data), "alerts: {local: true}", `alerts:
  smtp: {host: mail.example.org, port: 587, tls: starttls, from: gate@example.org, to: [ops@example.org], user: gate, password: {env: P}}
  webhook: {url_env: HOOK, secret: {env: S}}
  incident: {url: "http://127.0.0.1:9/x"}
  heartbeat: {url: "https://x.example.org/beat"}
  disks: [{path: /srv}]
metrics: {listen: "127.0.0.1:9464"}`, 1))
	d, err := Read(m)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(d.Environment("staging").Alerts.Routes(), " "); got != "smtp webhook incident" {
		t.Errorf("routes %s", got)
	}
	for _, c := range []struct {
		a    *Alerts
		want bool
	}{{nil, false}, {&Alerts{}, false}, {&Alerts{Local: true}, false}, {&Alerts{Heartbeat: &Webhook{}}, false}, {&Alerts{Local: true, Webhook: &Webhook{}}, true}, {&Alerts{SMTP: &SMTP{}}, true}, {&Alerts{Incident: &Webhook{}}, true}} {
		if got := c.a.TellPeople(); got != c.want {
			t.Errorf("%v tell people: %v", c.a.Routes(), got)
		}
	}
	if (*Alerts)(nil).Routes() != nil {
		t.Error("nobody declared is somebody")
	}
}
