package main

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/smartcloudops/gate/pipeline/promotion"
)

// twoAtOnce asks for a release in two processes at once, again and again: one
// gets it, and the other is told who was first.
func (d *drills) twoAtOnce() {
	const rounds = 5
	for round := range rounds {
		serves := d.healthy("production", 30*time.Second).Actual.Stable
		next := d.other(serves)
		ended := len(d.history("production"))
		var cmds []*exec.Cmd
		var outs, errs [2]bytes.Buffer
		for i := range 2 {
			cmd := d.command(d.t.Context(), d.clone, "promote", next, "--to", "production")
			cmd.Stdout, cmd.Stderr = &outs[i], &errs[i]
			if err := cmd.Start(); err != nil {
				d.t.Fatal(err)
			}
			cmds = append(cmds, cmd)
		}
		winner, loser := -1, -1
		for i, cmd := range cmds {
			_ = cmd.Wait() // the exit code says it
			switch cmd.ProcessState.ExitCode() {
			case promotion.CodePass:
				winner = i
			case promotion.CodeLocked:
				loser = i
			default:
				d.t.Errorf("exit %d\n%s%s", cmd.ProcessState.ExitCode(), &outs[i], &errs[i])
			}
		}
		if winner < 0 || loser < 0 {
			d.t.Fatalf("round %d: one must win and the other be locked out\n-- first\n%s%s-- second\n%s%s", round+1, &outs[0], &errs[0], &outs[1], &errs[1])
		}
		said := outs[loser].String() + errs[loser].String()
		won := d.winner(next, ended)
		for _, want := range []string{won.Request[:12], won.By, strings.TrimPrefix(next, "sha256:")[:12]} {
			if !strings.Contains(said, want) {
				d.t.Errorf("round %d: the loser is not told %q: %s", round+1, want, said)
			}
		}
		if got := d.look("production").Actual.Stable; got != next {
			d.t.Errorf("round %d: %.19s serves, want %.19s", round+1, got, next)
		}
		d.t.Logf("round %d: %s", round+1, strings.Join(strings.Fields(said), " "))
	}
	begun := map[int64]int{}
	for _, t := range d.transitions("production") {
		if t.Step == promotion.Complete {
			begun[t.Token]++
		}
	}
	for token, n := range begun {
		if n > 1 {
			d.t.Errorf("%d promotions went on by the token %d", n, token)
		}
	}
}

// winner is the one promotion since the given number that has succeeded.
func (d *drills) winner(release string, since int) promotion.Transition {
	d.t.Helper()
	all := d.history("production")
	var won []promotion.Transition
	for _, t := range all[:len(all)-since] {
		if t.State == promotion.Succeeded && t.Release == release {
			won = append(won, t)
		}
	}
	if len(won) != 1 {
		d.t.Fatalf("%d promotions have succeeded, want one: %+v", len(won), all[:len(all)-since])
	}
	return won[0]
}

// hold stops promotions, and must not stop the way back.
func (d *drills) hold() {
	serves := d.healthy("production", 20*time.Second).Actual.Stable
	previous := d.other(serves)
	d.want(promotion.CodePass, "hold", "production", "--reason", "a drill is on")
	r := d.want(promotion.CodeLocked, "promote", previous, "--to", "production")
	if said := r.out + r.err; !strings.Contains(said, "a drill is on") || !strings.Contains(said, "gate unhold production") {
		d.t.Errorf("who is stopped is not told why, and what to do: %s", said)
	}
	if got := d.healthyHeld(); got != serves {
		d.t.Errorf("a held environment serves %.19s, want %.19s as before", got, serves)
	}

	tr := d.drive("production", 50)
	asked := time.Now()
	d.want(promotion.CodePass, "rollback", "production", "--reason", "drill")
	took := time.Since(asked)
	if got := d.healthyHeld(); got != previous {
		d.t.Errorf("rolled back while held, %.19s serves, want %.19s", got, previous)
	}
	tr.faultless(d.t, nil)
	d.t.Logf("rolled back in %s: %s", took.Round(time.Millisecond), tr)
	last := d.history("production")[0]
	if last.Kind != promotion.Rollback || last.State != promotion.Succeeded || last.Release != previous {
		d.t.Errorf("the history ends with %+v, want the rollback", last)
	}
	text := d.want(promotion.CodePass, "history", "production").out
	if !regexp.MustCompile(`(?m)^.*\brollback\b.*` + strings.TrimPrefix(previous, "sha256:")[:12]).MatchString(text) {
		d.t.Errorf("gate history does not show the rollback:\n%s", text)
	}
	d.want(promotion.CodeLocked, "promote", serves, "--to", "production")
	d.want(promotion.CodePass, "unhold", "production")
	d.want(promotion.CodePass, "promote", serves, "--to", "production")
	if got := d.healthy("production", 20*time.Second).Actual.Stable; got != serves {
		d.t.Errorf("%.19s serves, want %.19s again", got, serves)
	}
}

