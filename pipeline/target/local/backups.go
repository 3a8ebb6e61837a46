package local

import (
	"context"
	"errors"
	"path"
	"sync"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/pipeline/target/local/backup"
)

// backups are what the daemon has to do with them.
type backups struct {
	keeper *backup.Keeper
	why    string // there is no keeper

	mu     sync.Mutex
	copies map[string]*copied
}

// openBackups begins to keep backups, where the database can be backed up. Why
// it can't be is for the status: the environment serves all the same.
func (d *Daemon) openBackups(ctx context.Context, e *environments.Environment) error {
	d.backups.copies = map[string]*copied{}
	o := backup.Options{
		DB: d.db, Dir: e.Backup.Dir, Scratch: d.paths.dir("copies"), Every: e.Backup.Interval(), Keep: e.Backup.Count(),
		MaxAge: e.Backup.For.D(), Log: d.opt.Log, Now: d.opt.Now,
	}
	if o.Dir == "" {
		o.Dir = d.paths.dir("backup")
	}
	if e.Backup.S3 != nil {
		o.Remote = remoteOf(*e.Backup.S3, d.paths.Environment, d.opt.Getenv)
	}
	k, err := backup.Open(ctx, o)
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		d.backups.why = err.Error()
		if !errors.Is(err, backup.ErrNotKept) {
			d.opt.Log.Error("backup", "error", err)
		}
		return nil
	}
	d.backups.keeper = k
	return nil
}

// remoteOf reads what the declaration refers to. What is not set is for the
// status: the environment serves all the same.
func remoteOf(s environments.S3, environment string, getenv func(string) string) *backup.Remote {
	r := &backup.Remote{Bucket: s.Bucket, Prefix: path.Join(s.Prefix, environment), Region: s.Region}
	for _, v := range []struct {
		name string
		into *string
	}{{s.EndpointEnv, &r.Endpoint}, {s.AccessKeyEnv, &r.AccessKey}, {s.SecretKeyEnv, &r.SecretKey}, {s.SealEnv, &r.Identity}} {
		if v.name == "" {
			continue
		}
		if *v.into = getenv(v.name); *v.into == "" && r.Broken == "" {
			r.Broken = "the environment variable " + v.name + " is not set; set it where the daemon is started"
		}
	}
	return r
}

func (d *Daemon) keepBackups(ctx context.Context) error {
	if d.backups.keeper != nil {
		d.backups.keeper.Run(ctx)
	}
	return nil
}

func (d *Daemon) closeBackups() {
	if d.backups.keeper == nil {
		return
	}
	if err := d.backups.keeper.Close(); err != nil {
		d.opt.Log.Warn("backup", "error", err)
	}
}

// dropBackups lets the server go without its archive.
func (d *Daemon) dropBackups(ctx context.Context) error {
	if d.backups.keeper == nil {
		return nil
	}
	if err := d.backups.keeper.Drop(ctx); err != nil {
		// The database is to be stopped all the same; a slot keeps what it needs.
		d.opt.Log.Warn("backup", "error", err)
	}
	return nil
}

func (d *Daemon) backupFacts() checks.BackupFacts {
	if d.backups.keeper == nil {
		return checks.BackupFacts{Why: d.backups.why}
	}
	return d.backups.keeper.Facts()
}

func (d *Daemon) backupStatus() *target.BackupStatus {
	f := d.backupFacts()
	return &target.BackupStatus{Kept: f.Kept, Why: f.Why, Base: f.BaseTime, Bases: f.Bases, Streaming: f.Streaming, Problem: f.Problem}
}
