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
	Steps    []string // what a first runbook says; ENV stands for the environment
}

// Alerts are all alerts that there are, in the order in which people read them.
func Alerts() []Alert {
	return []Alert{
		{"unavailable", Page, "the public address does not answer rightly", []string{
			"`gate status ENV`: what serves, which instances are healthy, is a promotion under way?",
			"If it began with a promotion: `gate rollback ENV`. It needs no approval and no remote.",
			"`gate logs ENV`: the last lines of the instances. A hung instance is replaced by itself within seconds.",
			"If the database is the problem, go on with database.md.",
		}},
		{"errors", Page, "many requests end in errors", []string{
			"`gate logs ENV` and the access log: which path, which status, which release?",
			"If one release alone has the errors: `gate rollback ENV`.",
			"If all have them: look at what the service needs (database, other services), and at what clients send.",
		}},
		{"burn-fast", Page, "the error budget of 30 days would be gone within two days", []string{
			"Look whether unavailable or errors fires, too, and go on there.",
			"If not, it fails on and off: `gate logs ENV` around the failed probes; compare with restarts in `gate status ENV`.",
			"`gate hold ENV --reason` keeps promotions out until it is found.",
		}},
		{"burn-slow", Ticket, "the error budget of 30 days would be gone within five days", []string{
			"`gate explain ENV` names the evidence of the criterion uptime, `gate evidence show DIGEST` its hours.",
			"Find what these hours have in common: promotions, load, jobs on the machine.",
			"Mend it before the budget is spent: from then on the criterion uptime fails.",
		}},
		{"instances", Page, "fewer instances serve than are declared", []string{
			"`gate status ENV`: which instance is not ready, and why?",
			"`gate logs ENV`: its last words.",
			"If the release does not start any more: `gate rollback ENV`. If memory or files are short on the machine, free some.",
		}},
		{"restarts", Ticket, "instances end unasked again and again", []string{
			"`gate logs ENV`: how the instance ended, and its last words.",
			"If it began with a release: `gate rollback ENV`, then mend it.",
			"If it is killed from outside: look at the machine's memory (`dmesg`).",
		}},
		{"database", Page, "the database can't be reached", []string{
			"`gate status ENV` says which database it is, and what is wrong with it.",
			"gate starts a database of its own again by itself; if that fails, its log in the state directory (env/ENV/postgres) says why. Often the disk is full: disk.md.",
			"A given database: ask whoever runs it; check the network and the password in the declared variable.",
			"If its files are damaged: restore the newest backup, as docs/howto/restore.md of gate says.",
		}},
		{"certificate", Ticket, "the certificate ends soon", []string{
			"`gate verify ENV --check tls` shows until when it is valid.",
			"A given certificate: renew it and replace the declared files; they are read anew within the hour, or with `gate serve ENV --take-over`.",
			"gate's own: `gate serve ENV --take-over` renews it; the daemon's log says why that did not happen by itself.",
		}},
		{"disk", Ticket, "a disk or folder will be full soon", []string{
			"The alert names the folder and the time that is left. `du -xh --max-depth=3 FOLDER | sort -h | tail` shows what grows.",
			"Logs and old releases in the state directory may go; the newest five releases, the ledger, postgres and backups may not.",
			"If it can't be stopped from growing, extend the disk before the time is over.",
		}},
		{"backup", Ticket, "the newest backup is too old, or backups fail", []string{
			"`gate status ENV` and the daemon's log say when the newest backup was made and why the next one failed.",
			"Check the room for it, and the credentials of the place where copies go.",
			"Once a new one is there: `gate verify ENV --check backup` restores it.",
		}},
		{"route", Ticket, "alerts can't be delivered", []string{
			"`gate status ENV` says which route, and what the other side answers. Nothing is lost: alerts wait on disk and are tried again.",
			"Check the mail server or webhook, its password, and the network.",
			"`gate verify ENV --check alerting` proves that it works again.",
		}},
		{"heartbeat", Ticket, "the watch's heartbeat does not arrive", []string{
			"If the service behind the heartbeat has raised the alarm: is the machine up, and the daemon (`gate status ENV`)? `gate serve ENV` starts it.",
			"If gate has raised it: the declared address does not take the heartbeat; check it and the network.",
			"Until it is mended nobody notices when the watch ends: look yourself.",
		}},
		{"override", Page, "somebody has gone past what was declared for promotions", []string{
			"The message says who, what and why. `gate history ENV` shows what came of it, `gate status ENV` what serves.",
			"If it must not stand: `gate rollback ENV`. `gate hold ENV --reason` keeps more out.",
			"If it may: somebody else than who did it runs `gate approve RELEASE --to ENV`. Until then nothing else is promoted.",
		}},
		{"drift", Ticket, "what runs is not what is desired", []string{
			"`gate drift ENV` names each difference, and what to do about it.",
			"Find out who has changed it: `gate history ENV`, `gate logs ENV --daemon`, and who has access to the machine and the database.",
			"`promotion.drift: reconcile` brings back release and configuration by itself.",
		}},
		{"degraded", Ticket, "the release that serves would not be judged good any more", []string{
			"`gate status ENV` names the reasons, `gate explain ENV` the evidence.",
			"Evidence that has expired: `gate verify ENV`, or `gate run`, measures it anew.",
			"A budget that is burnt: mend it, and promote the fix with `gate promote RELEASE --to ENV`; the alert does not keep that out.",
		}},
		{"test", Ticket, "a test of the way alerts take: nothing is wrong", []string{
			"Nothing is wrong: an exercise is under way, and the message says so.",
			"If nobody knows of an exercise: `gate status ENV`, and ask who has asked for it.",
		}},
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
	// Relieve ends an exercise early.
	Relieve(ctx context.Context) error
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
