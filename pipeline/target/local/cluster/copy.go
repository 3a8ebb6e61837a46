package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// ErrRecovery: the server of a copy could not be brought to where it should be.
var ErrRecovery = errors.New("the copy does not recover")

// alone are the settings of a copy that win over all others: it answers on
// loopback only, sends nothing anywhere and runs nothing by itself.
var alone = map[string]string{
	"archive_mode":                    "off",
	"hot_standby":                     "off", // then no limit of the source's needs to be met
	"max_logical_replication_workers": "0",
	"max_wal_senders":                 "0",
	"primary_conninfo":                "",
	"shared_preload_libraries":        "",
}

// copyHBA lets in the three roles that get new passwords, and nobody who has
// an old one.
func (c *Cluster) copyHBA() string {
	var b strings.Builder
	b.WriteString("# Written by gate: a scratch copy.\n")
	for _, role := range []string{adminRole, c.migratorRole(), c.appRole()} {
		fmt.Fprintf(&b, "host all %s 127.0.0.1/32 scram-sha-256\n", ident(role))
	}
	return b.String()
}

// OpenCopy starts a second server on dir/data, a base backup of c's cluster
// with recovery.signal in it, by the same programs and as the same user, and
// waits until its recovery is over. Its passwords are new. recovery are the
// settings that say how it recovers; givesWay: to all other processes. The error
// wraps ErrRecovery with what PostgreSQL said where that is the reason. Whoever
// opens a copy discards it.
func (c *Cluster) OpenCopy(ctx context.Context, dir string, recovery map[string]string, givesWay bool) (_ *Cluster, err error) {
	if c.external {
		return nil, errors.New("an external database has no copies")
	}
	dir, err = filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, fmt.Errorf("folder of the copy: %w", err)
	}
	settings := maps.Clone(recovery)
	maps.Copy(settings, alone)
	n := &Cluster{
		dir: dir, name: c.name, copied: true, settings: settings, runner: c.runner, bin: c.bin, aside: givesWay, unfollow: func() {},
		// Until its own are set, it has the source's.
		secrets: c.secrets,
	}
	if n.held, err = lock(n.path("lock")); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
			defer cancel()
			err = errors.Join(err, n.end(stop), n.held.Close())
		}
	}()
	// What ALTER SYSTEM has set at the source, an archive_command perhaps, would
	// win over all this.
	if err := n.overwrite("postgresql.auto.conf", ""); err != nil {
		return nil, err
	}
	if err := n.start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("start the copy: %w", ctx.Err())
		}
		return nil, fmt.Errorf("%w: %w", ErrRecovery, err)
	}
	return n, n.renew(ctx)
}

// renew gives every role of the copy a password of its own.
func (c *Cluster) renew(ctx context.Context) error {
	conn, err := c.connect(ctx, c.adminURL(""))
	if err != nil {
		return c.explain(err, "connect to the copy")
	}
	defer hangUp(conn)
	if err := c.checkVersion(ctx, conn); err != nil {
		return err
	}
	// What follows is not of the source.
	err = conn.QueryRow(ctx, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint").Scan(&c.recovered)
	if err != nil {
		return c.explain(err, "read the copy's next transaction")
	}
	fresh := secrets{ID: random(16), Admin: random(32), Migrator: random(32), App: random(32)}
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		for role, password := range map[string]string{adminRole: fresh.Admin, c.migratorRole(): fresh.Migrator, c.appRole(): fresh.App} {
			hash, err := verifier(password)
			if err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, "ALTER ROLE "+ident(role)+" LOGIN PASSWORD '"+hash+"'"); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return c.explain(err, "give the copy passwords of its own")
	}
	c.secrets = fresh
	return nil
}

// Recovered is the number of the first transaction of a copy that its source
// knows nothing of.
func (c *Cluster) Recovered() int64 { return c.recovered }

// overwrite replaces a file in the data folder, which is the runner's: a link
// planted there must not lead root elsewhere.
func (c *Cluster) overwrite(name, text string) error {
	root, err := os.OpenRoot(c.data())
	if err != nil {
		return fmt.Errorf("open the data folder: %w", err)
	}
	defer root.Close()
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("replace %s: %w", name, err)
	}
	if err := root.WriteFile(name, []byte(text), 0o600); err != nil {
		return explainSpace(err, "write "+name, c.data())
	}
	if c.runner.root {
		if err := root.Lchown(name, c.runner.uid, c.runner.gid); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}

// Discard ends a copy's server without ceremony and removes its folder.
func (c *Cluster) Discard(ctx context.Context) error {
	if !c.copied {
		return errors.New("only a copy is discarded")
	}
	c.op.Lock()
	defer c.op.Unlock()
	if c.isClosed() {
		return nil
	}
	if err := c.end(ctx); err != nil {
		return err
	}
	return errors.Join(c.close(), os.RemoveAll(c.dir))
}

// end kills the server of a copy: nothing in it is worth a checkpoint.
func (c *Cluster) end(ctx context.Context) error {
	if c.unfollow != nil {
		defer c.unfollow()
	}
	found, err := c.running()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, pid := range []int{found.pid, c.PID()} {
		for signalled := false; c.alive(pid); {
			if !signalled {
				if err := syscall.Kill(pid, syscall.SIGQUIT); err != nil && !errors.Is(err, syscall.ESRCH) {
					return fmt.Errorf("end the copy's server, pid %d: %w", pid, err)
				}
				signalled = true
			}
			if err := pause(ctx, 10*time.Millisecond); err != nil {
				return fmt.Errorf("the copy's server, pid %d, does not end: %w", pid, err)
			}
		}
	}
	return c.endOrphans(ctx)
}

// Sweep removes what a process that is gone has left of a copy in dir, its
// server included.
func (c *Cluster) Sweep(ctx context.Context, dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "data")); err == nil {
		dir, err := filepath.EvalSymlinks(dir)
		if err != nil {
			return fmt.Errorf("folder of a left-over copy: %w", err)
		}
		n := &Cluster{dir: dir, name: c.name, copied: true, runner: c.runner, bin: c.bin, log: c.log}
		if err := n.end(ctx); err != nil {
			return err
		}
	}
	return os.RemoveAll(dir)
}
