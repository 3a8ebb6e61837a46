package checks

import (
	"context"
	"time"
)

// Reverter rehearses a rollback.
type Reverter interface {
	// Revert goes to the release as a rollback does: its instances are started
	// beside those that serve, get all the traffic at once, and keep it for hold,
	// on the schema that is there. Then the migrations of what served before are
	// run once more, and the traffic goes back to its instances, which have stayed
	// warm. What served before serves at the end, whatever happens, also when the
	// caller has gone. A release that does not come up is a Problem, no error.
	Revert(ctx context.Context, release string, hold time.Duration) (Reverted, error)
}

// Reverted is a rollback that was rehearsed.
type Reverted struct {
	Instances []string      `json:"instances"` // that served meanwhile
	Back      time.Duration `json:"back"`      // from the command until they had all the traffic
	Forth     time.Duration `json:"forth"`     // from the command until the warm ones had it again
	Switched  time.Time     `json:"switched"`
	Returned  time.Time     `json:"returned"`
	Migrated  bool          `json:"migrated"` // the migrations were run once more
	Problem   string        `json:"problem,omitempty"`
}

// AccessLogger counts the lines of an access log.
type AccessLogger interface {
	// Logged is how many lines there are for each request of the run, by its
	// number: the header X-Gate-Run of a request is "<run>.<number>".
	Logged(ctx context.Context, run string) (map[int64]int, error)
}

// The parts of an environment that a Breaker can kill.
const (
	PartInstance = "instance"
	PartDaemon   = "daemon"
	PartDatabase = "database"
)

// Breaker kills parts of an environment, as an accident would.
type Breaker interface {
	Parts(ctx context.Context) (Parts, error)
	// Break kills the part at once and without a word, and returns when it is
	// dead.
	Break(ctx context.Context, part string) (Broken, error)
	// Mend says who starts it again. What nobody else does, it does.
	Mend(ctx context.Context, part string) (by string, err error)
}

// Broken is what was killed.
type Broken struct {
	What string `json:"what"` // "instance 3, process 4711"
	How  string `json:"how"`  // "SIGKILL"
}

// Parts is how an environment stands.
type Parts struct {
	Daemon   int `json:"daemon"`   // process
	Database int `json:"database"` // process; 0: it is not gate's own
	Ready    int `json:"ready"`    // instances that get traffic
	Restarts int `json:"restarts"` // of instances, ever
	Wanted   int `json:"wanted"`   // instances that the load asks for; 0: that is not known
}

// Scaler says what the scaling does.
type Scaler interface {
	Scaling(ctx context.Context) (Scaling, error)
}

// Scaling is what the scaling of an environment does and why.
type Scaling struct {
	Metric string  `json:"metric"` // concurrency, cpu
	Target float64 `json:"target"` // of it for each instance
	Value  float64 `json:"value"`  // of it for each instance, now
	Known  bool    `json:"known"`  // there is a value: without one nothing is taken away
	Min    int     `json:"min"`
	Max    int     `json:"max"`
	// Desired is how many instances there should be, Actual how many get traffic.
	Desired int    `json:"desired"`
	Actual  int    `json:"actual"`
	Why     string `json:"why"`
	// Saved is the instance-hours that were not run, compared with Max instances
	// all the time, since Since.
	Saved   float64         `json:"saved_instance_hours"`
	Since   time.Time       `json:"since"`
	Changes []ScalingChange `json:"changes,omitempty"` // the newest last
}

// ScalingChange is one change of the number of instances.
type ScalingChange struct {
	At    time.Time `json:"at"`
	From  int       `json:"from"`
	To    int       `json:"to"`
	Why   string    `json:"why"`
	Saved float64   `json:"saved_instance_hours"` // until then
}
