package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/report"
)

// host is a machine that serves an environment: a clone of its own, a state
// directory of its own, and an account at GitHub.
type host struct {
	*world
	environment string
	log         string
	daemon      *exec.Cmd
	ended       chan struct{}
}

func (r *rehearsal) host(environment string) *host {
	r.t.Helper()
	if h := r.hosts[environment]; h != nil {
		return h
	}
	name := environment + "-machine"
	w := *r.world
	w.clone, w.state, w.env = filepath.Join(r.root, name, "clone"), filepath.Join(r.root, name), nil
	for _, kv := range r.env {
		if !strings.HasPrefix(kv, "GATE_STATE=") && !strings.HasPrefix(kv, "GIT_ASKPASS=") {
			w.env = append(w.env, kv)
		}
	}
	w.env = append(append(w.env, "GATE_STATE="+w.state), r.actions.Credentials(name)...)
	r.git("clone", "-q", r.bare, w.clone)
	h := &host{world: &w, environment: environment, log: filepath.Join(w.state, "serve.log")}
	r.hosts[environment] = h
	r.t.Cleanup(func() {
		h.stop()
		if r.t.Failed() {
			r.t.Logf("end of the log of %s:\n%s", environment, h.said(6000))
		}
	})
	return h
}

// said is the end of what its daemon has said.
func (h *host) said(most int) string {
	b, err := os.ReadFile(h.log)
	if err != nil {
		h.t.Error(err)
	}
	return string(b[max(0, len(b)-most):])
}

// serve starts the daemon.
func (r *rehearsal) serve(environment string) {
	r.t.Helper()
	h := r.host(environment)
	h.daemon = h.command(context.Background(), h.clone, "serve", environment, "--sync", "1s")
	log, err := os.OpenFile(h.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		r.t.Fatal(err)
	}
	defer log.Close()
	h.daemon.Stdout, h.daemon.Stderr = log, log
	if err := h.daemon.Start(); err != nil {
		r.t.Fatal(err)
	}
	cmd, ended := h.daemon, make(chan struct{})
	h.ended = ended
	go func() { _ = cmd.Wait(); close(ended) }()
	r.eventually(time.Minute, "the daemon of "+environment+" answers", func() bool {
		select {
		case <-ended:
			r.t.Fatalf("gate serve %s ended:\n%s", environment, h.said(4000))
		default:
		}
		return h.answers(environment)
	})
}

// stop takes the environment down, and waits for its daemon.
func (h *host) stop() {
	if h.daemon == nil {
		return
	}
	h.gate("down", h.environment)
	if err := h.daemon.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		h.t.Error(err)
	}
	<-h.ended
	h.daemon = nil
}

// look is what gate status says on the machine that serves the environment.
func (r *rehearsal) look(environment string) report.Environment {
	r.t.Helper()
	got := r.hosts[environment].want(promotion.CodePass, "status", environment, "--output", "json")
	all := parsed[[]report.Environment](r.t, got)
	if len(all) != 1 {
		r.t.Fatalf("status of %s:\n%s", environment, got)
	}
	return all[0]
}

// settled waits until the release serves and nothing is under way.
func (r *rehearsal) settled(environment string, want edition) {
	r.t.Helper()
	var e report.Environment
	defer func() {
		if r.t.Failed() {
			r.t.Logf("%s: %+v", environment, e)
		}
	}()
	r.eventually(time.Minute, environment+" serves "+want.digest, func() bool {
		e = r.look(environment)
		return e.Actual != nil && e.Actual.Stable == want.digest && e.Actual.Canary == "" && e.Active == nil
	})
}
