package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/smartcloudops/gate/pipeline/target"
)

// foreignWorld is a world of the small app in testdata/foreign, committed.
func foreignWorld(t *testing.T) *world {
	t.Helper()
	w := emptyWorld(t)
	w.copyTree("testdata/foreign")
	w.usePorts()
	w.git("init", "-q", "-b", "main")
	w.commit("begin")
	return w
}

// with is the same world with more in its environment.
func (w *world) with(vars ...string) *world {
	x := *w
	x.env = append(append([]string(nil), w.env...), vars...)
	return &x
}

// snapshot is everything in a folder: path → mode and digest or target.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == dir {
			return nil
		}
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		entry := fi.Mode().String()
		switch {
		case fi.Mode().IsRegular():
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			sum := sha256.Sum256(b)
			entry += " " + hex.EncodeToString(sum[:])
		case fi.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			entry += " " + to
		}
		all[strings.TrimPrefix(path, dir)] = entry
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// quickly is how much processor time a command that can't do anything may use:
// enough to look, and too little to build.
const quickly = time.Second

// refused runs gate, for people and for programs, and fails unless it ends
// quickly with the code and one line on standard error that says all of says,
// and leaves clone and state as they were, and no process.
func (w *world) refused(t *testing.T, code int, says []string, args ...string) {
	t.Helper()
	w.refusedIn(t, w.clone, code, says, args...)
}

func (w *world) refusedIn(t *testing.T, dir string, code int, says []string, args ...string) {
	t.Helper()
	clone, state := snapshot(t, w.clone), snapshot(t, w.state)
	for _, output := range []string{"text", "json"} {
		cmd := w.command(t.Context(), dir, append([]string{"--output", output}, args...)...)
		r := w.run(cmd)
		name := "gate " + strings.Join(cmd.Args[1:], " ")
		if r.code != code {
			t.Errorf("%s: want exit %d\n%s", name, code, r)
		}
		if !strings.HasPrefix(r.err, "gate: ") || strings.Count(r.err, "\n") != 1 {
			t.Errorf("%s: want one line on standard error\n%s", name, r)
		}
		if r.out != "" {
			t.Errorf("%s: want nothing on standard output\n%s", name, r)
		}
		plain(t, name, r, says)
		if used := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(); used > quickly {
			t.Errorf("%s: used %s of processor time", name, used)
		}
	}
	if diff := cmp.Diff(clone, snapshot(t, w.clone)); diff != "" {
		t.Errorf("the clone was changed: %s", diff)
	}
	if diff := cmp.Diff(state, snapshot(t, w.state)); diff != "" {
		t.Errorf("the state was changed: %s", diff)
	}
	if left := w.processes(); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
}

// plain fails unless all of says was said, in words for people.
func plain(t *testing.T, name string, r result, says []string) {
	t.Helper()
	for _, s := range says {
		if !strings.Contains(r.err, s) {
			t.Errorf("%s: standard error lacks %q\n%s", name, s, r)
		}
	}
	for _, s := range []string{"goroutine ", "panic:", "runtime error", "0xc0", "<nil>", "%!"} {
		if strings.Contains(r.out+r.err, s) {
			t.Errorf("%s: says %q\n%s", name, s, r)
		}
	}
}

// errorLine is the one line by which gate says why it failed, among the lines
// that say how it went.
func errorLine(t *testing.T, r result) string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(r.err) {
		if strings.HasPrefix(line, "gate: ") && !strings.Contains(line, "made this machine's signing key") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	if len(lines) != 1 {
		t.Fatalf("want one line that says why\n%s", r)
	}
	return lines[0]
}

// parsed is the JSON that a command wrote, which must be all it wrote.
func parsed[T any](t *testing.T, r result) T {
	t.Helper()
	var v T
	d := json.NewDecoder(strings.NewReader(r.out))
	if err := d.Decode(&v); err != nil {
		t.Fatalf("standard output is not JSON: %v\n%s", err, r)
	}
	if d.More() {
		t.Fatalf("standard output holds more than one JSON document\n%s", r)
	}
	return v
}

