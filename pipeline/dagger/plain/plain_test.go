package plain

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func read(t *testing.T, parts ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(append([]string{root}, parts...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestPinned(t *testing.T) {
	tools := read(t, "tools", "go.mod")
	for _, module := range []string{"github.com/securego/gosec/v2", "golang.org/x/vuln", "github.com/zricethezav/gitleaks/v8"} {
		if v := Pinned(tools, module); !strings.HasPrefix(v, "v") {
			t.Errorf("%s is pinned to %q", module, v)
		}
	}
	if v := Pinned(tools, "example.org/none"); v != "" {
		t.Errorf("what is not there is pinned to %q", v)
	}
	if v := Pinned("require example.org/one v1.2.3 // indirect\n", "example.org/one"); v != "v1.2.3" {
		t.Errorf("one line gives %q", v)
	}
}

func TestDeclarationsAreFound(t *testing.T) {
	app, staging := read(t, "environments", "app.yaml"), read(t, "environments", "staging.yaml")
	for what, c := range map[string]struct{ got, want string }{
		"toolchain":         {Toolchain(app), "go1.26.8"},
		"toolchain of none": {Toolchain("build:\n  toolchain: go1.26; rm\n"), ""},
		"url_env":           {URLEnv(staging), "STAGING_DATABASE_URL"},
		"url_env of none":   {URLEnv(app), ""},
		"listen":            {Port(staging), "8443"},
		"quoted":            {Port("listen: \"[::1]:9\"\n"), "9"},
		"listen of none":    {Port(app), ""},
	} {
		if c.got != c.want {
			t.Errorf("%s is %q, want %q", what, c.got, c.want)
		}
	}
}

func TestCall(t *testing.T) {
	a, err := NewCall("", "", "")
	if err != nil || len(a.Nonce) < 20 {
		t.Errorf("%+v, %v", a, err)
	}
	if b, _ := NewCall("", "", ""); b.Nonce == a.Nonce {
		t.Error("two calls have one nonce")
	}
	if _, err := NewCall("1234567", "", ""); err == nil {
		t.Error("a short nonce is taken")
	}
	c, err := NewCall("12345678", "HEAD", "main")
	want := []string{"--apart", "--nonce", "12345678", "--evidence", OutDir, "--commit", "HEAD", "--base", "main"}
	if err != nil || !slices.Equal(c.Flags(), want) {
		t.Errorf("%q, %v", c.Flags(), err)
	}
}
