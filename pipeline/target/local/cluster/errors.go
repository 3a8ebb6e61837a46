package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
)

// Errors that callers tell apart. Each arrives wrapped in one line that names
// the thing and the next action.
var (
	// ErrLocked: another process manages this folder.
	ErrLocked = errors.New("already managed by another process")
	// ErrNoPostgres: no source of PostgreSQL is left.
	ErrNoPostgres = errors.New("no PostgreSQL to run")
	// ErrTooOld: older than version 13.
	ErrTooOld = errors.New("PostgreSQL is too old")
	// ErrUnenterable: the user that runs PostgreSQL cannot reach a folder.
	ErrUnenterable = errors.New("folder cannot be entered")
	// ErrUnreachable: nobody answers at the server's address.
	ErrUnreachable = errors.New("database does not answer")
	// ErrRefused: the server refused the login.
	ErrRefused = errors.New("database refused the login")
	// ErrPrivileges: the URL's user may not do what is needed.
	ErrPrivileges = errors.New("not enough privileges")
	// ErrNoSpace: the disk is full.
	ErrNoSpace = errors.New("disk is full")
	// ErrTaken: the database belongs to another state folder.
	ErrTaken = errors.New("database belongs to somebody else")
	// ErrClosed: the handle was closed or stopped.
	ErrClosed = errors.New("cluster handle is closed")
)

// SQLSTATEs that get an answer of their own.
const (
	stateInvalidPassword = "28P01"
	stateInvalidLogin    = "28000"
	stateNoDatabase      = "3D000"
	stateNoPrivilege     = "42501"
	stateDiskFull        = "53100"
	stateStarting        = "57P03"
	stateConnections     = "53300"
	stateDuplicateRole   = "42710"
	stateDuplicateDB     = "42P04"
)

// explain turns what the driver says into one line with the next action. The
// driver's own text is used only where it cannot hold a connection string.
func (c *Cluster) explain(err error, doing string) error {
	if err == nil {
		return nil
	}
	where := c.where()
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		said := oneLine(pg.Message)
		switch pg.Code {
		case stateInvalidPassword, stateInvalidLogin:
			if c.external {
				return fmt.Errorf("%s: %w at %s: %s; check user and password of the database URL", doing, ErrRefused, where, said)
			}
			return fmt.Errorf("%s: %w at %s: %s; %s does not fit the cluster beside it, restore both from the same backup", doing, ErrRefused, where, said, c.path(secretsFile))
		case stateNoDatabase:
			return fmt.Errorf("%s: %s at %s; name one that exists in the database URL, such as postgres", doing, said, where)
		case stateNoPrivilege:
			return fmt.Errorf("%s: %w at %s: %s; the URL's user needs CREATEROLE and CREATEDB, or database and schema public as its own", doing, ErrPrivileges, where, said)
		case stateDiskFull:
			return fmt.Errorf("%s: %w at %s: %s; free space there and try again", doing, ErrNoSpace, where, said)
		case stateConnections:
			return fmt.Errorf("%s: no connection left at %s: %s; end idle sessions or raise max_connections", doing, where, said)
		}
		return fmt.Errorf("%s: PostgreSQL at %s says: %s (SQLSTATE %s)", doing, where, said, pg.Code)
	}
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: %w", doing, context.Canceled)
	}
	why := ""
	var op *net.OpError
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		why = dns.Error()
	case errors.As(err, &op):
		why = op.Error()
	case errors.Is(err, context.DeadlineExceeded), os.IsTimeout(err):
		why = "no answer in time"
	default:
		return fmt.Errorf("%s at %s: %s", doing, where, oneLine(err.Error()))
	}
	next := "start it, or check host, port and firewall"
	if !c.external {
		next = "see " + c.path(logFile)
	}
	return fmt.Errorf("%s: %w at %s: %s; %s", doing, ErrUnreachable, where, oneLine(why), next)
}

// explainSpace adds ErrNoSpace and the next action where the disk was full.
func explainSpace(err error, doing, path string) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%s: %w at %s; free space there and try again", doing, ErrNoSpace, path)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// explainOutput does the same for what a program of PostgreSQL printed.
func explainOutput(err error, output, doing, path string) error {
	if strings.Contains(output, "No space left on device") || strings.Contains(output, "Disk quota exceeded") {
		return fmt.Errorf("%s: %w at %s; free space there and try again", doing, ErrNoSpace, path)
	}
	if said := complaint(output); said != "" {
		return fmt.Errorf("%s: %s (%w)", doing, said, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// complaint is the first line that says why PostgreSQL gave up.
func complaint(output string) string {
	for _, mark := range []string{"FATAL:", "PANIC:", "error:", "ERROR:"} {
		for line := range strings.Lines(output) {
			// What it told those who came too early is no complaint.
			if _, said, found := strings.Cut(line, mark); found && !strings.Contains(said, "the database system is") {
				return oneLine(said)
			}
		}
	}
	return ""
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
