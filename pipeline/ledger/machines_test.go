package ledger

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/smartcloudops/gate/environments"
)

// machines are state directories that share a remote and know each other's keys.
type machines struct {
	t      testing.TB
	remote string // a real bare repository
	trust  environments.Trust
	dirs   []string
}

func newMachines(t testing.TB, n int) *machines {
	t.Helper()
	m := &machines{t: t, remote: filepath.Join(t.TempDir(), "remote.git")}
	git(t, filepath.Dir(m.remote), "init", "-q", "--bare", m.remote)
	m.trust.Remote = m.remote
	for i := range n {
		dir := state(t)
		m.dirs = append(m.dirs, dir)
		m.trust.Keys = append(m.trust.Keys, environments.Key{ID: testKey(t, dir).ID(), Name: fmt.Sprint("machine ", i), May: actions})
	}
	return m
}

// open opens the ledger of machine i.
func (m *machines) open(i int, change ...func(*Options)) *Ledger {
	m.t.Helper()
	l, err := m.try(i, change...)
	must(m.t, err)
	return l
}

func (m *machines) try(i int, change ...func(*Options)) (*Ledger, error) {
	m.t.Helper()
	return tryOpen(m.t, m.dirs[i], append([]func(*Options){trusting(m.trust)}, change...)...)
}

// fresh is one more machine, whose key the others need not know.
func (m *machines) fresh(change ...func(*Options)) (*Ledger, error) {
	m.t.Helper()
	return tryOpen(m.t, state(m.t), append([]func(*Options){trusting(m.trust)}, change...)...)
}

func synced(t testing.TB, l *Ledger) Synced {
	t.Helper()
	s, err := l.Sync(t.Context(), KeepAll{})
	must(t, err)
	return s
}

// names are the subjects of what is recorded, in order, without the genesis.
func names(t testing.TB, l *Ledger) []string {
	t.Helper()
	records, err := l.Entries(t.Context(), 0)
	must(t, err)
	out := []string{}
	for _, r := range records[1:] {
		out = append(out, r.Statement.Subject[0].Name)
	}
	return out
}

func record(t testing.TB, l *Ledger, names ...string) {
	t.Helper()
	for _, n := range names {
		_, err := l.Append(t.Context(), statement(n))
		must(t, err)
	}
}

func ask(t testing.TB, l *Ledger, env, by string) string {
	t.Helper()
	id, err := l.Request(t.Context(), env, Request{Release: digestOf([]byte(by)), By: by})
	must(t, err)
	return id
}

// asked are who asked for something, oldest first.
func asked(t testing.TB, l *Ledger, env string) []string {
	t.Helper()
	all, err := l.Requests(t.Context(), env)
	must(t, err)
	out := []string{}
	for _, r := range all {
		must(t, r.Err)
		out = append(out, r.Request.By)
	}
	return out
}

// refs are all branches of a repository.
func refs(t testing.TB, dir string) string {
	t.Helper()
	return git(t, dir, "for-each-ref", "--format=%(refname) %(objectname)", "refs/heads")
}

// syncing is the role of a process that appends, asks and syncs until it ends
// itself at the stage that LEDGER_TEST_STAGE names.
func syncing(ctx context.Context, dir string, trust *environments.Trust) error {
	key, _, err := LoadOrCreateKey(filepath.Join(dir, "key"))
	if err != nil {
		return err
	}
	end := func(stage string) {
		if stage == os.Getenv("LEDGER_TEST_STAGE") {
			p, err := os.FindProcess(os.Getpid())
			if err == nil {
				_ = p.Kill()
			}
			select {}
		}
	}
	l, err := Open(ctx, Options{Dir: dir, App: "shop", Signer: key, Now: time.Now, Trust: trust, stage: end})
	if err != nil {
		return err
	}
	defer l.Close()
	_, err = l.Sync(ctx, KeepAll{})
	return err
}
