// Package supervisor runs the instances of an app on one Linux machine (5.4 or
// newer: it watches processes by pidfd).
//
// Its instances outlive it. They are sessions of their own, write to log files
// rather than to pipes, and stand in a state file, so that a supervisor that
// takes over, after a restart of the daemon or its kill -9, adopts them: same
// processes, same addresses. The other half of that promise is that nothing is
// orphaned: every process carries a token of the state file in its environment
// (and so do the processes that it starts), and what carries a token that the
// state file doesn't vouch for is killed at take-over.
//
// A service manager that runs the daemon must leave the instances alone when it
// stops it (systemd: KillMode=process).
package supervisor

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/pipeline/target/local/durable"
)

// Errors that callers tell apart.
var (
	// ErrDetached: the supervisor has let go of its instances.
	ErrDetached = errors.New("the supervisor has let go of its instances")
	// ErrLocked: another process supervises the instances of the state file.
	ErrLocked = errors.New("another daemon supervises these instances")
	// ErrRunning: Run was called twice.
	ErrRunning = errors.New("the supervisor runs already")
)

// Spec is how one instance is run.
type Spec struct {
	Path string   // executable, absolute
	Args []string // without the program's name
	// Env is the whole environment, secrets included. It is handed to the
	// process and to nothing else: no log, no file.
	Env          []string
	Dir          string              // working directory; empty: "/"
	Ready        string              // path that answers 200 once the instance may get traffic
	StartTimeout time.Duration       // from start to ready; 0: 30 s
	StopTimeout  time.Duration       // from SIGTERM to SIGKILL; 0: 10 s
	Credential   *syscall.Credential // nil: this process's own user
}

// Options of a Supervisor. StateFile, LogDir and SpecFor are required.
type Options struct {
	StateFile string // 0600; its folder must exist
	LogDir    string // 0700, made when missing
	// SpecFor says how the instance id of release is run so that it listens on
	// 127.0.0.1:port. It is asked anew for each start: a spec is never stored.
	SpecFor func(release, id string, port int) (Spec, error)
	Log     *slog.Logger     // nil: none
	Now     func() time.Time // nil: time.Now

	Backoff Backoff
	Probe   Probe
	// StandsIn says whether other can take the traffic of the instance with the id;
	// nil: if it is of the same release.
	StandsIn func(id, other string) bool
	// Reserve is what a full disk still has for a start to be recorded; nil: nothing.
	Reserve *durable.Reserve

	MaxLogBytes int64 // a bigger log is rotated; 0: 16 MiB
	KeepLogs    int   // log files kept for each instance beside the current one, and of all ended ones together; 0: 5

	// OnChange is told the instances that may get traffic, in order of id: once
	// when Run begins and after every change. OnExit is told of each instance
	// that ended unasked. Both are called by Run's goroutine, one call at a
	// time, the change before the exit that caused it; they must return soon
	// and must not call Stop or Detach, which wait for them.
	OnChange func(ready []Instance)
	OnExit   func(Instance)
}

// Backoff is the wait before an instance that ended unasked is started anew:
// Min (0: 100 ms), doubled each time up to Max (0: 10 s), and Min again once an
// instance has been ready for Stable (0: 30 s).
type Backoff struct{ Min, Max, Stable time.Duration }

// Probe asks each instance for its Ready path every Interval (0: 1 s), with
// Timeout (0: 2 s). After Misses (0: 3) answers other than 200 in a row the
// instance gets no traffic until it answers 200 again. An instance that did not
// answer at all that often is killed and started anew; one that says 503 is
// left alone, since a restart does not mend what it waits for.
//
// One that lets a single probe wait for Silent (0: 1.5 s), while another instance
// that stands in for it answers one, gets no traffic from then on: with the
// default Interval that is 2.5 s after it has hung. Where all are slow, none is
// taken out for it.
type Probe struct {
	Interval, Timeout, Silent time.Duration
	Misses                    int
}

// Instance is one supervised instance. It keeps its ID for life; PID, Address,
// Log and Generation change with each restart.
type Instance struct {
	ID         string
	Release    string
	PID        int // 0: not running
	Address    string
	Health     target.Health
	Ready      bool      // may get traffic
	Started    time.Time // of the process
	Restarts   int       // times it ended unasked
	Generation int       // counts its processes, from 1
	Log        string    // file of the process
	Adopted    bool      // taken over from an earlier supervisor
	Reason     string    // why it is not healthy
	LastExit   string    // "killed by SIGKILL"; empty: it never ended
	LastLog    []string  // the last lines that the ended process wrote
}

