package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/report"
	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/pipeline/target/local"
)

// drills is a world in which two releases have been through production: either
// may be promoted again, since their change into each other was measured both
// ways.
type drills struct {
	*world
	a, b     string // releases; both environments serve a to begin with
	detached *sync.WaitGroup
}

// TestDrills breaks a pipeline that runs, in the ways that machines and people
// do. The drills share one world, and each leaves it healthy.
func TestDrills(t *testing.T) {
	drill(t)
	detached := new(sync.WaitGroup)
	t.Cleanup(detached.Wait) // after the world's end, which ends them
	d := &drills{world: newWorld(t), detached: detached}
	began := time.Now()
	d.replace("environments/production.yaml", "soak: 2s", "soak: 1s", "synthetic: 30", "synthetic: 60")
	d.commit("a")
	d.a = d.through("production")
	d.edition("b")
	d.b = d.through("production")
	if d.a == d.b {
		t.Fatal("two commits of different code are one release")
	}
	d.git("reset", "-q", "--hard", "HEAD~1")
	if again := d.through("production"); again != d.a {
		t.Fatalf("the first commit is now release %s, and was %s", again, d.a)
	}
	t.Logf("two releases are through production, both ways, after %s", time.Since(began).Round(100*time.Millisecond))
	for _, drill := range []struct {
		name string
		run  func(*drills)
	}{
		{"twenty updates", (*drills).updates},
		{"killed in an update", (*drills).killedUpdate},
		{"take-over", (*drills).takeOver},
		{"daemon killed", (*drills).daemonKilled},
		{"postmaster killed", (*drills).postmasterKilled},
		{"two promotions at once", (*drills).twoAtOnce},
		{"hold", (*drills).hold},
		{"killed in a promotion", (*drills).killedPromotion},
		{"interrupted and resumed", (*drills).interrupted},
		{"a canary that fails", (*drills).badCanary},
		{"down and up", (*drills).downAndUp},
	} {
		t.Run(drill.name, func(t *testing.T) {
			d.t = t
			began := time.Now()
			drill.run(d)
			d.noOrphans()
			t.Logf("the drill took %s", time.Since(began).Round(100*time.Millisecond))
		})
	}
	d.t = t
	d.want(promotion.CodePass, "ledger", "verify")
}

// through takes what is checked out into the environment and returns its
// release.
func (d *drills) through(environment string) string {
	d.t.Helper()
	return d.runs(promotion.CodePass, "--through", environment).Release
}

// edition commits code that does the same under another name, which makes it
// another release.
func (d *drills) edition(name string) {
	d.t.Helper()
	d.write("app/http/edition.go", fmt.Sprintf("package httpapi\n\nconst edition = %q\n", name))
	d.replace("app/http/probes.go", `"alive"}`, `"alive", "edition": edition}`)
	d.commit(name)
}

