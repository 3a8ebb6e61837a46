// Package backup keeps backups of an environment's own PostgreSQL: everything
// that it writes, as it is written, and base backups from time to time; and it
// restores them on the side.
//
// What is written comes by pg_receivewal and a replication slot, not by an
// archive_command: the archive is then behind by a moment and not by a segment
// of 16 MB, nothing in the server's configuration waits for a restart, and the
// server itself keeps what could not be fetched yet, up to a bound.
package backup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/target/local/cluster"
)

// Options of a Keeper. All but Remote are required.
type Options struct {
	DB      *cluster.Cluster
	Dir     string // of the backups
	Scratch string // of restored copies
	Every   time.Duration
	Keep    int           // base backups
	MaxAge  time.Duration // older base backups go, but the newest; 0: any age
	Remote  *Remote
	Log     *slog.Logger
	Now     func() time.Time

	patience time.Duration // 0: patience; for tests
}

// Keeper keeps the backups of one cluster.
type Keeper struct {
	opt     Options
	db      *cluster.Cluster
	arrival time.Duration // how long a sentinel may take into the archive before that is stale

	stop context.CancelFunc
	wg   sync.WaitGroup

	mark sync.Mutex // held by who writes sentinels
	base sync.Mutex // held by who makes a base backup or removes some

	mu        sync.Mutex // guards what follows
	streaming bool
	since     time.Time // when streaming last began or ended
	archiving error     // why it does not stream
	basing    error     // why the last base backup failed
	lost      string    // why the archive has got a gap; "": it never had
	lostAt    time.Time
	healed    bool // there is a base backup from after the gap
	gen       *generation
	copies    map[*Copy]bool
	closed    bool
	remote    checks.RemoteFacts
}

// patience is how long the archive may be without a connection before it is a
// problem, as the server may restart, and without progress before it is begun
// again.
const patience = 15 * time.Second

// lostLeast is how long a gap is a problem, even where a base backup takes a
// moment: whoever watches looks once a second, and shall see it.
const lostLeast = 3 * time.Second

// Programs that backups need beside the server's own.
var programs = []string{"pg_basebackup", "pg_receivewal", "pg_verifybackup", "pg_controldata"}

// ErrNotKept: there are no backups of this database.
var ErrNotKept = errors.New("no backups are kept")

// Open makes sure that backups can be kept there, and removes what a daemon
// that was killed has left of copies and half backups. Run does the rest.
func Open(ctx context.Context, o Options) (*Keeper, error) {
	if o.DB.External() {
		return nil, fmt.Errorf("%w of an external database by gate; whoever runs it backs it up", ErrNotKept)
	}
	for _, p := range programs {
		if _, err := os.Stat(filepath.Join(o.DB.BinDir(), p)); err != nil {
			return nil, fmt.Errorf("%w: %s is missing in %s; install the distribution's PostgreSQL with its client programs", ErrNotKept, p, o.DB.BinDir())
		}
	}
	for _, dir := range []string{o.Dir, o.Scratch} {
		if err := os.MkdirAll(dir, 0o711); err != nil { // #nosec G301 -- PostgreSQL's user passes through
			return nil, fmt.Errorf("folder for backups: %w", err)
		}
		if err := o.DB.Enterable(dir); err != nil {
			return nil, fmt.Errorf("folder for backups: %w", err)
		}
	}
	if o.patience == 0 {
		o.patience = patience
	}
	k := &Keeper{opt: o, db: o.DB, arrival: arrival, copies: map[*Copy]bool{}, since: o.Now()}
	return k, k.sweep(ctx)
}

