package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A holder keeps the environment's listening socket open while no daemon does:
// who connects then waits in the kernel's queue for the next one, instead of
// being refused. It has the socket and nothing else, and accepts no connection.
// Daemons are connected to it for as long as they live, so that each side learns
// of the other's end from the kernel. Messages are packets; the socket travels
// beside them.

// HoldVerb is the argument by which this program becomes a holder; the
// environment's folder follows it.
const HoldVerb = "hold-sockets"

// holdPatience is how long a holder waits for the next daemon. Whoever connects
// must not hang for ever when none comes.
const holdPatience = 30 * time.Second

// heldSocket is a daemon's message to its holder, the holder's receipt for it, and
// the holder's greeting.
type heldSocket struct {
	Address string `json:"address,omitempty"` // of the socket that travels along
	End     bool   `json:"end,omitempty"`
}

type holder struct {
	patience time.Duration
	end      context.CancelFunc

	mu      sync.Mutex // guards what follows
	address string
	socket  int // -1: none
	daemons int
	idle    *time.Timer
}

// Hold is a holder, on the listening unix socket that it was started with as
// file 3, until a daemon says that it is no longer needed, or none has been there
// for a while.
func Hold(ctx context.Context) error {
	file := os.NewFile(3, "socket of the holder")
	l, err := net.FileListener(file)
	if file != nil {
		file.Close()
	}
	if err != nil {
		return fmt.Errorf("only a daemon starts this: %w", err)
	}
	control, ok := l.(*net.UnixListener)
	if !ok {
		return errors.New("only a daemon starts this")
	}
	return hold(ctx, control, holdPatience)
}

func hold(ctx context.Context, l *net.UnixListener, patience time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	h := &holder{patience: patience, end: cancel, socket: -1, idle: time.AfterFunc(patience, cancel)}
	var wg sync.WaitGroup
	defer h.keep("", -1)
	defer wg.Wait()
	defer cancel()
	defer l.Close()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		c, err := l.AcceptUnix()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("holder: %w", err)
		}
		wg.Go(func() { h.serve(ctx, c) })
	}
}

// serve is one daemon's connection.
func (h *holder) serve(ctx context.Context, c *net.UnixConn) {
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	defer c.Close()
	if !ownUser(c) {
		return
	}
	h.count(1)
	defer h.count(-1)
	if h.greet(c) != nil {
		return
	}
	for {
		m, socket, err := receive(c)
		switch {
		case err != nil:
			return // the daemon has ended, or talks nonsense
		case m.End:
			h.end()
			return
		case socket >= 0:
			h.keep(m.Address, socket)
			if send(c, heldSocket{Address: m.Address}, -1) != nil {
				return
			}
		}
	}
}

// count knows how many daemons there are. When the last one goes, the wait for
// the next one begins.
func (h *holder) count(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.daemons += n
	h.idle.Stop()
	if h.daemons == 0 {
		h.idle.Reset(h.patience)
	}
}

func (h *holder) greet(c *net.UnixConn) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return send(c, heldSocket{Address: h.address}, h.socket)
}

// keep has the socket held instead of the one before.
func (h *holder) keep(address string, socket int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.socket >= 0 {
		_ = syscall.Close(h.socket)
	}
	h.address, h.socket = address, socket
}

func send(c *net.UnixConn, m heldSocket, socket int) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	var rights []byte
	if socket >= 0 {
		rights = unix.UnixRights(socket)
	}
	_, _, err = c.WriteMsgUnix(b, rights, nil)
	return err
}

// receive is one message with the socket that came along; -1: none did.
func receive(c *net.UnixConn) (m heldSocket, socket int, err error) {
	buf, oob := make([]byte, 4096), make([]byte, 128)
	n, oobn, flags, _, err := c.ReadMsgUnix(buf, oob)
	if err != nil {
		return m, -1, err
	}
	var sockets []int
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	for _, s := range messages {
		fds, rerr := unix.ParseUnixRights(&s)
		err = errors.Join(err, rerr)
		sockets = append(sockets, fds...)
	}
	if err == nil {
		err = json.Unmarshal(buf[:n], &m)
	}
	if err == nil && (flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 || len(sockets) > 1) {
		err = errors.New("more came than one message with one socket")
	}
	if err != nil || len(sockets) == 0 {
		for _, fd := range sockets {
			_ = syscall.Close(fd)
		}
		return m, -1, err
	}
	return m, sockets[0], nil
}

// ownUser says whether the process at the other end belongs to this user.
func ownUser(c *net.UnixConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	own := false
	err = raw.Control(func(fd uintptr) {
		peer, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		own = err == nil && int(peer.Uid) == os.Getuid()
	})
	return err == nil && own
}

// holders are the processes of this user that hold sockets for the environment
// in the folder. As a rule there is one.
func holders(folder string) []int {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	var out []int
	for _, d := range dirs {
		b, err := os.ReadFile(filepath.Join(d, "cmdline"))
		args := strings.Split(string(b), "\x00")
		if err != nil || len(args) < 3 || args[1] != HoldVerb || args[2] != folder {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(d))
		fi, serr := os.Stat(d)
		if err != nil || serr != nil {
			continue
		}
		if st, ok := fi.Sys().(*syscall.Stat_t); ok && int(st.Uid) == os.Getuid() {
			out = append(out, pid)
		}
	}
	slices.Sort(out)
	return out
}
