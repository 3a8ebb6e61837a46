package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/target/local/supervisor"
)

// Processes implements checks.ProcessLister: the daemon, the instances, an own
// PostgreSQL, and everything that they have started.
func (c *Client) Processes(ctx context.Context) ([]checks.Process, error) {
	r, err := c.report(ctx)
	if err != nil {
		return nil, err
	}
	roots := []checks.Process{{PID: r.PID, Role: "daemon", Name: "daemon"}}
	for _, pid := range holders(c.paths.dir()) {
		roots = append(roots, checks.Process{PID: pid, Role: "holder", Name: "holder of the socket"})
	}
	for _, in := range r.Instances {
		if in.PID > 0 {
			roots = append(roots, checks.Process{PID: in.PID, Role: "instance", Name: "instance " + in.ID})
		}
	}
	postgres, err := postmaster(c.paths)
	if err != nil {
		return nil, err
	}
	if postgres > 0 {
		roots = append(roots, checks.Process{PID: postgres, Role: "database", Name: "PostgreSQL"})
	}
	marked, err := supervisor.Offspring(c.paths.instances())
	if err != nil {
		return nil, fmt.Errorf("processes of the instances: %w", err)
	}
	parents, err := parents()
	if err != nil {
		return nil, fmt.Errorf("processes of this machine: %w", err)
	}
	return family(roots, marked, parents), nil
}

// letLook lets root look at this process in a container, too: to start a child as
// another user, who shares this one's memory until it runs, has taken that away.
func letLook() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("let root look at the daemon: %w", err)
	}
	return nil
}

// family are the roots and their descendants, each once. What carries an
// instance's token and descends from none is an instance's all the same.
func family(roots []checks.Process, marked []int, parents map[int]int) []checks.Process {
	known := map[int]checks.Process{}
	for _, r := range roots {
		if _, alive := parents[r.PID]; alive {
			known[r.PID] = r
		}
	}
	var ancestor func(pid, depth int) (checks.Process, bool)
	ancestor = func(pid, depth int) (checks.Process, bool) {
		if p, ok := known[pid]; ok {
			return p, true
		}
		parent := parents[pid]
		if parent <= 1 || depth > 1000 {
			return checks.Process{}, false
		}
		return ancestor(parent, depth+1)
	}
	found := map[int]checks.Process{}
	for pid := range parents {
		if p, ok := ancestor(pid, 0); ok {
			p.PID = pid
			found[pid] = p
		}
	}
	for _, pid := range marked {
		if _, alive := parents[pid]; alive && found[pid].Role != "instance" {
			found[pid] = checks.Process{PID: pid, Role: "instance", Name: "left by an instance"}
		}
	}
	out := make([]checks.Process, 0, len(found))
	for _, p := range found {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b checks.Process) int { return a.PID - b.PID })
	return out
}

// postmaster is the process of the environment's own PostgreSQL; 0: it has none,
// or it is down.
func postmaster(p Paths) (int, error) {
	b, err := os.ReadFile(p.dir("postgres", "data", "postmaster.pid"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	} else if err != nil {
		return 0, fmt.Errorf("process of PostgreSQL: %w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		return 0, fmt.Errorf("process of PostgreSQL: %w", err)
	}
	return pid, nil
}

// parents are the living processes with their parents.
func parents() (map[int]int, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	out := map[int]int{}
	for _, d := range dirs {
		pid, err := strconv.Atoi(filepath.Base(d))
		if err != nil {
			continue
		}
		b, err := os.ReadFile(filepath.Join(d, "stat"))
		if err != nil {
			continue // it has ended
		}
		// The name may hold blanks and parentheses.
		f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if len(f) < 2 || f[0] == "Z" || f[0] == "X" {
			continue
		}
		parent, err := strconv.Atoi(f[1])
		if err != nil {
			return nil, fmt.Errorf("process %d: %w", pid, err)
		}
		out[pid] = parent
	}
	if len(out) == 0 {
		return nil, errors.New("/proc shows none")
	}
	return out, nil
}
