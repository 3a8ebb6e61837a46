package ledger

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/smartcloudops/gate/environments"
)

func TestTruncationShows(t *testing.T) {
	for name, rewrite := range map[string]func(t *testing.T, l *Ledger){
		"reset": func(t *testing.T, l *Ledger) {
			git(t, l.Repository(), "update-ref", ledgerRef, ledgerRef+"~2")
		},
		"reset and gone on": func(t *testing.T, l *Ledger) {
			git(t, l.Repository(), "update-ref", ledgerRef, ledgerRef+"~2")
			must(t, os.Rename(l.path(markName), l.path("kept")))
			other := openIn(t, l.opt.Dir)
			appendUnmarked(t, other, 4)
			must(t, os.Rename(l.path("kept"), l.path(markName)))
		},
		"branch deleted": func(t *testing.T, l *Ledger) {
			git(t, l.Repository(), "update-ref", "-d", ledgerRef)
		},
		"mark deleted":       func(t *testing.T, l *Ledger) { must(t, os.Remove(l.path(markName))) },
		"mark damaged":       func(t *testing.T, l *Ledger) { must(t, os.WriteFile(l.path(markName), []byte("{}"), 0o600)) },
		"repository deleted": func(t *testing.T, l *Ledger) { must(t, os.RemoveAll(l.Repository())) },
		"another ledger": func(t *testing.T, l *Ledger) {
			other := openIn(t, state(t))
			appendN(t, other, 9)
			must(t, os.RemoveAll(l.Repository()))
			must(t, os.CopyFS(l.Repository(), os.DirFS(other.Repository())))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := state(t)
			l := openIn(t, dir)
			appendN(t, l, 5)
			rewrite(t, l)
			fresh, err := tryOpen(t, dir)
			if err != nil {
				oneLine(t, err, ErrTruncated)
				return
			}
			_, err = fresh.Entries(t.Context(), 0)
			oneLine(t, err, ErrTruncated)
			_, err = fresh.Append(t.Context(), statement("on top"))
			oneLine(t, err, ErrTruncated)
			_, err = fresh.Verify(t.Context())
			oneLine(t, err, ErrTruncated)
			// One that had read it before is not deceived either.
			if _, err := l.Entries(t.Context(), 0); !errors.Is(err, ErrTruncated) && !errors.Is(err, ErrBroken) {
				t.Error(err)
			}
		})
	}
}

// appendUnmarked appends without a look at the mark, as an attacker would.
func appendUnmarked(t *testing.T, l *Ledger, n int) {
	t.Helper()
	seq, digest, err := func() (int64, string, error) {
		must(t, mark{Ledger: l.id, point: point{0, genesisDigest(t, l)}}.write(l.path(markName)))
		return l.Head(t.Context())
	}()
	must(t, err)
	if seq == 0 || digest == "" {
		t.Fatal("nothing to go on from")
	}
	for i := range n {
		_, err := l.Append(t.Context(), statement(fmt.Sprint("beside-", i)))
		must(t, err)
	}
}

func genesisDigest(t *testing.T, l *Ledger) string {
	raw := git(t, l.Repository(), "show", ledgerRef+":"+entryPath(0)+entrySuffix)
	payload, _, err := unseal(t.Context(), []byte(raw), entryPayload)
	must(t, err)
	return digestOf(payload)
}

func TestAnOperatorCanAcceptWhatIsThere(t *testing.T) {
	dir := state(t)
	l := openIn(t, dir)
	appendN(t, l, 4)
	git(t, l.Repository(), "update-ref", ledgerRef, ledgerRef+"~2")
	if rep, err := l.Accept(t.Context()); err != nil || rep.Seq != 2 {
		t.Fatal(rep, err)
	}
	e, err := l.Append(t.Context(), statement("on"))
	must(t, err)
	if e.Seq != 3 {
		t.Error(e)
	}
	verified(t, openIn(t, dir))
}

// change rewrites files of the ledger's tree with plumbing, keeping the chain of
// commits. Nil data deletes.
func change(t *testing.T, l *Ledger, files map[string][]byte) {
	t.Helper()
	parent := git(t, l.Repository(), "rev-parse", ledgerRef)
	index := filepath.Join(t.TempDir(), "index")
	t.Setenv("GIT_INDEX_FILE", index)
	git(t, l.Repository(), "read-tree", parent)
	for path, data := range files {
		if data == nil {
			git(t, l.Repository(), "rm", "--cached", "-q", path)
			continue
		}
		f := filepath.Join(t.TempDir(), "blob")
		must(t, os.WriteFile(f, data, 0o600))
		id := git(t, l.Repository(), "hash-object", "-w", f)
		git(t, l.Repository(), "update-index", "--add", "--cacheinfo", "100644,"+id+","+path)
	}
	tree := git(t, l.Repository(), "write-tree")
	git(t, l.Repository(), "update-ref", ledgerRef, git(t, l.Repository(), "commit-tree", "-p", parent, "-m", "x", tree))
}