func TestUsage(t *testing.T) {
	w := foreignWorld(t)
	for _, tt := range []struct {
		name string
		args []string
		says []string
	}{
		{"no verb", nil, []string{"expected one of", "gate --help"}},
		{"unknown verb", []string{"frobnicate"}, []string{"frobnicate", "gate --help"}},
		{"unknown flag", []string{"run", "--nope"}, []string{"--nope", "gate --help"}},
		{"argument left out", []string{"deploy"}, []string{"<environment>", "gate --help"}},
		{"unknown environment of run", []string{"run", "--through", "moon"}, []string{`environment "moon" is not declared`, "staging production"}},
		{"unknown environment of deploy", []string{"deploy", "moon"}, []string{`"moon"`, "staging production"}},
		{"unknown environment of verify", []string{"verify", "moon"}, []string{`"moon"`, "staging production"}},
		{"unknown environment of decide", []string{"decide", "moon"}, []string{`"moon"`, "staging production"}},
		{"unknown environment of explain", []string{"explain", "moon"}, []string{`"moon"`, "staging production"}},
		{"unknown environment of promote", []string{"promote", "0123456789ab", "--to", "moon"}, []string{`"moon"`, "staging production"}},
		{"unknown environment of approve", []string{"approve", "0123456789ab", "--to", "moon"}, []string{`"moon"`, "staging production"}},
		{"unknown environment of drift", []string{"drift", "moon"}, []string{`"moon"`, "staging production"}},
		{"unknown environment of rollback", []string{"rollback", "moon"}, []string{`"moon"`, "staging production"}},
		{"unknown environment of hold", []string{"hold", "moon", "--reason", "x"}, []string{`"moon"`, "staging production"}},
		{"unknown environment of unhold", []string{"unhold", "moon"}, []string{`"moon"`, "staging production"}},
		{"unknown environment of status", []string{"status", "moon"}, []string{`"moon"`, "staging production"}},
		{"unknown environment of history", []string{"history", "moon"}, []string{`"moon"`, "staging production"}},
		{"unknown environment of logs", []string{"logs", "moon"}, []string{`"moon"`, "staging production"}},
		{"unknown environment of serve", []string{"serve", "moon"}, []string{`"moon"`, "staging production"}},
		{"unknown environment of down", []string{"down", "moon"}, []string{`"moon"`, "staging production"}},
		{"unknown environment of report", []string{"report", "moon"}, []string{`"moon"`, "staging production"}},
		{"unknown check", []string{"verify", "staging", "--check", "laod"}, []string{`there is no check "laod"`, "load"}},
		{"hold without a reason", []string{"hold", "staging"}, []string{"--reason", "gate --help"}},
	} {
		t.Run(tt.name, func(t *testing.T) { w.refused(t, 2, tt.says, tt.args...) })
	}
	t.Run("unknown output", func(t *testing.T) {
		r := w.want(2, "status", "-o", "xml")
		plain(t, "gate status -o xml", r, []string{"xml", "text", "json"})
	})
	if all := snapshot(t, w.state); len(all) > 0 {
		t.Errorf("mistakes made a state directory: %v", all)
	}
}

