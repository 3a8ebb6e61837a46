package backup

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/smartcloudops/gate/checks"
)

// TestRestoreBesideBareCommands compares the drill, but for the app, with the
// sum of what somebody would type for it, on a database of pgbench.
func TestRestoreBesideBareCommands(t *testing.T) {
	if os.Getenv("GATE_BENCH") == "" {
		t.Skip("SKIPPED without GATE_BENCH=1: some minutes with a database of 750 MB. Without it nothing is known of the drill's cost")
	}
	w := newWorld(t)
	if err := w.db.Login(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.db.Run(t.Context(), "pgbench", append(w.db.ConnectArgs()[:3], "--initialize", "--scale=50", "--quiet", w.db.Name())...); err != nil {
		t.Fatal(err)
	}
	w.based(1)
	if err := w.k.Base(t.Context()); err != nil {
		t.Fatal(err)
	}
	d := &driller{w: w}
	took := func(f func()) time.Duration {
		begun := time.Now()
		f()
		return time.Since(begun)
	}
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		var mark checks.BackupMark
		drill := took(func() {
			var err error
			if mark, err = d.MarkBackup(t.Context()); err != nil {
				t.Fatal(err)
			}
			c, err := d.RestoreBackup(t.Context(), checks.BackupPoint{LSN: mark.LSN, Verify: true, Aside: true})
			if err != nil {
				t.Fatal(err)
			}
			is, err := c.Inspect(t.Context(), mark)
			if err != nil || !is.Before {
				t.Fatal(is.Before, err)
			}
			must(c.Amcheck(t.Context()))
			must(nil, c.Close(t.Context()))
		})
		// The bare commands, each as PostgreSQL's user.
		b := w.newest()
		dir := filepath.Join(w.dir, "bare")
		must(nil, w.db.MakeDir(dir))
		data := filepath.Join(dir, "data")
		ctl := func(args ...string) {
			must(w.db.Run(t.Context(), "pg_ctl", append([]string{"-D", data, "-w"}, args...)...))
		}
		psql := func(port, sql string) {
			must(w.db.Run(t.Context(), "psql", "--host=127.0.0.1", "--port="+port, "--username=gate", "--no-password", "--dbname="+w.db.Name(), "--quiet", "--command="+sql, "--output=/dev/null"))
		}
		digest := `SELECT count(*), sum(hashtextextended(x, 0)::numeric), sum(hashtextextended(x, 1)::numeric) FROM (SELECT (t.*)::text x FROM %s t OFFSET 0) s;`
		all := ""
		for _, table := range []string{"pgbench_accounts", "pgbench_branches", "pgbench_tellers", "pgbench_history"} {
			all += fmt.Sprintf(digest, table)
		}
		const port = "33999"
		bare := took(func() {
			psql(w.db.ConnectArgs()[1][len("--port="):], all)
			must(w.db.Run(t.Context(), "pg_verifybackup", b.dir))
			must(w.db.Run(t.Context(), "/bin/cp", "-a", b.dir, data))
			must(w.db.Run(t.Context(), "/bin/sh", "-c", `: > "$0/recovery.signal"; printf '%s\n' "restore_command = 'cp \"$1/%f\" \"%p\" || cp \"$1/%f.partial\" \"%p\"'" "recovery_target_lsn = '$2'" "recovery_target_inclusive = off" "recovery_target_action = promote" "hot_standby = off" "listen_addresses = '127.0.0.1'" "unix_socket_directories = ''" "shared_buffers = '128MB'" "max_wal_size = '1GB'" > "$0/postgresql.auto.conf"; printf '%s\n' 'host all all 127.0.0.1/32 trust' > "$0/pg_hba.conf"`,
				data, b.gen.wal(), mark.LSN))
			ctl("-o", "-p "+port, "-l", filepath.Join(dir, "log"), "start")
			// It takes a server that recovers for one that is up.
			w.until("the bare copy has recovered", func() bool {
				_, err := w.db.Run(t.Context(), "pg_isready", "--host=127.0.0.1", "--port="+port)
				return err == nil
			})
			psql(port, all)
			must(w.db.Run(t.Context(), "pg_amcheck", "--host=127.0.0.1", "--port="+port, "--username=gate", "--no-password", "--install-missing", "--heapallindexed", "--database="+w.db.Name()))
			ctl("-m", "immediate", "stop")
			must(exec.Command("rm", "-rf", dir).CombinedOutput()) // #nosec G204 -- a test's own
		})
		t.Logf("%d MB: drill %.1f s, bare commands %.1f s, ratio %.2f", b.Bytes>>20, drill.Seconds(), bare.Seconds(), drill.Seconds()/bare.Seconds())
	}
}