func TestVerifyNamesTheEntryThatWasTamperedWith(t *testing.T) {
	const seq = 3
	entry, stmt := entryPath(seq)+entrySuffix, entryPath(seq)+statementSuffix
	read := func(t *testing.T, l *Ledger, path string) dsse.Envelope {
		var e dsse.Envelope
		must(t, json.Unmarshal([]byte(git(t, l.Repository(), "show", ledgerRef+":"+path)), &e))
		return e
	}
	write := func(t *testing.T, e dsse.Envelope) []byte {
		b, err := json.Marshal(e)
		must(t, err)
		return b
	}
	edit := func(t *testing.T, e dsse.Envelope, from, to string) dsse.Envelope {
		p, err := e.DecodeB64Payload()
		must(t, err)
		if !bytes.Contains(p, []byte(from)) {
			t.Fatalf("%s holds no %q", p, from)
		}
		e.Payload = base64.StdEncoding.EncodeToString(bytes.Replace(p, []byte(from), []byte(to), 1))
		return e
	}
	// sign makes an envelope anew with the given key.
	sign := func(t *testing.T, k *Key, e dsse.Envelope) []byte {
		p, err := e.DecodeB64Payload()
		must(t, err)
		b, err := seal(t.Context(), k, e.PayloadType, p)
		must(t, err)
		return b
	}
	stranger := testKey(t, state(t))

	for name, tt := range map[string]struct {
		tamper func(t *testing.T, l *Ledger) map[string][]byte
		says   string
	}{
		"statement": {func(t *testing.T, l *Ledger) map[string][]byte {
			return map[string][]byte{stmt: write(t, edit(t, read(t, l, stmt), "check-2", "check-X"))}
		}, "bad signature"},
		"statement signed anew by the own key": {func(t *testing.T, l *Ledger) map[string][]byte {
			return map[string][]byte{stmt: sign(t, l.opt.Signer.(*Key), edit(t, read(t, l, stmt), "check-2", "check-X"))}
		}, "cites statement sha256:"},
		"the same statement signed by another": {func(t *testing.T, l *Ledger) map[string][]byte {
			return map[string][]byte{stmt: sign(t, stranger, read(t, l, stmt))}
		}, "cites a statement signed by"},
		"entry": {func(t *testing.T, l *Ledger) map[string][]byte {
			return map[string][]byte{entry: write(t, edit(t, read(t, l, entry), `"seq":3`, `"seq":4`))}
		}, "bad signature"},
		"signature": {func(t *testing.T, l *Ledger) map[string][]byte {
			e := read(t, l, entry)
			e.Signatures[0].Sig = base64.StdEncoding.EncodeToString(make([]byte, 64))
			return map[string][]byte{entry: write(t, e)}
		}, "bad signature"},
		"a bad signature beside the good one": {func(t *testing.T, l *Ledger) map[string][]byte {
			e := read(t, l, stmt)
			e.Signatures = append(e.Signatures, dsse.Signature{KeyID: stranger.ID(), Sig: e.Signatures[0].Sig})
			return map[string][]byte{stmt: write(t, e)}
		}, "bad signature"},
		"no signature": {func(t *testing.T, l *Ledger) map[string][]byte {
			e := read(t, l, stmt)
			e.Signatures = nil
			return map[string][]byte{stmt: write(t, e)}
		}, "0 signatures"},
		"swapped entries": {func(t *testing.T, l *Ledger) map[string][]byte {
			other := entryPath(4)
			return map[string][]byte{
				entry: write(t, read(t, l, other+entrySuffix)), stmt: write(t, read(t, l, other+statementSuffix)),
				other + entrySuffix: write(t, read(t, l, entry)), other + statementSuffix: write(t, read(t, l, stmt)),
			}
		}, "says that it is entry 4"},
		"swapped statements": {func(t *testing.T, l *Ledger) map[string][]byte {
			other := entryPath(4) + statementSuffix
			return map[string][]byte{stmt: write(t, read(t, l, other)), other: write(t, read(t, l, stmt))}
		}, "cites statement"},
		"entry replaced in the middle of the chain": {func(t *testing.T, l *Ledger) map[string][]byte {
			return map[string][]byte{entry: sign(t, l.opt.Signer.(*Key), edit(t, read(t, l, entry), `"at":"2`, `"at":"3`))}
		}, ""},
		"entry missing": {func(*testing.T, *Ledger) map[string][]byte {
			return map[string][]byte{entry: nil, stmt: nil}
		}, "missing"},
		"a foreign key": {func(t *testing.T, l *Ledger) map[string][]byte {
			return map[string][]byte{entry: sign(t, stranger, read(t, l, entry))}
		}, "whom environments/trust.yaml does not list"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := state(t)
			l := openIn(t, dir)
			appendN(t, l, 5)
			change(t, l, tt.tamper(t, l))
			l = openIn(t, dir)
			rep, err := l.Verify(t.Context())
			oneLine(t, err, ErrBroken)
			at := int64(seq)
			if tt.says == "" {
				// The entry itself is in order: the next one does not follow it.
				at, tt.says = seq+1, "follows sha256:"
			}
			if len(rep.Problems) == 0 || rep.Problems[0].Seq != at || !strings.Contains(rep.Problems[0].What, tt.says) || !strings.Contains(err.Error(), fmt.Sprintf("entry %d", at)) {
				t.Errorf("want entry %d and %q, got %v, %+v", at, tt.says, err, rep.Problems)
			}
			if name == "a foreign key" {
				records, err := l.Entries(t.Context(), 0)
				must(t, err)
				if l.Trusted(records[seq], Measure, "") || !l.Trusted(records[seq-1], Measure, "") {
					t.Error("a record that a stranger entered is trusted")
				}
				return
			}
			if _, err := l.Entries(t.Context(), 0); !errors.Is(err, ErrBroken) {
				t.Error("entries:", err)
			}
		})
	}
}