// TestNothingYet is about a clone in which nothing has happened so far.
func TestNothingYet(t *testing.T) {
	w := foreignWorld(t)
	r := w.want(0, "status", "-o", "json")
	all := parsed[[]struct{ Name, Desired, Problem string }](t, r)
	if len(all) != 2 || all[0].Name != "staging" || !strings.Contains(all[0].Problem, "no daemon answers for staging: start it with gate serve staging") {
		t.Errorf("status without a daemon: %+v", all)
	}
	if h := parsed[[]any](t, w.want(0, "history", "staging", "-o", "json")); len(h) != 0 {
		t.Errorf("history of nothing: %v", h)
	}
	for _, tt := range []struct {
		name string
		args []string
		says []string
	}{
		{"promote an unknown release", []string{"promote", "0123456789ab", "--to", "production"}, []string{`no release "0123456789ab" is on record`, "gate build"}},
		{"approve an unknown release", []string{"approve", "0123456789ab", "--to", "production"}, []string{`no release "0123456789ab" is on record`, "gate build"}},
		{"figures of no days", []string{"history", "staging", "--days", "0"}, []string{"--days 0"}},
		{"decide on nothing", []string{"decide", "staging"}, []string{"no release is on record", "gate build"}},
		{"decide on an unknown release", []string{"decide", "staging", "--release", "0123456789ab"}, []string{`no release "0123456789ab" is on record`, "gate history staging"}},
		{"explain nothing", []string{"explain", "production"}, []string{"no release is on record", "gate build"}},
		{"report on nothing", []string{"report"}, []string{"no release is on record", "gate build"}},
		{"rollback to nothing", []string{"rollback", "staging"}, []string{"nothing served in staging before", "gate history staging"}},
		{"rollback to an unknown release", []string{"rollback", "staging", "--to", "0123456789ab"}, []string{`"0123456789ab" has never served in staging`, "gate history staging"}},
		{"no logs", []string{"logs", "staging"}, []string{"staging has no such log yet", "gate run"}},
		{"no logs of the daemon", []string{"logs", "production", "--daemon"}, []string{"production has no such log yet"}},
		{"no such evidence", []string{"evidence", "show", "0123456789ab"}, []string{"0123456789ab", "gate evidence list"}},
	} {
		t.Run(tt.name, func(t *testing.T) { w.refused(t, 2, tt.says, tt.args...) })
	}
	t.Run("drift of nothing", func(t *testing.T) {
		if d := parsed[[]any](t, w.want(0, "drift", "-o", "json")); len(d) != 0 {
			t.Errorf("%v", d)
		}
		if r := w.want(1, "drift", "staging"); !strings.Contains(r.err, "drift of staging is not known: no daemon answers") {
			t.Errorf("%s", r)
		}
	})
	t.Run("down twice", func(t *testing.T) {
		for range 2 {
			if r := w.want(0, "down", "staging"); r.out != "staging does not run\n" || r.err != "" {
				t.Errorf("down of what does not run\n%s", r)
			}
		}
		if d := parsed[map[string]any](t, w.want(0, "down", "staging", "-o", "json")); d["ran"] != false {
			t.Errorf("got %v", d)
		}
	})
	t.Run("what a daemon did by itself", func(t *testing.T) {
		s := w.session()
		at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		err := s.operations("staging")(t.Context(), []target.Operation{
			{Kind: target.Scaling, What: "instances", From: "2", To: "3", Why: "busy", At: at},
			{Kind: target.Rotation, What: "API_KEY", Why: "another value", At: at.Add(time.Minute)},
		}, 0)
		s.close()
		if err != nil {
			t.Fatal(err)
		}
		want := []pastOperation{
			{"staging", target.Operation{Kind: "rotation", What: "API_KEY", Why: "another value", At: at.Add(time.Minute)}},
			{"staging", target.Operation{Kind: "scaling", What: "instances", From: "2", To: "3", Why: "busy", At: at}},
		}
		if diff := cmp.Diff(want, parsed[[]pastOperation](t, w.want(0, "history", "staging", "-o", "json"))); diff != "" {
			t.Error(diff)
		}
		if r := w.want(0, "history", "staging", "-n", "1"); !strings.Contains(r.out, "by itself\n") || !strings.Contains(r.out, "rotation  API_KEY") || strings.Contains(r.out, "instances") {
			t.Errorf("%s", r)
		}
		if r := w.want(0, "history", "production"); strings.Contains(r.out, "by itself") {
			t.Errorf("%s", r)
		}
	})
}

func TestNoClone(t *testing.T) {
	w := foreignWorld(t)
	dir := func(name string, args ...string) string {
		d := filepath.Join(w.root, name)
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
		if len(args) > 0 {
			if out, err := exec.Command("git", append([]string{"-C", d}, args...)...).CombinedOutput(); err != nil {
				t.Fatalf("git %v: %v\n%s", args, err, out)
			}
		}
		return d
	}
	const next = "run gate in a clone, or with -C DIR"
	for _, tt := range []struct {
		name, dir string
		says      []string
	}{
		{"no repository", dir("plain"), []string{"not in a Git repository", next}},
		{"bare repository", dir("bare", "init", "-q", "--bare"), []string{"no work tree (a bare repository", next}},
		{"no commit", dir("empty", "init", "-q"), []string{"has no commit yet", "commit something first"}},
		{"folder .git", w.path(".git"), []string{"no work tree", next}},
		{"missing folder", filepath.Join(w.root, "missing"), []string{"no such file or directory", next}},
		{"a file", w.path("go.mod"), []string{"no folder", next}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, verb := range [][]string{{"run"}, {"build"}, {"status"}, {"env", "validate"}} {
				w.refusedIn(t, w.root, 2, append(tt.says, tt.dir), append(verb, "-C", tt.dir)...)
			}
			r := w.gateIn(w.root, "doctor", "-C", tt.dir)
			if r.code != 1 || !strings.Contains(r.out, next) {
				t.Errorf("doctor should say what is missing\n%s", r)
			}
		})
	}
}

