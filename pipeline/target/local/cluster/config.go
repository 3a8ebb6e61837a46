package cluster

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/smartcloudops/gate/pipeline/target/local/durable"
)

// defaults are modest: one environment shares its machine with another and
// with its own instances. wal_level allows archiving without a restart.
var defaults = map[string]string{
	"autovacuum":                 "on",
	"client_encoding":            "UTF8",
	"datestyle":                  "ISO, MDY",
	"default_text_search_config": "pg_catalog.english",
	"dynamic_shared_memory_type": "posix",
	"fsync":                      "on",
	"full_page_writes":           "on",
	"lc_messages":                "C",
	"log_line_prefix":            "%m [%p] %q%u@%d ",
	"log_min_messages":           "warning",
	"log_timezone":               "UTC",
	"max_connections":            "200",
	"max_slot_wal_keep_size":     "2GB", // a slot that nobody reads must not fill the disk
	"max_wal_size":               "1GB",
	"min_wal_size":               "80MB",
	"shared_buffers":             "128MB",
	"timezone":                   "UTC",
	"wal_level":                  "replica",
}

// reserved settings are what this package finds and guards the cluster by.
var reserved = []string{
	"cluster_name", "config_file", "data_directory", "event_source", "external_pid_file", "hba_file", "ident_file",
	"listen_addresses", "logging_collector", "password_encryption", "port", "ssl", "unix_socket_directories", "unix_socket_permissions",
}

var settingName = regexp.MustCompile(`^[a-z_][a-z0-9_.]*$`)

func checkSettings(settings map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if !settingName.MatchString(name) || strings.ContainsAny(settings[name], "\n\r\x00") {
			return fmt.Errorf("database setting %q is not one; use the names of postgresql.conf, values on one line", name)
		}
		if slices.Contains(reserved, name) {
			return fmt.Errorf("database setting %s is gate's own; leave it out", name)
		}
	}
	return nil
}

// hba lets nobody in without a password.
const hba = `# Written by gate at every start.
local  all          all                      scram-sha-256
host   all          all       127.0.0.1/32   scram-sha-256
local  replication  ` + adminRole + `               scram-sha-256
host   replication  ` + adminRole + ` 127.0.0.1/32   scram-sha-256
`

// writeConfig writes what the server is started with. It lies beside the data
// folder and not in it: root must not write where PostgreSQL's user could
// plant a link. ALTER SYSTEM still wins, as everywhere.
func (c *Cluster) writeConfig(port int) error {
	settings := maps.Clone(defaults)
	maps.Copy(settings, c.settings)
	maps.Copy(settings, map[string]string{
		"cluster_name":            c.name + c.mark(),
		"hba_file":                c.path("conf", "pg_hba.conf"),
		"ident_file":              c.path("conf", "pg_ident.conf"),
		"listen_addresses":        "127.0.0.1",
		"logging_collector":       "off",
		"password_encryption":     "scram-sha-256",
		"port":                    strconv.Itoa(port),
		"unix_socket_directories": c.socketDir(port),
		"unix_socket_permissions": "0700",
	})
	var b strings.Builder
	b.WriteString("# Written by gate at every start. Use ALTER SYSTEM for a change that lasts.\n")
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		value := settings[name]
		if name == "unix_socket_directories" && value != "" {
			value = `"` + strings.ReplaceAll(value, `"`, `""`) + `"` // a list, in which a comma would separate
		}
		fmt.Fprintf(&b, "%s = '%s'\n", name, strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(value))
	}
	dir := c.path("conf")
	err := os.MkdirAll(dir, 0o711) // #nosec G301 -- PostgreSQL's user reads it; there is no secret in it
	if err == nil {
		err = os.Chmod(dir, 0o711) // #nosec G302
	}
	access := hba
	if c.copied {
		access = c.copyHBA()
	}
	for name, text := range map[string]string{"postgresql.conf": b.String(), "pg_hba.conf": access, "pg_ident.conf": ""} {
		if err == nil {
			err = durable.Replace(filepath.Join(dir, name), []byte(text), 0o644)
		}
	}
	return explainSpace(err, "write the database's configuration", dir)
}

// maxSocket is the longest path of a unix socket that every system takes.
const maxSocket = 103

// socketDir is where the server's unix socket lies, or "" when its path would
// be too long; then gate uses TCP like the app.
func (c *Cluster) socketDir(port int) string {
	dir := c.path("run")
	if c.copied || len(dir)+len("/.s.PGSQL.")+len(strconv.Itoa(port)) > maxSocket {
		return ""
	}
	return dir
}

// freshSocketDir empties the folder of the socket: after a crash its lock file
// may name a pid that is somebody else's by now. Only for a dead server.
func (c *Cluster) freshSocketDir() error {
	dir := c.path("run")
	err := os.RemoveAll(dir)
	if err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	if err == nil {
		err = c.runner.own(dir)
	}
	return explainSpace(err, "make the folder of the database's socket", dir)
}

// pickPort returns the port of last time while it is free, else another one,
// which it keeps for next time.
func (c *Cluster) pickPort() (int, error) {
	path := c.path(portFile)
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("read the database's port: %w", err)
	}
	last := number([]string{string(b)}, 0)
	if last > 0 && free(last) {
		return last, nil
	}
	port, err := newPort()
	if err != nil {
		return 0, err
	}
	if last > 0 {
		c.logf("database: port %d is taken by another program: now %d, so instances need a restart", last, port)
	}
	return port, c.keepPort(port)
}

func (c *Cluster) keepPort(port int) error {
	return explainSpace(durable.Replace(c.path(portFile), []byte(strconv.Itoa(port)+"\n"), 0o600), "keep the database's port", c.path(portFile))
}

// newPort picks below the range that kernels give to outgoing connections: one
// of those could sit on the port at the very moment of a restart.
func newPort() (int, error) {
	const low, span = 20000, 12000
	for range 50 {
		n, err := rand.Int(rand.Reader, big.NewInt(span))
		if err != nil {
			return 0, fmt.Errorf("pick a port: %w", err)
		}
		if port := low + int(n.Int64()); free(port) {
			return port, nil
		}
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port on 127.0.0.1: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func free(port int) bool {
	l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// short is a name for path in 12 characters.
func short(path string) string {
	sum := sha256.Sum256([]byte(path))
	return hex.EncodeToString(sum[:6])
}