// eventually polls, and fails when the condition has not come in time.
func (d *drills) eventually(within time.Duration, what string, ok func() bool) {
	d.t.Helper()
	deadline := time.Now().Add(within)
	for !ok() {
		if time.Now().After(deadline) {
			d.t.Fatalf("not within %s: %s", within, what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// look is what gate status says.
func (d *drills) look(environment string) report.Environment {
	d.t.Helper()
	r := d.want(promotion.CodePass, "status", environment, "--output", "json")
	var all []report.Environment
	if err := json.Unmarshal([]byte(r.out), &all); err != nil || len(all) != 1 {
		d.t.Fatalf("status of %s: %v\n%s", environment, err, r)
	}
	return all[0]
}

// healthy waits until gate status calls the environment healthy.
func (d *drills) healthy(environment string, within time.Duration) report.Environment {
	d.t.Helper()
	var e report.Environment
	defer func() {
		if d.t.Failed() && e.Health() != target.Healthy {
			d.t.Logf("%s: %s, desired %.19s: %+v", environment, e.Health(), e.Desired, e.Actual)
		}
	}()
	d.eventually(within, environment+" is healthy", func() bool {
		e = d.look(environment)
		return e.Health() == target.Healthy
	})
	return e
}

// other is the release of the two that does not serve.
func (d *drills) other(serves string) string {
	if serves == d.a {
		return d.b
	}
	return d.a
}

func (d *drills) client(environment string) *local.Client {
	return local.NewClient(local.Paths{State: d.state, Environment: environment})
}

func (d *drills) daemon(environment string) int {
	d.t.Helper()
	pid, err := d.client(environment).PID(d.t.Context())
	if err != nil {
		d.t.Fatalf("daemon of %s: %v", environment, err)
	}
	return pid
}

// postmaster is the server process of the environment's PostgreSQL.
func (d *drills) postmaster(environment string) int {
	b, err := os.ReadFile(filepath.Join(d.state, "env", environment, "postgres", "data", "postmaster.pid"))
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || !running(pid) {
		return 0
	}
	return pid
}

// running says whether pid is a process that has not ended.
func running(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && len(b) > 0
}

// kill is kill -9, and returns once the process is no more.
func (d *drills) kill(pid int) {
	d.t.Helper()
	if pid <= 1 {
		d.t.Fatalf("there is no process %d to kill", pid)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		d.t.Fatalf("kill -9 %d: %v", pid, err)
	}
	d.eventually(5*time.Second, fmt.Sprintf("process %d is gone", pid), func() bool { return !running(pid) })
}

// serve starts gate serve as a service manager does, and returns at once.
func (d *drills) serve(environment string, flags ...string) *exec.Cmd {
	d.t.Helper()
	cmd := d.command(context.Background(), d.clone, append([]string{"serve", environment}, flags...)...)
	log, err := os.OpenFile(filepath.Join(d.state, "env", environment, "daemon.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.detached.Go(func() { _ = cmd.Wait() })
	return cmd
}

// instances are the pids by id.
func instances(e report.Environment) map[string]int {
	out := map[string]int{}
	for _, in := range e.Actual.Instances {
		out[in.ID] = in.PID
	}
	return out
}

// noOrphans waits until everything that belongs to the world is what gate
// status knows: instances, the daemons and their PostgreSQL.
func (d *drills) noOrphans() {
	d.t.Helper()
	var left map[int]string
	defer func() {
		for pid, cmd := range left {
			d.t.Logf("nobody knows process %d: %s", pid, cmd)
		}
	}()
	d.eventually(20*time.Second, "no process that nobody knows", func() bool {
		left = d.strangers()
		return len(left) == 0
	})
}

// strangers are the world's processes that no daemon answers for.
func (d *drills) strangers() map[int]string {
	d.t.Helper()
	known, parents := map[int]bool{}, map[int]bool{os.Getpid(): true}
	for environment := range d.ports {
		e := d.look(environment)
		if e.Actual == nil {
			continue
		}
		for _, in := range e.Actual.Instances {
			known[in.PID] = in.Role == "stable" || in.Role == "canary" || in.Role == "baseline" || in.Role == "warm"
		}
		pid, err := d.client(environment).PID(d.t.Context())
		if err != nil {
			continue
		}
		known[pid], parents[pid] = true, true
		processes, err := d.client(environment).Processes(d.t.Context())
		if err != nil {
			continue
		}
		for _, p := range processes {
			known[p.PID] = known[p.PID] || p.Role == "holder"
		}
		if pm := d.postmaster(environment); pm > 0 {
			known[pm] = true
		}
	}
	found := d.processes()
	for pid := range found {
		name, parent := parentage(pid)
		// PostgreSQL's own children, and what reads the ledger or keeps what a
		// database writes for a daemon.
		if known[pid] || name == "postgres" && known[parent] || (name == "git" || name == "pg_receivewal") && parents[parent] {
			delete(found, pid)
		}
	}
	return found
}

// parentage is the name and the parent of a process.
func parentage(pid int) (name string, parent int) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", 0
	}
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return "", 0
	}
	fields := strings.Fields(string(b[end+1:]))
	if len(fields) > 1 {
		parent, _ = strconv.Atoi(fields[1])
	}
	return string(b[open+1 : end]), parent
}

// transitions is everything that the ledger holds of promotions into the
// environment, oldest first.
func (d *drills) transitions(environment string) []promotion.Transition {
	d.t.Helper()
	var out []promotion.Transition
	d.records(promotion.TransitionType, func(predicate json.RawMessage) error {
		var t promotion.Transition
		err := json.Unmarshal(predicate, &t)
		if t.Environment == environment {
			out = append(out, t)
		}
		return err
	})
	return out
}

// decision finds a decision in the ledger.
func (d *drills) decision(id string) promotion.DecisionRecord {
	d.t.Helper()
	var found promotion.DecisionRecord
	d.records(promotion.DecisionType, func(predicate json.RawMessage) error {
		var r promotion.DecisionRecord
		err := json.Unmarshal(predicate, &r)
		if r.Decision.ID == id {
			found = r
		}
		return err
	})
	if id == "" || found.Decision.ID != id {
		d.t.Fatalf("decision %q is not in the ledger", id)
	}
	return found
}

func (d *drills) records(typ string, each func(json.RawMessage) error) {
	d.t.Helper()
	s := d.session()
	defer s.close()
	all, err := s.ledger.Entries(d.t.Context(), 0)
	if err != nil {
		d.t.Fatal(err)
	}
	for _, r := range all {
		if r.Statement.Type == typ {
			if err := each(r.Statement.Predicate); err != nil {
				d.t.Fatal(err)
			}
		}
	}
}

// history is what gate history says of promotions, newest first.
func (d *drills) history(environment string) []promotion.Transition {
	d.t.Helper()
	r := d.want(promotion.CodePass, "history", environment, "--output", "json")
	var all []promotion.Transition
	if err := json.Unmarshal([]byte(r.out), &all); err != nil || len(all) == 0 {
		d.t.Fatalf("history of %s: %v\n%s", environment, err, r)
	}
	return slices.DeleteFunc(all, func(t promotion.Transition) bool { return t.Request == "" }) // the daemon's own operations
}
