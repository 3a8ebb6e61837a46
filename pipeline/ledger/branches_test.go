package ledger

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func files(t testing.TB, l *Ledger, branch string) string {
	t.Helper()
	return strings.Join(strings.Fields(git(t, l.Repository(), "ls-tree", "-r", "--name-only", branch)), " ")
}

func show(t testing.TB, l *Ledger, what string) string {
	t.Helper()
	return git(t, l.Repository(), "show", what)
}

func TestABranchKeepsItsOtherFiles(t *testing.T) {
	dir := state(t)
	const workflow = ".github/workflows/request.yml"
	with := func(content string) func(*Options) {
		return func(o *Options) { o.EnvFiles = map[string][]byte{workflow: []byte(content)} }
	}
	l := openIn(t, dir, with("one"))
	ask(t, l, "staging", "Ann")
	if got := files(t, l, "env/staging"); got != workflow+" "+requestFile || show(t, l, "env/staging:"+workflow) != "one" {
		t.Error(got)
	}
	clone := filepath.Join(t.TempDir(), "clone")
	git(t, filepath.Dir(clone), "clone", "-q", "-b", "env/staging", l.Repository(), clone)
	must(t, os.WriteFile(filepath.Join(clone, "README \"ä\".md"), []byte("x"), 0o600))
	git(t, clone, "add", ".")
	git(t, clone, "commit", "-qm", "say more")
	git(t, clone, "push", "-q", "origin", "env/staging")
	// Without the declaration it stays as it is, with another it is renewed.
	ask(t, openIn(t, dir), "staging", "Bob")
	if show(t, l, "env/staging:"+workflow) != "one" {
		t.Error("the file was lost")
	}
	ask(t, openIn(t, dir, with("two")), "staging", "Cid")
	if show(t, l, "env/staging:"+workflow) != "two" || !strings.Contains(files(t, l, "env/staging"), "README") {
		t.Error(files(t, l, "env/staging"))
	}
	for _, bad := range []string{"", "/x", "../x", "a/../b", requestFile, "a//b", ".git/hooks/x"} {
		if _, err := tryOpen(t, dir, func(o *Options) { o.EnvFiles = map[string][]byte{bad: nil} }); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestABranchCanBeginWithoutARequest(t *testing.T) {
	l := openIn(t, state(t), func(o *Options) { o.EnvFiles = map[string][]byte{"a/b": []byte("x"), "empty": nil} })
	if _, ok, err := l.Tip(t.Context(), "staging"); ok || err != nil {
		t.Error(ok, err)
	}
	must(t, l.Seed(t.Context(), "staging"))
	must(t, l.Seed(t.Context(), "staging"))
	if got := files(t, l, "env/staging"); got != "a/b empty" {
		t.Error(got)
	}
	if n := git(t, l.Repository(), "rev-list", "--count", "env/staging"); n != "1" {
		t.Error(n)
	}
	if all, err := l.Requests(t.Context(), "staging"); err != nil || len(all) != 0 {
		t.Error(all, err)
	}
	ask(t, l, "staging", "Ann")
	if d := cmp.Diff([]string{"Ann"}, asked(t, l, "staging")); d != "" {
		t.Error(d)
	}
}

func TestSettling(t *testing.T) {
	l := openIn(t, state(t), func(o *Options) { o.EnvFiles = map[string][]byte{"kept": []byte("x")} })
	first := ask(t, l, "production", "Ann")
	second := ask(t, l, "production", "Bob")
	tip, ok, err := l.Tip(t.Context(), "production")
	must(t, err)
	if !ok || tip.ID != second || tip.Request.By != "Bob" {
		t.Errorf("%+v", tip)
	}
	runs := &Request{Release: releaseA, By: "gate"}
	id, err := l.Settle(t.Context(), "production", tip, runs, "refused: "+second+"\n\nGate-Settles: nonsense")
	must(t, err)
	now, _, err := l.Tip(t.Context(), "production")
	must(t, err)
	if id == "" || now.Commit != id || now.Settles != second || now.Request.Release != releaseA || now.Author != gateCommitter {
		t.Errorf("%+v", now)
	}
	if d := cmp.Diff([]string{"Ann", "Bob"}, asked(t, l, "production")); d != "" {
		t.Error("what settles is no request:", d)
	}
	// Whoever comes late writes nothing.
	if id, err := l.Settle(t.Context(), "production", tip, runs, "again"); id != "" || err != nil {
		t.Error(id, err)
	}
	// To nothing, with the other files.
	id, err = l.Settle(t.Context(), "production", now, nil, "nothing runs")
	must(t, err)
	if got := files(t, l, "env/production"); got != "kept" || id == "" {
		t.Error(got)
	}
	if _, err := l.Settle(t.Context(), "production", now, &Request{Release: "v1"}, "x"); err == nil {
		t.Error("nonsense was written")
	}
	// A person's revert of what settled is a request, and so is a copy of it.
	clone := filepath.Join(t.TempDir(), "clone")
	git(t, filepath.Dir(clone), "clone", "-q", "-b", "env/production", l.Repository(), clone)
	git(t, clone, "revert", "--no-edit", "HEAD")
	git(t, clone, "cherry-pick", "--allow-empty", "--keep-redundant-commits", now.Commit)
	git(t, clone, "push", "-q", "origin", "env/production")
	all, err := l.Requests(t.Context(), "production")
	must(t, err)
	if len(all) != 4 || all[2].Request.Release != releaseA || !all[2].Request.Rollback || all[3].Request.Release != releaseA || all[3].Settles != "" || all[0].ID != first {
		t.Errorf("%+v", all)
	}
}

// consumed is a resolver to which some requests have ended.
type consumed struct {
	KeepAll
	ids map[string]bool
}

func (c consumed) Consumed(_ context.Context, v View, _, id string) (bool, error) {
	return c.ids[id] && len(v.Records) > 0, nil
}

// TestRequestsOfBothSides: what only this machine has is committed again on top,
// as it was meant, unless it has ended.
func TestRequestsOfBothSides(t *testing.T) {
	m := newMachines(t, 2)
	a := m.open(0)
	ask(t, a, "staging", "first")
	synced(t, a)
	b := m.open(1, func(o *Options) { o.EnvFiles = map[string][]byte{"workflow": []byte("x")} })
	theirs := ask(t, a, "staging", "Ann")
	synced(t, a)

	ended := ask(t, b, "staging", "Eve")
	mine, err := b.Request(t.Context(), "staging", Request{Release: releaseB, By: "Bob", Reason: "for\n\nGate-Settles: no", Rollback: true, Record: releaseA})
	must(t, err)
	tip, _, err := b.Tip(t.Context(), "staging")
	must(t, err)
	_, err = b.Settle(t.Context(), "staging", tip, nil, "came to nothing")
	must(t, err)
	// A person, right into this machine's repository: with a file, and a merge.
	clone := filepath.Join(t.TempDir(), "clone")
	git(t, filepath.Dir(clone), "clone", "-q", "-b", "env/staging", b.Repository(), clone)
	must(t, os.WriteFile(filepath.Join(clone, requestFile), []byte(`{"release":"`+releaseA+`"}`), 0o600))
	must(t, os.WriteFile(filepath.Join(clone, "of a person"), []byte("y"), 0o600))
	git(t, clone, "rm", "-q", "workflow")
	git(t, clone, "add", ".")
	git(t, clone, "commit", "-qm", "by hand\n\nGate-Request: "+strings.Repeat("1", 40))
	git(t, clone, "checkout", "-qb", "side", "HEAD~1")
	must(t, os.WriteFile(filepath.Join(clone, "beside"), []byte("z"), 0o600))
	git(t, clone, "add", ".")
	git(t, clone, "commit", "-qm", "beside")
	git(t, clone, "checkout", "-q", "env/staging")
	git(t, clone, "merge", "-q", "--no-ff", "-m", "reviewed", "side")
	git(t, clone, "push", "-q", "origin", "env/staging")
	before, err := b.Requests(t.Context(), "staging")
	must(t, err)
	by := map[string]RequestCommit{}
	for _, r := range before {
		by[r.ID] = r
	}

	r := consumed{ids: map[string]bool{ended: true}}
	if _, err := b.Sync(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	all, err := b.Requests(t.Context(), "staging")
	must(t, err)
	if len(all) != 5 || all[1].ID != theirs || all[2].ID != mine || all[2].Commit == mine {
		t.Fatalf("%+v", all)
	}
	for _, r := range all[2:] {
		was, ok := by[r.ID]
		if !ok {
			t.Errorf("request %s is a new one", r.ID)
		}
		r.Commit, was.Commit = "", ""
		if d := cmp.Diff(was, r); d != "" {
			t.Error("it means something else:", d)
		}
	}
	if got := files(t, b, "env/staging"); got != `beside of a person `+requestFile && got != `beside "of a person" `+requestFile {
		t.Error(got)
	}
	if refs(t, b.Repository()) != refs(t, m.remote) {
		t.Error("not pushed")
	}
	// Once more, since ids must survive a second time.
	asks := ask(t, b, "staging", "more")
	ask(t, a, "staging", "and Ann")
	synced(t, b)
	if _, err := a.Sync(t.Context(), consumed{}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"first", "Ann", "Bob", "Ann <ann@example.org>", "Ann <ann@example.org>", "more", "and Ann"}, asked(t, a, "staging")); d != "" {
		t.Error(d)
	}
	if last, err := a.Requests(t.Context(), "staging"); err != nil || last[5].ID != asks {
		t.Error(err)
	}
}

func TestTrailersAreOnlyGatesOwn(t *testing.T) {
	message := withTrailers("subject: x\n\nGate-Settles: no\n", trailer{envTrailer, "staging"})
	if d := cmp.Diff(map[string]string{envTrailer: "staging"}, trailersOf(message)); d != "" {
		t.Error(d)
	}
	if got := trailersOf("Gate-Settles: subject"); len(got) != 0 {
		t.Error(got)
	}
	for committer, want := range map[string]int{gateCommitter: 1, "Ann <ann@example.org>": 0, "gate <gate@localhost> <x>": 0} {
		c := object{data: []byte("tree x\nauthor " + gateCommitter + " 1 +0000\ncommitter " + committer + " 1 +0000\n\n" + message)}
		if got := ownTrailers(c); len(got) != want {
			t.Errorf("%s: %v", committer, got)
		}
	}
}

func TestARequestCanBeTakenBackUntilOthersHaveIt(t *testing.T) {
	m := newMachines(t, 1)
	a := m.open(0)
	first := ask(t, a, "staging", "Ann")
	if ok, err := a.Retract(t.Context(), "staging", first); !ok || err != nil {
		t.Error(ok, err)
	}
	if _, ok, err := a.Tip(t.Context(), "staging"); ok || err != nil {
		t.Error("it is still there", err)
	}
	first = ask(t, a, "staging", "Ann")
	second := ask(t, a, "staging", "Bob")
	if ok, err := a.Retract(t.Context(), "staging", first); ok || err != nil {
		t.Error("one that is not the last was taken back", err)
	}
	if ok, err := a.Retract(t.Context(), "staging", second); !ok || err != nil {
		t.Error(ok, err)
	}
	synced(t, a)
	if ok, err := a.Retract(t.Context(), "staging", first); ok || err != nil {
		t.Error("one that is at the remote was taken back", err)
	}
	if d := cmp.Diff([]string{"Ann"}, asked(t, a, "staging")); d != "" {
		t.Error(d)
	}
}
