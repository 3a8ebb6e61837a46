package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/smartcloudops/gate/pipeline/ledger"
	"github.com/smartcloudops/gate/pipeline/promotion"
)

// travels are machines with a clone and a state directory each, that share the
// repository hub for code and ledger.
type travels struct {
	*world // the one that measures, and executes staging
	hub    string
}

func newTravels(t *testing.T, keys map[string]string) *travels {
	t.Helper()
	tr := &travels{world: emptyWorld(t)}
	tr.hub = filepath.Join(tr.root, "hub.git")
	tr.copyTree("testdata/foreign")
	tr.replace("environments/app.yaml", "think: 100ms", "think: 250ms", "closed: 3s", "closed: 4s", "open: 2s", "open: 4s")
	for _, e := range []string{"staging", "production"} {
		tr.append("environments/"+e+".yaml", "thresholds:\n  load: {min_seconds: 3, min_users: 5, min_requests: 20, success: 0.9, min_headroom: 0.5}\n  update: {min_requests: 50, slack_seconds: 0.5}\n"+shortDrills)
	}
	tr.usePorts()
	trust := "remote: " + tr.hub + "\nprotected: main\nkeys:\n"
	for _, name := range sortedNames(keys) {
		key, _, err := ledger.LoadOrCreateKey(filepath.Join(tr.stateOf(name), "keys", "ed25519"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(tr.stateOf(name), 0o711); err != nil {
			t.Fatal(err)
		}
		trust += fmt.Sprintf("  - {id: %q, name: %s, may: [%s]}\n", key.ID(), name, keys[name])
	}
	tr.write("environments/trust.yaml", trust)
	tr.git("init", "-q", "-b", "main")
	tr.commit("begin")
	tr.git("clone", "-q", "--bare", tr.clone, tr.hub)
	tr.git("remote", "add", "origin", tr.hub)
	tr.world = tr.at("ci", tr.clone)
	t.Cleanup(func() { tr.gate("down", "staging") })
	return tr
}

func sortedNames(keys map[string]string) (names []string) {
	for _, n := range []string{"ci", "laptop", "production"} {
		if _, ok := keys[n]; ok {
			names = append(names, n)
		}
	}
	return names
}

func (tr *travels) stateOf(name string) string { return filepath.Join(tr.root, "state-"+name) }

// at is a machine.
func (tr *travels) at(name, clone string) *world {
	w := *tr.world
	w.clone, w.state = clone, tr.stateOf(name)
	w.env = nil
	for _, kv := range tr.env {
		if !strings.HasPrefix(kv, "GATE_STATE=") {
			w.env = append(w.env, kv)
		}
	}
	w.env = append(w.env, "GATE_STATE="+w.state)
	return &w
}

// machine is one with a clone of its own, of what the hub has now.
func (tr *travels) machine(name string) *world {
	tr.t.Helper()
	w := tr.at(name, filepath.Join(tr.root, "clone-"+name))
	tr.git("clone", "-q", tr.hub, w.clone)
	return w
}

// daemon runs gate serve until the test ends.
func (w *world) daemon(environment string, args ...string) {
	w.t.Helper()
	log, err := os.Create(filepath.Join(w.root, "serve-"+environment+".log"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer log.Close()
	cmd := w.command(context.Background(), w.clone, append([]string{"serve", environment, "--sync", "1s"}, args...)...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	w.t.Cleanup(func() {
		w.gate("down", environment)
		<-ended
		if w.t.Failed() {
			b, _ := os.ReadFile(log.Name())
			w.t.Logf("end of the log of %s:\n%s", environment, b[max(0, len(b)-6000):])
		}
	})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if r := w.gate("status", environment, "-o", "json"); r.code == 0 && strings.Contains(r.out, `"actual"`) {
			return
		}
		select {
		case <-ended:
			b, _ := os.ReadFile(log.Name())
			w.t.Fatalf("gate serve %s ended:\n%s", environment, b)
		default:
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("the daemon of %s does not answer", environment)
		}
	}
}

// show is a file on a branch of the hub.
func (tr *travels) show(what string) string {
	tr.t.Helper()
	out, err := exec.Command("git", "--git-dir", tr.hub, "show", what).CombinedOutput()
	if err != nil {
		tr.t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// TestTheLedgerTravels: one machine measures, another one executes production
// from what it pulls, and a laptop asks for it.
func TestTheLedgerTravels(t *testing.T) {
	drill(t)
	tr := newTravels(t, map[string]string{
		"ci": "measure, decide, promote, daemon", "laptop": "promote", "production": "measure, decide, daemon",
	})
	ci, production := tr.world, tr.machine("production")
	tr.append("notes.go", "\n// edition is another one.\nconst edition = 2\n\nfunc init() { println(edition) }\n")
	tr.commit("what production's clone does not have")
	tr.git("push", "-q", "origin", "main")
	laptop := tr.machine("laptop")

	first := ci.runs(promotion.CodePass, "--through", "staging")
	ci.want(promotion.CodePass, "verify", "production", "--check", "config")
	production.daemon("production")

	t.Run("asked from elsewhere", func(t *testing.T) {
		r := laptop.want(promotion.CodePass, "promote", first.Release, "--to", "production", "--remote", "--timeout", "3m", "--reason", "first")
		if !strings.Contains(r.out, first.Release[7:19]) {
			t.Errorf("%s", r)
		}
		if got := production.serves("production"); got != first.Release {
			t.Errorf("production serves %s, want %s, built from the origin of its clone", got, first.Release)
		}
		if changed := production.git("status", "--porcelain"); changed != "" || production.git("rev-list", "--count", "--all") != "1" {
			t.Errorf("its clone was written to: %s", changed)
		}
		if !strings.Contains(tr.show("env/production:request.json"), first.Release) {
			t.Error("the request is not at the hub")
		}
	})
	t.Run("known from elsewhere", func(t *testing.T) {
		r := laptop.want(promotion.CodePass, "status", "production", "--remote")
		for _, want := range []string{first.Release[7:19], "in step with " + tr.hub, "this is what the ledger says"} {
			if !strings.Contains(r.out, want) {
				t.Errorf("lacks %q\n%s", want, r)
			}
		}
		all := parsed[[]struct {
			Desired string
			Sync    *ledger.LastSync
		}](t, laptop.want(promotion.CodePass, "status", "production", "--remote", "-o", "json"))
		if len(all) != 1 || all[0].Desired != first.Release || all[0].Sync == nil || all[0].Sync.OK.IsZero() || all[0].Sync.Error != "" {
			t.Errorf("%+v", all)
		}
		if r := laptop.want(promotion.CodePass, "history", "production", "--remote"); !strings.Contains(r.out, "succeeded") {
			t.Errorf("%s", r)
		}
	})
	t.Run("not executed here", func(t *testing.T) {
		for _, args := range [][]string{{"promote", first.Release, "--to", "production"}, {"rollback", "production", "--to", first.Release}, {"serve", "production"}} {
			r := ci.want(promotion.CodeLocked, args...)
			if !strings.Contains(r.err, "--remote") {
				t.Errorf("%s", r)
			}
		}
	})
	t.Run("held from elsewhere", func(t *testing.T) {
		tr.append("notes.go", "\nfunc init() { println(edition + 1) }\n")
		tr.commit("another one")
		other := parsed[outcome](t, ci.want(promotion.CodePass, "build", "-o", "json"))
		laptop.want(promotion.CodePass, "hold", "production", "--reason", "freeze", "--remote")
		r := laptop.want(promotion.CodeLocked, "promote", other.Release, "--to", "production", "--remote", "--timeout", "1m")
		if !strings.Contains(r.out+r.err, "freeze") {
			t.Errorf("%s", r)
		}
		laptop.want(promotion.CodePass, "unhold", "production", "--remote")
		// Whatever was refused, the branch says what runs.
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
			if message := tr.show("env/production"); strings.Contains(message, "was refused") && strings.Contains(message, "freeze") {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("never settled: %s", tr.show("env/production"))
			}
		}
		if r := production.gate("history", "production", "-o", "json"); strings.Count(r.out, `"request"`) != 2 {
			t.Errorf("what settles was taken for a request\n%s", r)
		}
	})
	t.Run("not waited for", func(t *testing.T) {
		r := laptop.want(promotion.CodeApproval, "promote", first.Release, "--to", "production", "--remote", "--timeout", "0s")
		if !strings.Contains(r.out, "waiting") {
			t.Errorf("%s", r)
		}
		r = laptop.want(promotion.CodePass, "status", "production", "--remote", "--watch", "--timeout", "1m")
		if !strings.Contains(r.out, first.Release[7:19]) {
			t.Errorf("%s", r)
		}
	})
	t.Run("the hub is away", func(t *testing.T) {
		away := tr.hub + ".away"
		if err := os.Rename(tr.hub, away); err != nil {
			t.Fatal(err)
		}
		back := func() {
			if err := os.Rename(away, tr.hub); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
		}
		defer back()
		r := laptop.want(promotion.CodeInternal, "promote", first.Release, "--to", "production", "--remote")
		if !strings.Contains(r.err, "see that it is reachable") || strings.Count(strings.TrimSpace(r.err), "\n") != 0 {
			t.Errorf("%s", r)
		}
		if !production.answers("production") {
			t.Error("production stopped serving")
		}
		// Who executes goes back and holds without anybody.
		production.want(promotion.CodePass, "rollback", "production", "--to", first.Release)
		laptop.want(promotion.CodePass, "hold", "production", "--reason", "while it is away")
		if r := laptop.want(promotion.CodeInternal, "status", "production", "--remote"); !strings.Contains(r.out, "not in step with") {
			t.Errorf("%s", r)
		}
		back()
		laptop.want(promotion.CodePass, "status", "--remote")
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
			if r := production.gate("status", "production"); strings.Contains(r.out, "while it is away") && strings.Contains(r.out, "in step with") && !strings.Contains(r.out, "not in step") {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("the hold never came: %s", production.gate("status", "production"))
			}
		}
	})
	for _, w := range []*world{ci, production, laptop} {
		w.want(promotion.CodePass, "ledger", "verify")
	}
}
