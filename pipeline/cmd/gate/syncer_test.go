package main

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/ledger"
	"github.com/smartcloudops/gate/pipeline/promotion"
)

// lines is a log that may be read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

// sharedLedger are the journals of two machines with a remote.
func sharedLedger(t *testing.T) (a, b *promotion.Journal, remote string) {
	t.Helper()
	remote = filepath.Join(t.TempDir(), "remote.git")
	if out, err := exec.Command("git", "init", "-q", "--bare", remote).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	trust := &environments.Trust{Remote: remote}
	var dirs []string
	var keys []*ledger.Key
	for range 2 {
		dir := filepath.Join(t.TempDir(), "state")
		key, _, err := ledger.LoadOrCreateKey(filepath.Join(dir, "key"))
		if err != nil {
			t.Fatal(err)
		}
		dirs, keys = append(dirs, dir), append(keys, key)
		trust.Keys = append(trust.Keys, environments.Key{ID: key.ID(), May: []string{ledger.Promote}})
	}
	open := func(i int) *promotion.Journal {
		l, err := ledger.Open(t.Context(), ledger.Options{Dir: dirs[i], App: "shop", Signer: keys[i], Trust: trust, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return &promotion.Journal{Ledger: l, Now: time.Now}
	}
	return open(0), open(1), remote
}

func (s *syncer) running(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func comesTrue(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func heldIn(t *testing.T, j *promotion.Journal) bool {
	t.Helper()
	v, err := j.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return v.Environment("staging").Hold != nil
}

// TestSyncerCarriesBothWays: what is recorded goes at once, what comes is told,
// and that it is asked all the time does no harm.
func TestSyncerCarriesBothWays(t *testing.T) {
	a, b, _ := sharedLedger(t)
	var moved atomic.Int32
	s := newSyncer(a, time.Hour, slog.New(slog.DiscardHandler), func() { moved.Add(1) })
	a.Appended = s.soon
	s.running(t)
	if err := a.Hold(t.Context(), promotion.Hold{Environment: "staging", Reason: "x"}); err != nil {
		t.Fatal(err)
	}
	comesTrue(t, "the other knows of it", func() bool {
		if _, err := b.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		return heldIn(t, b)
	})
	if err := b.Hold(t.Context(), promotion.Hold{Environment: "staging"}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	times := map[time.Time]bool{}
	began := time.Now()
	comesTrue(t, "it comes when it is asked for", func() bool {
		s.soon()
		last, err := a.Ledger.LastSync()
		if err != nil {
			t.Fatal(err)
		}
		if last != nil {
			times[last.At] = true
		}
		return !heldIn(t, a)
	})
	if n, most := len(times), int(time.Since(began)/breath)+2; n > most {
		t.Errorf("%d syncs in %s", n, time.Since(began))
	}
	comesTrue(t, "the engine is told", func() bool { return moved.Load() == 1 })
}

// TestSyncerSaysTroubleOnce, and when it is over.
func TestSyncerSaysTroubleOnce(t *testing.T) {
	a, _, remote := sharedLedger(t)
	var log lines
	s := newSyncer(a, 20*time.Millisecond, slog.New(slog.NewTextHandler(&log, nil)), func() {})
	if err := os.Rename(remote, remote+".away"); err != nil {
		t.Fatal(err)
	}
	s.running(t)
	first := time.Now()
	comesTrue(t, "it was tried some times", func() bool {
		last, err := a.Ledger.LastSync()
		return err == nil && last != nil && last.Error != "" && last.At.After(first.Add(300*time.Millisecond))
	})
	if n := log.count("part ways"); n != 1 {
		t.Errorf("trouble was said %d times", n)
	}
	if err := os.Rename(remote+".away", remote); err != nil {
		t.Fatal(err)
	}
	comesTrue(t, "it is over", func() bool { return log.count("are one again") == 1 })
	if n := log.count("part ways"); n != 1 {
		t.Errorf("trouble was said %d times", n)
	}
}
