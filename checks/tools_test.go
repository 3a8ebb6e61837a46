package checks

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/mod/modfile"

	"github.com/smartcloudops/gate/environments"
)

// sourceOf writes the files into a folder of the test's own, as a commit's
// export would.
func sourceOf(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// sourceInput is what a check of the source gets to see. The tools are
// installed once for all runs of the tests.
func sourceInput(t *testing.T, source string, test ...string) Input {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	app := &environments.App{
		Name:  "service",
		Build: environments.Build{Package: ".", Toolchain: runtime.Version()},
		Test:  environments.Command{Command: test, Timeout: environments.Duration(2 * time.Minute)},
	}
	return Input{
		Declarations: &environments.Declarations{App: app}, Source: source, Tools: filepath.Join(cache, "gate", "tools"),
		Progress: func(note string) { t.Log(note) },
	}
}

// needsTools skips what would build scanners first on a machine that has none.
func needsTools(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED in short mode: runs the real scanners, which are built once (minutes) when they are not there yet")
	}
}

func completed[P any](t *testing.T, c Check, in Input) P {
	t.Helper()
	m, err := c.Measure(t.Context(), in)
	if err != nil {
		t.Fatalf("%s: %v", c.Name, err)
	}
	if m.Status != Completed {
		t.Fatalf("%s is %s: %s", c.Name, m.Status, m.Reason)
	}
	return m.Payload.(P)
}

func unavailable(t *testing.T, c Check, in Input, says ...string) {
	t.Helper()
	m, err := c.Measure(t.Context(), in)
	if err != nil || m.Status != Unavailable || m.Payload != nil {
		t.Fatalf("%s: %+v, error %v; want it unavailable", c.Name, m, err)
	}
	for _, s := range says {
		if !strings.Contains(m.Reason, s) {
			t.Errorf("the reason %q does not say %q", m.Reason, s)
		}
	}
	if strings.ContainsAny(m.Reason, "\n") {
		t.Errorf("the reason is more than one line: %q", m.Reason)
	}
}

// found is the only finding with that rule.
func found(t *testing.T, all []Finding, rule string) Finding {
	t.Helper()
	var out []Finding
	for _, f := range all {
		if f.Rule == rule {
			out = append(out, f)
		}
	}
	if len(out) != 1 {
		t.Fatalf("%d findings of rule %s, want 1: %+v", len(out), rule, all)
	}
	return out[0]
}

func at(f Finding) string { return f.File + ":" + strconv.Itoa(f.Line) }

