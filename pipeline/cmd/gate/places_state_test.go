package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// mounts runs gate where the script has mounted something, in a mount namespace
// of its own that ends with it: nobody else sees the mounts. $0 is the gate.
func (w *world) mounts(ctx context.Context, script string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "unshare", append([]string{"--mount", "sh", "-c", "set -e; " + script + `; exec "$0" "$@"`, gateBinary}, args...)...)
	cmd.Dir, cmd.Env = w.clone, w.env
	return cmd
}

// mayMount skips the test where this user may not mount.
func mayMount(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt").CombinedOutput(); err != nil {
		t.Skipf("SKIPPED, NOT SHOWN HERE: nothing can be mounted in a namespace of its own (run as root): %v: %s", err, out)
	}
}

func TestStateDirectory(t *testing.T) {
	w := foreignWorld(t)
	w.want(0, "status")
	key := filepath.Join(w.state, "keys", "ed25519")

	t.Run("of another app", func(t *testing.T) {
		before := w.read("environments/app.yaml")
		defer w.write("environments/app.yaml", before)
		w.replace("environments/app.yaml", "name: notes", "name: letters")
		for _, args := range [][]string{{"run"}, {"status"}, {"serve", "staging"}, {"hold", "staging", "--reason", "x"}} {
			w.refused(t, 6, []string{w.state, `"notes"`, `"letters"`, "set GATE_STATE to another folder"}, args...)
		}
	})
	t.Run("with an open key", func(t *testing.T) {
		if err := os.Chmod(key, 0o644); err != nil {
			t.Fatal(err)
		}
		defer os.Chmod(key, 0o600)
		for _, args := range [][]string{{"run"}, {"status"}, {"promote", "0123456789ab", "--to", "staging"}} {
			w.refused(t, 1, []string{key, "mode 0644", "chmod 600 " + key}, args...)
		}
	})
	t.Run("with a damaged key", func(t *testing.T) {
		before, err := os.ReadFile(key)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(key, []byte("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		defer os.WriteFile(key, before, 0o600)
		w.refused(t, 1, []string{key, "is damaged", "restore it"}, "run")
		if r := w.gate("run"); strings.Contains(r.err, "c2VjcmV0") {
			t.Errorf("the key is repeated\n%s", r)
		}
	})
	t.Run("below a plain file", func(t *testing.T) {
		file := filepath.Join(w.root, "plain")
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		for _, state := range []string{file, filepath.Join(file, "below")} {
			x := w.with("GATE_STATE=" + state)
			x.refused(t, 1, []string{"state directory " + state + ": not a directory", "set GATE_STATE to another folder"}, "run")
		}
	})
	t.Run("inside of the clone", func(t *testing.T) {
		for _, state := range []string{w.path("state"), w.path(".git/state"), "state", "."} {
			x := w.with("GATE_STATE=" + state)
			x.refused(t, 2, []string{"inside of the clone " + w.clone, "set GATE_STATE to a folder outside of it"}, "status")
		}
	})
	t.Run("by a relative path", func(t *testing.T) {
		x := w.with("GATE_STATE=relative/state")
		if r := x.gateIn(w.root, "status", "-C", "clone"); r.code != 0 {
			t.Errorf("%s", r)
		}
		if _, err := os.Stat(filepath.Join(w.root, "relative/state/ledger.git")); err != nil {
			t.Errorf("it should count from where gate was called: %v", err)
		}
	})
	t.Run("read-only", func(t *testing.T) {
		mayMount(t)
		clone, state := snapshot(t, w.clone), snapshot(t, w.state)
		const script = `mount --bind "$GATE_STATE" "$GATE_STATE"; mount -o remount,bind,ro "$GATE_STATE"`
		for _, args := range [][]string{{"run"}, {"build"}, {"test"}, {"hold", "staging", "--reason", "x"}, {"unhold", "staging"}} {
			cmd := w.mounts(t.Context(), script, args...)
			r := w.run(cmd)
			name := "gate " + strings.Join(args, " ")
			if r.code != 1 || strings.Count(r.err, "\n") != 1 || r.out != "" {
				t.Errorf("%s: want exit 1 and one line\n%s", name, r)
			}
			plain(t, name, r, []string{w.state, "read-only file system", "make it writable or set GATE_STATE to another folder"})
			if used := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(); used > quickly {
				t.Errorf("%s: used %s of processor time", name, used)
			}
		}
		for _, args := range [][]string{{"status"}, {"history", "staging"}, {"ledger", "verify"}, {"evidence", "list"}} {
			if r := w.run(w.mounts(t.Context(), script, args...)); r.code != 0 {
				t.Errorf("gate %v only reads, and should\n%s", args, r)
			}
		}
		if diff := cmp.Diff([]map[string]string{clone, state}, []map[string]string{snapshot(t, w.clone), snapshot(t, w.state)}); diff != "" {
			t.Errorf("something was changed: %s", diff)
		}
	})
	t.Run("full", func(t *testing.T) {
		mayMount(t)
		disk := filepath.Join(w.root, "disk")
		if err := os.Mkdir(disk, 0o755); err != nil {
			t.Fatal(err)
		}
		x := w.with("GATE_STATE="+disk+"/state", "DISK="+disk)
		clone := snapshot(t, w.clone)
		const tmpfs = `mount -t tmpfs -o size=4m tmpfs "$DISK"`
		const larger = `mount -t tmpfs -o size=64m tmpfs "$DISK"`
		// Too small for anything, for the release, and full since yesterday.
		const fill = `dd if=/dev/zero of="$DISK/fill" bs=4k status=none 2>/dev/null || true`
		for _, tt := range []struct {
			name, script string
			args         []string
		}{
			{"from the beginning", tmpfs + "; " + fill, []string{"run"}},
			{"too small for the release", tmpfs, []string{"build"}},
			{"too small for the daemon", tmpfs, []string{"serve", "staging"}},
			{"full since yesterday", tmpfs + `; "$0" status >/dev/null 2>&1; ` + fill, []string{"run"}},
			{"full since yesterday, with nothing kept, for a hold", tmpfs + `; "$0" status >/dev/null 2>&1; ` + fill, []string{"hold", "staging", "--reason", "x"}},
			{"full since yesterday, with something kept", larger + `; "$0" status >/dev/null 2>&1; ` + fill, []string{"run"}},
		} {
			t.Run(tt.name, func(t *testing.T) {
				r := x.run(x.mounts(t.Context(), tt.script, tt.args...))
				if line := errorLine(t, r); r.code != 1 || !strings.Contains(line, "no space left on device") && !strings.Contains(line, "disk is full") || !strings.Contains(line, "free ") || !strings.Contains(line, disk) {
					t.Errorf("want exit 1, where there is no space, and what to do\n%s", r)
				}
				plain(t, tt.name, r, nil)
				if left := w.processes(); len(left) > 0 {
					t.Errorf("processes are left: %v", left)
				}
			})
		}
		// By what is kept, it is held, over and over, and the ledger stays whole; with
		// space again, it goes on, and as much is kept as before.
		const on = `; "$0" status >/dev/null 2>&1; ` + fill + `; set +e
			for n in 1 2 3; do "$0" hold staging --reason "disk $n" || exit 91; ` + fill + `; done
			ls "$GATE_STATE"/reserve | wc -l
			"$0" unhold staging && exit 92
			"$0" run && exit 93
			rm "$DISK/fill"
			"$0" unhold staging || exit 94
			test "$(ls "$GATE_STATE"/reserve | wc -l)" = 8 || exit 95; set -e`
		r := x.run(x.mounts(t.Context(), larger+on, "ledger", "verify"))
		if r.code != 0 || !strings.Contains(r.out, "staging is held: disk 3\n5\n") || !strings.Contains(r.out, "no longer held") {
			t.Errorf("hold should work on a full disk\n%s", r)
		}
		plain(t, "gate run", r, []string{"disk full at " + disk, "before anything goes forward", "rollback and hold still work"})
		if r := x.run(x.mounts(t.Context(), tmpfs+`; "$0" status >/dev/null 2>&1; `+fill, "status", "-o", "json")); r.code != 0 {
			t.Errorf("a full disk should hide nothing\n%s", r)
		}
		if diff := cmp.Diff(clone, snapshot(t, w.clone)); diff != "" {
			t.Errorf("the clone was changed: %s", diff)
		}
	})
	t.Run("of other users' eyes", func(t *testing.T) {
		for path, mode := range map[string]os.FileMode{"keys": 0o700, "keys/ed25519": 0o600, "ledger.git": 0o700} {
			fi, err := os.Stat(filepath.Join(w.state, path))
			if err != nil || fi.Mode().Perm() != mode {
				t.Errorf("%s: %v %v, want %v", path, fi.Mode(), err, mode)
			}
		}
	})
}

// TestDeepState: a unix socket's path has 107 bytes, and folders may be deeper.
func TestDeepState(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: makes a PostgreSQL cluster, about 4 s")
	}
	w := foreignWorld(t)
	w.state = filepath.Join(w.root, strings.Repeat("deep/", 20)+strings.Repeat("d", 200), "state")
	w.env = append(w.env, "GATE_STATE="+w.state)
	w.serve(t, "staging")
	all := parsed[[]struct {
		Actual struct{ Database, Problem string }
	}](t, w.want(0, "status", "staging", "-o", "json"))
	if len(all) != 1 || !strings.HasPrefix(all[0].Actual.Database, "own cluster") || all[0].Actual.Problem != "" {
		t.Errorf("it should run: %+v", all)
	}
	w.want(0, "down", "staging")
	for range 2 {
		if r := w.want(0, "down", "staging"); r.out != "staging does not run\n" {
			t.Errorf("down again\n%s", r)
		}
	}
}
