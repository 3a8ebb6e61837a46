package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/smartcloudops/gate/pipeline/target"
)

const (
	portTries    = 3 // ports that are tried when an instance finds its own in use
	tailLines    = 20
	abandonGrace = time.Second // an instance that never had traffic has little to put in order
)

// StartError says why an instance did not become ready. It is
// target.ErrNotReady, and the cause where there is one.
type StartError struct {
	ID      string
	Release string
	Reason  string   // "exit status 3 after 20ms"
	Log     string   // file
	Tail    []string // its last lines: the app's own words, so not part of Error
	Err     error    // cause; may be nil
}

func (e *StartError) Error() string {
	msg := fmt.Sprintf("instance %s of %s did not become ready: %s", e.ID, e.Release, e.Reason)
	if e.Log != "" {
		msg += "; read " + e.Log
	}
	return msg
}

// Unwrap makes errors.Is(err, target.ErrNotReady) hold.
func (e *StartError) Unwrap() []error {
	if e.Err == nil {
		return []error{target.ErrNotReady}
	}
	return []error{target.ErrNotReady, e.Err}
}

// Start starts an instance of release and returns once it is ready. An instance
// that ends early, or is not ready in time, is stopped again: *StartError. Until
// Start returns the instance gets no traffic, and should the daemon die, the
// next one ends it.
func (s *Supervisor) Start(ctx context.Context, release string) (Instance, error) {
	type result struct {
		in  Instance
		err error
	}
	res := make(chan result, 1)
	// Detach waits for this goroutine, and so for the undoing of the start.
	err := s.goRun(func() {
		in, err := s.start(ctx, release)
		res <- result{in, err}
	})
	if err != nil {
		return Instance{}, fmt.Errorf("start an instance of %s: %w", release, err)
	}
	r := <-res
	return r.in, r.err
}

