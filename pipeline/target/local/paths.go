// Package local runs environments on one machine without a container engine:
// the daemon of each supervises its instances behind a load balancer of its
// own, with a PostgreSQL of its own, and takes commands on a unix socket.
package local

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// Paths are where an environment keeps what it needs.
type Paths struct {
	State       string // gate's state directory
	Environment string
}

func (p Paths) dir(parts ...string) string {
	return filepath.Join(append([]string{p.State, "env", p.Environment}, parts...)...)
}

// Dir is the environment's own folder.
func (p Paths) Dir() string { return p.dir() }

// DaemonLog is where a detached daemon writes.
func (p Paths) DaemonLog() string { return p.dir("daemon.log") }

// AccessLog is where the load balancer writes one line a request.
func (p Paths) AccessLog() string { return p.dir("logs", "access.log") }

// Logs is the folder with the instances' logs.
func (p Paths) Logs() string { return p.dir("logs") }

// CA is the file with the environment's own authority, for clients.
func (p Paths) CA() string { return p.dir("certs", "ca.pem") }

// Releases is the folder with the programs that were taken out of releases.
func (p Paths) Releases() string { return p.dir("releases") }

func (p Paths) stateFile() string  { return p.dir("state.json") }
func (p Paths) instances() string  { return p.dir("instances.json") }
func (p Paths) scaling() string    { return p.dir("scaling.json") }
func (p Paths) operations() string { return p.dir("operations.json") }
func (p Paths) lockFile() string   { return p.dir("daemon.lock") }

// Socket is the daemon's admin socket. A unix socket's path may have 107 bytes,
// and state directories may be deeper than that, so it lives in a short folder
// of the user's own, under a name made of the long one.
func (p Paths) Socket() string {
	sum := sha256.Sum256([]byte(p.dir()))
	return filepath.Join(runtimeDir(), hex.EncodeToString(sum[:6])+".sock")
}

func runtimeDir() string { return "/tmp/gate-" + strconv.Itoa(os.Getuid()) }

// ensureRuntimeDir makes the folder of the sockets. Everybody can write to its
// parent, so what is there already is used only if nobody else can have made it.
func ensureRuntimeDir() error {
	dir := runtimeDir()
	if err := os.Mkdir(dir, 0o700); err != nil && !os.IsExist(err) {
		return fmt.Errorf("folder for sockets: %w", err)
	}
	fi, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("folder for sockets: %w", err)
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !fi.IsDir() || !ok || int(st.Uid) != os.Getuid() || fi.Mode().Perm() != 0o700 {
		return fmt.Errorf("%s is not a folder of yours with mode 0700; remove it and try again", dir)
	}
	return nil
}
