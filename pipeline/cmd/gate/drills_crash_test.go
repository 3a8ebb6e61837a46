package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/smartcloudops/gate/pipeline/promotion"
)

// comeback is the contract: a restarted daemon serves again within this time.
const comeback = 5 * time.Second

// daemonKilled kills the daemon, which is the load balancer too, under load. The
// next one serves at once through the instances that have run on.
func (d *drills) daemonKilled() {
	before := d.healthy("production", 20*time.Second)
	daemon, pm := d.daemon("production"), d.postmaster("production")
	tr := d.drive("production", 100)
	killed := time.Now()
	d.kill(daemon)
	for id, pid := range instances(before) {
		if !running(pid) {
			d.t.Errorf("instance %s died with the daemon", id)
		}
	}
	started := time.Now()
	d.serve("production")
	back := d.answersAgain(tr, started, before.Actual.Stable)
	d.t.Logf("the same release served again %s after the daemon's start, %s after its kill", back.Sub(started).Round(time.Millisecond), back.Sub(killed).Round(time.Millisecond))
	if back.Sub(started) > comeback {
		d.t.Errorf("it served again %s after the start, want at most %s", back.Sub(started), comeback)
	}
	d.adopted(before.Actual.Stable, instances(before), "production")
	if now := d.look("production").Actual; now.Restarts != before.Actual.Restarts {
		d.t.Errorf("%d instances were restarted", now.Restarts-before.Actual.Restarts)
	}
	if now := d.postmaster("production"); now != pm {
		d.t.Errorf("PostgreSQL is process %d, and was %d", now, pm)
	}
	// What was under way is lost, and a connection that was open is noticed to be
	// no more when it is used. Whoever connects waits for the next daemon.
	lost := func(a asked) bool {
		return a.done.After(killed) && a.sent.Before(back) && a.status == 0 && !errors.Is(a.err, syscall.ECONNREFUSED)
	}
	if n := tr.count(func(a asked) bool { return a.err != nil && lost(a) }); n > trafficClients {
		d.t.Errorf("%d requests were lost, and there are %d connections", n, trafficClients)
	}
	tr.faultless(d.t, lost)
	d.t.Log(tr)
	d.keptAll("production", tr)
}

// answersAgain is when the first request that was sent after the given time was
// answered as it should be, by the release.
func (d *drills) answersAgain(tr *traffic, since time.Time, release string) time.Time {
	d.t.Helper()
	var first time.Time
	d.eventually(60*time.Second, "an answer of the release", func() bool {
		return tr.count(func(a asked) bool {
			if a.err != nil || a.sent.Before(since) || a.release != release {
				return false
			}
			if first.IsZero() || a.done.Before(first) {
				first = a.done
			}
			return true
		}) > 0
	})
	return first
}

// postmasterKilled kills PostgreSQL's server process under load, first alone and
// then together with the daemon, which is started again at once.
func (d *drills) postmasterKilled() {
	before := d.healthy("production", 20*time.Second)
	for _, alone := range []bool{true, false} {
		tr := d.drive("production", 100)
		pm, daemon := d.postmaster("production"), d.daemon("production")
		killed := time.Now()
		if !alone {
			d.kill(daemon)
		}
		d.kill(pm)
		if !alone {
			d.serve("production")
		}
		var written time.Time
		d.eventually(60*time.Second, "a write is acknowledged again", func() bool {
			return tr.count(func(a asked) bool {
				ok := a.err == nil && a.sent.After(killed) && strings.HasPrefix(a.what, "POST ")
				if ok && (written.IsZero() || a.done.Before(written)) {
					written = a.done
				}
				return ok
			}) > 0
		})
		d.adopted(before.Actual.Stable, instances(before), "production")
		if now := d.postmaster("production"); now == pm || now == 0 {
			d.t.Errorf("PostgreSQL is process %d after %d was killed", now, pm)
		}
		tr.faultless(d.t, func(a asked) bool { return a.done.After(killed) && a.sent.Before(written.Add(2*time.Second)) })
		d.t.Logf("killed (daemon too: %v); a write was acknowledged again after %s; %s", !alone, written.Sub(killed).Round(time.Millisecond), tr)
		d.keptAll("production", tr)
	}
}

