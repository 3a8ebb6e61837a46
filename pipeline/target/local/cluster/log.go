package cluster

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// maxLog is how large the server's log gets before it is cut: at most twice as
// much stays on the disk.
const maxLog = 16 << 20

// boundLog keeps the log from filling the disk. The server holds the file open
// for as long as it lives, longer than we do, so the file is copied and cut
// instead of renamed; lines written in between are lost. Cutting matters more
// than the copy: on a full disk it is what helps.
func (c *Cluster) boundLog() {
	path := c.path(logFile)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() <= maxLog {
		return
	}
	if err == nil {
		err = errors.Join(copyFile(path, path+".1"), os.Truncate(path, 0))
	}
	if err != nil {
		c.logf("database: its log could not be kept whole: %s", oneLine(err.Error()))
	}
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = io.Copy(out, in); err != nil {
		return errors.Join(err, out.Close(), os.Remove(to))
	}
	return out.Close()
}

// tail is what stands in the log from offset on, 64 KiB at most.
func tail(path string, offset int64) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, offset, 64<<10))
	if err != nil {
		return ""
	}
	return string(b)
}
