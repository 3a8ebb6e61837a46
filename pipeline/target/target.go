// Package target says what the pipeline needs of a place where an environment
// runs. Package local is one machine; aws comes behind the same contract.
package target

import (
	"context"
	"errors"
	"time"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
)

// Errors that callers tell apart.
var (
	// ErrFenced: the command carries a token older than one already seen.
	ErrFenced = errors.New("a newer promotion has taken over")
	// ErrNotReady: an instance of the release did not become ready.
	ErrNotReady = errors.New("not ready")
	// ErrMigration: the release's migrate command failed. The schema is as before.
	ErrMigration = errors.New("migration failed")
)

// Target runs one environment. Every changing call carries the fencing token
// of the promotion, the sequence number of its begin entry: a target refuses a
// token lower than the highest that it has seen with ErrFenced, and does
// nothing twice when the same call comes again.
type Target interface {
	// Status is what runs now.
	Status(ctx context.Context) (Status, error)
	// Migrate brings the schema to where the release wants it, with the
	// release's own migrate command.
	Migrate(ctx context.Context, token int64, rev Revision) error
	// StartCanary starts the canary, instances of the release, and the baseline, as
	// many fresh instances of what is stable; when all are ready each of the two
	// gets weight percent of the traffic, 1 to 50. Figures of all arms start anew.
	// Weight 100 is blue-green: all traffic goes to the canary, which has as many
	// instances as what is stable, and there is no baseline.
	//
	// A second call for the same revision with another weight shifts the weights of
	// the arms that run, and keeps their figures; after a restart of the target,
	// which has lost them, they start anew.
	//
	// The error is ErrNotReady where an instance of the release is to blame, and
	// another one where the baseline is. No traffic has moved then.
	StartCanary(ctx context.Context, token int64, rev Revision, weight int) error
	// Arms are the figures since StartCanary.
	Arms(ctx context.Context) (Arms, error)
	// Complete makes the release the stable one: instances are started, readied,
	// switched to; the previous ones get no traffic and stay warm.
	Complete(ctx context.Context, token int64, rev Revision) error
	// Withdraw gives all traffic to the stable release (after Complete: to the
	// previous one, still warm) and then stops the other's instances.
	Withdraw(ctx context.Context, token int64) error
	// Retire stops the previous release's warm instances.
	Retire(ctx context.Context, token int64) error
}

// Revision is what an environment is asked to run: a release, and the
// configuration that the release's commit declares for the environment.
type Revision struct {
	Release     string                    `json:"release"`
	Commit      string                    `json:"commit"`
	Environment *environments.Environment `json:"environment"`
	// Probe is the safe request by which the service is watched; nil: readiness
	// alone is. Runbooks is the folder of the repository with one for each alert.
	Probe    *environments.Endpoint `json:"probe,omitempty"`
	Runbooks string                 `json:"runbooks,omitempty"`
}

// ID is the same for revisions that run the same.
func (r Revision) ID() string { return r.Release + "+" + r.Environment.ConfigDigest() }

// Status is what an environment runs.
type Status struct {
	Environment string     `json:"environment"`
	Address     string     `json:"address"`  // host:port
	Revision    string     `json:"revision"` // ID of the stable revision; empty: it has never served
	Stable      string     `json:"stable"`   // digest of the stable release
	Commit      string     `json:"commit,omitempty"`
	Canary      string     `json:"canary,omitempty"`
	Weight      int        `json:"weight"` // percent of the traffic that the canary gets, and the baseline as well
	Warm        string     `json:"warm,omitempty"`
	Token       int64      `json:"token"`
	Restarts    int        `json:"restarts"` // instances that ended unasked, ever
	Instances   []Instance `json:"instances"`
	Database    string     `json:"database"` // "own cluster, PostgreSQL 15.18" or "external, …": no credentials
	Empty       bool       `json:"empty"`    // the database holds no table of the app
	// DatabaseBytes is the size of the database; 0 when it is not known.
	DatabaseBytes int64     `json:"database_bytes,omitempty"`
	Since         time.Time `json:"since"` // when the daemon started
	// Schema is how the schema compares with what migrations have made of it; nil:
	// none have left anything on record.
	Schema  *Schema `json:"schema,omitempty"`
	Problem string  `json:"problem,omitempty"`
	// Scaling is what decides how many instances there are; nil: nothing does.
	Scaling *checks.Scaling `json:"scaling,omitempty"`
	// Backup is how the backups of the database stand; nil: not known yet.
	Backup *BackupStatus `json:"backup,omitempty"`
	// Alerts are what the watch over the environment says; nil: nobody watches.
	Alerts *Alerts `json:"alerts,omitempty"`
}

