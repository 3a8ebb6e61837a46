package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/target/local/aside"
)

// Remote is an object store that base backups and complete segments of the
// archive are copied to, sealed with age for one identity.
type Remote struct {
	Bucket, Prefix, Region, Endpoint string
	AccessKey, SecretKey             string
	Identity                         string // AGE-SECRET-KEY-1…

	// Broken says why nothing can be copied, as when a variable is not set.
	Broken string
	// Switch is how long a segment may stay incomplete, and so here alone, while
	// something is written; 0: 5 minutes.
	Switch time.Duration
}

// String keeps the keys out of whatever prints a value.
func (r *Remote) String() string   { return "s3 bucket " + r.Bucket }
func (r *Remote) GoString() string { return r.String() }

// Names of objects below the prefix: GENERATION/base/STAMP.SEGMENT.tar.age, where
// recovery begins in SEGMENT; beside it .json.age, which is put last and without
// which it does not count; GENERATION/wal/SEGMENT.age.
const (
	tarSuffix  = ".tar.age"
	metaSuffix = ".json.age"
	walSuffix  = ".age"
)

// remoteBase is what is known of a base backup in the store.
type remoteBase struct {
	base
	SegmentBytes int64 `json:"segment_bytes"`
	Major        int   `json:"major"`
}

// listed are the objects of the store.
type listed struct {
	sizes map[string]int64
}

// bases are the names of complete base backups, oldest first, without suffix.
func (l listed) bases() []string {
	var out []string
	for name := range l.sizes {
		if stem, ok := strings.CutSuffix(name, metaSuffix); ok && strings.Contains(stem, "/base/") {
			if _, there := l.sizes[stem+tarSuffix]; there {
				out = append(out, stem)
			}
		}
	}
	slices.SortFunc(out, func(a, b string) int { return strings.Compare(path.Base(a), path.Base(b)) })
	return out
}

func generationOf(name string) string { g, _, _ := strings.Cut(name, "/"); return g }

// upload copies what is new, now and then.
func (k *Keeper) upload(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	switched := time.Now()
	var last LSN
	wait := time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if time.Now().Before(wait) {
			continue
		}
		every := k.opt.Remote.Switch
		if every == 0 {
			every = 5 * time.Minute
		}
		if time.Since(switched) > every {
			switched = time.Now()
			if at, err := k.switchSegment(ctx, last); err == nil {
				last = at
			}
		}
		err := k.copyOut(ctx)
		if ctx.Err() != nil {
			return
		}
		k.mu.Lock()
		k.remote.Problem = ""
		if err != nil {
			k.remote.Problem = "object store: " + err.Error()
			wait = time.Now().Add(10 * time.Second)
		}
		k.mu.Unlock()
		if err != nil {
			k.opt.Log.Error("backup: object store", "error", err)
		}
	}
}

// switchSegment completes the present segment, if anything has been written
// since the place last.
func (k *Keeper) switchSegment(ctx context.Context, last LSN) (LSN, error) {
	conn, err := k.db.Connect(ctx, "")
	if err != nil {
		return last, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var at string
	if err := conn.QueryRow(ctx, "SELECT pg_current_wal_insert_lsn()::text").Scan(&at); err != nil {
		return last, fmt.Errorf("complete a segment: %w", err)
	}
	now, err := ParseLSN(at)
	if err != nil || now-last < 4096 {
		return last, err // nothing but its own noise
	}
	if err := conn.QueryRow(ctx, "SELECT pg_switch_wal()::text").Scan(&at); err != nil {
		return last, fmt.Errorf("complete a segment: %w", err)
	}
	return ParseLSN(at)
}

// copyOut copies what the store does not have, and removes what no base backup
// there needs any more.
func (k *Keeper) copyOut(ctx context.Context) error {
	s, err := k.store()
	if err != nil {
		return err
	}
	there, err := s.list(ctx)
	if err != nil {
		return err
	}
	local, err := k.bases()
	if err != nil {
		return err
	}
	for _, b := range local {
		stem := path.Join(filepath.Base(b.gen.dir), "base", b.name()+"."+b.gen.segmentName(b.Timeline, b.gen.segment(b.Start)))
		_, known := there.sizes[stem+metaSuffix]
		if _, packed := there.sizes[stem+tarSuffix]; known && packed {
			continue
		}
		if err := k.sendBase(ctx, s, b, stem); err != nil {
			return err
		}
	}
	g := k.generation()
	if g != nil && len(local) > 0 {
		if err := k.sendWAL(ctx, s, g, local, there); err != nil {
			return err
		}
	}
	if there, err = s.list(ctx); err != nil {
		return err
	}
	if err := k.retireRemote(ctx, s, there); err != nil {
		return err
	}
	k.tally(g, there)
	return nil
}

func (k *Keeper) sendBase(ctx context.Context, s *store, b *base, stem string) error {
	k.base.Lock()
	defer k.base.Unlock()
	cmd, err := k.db.Command(ctx, "/bin/tar", "--create", "--directory="+b.dir, ".")
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("pack the base backup: %w", err)
	}
	if err := aside.Start(cmd); err != nil {
		return fmt.Errorf("pack the base backup: %w", err)
	}
	err = s.put(ctx, stem+tarSuffix, out)
	if err != nil {
		_ = cmd.Cancel()
	}
	if werr := cmd.Wait(); err == nil && werr != nil {
		err = fmt.Errorf("pack the base backup: %w", werr)
	}
	if err != nil {
		return err
	}
	return s.putJSON(ctx, stem+metaSuffix, remoteBase{base: *b, SegmentBytes: b.gen.SegmentBytes, Major: b.gen.Major})
}

