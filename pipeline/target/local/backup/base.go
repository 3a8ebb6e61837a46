package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/smartcloudops/gate/checks"
)

// How long to wait before a base backup that failed is tried again.
const (
	firstRetry = 2 * time.Second
	lastRetry  = 10 * time.Minute
)

// schedule makes a base backup whenever the newest is too old, or there is
// none in this generation.
func (k *Keeper) schedule(ctx context.Context) {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	retry, next := firstRetry, time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		k.mu.Lock()
		ready := k.streaming && k.gen != nil
		k.mu.Unlock()
		if !ready || k.opt.Now().Before(next) || !k.due() {
			continue
		}
		err := k.Base(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			retry = firstRetry
			continue
		}
		next = k.opt.Now().Add(retry)
		retry = min(2*retry, lastRetry)
		k.opt.Log.Error("backup: base backup", "error", err)
	}
}

func (k *Keeper) due() bool {
	bases, err := k.bases()
	if err != nil {
		k.opt.Log.Error("backup", "error", err)
		return false
	}
	g := k.generation()
	for _, b := range bases {
		if b.gen.dir == g.dir && k.opt.Now().Sub(b.Begun) < k.opt.Every {
			return false
		}
	}
	return true
}

// Base makes a base backup now, and removes those that are too many.
func (k *Keeper) Base(ctx context.Context) error {
	k.base.Lock()
	defer k.base.Unlock()
	g := k.generation()
	if g == nil {
		return errors.New("the archive has not begun yet; see gate status")
	}
	err := k.makeBase(ctx, g)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	k.mu.Lock()
	k.basing = err
	if err == nil && k.gen == g {
		k.healed = true
	}
	k.mu.Unlock()
	return errors.Join(err, k.retire())
}

func (k *Keeper) makeBase(ctx context.Context, g *generation) error {
	begun := k.opt.Now().UTC()
	stamp := begun.Format(stampFormat)
	dir := filepath.Join(g.base(), stamp)
	defer os.RemoveAll(dir + halfMade)
	if err := k.db.Login(); err != nil {
		return err
	}
	// With its own WAL it can be restored even when the archive can't be read.
	args := append(k.db.ConnectArgs(), "--pgdata="+dir+halfMade, "--format=plain", "--wal-method=stream",
		"--checkpoint=fast", "--manifest-checksums=SHA256", "--label=gate "+stamp)
	if _, err := k.db.Run(ctx, "pg_basebackup", args...); err != nil {
		return err
	}
	b := &base{gen: g, Begun: begun, SystemIdentifier: g.SystemIdentifier, Version: k.db.Version()}
	if err := b.readLabel(dir + halfMade); err != nil {
		return err
	}
	b.Bytes = folderBytes(dir + halfMade)
	if err := os.Rename(dir+halfMade, dir); err != nil {
		return fmt.Errorf("put the base backup in its place: %w", err)
	}
	b.Finished = k.opt.Now().UTC()
	k.opt.Log.Info("backup: base backup made", "bytes", b.Bytes, "seconds", b.Finished.Sub(b.Begun).Seconds())
	return writeJSON(filepath.Join(g.dir, "base-"+stamp+".json"), b)
}

var (
	labelStart  = regexp.MustCompile(`(?m)^START WAL LOCATION: ([0-9A-F]+/[0-9A-F]+) \(file ([0-9A-F]{8})`)
	manifestEnd = regexp.MustCompile(`"End-LSN": "([0-9A-F]+/[0-9A-F]+)"`)
)

// readLabel takes from the backup itself where its recovery begins and ends.
// Its folder is PostgreSQL's user's: a link there must not lead elsewhere.
func (b *base) readLabel(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("look into the base backup: %w", err)
	}
	defer root.Close()
	label, err := root.ReadFile("backup_label")
	if err != nil {
		return fmt.Errorf("look into the base backup: %w", err)
	}
	manifest, err := root.ReadFile("backup_manifest")
	if err != nil {
		return fmt.Errorf("look into the base backup: %w", err)
	}
	start, end := labelStart.FindSubmatch(label), manifestEnd.FindSubmatch(manifest)
	if start == nil || end == nil {
		return errors.New("the base backup does not say which WAL it needs")
	}
	timeline, err := strconv.ParseUint(string(start[2]), 16, 32)
	if err != nil {
		return fmt.Errorf("the base backup's timeline: %w", err)
	}
	b.Timeline = uint32(timeline)
	return errors.Join(b.Start.UnmarshalText(start[1]), b.End.UnmarshalText(end[1]))
}

// retire removes base backups that are too many or too old, and the WAL that
// none of those left needs. The newest always stays.
func (k *Keeper) retire() error {
	bases, err := k.bases()
	if err != nil {
		return err
	}
	kept := map[string]LSN{} // generation → where its oldest base begins
	present := k.generation()
	for i, b := range bases {
		newest := i == len(bases)-1
		many := i < len(bases)-k.opt.Keep
		old := k.opt.MaxAge > 0 && k.opt.Now().Sub(b.Finished) > k.opt.MaxAge
		if !newest && (many || old) {
			// What describes it goes first: nobody may take half of it for a backup.
			err = errors.Join(err, os.Remove(filepath.Join(b.gen.dir, "base-"+b.name()+".json")), os.RemoveAll(b.dir))
			continue
		}
		if at, ok := kept[b.gen.dir]; !ok || b.Start < at {
			kept[b.gen.dir] = b.Start
		}
	}
	gens, gerr := generations(k.opt.Dir)
	err = errors.Join(err, gerr)
	for _, g := range gens {
		start, ok := kept[g.dir]
		if !ok {
			if present == nil || g.dir != present.dir {
				err = errors.Join(err, os.RemoveAll(g.dir))
			}
			continue
		}
		entries, rerr := os.ReadDir(g.wal())
		err = errors.Join(err, rerr)
		for _, e := range entries {
			if _, n, ok := g.parseSegment(e.Name()); ok && n < g.segment(start) {
				err = errors.Join(err, os.Remove(filepath.Join(g.wal(), e.Name())))
			}
		}
	}
	if err != nil {
		return fmt.Errorf("remove old backups: %w", err)
	}
	return nil
}

// choose is the newest base backup from which the point can be reached.
func (k *Keeper) choose(bases []*base, p checks.BackupPoint) (*base, LSN, error) {
	var until LSN
	if p.LSN != "" {
		var err error
		if until, err = ParseLSN(p.LSN); err != nil {
			return nil, 0, err
		}
	}
	if len(bases) == 0 {
		return nil, 0, &checks.BackupFault{Kind: checks.FaultNone, What: "there is no base backup"}
	}
	for i := len(bases) - 1; i >= 0; i-- {
		b := bases[i]
		if until > 0 && b.End > until || !p.At.IsZero() && b.Finished.After(p.At) {
			continue
		}
		return b, until, nil
	}
	return nil, 0, &checks.BackupFault{Kind: checks.FaultNone, What: fmt.Sprintf("the oldest base backup was finished at %s, after the point asked for", bases[0].Finished.Format(time.RFC3339))}
}
