package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// dataMajor is the version that made the data folder; 0: there is none yet.
func (c *Cluster) dataMajor() (int, error) {
	root, err := os.OpenRoot(c.data())
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("open the data folder: %w", err)
	}
	defer root.Close()
	b, err := root.ReadFile("PG_VERSION")
	major := number([]string{string(b)}, 0)
	if err != nil || major == 0 {
		return 0, fmt.Errorf("%s is no data folder of PostgreSQL: PG_VERSION is missing or odd; move it away to start empty, or restore it", c.data())
	}
	return major, nil
}

// create makes the cluster beside its place and moves it there as a whole, so
// that a crash leaves either none or a sound one. Text sorts by code point (C),
// which no update of the system's libraries changes under an index; letters
// are known as such by C.UTF-8 where the system has it.
func (c *Cluster) create(ctx context.Context) (err error) {
	left, err := filepath.Glob(c.path("create-*"))
	if err != nil {
		return fmt.Errorf("look for left-overs: %w", err)
	}
	for _, dir := range left {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove what a crash has left: %w", err)
		}
	}
	work, err := os.MkdirTemp(c.dir, "create-")
	if err != nil {
		return explainSpace(err, "create the cluster", c.dir)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	data, password := filepath.Join(work, "data"), filepath.Join(work, "password")
	err = errors.Join(
		os.WriteFile(password, []byte(c.secrets.Admin+"\n"), 0o400),
		os.Mkdir(data, 0o700))
	if err != nil {
		return explainSpace(err, "create the cluster", work)
	}
	// The folder around them stays gate's, so that nobody swaps what is in it.
	if err := errors.Join(os.Chmod(work, 0o711), c.runner.own(password), c.runner.own(data)); err != nil { // #nosec G302
		return fmt.Errorf("give the data folder to user %s: %w", c.runner.name, err)
	}
	begin := time.Now()
	args := []string{"-D", data, "--username=" + adminRole, "--pwfile=" + password, "--auth=scram-sha-256",
		"--encoding=UTF8", "--locale=C", "--data-checksums"}
	initdb := filepath.Join(c.bin.dir, "initdb")
	out, err := c.run(ctx, c.bin.dir, work, initdb, append(args, "--lc-ctype=C.UTF-8")...)
	if err != nil && strings.Contains(out, "invalid locale") {
		out, err = c.run(ctx, c.bin.dir, work, initdb, args...)
	}
	if err != nil {
		return explainOutput(err, out, "create the cluster with initdb", c.dir)
	}
	if err := os.Rename(data, c.data()); err != nil {
		return explainSpace(err, "put the new cluster in its place", c.dir)
	}
	c.logf("database: new cluster in %s, run by user %s, made in %.1f s", c.data(), c.runner.name, time.Since(begin).Seconds())
	return nil
}
