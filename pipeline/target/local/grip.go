package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	holderName = "holder.sock"
	// holderAnswers bounds what a holder may take to answer: it has nothing to do.
	holderAnswers = 2 * time.Second
	holderPause   = time.Second // before another one is started, doubled up to holderRest
	holderRest    = time.Minute
)

// grip sees to it that there is a holder that has the daemon's socket. What a
// holder does, or fails to do, is never a reason for a daemon not to serve.
type grip struct {
	folder string
	log    *slog.Logger

	mu      sync.Mutex // guards what follows, and is held while a holder is spoken to
	address string
	lis     *net.TCPListener
	conn    *net.UnixConn // to the holder; nil: there is none
	gone    chan struct{} // closed when the holder at conn has ended
	taken   chan struct{} // the holder at conn has what it was given
	child   *exec.Cmd     // the holder, where this process has started it
	left    bool
}

// claim is the listener on the address that a holder has, left there by a daemon
// that has ended. Nil: none has it.
func (g *grip) claim(address string) net.Listener {
	g.mu.Lock()
	defer g.mu.Unlock()
	at, socket, err := g.connect()
	if err != nil || socket == nil {
		return nil
	}
	defer socket.Close()
	if at != address {
		return nil
	}
	l, err := net.FileListener(socket)
	if err != nil {
		g.log.Warn("what the holder of sockets has is no listener", "error", err)
		return nil
	}
	if !listens(l) {
		l.Close()
		return nil
	}
	return l
}

// listens says whether the kernel queues connections for the listener.
func listens(l net.Listener) bool {
	t, ok := l.(*net.TCPListener)
	if !ok {
		return false
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return false
	}
	on := 0
	cerr := raw.Control(func(fd uintptr) { on, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ACCEPTCONN) })
	return errors.Join(cerr, err) == nil && on == 1
}

