package ledger

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/smartcloudops/gate/environments"
)

// TestWhatARemoteMustNotDo: what was there before is gone or altered, or what
// comes is not to be believed. That is one line, and nothing moves on either
// side.
func TestWhatARemoteMustNotDo(t *testing.T) {
	stranger := testKey(t, state(t))
	for name, c := range map[string]struct {
		tamper func(t *testing.T, m *machines, a *Ledger)
		want   error
		says   string
	}{
		"rewound": {func(t *testing.T, m *machines, _ *Ledger) {
			git(t, m.remote, "update-ref", ledgerRef, ledgerRef+"~1")
		}, ErrTruncated, "entry 2 was there before and is gone"},
		"rewound and gone on": {func(t *testing.T, m *machines, a *Ledger) {
			git(t, m.remote, "update-ref", ledgerRef, ledgerRef+"~1")
			other := m.clone(t, a)
			record(t, other, "other 2", "other 3")
			m.force(t, other)
		}, ErrTruncated, "entry 2 is not the one"},
		"deleted": {func(t *testing.T, m *machines, _ *Ledger) {
			git(t, m.remote, "update-ref", "-d", ledgerRef)
		}, ErrTruncated, "gate/ledger is gone"},
		"the same records on other commits": {func(t *testing.T, m *machines, _ *Ledger) {
			tree := git(t, m.remote, "rev-parse", ledgerRef+"^{tree}")
			git(t, m.remote, "update-ref", ledgerRef, git(t, m.remote, "commit-tree", "-m", "all anew", tree))
		}, ErrTruncated, "do not go on"},
		"an old statement was altered on top": {func(t *testing.T, m *machines, a *Ledger) {
			other := m.clone(t, a)
			change(t, other, map[string][]byte{entryPath(1) + statementSuffix: []byte("{}")})
			m.force(t, other)
		}, ErrBroken, "000000001.statement.json was altered"},
		"an old entry was removed on top": {func(t *testing.T, m *machines, a *Ledger) {
			other := m.clone(t, a)
			change(t, other, map[string][]byte{entryPath(1) + statementSuffix: nil})
			m.force(t, other)
		}, ErrBroken, "was altered"},
		"half an entry": {func(t *testing.T, m *machines, a *Ledger) {
			other := m.clone(t, a)
			change(t, other, map[string][]byte{entryPath(3) + statementSuffix: []byte("{}")})
			m.force(t, other)
		}, ErrBroken, "entry 3"},
		"a bad signature": {func(t *testing.T, m *machines, a *Ledger) {
			other := m.clone(t, a)
			record(t, other, "x")
			raw := git(t, other.Repository(), "show", ledgerRef+":"+entryPath(3)+entrySuffix)
			change(t, other, map[string][]byte{entryPath(3) + entrySuffix: []byte(strings.Replace(raw, `"sig":"`, `"sig":"AAAA`, 1))})
			m.force(t, other)
		}, ErrBroken, "entry 3"},
		"an entry by a stranger": {func(t *testing.T, m *machines, a *Ledger) {
			other := m.clone(t, a, func(o *Options) { o.Signer = stranger })
			record(t, other, "x")
			m.force(t, other)
		}, ErrBroken, "is signed by " + stranger.ID()},
		"a statement by a stranger": {func(t *testing.T, m *machines, a *Ledger) {
			from := openIn(t, state(t), func(o *Options) { o.Signer = stranger })
			record(t, from, "x")
			r, err := from.Statement(t.Context(), digestOfStatement(t, statement("x")))
			must(t, err)
			raw, err := from.Envelope(t.Context(), r.Digest)
			must(t, err)
			knows := m.trust
			knows.Remote, knows.Keys = "", append(knows.Keys, environments.Key{ID: stranger.ID()})
			other := m.clone(t, a, trusting(knows))
			_, err = other.Import(t.Context(), raw)
			must(t, err)
			m.force(t, other)
		}, ErrBroken, "its statement is signed by " + stranger.ID()},
		"another ledger": {func(t *testing.T, m *machines, a *Ledger) {
			other := openIn(t, state(t), func(o *Options) { o.Signer = a.opt.Signer })
			appendN(t, other, 5)
			m.force(t, other)
		}, ErrTruncated, "entry 2 is not the one"},
		"an env branch rewound": {func(t *testing.T, m *machines, _ *Ledger) {
			git(t, m.remote, "update-ref", "refs/heads/env/staging", "refs/heads/env/staging~1")
		}, ErrTruncated, "env/staging does not go on"},
		"an env branch rewritten": {func(t *testing.T, m *machines, _ *Ledger) {
			tree := git(t, m.remote, "rev-parse", "env/staging^{tree}")
			git(t, m.remote, "update-ref", "refs/heads/env/staging", git(t, m.remote, "commit-tree", "-m", "all anew", tree))
		}, ErrTruncated, "env/staging does not go on"},
		"an env branch deleted": {func(t *testing.T, m *machines, _ *Ledger) {
			git(t, m.remote, "update-ref", "-d", "refs/heads/env/staging")
		}, ErrTruncated, "env/staging is gone"},
		"an env commit that has seen more": {func(t *testing.T, m *machines, a *Ledger) {
			message := withTrailers("x", trailer{markTrailer, Mark{a.ID(), 7, releaseA}.String()})
			tree := git(t, m.remote, "rev-parse", "env/staging^{tree}")
			git(t, m.remote, "update-ref", "refs/heads/env/staging", m.commit(t, tree, "env/staging", message))
		}, ErrTruncated, "has seen entry 7"},
		"an env commit that has seen something else": {func(t *testing.T, m *machines, a *Ledger) {
			message := withTrailers("x", trailer{markTrailer, Mark{a.ID(), 1, releaseA}.String()})
			tree := git(t, m.remote, "rev-parse", "env/staging^{tree}")
			git(t, m.remote, "update-ref", "refs/heads/env/staging", m.commit(t, tree, "env/staging", message))
		}, ErrTruncated, "has seen " + releaseA},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachines(t, 2)
			a := m.open(0)
			record(t, a, "a1", "a2")
			ask(t, a, "staging", "Ann")
			ask(t, a, "staging", "Anna")
			synced(t, a)
			c.tamper(t, m, a)
			for _, pending := range []bool{false, true} {
				if pending {
					record(t, a, "mine")
					ask(t, a, "staging", "me")
				}
				here, there := refs(t, a.Repository()), refs(t, m.remote)
				_, err := a.Sync(t.Context(), KeepAll{})
				oneLine(t, err, c.want)
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("want %q, got %v", c.says, err)
				}
				if refs(t, a.Repository()) != here || refs(t, m.remote) != there {
					t.Error("something has moved")
				}
			}
			// The machine goes on by itself.
			l := m.open(0)
			verified(t, l)
			record(t, l, "and on")
			if d := cmp.Diff([]string{"a1", "a2", "mine", "and on"}, names(t, l)); d != "" {
				t.Error(d)
			}
		})
	}
}

