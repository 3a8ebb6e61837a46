package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/release"
	"github.com/smartcloudops/gate/pipeline/target"
)

// asMigrator is the argument by which this program is a daemon that migrates, to
// be killed.
const asMigrator = "open-and-migrate"

// migrator is what such a daemon is told.
type migrator struct {
	State, App, Ledger, Store, Cache string
	Revision                         target.Revision
}

func (m migrator) run() error {
	store, err := release.OpenStore(m.Store)
	if err != nil {
		return err
	}
	d, err := Open(context.Background(), Options{
		Paths: Paths{State: m.State, Environment: m.Revision.Environment.Name}, App: m.App, Ledger: m.Ledger, Declared: m.Revision.Environment,
		Store: store, Cache: m.Cache, Version: "test", Log: slog.New(slog.DiscardHandler), Now: time.Now, Getenv: os.Getenv,
	})
	if err != nil {
		return err
	}
	return d.Migrate(context.Background(), 1, m.Revision)
}

// sleeps is a release whose migration, and a child of that, say who they are and
// sleep, unless there is a file that tells them to be quick.
const sleeps = `package main

import (
	"fmt"
	"os"
	"os/exec"
	"time"
)

func main() {
	out := os.Getenv("OUT")
	f, err := os.OpenFile(out, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Fprintln(f, os.Getpid())
	f.Close()
	if _, err := os.Stat(out + ".quick"); err == nil {
		return
	}
	if os.Args[1] == "migrate" {
		if err := exec.Command("/proc/self/exe", "child").Start(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	time.Sleep(time.Hour)
}
`

// TestAMigrationEndsWithItsDaemon: kill -9 of the daemon leaves nothing that the
// next migration would run beside, neither a process nor a session.
func TestAMigrationEndsWithItsDaemon(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED under -short: some seconds with a real PostgreSQL and a daemon that is killed. Without it two migrations at once are not known to be kept apart")
	}
	t.Parallel()
	p := newPlace(t)
	root := filepath.Dir(p.opt.Paths.State)
	out := filepath.Join(root, "migrations")
	p.must(os.WriteFile(out, nil, 0o600))
	p.must(os.Chmod(out, 0o666))
	dir := filepath.Join(root, "sleeps")
	p.must(os.MkdirAll(filepath.Join(dir, "src"), 0o755))
	for file, text := range map[string]string{"go.mod": "module example.org/hello\n\ngo 1.26\n", "main.go": sleeps} {
		p.must(os.WriteFile(filepath.Join(dir, "src", file), []byte(text), 0o644))
	}
	p.releases["sleeps"] = makeRelease(t, p.opt.Store, dir, &environments.App{
		Name: "hello", Migrate: &environments.Migrate{Args: []string{"migrate"}, Env: map[string]string{"OUT": out}, Timeout: environments.Duration(2 * time.Minute)},
		Serve: environments.Serve{Ready: "/", StartTimeout: environments.Duration(time.Second), StopTimeout: environments.Duration(time.Second)},
	})
	p.leave()

	told, err := json.Marshal(migrator{p.opt.Paths.State, p.opt.App, p.opt.Ledger, filepath.Join(root, "store"), p.opt.Cache, p.rev("sleeps")})
	p.must(err)
	daemon := exec.Command("/proc/self/exe", asMigrator, string(told))
	var said strings.Builder
	daemon.Stdout, daemon.Stderr = &said, &said
	p.must(daemon.Start())
	begun := func() (pids []int) {
		b, err := os.ReadFile(out)
		p.must(err)
		for _, f := range strings.Fields(string(b)) {
			pid, err := strconv.Atoi(f)
			p.must(err)
			pids = append(pids, pid)
		}
		return pids
	}
	eventually := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("never: %s; the daemon said %s", what, said.String())
			}
		}
	}
	over := func(pid int) bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) || zombie(pid) }
	eventually("the migration and its child run", func() bool { return len(begun()) == 2 })
	all := begun()
	t.Cleanup(func() {
		for _, pid := range all {
			if !over(pid) {
				t.Errorf("process %d outlives the test", pid)
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	})
	p.must(daemon.Process.Kill())
	_ = daemon.Wait()
	eventually("the migration has ended with its daemon", func() bool { return over(all[0]) })
	p.open()
	eventually("what it had started has ended with the next daemon", func() bool { return over(all[1]) })

	// In the database it goes on alone.
	conn, err := pgx.Connect(t.Context(), p.database().MigratorURL())
	p.must(err)
	defer conn.Close(context.Background())
	asleep := make(chan error, 1)
	go func() {
		_, err := conn.Exec(context.Background(), "SELECT pg_sleep(60)")
		asleep <- err
	}()
	p.must(os.WriteFile(out+".quick", nil, 0o644))
	p.must(p.Migrate(t.Context(), 2, p.rev("sleeps")))
	select {
	case err := <-asleep:
		if err == nil || !strings.Contains(fmt.Sprint(err), "57P01") {
			t.Errorf("the earlier statement ended by %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("a statement of an earlier migration runs on beside the next one")
	}
}
