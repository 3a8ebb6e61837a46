package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// slot is the replication slot that keeps what the archive has not got yet.
const slot = "gate_backup"

// errGone: the server no longer has what the archive needs next.
var errGone = errors.New("the server has removed what was not archived yet")

// archive keeps pg_receivewal running.
func (k *Keeper) archive(ctx context.Context) {
	for ctx.Err() == nil {
		err := k.stream(ctx)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errGone) {
			err = k.begin(ctx, "the slot of the archive was lost: "+err.Error())
		}
		k.mu.Lock()
		if k.archiving == nil || err != nil && k.archiving.Error() != err.Error() {
			k.opt.Log.Warn("backup: archive", "error", err)
		}
		k.archiving = err
		k.mu.Unlock()
		_ = pause(ctx, time.Second)
	}
}

// stream runs pg_receivewal to its end. It must be told why that came.
func (k *Keeper) stream(ctx context.Context) error {
	conn, err := k.db.Connect(ctx, "")
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	g, err := k.prepare(ctx, conn)
	if err != nil {
		return err
	}
	if err := k.db.Login(); err != nil {
		return err
	}
	args := append(k.db.ConnectArgs(), "--directory="+g.wal(), "--slot="+slot, "--no-loop", "--synchronous", "--status-interval=1")
	cmd, err := k.db.Command(ctx, "pg_receivewal", args...)
	if err != nil {
		return err
	}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	// It ends with this process, however that ends: else it would keep the slot
	// from the next one.
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	started, ended := make(chan error, 1), make(chan error, 1)
	go func() {
		// The kernel counts the end of the thread that started it as ours.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start pg_receivewal: %w", err)
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	defer k.streams(false)
	moved, last := time.Now(), ""
	for {
		select {
		case err := <-ended:
			switch text := said.String(); {
			case ctx.Err() != nil:
				return ctx.Err()
			case strings.Contains(text, "has already been removed"):
				return errGone
			default:
				return fmt.Errorf("pg_receivewal: %w: %s", err, lastLine(text))
			}
		case <-tick.C:
		}
		var active, all bool
		var status, got string
		err := conn.QueryRow(ctx, `SELECT s.active, coalesce(s.wal_status, ''), coalesce(r.flush_lsn::text, ''), coalesce(r.flush_lsn >= pg_current_wal_flush_lsn(), false)
			FROM pg_replication_slots s LEFT JOIN pg_stat_replication r ON r.pid = s.active_pid WHERE s.slot_name = $1`, slot).Scan(&active, &status, &got, &all)
		switch {
		case err != nil:
			// pg_receivewal ends as well when the server is gone; a slot that
			// somebody has dropped shows when it is begun again.
			_ = conn.Close(ctx)
			return errors.Join(err, kill(cmd, ended))
		case status == "lost":
			_ = kill(cmd, ended)
			return errGone
		case active && (got != last || all):
			moved, last = time.Now(), got
		case time.Since(moved) > k.opt.patience:
			// It hangs, and so do those that wait for it to read: the server can't
			// even take the slot away.
			return errors.Join(errors.New("pg_receivewal runs, and takes nothing in"), kill(cmd, ended))
		}
		k.streams(active)
	}
}

// kill ends pg_receivewal, also one that listens to nothing else. What it has
// written it has synced; what it was about to comes again.
func kill(cmd *exec.Cmd, ended <-chan error) error {
	_ = cmd.Process.Kill()
	return <-ended
}

func (k *Keeper) streams(yes bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if yes != k.streaming {
		k.streaming, k.since = yes, k.opt.Now()
	}
	if yes {
		k.archiving = nil
	}
}

// prepare makes sure of the generation and the slot.
func (k *Keeper) prepare(ctx context.Context, conn *pgx.Conn) (*generation, error) {
	var system, status string
	var active *int32
	var bytes int64
	var timeline int64
	err := conn.QueryRow(ctx, `SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint, (SELECT system_identifier::text FROM pg_control_system()),
		(SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size'),
		coalesce((SELECT coalesce(wal_status, '') FROM pg_replication_slots WHERE slot_name = $1), 'none'),
		(SELECT active_pid FROM pg_replication_slots WHERE slot_name = $1)`, slot).Scan(&timeline, &system, &bytes, &status, &active)
	if err != nil {
		return nil, fmt.Errorf("look at the archive's slot: %w", err)
	}
	if active != nil {
		// A predecessor's that has not noticed its end.
		if _, err := conn.Exec(ctx, "SELECT pg_terminate_backend($1)", *active); err != nil {
			return nil, fmt.Errorf("free the archive's slot: %w", err)
		}
	}
	// An older configuration, adopted with its server, knows no bound.
	var keep string
	if err := conn.QueryRow(ctx, "SHOW max_slot_wal_keep_size").Scan(&keep); err != nil {
		return nil, fmt.Errorf("look at the archive's slot: %w", err)
	}
	if keep == "-1" {
		if _, err := conn.Exec(ctx, "ALTER SYSTEM SET max_slot_wal_keep_size = '2GB'"); err != nil {
			return nil, fmt.Errorf("bound the archive's slot: %w", err)
		}
		if _, err := conn.Exec(ctx, "SELECT pg_reload_conf()"); err != nil {
			return nil, fmt.Errorf("bound the archive's slot: %w", err)
		}
	}
	g := k.generation()
	if g == nil {
		gens, err := generations(k.opt.Dir)
		if err != nil {
			return nil, err
		}
		if len(gens) > 0 {
			g = gens[len(gens)-1]
		}
	}
	bases, err := k.bases()
	if err != nil {
		return nil, err
	}
	forked := slices.ContainsFunc(bases, func(b *base) bool { return g != nil && b.gen.dir == g.dir && int64(b.Timeline) != timeline })
	why := ""
	switch {
	case g == nil:
	case g.SystemIdentifier != system:
		why = "the cluster is another one than that of the backups"
	case g.Major != k.db.Major():
		why = fmt.Sprintf("the cluster is of version %d now, the backups of %d", k.db.Major(), g.Major)
	case forked:
		why = "the database was restored: what is written now does not follow from the backups"
	case status == "lost", status == "none" && g.Slot:
		why = "the slot of the archive was lost"
	}
	if status == "lost" {
		if err := dropSlot(ctx, conn); err != nil {
			return nil, err
		}
		status = "none"
	}
	if g == nil || why != "" {
		if g, err = k.create(system, bytes); err != nil {
			return nil, err
		}
	}
	k.mu.Lock()
	k.gen = g
	if why != "" {
		k.lose(why)
		k.opt.Log.Error("backup", "problem", k.lost)
	}
	k.mu.Unlock()
	if status == "none" {
		if _, err := conn.Exec(ctx, "SELECT pg_create_physical_replication_slot($1, true)", slot); err != nil {
			return nil, fmt.Errorf("make the archive's slot: %w", err)
		}
	}
	if !g.Slot {
		g.Slot = true
		return g, g.write()
	}
	return g, nil
}

// begin begins another generation, since the present one has got a gap.
func (k *Keeper) begin(ctx context.Context, why string) error {
	conn, err := k.db.Connect(ctx, "")
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := dropSlot(ctx, conn); err != nil {
		return err
	}
	old := k.generation()
	g, err := k.create(old.SystemIdentifier, old.SegmentBytes)
	if err != nil {
		return err
	}
	k.mu.Lock()
	k.gen = g
	k.lose(why)
	k.mu.Unlock()
	k.opt.Log.Error("backup", "problem", why)
	return errors.New(why)
}

// lose notes that there is a gap. The caller holds mu.
func (k *Keeper) lose(why string) {
	k.lost, k.lostAt, k.healed = why+"; a new base backup is being made", k.opt.Now(), false
}

func (k *Keeper) create(system string, segment int64) (*generation, error) {
	now := k.opt.Now().UTC()
	g := &generation{
		dir: filepath.Join(k.opt.Dir, now.Format(stampFormat)), SystemIdentifier: system, Major: k.db.Major(),
		SegmentBytes: segment, Begun: now,
	}
	if err := os.Mkdir(g.dir, 0o711); err != nil { // #nosec G301 -- PostgreSQL's user passes through
		return nil, fmt.Errorf("folder for backups: %w", err)
	}
	if err := errors.Join(k.db.MakeDir(g.wal()), k.db.MakeDir(g.base())); err != nil {
		return nil, err
	}
	return g, g.write()
}

// dropSlot drops the slot if there is one, whoever reads from it.
func dropSlot(ctx context.Context, conn *pgx.Conn) error {
	for {
		var there bool
		var active *int32
		err := conn.QueryRow(ctx, `SELECT count(*) > 0, max(active_pid) FROM pg_replication_slots WHERE slot_name = $1`, slot).Scan(&there, &active)
		switch {
		case err != nil:
		case !there:
			return nil
		case active != nil:
			_, err = conn.Exec(ctx, "SELECT pg_terminate_backend($1)", *active)
			if err == nil {
				err = pause(ctx, 20*time.Millisecond)
			}
		default:
			_, err = conn.Exec(ctx, "SELECT pg_drop_replication_slot($1)", slot)
		}
		if err != nil {
			return fmt.Errorf("drop the archive's slot: %w", err)
		}
	}
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}
