package promotion

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
)

// TestTwoPromotersOneRemote: of two machines that begin a promotion at once, with
// a clone of the ledger each and one remote, exactly one has won in each round,
// and both know which.
func TestTwoPromotersOneRemote(t *testing.T) {
	rounds := 5
	if os.Getenv("GATE_DRILLS") != "" {
		rounds = 50
	}
	f := newFleet(t, 2)
	m := f.machines
	m[0].sync()
	m[1].sync()
	won := [2]int{}
	desired := ""
	for round := range rounds {
		var begun [2]Transition
		for i := range m {
			begun[i] = m[i].promotion(Transition{Request: fmt.Sprintf("r%d-%d", round, i), Kind: Promote, From: desired, Record: fmt.Sprintf("record-%d-%d", round, i)}, Begin)
		}
		var wg sync.WaitGroup
		for i := range m {
			wg.Go(func() {
				if _, err := m[i].journal.Sync(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		m[0].sync() // what the other one has settled
		m[1].sync()
		ev := m[0].view().Environment("production")
		winner := -1
		for i := range m {
			if ev.Active != nil && ev.Active.Request == begun[i].Request {
				winner = i
			}
		}
		if winner < 0 || t.Failed() {
			t.Fatalf("round %d: nobody has won: %+v", round, ev.Active)
		}
		if c := ev.Consumed[begun[1-winner].Request]; c == nil || c.State != Refused || c.Code != CodeLocked || !strings.Contains(c.Why, "another was first") {
			t.Fatalf("round %d: the other has ended as %+v", round, c)
		}
		won[winner]++
		end := begun[winner]
		end.Step, end.State = End, Succeeded
		_, err := m[winner].journal.Record(t.Context(), end)
		must(t, err)
		m[winner].sync()
		m[1-winner].sync()
		desired = end.Record
	}
	ev := f.agree()
	n := 0
	for _, h := range ev.History {
		if h.State == Succeeded {
			n++
		}
	}
	if n != rounds || won[0]+won[1] != rounds {
		t.Errorf("%d promotions have come to pass in %d rounds; won: %v", n, rounds, won)
	}
	t.Logf("won: %v", won)
}
