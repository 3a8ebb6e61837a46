package backup

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/target/local/cluster"
)

// Copy is a restored copy: a cluster of its own in a folder of its own.
type Copy struct {
	k     *Keeper
	db    *cluster.Cluster
	dir   string
	aside bool
	facts checks.RestoreFacts
	once  sync.Once
	err   error
}

// Restore makes a copy of the database as it was at the point. An error that is
// a *checks.BackupFault says what is wrong with the backup. The caller closes
// the copy; Keeper.Close does, too, and the next Open.
func (k *Keeper) Restore(ctx context.Context, p checks.BackupPoint) (_ *Copy, err error) {
	if !p.At.IsZero() && p.LSN != "" {
		return nil, errors.New("restore to a time or to a place in the WAL, not to both")
	}
	if p.LSN == "" && p.At.After(k.opt.Now()) {
		return nil, fmt.Errorf("%s is in the future; name a moment that has passed", p.At.Format(time.RFC3339))
	}
	if !p.Remote {
		if err := k.first(ctx); err != nil {
			return nil, err
		}
	}
	if p.LSN == "" && !p.Remote && k.db.Ping(ctx) == nil {
		// What was written until now shall be in it, and a recovery to a time
		// needs something after it to know that it is there.
		if _, err := k.sentinel(ctx); err != nil {
			return nil, err
		}
	}
	id := strings.ToLower(rand.Text()[:10])
	dir := filepath.Join(k.opt.Scratch, id)
	if err := os.Mkdir(dir, 0o711); err != nil { // #nosec G301 -- PostgreSQL's user passes through
		return nil, fmt.Errorf("folder for the copy: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	begun := time.Now()
	var facts checks.RestoreFacts
	b, wal, until, err := k.source(ctx, p, dir)
	if err != nil {
		return nil, err
	}
	if p.Remote {
		facts.FetchSeconds = time.Since(begun).Seconds()
	} else {
		// Nobody may retire it meanwhile.
		k.base.Lock()
		defer k.base.Unlock()
	}
	if err := k.recognise(ctx, b); err != nil {
		return nil, err
	}
	if p.Verify {
		begun := time.Now()
		if err := k.verify(ctx, b); err != nil {
			return nil, err
		}
		facts.Verified, facts.VerifySeconds = true, time.Since(begun).Seconds()
	}
	if err := b.gen.chain(wal, b, until); err != nil {
		return nil, err
	}
	if err := room(dir, b.Bytes); err != nil {
		return nil, err
	}
	begun = time.Now()
	db, err := k.recover(ctx, b, wal, dir, p)
	if err != nil {
		return nil, err
	}
	facts.RestoreSeconds = facts.FetchSeconds + time.Since(begun).Seconds()
	facts.BaseTime, facts.SystemIdentifier, facts.ServerVersion, facts.Bytes = b.Begun, b.SystemIdentifier, db.Version(), b.Bytes
	c := &Copy{k: k, db: db, dir: dir, aside: p.Aside, facts: facts}
	k.mu.Lock()
	closed := k.closed
	k.copies[c] = true
	k.mu.Unlock()
	if closed {
		return nil, errors.Join(errors.New("the daemon is ending"), c.Close(context.WithoutCancel(ctx)))
	}
	return c, nil
}

// first waits for the first base backup, where the daemon has just begun.
func (k *Keeper) first(ctx context.Context) error {
	const within = time.Minute
	for began := time.Now(); time.Since(began) < within; {
		bases, err := k.bases()
		k.mu.Lock()
		err = errors.Join(err, k.basing)
		k.mu.Unlock()
		if err != nil || len(bases) > 0 {
			return nil // whoever asks sees what there is
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// source is the base backup with its WAL to restore from; what comes from the
// object store is put into dir.
func (k *Keeper) source(ctx context.Context, p checks.BackupPoint, dir string) (*base, string, LSN, error) {
	if p.Remote {
		if k.opt.Remote == nil {
			return nil, "", 0, errors.New("no object store is declared for backups")
		}
		return k.fetch(ctx, p, dir)
	}
	bases, err := k.bases()
	if err != nil {
		return nil, "", 0, err
	}
	b, until, err := k.choose(bases, p)
	if err != nil {
		return nil, "", 0, err
	}
	return b, b.gen.wal(), until, nil
}

// recognise makes sure that the base backup is one of this cluster, by what is
// in it and not by what stands beside it.
func (k *Keeper) recognise(ctx context.Context, b *base) error {
	root, err := os.OpenRoot(b.dir)
	if err != nil {
		return &checks.BackupFault{Kind: checks.FaultCorrupt, What: "the base backup can't be opened: " + err.Error()}
	}
	defer root.Close()
	version, err := root.ReadFile("PG_VERSION")
	if err != nil {
		return &checks.BackupFault{Kind: checks.FaultCorrupt, What: "PG_VERSION of the base backup can't be read"}
	}
	if got, want := strings.TrimSpace(string(version)), fmt.Sprint(k.db.Major()); got != want {
		return &checks.BackupFault{Kind: checks.FaultVersion, What: fmt.Sprintf("the base backup is of PostgreSQL %.20q, the server of %s", got, want)}
	}
	system, err := k.db.SystemIdentifier(ctx, b.dir)
	if err != nil {
		return &checks.BackupFault{Kind: checks.FaultCorrupt, What: "the base backup's control file can't be read: " + err.Error()}
	}
	own, err := k.db.SystemIdentifier(ctx, k.db.DataDir())
	if err != nil {
		return err
	}
	if system != own {
		return &checks.BackupFault{Kind: checks.FaultDatabase, What: fmt.Sprintf("the base backup is of the cluster %s, the database is %s", system, own)}
	}
	return nil
}

// verify is pg_verifybackup, with the WAL that the base backup holds itself.
func (k *Keeper) verify(ctx context.Context, b *base) error {
	_, err := k.db.Run(ctx, "pg_verifybackup", "--exit-on-error", b.dir)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, cluster.ErrNoTool):
		return err
	case err != nil:
		return &checks.BackupFault{Kind: checks.FaultCorrupt, What: err.Error()}
	}
	return nil
}

// room refuses to fill the disk.
func room(dir string, bytes int64) error {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return fmt.Errorf("room for the copy: %w", err)
	}
	free := int64(st.Bavail) * st.Bsize // #nosec G115 -- far below
	if need := bytes + bytes/4 + 256<<20; free < need {
		return fmt.Errorf("room for the copy: %d MB are free at %s, and %d MB are needed; free some, or give the state directory a bigger disk", free>>20, dir, need>>20)
	}
	return nil
}

// recover copies the base backup and has PostgreSQL bring it to the point.
func (k *Keeper) recover(ctx context.Context, b *base, wal, dir string, p checks.BackupPoint) (*cluster.Cluster, error) {
	data := filepath.Join(dir, "data")
	if p.Remote {
		// It was fetched into this folder, and for this purpose.
		if err := os.Rename(b.dir, data); err != nil {
			return nil, fmt.Errorf("copy the base backup: %w", err)
		}
	} else {
		if err := k.db.MakeDir(data); err != nil {
			return nil, err
		}
		if _, err := k.db.Run(ctx, "/bin/cp", "-a", "--reflink=auto", b.dir+"/.", data); err != nil {
			return nil, fmt.Errorf("copy the base backup: %w", err)
		}
	}
	if _, err := k.db.Run(ctx, "/bin/touch", filepath.Join(data, "recovery.signal")); err != nil {
		return nil, fmt.Errorf("copy the base backup: %w", err)
	}
	from := strings.ReplaceAll(quote(wal), "%", "%%")
	settings := map[string]string{
		"restore_command":          fmt.Sprintf(`cp %s/"%%f" "%%p" 2>/dev/null || cp %s/"%%f.partial" "%%p" 2>/dev/null`, from, from),
		"recovery_target_action":   "promote",
		"recovery_target_timeline": "current",
	}
	switch {
	case p.LSN != "":
		// Everything before the place, and nothing that begins there.
		settings["recovery_target_lsn"] = p.LSN
		settings["recovery_target_inclusive"] = "off"
	case !p.At.IsZero():
		settings["recovery_target_time"] = p.At.UTC().Format("2006-01-02 15:04:05.999999+00")
	}
	db, err := k.db.OpenCopy(ctx, dir, settings, p.Aside)
	if errors.Is(err, cluster.ErrRecovery) {
		return nil, &checks.BackupFault{Kind: checks.FaultRecovery, What: err.Error()}
	}
	return db, err
}

// quote is for a shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// OwnerURL opens the copy as the owner of the schema.
func (c *Copy) OwnerURL() string { return c.db.MigratorURL() }

// AppURL opens the copy as the app does.
func (c *Copy) AppURL() string { return c.db.AppURL() }

// ID names the copy.
func (c *Copy) ID() string { return filepath.Base(c.dir) }

// Aside: what is started on it is to give way, as it does.
func (c *Copy) Aside() bool { return c.aside }

// Facts say how it came about.
func (c *Copy) Facts() checks.RestoreFacts { return c.facts }

// Close ends the copy's server and removes all of it. More than one may call it.
func (c *Copy) Close(ctx context.Context) error {
	c.once.Do(func() {
		c.err = c.db.Discard(ctx)
		c.k.mu.Lock()
		delete(c.k.copies, c)
		c.k.mu.Unlock()
	})
	return c.err
}