// killedPromotion kills the daemon at each step of a promotion. The next one
// finishes it or undoes it, and says so.
func (d *drills) killedPromotion() {
	for _, step := range []promotion.Step{promotion.Begin, promotion.Migrate, promotion.Canary, promotion.Analyse, promotion.Complete, promotion.Soak} {
		before := d.healthy("production", 30*time.Second)
		old, next := before.Actual.Stable, d.other(before.Actual.Stable)
		tr := d.drive("production", 50)
		daemon := d.daemon("production")
		last := d.history("production")[0].Request

		s := d.session()
		cmd := d.command(d.t.Context(), d.clone, "promote", next, "--to", "production", "--output", "json")
		asker := make(chan result, 1)
		go func() { asker <- d.run(cmd) }()
		var request string
		d.eventually(30*time.Second, "the promotion reaches "+string(step), func() bool {
			v, err := s.journal.View(d.t.Context())
			if err != nil {
				d.t.Fatal(err)
			}
			ev := v.Environment("production")
			if a := ev.Active; a != nil {
				request = a.Request
				return ev.Reached == step
			}
			if n := len(ev.History); n > 0 && ev.History[n-1].Request != last {
				d.t.Fatalf("the promotion ended before %s was seen: %+v", step, ev.History[n-1])
			}
			return false
		})
		s.close()
		killed := time.Now()
		d.kill(daemon)
		started := time.Now()
		d.serve("production")
		d.eventually(30*time.Second, "the promotion has ended", func() bool { return d.history("production")[0].Request == request })
		end := d.history("production")[0]
		want := old
		switch end.State {
		case promotion.Succeeded:
			want = next
		case promotion.RolledBack, promotion.Aborted:
		default:
			d.t.Errorf("killed at %s, the promotion ended as %s: %s", step, end.State, end.Why)
		}
		after := d.healthy("production", 30*time.Second)
		if got := after.Actual; got.Stable != want || got.Canary != "" || got.Warm != "" {
			d.t.Errorf("killed at %s: %.19s serves beside canary %q and warm %q, want %.19s alone", step, got.Stable, got.Canary, got.Warm, want)
		}
		back := d.answersAgain(tr, started, want)
		d.t.Logf("killed at %-8s %s: %s; served again %s after the start", step, end.State, end.Why, back.Sub(started).Round(time.Millisecond))
		if back.Sub(started) > comeback {
			d.t.Errorf("killed at %s, it served again only after %s", step, back.Sub(started))
		}
		settled := time.Now()
		tr.faultless(d.t, func(a asked) bool {
			return a.done.After(killed) && a.sent.Before(settled) && a.status == 0 && a.sent.Before(back)
		})
		d.keptAll("production", tr)
		r := <-asker
		var told promotion.Transition
		if json.Unmarshal([]byte(r.out), &told) == nil && told.Request == request && r.code != end.Code {
			d.t.Errorf("the asker was told exit %d, and the record says %d", r.code, end.Code)
		}
		d.want(promotion.CodePass, "ledger", "verify")
		d.noOrphans()
	}
}