func TestToolsArePinnedAsInTheToolsModule(t *testing.T) {
	file := filepath.Join("..", "tools", "go.mod")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	mod, err := modfile.Parse(file, b, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tool := range toolsAll {
		version := ""
		for _, r := range mod.Require {
			if tool.pkg == r.Mod.Path || strings.HasPrefix(tool.pkg, r.Mod.Path+"/") {
				version = r.Mod.Version
			}
		}
		if version != tool.version {
			t.Errorf("%s is pinned to %s here and to %q in tools/go.mod", tool.name, tool.version, version)
		}
	}
}

func TestToolsEnvironKeepsNoSecretAndNoSettingThatChangesResults(t *testing.T) {
	home := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", home)
	t.Setenv("GOENV", "")
	if err := os.MkdirAll(filepath.Join(home, "go"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, "go", "env"), []byte("GOFLAGS=-tags=hidden\nGOPRIVATE=example.org/private\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DATABASE_URL", "hidden")
	t.Setenv("GOEXPERIMENT", "nosuch")
	env, err := toolsGoEnviron(t.Context(), runtime.Version())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range env {
		if strings.Contains(kv, "hidden") || strings.Contains(kv, "nosuch") {
			t.Errorf("handed on: %s", kv)
		}
	}
	out, _, _, err := toolsRun(t.Context(), t.TempDir(), env, "go", "env", "GOFLAGS", "GOPRIVATE", "GOVERSION")
	if want := "\nexample.org/private\n" + runtime.Version() + "\n"; err != nil || string(out) != want {
		t.Errorf("go env says %q (%v), want %q", out, err, want)
	}
	_, err = toolsGoEnviron(t.Context(), "go1.0.99")
	if away := (*toolsAway)(nil); !errors.As(err, &away) || !strings.Contains(err.Error(), "go1.0.99") {
		t.Errorf("a toolchain that does not exist: %v", err)
	}
}

func TestToolsInstalledSaysWhatItLacks(t *testing.T) {
	t.Setenv("GOPROXY", "off")
	t.Setenv("GOMODCACHE", t.TempDir())
	_, err := toolsInstalled(t.Context(), t.TempDir(), toolsTool{"none", "example.org/none/cmd/none", "v1.0.0"}, "", func(string) {})
	if away := (*toolsAway)(nil); !errors.As(err, &away) || !strings.Contains(err.Error(), "module proxy") {
		t.Errorf("installed without a proxy: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = toolsInstalled(ctx, t.TempDir(), toolsGosec, "", func(string) {})
	if !errors.Is(err, context.Canceled) {
		if m, err := toolsOutcome(ctx, err); err == nil {
			t.Errorf("a stopped installation is %+v", m)
		}
	}
}

func TestToolsRunEndsDescendantsThatLeftTheSession(t *testing.T) {
	setsid, err := exec.LookPath("setsid")
	if err != nil {
		t.Skip("SKIPPED: setsid is not on this machine (Debian: util-linux)")
	}
	dir := t.TempDir()
	pid := filepath.Join(dir, "pid")
	script := setsid + ` sh -c 'echo $$ >` + pid + `.new; mv ` + pid + `.new ` + pid + `; exec sleep 300' >/dev/null 2>&1 &
while [ ! -e ` + pid + ` ]; do sleep 0.01; done; exit 7`
	_, _, code, err := toolsRun(t.Context(), dir, os.Environ(), "sh", "-c", script)
	if err != nil || code != 7 {
		t.Fatalf("exit %d, error %v; want 7 and none", code, err)
	}
	gone(t, pid)
}

// gone waits until the process whose id is in the file is no more.
func gone(t *testing.T, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	id, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(id) + "/stat")
		if errors.Is(syscall.Kill(id, 0), syscall.ESRCH) || err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		if time.Now().After(deadline) {
			_ = syscall.Kill(id, syscall.SIGKILL)
			t.Fatalf("process %d is still there", id)
		}
	}
}

func TestToolsRunRefusesEndlessOutput(t *testing.T) {
	_, _, _, err := toolsRun(t.Context(), t.TempDir(), os.Environ(), "yes")
	if err == nil || !strings.Contains(err.Error(), "MiB") {
		t.Errorf("error %v, want one of too much output", err)
	}
}

func TestPoolKeepsTheWorst(t *testing.T) {
	pooled := func(c Check, runs ...string) string {
		t.Helper()
		var all [][]byte
		for _, r := range runs {
			all = append(all, []byte(r))
		}
		b, err := c.Pool(all)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, c := range []struct {
		check Check
		runs  []string
		want  string
	}{
		{Tests(), []string{
			`{"command":["a"],"exit_code":1,"passed":3,"failed":1,"skipped":0,"findings":[{"tool":"t","rule":"test","severity":"high","message":"one"}]}`,
			`{"command":["a"],"exit_code":0,"passed":4,"failed":0,"skipped":2,"findings":[{"tool":"t","rule":"test","severity":"high","message":"two"}]}`,
		}, `{"command":["a"],"exit_code":1,"passed":3,"failed":1,"skipped":2,"findings":[{"tool":"t","rule":"test","severity":"high","message":"one"},{"tool":"t","rule":"test","severity":"high","message":"two"}]}`},
		{Scan(), []string{
			`{"database_date":"2026-01-02T00:00:00Z","files":9,"modules":2,"high":0,"medium":1,"low":0,"reachable_vulns":1,"imported_vulns":0}`,
			`{"database_date":"2026-01-01T00:00:00Z","files":8,"modules":3,"high":2,"medium":0,"low":1,"reachable_vulns":0,"imported_vulns":4}`,
		}, `{"database_date":"2026-01-02T00:00:00Z","files":8,"modules":2,"high":2,"medium":1,"low":1,"reachable_vulns":1,"imported_vulns":4}`},
		{Leaks(), []string{
			`{"files":3,"secrets":1,"findings":[{"tool":"g","rule":"r","severity":"high","file":"a","line":1,"message":"x"}]}`,
			`{"files":4,"secrets":1,"findings":[{"tool":"g","rule":"r","severity":"high","file":"a","line":1,"message":"y"}]}`,
		}, `{"files":3,"secrets":1,"findings":[{"tool":"g","rule":"r","severity":"high","file":"a","line":1,"message":"x"}]}`},
		{Config(), []string{`{"environments":["a"],"values":3}`, `{"environments":["a"],"values":2}`, `{"environments":["a"],"values":4}`}, `{"environments":["a"],"values":2}`},
	} {
		if got := pooled(c.check, c.runs...); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.check.Name, got, c.want)
		}
	}
	for _, runs := range [][][]byte{nil, {[]byte("{")}, {[]byte("{}"), []byte(`{"failed":"0"}`)}} {
		if b, err := Tests().Pool(runs); err == nil {
			t.Errorf("pooled %s to %s", runs, b)
		}
	}
}
