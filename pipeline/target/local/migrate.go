package local

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/smartcloudops/gate/pipeline/target"
)

// Migrate implements target.Target: the release's own migrate command, as the
// role that owns the schema.
func (d *Daemon) Migrate(ctx context.Context, token int64, rev target.Revision) error {
	d.op.Lock()
	defer d.op.Unlock()
	if err := d.fence(token); err != nil {
		return err
	}
	if err := d.departs(rev.Release); err != nil {
		return err
	}
	did, err := d.migrate(ctx, rev)
	if err == nil && did {
		d.settled(ctx, rev.Release)
	}
	return err
}

// migrated is when a release's migrations began to be carried out.
type migrated struct {
	Release string    `json:"release"`
	At      time.Time `json:"at"`
}

// migrationsKept is how many changes of release the daemon remembers: more than
// any backups reach back.
const migrationsKept = 200

// departs writes down from when on the schema may be another one than that of
// the release before.
func (d *Daemon) departs(release string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := len(d.st.Migrated)
	if n > 0 && d.st.Migrated[n-1].Release == release {
		return nil
	}
	d.st.Migrated = append(d.st.Migrated[max(0, n+1-migrationsKept):n:n], migrated{release, d.opt.Now().UTC()})
	return d.save()
}

// left is when migrations that the release does not have began to be carried
// out; zero when that is not known, or has not happened.
func (d *Daemon) left(release string) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	// A schema never goes back, so it is the first time that counts.
	i := slices.IndexFunc(d.st.Migrated, func(m migrated) bool { return m.Release == release })
	if i < 0 || i+1 == len(d.st.Migrated) {
		return time.Time{}
	}
	return d.st.Migrated[i+1].At
}

// migrate says whether there was anything to run.
func (d *Daemon) migrate(ctx context.Context, rev target.Revision) (bool, error) {
	return d.migrateOn(ctx, rev, d.database().MigratorURL(), "migrate")
}

// rehearsed is the name of a migration on a copy of the database.
const rehearsed = "rehearsal"

// migrateOn runs the release's migrate command on a database.
func (d *Daemon) migrateOn(ctx context.Context, rev target.Revision, url, instance string) (bool, error) {
	rt, _, err := d.runtime(rev)
	if err != nil || rt.Migrate == nil {
		return false, err
	}
	return d.runMigration(ctx, rev, rt.Migrate.Args, url, instance)
}

func (d *Daemon) runMigration(ctx context.Context, rev target.Revision, args []string, url, instance string) (bool, error) {
	rt, path, err := d.runtime(rev)
	if err != nil {
		return false, err
	}
	values := map[string]string{
		"PORT": "0", "DATABASE_URL": url, "INSTANCE": instance,
		"RELEASE": rev.Release, "ENVIRONMENT": d.paths.Environment,
	}
	env, err := d.environ(rev.Environment, rt, rt.Migrate.Env, values)
	if err != nil {
		return false, err
	}
	if instance != rehearsed {
		// What a killed daemon had begun is ended where it was started, by Open, and
		// here in the database, where a statement may go on without who sent it.
		if n, err := d.database().EndMigrations(ctx); err != nil {
			return false, fmt.Errorf("end what an earlier migration has left in the database: %w", err)
		} else if n > 0 {
			d.opt.Log.Warn("sessions of an earlier migration were ended", "sessions", n)
		}
		env = append(env, d.sup.Token())
	}
	ctx, cancel := context.WithTimeout(ctx, rt.Migrate.Timeout.D())
	defer cancel()
	cmd := exec.CommandContext(ctx, path, expandAll(args, values)...)
	cmd.Env, cmd.Dir = env, "/"
	// It must not outlive this process: the next one would start another beside it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: d.credential, Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	// The kernel counts the end of the thread that started it as ours.
	runtime.LockOSThread()
	err = cmd.Run()
	runtime.UnlockOSThread()
	for line := range strings.Lines(out.String()) {
		d.opt.Log.Info(strings.TrimSpace(line), "from", instance, "release", rev.Release)
	}
	if err == nil {
		return true, nil
	}
	if ctx.Err() != nil && ctx.Err() == context.DeadlineExceeded {
		err = fmt.Errorf("not done after %s", rt.Migrate.Timeout)
	}
	return false, fmt.Errorf("%w: %w: %.500s", target.ErrMigration, err, lastLine(out.String()))
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}
