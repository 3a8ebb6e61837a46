package ledger

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/smartcloudops/gate/environments"
)

func TestMirrorPushesFastForwardOnly(t *testing.T) {
	remote := filepath.Join(t.TempDir(), "remote.git")
	git(t, filepath.Dir(remote), "init", "-q", "--bare", remote)
	dir := state(t)
	l := openIn(t, dir, trusting(environments.Trust{Remote: remote}))
	must(t, l.Mirror(t.Context()))
	appendN(t, l, 2)
	_, err := l.Request(t.Context(), "staging", Request{Release: releaseA, By: "Ann"})
	must(t, err)
	must(t, l.Mirror(t.Context()))
	must(t, l.Mirror(t.Context()))
	same := func(ref string) bool {
		return git(t, remote, "rev-parse", ref) == git(t, l.Repository(), "rev-parse", ref)
	}
	if !same("gate/ledger") || !same("env/staging") {
		t.Error("the remote is behind")
	}

	// Somebody else's commit there is never overwritten, and nothing goes halfway.
	tree := git(t, remote, "rev-parse", "env/staging^{tree}")
	git(t, remote, "update-ref", "refs/heads/env/staging", git(t, remote, "commit-tree", "-p", "env/staging", "-m", "elsewhere", tree))
	before := git(t, remote, "rev-parse", "gate/ledger")
	appendN(t, l, 3)
	_, err = l.Request(t.Context(), "staging", Request{Release: releaseB, By: "Ann"})
	must(t, err)
	err = l.Mirror(t.Context())
	oneLine(t, err, ErrDiverged)
	if !strings.Contains(err.Error(), "env/staging") || git(t, remote, "rev-parse", "gate/ledger") != before {
		t.Error(err)
	}
}

func TestMirrorWithoutOrWithABadRemote(t *testing.T) {
	dir := state(t)
	must(t, openIn(t, dir).Mirror(t.Context()))
	for remote, says := range map[string]string{
		"https://bot:s3cret@example.org/x":         "credentials",
		"ssh://git:s3cret@example.org/x":           "credentials",
		filepath.Join(t.TempDir(), "nowhere"):      "reachable",
		"ext::sh -c 'touch /nowhere; echo s3cret'": "not allowed",
	} {
		err := openIn(t, dir, trusting(environments.Trust{Remote: remote})).Mirror(t.Context())
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") || says == "credentials" && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", remote, err)
		}
	}
}
