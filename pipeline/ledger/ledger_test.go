package ledger

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWhatIsAppendedIsRead(t *testing.T) {
	dir := state(t)
	l := openIn(t, dir)
	entries := appendN(t, l, 5)
	inProcess, err := l.Entries(t.Context(), 0)
	must(t, err)
	again := openIn(t, dir)
	fromDisk, err := again.Entries(t.Context(), 0)
	must(t, err)
	if d := cmp.Diff(inProcess, fromDisk); d != "" {
		t.Error("what is in memory after appending is not what is on disk:", d)
	}
	if len(fromDisk) != 6 || fromDisk[0].Statement.Type != GenesisType || fromDisk[5].Entry.Seq != 5 {
		t.Fatalf("got %d records", len(fromDisk))
	}
	if d := cmp.Diff(statement("check-2"), fromDisk[3].Statement); d != "" {
		t.Error(d)
	}
	tail, err := again.Entries(t.Context(), 4)
	must(t, err)
	if len(tail) != 2 || tail[0].Entry.Seq != 4 {
		t.Errorf("from 4: %d records", len(tail))
	}

	// Another's append is seen, and nothing but it is read.
	_, err = l.Append(t.Context(), statement("new"))
	must(t, err)
	seq, digest, err := again.Head(t.Context())
	must(t, err)
	if seq != 6 {
		t.Errorf("head is %d, want 6", seq)
	}
	r, err := again.Statement(t.Context(), entries[1].Statement)
	must(t, err)
	if r.Entry.Seq != entries[1].Seq {
		t.Errorf("statement is entry %d, want %d", r.Entry.Seq, entries[1].Seq)
	}
	if _, err := again.Statement(t.Context(), digestOf(nil)); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	raw, err := again.Envelope(t.Context(), r.Digest)
	must(t, err)
	if payload, signers, err := unseal(t.Context(), raw, statementPayload); err != nil || digestOf(payload) != r.Digest || signers[0] != l.Own() {
		t.Error("envelope", signers, err)
	}
	if rep := verified(t, again); rep.Digest != digest || rep.Entries != 7 || rep.Commits != 7 || rep.App != "shop" || rep.Mark != 6 {
		t.Errorf("report %+v", rep)
	}
}

func TestTheSameStatementIsRecordedOnce(t *testing.T) {
	l := openIn(t, state(t))
	first := appendN(t, l, 2)
	again := appendN(t, l, 2)
	if d := cmp.Diff(first, again); d != "" {
		t.Error(d)
	}
	batch, err := l.AppendAll(t.Context(), []Statement{statement("a"), statement("b"), statement("a"), statement("check-0")})
	must(t, err)
	if batch[0].Seq != 3 || batch[1].Seq != 4 || batch[2].Seq != 3 || batch[3].Seq != 1 {
		t.Errorf("batch got %+v", batch)
	}
	if rep := verified(t, l); rep.Entries != 5 || rep.Commits != 4 {
		t.Errorf("report %+v", rep)
	}
}

func TestABadStatementIsRefused(t *testing.T) {
	l := openIn(t, state(t))
	good := statement("x")
	for name, s := range map[string]Statement{
		"no type":      {Subject: good.Subject, Predicate: good.Predicate},
		"no subject":   {Type: "t", Predicate: good.Predicate},
		"no digest":    {Type: "t", Subject: []Subject{{Name: "x"}}, Predicate: good.Predicate},
		"short digest": {Type: "t", Subject: []Subject{Digested("x", "sha256:ab")}, Predicate: good.Predicate},
		"no predicate": {Type: "t", Subject: good.Subject},
		"not JSON":     {Type: "t", Subject: good.Subject, Predicate: []byte("{")},
		"an array":     {Type: "t", Subject: good.Subject, Predicate: []byte("[]")},
	} {
		if _, err := l.Append(t.Context(), s); err == nil {
			t.Error(name, "was recorded")
		}
	}
}

func TestAForeignLedgerIsRefused(t *testing.T) {
	dir := state(t)
	openIn(t, dir)
	_, err := tryOpen(t, dir, func(o *Options) { o.App = "other" })
	if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), `holds the ledger of "shop"`) || !strings.Contains(err.Error(), "GATE_STATE") {
		t.Error(err)
	}
}

func TestReadOnlyCreatesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	_, err := Open(t.Context(), Options{Dir: dir, App: "shop", ReadOnly: true})
	if !errors.Is(err, ErrNone) {
		t.Error(err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("created", dir)
	}
	dir = state(t)
	appendN(t, openIn(t, dir), 1)
	r, err := Open(t.Context(), Options{Dir: dir, App: "shop", ReadOnly: true})
	must(t, err)
	defer r.Close()
	if seq, _, err := r.Head(t.Context()); err != nil || seq != 1 {
		t.Error(seq, err)
	}
	if _, err := r.Append(t.Context(), statement("x")); !errors.Is(err, ErrReadOnly) {
		t.Error(err)
	}
}

