package ledger

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestProcessesThatAppendAtOnceLoseNothing(t *testing.T) {
	const writers, each = 3, 50
	dir := state(t) // not there yet: creating it is a race, too
	testKey(t, dir)
	var cmds []*exec.Cmd
	var outs [writers]bytes.Buffer
	for i := range writers {
		cmd := helperCommand(t, "append", dir, fmt.Sprint("w", i), each)
		cmd.Stdout, cmd.Stderr = &outs[i], &outs[i]
		must(t, cmd.Start())
		cmds = append(cmds, cmd)
	}
	for i, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Fatalf("writer %d: %v\n%s", i, err, outs[i].String())
		}
	}
	l := openIn(t, dir)
	if rep := verified(t, l); rep.Entries != 1+writers*each {
		t.Errorf("%d entries, want %d", rep.Entries, 1+writers*each)
	}
	for i := range outs {
		present(t, l, strings.Fields(outs[i].String()))
	}
}

func present(t *testing.T, l *Ledger, names []string) {
	t.Helper()
	records, err := l.Entries(t.Context(), 0)
	must(t, err)
	got := map[string]bool{}
	for _, r := range records {
		got[r.Statement.Subject[0].Name] = true
	}
	for _, n := range names {
		if !got[n] {
			t.Errorf("%s was acknowledged and is lost", n)
		}
	}
}

func TestGoroutinesShareALedger(t *testing.T) {
	l := openIn(t, state(t))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 4 {
				if _, err := l.Append(t.Context(), statement(fmt.Sprint(i, "-", j))); err != nil {
					t.Error(err)
				}
				if _, err := l.Entries(t.Context(), 0); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if rep := verified(t, l); rep.Entries != 33 {
		t.Errorf("%d entries", rep.Entries)
	}
}

func TestAKilledWriterLeavesAWholeLedger(t *testing.T) {
	dir := state(t)
	testKey(t, dir)
	rounds := 20
	if testing.Short() {
		rounds = 5
	}
	var acknowledged []string
	for round := range rounds {
		cmd := helperCommand(t, "append", dir, fmt.Sprint("r", round), 1000)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		// Half of them before or in the first steps, half within a later append.
		lines := bufio.NewScanner(out)
		if round%2 == 1 && lines.Scan() {
			acknowledged = append(acknowledged, lines.Text())
		}
		kill := time.AfterFunc(time.Duration(rand.IntN(60))*time.Millisecond, func() { cmd.Process.Kill() })
		for lines.Scan() {
			acknowledged = append(acknowledged, lines.Text())
		}
		_ = cmd.Wait()
		kill.Stop()
		leaveRefLock(t, dir)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		l := openIn(t, dir)
		name := fmt.Sprint("after-", round)
		_, err = l.Append(ctx, statement(name))
		cancel()
		must(t, err)
		acknowledged = append(acknowledged, name)
		verified(t, l)
	}
	present(t, openIn(t, dir), acknowledged)
	if n := len(acknowledged) - rounds; n < rounds/2 {
		t.Errorf("only %d appends were acknowledged by writers that were killed", n)
	}
}

// leaveRefLock leaves what a git that was killed, too, leaves behind. A git that
// outlived its writer still holds the ledger's lock, and is waited for.
func leaveRefLock(t *testing.T, dir string) {
	t.Helper()
	ref := filepath.Join(dir, repositoryName, ledgerRef)
	if _, err := os.Stat(ref); err != nil {
		return
	}
	f, err := acquire(t.Context(), filepath.Join(dir, lockName))
	must(t, err)
	defer f.Close()
	must(t, os.WriteFile(ref+".lock", nil, 0o600))
}

func TestAnUnfinishedLedgerIsBegunAnew(t *testing.T) {
	dir := state(t)
	testKey(t, dir)
	must(t, os.MkdirAll(filepath.Join(dir, repositoryName+".new", "objects"), 0o700))
	verified(t, openIn(t, dir))
}

func TestTheLockNamesItsHolder(t *testing.T) {
	dir := state(t)
	l := openIn(t, dir)
	f, err := acquire(t.Context(), filepath.Join(dir, lockName))
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = l.Append(ctx, statement("x"))
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), fmt.Sprintf("process %d holds", os.Getpid())) {
		t.Error(err)
	}
	f.Close()
	if _, err := l.Append(t.Context(), statement("x")); err != nil {
		t.Error(err)
	}
}

func TestAppendIfLosesWhenItsPreconditionIsGone(t *testing.T) {
	dir := state(t)
	a, b := openIn(t, dir), openIn(t, dir)
	errBusy := errors.New("a promotion is under way")
	free := func(v View) error {
		if v.Seq != v.Records[len(v.Records)-1].Entry.Seq || v.Digest == "" {
			t.Error("view", v.Seq, v.Digest)
		}
		for _, r := range v.Records {
			if strings.HasPrefix(r.Statement.Subject[0].Name, "begin") {
				return errBusy
			}
		}
		return nil
	}
	var won, lost int
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i, l := range []*Ledger{a, b, a, b} {
		wg.Go(func() {
			_, err := l.AppendIf(t.Context(), statement(fmt.Sprint("begin-", i)), free)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case errors.Is(err, ErrLost) && errors.Is(err, errBusy):
				lost++
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won != 1 || lost != 3 {
		t.Errorf("%d won and %d lost, want 1 and 3", won, lost)
	}
	if rep := verified(t, a); rep.Entries != 2 {
		t.Errorf("%+v", rep)
	}
}

func TestProcessesThatRequestAtOnceLoseNothing(t *testing.T) {
	const writers, each = 3, 8
	dir := state(t)
	l := openIn(t, dir)
	var cmds []*exec.Cmd
	var outs [writers]bytes.Buffer
	for i := range writers {
		cmd := helperCommand(t, "request", dir, fmt.Sprint("q", i), each)
		cmd.Stdout, cmd.Stderr = &outs[i], &outs[i]
		must(t, cmd.Start())
		cmds = append(cmds, cmd)
	}
	for i, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Fatalf("writer %d: %v\n%s", i, err, outs[i].String())
		}
	}
	got, err := l.Requests(t.Context(), "staging")
	must(t, err)
	ids := map[string]bool{}
	for _, r := range got {
		if r.Err != nil {
			t.Error(r.Err)
		}
		ids[r.ID] = true
	}
	if len(ids) != writers*each {
		t.Errorf("%d requests, want %d", len(ids), writers*each)
	}
	for i := range outs {
		for _, id := range strings.Fields(outs[i].String()) {
			if !ids[id] {
				t.Errorf("request %s was acknowledged and is lost", id)
			}
		}
	}
}