func TestVerifySeesMergesAndStrayFiles(t *testing.T) {
	dir := state(t)
	l := openIn(t, dir)
	appendN(t, l, 2)
	tree := git(t, l.Repository(), "rev-parse", ledgerRef+"^{tree}")
	merge := git(t, l.Repository(), "commit-tree", "-p", ledgerRef, "-p", ledgerRef+"~1", "-m", "merge", tree)
	git(t, l.Repository(), "update-ref", ledgerRef, merge)
	if _, err := openIn(t, dir).Verify(t.Context()); !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), "2 parents") {
		t.Error(err)
	}
	dir = state(t)
	l = openIn(t, dir)
	appendN(t, l, 2)
	change(t, l, map[string][]byte{"log/!stray": []byte("x"), "later/file": []byte("y")})
	if _, err := openIn(t, dir).Verify(t.Context()); !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), "log/!stray") {
		t.Error(err)
	}
}

func TestUnknownFieldsAreRead(t *testing.T) {
	dir := state(t)
	l := openIn(t, dir)
	key := l.opt.Signer.(*Key)
	_, prev, err := l.Head(t.Context())
	must(t, err)
	stmt := []byte(`{"_type":"` + statementType + `","new":1,"subject":[{"digest":{"sha256":"` + strings.Repeat("ab", 32) + `"},"uri":"x"}],"predicateType":"t","predicate":{"a":1}}`)
	sealed, err := seal(t.Context(), key, statementPayload, stmt)
	must(t, err)
	payload := fmt.Appendf(nil, `{"ledger":%q,"seq":1,"prev":%q,"statement":%q,"signers":[%q],"at":%q,"later":true}`, l.ID(), prev, digestOf(stmt), key.ID(), time.Now().UTC().Format(time.RFC3339))
	entry, err := seal(t.Context(), key, entryPayload, payload)
	must(t, err)
	change(t, l, map[string][]byte{entryPath(1) + entrySuffix: entry, entryPath(1) + statementSuffix: sealed})
	must(t, mark{Ledger: l.ID(), point: point{1, digestOf(payload)}}.write(l.path(markName)))
	appendN(t, l, 1)
	verified(t, openIn(t, dir))
}

func TestImportKeepsTheSignatureOfOthers(t *testing.T) {
	from := openIn(t, state(t))
	e, err := from.Append(t.Context(), statement("outside"))
	must(t, err)
	raw, err := from.Envelope(t.Context(), e.Statement)
	must(t, err)

	dir := state(t)
	if _, err := openIn(t, dir).Import(t.Context(), raw); err == nil || !strings.Contains(err.Error(), "trust.yaml") {
		t.Error("a stranger's statement:", err)
	}
	l := openIn(t, dir, trusting(environments.Trust{Keys: []environments.Key{{ID: from.Own(), May: []string{Measure}}}}))
	// The same words signed by this machine are another's word no less.
	_, err = l.Append(t.Context(), statement("outside"))
	must(t, err)
	got, err := l.Import(t.Context(), raw)
	must(t, err)
	if got.Seq != 2 || got.Signers[0] != from.Own() {
		t.Errorf("%+v", got)
	}
	again, err := l.Import(t.Context(), raw)
	must(t, err)
	if again.Seq != 2 {
		t.Error("imported twice")
	}
	verified(t, l)
	if _, err := l.Import(t.Context(), bytes.Replace(raw, []byte(`"payload":"`), []byte(`"payload":"AAAA`), 1)); err == nil {
		t.Error("a tampered envelope was imported")
	}
}