// use has the listener held from now on, instead of the one before.
func (g *grip) use(address string, l net.Listener) {
	t, ok := l.(*net.TCPListener)
	if !ok {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.address, g.lis = address, t
	if g.conn != nil && g.give() != nil {
		g.conn.Close() // run begins anew
	}
}

// run keeps a holder there until ctx ends.
func (g *grip) run(ctx context.Context) error {
	pause := holderPause
	for {
		began := time.Now()
		gone, err := g.ensure()
		if err != nil {
			g.log.Warn("no holder of sockets: while the daemon is restarted, clients are refused", "error", err)
		} else {
			select {
			case <-ctx.Done():
				return nil
			case <-gone:
			}
			if ctx.Err() == nil {
				g.log.Warn("the holder of sockets has ended; another one is started")
			}
		}
		if time.Since(began) > holderRest {
			pause = holderPause
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, holderRest)
	}
}

// ensure returns once a holder has the socket; gone is closed when it ends.
func (g *grip) ensure() (gone <-chan struct{}, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.left {
		return nil, nil
	}
	if g.conn != nil {
		select {
		case <-g.gone:
			g.hangUp()
		default:
		}
	}
	if g.conn == nil {
		if _, socket, err := g.connect(); err == nil && socket != nil {
			socket.Close()
		}
	}
	if g.conn == nil {
		if err := g.start(); err != nil {
			return nil, err
		}
	}
	if err := g.give(); err != nil {
		g.hangUp()
		return nil, fmt.Errorf("give it the socket: %w", err)
	}
	return g.gone, nil
}

// give has the holder take the socket that is in use. The caller holds g.mu.
func (g *grip) give() error {
	if g.lis == nil {
		return nil
	}
	raw, err := g.lis.SyscallConn()
	if err != nil {
		return err
	}
	cerr := raw.Control(func(fd uintptr) { err = send(g.conn, heldSocket{Address: g.address}, int(fd)) })
	if err := errors.Join(cerr, err); err != nil {
		return err
	}
	select {
	case <-g.taken:
		return nil
	case <-g.gone:
		return errors.New("it has ended")
	case <-time.After(holderAnswers):
		return errors.New("it does not answer")
	}
}

// start starts a holder and connects to it. Whatever else holds for this
// environment is ended: nobody can speak to it. The caller holds g.mu.
func (g *grip) start() error {
	g.dismiss()
	name, done, err := g.socket()
	if err != nil {
		return err
	}
	defer done()
	file := filepath.Join(g.folder, holderName)
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l, err := net.ListenUnix("unixpacket", name)
	if err != nil {
		return err
	}
	l.SetUnlinkOnClose(false)
	defer l.Close()
	if err := os.Chmod(file, 0o600); err != nil {
		return err
	}
	passed, err := l.File()
	if err != nil {
		return err
	}
	defer passed.Close()
	// This very program, also where its file was replaced meanwhile. It knows
	// nothing of what this process knows, and outlives it.
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{"gate", HoldVerb, g.folder}
	cmd.Env, cmd.Dir, cmd.ExtraFiles = []string{}, "/", []*os.File{passed}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	g.child = cmd
	// Once it alone has the socket, that it has ended is known at once.
	passed.Close()
	l.Close()
	if _, _, err := g.connect(); err != nil {
		_ = cmd.Process.Kill()
		g.child = nil
		return fmt.Errorf("it does not answer (%w), and has ended: %w", err, cmd.Wait())
	}
	return nil
}

// connect speaks to the holder that there is, and returns what it has. The caller
// holds g.mu.
func (g *grip) connect() (address string, socket *os.File, err error) {
	name, done, err := g.socket()
	if err != nil {
		return "", nil, err
	}
	defer done()
	c, err := net.DialUnix("unixpacket", nil, name)
	if err != nil {
		return "", nil, err
	}
	if !ownUser(c) {
		c.Close()
		return "", nil, errors.New("it is another user's")
	}
	if err = c.SetDeadline(time.Now().Add(holderAnswers)); err == nil {
		var m heldSocket
		var fd int
		if m, fd, err = receive(c); err == nil {
			address = m.Address
			if fd >= 0 {
				socket = os.NewFile(uintptr(fd), "listener")
			}
			err = c.SetDeadline(time.Time{})
		}
	}
	if err != nil {
		c.Close()
		return "", nil, err
	}
	gone, taken := make(chan struct{}), make(chan struct{}, 1)
	g.conn, g.gone, g.taken = c, gone, taken
	// It ends with the connection, which hangUp and leave close.
	go func() {
		defer close(gone)
		for {
			_, fd, err := receive(c)
			if err != nil {
				return
			}
			if fd >= 0 {
				_ = syscall.Close(fd)
			}
			select {
			case taken <- struct{}{}:
			default:
			}
		}
	}()
	return address, socket, nil
}

// socket is the address of the holder's socket, by a way that is short however
// deep the folder is.
func (g *grip) socket() (*net.UnixAddr, func(), error) {
	fd, err := unix.Open(g.folder, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", g.folder, err)
	}
	return &net.UnixAddr{Net: "unixpacket", Name: fmt.Sprintf("/proc/self/fd/%d/%s", fd, holderName)}, func() { _ = unix.Close(fd) }, nil
}

// hangUp lets go of the holder. The caller holds g.mu.
func (g *grip) hangUp() {
	if g.conn == nil {
		return
	}
	g.conn.Close()
	<-g.gone
	g.conn = nil
}

// dismiss ends every holder of the environment, whether it answers or not, and
// says whether there was one. The caller holds g.mu.
func (g *grip) dismiss() bool {
	g.hangUp()
	all := holders(g.folder)
	for _, pid := range all {
		if err := killAndWait(pid); err != nil && !errors.Is(err, syscall.ESRCH) {
			g.log.Warn("a holder of sockets can't be ended", "process", pid, "error", err)
		}
	}
	g.reap()
	return len(all) > 0
}

// reap collects a child that has ended. The caller holds g.mu.
func (g *grip) reap() {
	if g.child != nil {
		_ = g.child.Process.Kill()
		_ = g.child.Wait()
		g.child = nil
	}
}

// clear ends whatever holds for the environment and can't be used.
func (g *grip) clear() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.dismiss()
}

// leave is the end of the daemon: the holder waits for the next one, unless the
// environment ends, too.
func (g *grip) leave(down bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.left = true
	if !down {
		g.hangUp()
		return
	}
	if g.conn != nil && send(g.conn, heldSocket{End: true}, -1) == nil {
		select {
		case <-g.gone:
		case <-time.After(holderAnswers):
		}
	}
	g.dismiss() // has nothing to do where it has obeyed
	_ = os.Remove(filepath.Join(g.folder, holderName))
}
