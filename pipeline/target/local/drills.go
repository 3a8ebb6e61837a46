package local

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/target"
)

// What the drills ask of the daemon.
const (
	pathRevert = "/v1/revert"
	pathBreak  = "/v1/break"
)

var (
	_ checks.Reverter = (*Client)(nil)
	_ checks.Scaler   = (*Client)(nil)

	_ checks.AccessLogger = (*Client)(nil)
)

// holdLimit bounds a rehearsal: whoever asks for more has mistaken the unit.
const holdLimit = 10 * time.Minute

// Revert implements checks.Reverter, by the steps of a completed promotion of the
// release and of its withdrawal. The environment's configuration stays.
func (d *Daemon) Revert(ctx context.Context, release string, hold time.Duration) (checks.Reverted, error) {
	d.op.Lock()
	defer d.op.Unlock()
	began := d.opt.Now()
	s := d.snapshot()
	var out checks.Reverted
	switch {
	case hold < 0 || hold > holdLimit:
		return out, fmt.Errorf("a rollback is rehearsed for %s at most, not %s", holdLimit, hold)
	case s.Stable.Revision == nil:
		return out, errors.New("nothing serves that could be rolled back")
	case s.Canary.Revision != nil || s.Warm.Revision != nil:
		return out, errors.New("a promotion is under way")
	}
	was := *s.Stable.Revision
	rev := was
	if rev.Release != release {
		// What the commit was is not known here, and not needed.
		rev.Release, rev.Commit = release, ""
	}
	err := d.enter(func(st *state) { st.Canary, st.Rehearsing = arm{Revision: &rev}, true })
	if err != nil {
		return out, err
	}
	ids, err := d.start(ctx, rev, len(s.Stable.Instances))
	if err == nil {
		err = d.enter(func(st *state) { st.Warm, st.Stable, st.Canary = st.Stable, arm{&rev, ids}, arm{} })
	}
	if err != nil {
		out.Problem = err.Error()
		back := d.give(func(st *state) { st.Stable, st.Warm, st.Canary, st.Rehearsing = s.Stable, arm{}, arm{}, false })
		out.Switched, out.Returned = began, began
		return out, errors.Join(back, d.stop(context.WithoutCancel(ctx), ids))
	}
	out.Instances, out.Switched = ids, d.opt.Now()
	out.Back = out.Switched.Sub(began)
	select {
	case <-time.After(hold):
	case <-ctx.Done():
	}
	out.Migrated, err = d.migrate(ctx, was)
	returning := d.opt.Now()
	back := d.give(func(st *state) {
		st.Stable, st.Warm, st.Canary, st.Weight, st.Rehearsing = st.Warm, arm{}, arm{}, 0, false
	})
	out.Returned = d.opt.Now()
	out.Forth = out.Returned.Sub(returning)
	return out, errors.Join(err, back, d.stop(context.WithoutCancel(ctx), ids))
}

// Break kills a part of the environment, but for the daemon, which others kill.
func (d *Daemon) Break(ctx context.Context, part string) (checks.Broken, error) {
	switch part {
	case checks.PartInstance:
		stable := d.snapshot().Stable.Instances
		for _, in := range d.sup.Instances() {
			if in.PID > 0 && in.Ready && slices.Contains(stable, in.ID) {
				what := checks.Broken{What: fmt.Sprintf("instance %s, process %d", in.ID, in.PID), How: "SIGKILL"}
				return what, killAndWait(in.PID)
			}
		}
		return checks.Broken{}, errors.New("no instance gets traffic")
	case checks.PartDatabase:
		db := d.database()
		if db.External() {
			n, err := db.EndSessions(ctx)
			if err == nil && n == 0 {
				err = errors.New("the app had no connection that could be ended")
			}
			return checks.Broken{What: fmt.Sprintf("%d connections of the app to a database that is not gate's own", n), How: "pg_terminate_backend"}, err
		}
		pid := db.PID()
		if pid <= 0 {
			return checks.Broken{}, errors.New("the database's process is not known")
		}
		return checks.Broken{What: fmt.Sprintf("the database's server, process %d", pid), How: "SIGKILL"}, killAndWait(pid)
	}
	return checks.Broken{}, checks.UnknownPart(part)
}

// killAndWait returns once the process is dead, which it may be without its
// parent knowing.
func killAndWait(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("watch process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		return fmt.Errorf("kill process %d: %w", pid, err)
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 100)
		if n > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("watch process %d: %w", pid, err)
		}
	}
	return fmt.Errorf("process %d has not ended 10 s after SIGKILL: see what it waits for in /proc/%d/stack", pid, pid)
}

