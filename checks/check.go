package checks

import (
	"context"
	"crypto/x509"
	"time"

	"github.com/smartcloudops/gate/environments"
)

// Check measures one thing.
type Check struct {
	Name      string
	Criterion string // the criterion that it serves; a criterion may need several checks
	Version   int    // raised when the same input would measure something else
	Scope     Scope
	InEnv     bool     // measured on a running environment
	Exclusive bool     // nothing else may run beside it
	After     []string // checks before it, where both are measured: they leave something to look at
	Outside   bool     // a program of the repository: it gets an export of its own
	Title     string

	// Parameters are what the measurement depends on beside its subject: they go
	// into the key. It must be quick and must not touch the network.
	Parameters func(Input) map[string]string
	// Current says whether evidence of the same key may still stand for a new
	// measurement, where the key can't know; nil: it may.
	Current func(Input, Evidence) bool
	// Estimate is about how long Measure takes.
	Estimate func(Input) time.Duration
	// Measure measures. It returns an error when the check itself broke; a
	// meter that was not sound or a missing part is a Status with a Reason.
	Measure func(context.Context, Input) (Measurement, error)
	// Drill is Measure of a check that disturbs a service under load: drills that
	// are due together are phases of one run of load. Nil: it is no drill.
	Drill func(context.Context, *DrillRun) (Measurement, error)
	// Pool makes one payload out of the payloads of several completed runs of
	// one key, oldest first: counts and histograms add up, of other figures the
	// worst stays. Payload and result are the JSON of the check's payload type.
	Pool func([][]byte) ([]byte, error)
}

// Measurement is what Measure found.
type Measurement struct {
	Status  Status
	Reason  string
	Tools   map[string]string
	Payload any
}

// Input is all that a check may look at. Fields that a check does not need may
// be empty; one that lacks what it needs says Unavailable.
type Input struct {
	Declarations *environments.Declarations
	Environment  *environments.Environment

	Release      string // digest
	Previous     string // digest of what the release replaces; the release itself when it is the first
	Source       string // folder with a clean export of the commit
	SourceDigest string // of the export without app.yaml's docs
	TreeDigest   string // of the whole export
	Root         string // environments/, relative to Source
	Tools        string // folder for tools that a check installs
	Proposal     bool   // it is measured for a change alone, and never promotes: a check may stop once its answer is clear
	Machine      string // class of the machine that measures; empty: this one's

	// Pending are the migrations that the release has and Previous has not; nil
	// where that is not known, and PendingProblem says why.
	Pending        *PendingMigrations
	PendingProblem string
	TargetBytes    int64 // size of the database where the release goes next; 0: not known

	Address string         // host:port where the environment serves
	Name    string         // name to verify its certificate against
	Roots   *x509.CertPool // nil: the system's
	Target  any            // what runs the environment; checks assert the small interfaces they need

	// Progress tells people what goes on; it may be nil.
	Progress func(note string)
}

// Note calls Progress if there is one.
func (in Input) Note(s string) {
	if in.Progress != nil {
		in.Progress(s)
	}
}

// Replacer replaces what an environment runs, without canary or judgement.
type Replacer interface {
	// Replace swaps every instance for a fresh one of the release, the new one
	// ready before the old one drains, and returns how many it replaced.
	Replace(ctx context.Context, release string) (int, error)
}

// Observer counts what happened to an environment's instances.
type Observer interface {
	// Restarts is how often instances have ended unasked since the environment
	// was first started.
	Restarts(ctx context.Context) (int, error)
}