// Supervisor keeps instances running.
type Supervisor struct {
	opt   Options
	boot  string
	mark  string // what the tokens of this state file begin with
	logs  logs
	lock  *os.File
	quit  chan struct{} // closed by Detach
	begun chan struct{} // closed by Run
	ended chan struct{} // closed as Run ends

	change    chan struct{}
	flush     chan chan struct{}
	replacing chan struct{} // held by the one hung instance that is being replaced

	once     sync.Once
	wg       sync.WaitGroup // what is done for instances
	watchers sync.WaitGroup // end as their process does or is closed

	saving sync.Mutex // taken before mu: the newest snapshot is the one written last

	mu        sync.Mutex
	running   bool
	detached  bool
	next      int
	restarts  int
	instances map[string]*instance
	exits     []Instance // not yet told to OnExit
}

// instance is guarded by Supervisor.mu, but for what its keeper alone touches.
type instance struct {
	rec      record
	proc     *process
	health   target.Health
	ready    bool
	adopted  bool
	reason   string
	lastLog  []string
	stopping bool
	readyAt  time.Time               // when the process first was; zero: not yet
	answered time.Time               // when it last answered 200
	cancel   context.CancelCauseFunc // ends what the keeper does, with errStop or ErrDetached
	done     chan struct{}           // closed once the instance is no more

	replacing bool // holds Supervisor.replacing; its keeper's alone
}

var errStop = errors.New("told to stop")

func (o *Options) complete() error {
	if o.StateFile == "" || o.LogDir == "" || o.SpecFor == nil {
		return errors.New("supervisor: StateFile, LogDir and SpecFor are required")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Backoff.Min = cmp.Or(o.Backoff.Min, 100*time.Millisecond)
	o.Backoff.Max = max(cmp.Or(o.Backoff.Max, 10*time.Second), o.Backoff.Min)
	o.Backoff.Stable = cmp.Or(o.Backoff.Stable, 30*time.Second)
	o.Probe.Interval = cmp.Or(o.Probe.Interval, time.Second)
	o.Probe.Timeout = cmp.Or(o.Probe.Timeout, 2*time.Second)
	o.Probe.Silent = cmp.Or(o.Probe.Silent, 1500*time.Millisecond)
	o.Probe.Misses = cmp.Or(o.Probe.Misses, 3)
	o.MaxLogBytes = cmp.Or(o.MaxLogBytes, 16<<20)
	o.KeepLogs = cmp.Or(o.KeepLogs, 5)
	return nil
}

// Instances are all instances, in order of id.
func (s *Supervisor) Instances() []Instance {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.list(func(*instance) bool { return true })
}

// Restarts is how many instances have ended unasked since the state file was
// first written. A start that never got ready is not one of them.
func (s *Supervisor) Restarts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.restarts
}

// list is called with mu held.
func (s *Supervisor) list(want func(*instance) bool) []Instance {
	all := make([]Instance, 0, len(s.instances))
	for _, in := range s.instances {
		if want(in) {
			all = append(all, in.view())
		}
	}
	slices.SortFunc(all, func(a, b Instance) int { return cmp.Compare(number(a.ID), number(b.ID)) })
	return all
}

func (in *instance) view() Instance {
	v := Instance{
		ID: in.rec.ID, Release: in.rec.Release, Address: address(in.rec.Port),
		Health: in.health, Ready: in.ready, Started: in.rec.Started, Restarts: in.rec.Restarts,
		Generation: in.rec.Generation, Log: in.rec.Log, Adopted: in.adopted,
		Reason: in.reason, LastExit: in.rec.LastExit, LastLog: slices.Clone(in.lastLog),
	}
	if in.proc != nil {
		v.PID = in.proc.pid
	}
	return v
}

func number(id string) int {
	n, err := strconv.Atoi(id)
	if err != nil {
		return -1
	}
	return n
}

func address(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

// hold derives the context of what is done for an instance: Stop and Detach end
// it with their cause.
func (s *Supervisor) hold(ctx context.Context, in *instance) (context.Context, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.detached {
		return nil, ErrDetached
	}
	if in.stopping {
		return nil, errStop
	}
	in.cancel(nil)
	ctx, in.cancel = context.WithCancelCause(ctx)
	return ctx, nil
}

// Detach lets go: it ends every goroutine of the supervisor, waits for them, and
// leaves the instances running for the supervisor that takes over. A Start that
// has not returned is undone.
func (s *Supervisor) Detach() {
	s.once.Do(func() {
		s.mu.Lock()
		s.detached = true
		running := s.running
		for _, in := range s.instances {
			in.cancel(ErrDetached)
		}
		close(s.quit)
		s.mu.Unlock()

		s.wg.Wait()
		if running {
			<-s.ended
		}
		for _, in := range s.instances {
			if in.proc != nil {
				in.proc.close()
			}
		}
		s.watchers.Wait()
		s.lock.Close()
	})
}

// goRun starts f as one of the goroutines that Detach waits for, unless it has
// begun to wait.
func (s *Supervisor) goRun(f func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.detached {
		return ErrDetached
	}
	s.wg.Go(f)
	return nil
}
