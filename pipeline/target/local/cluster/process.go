package cluster

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
	"syscall"
	"time"
)

// Processes are told apart by what /proc shows to everybody: reading where a
// process of another user stands (its cwd) takes a capability that root lacks
// in many containers.

// kind is what a process is to one data folder.
type kind int

const (
	stranger   kind = iota // gone, a zombie, or provably something else
	postmaster             // the server of this data folder, or a child that was forked this instant
	backend                // a child that has named itself
	leaving                // a PostgreSQL that has given up its memory, but perhaps not its sockets
	unsure                 // a PostgreSQL that does not say of which data folder
)

// mark is the end of cluster_name, which PostgreSQL puts into the title of
// every child of the cluster.
func (c *Cluster) mark() string { return "-" + short(c.data()) }

// classify says what pid is to this cluster.
func (c *Cluster) classify(pid int) kind {
	if pid <= 1 {
		return stranger
	}
	proc := "/proc/" + strconv.Itoa(pid)
	comm, err := os.ReadFile(filepath.Join(proc, "comm"))
	if err != nil || strings.TrimSpace(string(comm)) != "postgres" {
		return stranger
	}
	if !c.runs(proc) {
		return stranger
	}
	raw, err := os.ReadFile(filepath.Join(proc, "cmdline"))
	if err != nil {
		return stranger
	}
	raw = bytes.TrimRight(raw, "\x00 ")
	if len(raw) == 0 {
		if zombie(proc) {
			return stranger
		}
		return leaving
	}
	if title, found := bytes.CutPrefix(raw, []byte("postgres: ")); found {
		if bytes.Contains(title, []byte(c.mark()+": ")) {
			return backend
		}
		return stranger
	}
	args := strings.Split(string(raw), "\x00")
	if at := slices.Index(args, "-D"); at >= 0 && at+1 < len(args) && filepath.IsAbs(args[at+1]) {
		if real, err := filepath.EvalSymlinks(args[at+1]); err == nil && real == c.data() {
			return postmaster
		}
		return stranger
	}
	return unsure
}

// zombie says whether the process has ended and nobody has asked for its status.
func zombie(proc string) bool {
	b, err := os.ReadFile(filepath.Join(proc, "stat"))
	if err != nil {
		return true
	}
	at := bytes.LastIndexByte(b, ')') // the name before it may hold anything
	return at < 0 || at+2 >= len(b) || b[at+2] == 'Z' || b[at+2] == 'X'
}

// runs says whether the process is of the user that runs this cluster: nobody
// else's process may pass for it.
func (c *Cluster) runs(proc string) bool {
	b, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if rest, found := strings.CutPrefix(line, "Uid:"); found {
			ids := strings.Fields(rest)
			return len(ids) > 1 && ids[1] == strconv.Itoa(c.runner.uid)
		}
	}
	return false
}

