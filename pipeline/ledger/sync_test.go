package ledger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/smartcloudops/gate/environments"
)

func TestTheLedgerTravels(t *testing.T) {
	m := newMachines(t, 2)
	a := m.open(0)
	record(t, a, "a1", "a2")
	ask(t, a, "staging", "Ann")
	if s := synced(t, a); s.Pushed != 2 || s.Fetched != 0 {
		t.Errorf("%+v", s)
	}
	b := m.open(1)
	if b.ID() != a.ID() {
		t.Fatal("another ledger was begun")
	}
	if d := cmp.Diff([]string{"a1", "a2"}, names(t, b)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"Ann"}, asked(t, b, "staging")); d != "" {
		t.Error(d)
	}
	record(t, b, "b1")
	ask(t, b, "staging", "Bob")
	if s := synced(t, b); s.Pushed != 1 {
		t.Errorf("%+v", s)
	}
	if s := synced(t, a); s.Fetched != 1 || s.Pushed != 0 || s.Again != 0 || !slices.Equal(s.Moved, []string{"staging"}) {
		t.Errorf("%+v", s)
	}
	if s := synced(t, a); s.Fetched+s.Pushed+s.Again != 0 {
		t.Errorf("nothing was to do: %+v", s)
	}
	if d := cmp.Diff([]string{"Ann", "Bob"}, asked(t, a, "staging")); d != "" {
		t.Error(d)
	}
	if refs(t, a.Repository()) != refs(t, b.Repository()) || refs(t, a.Repository()) != refs(t, m.remote) {
		t.Error("the branches are not the same everywhere")
	}
	verified(t, a)
	verified(t, m.open(1))
	if n, err := a.Loose(t.Context()); err != nil || n == 0 {
		t.Error(n, err)
	}
	must(t, a.Pack(t.Context()))
	if git(t, a.Repository(), "fsck", "--strict") != "" {
		t.Error("fsck complains")
	}
}

