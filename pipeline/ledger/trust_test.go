package ledger

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/smartcloudops/gate/environments"
)

func TestWhoMayWhat(t *testing.T) {
	ci, ops := testKey(t, state(t)).ID(), testKey(t, state(t)).ID()
	dir := state(t)
	own := testKey(t, dir).ID()
	keys := []environments.Key{
		{ID: ci, May: []string{Measure, Decide}, Environments: []string{"staging"}},
		{ID: ops, May: []string{Approve}},
	}
	local := openIn(t, dir, trusting(environments.Trust{Keys: keys}))
	remote := openIn(t, dir, trusting(environments.Trust{Keys: keys, Remote: "ssh://git@example.org/x"}))
	undeclared := openIn(t, dir)
	for _, tt := range []struct {
		l       *Ledger
		signers []string
		action  string
		env     string
		want    bool
	}{
		{local, []string{own}, Promote, "production", true},
		{undeclared, []string{own}, Promote, "production", true},
		{remote, []string{own}, Promote, "production", false},
		{remote, []string{own}, Measure, "", false},
		{local, []string{own}, "measures", "staging", false},
		{remote, []string{ci}, Measure, "staging", true},
		{remote, []string{ci}, Measure, "production", false},
		{remote, []string{ci}, Measure, "", false},
		{remote, []string{ci}, Promote, "staging", false},
		{remote, []string{ops}, Approve, "production", true},
		{remote, []string{ops}, Approve, "", true},
		{local, []string{ci, own}, Measure, "staging", true},
		{remote, []string{ci, own}, Measure, "staging", false},
		{local, []string{ci, ops}, Measure, "staging", false},
		{local, nil, Measure, "staging", false},
		{local, []string{""}, Measure, "staging", false},
		{local, []string{strings.ToUpper(own)}, Measure, "staging", false},
	} {
		if got := tt.l.TrustedFor(tt.signers, tt.action, tt.env); got != tt.want {
			t.Errorf("%v %s in %q on %q: %v, want %v", tt.signers, tt.action, tt.env, tt.l.remote, got, tt.want)
		}
	}
}

func TestKeyFile(t *testing.T) {
	dir := state(t)
	path := filepath.Join(dir, "key")
	k, created, err := LoadOrCreateKey(path)
	must(t, err)
	if !created || len(k.ID()) != len("ed25519:")+64 {
		t.Error(created, k.ID())
	}
	for name, want := range map[string]os.FileMode{path: 0o600, dir: 0o700} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v %v, want %v", name, info.Mode().Perm(), err, want)
		}
	}
	again, created, err := LoadOrCreateKey(path)
	must(t, err)
	if created || again.ID() != k.ID() {
		t.Error("another key:", created, again.ID())
	}
	sig, err := k.Sign(t.Context(), []byte("x"))
	must(t, err)
	public, err := ParseKeyID(k.ID())
	must(t, err)
	if public.Verify(t.Context(), []byte("x"), sig) != nil || public.Verify(t.Context(), []byte("y"), sig) == nil {
		t.Error("verification by the key id")
	}
	if _, err := public.Sign(t.Context(), nil); err == nil {
		t.Error("signed with a public key")
	}
}

func TestAKeyThatOthersCouldUseIsRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(dir, path string) error
		says  string
	}{
		"readable file":     {func(_, path string) error { return os.Chmod(path, 0o640) }, "chmod 600"},
		"writable folder":   {func(dir, _ string) error { return os.Chmod(dir, 0o777) }, "chmod 700"},
		"listable folder":   {func(dir, _ string) error { return os.Chmod(dir, 0o755) }, "chmod 700"},
		"no PEM":            {func(_, path string) error { return os.WriteFile(path, []byte("x"), 0o600) }, "no PEM"},
		"damaged":           {func(_, path string) error { return os.Truncate(path, 60) }, "no PEM"},
		"a folder, no file": {func(_, path string) error { os.Remove(path); return os.Mkdir(path, 0o700) }, "no regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := state(t)
			path := filepath.Join(dir, "key")
			testKey(t, dir)
			must(t, tt.spoil(dir, path))
			_, _, err := LoadOrCreateKey(path)
			if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "\n") {
				t.Error(err)
			}
		})
	}
}

func TestTwoWhoCreateAKeyGetTheSame(t *testing.T) {
	path := filepath.Join(state(t), "key")
	var wg sync.WaitGroup
	ids := make([]string, 8)
	for i := range ids {
		wg.Go(func() {
			k, _, err := LoadOrCreateKey(path)
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = k.ID()
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Error("different keys", ids)
		}
	}
}

func TestOddKeyIDsAreNone(t *testing.T) {
	for _, id := range []string{"", "ed25519:", "ed25519:" + strings.Repeat("AB", 32), "rsa:" + strings.Repeat("ab", 32), strings.Repeat("ab", 32), "ed25519:" + strings.Repeat("ab", 33)} {
		if _, err := ParseKeyID(id); err == nil {
			t.Errorf("%q is taken for a key id", id)
		}
	}
}