// interrupted ends whoever asks, and then the daemon, in the middle of a
// promotion, as Ctrl-C and a service manager do: each says what becomes of it.
func (d *drills) interrupted() {
	analysing := func(release string) (cmd *exec.Cmd, said *bytes.Buffer) {
		said = new(bytes.Buffer)
		cmd = d.command(d.t.Context(), d.clone, "promote", release, "--to", "production")
		cmd.Stdout, cmd.Stderr = said, said
		if err := cmd.Start(); err != nil {
			d.t.Fatal(err)
		}
		d.eventually(30*time.Second, "the canary is looked at", func() bool {
			a := d.look("production").Active
			return a != nil && a.Step == promotion.Analyse
		})
		return cmd, said
	}
	old := d.healthy("production", 30*time.Second).Actual.Stable
	next := d.other(old)
	tr := d.drive("production", 50)

	cmd, said := analysing(next)
	_ = cmd.Process.Signal(os.Interrupt)
	_ = cmd.Wait() // the exit code says it
	if code := cmd.ProcessState.ExitCode(); code != promotion.CodeInternal || !strings.Contains(said.String(), "the daemon of production goes on with it") {
		d.t.Errorf("stopped by Ctrl-C: exit %d: %s", code, said)
	}
	r := d.want(promotion.CodePass, "resume", "production")
	if got := d.healthy("production", 30*time.Second).Actual.Stable; got != next || !strings.Contains(r.err, "was at analyse") {
		d.t.Errorf("%.19s serves, want %.19s: %s", got, next, r)
	}

	daemon := d.daemon("production")
	cmd, _ = analysing(old)
	if err := syscall.Kill(daemon, syscall.SIGTERM); err != nil {
		d.t.Fatal(err)
	}
	d.eventually(30*time.Second, "the daemon has ended", func() bool { return !running(daemon) })
	r = d.gate("resume", "production")
	if r.code == promotion.CodePass || !strings.Contains(r.err, "it is undone") || !strings.Contains(r.out, "ask again") {
		d.t.Errorf("resumed after the daemon was stopped: %s", r)
	}
	_ = cmd.Wait() // the record says how it ended
	if got := d.healthy("production", 30*time.Second).Actual.Stable; got != next {
		d.t.Errorf("%.19s serves, want %.19s as before", got, next)
	}
	if r = d.want(promotion.CodePass, "resume", "production"); !strings.Contains(r.out, "nothing is under way") {
		d.t.Errorf("with nothing to resume: %s", r)
	}
	tr.end()
	d.t.Log(tr)
	d.want(promotion.CodePass, "ledger", "verify")
	d.noOrphans()
}

// downAndUp stops everything and starts it again: what was desired serves, and
// what was stored is there.
func (d *drills) downAndUp() {
	before := map[string]string{}
	loads := map[string]*traffic{}
	for environment := range d.ports {
		before[environment] = d.healthy(environment, 20*time.Second).Actual.Stable
		loads[environment] = d.drive(environment, 50)
		tr := loads[environment]
		d.eventually(20*time.Second, "some samples are stored", func() bool { return tr.count(func(a asked) bool { return a.err == nil }) >= 50 })
		tr.faultless(d.t, nil)
	}
	for environment := range d.ports {
		d.want(promotion.CodePass, "down", environment)
	}
	d.eventually(15*time.Second, "no process is left", func() bool { return len(d.processes()) == 0 })
	for environment := range d.ports {
		if e := d.look(environment); e.Actual != nil {
			d.t.Errorf("%s is down and says %+v", environment, e.Actual)
		}
	}
	d.want(promotion.CodePass, "down", "staging") // again is no mistake
	if left := d.processes(); len(left) > 0 {
		d.t.Errorf("gate down left %v", left)
	}

	ended := len(d.history("production"))
	d.serve("production")
	if release := d.through("staging"); release != before["staging"] {
		d.t.Fatalf("what is checked out is %.19s, and not what staging served, %.19s", release, before["staging"])
	}
	for environment, release := range before {
		after := d.healthy(environment, 30*time.Second)
		if after.Actual.Stable != release {
			d.t.Errorf("%s came back with %.19s, and served %.19s", environment, after.Actual.Stable, release)
		}
		d.keptAll(environment, loads[environment])
	}
	if n := len(d.history("production")); n != ended {
		d.t.Errorf("coming back was recorded as %d promotions", n-ended)
	}
}