// members are the processes of this cluster, whoever is their parent.
func (c *Cluster) members() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("look for processes of the cluster: %w; an own cluster needs /proc", err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if k := c.classify(pid); k == postmaster || k == backend {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// alive says whether pid is this cluster's server. A dead one that is still
// our child is reaped on the way.
func (c *Cluster) alive(pid int) bool {
	if pid <= 1 {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.child == pid {
		// Nobody waits for the server in a goroutine: it is meant to outlive us.
		// Only our own child is asked for: an adopted server's pid may come again
		// as a child that somebody else here waits for.
		var status syscall.WaitStatus
		got, err := syscall.Wait4(pid, &status, syscall.WNOHANG, nil)
		if err == nil && got == pid {
			c.child = 0
			return false
		}
		if err == nil {
			return true
		}
	}
	k := c.classify(pid)
	return k == postmaster || k == leaving
}

// pidFile is what postmaster.pid says.
type pidFile struct {
	pid  int // negative: a single-user session holds the folder
	port int
	text string
}

// readPIDFile reads postmaster.pid, whose folder belongs to the user that runs
// PostgreSQL: a link planted there must not lead root elsewhere.
func (c *Cluster) readPIDFile() (pidFile, error) {
	root, err := os.OpenRoot(c.data())
	if err != nil {
		return pidFile{}, fmt.Errorf("open the data folder: %w", err)
	}
	defer root.Close()
	b, err := root.ReadFile("postmaster.pid")
	if errors.Is(err, fs.ErrNotExist) {
		return pidFile{}, nil
	}
	if err != nil {
		return pidFile{}, fmt.Errorf("read postmaster.pid: %w", err)
	}
	f := pidFile{text: string(b)}
	lines := strings.Split(f.text, "\n")
	f.pid = number(lines, 0)
	f.port = number(lines, 3)
	return f, nil
}

func number(lines []string, i int) int {
	if i >= len(lines) {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(lines[i]))
	if err != nil {
		return 0
	}
	return n
}

// running finds a live server of this data folder; pid 0: there is none.
func (c *Cluster) running() (pidFile, error) {
	f, err := c.readPIDFile()
	if err != nil {
		return f, err
	}
	if f.pid < 0 && c.exists(-f.pid) {
		return f, fmt.Errorf("%s is in use by a single-user session, pid %d; end it first", c.data(), -f.pid)
	}
	switch {
	case f.pid > 0 && c.alive(f.pid):
		return f, nil
	case f.pid > 0 && c.classify(f.pid) == unsure:
		return f, fmt.Errorf("postmaster.pid in %s names pid %d, a PostgreSQL that does not say which folder it serves; if it is this one's stop it (pg_ctl stop -D %s), else move the file away", c.data(), f.pid, c.data())
	}
	return pidFile{text: f.text}, nil
}

func (c *Cluster) exists(pid int) bool {
	return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

// passStale lets PostgreSQL see that a left-over postmaster.pid is stale when
// the kernel has given its pid to somebody else since, a zombie included, or
// when a full disk left it empty. The file is never deleted: PostgreSQL itself
// must still check the shared memory that it names. It counts the pid of its
// own parent as stale, and that is us.
func (c *Cluster) passStale() (err error) {
	f, err := c.readPIDFile()
	if err != nil || f.text == "" && !c.hasPIDFile() {
		return err
	}
	if f.pid != 0 && !c.exists(max(f.pid, -f.pid)) {
		return nil // PostgreSQL sees it by itself
	}
	_, rest, _ := strings.Cut(f.text, "\n")
	root, err := os.OpenRoot(c.data())
	if err != nil {
		return fmt.Errorf("open the data folder: %w", err)
	}
	defer root.Close()
	const temp = "postmaster.pid.gate"
	err = root.WriteFile(temp, []byte(strconv.Itoa(os.Getpid())+"\n"+rest), 0o600)
	if err == nil && c.runner.root {
		err = root.Lchown(temp, c.runner.uid, c.runner.gid)
	}
	if err == nil {
		err = root.Rename(temp, "postmaster.pid")
	}
	return explainSpace(err, "mark postmaster.pid as stale", c.data())
}

func (c *Cluster) hasPIDFile() bool {
	_, err := os.Lstat(filepath.Join(c.data(), "postmaster.pid"))
	return err == nil
}

// How long children of a dead server get to notice by themselves, which takes
// them milliseconds, and then to heed SIGQUIT.
const (
	orphanPatience = 300 * time.Millisecond
	orphanQuit     = time.Second
	orphanKill     = 5 * time.Second
)

// endOrphans ends what a dead server has left behind: as long as one process
// is attached to the shared memory no other server may open the data. Only
// call it when the server is known to be dead. Ending them loses nothing: the
// next start replays the log.
func (c *Cluster) endOrphans(ctx context.Context) error {
	begin := time.Now()
	var last syscall.Signal
	for {
		pids, err := c.members()
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			return nil
		}
		waited := time.Since(begin)
		signal := syscall.Signal(0)
		switch {
		case waited > orphanPatience+orphanQuit+orphanKill:
			return fmt.Errorf("processes %v of the dead server do not end, even by SIGKILL; they wait for the disk or another device, see dmesg", pids)
		case waited > orphanPatience+orphanQuit:
			signal = syscall.SIGKILL
		case waited > orphanPatience:
			signal = syscall.SIGQUIT
		}
		if signal != 0 {
			if signal != last {
				c.logf("database: processes %v outlive their server: sending %v", pids, signal)
				last = signal
			}
			for _, pid := range pids {
				if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
					return fmt.Errorf("end process %d of the dead server: %w", pid, err)
				}
			}
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
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
