package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/smartcloudops/gate/checks"
)

var (
	_ checks.Gauger       = (*Client)(nil)
	_ checks.Checkpointer = (*Client)(nil)
)

// clockTicks is USER_HZ: what /proc counts processor time in. Linux tells user
// space 100 on every architecture that Go knows.
const clockTicks = 100

// Gauges reads what the environment uses, from procfs and from the database's
// own statistics. What can't be read is left out.
func (d *Daemon) Gauges(ctx context.Context) (checks.Gauges, error) {
	busy, err := machineBusy()
	if err != nil {
		return checks.Gauges{}, err
	}
	g := checks.Gauges{Processors: runtime.NumCPU(), Busy: busy}
	var own unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &own); err == nil {
		g.Balancer = time.Duration(own.Utime.Nano() + own.Stime.Nano()).Seconds()
	}
	for _, in := range d.sup.Instances() {
		if in.PID == 0 {
			continue
		}
		used, _, err := processUsed(in.PID)
		if err != nil {
			continue // it has just ended
		}
		g.Instances = append(g.Instances, checks.InstanceGauge{ID: in.ID, PID: in.PID, Used: used, Processors: processorsOf(in.PID)})
	}
	db := d.database()
	if a, err := db.Activity(ctx); err == nil {
		g.Database = &checks.DatabaseGauge{
			Connections: a.Connections, Active: a.Active, Waiting: a.Waiting, Server: a.Server, Limit: a.Limit,
		}
		if pid := db.PID(); pid > 0 {
			g.Database.Used = familyUsed(pid)
		}
	}
	return g, nil
}

// Checkpoint has the database write all that is dirty to disk.
func (d *Daemon) Checkpoint(ctx context.Context) error { return d.database().Checkpoint(ctx) }

// machineBusy is the processor time that was not idle since boot, in seconds.
func machineBusy() (float64, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	f := strings.Fields(string(line))
	// cpu user nice system idle iowait irq softirq steal; guests are in user.
	if len(f) < 9 || f[0] != "cpu" {
		return 0, errors.New("/proc/stat does not begin with the processors' times")
	}
	var ticks uint64
	for i, s := range f[1:9] {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat: %w", err)
		}
		if i != 3 && i != 4 {
			ticks += n
		}
	}
	return float64(ticks) / clockTicks, nil
}

// processUsed is the processor time of a process and of its children that have
// ended, in seconds, and its parent.
func processUsed(pid int) (used float64, parent int, err error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, 0, err
	}
	// The name, field 2, may hold blanks and parentheses.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 15 {
		return 0, 0, fmt.Errorf("/proc/%d/stat has %d fields after the name, not 15 or more", pid, len(f))
	}
	if parent, err = strconv.Atoi(f[1]); err != nil {
		return 0, 0, fmt.Errorf("/proc/%d/stat: %w", pid, err)
	}
	var ticks uint64
	for _, s := range f[11:15] { // utime stime cutime cstime
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
		ticks += n
	}
	return float64(ticks) / clockTicks, parent, nil
}

// familyUsed is the processor time of a process and its children, also of those
// that have ended, in seconds.
func familyUsed(pid int) float64 {
	all, _, err := processUsed(pid)
	if err != nil {
		return 0
	}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		n, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if used, parent, err := processUsed(n); err == nil && parent == pid {
			all += used
		}
	}
	return all
}

// processorsOf is how many processors a process may run on.
func processorsOf(pid int) int {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(pid, &set); err != nil || set.Count() == 0 {
		return runtime.NumCPU()
	}
	return set.Count()
}

// Gauges implements checks.Gauger.
func (c *Client) Gauges(ctx context.Context) (checks.Gauges, error) {
	var g checks.Gauges
	err := c.call(ctx, http.MethodGet, pathGauges, nil, &g)
	return g, err
}

// Checkpoint implements checks.Checkpointer.
func (c *Client) Checkpoint(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, pathCheckpoint, nil, nil)
}
