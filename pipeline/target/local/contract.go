package local

import (
	"context"

	"github.com/smartcloudops/gate/pipeline/target"
)

// Contract runs the release's contract as its migrations are run.
func (d *Daemon) Contract(ctx context.Context, token int64, rev target.Revision) error {
	d.op.Lock()
	defer d.op.Unlock()
	if err := d.fence(token); err != nil {
		return err
	}
	rt, _, err := d.runtime(rev)
	if err != nil || rt.Migrate == nil || rt.Migrate.Contract == nil {
		return err
	}
	if _, err = d.runMigration(ctx, rev, rt.Migrate.Contract.Args, d.database().MigratorURL(), "contract"); err == nil {
		d.settled(ctx, rev.Release)
	}
	return err
}
