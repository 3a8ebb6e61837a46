package checks

import (
	"context"
	"time"
)

// Severities of alerts.
const (
	Page   = "page"   // somebody looks at once; an incident is opened
	Ticket = "ticket" // somebody looks within a day
)

// Alert is something that the watch over an environment can raise. Each has a
// runbook of its name.
type Alert struct {
	Name     string
	Severity string
	Says     string
}

// Alerts are all alerts that there are, in the order in which people read them.
func Alerts() []Alert {
	return []Alert{
		{"unavailable", Page, "the public address does not answer rightly"},
		{"errors", Page, "many requests end in errors"},
		{"burn-fast", Page, "the error budget of 30 days would be gone within two days"},
		{"burn-slow", Ticket, "the error budget of 30 days would be gone within five days"},
		{"instances", Page, "fewer instances serve than are declared"},
		{"restarts", Ticket, "instances end unasked again and again"},
		{"database", Page, "the database can't be reached"},
		{"certificate", Ticket, "the certificate ends soon"},
		{"disk", Ticket, "a disk or folder will be full soon"},
		{"backup", Ticket, "the newest backup is too old, or backups fail"},
		{"route", Ticket, "alerts can't be delivered"},
		{"heartbeat", Ticket, "the watch's heartbeat does not arrive"},
		{"test", Ticket, "a test of the way alerts take: nothing is wrong"},
	}
}

// AlertNamed is the alert of that name; ok is false when there is none.
func AlertNamed(name string) (a Alert, ok bool) {
	for _, a := range Alerts() {
		if a.Name == name {
			return a, true
		}
	}
	return Alert{}, false
}

// Alarmer is a target that watches over its environment and tells people.
type Alarmer interface {
	// Watch is how the watch stands.
	Watch(ctx context.Context) (Watch, error)
	// Alarm begins an exercise: a real fault, a ramp, or a test alarm. The target
	// ends it by itself when its time is up, whoever asked for it is alive or not.
	Alarm(ctx context.Context, e Exercise) error
	// Restore ends an exercise early.
	Restore(ctx context.Context) error
}

// Exercise is what a drill of the alerts does to an environment.
type Exercise struct {
	ID string `json:"id"` // unique; alerts during the exercise repeat it
	// Fault stops every instance from answering, as a hang would.
	Fault bool          `json:"fault"`
	Limit time.Duration `json:"limit"` // everything ends by itself after this time
	// Ramp is how long a watched folder takes from empty to its limit; 0: none.
	Ramp time.Duration `json:"ramp"`
	// Test raises the alert "test", which says that it is none.
	Test bool `json:"test"`
	// Mail is host:port, on loopback, of a mail server that hears what is
	// declared for this machine alone, and Beat the address that hears the
	// heartbeat. Where other ways are declared they are not used.
	Mail string `json:"mail,omitempty"`
	Beat string `json:"beat,omitempty"`
}

// Watch is how the watch over an environment stands.
type Watch struct {
	Since    time.Time     `json:"since"`
	Looked   time.Time     `json:"looked"` // when it last looked; zero: never
	Routes   []string      `json:"routes"` // declared ways to tell people
	Firing   []FiringAlert `json:"firing"`
	Queued   int           `json:"queued"`  // messages that wait to be delivered
	Problem  string        `json:"problem"` // of the delivery, the newest
	Receipts []Receipt     `json:"receipts"`
	Beat     *Beat         `json:"beat,omitempty"` // nil: no heartbeat is declared
	Exercise string        `json:"exercise,omitempty"`
	// RampLimit is when the exercise's folder reached its limit; zero: not yet.
	RampLimit time.Time `json:"ramp_limit,omitzero"`
}

// FiringAlert is an alert that has not ended.
type FiringAlert struct {
	Alert       string    `json:"alert"`
	Fingerprint string    `json:"fingerprint"`
	Severity    string    `json:"severity"`
	Summary     string    `json:"summary"`
	Since       time.Time `json:"since"`
}

// Receipt is what the last hop that gate speaks to said when it took a message.
type Receipt struct {
	Route    string    `json:"route"` // local, smtp, webhook, incident
	Message  string    `json:"message"`
	Alert    string    `json:"alert"`
	State    string    `json:"state"` // firing, resolved
	Exercise string    `json:"exercise,omitempty"`
	Raised   time.Time `json:"raised"`
	Accepted time.Time `json:"accepted"`
	Said     string    `json:"said"` // "250 2.0.0 Ok: queued as 4Xy…", "HTTP 202 …"
	Attempts int       `json:"attempts"`
}

// Beat is the dead man's switch, seen from this side.
type Beat struct {
	Sent   time.Time `json:"sent"` // that was last answered by 2xx; zero: none
	Reason string    `json:"reason,omitempty"`
}
