package local

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
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
	rt, path, err := d.runtime(rev)
	if err != nil || rt.Migrate == nil {
		return err
	}
	values := map[string]string{
		"PORT": "0", "DATABASE_URL": d.database().MigratorURL(), "INSTANCE": "migrate",
		"RELEASE": rev.Release, "ENVIRONMENT": d.paths.Environment,
	}
	env, err := d.environ(rev.Environment, rt, rt.Migrate.Env, values)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, rt.Migrate.Timeout.D())
	defer cancel()
	cmd := exec.CommandContext(ctx, path, expandAll(rt.Migrate.Args, values)...)
	cmd.Env, cmd.Dir = env, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: d.credential, Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	for line := range strings.Lines(out.String()) {
		d.opt.Log.Info(strings.TrimSpace(line), "from", "migrate", "release", rev.Release)
	}
	if err == nil {
		return nil
	}
	if ctx.Err() != nil && ctx.Err() == context.DeadlineExceeded {
		err = fmt.Errorf("not done after %s", rt.Migrate.Timeout)
	}
	return fmt.Errorf("%w: %w: %.500s", target.ErrMigration, err, lastLine(out.String()))
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}