func (s *Supervisor) start(caller context.Context, release string) (Instance, error) {
	in := s.admit(release)
	ctx, err := s.hold(caller, in)
	if err == nil {
		err = s.launch(ctx, in)
	}
	var keeping context.Context
	if err == nil {
		keeping, err = s.hold(context.WithoutCancel(caller), in)
	}
	if err == nil {
		s.mu.Lock()
		in.rec.Born = true
		s.mu.Unlock()
		err = s.save()
	}
	if err == nil {
		s.markReady(in)
		err = s.goRun(func() { s.keep(keeping, in) })
	}
	if err != nil {
		s.abandon(in)
		if se := new(StartError); !errors.As(err, &se) {
			err = fmt.Errorf("start an instance of %s: %w", release, err)
		}
		return Instance{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return in.view(), nil
}

func (s *Supervisor) admit(release string) *instance {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := &instance{
		rec:    record{ID: strconv.Itoa(s.next), Release: release, Started: s.opt.Now()},
		health: target.Progressing, reason: "starting", cancel: func(error) {}, done: make(chan struct{}),
	}
	s.next++
	s.instances[in.rec.ID] = in
	return in
}

// abandon ends an instance that did not get to the end of its Start.
func (s *Supervisor) abandon(in *instance) {
	s.end(in, abandonGrace, true)
	s.forget(in)
}

// launch starts a process for in and returns once it is ready. After an error
// in.proc may be left, running or not, for the caller to end.
func (s *Supervisor) launch(ctx context.Context, in *instance) error {
	for try := 1; ; try++ {
		began := time.Now()
		// The last resort is for a server that can't bind beside the
		// reservation: the port is given up before the start, as others do it.
		port, err := s.spawn(in, try > 1)
		if err != nil {
			return err
		}
		err = s.awaitReady(ctx, in)
		port.release()
		if err == nil {
			return nil
		}
		if !errors.Is(err, errEnded) {
			return err
		}
		tail, _ := s.logs.tail(in.rec.ID, in.rec.Generation, tailLines)
		reason := in.proc.exitReason()
		if try < portTries && portTaken(tail) && ctx.Err() == nil {
			s.opt.Log.Info("instance found its port in use; trying another", "instance", in.rec.ID, "port", in.rec.Port)
			s.end(in, 0, true)
			continue
		}
		return s.startError(in, reason+" after "+time.Since(began).Round(time.Millisecond).String(), nil)
	}
}

func (s *Supervisor) startError(in *instance, reason string, cause error) error {
	tail, _ := s.logs.tail(in.rec.ID, in.rec.Generation, tailLines)
	return &StartError{ID: in.rec.ID, Release: in.rec.Release, Reason: reason, Log: in.rec.Log, Tail: tail, Err: cause}
}

// spawn starts a process. The state file names its token before it exists, and
// its number as soon as there is one.
func (s *Supervisor) spawn(in *instance, early bool) (*reservation, error) {
	port, err := s.choosePort()
	if err != nil {
		return nil, err
	}
	keep := false
	defer func() {
		if !keep {
			port.release()
		}
	}()
	spec, err := s.spec(in, port.port)
	if err != nil {
		return nil, err
	}
	generation := in.rec.Generation + 1
	var log *os.File
	err = s.opt.Reserve.Do(func() (err error) {
		log, err = s.logs.open(in.rec.ID, generation, s.living())
		return err
	})
	if err != nil {
		return nil, err
	}
	defer log.Close()

	token := newToken(s.mark)
	s.mu.Lock()
	r := &in.rec
	r.PID, r.Ticks, r.Token, r.Port, r.Log = 0, 0, token, port.port, log.Name()
	r.Generation, r.Started, r.Readied, r.Fit = generation, s.opt.Now(), false, false
	r.ReadyPath, r.StartTimeout, r.StopTimeout = spec.Ready, spec.StartTimeout, spec.StopTimeout
	born := r.Born
	s.mu.Unlock()
	if err := s.record(born); err != nil {
		return nil, err
	}
	if early {
		port.release()
	}
	env := slices.DeleteFunc(slices.Clone(spec.Env), func(v string) bool { return strings.HasPrefix(v, TokenName+"=") })
	p, err := startProcess(spec, append(env, TokenName+"="+token), log)
	if err != nil {
		return nil, s.startError(in, "could not be started: "+err.Error(), err)
	}
	s.opt.Log.Debug("process forked", "instance", in.rec.ID, "pid", p.pid)
	s.mu.Lock()
	r.PID, r.Ticks = p.pid, p.ticks
	in.proc, in.adopted = p, false
	s.mu.Unlock()
	s.watchers.Go(p.watch)
	if err := s.record(born); err != nil {
		return nil, err
	}
	keep = true
	return port, nil
}

// record refuses a first start that can't be recorded, and lets a restart go
// on: a service must come back on a full disk too.
func (s *Supervisor) record(restart bool) error {
	err := s.save()
	if err != nil && restart {
		s.opt.Log.Warn("restart of an instance not recorded; going on", "err", err)
		return nil
	}
	return err
}

func (s *Supervisor) spec(in *instance, port int) (Spec, error) {
	spec, err := s.opt.SpecFor(in.rec.Release, in.rec.ID, port)
	if err != nil {
		return Spec{}, fmt.Errorf("how to run instance %s of %s: %w", in.rec.ID, in.rec.Release, err)
	}
	if !filepath.IsAbs(spec.Path) {
		return Spec{}, fmt.Errorf("how to run instance %s of %s: the executable %q is no absolute path", in.rec.ID, in.rec.Release, spec.Path)
	}
	if !strings.HasPrefix(spec.Ready, "/") {
		return Spec{}, fmt.Errorf("how to run instance %s of %s: the ready path %q does not begin with /", in.rec.ID, in.rec.Release, spec.Ready)
	}
	if spec.StartTimeout <= 0 {
		spec.StartTimeout = 30 * time.Second
	}
	if spec.StopTimeout <= 0 {
		spec.StopTimeout = 10 * time.Second
	}
	return spec, nil
}

var errEnded = errors.New("the process ended")

// awaitReady returns nil once the process of in answers 200, errEnded as soon as
// it ends, and the cause of ctx's end.
func (s *Supervisor) awaitReady(ctx context.Context, in *instance) error {
	p, limit := in.proc, in.rec.StartTimeout
	deadline := time.Now().Add(limit)
	pause := 10 * time.Millisecond
	last := "no answer"
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return s.startError(in, fmt.Sprintf("not ready %s after its start (GET %s: %s)", limit, in.rec.ReadyPath, last), nil)
		}
		a := s.ask(ctx, in, p, min(s.opt.Probe.Timeout, left), nil)
		if p.isGone() {
			return errEnded
		}
		if a.ok {
			return nil
		}
		last = a.words
		select {
		case <-p.gone:
			return errEnded
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(min(pause, time.Until(deadline))):
		}
		pause = min(pause*3/2, 200*time.Millisecond)
	}
}