// clone is a ledger over a copy of a's, without its mark and its remote.
func (m *machines) clone(t *testing.T, a *Ledger, change ...func(*Options)) *Ledger {
	t.Helper()
	dir := state(t)
	must(t, os.MkdirAll(dir, 0o700))
	git(t, dir, "clone", "-q", "--bare", "--no-local", m.remote, filepath.Join(dir, repositoryName))
	alone := m.trust
	alone.Remote = ""
	all := append([]func(*Options){trusting(alone), func(o *Options) { o.Signer = a.opt.Signer }}, change...)
	l := openIn(t, dir, all...)
	_, err := l.Accept(t.Context())
	must(t, err)
	return l
}

// force pushes the ledger as nobody should.
func (m *machines) force(t *testing.T, l *Ledger) {
	t.Helper()
	git(t, l.Repository(), "push", "-q", "--force", m.remote, ledgerRef)
}

// commit is one by gate, or by somebody who says so.
func (m *machines) commit(t *testing.T, tree, parent, message string) string {
	t.Helper()
	cmd := exec.Command("git", "commit-tree", "-p", parent, "-m", message, tree)
	cmd.Dir = m.remote
	cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=gate", "GIT_AUTHOR_EMAIL=gate@localhost", "GIT_COMMITTER_NAME=gate", "GIT_COMMITTER_EMAIL=gate@localhost")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// TestAFreshMachineSeesTruncation: it has no mark of its own, but env commits
// repeat how far the ledger was.
func TestAFreshMachineSeesTruncation(t *testing.T) {
	m := newMachines(t, 2)
	a := m.open(0)
	record(t, a, "a1", "a2", "a3")
	synced(t, a)
	ask(t, a, "staging", "Ann")
	synced(t, a)
	if _, err := m.fresh(); err != nil {
		t.Fatal(err)
	}
	for name, rev := range map[string]string{"cut": ledgerRef + "~1", "deleted": ""} {
		t.Run(name, func(t *testing.T) {
			was := git(t, m.remote, "rev-parse", ledgerRef)
			defer git(t, m.remote, "update-ref", ledgerRef, was)
			if rev == "" {
				git(t, m.remote, "update-ref", "-d", ledgerRef)
			} else {
				git(t, m.remote, "update-ref", ledgerRef, rev)
			}
			_, err := m.fresh()
			oneLine(t, err, ErrTruncated)
			if err == nil || !strings.Contains(err.Error(), "on env/staging has seen entry 3") {
				t.Error(err)
			}
		})
	}
	// What people write proves nothing, and stops nobody.
	tree := git(t, m.remote, "rev-parse", "env/staging^{tree}")
	message := withTrailers("x", trailer{markTrailer, Mark{a.ID(), 99, releaseA}.String()})
	git(t, m.remote, "update-ref", "refs/heads/env/staging", git(t, m.remote, "commit-tree", "-p", "env/staging", "-m", message, tree))
	if _, err := m.fresh(); err != nil {
		t.Error(err)
	}
}

func TestAMarkFromOutside(t *testing.T) {
	m := newMachines(t, 1)
	a := m.open(0)
	if seq, _, err := a.Head(t.Context()); err != nil || seq != 0 {
		t.Fatal(seq, err)
	}
	record(t, a, "a1")
	genesis, err := a.Mark(t.Context())
	must(t, err)
	if genesis.Seq != 0 {
		t.Errorf("%v can still move", genesis)
	}
	synced(t, a)
	mark, err := a.Mark(t.Context())
	must(t, err)
	if mark.Seq != 1 || mark.Ledger != a.ID() {
		t.Error(mark)
	}
	again, err := ParseMark(mark.String())
	must(t, err)
	must(t, a.CheckMark(t.Context(), again.Ledger, again.Seq, again.Digest))
	must(t, a.CheckMark(t.Context(), genesis.Ledger, genesis.Seq, genesis.Digest))
	oneLine(t, a.CheckMark(t.Context(), mark.Ledger, 2, mark.Digest), ErrTruncated)
	oneLine(t, a.CheckMark(t.Context(), mark.Ledger, 1, releaseA), ErrTruncated)
	oneLine(t, a.CheckMark(t.Context(), mark.Ledger, -1, mark.Digest), ErrTruncated)
	oneLine(t, a.CheckMark(t.Context(), "other", 1, mark.Digest), ErrForeign)
	for _, text := range []string{"", mark.String() + " ", " " + mark.String(), "a -1 " + releaseA, "a 01 " + releaseA, "a 1 sha256:xy", "a 1"} {
		if m, err := ParseMark(text); err == nil {
			t.Errorf("%q is taken for %v", text, m)
		}
	}
	local := openIn(t, state(t))
	appendN(t, local, 2)
	if mark, err := local.Mark(t.Context()); err != nil || mark.Seq != 2 {
		t.Error(mark, err)
	}
}

func TestAForeignRemote(t *testing.T) {
	m := newMachines(t, 1)
	l, err := m.try(0, func(o *Options) { o.App = "other" })
	must(t, err)
	l.Close()
	dir := state(t)
	other := m.trust
	other.Keys = append(other.Keys, environments.Key{ID: testKey(t, dir).ID()})
	_, err = tryOpen(t, dir, trusting(other))
	oneLine(t, err, ErrForeign)
	if !strings.Contains(err.Error(), `"other"`) {
		t.Error(err)
	}
	// One that was begun alone, and another of the same app at the remote.
	alone := openIn(t, dir)
	appendN(t, alone, 1)
	_, err = openIn(t, dir, trusting(other)).Sync(t.Context(), KeepAll{})
	oneLine(t, err, ErrForeign)
}

// TestAStrangersLedgerIsNotAdopted: all of it is verified before it is believed.
func TestAStrangersLedgerIsNotAdopted(t *testing.T) {
	m := newMachines(t, 1)
	stranger := openIn(t, state(t))
	appendN(t, stranger, 3)
	m.force(t, stranger)
	dir := m.dirs[0]
	_, err := tryOpen(t, dir, trusting(m.trust))
	oneLine(t, err, ErrBroken)
	if !strings.Contains(err.Error(), stranger.Own()) {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, markName)); !errors.Is(err, os.ErrNotExist) {
		t.Error("a mark was left of what was not believed")
	}
}