// Schema is what the newest migrations have left, and what is there now.
type Schema struct {
	Release string    `json:"release"` // whose migrations they were
	Left    string    `json:"left"`    // digest
	At      time.Time `json:"at"`
	Now     string    `json:"now,omitempty"` // digest
	Problem string    `json:"problem,omitempty"`
}

// BackupStatus is how the backups of an environment's database stand.
type BackupStatus struct {
	Kept      bool      `json:"kept"`          // gate backs this database up
	Why       string    `json:"why,omitempty"` // it does not
	Base      time.Time `json:"base,omitzero"` // when the newest base backup was begun; zero: there is none
	Bases     int       `json:"bases"`
	Streaming bool      `json:"streaming"` // what is written is archived at once
	Problem   string    `json:"problem,omitempty"`
}

// Alerts are what the watch over the environment has found, and who is told.
type Alerts struct {
	Routes  []string             `json:"routes"` // empty: nobody is told
	Firing  []checks.FiringAlert `json:"firing"`
	Queued  int                  `json:"queued"`            // messages that nobody has taken yet
	Problem string               `json:"problem,omitempty"` // of their delivery
}

// Health of an instance or an environment.
type Health string

// Healths, in the field's usual words.
const (
	Progressing Health = "progressing"
	Healthy     Health = "healthy"
	Degraded    Health = "degraded"
	Paused      Health = "paused"
	Unknown     Health = "unknown"
)

// Instance is one running process of the app.
type Instance struct {
	ID       string    `json:"id"` // "3"
	Release  string    `json:"release"`
	Role     string    `json:"role"` // stable, baseline, canary, warm
	PID      int       `json:"pid"`
	Address  string    `json:"address"`
	Health   Health    `json:"health"`
	Started  time.Time `json:"started"`
	Restarts int       `json:"restarts"`
	Log      string    `json:"log"`                 // file
	Reason   string    `json:"reason,omitempty"`    // why it is not healthy
	LastExit string    `json:"last_exit,omitempty"` // how it last ended unasked
}

// Arms are the sides of a canary comparison. Baseline has no release where there
// is none.
type Arms struct {
	Since    time.Time `json:"since"`
	Stable   Arm       `json:"stable"`
	Baseline Arm       `json:"baseline,omitzero"`
	Canary   Arm       `json:"canary"`
}

// Observer tells single requests, for judging in pairs. A target offers it or
// not.
type Observer interface {
	// Observe returns the requests of baseline and canary that ended since the
	// cursor (0: since StartCanary), in the order of their ends, and the next
	// cursor. lost is how many between were not kept, at least: where that is not
	// known, as after a restart or with a cursor of an earlier canary, it is 1. It
	// makes the comparison unsound until StartCanary begins another one.
	Observe(ctx context.Context, cursor int64) (seen []Observation, next, lost int64, err error)
}

// Observation is one request that has ended.
type Observation struct {
	Arm   string `json:"arm"`   // baseline or canary
	Class string `json:"class"` // method and first element of the path; of a bounded number, "other" for the rest
	// Error: answered 4xx or 5xx, or not answered; gate's own request: not answered
	// as declared. What a release rightly refuses hits both arms alike; a client
	// that hangs up first is no error.
	Error     bool    `json:"error"`
	Seconds   float64 `json:"seconds"`
	Synthetic bool    `json:"synthetic"` // gate itself sent it
	GivenUp   bool    `json:"given_up"`  // the client left before an answer began; no error
	Visitor   uint32  `json:"visitor"`   // hash of the sticky cookie's value; 0: there is none
}

// Inspector tells what the instances of baseline and canary use and write. A
// target offers it or not.
type Inspector interface {
	Inspect(ctx context.Context) ([]Usage, error)
}

// Usage is what one instance has used and written since its process began.
type Usage struct {
	Arm      string // baseline or canary
	Instance string // ID
	PID      int    // 0: it does not run
	CPU      time.Duration
	Memory   int64 // resident, in bytes
	Lines    int64 // of its log, that say at which level they are
	Errors   int64 // of those, at level error or above
}

// Arm are one side's figures, as the load balancer saw them. Times are seconds.
type Arm struct {
	Release   string `json:"release"`
	Requests  int64  `json:"requests"`
	Synthetic int64  `json:"synthetic"` // of Requests, those that gate itself sent
	Errors    int64  `json:"errors"`    // as in Observation
	Open      int64  `json:"open"`      // requests that have not ended, and are not among Requests
	Restarts  int    `json:"restarts"`
	// OldestOpen is for how long the oldest of them has been under way.
	OldestOpen float64 `json:"oldest_open_seconds"`
	Mean       float64 `json:"mean"`
	P50        float64 `json:"p50"`
	P95        float64 `json:"p95"`
	P99        float64 `json:"p99"`
	Histogram  string  `json:"histogram,omitempty"` // HdrHistogram V2, compressed, base64; microseconds
}