func TestAStateDirectoryThatCannotBeWritten(t *testing.T) {
	key := testKey(t, state(t))
	t.Run("below a file", func(t *testing.T) {
		f := filepath.Join(t.TempDir(), "file")
		must(t, os.WriteFile(f, nil, 0o600))
		_, err := Open(t.Context(), Options{Dir: filepath.Join(f, "state"), App: "shop", Signer: key, Now: time.Now})
		oneLine(t, err, ErrReadOnly)
	})
	t.Run("by its mode", func(t *testing.T) {
		// A mode is no obstacle for root, so another user opens it.
		dir := filepath.Join(t.TempDir(), "state")
		must(t, os.Mkdir(dir, 0o700))
		must(t, os.Chmod(filepath.Dir(filepath.Dir(dir)), 0o755))
		cmd := helperCommand(t, "open", dir, "", 0)
		must(t, os.WriteFile(filepath.Join(dir, "key"), readFile(t, writtenKey(t)), 0o600))
		if os.Geteuid() == 0 {
			const nobody = 65534
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
			must(t, os.Chown(dir, nobody, nobody))
			must(t, os.Chown(filepath.Join(dir, "key"), nobody, nobody))
		}
		must(t, os.Chmod(dir, 0o500))
		defer os.Chmod(dir, 0o700)
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), ErrReadOnly.Error()) || strings.Count(string(out), "\n") != 1 {
			t.Errorf("%v: %s", err, out)
		}
	})
}

func writtenKey(t *testing.T) string {
	dir := state(t)
	testKey(t, dir)
	return filepath.Join(dir, "key")
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return b
}

func oneLine(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want one line that is %v", err, want)
	}
}

func TestGitsWordsAreClassified(t *testing.T) {
	for said, want := range map[string]error{
		"fatal: sha1 file 'x' write error. Out of diskspace":                                                           ErrNoSpace,
		"fatal: write error: No space left on device\nfast-import: dumping crash report to x":                          ErrNoSpace,
		"error: unable to create temporary file: Read-only file system":                                                ErrReadOnly,
		"fatal: Unable to create temporary file './objects/pack/tmp_pack_XXXXXX': Permission denied":                   ErrReadOnly,
		"warning: Not updating refs/heads/gate/ledger (new tip a does not contain b)":                                  errMoved,
		"error: cannot lock ref 'refs/heads/gate/ledger': is at aa but expected bb\nfatal: could not update ref there": errMoved,
	} {
		oneLine(t, gitError("write", said, errors.New("exit status 1")), want)
	}
	if got := redact("push to https://bot:secret@example.org/x failed"); strings.Contains(got, "secret") || !strings.Contains(got, "example.org/x") {
		t.Error(got)
	}
}

func TestTheUsersGitConfigurationHasNoEffect(t *testing.T) {
	home := t.TempDir()
	evil := "[commit]\n\tgpgsign = true\n[core]\n\tautocrlf = true\n\thooksPath = " + home + "\n\tpager = false\n[init]\n\tdefaultObjectFormat = sha256\n\tdefaultRefFormat = reftable\n\ttemplateDir = " + home +
		"\n[gpg]\n\tprogram = /bin/false\n[user]\n\tuseConfigOnly = true\n[fsck]\n\tskipList = /nowhere\n[alias]\n\tcat-file = !false\n[push]\n\tgpgSign = true\n[safe]\n\tbareRepository = explicit\n"
	must(t, os.WriteFile(filepath.Join(home, ".gitconfig"), []byte(evil), 0o600))
	must(t, os.WriteFile(filepath.Join(home, "reference-transaction"), []byte("#!/bin/sh\nexit 1\n"), 0o700))
	env := append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "GIT_DIR=/nowhere", "GIT_WORK_TREE=/nowhere", "GIT_OBJECT_DIRECTORY=/nowhere",
		"GIT_DEFAULT_HASH=sha256", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=core.hooksPath", "GIT_CONFIG_VALUE_0="+home,
		"GIT_COMMITTER_NAME=evil", "LANG=de_DE.UTF-8", "GIT_TRACE=1", "GIT_TEMPLATE_DIR="+home, "GIT_NAMESPACE=x")
	dir := state(t)
	l := openIn(t, dir, func(o *Options) { o.Env = env })
	appendN(t, l, 3)
	must(t, l.Pack(t.Context()))
	verified(t, l)
	if got := git(t, l.Repository(), "log", "-1", "--format=%an <%ae> %H", "gate/ledger"); !strings.HasPrefix(got, gateCommitter) || len(got) != len(gateCommitter)+1+40 {
		t.Error(got)
	}
	if _, err := os.Stat(filepath.Join(l.Repository(), "reference-transaction")); err == nil {
		t.Error("the template was used")
	}
}

func TestPackKeepsEverything(t *testing.T) {
	dir := state(t)
	l := openIn(t, dir)
	appendN(t, l, 20)
	if n, err := l.Loose(t.Context()); err != nil || n != 20 {
		t.Errorf("loose %d %v, want 20", n, err)
	}
	must(t, os.WriteFile(filepath.Join(l.Repository(), "packed-refs.lock"), nil, 0o600))
	must(t, os.WriteFile(filepath.Join(l.Repository(), "fast_import_crash_1"), nil, 0o600))
	must(t, l.Pack(t.Context()))
	if n, err := l.Loose(t.Context()); err != nil || n > 4 {
		t.Errorf("loose after packing %d %v", n, err)
	}
	appendN(t, l, 22)
	if rep := verified(t, openIn(t, dir)); rep.Entries != 23 {
		t.Errorf("%+v", rep)
	}
	if _, err := exec.Command("git", "--git-dir", l.Repository(), "fsck", "--strict").CombinedOutput(); err != nil {
		t.Error("git fsck:", err)
	}
}