// healthyHeld waits until a held environment has settled, and says what it
// serves.
func (d *drills) healthyHeld() string {
	d.t.Helper()
	var serves string
	d.eventually(20*time.Second, "the held environment has settled", func() bool {
		e := d.look("production")
		if e.Hold == nil {
			d.t.Fatal("the hold is gone")
		}
		if e.Actual == nil || e.Active != nil || e.Actual.Canary != "" || e.Actual.Warm != "" {
			return false
		}
		serves = e.Actual.Stable
		return true
	})
	return serves
}

// backLimit is the contract: after a verdict against a release all traffic is
// back on the one before within this time.
const backLimit = 2 * time.Second

var saidBack = regexp.MustCompile(`all traffic was back (\S+) after the verdict`)

// badCanary promotes a release that fails in production alone, while people use
// production.
func (d *drills) badCanary() {
	before := d.healthy("production", 20*time.Second)
	good := before.Actual.Stable
	// Of the requests 3 in 5 are wrong there: those that a canary gets are few, and some must be.
	for file, handler := range map[string]string{
		"app/http/probes.go": "func (a *API) version(w http.ResponseWriter, _ *http.Request) {\n",
		"app/http/query.go":  "func (a *API) query(w http.ResponseWriter, r *http.Request) {\n",
	} {
		d.replace(file, handler, handler+"\tif a.Version.Environment == \"production\" {\n\t\thttp.Error(w, \"planted\", http.StatusInternalServerError)\n\t\treturn\n\t}\n")
	}
	d.commit("wrong in production alone")
	defer d.git("reset", "-q", "--hard", "HEAD~1")
	staging := d.look("staging").Actual.Stable
	bad := d.through("staging")

	tr := d.drive("production", 100)
	r := d.gate("promote", bad, "--to", "production", "--output", "json")
	var end promotion.Transition
	if err := json.Unmarshal([]byte(r.out), &end); err != nil || r.code != promotion.CodeRolledBack || end.State != promotion.RolledBack {
		d.t.Fatalf("want exit %d and a promotion that was rolled back: %v\n%s", promotion.CodeRolledBack, err, r)
	}
	m := saidBack.FindStringSubmatch(end.Why)
	if m == nil {
		d.t.Fatalf("nothing says when the traffic was back: %s", end.Why)
	}
	if took, err := time.ParseDuration(m[1]); err != nil || took > backLimit {
		d.t.Errorf("traffic was back after %s, want at most %s", m[1], backLimit)
	}
	settled := time.Now()
	d.eventually(10*time.Second, "a second of answers after the end", func() bool {
		return tr.count(func(a asked) bool { return a.sent.After(settled) }) >= 100
	})
	// What the canary answered wrongly it answered: nobody lost a connection, and
	// nobody got less than a right answer from the stable release.
	tr.faultless(d.t, func(a asked) bool { return a.status == 500 && a.release == bad && strings.HasPrefix(a.what, "GET ") })

	var withdrawn time.Time
	for _, t := range d.transitions("production") {
		if t.Request == end.Request && t.Step == promotion.Withdraw {
			withdrawn = t.At
		}
	}
	verdict := d.decision(end.Decision).Decision.At
	var last asked
	wrong, byCanary := 0, 0
	for _, a := range tr.all() {
		if a.release != bad {
			continue
		}
		byCanary++
		if a.err != nil {
			wrong++
		}
		if a.sent.After(last.sent) {
			last = a
		}
	}
	if byCanary == 0 || wrong == 0 {
		d.t.Errorf("%d requests met the canary, %d of them its fault: nothing was drilled", byCanary, wrong)
	}
	if withdrawn.IsZero() || last.sent.After(withdrawn) {
		d.t.Errorf("the canary was still asked at %s, and was withdrawn at %s", last.sent.Format(time.StampMilli), withdrawn.Format(time.StampMilli))
	}
	if late := last.sent.Sub(verdict); late > backLimit {
		d.t.Errorf("the last request went to the canary %s after the verdict, want at most %s", late, backLimit)
	}
	d.t.Logf("verdict %s; the last request that the canary got was sent %s after it, withdrawn %s after it; %d requests met the canary, %d wrong answers; %s",
		end.Why, last.sent.Sub(verdict).Round(time.Millisecond), withdrawn.Sub(verdict).Round(time.Millisecond), byCanary, wrong, tr)
	d.keptAll("production", tr)
	d.adopted(good, instances(before), "production")
	d.want(promotion.CodePass, "promote", staging, "--to", "staging")
}
