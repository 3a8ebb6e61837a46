package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/smartcloudops/gate/pipeline/target"
)

// keep keeps one instance running until it is told to stop, which it does, or
// until Detach.
func (s *Supervisor) keep(ctx context.Context, in *instance) {
	for ctx.Err() == nil {
		if in.proc == nil {
			s.restart(ctx, in)
		} else {
			s.follow(ctx, in)
		}
	}
	if errors.Is(context.Cause(ctx), errStop) {
		s.finish(in)
	}
}

// follow stays with the process of in to its end. A process that hangs, or does
// not get ready in time, is killed.
func (s *Supervisor) follow(ctx context.Context, in *instance) {
	var err error
	if in.readyAt.IsZero() { // adopted while it was starting
		if err = s.awaitReady(ctx, in); err == nil {
			s.markReady(in)
		}
	}
	if err == nil {
		err = s.watchOver(ctx, in)
	}
	if ctx.Err() != nil {
		return
	}
	s.withdraw(in)
	s.failed(in, err)
	s.end(in, 0, false)
	s.saveOrWarn()
}

// restart waits out the backoff and launches anew.
func (s *Supervisor) restart(ctx context.Context, in *instance) {
	select {
	case <-s.begun:
	case <-ctx.Done():
		return
	}
	s.mu.Lock()
	wait := s.opt.Backoff.after(in.rec.Failures)
	s.mu.Unlock()
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return
	}
	err := s.launch(ctx, in)
	s.doneReplacing(in)
	if err == nil {
		s.markReady(in)
		return
	}
	if ctx.Err() != nil {
		return
	}
	s.failed(in, err)
	s.end(in, abandonGrace, false)
	s.saveOrWarn()
}

// failed counts the end of the process of in, or why there is none, in words.
func (s *Supervisor) failed(in *instance, err error) {
	reason := err.Error()
	if se := new(StartError); errors.As(err, &se) {
		reason = se.Reason
	} else if errors.Is(err, errEnded) {
		reason = in.proc.exitReason()
	}
	s.endedUnasked(in, reason, in.proc != nil)
}

func (b Backoff) after(failures int) time.Duration {
	d := b.Min
	for i := 1; i < failures && d < b.Max; i++ {
		d *= 2
	}
	return min(d, b.Max)
}

// watchOver probes a running instance until its process ends (errEnded), hangs
// (an error that says how), or ctx ends.
func (s *Supervisor) watchOver(ctx context.Context, in *instance) error {
	p := in.proc
	tick := time.NewTicker(s.opt.Probe.Interval)
	defer tick.Stop()
	var misses, silent int
	first := make(chan struct{})
	if in.adopted {
		close(first)
	}
	for {
		select {
		case <-p.gone:
			return errEnded
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-first:
			first = nil
		case <-tick.C:
		}
		began := time.Now()
		a := s.ask(ctx, in, p, s.opt.Probe.Timeout, func() {
			if s.othersAnswer(in, began) {
				s.markUnready(in, fmt.Sprintf("GET %s: no answer within %s, while others answer", in.rec.ReadyPath, s.opt.Probe.Silent))
			}
		})
		if p.isGone() || ctx.Err() != nil {
			continue
		}
		if a.ok {
			misses, silent = 0, 0
			s.markReady(in)
			continue
		}
		misses++
		if silent++; a.answered {
			silent = 0
		}
		if misses < s.opt.Probe.Misses {
			continue
		}
		why := fmt.Sprintf("GET %s missed %d times in a row: %s", in.rec.ReadyPath, misses, a.words)
		s.markUnready(in, why)
		if silent >= s.opt.Probe.Misses && s.mayReplace(in) {
			return errors.New("hung and killed: " + why)
		}
	}
}

// othersAnswer says whether an instance that can stand in has answered since.
func (s *Supervisor) othersAnswer(in *instance, since time.Time) bool {
	s.mu.Lock()
	var well []string
	for id, other := range s.instances {
		if other != in && other.ready && other.answered.After(since) && (s.opt.StandsIn != nil || other.rec.Release == in.rec.Release) {
			well = append(well, id)
		}
	}
	s.mu.Unlock()
	return slices.ContainsFunc(well, func(id string) bool { return s.opt.StandsIn == nil || s.opt.StandsIn(in.rec.ID, id) })
}