func TestToolsMissing(t *testing.T) {
	w := foreignWorld(t)
	w.want(0, "status")
	bin := filepath.Join(w.root, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	none := w.with("PATH=" + bin)
	t.Run("git", func(t *testing.T) {
		for _, verb := range []string{"run", "status", "build"} {
			none.refused(t, 1, []string{"install Git", "git: not on the PATH"}, verb)
		}
	})
	git, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(git, filepath.Join(bin, "git")); err != nil {
		t.Fatal(err)
	}
	t.Run("go", func(t *testing.T) {
		r := none.gate("build")
		if line := errorLine(t, r); r.code != 1 || !strings.Contains(line, "install Go 1.26.8: find go: not on the PATH") {
			t.Errorf("want exit 1 and what to install\n%s", r)
		}
		r = none.gate("build", "-o", "json")
		if o := parsed[outcome](t, r); r.code != 1 || o.Exit != 1 || !strings.Contains(o.Summary, "install Go") || o.Release != "" {
			t.Errorf("want exit 1 and what to install in JSON\n%s", r)
		}
		none.want(0, "status")
		if h := parsed[[]any](t, none.want(0, "evidence", "list", "-o", "json")); len(h) != 0 {
			t.Errorf("evidence of nothing: %v", h)
		}
	})
}

// build returns the release of what is checked out in dir, built in a state
// directory of its own, so that nothing can be known already.
func (w *world) build(t *testing.T, dir string, vars ...string) string {
	t.Helper()
	state, err := os.MkdirTemp(w.root, "state-")
	if err != nil {
		t.Fatal(err)
	}
	x := w.with(append(vars, "GATE_STATE="+state)...)
	r := x.gateIn(dir, "build", "-o", "json")
	o := parsed[outcome](t, r)
	if r.code != 0 || !strings.HasPrefix(o.Release, "sha256:") {
		t.Fatalf("build in %s\n%s", dir, r)
	}
	return o.Release
}

// TestUnusualClones builds the same commit in clones of all kinds.
func TestUnusualClones(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: builds the same release eight times, about 8 s")
	}
	w := foreignWorld(t)
	w.write("README.md", "first\n")
	w.commit("with a word of documentation")
	want := w.build(t, w.clone)
	same := func(name, dir string, vars ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			if got := w.build(t, dir, vars...); got != want {
				t.Errorf("release %s, want %s", got, want)
			}
		})
	}
	beside := func(name string) string { return filepath.Join(w.root, name) }

	w.git("checkout", "-q", "--detach")
	same("detached", w.clone)
	w.git("tag", "v1")
	w.git("checkout", "-q", "v1")
	same("tag", w.clone)
	w.git("checkout", "-q", "main")
	w.git("clone", "-q", "--depth", "1", "file://"+w.clone, beside("shallow"))
	same("shallow", beside("shallow"))
	w.git("worktree", "add", "-q", "--detach", beside("linked"))
	same("linked work tree", beside("linked"))

	w.append(".git/info/exclude", "stray*.go\n")
	w.write("stray.go", "package main\n\nthis is no Go\n")
	w.write("stray_init.go", "package main\n\nfunc init() { panic(\"stray\") }\n")
	same("ignored files", w.clone)

	// Where go env -w writes.
	config := beside("config")
	if err := os.MkdirAll(filepath.Join(config, "go"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(config, "go", "env"), []byte("GOFLAGS=-tags=odd -ldflags=-X=main.odd=1\nGOOS=windows\nGOARCH=386\nGOAMD64=v3\nCGO_ENABLED=1\nGOTOOLCHAIN=local\nGOEXPERIMENT=arenas\nGODEBUG=http2client=0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	same("settings of the go command", w.clone, "GOFLAGS=-tags=odd", "GOOS=windows", "GOARCH=arm64", "CGO_ENABLED=1", "GOWORK="+beside("go.work"), "XDG_CONFIG_HOME="+config)

	w.append("README.md", "second\n")
	w.commit("only documentation")
	same("documentation", w.clone)

	w.append("notes.go", "\n// one more line of code\nvar _ = 1\n")
	w.commit("code")
	t.Run("and another source has another one", func(t *testing.T) {
		w.replace("notes.go", "a note has 1 to 1000 characters", "a note has 1 to 1000 letters")
		if got := w.build(t, w.clone); got == want {
			t.Errorf("another source, the same release %s", got)
		}
	})
}

// serve runs the daemon of an environment until the test ends, and waits until
// it answers.
func (w *world) serve(t *testing.T, environment string) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	cmd := w.command(ctx, w.clone, "serve", environment)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	deadline := time.After(60 * time.Second)
	for {
		if w.answers(environment) {
			return
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("gate serve %s ended: %v\n%s", environment, err, said.String())
		case <-deadline:
			t.Fatalf("gate serve %s does not answer", environment)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// answers says whether the environment's daemon answers.
func (w *world) answers(environment string) bool {
	w.t.Helper()
	r := w.gate("status", environment, "-o", "json")
	var all []struct {
		Actual *struct{ PID int } `json:"actual"`
	}
	return json.Unmarshal([]byte(r.out), &all) == nil && len(all) == 1 && all[0].Actual != nil
}
