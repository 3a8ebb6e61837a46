package ledger

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const releaseA, releaseB = "sha256:" + "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "sha256:" + "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

func TestRequestsAreReadOldestFirst(t *testing.T) {
	l := openIn(t, state(t))
	none, err := l.Requests(t.Context(), "production")
	if err != nil || len(none) != 0 {
		t.Error(none, err)
	}
	a := Request{Release: releaseA, Commit: strings.Repeat("1", 40), By: "Ann", Reason: "first\nline"}
	b := Request{Release: releaseB, By: "Bob", Rollback: true}
	ida, err := l.Request(t.Context(), "production", a)
	must(t, err)
	idb, err := l.Request(t.Context(), "production", b)
	must(t, err)
	_, err = l.Request(t.Context(), "staging", a)
	must(t, err)
	got, err := l.Requests(t.Context(), "production")
	must(t, err)
	a.Environment, b.Environment = "production", "production"
	if len(got) != 2 || got[0].ID != ida || got[1].ID != idb || got[0].At.IsZero() || got[0].Author != gateCommitter {
		t.Fatalf("%+v", got)
	}
	if d := cmp.Diff([]Request{a, b}, []Request{got[0].Request, got[1].Request}); d != "" {
		t.Error(d)
	}
}

func TestABadRequestIsRefused(t *testing.T) {
	l := openIn(t, state(t))
	good := Request{Release: releaseA, By: "Ann"}
	for name, spoil := range map[string]func(*Request){
		"release": func(q *Request) { q.Release = "v1" }, "commit": func(q *Request) { q.Commit = "abc" },
		"by": func(q *Request) { q.By = " " }, "by with a line": func(q *Request) { q.By = "a\nb" },
		"environment": func(q *Request) { q.Environment = "staging" }, "reason": func(q *Request) { q.Reason = "\x1b[2J" },
	} {
		q := good
		spoil(&q)
		if _, err := l.Request(t.Context(), "production", q); err == nil {
			t.Error(name, "was accepted")
		}
	}
	for _, env := range []string{"", "../x", "a b", "A", "x.lock"} {
		if _, err := l.Request(t.Context(), env, good); err == nil {
			t.Errorf("environment %q was accepted", env)
		}
	}
}

func TestRequestsThatPeoplePush(t *testing.T) {
	l := openIn(t, state(t))
	for _, r := range []string{releaseA, releaseB} {
		_, err := l.Request(t.Context(), "production", Request{Release: r, By: "gate user", Reason: "forward"})
		must(t, err)
	}
	clone := filepath.Join(t.TempDir(), "clone")
	git(t, filepath.Dir(clone), "clone", "-q", "-b", "env/production", l.Repository(), clone)
	write := func(content string) {
		must(t, os.WriteFile(filepath.Join(clone, requestFile), []byte(content), 0o600))
		git(t, clone, "commit", "-qam", "by hand")
	}
	git(t, clone, "revert", "--no-edit", "HEAD")
	write(`{"release":"` + releaseB + `","note":"unknown is fine","by":"somebody else"}`)
	write(`{"release":"latest"}`)
	write(`not JSON`)
	git(t, clone, "rm", "-q", requestFile)
	git(t, clone, "commit", "-qm", "nothing left")
	git(t, clone, "checkout", "-qb", "side")
	write2 := `{"release":"` + releaseA + `"}`
	must(t, os.WriteFile(filepath.Join(clone, requestFile), []byte(write2), 0o600))
	git(t, clone, "add", ".")
	git(t, clone, "commit", "-qm", "on a side branch")
	git(t, clone, "checkout", "-q", "env/production")
	git(t, clone, "merge", "-q", "--no-ff", "-m", "reviewed", "side")
	git(t, clone, "push", "-q", "origin", "env/production")

	got, err := l.Requests(t.Context(), "production")
	must(t, err)
	if len(got) != 8 {
		t.Fatalf("%d requests", len(got))
	}
	ann := "Ann <ann@example.org>"
	revert := got[2]
	if revert.Err != nil || revert.Reverts != got[1].ID || revert.Request.Release != releaseA || !revert.Request.Rollback || revert.Request.By != ann {
		t.Errorf("revert %+v", revert)
	}
	if r := got[3]; r.Err != nil || r.Request.Release != releaseB || r.Request.By != ann || r.Request.Rollback {
		t.Errorf("by hand %+v", r)
	}
	for i, says := range map[int]string{4: `release "latest"`, 5: "not a JSON object", 6: "no file request.json"} {
		r := got[i]
		if r.Err == nil || r.Request != (Request{}) || !strings.Contains(r.Err.Error(), says) || !strings.Contains(r.Err.Error(), r.ID) || !strings.Contains(r.Err.Error(), "git revert") {
			t.Errorf("%d: %+v", i, r)
		}
	}
	if r := got[7]; r.Err != nil || r.Request.Release != releaseA {
		t.Errorf("merge %+v", r)
	}
	// And gate goes on from there.
	_, err = l.Request(t.Context(), "production", Request{Release: releaseB, By: "Bob"})
	must(t, err)
	if got, err = l.Requests(t.Context(), "production"); err != nil || len(got) != 9 {
		t.Error(len(got), err)
	}
}

func TestAStaleLockOfAnEnvironmentIsWaitedForAndRemoved(t *testing.T) {
	l := openIn(t, state(t))
	q := Request{Release: releaseA, By: "Ann"}
	_, err := l.Request(t.Context(), "staging", q)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(l.Repository(), "refs/heads/env/staging.lock"), nil, 0o600))
	_, err = l.Request(t.Context(), "staging", q)
	must(t, err)
}