// TestAPersonCanAcceptWhatTheRemoteHas after looking into it.
func TestAPersonCanAcceptWhatTheRemoteHas(t *testing.T) {
	m := newMachines(t, 2)
	a := m.open(0)
	record(t, a, "a1", "a2")
	ask(t, a, "staging", "Ann")
	synced(t, a)
	ask(t, a, "staging", "Anna") // has seen entry 2
	synced(t, a)
	b := m.open(1)
	git(t, m.remote, "update-ref", ledgerRef, ledgerRef+"~1")
	git(t, m.remote, "update-ref", "refs/heads/env/staging", "refs/heads/env/staging~1")
	_, err := b.Sync(t.Context(), KeepAll{})
	oneLine(t, err, ErrTruncated)
	must(t, os.RemoveAll(m.dirs[1]))
	testKey(t, m.dirs[1])
	m.trust.Keys[1].ID = testKey(t, m.dirs[1]).ID()
	b = m.open(1)
	record(t, b, "b1")
	synced(t, b)
	a = m.open(0)
	_, err = a.Sync(t.Context(), KeepAll{})
	oneLine(t, err, ErrTruncated)
	_, err = a.Accept(t.Context())
	must(t, err)
	synced(t, a)
	if d := cmp.Diff([]string{"a1", "b1", "a2"}, names(t, a)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"Ann", "Anna"}, asked(t, a, "staging")); d != "" {
		t.Error(d)
	}
	verified(t, a)
}