func TestBothHaveMoved(t *testing.T) {
	m := newMachines(t, 2)
	a := m.open(0)
	synced(t, a)
	b := m.open(1)
	record(t, a, "a1", "same", "a2")
	record(t, b, "b1", "b2")
	raw, err := a.Statement(t.Context(), digestOfStatement(t, statement("same")))
	must(t, err)
	env, err := a.Envelope(t.Context(), raw.Digest)
	must(t, err)
	_, err = b.Import(t.Context(), env) // the very same statement, by another way
	must(t, err)
	before, err := b.Entries(t.Context(), 0)
	must(t, err)
	synced(t, a)
	// Others who have read it before go on without an error.
	reader := m.open(1)
	_ = names(t, reader)
	if s := synced(t, b); s.Again != 2 || s.Fetched != 3 || s.Pushed != 2 {
		t.Errorf("%+v", s)
	}
	want := []string{"a1", "same", "a2", "b1", "b2"}
	if d := cmp.Diff(want, names(t, b)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(want, names(t, reader)); d != "" {
		t.Error("who has read before:", d)
	}
	after, err := b.Entries(t.Context(), 0)
	must(t, err)
	b1, b2 := before[1], after[4]
	if b1.Digest != b2.Digest || !slices.Equal(b1.Signers, b2.Signers) || b2.Entry.Was != b1.Entry.Seq || b2.Entry.First() != 1 || b2.Entry.Seq != 4 {
		t.Errorf("%+v\n%+v", b1.Entry, b2.Entry)
	}
	if r, err := b.Statement(t.Context(), b1.Digest); err != nil || r.Entry.Seq != 4 {
		t.Error(r.Entry, err)
	}
	synced(t, a)
	if d := cmp.Diff(want, names(t, a)); d != "" {
		t.Error(d)
	}
	for _, l := range []*Ledger{a, b, reader, m.open(0)} {
		verified(t, l)
	}
}

func digestOfStatement(t *testing.T, s Statement) string {
	t.Helper()
	b, err := s.encode()
	must(t, err)
	return digestOf(b)
}

// TestMachinesAtOnce: nothing is lost and nothing is there twice, whoever was
// first, while others read on the same machine.
func TestMachinesAtOnce(t *testing.T) {
	rounds := 15
	if testing.Short() {
		rounds = 4
	}
	const n = 3
	m := newMachines(t, n)
	synced(t, m.open(0))
	var wg sync.WaitGroup
	ids := make([][]string, n)
	for i := range n {
		l, other := m.open(i), m.open(i)
		stop := make(chan struct{})
		var reader sync.WaitGroup
		reader.Go(func() {
			for seen := int64(0); ; {
				seq, _, err := other.Head(t.Context())
				if err != nil || seq < seen {
					t.Errorf("machine %d reads entry %d after %d: %v", i, seq, seen, err)
					return
				}
				seen = seq
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
			}
		})
		wg.Go(func() {
			defer func() { close(stop); reader.Wait() }()
			for round := range rounds {
				who := fmt.Sprintf("m%d-%d", i, round)
				if _, err := l.Append(t.Context(), statement(who)); err != nil {
					t.Error(err)
				}
				id, err := other.Request(t.Context(), "staging", Request{Release: releaseA, By: who})
				if err != nil {
					t.Error(err)
				}
				ids[i] = append(ids[i], id)
				if _, err := l.Sync(t.Context(), KeepAll{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	for range 2 {
		for i := range n {
			synced(t, m.open(i))
		}
	}
	var want []string
	for i := range n {
		want = append(want, ids[i]...)
	}
	slices.Sort(want)
	for i := range n {
		l := m.open(i)
		if rep := verified(t, l); rep.Entries != 1+n*rounds || rep.Statements != 1+n*rounds {
			t.Errorf("%d entries, %d statements, want %d", rep.Entries, rep.Statements, 1+n*rounds)
		}
		all, err := l.Requests(t.Context(), "staging")
		must(t, err)
		var got []string
		last := make([]int, n)
		for _, r := range all {
			got = append(got, r.ID)
			var who, round int
			if _, err := fmt.Sscanf(r.Request.By, "m%d-%d", &who, &round); err != nil || round != last[who] {
				t.Errorf("%s came after round %d", r.Request.By, last[who]-1)
			}
			last[who]++
		}
		slices.Sort(got)
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		if refs(t, l.Repository()) != refs(t, m.remote) {
			t.Error("the remote has something else")
		}
	}
}

// TestTwoBeginAtOnce: there is one ledger in the end.
func TestTwoBeginAtOnce(t *testing.T) {
	m := newMachines(t, 4)
	var wg sync.WaitGroup
	ids := make([]string, 4)
	for i := range ids {
		wg.Go(func() {
			l, err := Open(t.Context(), Options{Dir: m.dirs[i], App: "shop", Signer: testKey(t, m.dirs[i]), Trust: &m.trust, Now: time.Now})
			if err != nil {
				t.Error(err)
				return
			}
			defer l.Close()
			ids[i] = l.ID()
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id == "" || id != ids[0] {
			t.Errorf("ledgers %v", ids)
		}
	}
}

func TestWhoIsNotListedOnlyListens(t *testing.T) {
	m := newMachines(t, 1)
	if l, err := m.fresh(); err == nil || !strings.Contains(err.Error(), "list its key ed25519:") {
		t.Error("a stranger began a ledger", l, err)
	}
	a := m.open(0)
	record(t, a, "a1")
	synced(t, a)
	b, err := m.fresh()
	must(t, err)
	record(t, b, "b1")
	ask(t, b, "staging", "Bob")
	s := synced(t, b)
	if s.Kept != 1 || s.Pushed != 0 || !strings.Contains(s.Why, b.Own()) {
		t.Errorf("%+v", s)
	}
	record(t, a, "a2")
	synced(t, a)
	if d := cmp.Diff([]string{"a1", "a2"}, names(t, a)); d != "" {
		t.Error(d)
	}
	// To ask needs no key: who may push there may ask.
	if d := cmp.Diff([]string{"Bob"}, asked(t, a, "staging")); d != "" {
		t.Error(d)
	}
	s = synced(t, b)
	if d := cmp.Diff([]string{"a1", "a2", "b1"}, names(t, b)); d != "" || s.Kept != 1 {
		t.Error(d, s)
	}
	if last, err := b.LastSync(); err != nil || last == nil || last.Kept != 1 || last.Error != "" || last.OK.IsZero() {
		t.Errorf("%+v %v", last, err)
	}
	// Once it is listed, what it kept goes.
	m.trust.Keys = append(m.trust.Keys, environments.Key{ID: b.Own()})
	if s = synced(t, openIn(t, b.opt.Dir, trusting(m.trust))); s.Pushed != 1 || s.Kept != 0 {
		t.Errorf("%+v", s)
	}
}

func TestWithoutAResolverNothingMoves(t *testing.T) {
	m := newMachines(t, 2)
	a := m.open(0)
	must(t, a.Mirror(t.Context()))
	b := m.open(1)
	record(t, a, "a1")
	record(t, b, "b1")
	must(t, a.Mirror(t.Context()))
	before := refs(t, b.Repository()) + refs(t, m.remote)
	oneLine(t, b.Mirror(t.Context()), ErrDiverged)
	if refs(t, b.Repository())+refs(t, m.remote) != before {
		t.Error("something was changed")
	}
	if last, err := b.LastSync(); err != nil || last == nil || last.Error == "" {
		t.Errorf("%+v %v", last, err)
	}
	synced(t, b)
	if last, err := b.LastSync(); err != nil || last == nil || last.Error != "" || last.At != last.OK {
		t.Errorf("%+v %v", last, err)
	}
}

func TestARemoteThatIsNoHelp(t *testing.T) {
	m := newMachines(t, 2)
	a := m.open(0)
	synced(t, a)
	dir := m.dirs[0]
	for remote, says := range map[string]string{
		"https://bot:s3cret@example.org/x":         "credentials",
		"ssh://git:s3cret@example.org/x":           "credentials",
		"--upload-pack=touch /nowhere":             "no address",
		filepath.Join(t.TempDir(), "nowhere"):      "reachable",
		"ext::sh -c 'touch /nowhere; echo s3cret'": "not allowed",
		"https://127.0.0.1:1/x.git":                "reachable",
	} {
		t.Run(says, func(t *testing.T) {
			trust := m.trust
			trust.Remote = remote
			l := openIn(t, dir, trusting(trust))
			record(t, l, "at "+remote)
			_, err := l.Sync(t.Context(), KeepAll{})
			oneLine(t, err, ErrRemote)
			if !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "s3cret") && says == "credentials" {
				t.Error(err)
			}
			// No ledger is begun beside one that may be there.
			fresh := state(t)
			_, err = tryOpen(t, fresh, trusting(trust))
			oneLine(t, err, ErrRemote)
			if _, err := os.Stat(filepath.Join(fresh, repositoryName)); err == nil {
				t.Error("a ledger was begun all the same")
			}
		})
	}
	// What waited goes when the remote is back.
	l := m.open(0)
	if s := synced(t, l); s.Pushed != 6 {
		t.Errorf("%+v", s)
	}
	verified(t, l)
}

func TestARemoteThatRefuses(t *testing.T) {
	m := newMachines(t, 1)
	a := m.open(0)
	synced(t, a)
	hook := filepath.Join(m.remote, "hooks", "pre-receive")
	must(t, os.WriteFile(hook, []byte("#!/bin/sh\necho 'GH006: protected\033[2J branch' >&2\nexit 1\n"), 0o700))
	record(t, a, "a1")
	ask(t, a, "staging", "Ann")
	before := refs(t, m.remote)
	_, err := a.Sync(t.Context(), KeepAll{})
	oneLine(t, err, ErrRemote)
	if !strings.Contains(err.Error(), "GH006: protected") || strings.Contains(err.Error(), "\033") || !strings.Contains(err.Error(), "let this machine push") {
		t.Error(err)
	}
	// All or nothing: one refused branch keeps back the other.
	must(t, os.Remove(hook))
	must(t, os.WriteFile(filepath.Join(m.remote, "hooks", "update"), []byte("#!/bin/sh\n[ \"$1\" != refs/heads/env/staging ]\n"), 0o700))
	_, err = a.Sync(t.Context(), KeepAll{})
	oneLine(t, err, ErrRemote)
	if !strings.Contains(err.Error(), "env/staging") || refs(t, m.remote) != before {
		t.Error(err, refs(t, m.remote))
	}
	must(t, os.Remove(filepath.Join(m.remote, "hooks", "update")))
	if s := synced(t, a); s.Pushed != 1 {
		t.Errorf("%+v", s)
	}
}

func TestApart(t *testing.T) {
	m := newMachines(t, 1)
	a := m.open(0)
	record(t, a, "a1")
	synced(t, a)
	alone := openIn(t, state(t), trusting(m.trust), func(o *Options) { o.Apart = true })
	if alone.ID() == a.ID() || alone.Remote() != "" || !alone.TrustedFor([]string{alone.Own()}, Promote, "production") {
		t.Error("a ledger apart is not its own")
	}
	copied := openIn(t, state(t), trusting(m.trust), func(o *Options) { o.Apart, o.Remote = true, m.remote })
	if copied.ID() != a.ID() || !copied.TrustedFor([]string{copied.Own()}, Promote, "production") || !copied.TrustedFor([]string{a.Own()}, Measure, "") {
		t.Error("a copy apart is no copy")
	}
	before := refs(t, m.remote)
	record(t, copied, "mine")
	if s := synced(t, copied); s.Pushed != 0 || refs(t, m.remote) != before {
		t.Error("what is apart was pushed")
	}
	verified(t, copied)
	empty := filepath.Join(t.TempDir(), "empty.git")
	git(t, t.TempDir(), "init", "-q", "--bare", empty)
	verified(t, openIn(t, state(t), func(o *Options) { o.Apart, o.Remote = true, empty }))
	if refs(t, empty) != "" {
		t.Error("what is apart was pushed")
	}
}

func TestALostLedgerComesBackFromTheRemote(t *testing.T) {
	m := newMachines(t, 1)
	a := m.open(0)
	record(t, a, "a1", "a2")
	synced(t, a)
	must(t, os.RemoveAll(a.Repository()))
	if d := cmp.Diff([]string{"a1", "a2"}, names(t, m.open(0))); d != "" {
		t.Error(d)
	}
	// But not without what was recorded and never pushed: that shows.
	b := m.open(0)
	record(t, b, "a3")
	must(t, os.RemoveAll(b.Repository()))
	_, err := m.try(0)
	oneLine(t, err, ErrTruncated)
	// Nor from a remote that has lost it as well.
	git(t, m.remote, "update-ref", "-d", ledgerRef)
	_, err = m.try(0)
	oneLine(t, err, ErrTruncated)
}

func TestReadOnlySyncsNothing(t *testing.T) {
	m := newMachines(t, 1)
	synced(t, m.open(0))
	r, err := Open(t.Context(), Options{Dir: m.dirs[0], App: "shop", ReadOnly: true, Trust: &m.trust})
	must(t, err)
	defer r.Close()
	if _, err := r.Sync(t.Context(), KeepAll{}); !errors.Is(err, ErrReadOnly) {
		t.Error(err)
	}
	if _, err := Open(t.Context(), Options{Dir: state(t), App: "shop", ReadOnly: true, Trust: &m.trust}); !errors.Is(err, ErrNone) {
		t.Error(err)
	}
}