// sweep removes copies and half-made backups that nobody owns any more.
func (k *Keeper) sweep(ctx context.Context) error {
	entries, err := os.ReadDir(k.opt.Scratch)
	if err != nil {
		return fmt.Errorf("left-over copies: %w", err)
	}
	for _, e := range entries {
		if err := k.db.Sweep(ctx, filepath.Join(k.opt.Scratch, e.Name())); err != nil {
			return fmt.Errorf("left-over copy: %w", err)
		}
	}
	half, err := filepath.Glob(filepath.Join(k.opt.Dir, "*", "base", "*"+halfMade))
	for _, dir := range half {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// Run keeps the backups until ctx ends or Close.
func (k *Keeper) Run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	k.mu.Lock()
	if k.closed {
		k.mu.Unlock()
		cancel()
		return
	}
	k.stop = cancel
	k.wg.Add(1)
	k.mu.Unlock()
	defer k.wg.Done()
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { k.archive(ctx) })
	wg.Go(func() { k.schedule(ctx) })
	if k.opt.Remote != nil {
		wg.Go(func() { k.upload(ctx) })
	}
	wg.Wait()
}

// Close ends Run and discards all copies.
func (k *Keeper) Close() error {
	k.mu.Lock()
	k.closed = true
	if k.stop != nil {
		k.stop()
	}
	var copies []*Copy
	for c := range k.copies {
		copies = append(copies, c)
	}
	k.mu.Unlock()
	k.wg.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var err error
	for _, c := range copies {
		err = errors.Join(err, c.Close(ctx))
	}
	return err
}

// Drop waits a little until the archive has everything, ends Run and gives up
// the slot, so that a server without a keeper does not fill its disk.
func (k *Keeper) Drop(ctx context.Context) error {
	settle, cancel := context.WithTimeout(ctx, 5*time.Second)
	_, err := k.sentinel(settle)
	cancel()
	if err != nil {
		k.opt.Log.Warn("backup: the archive may lack the end", "error", err)
	}
	if err := k.Close(); err != nil {
		return err
	}
	conn, err := k.db.Connect(ctx, "")
	if err != nil {
		return fmt.Errorf("give up the archive's slot: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := dropSlot(ctx, conn); err != nil {
		return err
	}
	if g := k.generation(); g != nil {
		g.Slot = false
		return g.write()
	}
	return nil
}

func (k *Keeper) generation() *generation {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.gen
}

// Facts say how the backups stand.
func (k *Keeper) Facts() checks.BackupFacts {
	k.mu.Lock()
	f := checks.BackupFacts{Kept: true, Streaming: k.streaming, Problem: k.problem(), ServerVersion: k.db.Version(), Remote: k.remote}
	g := k.gen
	k.mu.Unlock()
	f.Remote.Declared = k.opt.Remote != nil
	if g != nil {
		f.SystemIdentifier = g.SystemIdentifier
		f.WALBytes = folderBytes(g.wal())
	}
	bases, err := k.bases()
	if err != nil && f.Problem == "" {
		f.Problem = err.Error()
	}
	f.Bases = len(bases)
	if n := len(bases); n > 0 {
		f.BaseTime, f.BaseBytes = bases[n-1].Begun, bases[n-1].Bytes
	}
	f.SameDisk = sameDisk(k.opt.Dir, k.db.DataDir())
	return f
}

// problem is what keeps the backups from being good. The caller holds mu.
func (k *Keeper) problem() string {
	switch {
	case k.lost != "" && (!k.healed || k.opt.Now().Sub(k.lostAt) < lostLeast):
		return k.lost
	case k.basing != nil:
		return "base backup: " + k.basing.Error()
	case !k.streaming && k.opt.Now().Sub(k.since) > patience && k.archiving != nil:
		return "nothing is archived: " + k.archiving.Error()
	case !k.streaming && k.opt.Now().Sub(k.since) > patience:
		return "nothing is archived"
	}
	return k.remote.Problem
}

func sameDisk(a, b string) bool {
	var sa, sb syscall.Stat_t
	if syscall.Stat(a, &sa) != nil || syscall.Stat(b, &sb) != nil {
		return true // not known to be another
	}
	return sa.Dev == sb.Dev
}

func folderBytes(dir string) int64 {
	var n int64
	_ = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil {
			return nil // gone meanwhile
		}
		if fi, err := d.Info(); err == nil && fi.Mode().IsRegular() {
			n += fi.Size()
		}
		return nil
	})
	return n
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
