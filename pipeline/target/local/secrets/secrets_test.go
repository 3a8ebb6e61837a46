package secrets

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/smartcloudops/gate/environments"
)

func TestFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "key")
	write := func(text string, mode os.FileMode) {
		t.Helper()
		_ = os.Remove(file)
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, end := range []string{"", "\n", "\r\n"} {
		write("hunter22"+end, 0o400)
		if v, err := (File{file}).Read(t.Context()); err != nil || v.Reveal() != "hunter22" || v.Changed().IsZero() {
			t.Errorf("%q: %v", end, err)
		}
	}
	for _, c := range []struct {
		text string
		mode os.FileMode
		want string
	}{
		{"hunter22", 0o644, "mode 0644"}, {"hunter22", 0o640, "mode 0640"}, {"hunter22", 0o602, "chmod 600"},
		{"\n", 0o600, "empty"}, {"hunter\x0022", 0o600, "zero byte"}, {strings.Repeat("x", most+1), 0o600, "longer"},
	} {
		write(c.text, c.mode)
		if _, err := (File{file}).Read(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%q %o: %v", c.text[:1], c.mode, err)
		}
	}
	if os.Geteuid() == 0 {
		write("hunter22", 0o600)
		if err := os.Chown(file, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		if _, err := (File{file}).Read(t.Context()); err == nil || !strings.Contains(err.Error(), "belongs to user 65534") {
			t.Errorf("another user's: %v", err)
		}
	}
	for _, path := range []string{dir, filepath.Join(dir, "none"), "/dev/zero"} {
		if _, err := (File{path}).Read(t.Context()); err == nil {
			t.Errorf("%s was read", path)
		}
	}
}

func TestCommand(t *testing.T) {
	read := func(limit time.Duration, argv ...string) (Value, error) {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		return Command{Argv: argv, Environ: []string{"KEY=hunter22"}}.Read(ctx)
	}
	if v, err := read(10*time.Second, "/bin/sh", "-c", "echo $KEY"); err != nil || v.Reveal() != "hunter22" {
		t.Errorf("%v", err)
	}
	for script, want := range map[string]string{
		"echo $KEY; echo $KEY >&2; exit 3": "exit status 3", "true": "empty", "yes hunter22": "/bin/sh", "sleep 60 & wait": "in time",
	} {
		limit := 10 * time.Second
		if want == "in time" {
			limit = 200 * time.Millisecond
		}
		if _, err := read(limit, "/bin/sh", "-c", script); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter22") {
			t.Errorf("%s: %v", script, err)
		}
	}
}

func TestAValuePrintsAsNothing(t *testing.T) {
	v, err := NewValue("hunter22", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "value", v, "in", map[string]Value{"a": v})
	b, err := json.Marshal(map[string]Value{"a": v})
	if all := fmt.Sprintf("%v %+v %#v %s %q %x", v, v, v, v, v, v) + log.String() + string(b); err != nil || strings.Contains(all, "hunter22") || strings.Contains(all, "68756e746572") {
		t.Errorf("%s %v", all, err)
	}
}

// TestVault: the last known value goes on while the source is away, and is read
// anew when it is due.
func TestVault(t *testing.T) {
	now, value := time.Unix(1e9, 0), "first-value"
	v := NewVault(Makers{Getenv: func(string) string { return value }}, func() time.Time { return now })
	declared := map[string]environments.Secret{"KEY": {Env: "KEY", Every: environments.Duration(10 * time.Second)}}
	is := func(want string) {
		t.Helper()
		if got, err := v.Value(t.Context(), "KEY", declared["KEY"]); err != nil || got.Reveal() != want {
			t.Errorf("%q %v, want %q", got.Reveal(), err, want)
		}
	}
	is("first-value")
	value = "second-value"
	is("first-value")
	if errs := v.Refresh(t.Context(), declared, false); len(errs) > 0 {
		t.Error(errs)
	}
	is("first-value") // not due
	if names := v.Changed(); len(names) > 0 {
		t.Errorf("changed: %v", names)
	}
	now = now.Add(10 * time.Second)
	v.Refresh(t.Context(), declared, false)
	is("second-value")
	if names, again := v.Changed(), v.Changed(); !slices.Equal(names, []string{"KEY"}) || len(again) > 0 {
		t.Errorf("changed: %v, then %v", names, again)
	}
	value = ""
	if errs := v.Refresh(t.Context(), declared, true); len(errs) != 1 || !strings.Contains(errs[0].Error(), "secret KEY") {
		t.Error(errs)
	}
	is("second-value")
	if errs := v.Refresh(t.Context(), declared, false); len(errs) != 1 {
		t.Error("trouble is forgotten before it is over")
	}
	other := environments.Secret{AWS: &environments.AWSSecret{SecretID: "a", Region: "b"}}
	if _, err := v.Value(t.Context(), "OTHER", other); err == nil || !strings.Contains(err.Error(), "OTHER") || errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