func (k *Keeper) sendWAL(ctx context.Context, s *store, g *generation, local []*base, there listed) error {
	var timeline uint32
	first := ^uint64(0)
	for _, b := range local {
		if b.gen.dir == g.dir {
			timeline, first = b.Timeline, min(first, g.segment(b.Start))
		}
	}
	have, err := g.segments(g.wal(), timeline)
	if err != nil {
		return err
	}
	for _, n := range have {
		name := g.segmentName(timeline, n)
		object := path.Join(filepath.Base(g.dir), "wal", name+walSuffix)
		if _, done := there.sizes[object]; done || n < first {
			continue
		}
		if err := s.putFile(ctx, object, filepath.Join(g.wal(), name)); err != nil {
			if errors.Is(err, os.ErrNotExist) {
				continue // retired this moment
			}
			return err
		}
	}
	return nil
}

// retireRemote keeps as many base backups there as here. It goes by what the
// store has and not by what this disk has: the disk may be a new one.
func (k *Keeper) retireRemote(ctx context.Context, s *store, there listed) error {
	bases := there.bases()
	if len(bases) <= k.opt.Keep {
		return nil
	}
	kept := map[string]string{} // generation → first segment that is needed
	for _, stem := range bases[len(bases)-k.opt.Keep:] {
		g, segment := generationOf(stem), strings.TrimPrefix(path.Ext(stem), ".")
		if was, ok := kept[g]; !ok || segment < was {
			kept[g] = segment
		}
	}
	for _, stem := range bases[:len(bases)-k.opt.Keep] {
		// What makes it count goes first.
		if err := errors.Join(s.remove(ctx, stem+metaSuffix), s.remove(ctx, stem+tarSuffix)); err != nil {
			return err
		}
	}
	oldest := generationOf(bases[len(bases)-k.opt.Keep])
	for name := range there.sizes {
		g, segment, ok := strings.Cut(strings.TrimSuffix(name, walSuffix), "/wal/")
		if first, known := kept[g]; ok && (known && segment < first || !known && g < oldest) {
			if err := s.remove(ctx, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// tally counts what the store has.
func (k *Keeper) tally(g *generation, there listed) {
	f := checks.RemoteFacts{Declared: true}
	for _, n := range there.sizes {
		f.Objects++
		f.Bytes += n
	}
	if b := there.bases(); len(b) > 0 {
		stamp, _, _ := cutLast(path.Base(b[len(b)-1]), ".")
		if t, err := time.Parse(stampFormat, stamp); err == nil {
			f.BaseTime = t.UTC()
		}
	}
	k.mu.Lock()
	f.Problem = k.remote.Problem
	k.remote = f
	k.mu.Unlock()
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// sent waits until the store has everything up to the place.
func (k *Keeper) sent(ctx context.Context, s *store, until LSN) error {
	if _, err := k.switchSegment(ctx, 0); err != nil {
		return err
	}
	g := k.generation()
	if g == nil {
		return errors.New("the archive has not begun yet; see gate status")
	}
	const within = time.Minute
	var there listed
	for began := time.Now(); time.Since(began) < within; {
		var err error
		if there, err = s.list(ctx); err != nil {
			return err
		}
		bases, err := k.bases()
		if err != nil {
			return err
		}
		if len(bases) > 0 {
			b := bases[len(bases)-1]
			if _, done := there.sizes[path.Join(filepath.Base(g.dir), "wal", g.segmentName(b.Timeline, g.segment(until))+walSuffix)]; done {
				return nil
			}
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
	return &checks.BackupFault{Kind: checks.FaultStale, What: fmt.Sprintf("the object store has not got what was written %s ago", within)}
}

// fetch brings a base backup with its WAL from the store into dir.
func (k *Keeper) fetch(ctx context.Context, p checks.BackupPoint, dir string) (*base, string, LSN, error) {
	s, err := k.store()
	if err != nil {
		return nil, "", 0, err
	}
	var until LSN
	if p.LSN != "" {
		if until, err = ParseLSN(p.LSN); err != nil {
			return nil, "", 0, err
		}
	}
	if k.db.Ping(ctx) == nil && k.generation() != nil {
		w, err := k.sentinel(ctx)
		if err == nil {
			err = k.sent(ctx, s, w.after)
		}
		if err != nil {
			return nil, "", 0, err
		}
	}
	there, err := s.list(ctx)
	if err != nil {
		return nil, "", 0, err
	}
	names := there.bases()
	slices.Reverse(names)
	for _, stem := range names {
		var r remoteBase
		if err := s.getJSON(ctx, stem+metaSuffix, &r); err != nil {
			return nil, "", 0, err
		}
		if until > 0 && r.End > until || !p.At.IsZero() && r.Finished.After(p.At) {
			continue
		}
		b := r.base
		b.gen = &generation{dir: dir, SystemIdentifier: r.SystemIdentifier, Major: r.Major, SegmentBytes: r.SegmentBytes, Slot: true}
		b.dir = filepath.Join(dir, "fetched")
		wal := filepath.Join(dir, "wal")
		if err := errors.Join(k.db.MakeDir(b.dir), k.db.MakeDir(wal)); err != nil {
			return nil, "", 0, err
		}
		if err := room(dir, 2*r.Bytes); err != nil {
			return nil, "", 0, err
		}
		if err := k.unpack(ctx, s, stem+tarSuffix, b.dir); err != nil {
			return nil, "", 0, err
		}
		first := b.gen.segment(b.Start)
		for name := range there.sizes {
			segment, ok := strings.CutPrefix(strings.TrimSuffix(name, walSuffix), generationOf(stem)+"/wal/")
			_, n, valid := b.gen.parseSegment(segment)
			if !ok || !valid || n < first {
				continue
			}
			if err := k.getSegment(ctx, s, name, wal, segment); err != nil {
				return nil, "", 0, err
			}
		}
		return &b, wal, until, nil
	}
	return nil, "", 0, &checks.BackupFault{Kind: checks.FaultNone, What: "the object store has no base backup from before the point asked for"}
}

func (k *Keeper) unpack(ctx context.Context, s *store, name, dir string) error {
	in, err := s.get(ctx, name)
	if err != nil {
		return err
	}
	defer in.Close()
	cmd, err := k.db.Command(ctx, "/bin/tar", "--extract", "--preserve-permissions", "--directory="+dir)
	if err != nil {
		return err
	}
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("unpack the base backup: %w", err)
	}
	if err := aside.Start(cmd); err != nil {
		return fmt.Errorf("unpack the base backup: %w", err)
	}
	_, err = io.Copy(pipe, in)
	if err != nil {
		_ = cmd.Cancel()
	}
	werr := errors.Join(pipe.Close(), cmd.Wait())
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err = errors.Join(err, werr); err != nil {
		return &checks.BackupFault{Kind: checks.FaultCorrupt, What: fmt.Sprintf("%s can't be unpacked: %v", name, err)}
	}
	return nil
}

// getSegment writes a segment as PostgreSQL's user, whose folder it is.
func (k *Keeper) getSegment(ctx context.Context, s *store, name, wal, segment string) error {
	in, err := s.get(ctx, name)
	if err != nil {
		return err
	}
	defer in.Close()
	b, err := io.ReadAll(in)
	if err != nil {
		return &checks.BackupFault{Kind: checks.FaultCorrupt, What: fmt.Sprintf("%s can't be opened: %v", name, err)}
	}
	return k.db.WriteFile(wal, segment, b)
}

// seal encrypts for the identity; open is its reverse.
func (s *store) seal(in io.Reader) io.ReadCloser {
	out, w := io.Pipe()
	go func() {
		to, err := age.Encrypt(w, s.identity.Recipient())
		if err == nil {
			_, err = io.Copy(to, in)
		}
		if err == nil {
			err = to.Close()
		}
		w.CloseWithError(err)
	}()
	return out
}

func (s *store) open(name string, in io.Reader) (io.Reader, error) {
	out, err := age.Decrypt(in, s.identity)
	var other *age.NoIdentityMatchError
	switch {
	case errors.As(err, &other):
		return nil, &checks.BackupFault{Kind: checks.FaultKey, What: name + " is sealed for another key than the one that is declared"}
	case err != nil:
		return nil, &checks.BackupFault{Kind: checks.FaultCorrupt, What: fmt.Sprintf("%s can't be opened: %v", name, err)}
	}
	return out, nil
}