// serveDrills adds what the drills ask for. A client that goes away must not
// leave the environment half-way.
func (d *Daemon) serveDrills(mux *http.ServeMux) {
	mux.HandleFunc("POST "+pathRevert, func(w http.ResponseWriter, r *http.Request) {
		var ask revertAsk
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&ask); err != nil {
			answer(w, nil, err)
			return
		}
		done, err := d.Revert(context.WithoutCancel(r.Context()), ask.Release, ask.Hold)
		answer(w, done, err)
	})
	mux.HandleFunc("POST "+pathBreak, func(w http.ResponseWriter, r *http.Request) {
		var ask breakAsk
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&ask); err != nil {
			answer(w, nil, err)
			return
		}
		broken, err := d.Break(r.Context(), ask.Part)
		answer(w, broken, err)
	})
}

type revertAsk struct {
	Release string        `json:"release"`
	Hold    time.Duration `json:"hold"`
}

type breakAsk struct {
	Part string `json:"part"`
}

// Revert implements checks.Reverter.
func (c *Client) Revert(ctx context.Context, release string, hold time.Duration) (checks.Reverted, error) {
	var out checks.Reverted
	err := c.call(ctx, http.MethodPost, pathRevert, revertAsk{release, hold}, &out)
	return out, err
}

// Scaling implements checks.Scaler.
func (c *Client) Scaling(ctx context.Context) (checks.Scaling, error) {
	s, err := c.Status(ctx)
	if err == nil && s.Scaling == nil {
		err = fmt.Errorf("the daemon of %s does not scale: start it anew with gate serve %s --take-over", c.paths.Environment, c.paths.Environment)
	}
	if err != nil {
		return checks.Scaling{}, err
	}
	return *s.Scaling, nil
}

// Parts is half of checks.Breaker: whoever starts daemons has the rest.
func (c *Client) Parts(ctx context.Context) (checks.Parts, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	r, err := c.report(ctx)
	if err != nil {
		return checks.Parts{}, err
	}
	p := checks.Parts{Daemon: r.PID, Database: r.DatabasePID, Restarts: r.Restarts}
	if r.Scaling != nil {
		p.Wanted = r.Scaling.Desired
	}
	for _, in := range r.Instances {
		if in.Role == "stable" && in.Health == target.Healthy {
			p.Ready++
		}
	}
	return p, nil
}

// Break kills a part of the environment; the daemon by its own number.
func (c *Client) Break(ctx context.Context, part string) (checks.Broken, error) {
	if part == checks.PartDaemon {
		pid, err := c.PID(ctx)
		if err != nil {
			return checks.Broken{}, err
		}
		if pid <= 1 || pid == os.Getpid() {
			return checks.Broken{}, fmt.Errorf("the daemon of %s says that it is process %d", c.paths.Environment, pid)
		}
		return checks.Broken{What: fmt.Sprintf("the daemon, process %d", pid), How: "SIGKILL"}, killAndWait(pid)
	}
	var out checks.Broken
	err := c.call(ctx, http.MethodPost, pathBreak, breakAsk{part}, &out)
	return out, err
}

// Logged implements checks.AccessLogger: the access log is on this machine.
func (c *Client) Logged(ctx context.Context, run string) (map[int64]int, error) {
	out := map[int64]int{}
	mark := []byte(`"run":"` + run + `.`)
	for _, name := range []string{c.paths.AccessLog() + ".1", c.paths.AccessLog()} {
		f, err := os.Open(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("access log: %w", err)
		}
		sc := bufio.NewScanner(f)
		sc.Buffer(nil, 1<<20)
		for sc.Scan() && ctx.Err() == nil {
			if !bytes.Contains(sc.Bytes(), mark) {
				continue
			}
			var r struct {
				Run string `json:"run"`
			}
			if err := json.Unmarshal(sc.Bytes(), &r); err != nil {
				continue // no line that counts
			}
			if n, err := strconv.ParseInt(strings.TrimPrefix(r.Run, run+"."), 10, 64); err == nil {
				out[n]++
			}
		}
		err = errors.Join(sc.Err(), ctx.Err())
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("access log: %w", err)
		}
	}
	return out, nil
}

// Managed says whether a service manager starts the daemon again when it ends.
func (c *Client) Managed(ctx context.Context) (bool, error) {
	r, err := c.report(ctx)
	return r.Managed, err
}
