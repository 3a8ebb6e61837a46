package ledger

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// process is a machine's sync in a process of its own, which ends itself at the
// stage; empty: it runs to its end.
func (m *machines) process(i int, stage string) *exec.Cmd {
	m.t.Helper()
	trust, err := json.Marshal(m.trust)
	must(m.t, err)
	cmd := helperCommand(m.t, "sync", m.dirs[i], "", 0)
	cmd.Env = append(cmd.Env, "LEDGER_TEST_TRUST="+string(trust), "LEDGER_TEST_STAGE="+stage)
	return cmd
}

// diverged are two machines of which both have recorded and asked for something that
// the other lacks; a has pushed.
func diverged(t testing.TB) (m *machines, requests []string) {
	t.Helper()
	m = newMachines(t, 2)
	a := m.open(0)
	requests = append(requests, ask(t, a, "staging", "first"))
	synced(t, a)
	b := m.open(1)
	record(t, a, "a1", "a2")
	requests = append(requests, ask(t, a, "staging", "Ann"))
	synced(t, a)
	record(t, b, "b1", "b2")
	requests = append(requests, ask(t, b, "staging", "Bob"), ask(t, b, "production", "Bob"))
	return m, requests
}

// whole checks that machine 1 has all that it ever acknowledged, and after a sync
// everything, once, as everybody else.
func (m *machines) whole(requests []string) {
	t := m.t
	t.Helper()
	l := m.open(1)
	verifiedBy(t, l)
	own := 0
	for _, n := range names(t, l) {
		if n == "b1" || n == "b2" {
			own++
		}
	}
	if got := ids(t, l); own != 2 || !slices.Contains(got, requests[2]) || !slices.Contains(got, requests[3]) {
		t.Errorf("before anything is done it has %v, %v", names(t, l), got)
	}
	synced(t, l)
	a := m.open(0)
	synced(t, a)
	for _, l := range []*Ledger{l, a} {
		verifiedBy(t, l)
		if d := cmp.Diff([]string{"a1", "a2", "b1", "b2"}, names(t, l)); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff(requests, ids(t, l)); d != "" {
			t.Error(d)
		}
	}
	if refs(t, l.Repository()) != refs(t, m.remote) || refs(t, a.Repository()) != refs(t, m.remote) {
		t.Error("not everybody has the same")
	}
}

func verifiedBy(t testing.TB, l *Ledger) {
	t.Helper()
	if r, err := l.Verify(t.Context()); err != nil {
		t.Errorf("verify: %v\n%+v", err, r.Problems)
	}
}

func ids(t testing.TB, l *Ledger) []string {
	t.Helper()
	var out []string
	for _, env := range []string{"staging", "production"} {
		all, err := l.Requests(t.Context(), env)
		must(t, err)
		for _, r := range all {
			out = append(out, r.ID)
		}
	}
	return out
}

func TestASyncKilledAtAnyStage(t *testing.T) {
	for _, stage := range []string{"fetched", "verified", "rebuilt", "doubted", "replaced", "requested", "merged", "marked", "pushed"} {
		t.Run(stage, func(t *testing.T) {
			m, requests := diverged(t)
			// Twice, since what cleans up may be killed as well.
			for n := range 2 {
				if out, err := m.process(1, stage).CombinedOutput(); err == nil && n == 0 {
					t.Errorf("it was not killed: %s", out)
				}
			}
			m.whole(requests)
		})
	}
}

func TestAFastForwardKilledAtAnyStage(t *testing.T) {
	for _, stage := range []string{"fetched", "verified", "moved", "merged", "marked"} {
		t.Run(stage, func(t *testing.T) {
			m := newMachines(t, 2)
			a := m.open(0)
			synced(t, a)
			m.open(1).Close()
			record(t, a, "a1", "a2")
			ask(t, a, "staging", "Ann")
			synced(t, a)
			if out, err := m.process(1, stage).CombinedOutput(); err == nil {
				t.Errorf("it was not killed: %s", out)
			}
			b := m.open(1)
			verified(t, b)
			synced(t, b)
			if d := cmp.Diff([]string{"a1", "a2"}, names(t, b)); d != "" || refs(t, b.Repository()) != refs(t, m.remote) {
				t.Error(d)
			}
		})
	}
}

func TestABeginningKilledAtAnyStage(t *testing.T) {
	for _, stage := range []string{"fetched", "verified", "created"} {
		for _, empty := range []bool{true, false} {
			t.Run(fmt.Sprint(stage, empty), func(t *testing.T) {
				m := newMachines(t, 2)
				want := []string{}
				if !empty {
					a := m.open(0)
					record(t, a, "a1")
					synced(t, a)
					want = append(want, "a1")
				}
				if out, err := m.process(1, stage).CombinedOutput(); err == nil && (!empty || stage != "verified") {
					t.Errorf("it was not killed: %s", out)
				}
				b := m.open(1)
				verified(t, b)
				synced(t, b)
				a := m.open(0)
				if d := cmp.Diff(want, names(t, b)); d != "" || a.ID() != b.ID() {
					t.Error(d, a.ID(), b.ID())
				}
			})
		}
	}
}

func TestASyncKilledAtAnyTime(t *testing.T) {
	rounds := 12
	if testing.Short() {
		rounds = 5
	}
	for range rounds {
		m, requests := diverged(t)
		for range 2 {
			cmd := m.process(1, "")
			must(t, cmd.Start())
			kill := time.AfterFunc(time.Duration(rand.IntN(400))*time.Millisecond, func() { cmd.Process.Kill() })
			_ = cmd.Wait()
			kill.Stop()
		}
		m.whole(requests)
		if t.Failed() {
			return
		}
	}
}
