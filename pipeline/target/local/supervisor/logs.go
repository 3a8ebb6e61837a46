package supervisor

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// logs are the files that the instances write. Each process has a fresh one,
// ID-GENERATION.log, as its stdout and stderr. When that gets too big, its
// beginning is moved to ID-GENERATION.N.log, with N counting up; cuts fall
// anywhere in a line, so read them joined.
type logs struct {
	dir  string
	max  int64
	keep int
}

// logFile is one of them. part is math.MaxInt for the one being written to.
type logFile struct {
	path             string
	id               string
	generation, part int
}

func parseLog(dir, name string) (logFile, bool) {
	stem, ok := strings.CutSuffix(name, ".log")
	id, rest, dash := strings.Cut(stem, "-")
	gen, part, parted := strings.Cut(rest, ".")
	f := logFile{path: filepath.Join(dir, name), id: id, generation: number(gen), part: math.MaxInt}
	if parted {
		f.part = number(part)
	}
	return f, ok && dash && number(id) > 0 && f.generation > 0 && f.part > 0
}

// files lists the logs that want accepts, oldest first.
func (l logs) files(want func(logFile) bool) ([]logFile, error) {
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return nil, fmt.Errorf("list the instances' logs: %w", err)
	}
	var all []logFile
	for _, e := range entries {
		if f, ok := parseLog(l.dir, e.Name()); ok && e.Type().IsRegular() && want(f) {
			all = append(all, f)
		}
	}
	slices.SortFunc(all, func(a, b logFile) int {
		return cmp.Or(cmp.Compare(number(a.id), number(b.id)), cmp.Compare(a.generation, b.generation), cmp.Compare(a.part, b.part))
	})
	return all, nil
}

// open makes the log of a new process, and removes files that are no longer kept.
func (l logs) open(id string, generation int, living map[string]bool) (*os.File, error) {
	name := filepath.Join(l.dir, id+"-"+strconv.Itoa(generation)+".log")
	// Appending is what lets rotate cut the file under its writer. The instance
	// gets the descriptor alone: the file is not its user's.
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log of instance %s: %w", id, err)
	}
	return f, l.prune(living)
}

func (l logs) prune(living map[string]bool) error {
	all, err := l.files(func(logFile) bool { return true })
	if err != nil {
		return err
	}
	kept := map[string]int{}
	for _, f := range slices.Backward(all) {
		group := "ended"
		limit := l.keep
		if living[f.id] {
			group = f.id
			limit++ // the one being written to, which is the newest
		}
		if kept[group]++; kept[group] <= limit {
			continue
		}
		if err := os.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove an old log: %w", err)
		}
	}
	return nil
}

// rotate moves all but the last block of a log that is too big to a file of its
// own. The writer notices nothing and no line is lost: the beginning is copied,
// then cut out of the file while its inode is locked (collapse range; ext4, XFS).
// A kill of this process between the two leaves the beginning in both files.
// File systems that can't do that have their log copied and truncated, and lose
// what is written in the microseconds between.
func (l logs) rotate(path string) error { return l.rotateBy(path, collapse) }

func (l logs) rotateBy(path string, collapse func(*os.File, int64) error) error {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() <= l.max {
		return err
	}
	var fsys unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fsys); err != nil {
		return err
	}
	block := max(int64(fsys.Bsize), 1)
	cut := (info.Size() - 1) / block * block
	to, err := l.nextPart(path)
	if err != nil {
		return err
	}
	defer to.Close()
	if _, err := io.Copy(to, io.NewSectionReader(f, 0, cut)); err != nil {
		// Better no rotation than half of one: the file is copied again later.
		return errors.Join(fmt.Errorf("rotate %s: %w", path, err), os.Remove(to.Name()))
	}
	if cut > 0 && collapse(f, cut) == nil {
		return nil
	}
	for at := cut; ; {
		n, err := io.Copy(to, io.NewSectionReader(f, at, math.MaxInt64-at))
		if err != nil {
			return errors.Join(fmt.Errorf("rotate %s: %w", path, err), os.Remove(to.Name()))
		}
		if n == 0 {
			return f.Truncate(0)
		}
		at += n
	}
}

// collapse removes the first n bytes; n is a multiple of the block size.
func collapse(f *os.File, n int64) error {
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_COLLAPSE_RANGE, 0, n)
}

func (l logs) nextPart(path string) (*os.File, error) {
	cur, ok := parseLog(l.dir, filepath.Base(path))
	if !ok {
		return nil, fmt.Errorf("rotate %s: not the name of an instance's log", path)
	}
	parts, err := l.files(func(f logFile) bool {
		return f.id == cur.id && f.generation == cur.generation && f.part != math.MaxInt
	})
	if err != nil {
		return nil, err
	}
	n := 1
	if len(parts) > 0 {
		n = parts[len(parts)-1].part + 1
	}
	name := strings.TrimSuffix(path, "log") + strconv.Itoa(n) + ".log"
	return os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

// tail is the last n lines of an instance's logs, of one generation or (0) of all.
func (l logs) tail(id string, generation, n int) ([]string, error) {
	all, err := l.files(func(f logFile) bool { return f.id == id && (generation == 0 || f.generation == generation) })
	if err != nil {
		return nil, err
	}
	var text []byte
	for _, f := range slices.Backward(all) {
		end, err := lastBytes(f.path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // pruned meanwhile
		}
		if err != nil {
			return nil, err
		}
		if f.part == math.MaxInt && len(end) > 0 && end[len(end)-1] != '\n' {
			end = append(end, '\n') // the process ended in mid-line
		}
		text = append(end, text...)
		if bytes.Count(text, []byte("\n")) > n || len(text) >= tailBytes {
			break
		}
	}
	text = bytes.TrimSuffix(text, []byte("\n"))
	if len(text) == 0 {
		return nil, nil
	}
	lines := strings.Split(string(text), "\n")
	return lines[max(0, len(lines)-n):], nil
}

const tailBytes = 1 << 20 // of each file that tail reads

func lastBytes(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	at := max(0, info.Size()-tailBytes)
	return io.ReadAll(io.NewSectionReader(f, at, info.Size()-at))
}

// Tail is the last n lines that the instance wrote, over its restarts; at most
// about 1 MiB. It works for ended instances while their logs are kept.
func (s *Supervisor) Tail(id string, n int) ([]string, error) { return s.logs.tail(id, 0, n) }

// LogFiles are the log files of an instance, or of all when id is empty: oldest
// first for each, instances in order of id.
func (s *Supervisor) LogFiles(id string) ([]string, error) {
	all, err := s.logs.files(func(f logFile) bool { return id == "" || f.id == id })
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, f := range all {
		paths = append(paths, f.path)
	}
	return paths, nil
}