// mayReplace lets one hung instance at a time be replaced: when all are slow for
// a common reason, killing all of them would turn slow into down.
func (s *Supervisor) mayReplace(in *instance) bool {
	select {
	case <-s.begun:
	default:
		return false
	}
	select {
	case s.replacing <- struct{}{}:
		in.replacing = true
		return true
	default:
		return false
	}
}

func (s *Supervisor) doneReplacing(in *instance) {
	if in.replacing {
		in.replacing = false
		<-s.replacing
	}
}

type answer struct {
	ok, answered bool
	words        string
}

// ask sends one readiness request. It returns early when p ends. Overdue is called
// when there is no answer for a while; nil: nobody wants to know.
func (s *Supervisor) ask(ctx context.Context, in *instance, p *process, timeout time.Duration, overdue func()) answer {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	res := make(chan answer, 1)
	go func() { res <- get(ctx, "http://"+address(in.rec.Port)+in.rec.ReadyPath, timeout) }()
	var late <-chan time.Time
	if overdue != nil {
		t := time.NewTimer(s.opt.Probe.Silent)
		defer t.Stop()
		late = t.C
	}
	for {
		select {
		case a := <-res:
			return a
		case <-p.gone:
			cancel()
			return <-res
		case <-late:
			late = nil
			overdue()
		}
	}
}

// Every probe is a connection of its own: a kept one could be served by a
// process that no longer accepts any.
var prober = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func get(ctx context.Context, url string, timeout time.Duration) answer {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return answer{words: err.Error()}
	}
	req.Header.Set("User-Agent", "gate-readiness")
	resp, err := prober.Do(req)
	if errors.Is(err, context.DeadlineExceeded) {
		return answer{words: fmt.Sprintf("no answer within %s", timeout)}
	}
	if err != nil {
		return answer{words: errors.Unwrap(err).Error()}
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
	resp.Body.Close()
	return answer{ok: resp.StatusCode == http.StatusOK, answered: true, words: "answered " + resp.Status}
}

func (s *Supervisor) markReady(in *instance) {
	s.mu.Lock()
	was := in.ready
	in.answered = time.Now()
	if !was && !in.stopping && !in.proc.isGone() {
		in.ready, in.health, in.reason = true, target.Healthy, ""
		in.rec.Readied, in.rec.Fit = true, true
		if in.readyAt.IsZero() {
			in.readyAt = s.opt.Now()
		}
	}
	s.mu.Unlock()
	if !was {
		s.changed()
		s.saveOrWarn()
	}
}

func (s *Supervisor) markUnready(in *instance, why string) {
	s.mu.Lock()
	was := in.ready
	if !in.stopping {
		in.ready, in.health, in.reason = false, target.Degraded, why
		in.rec.Fit = false
	}
	s.mu.Unlock()
	if was {
		s.opt.Log.Warn("instance gets no traffic", "instance", in.rec.ID, "reason", why)
		s.changed()
		s.saveOrWarn()
	}
}

// withdraw takes in from the traffic before anything slow is done about it.
func (s *Supervisor) withdraw(in *instance) {
	s.mu.Lock()
	in.ready, in.health = false, target.Degraded
	s.mu.Unlock()
	s.changed()
}

// endedUnasked notes an end that nobody asked for. counts: there was a process.
func (s *Supervisor) endedUnasked(in *instance, reason string, counts bool) {
	tail, _ := s.logs.tail(in.rec.ID, in.rec.Generation, tailLines)
	s.mu.Lock()
	if !in.readyAt.IsZero() && s.opt.Now().Sub(in.readyAt) >= s.opt.Backoff.Stable {
		in.rec.Failures = 0
	}
	in.rec.Failures++
	in.rec.Fit, in.rec.LastExit = false, reason
	in.ready, in.readyAt, in.health, in.reason, in.lastLog = false, time.Time{}, target.Degraded, reason, tail
	if counts {
		in.rec.Restarts++
		s.restarts++
		s.exits = append(s.exits, in.view())
	}
	wait := s.opt.Backoff.after(in.rec.Failures)
	s.mu.Unlock()
	s.changed()
	s.opt.Log.Warn("instance ended unasked", "instance", in.rec.ID, "release", in.rec.Release, "reason", reason, "restart_in", wait)
}
