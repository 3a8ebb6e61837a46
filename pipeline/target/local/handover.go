package local

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/smartcloudops/gate/pipeline/target/local/balancer"
)

// handover gives the listener to a successor, so that no client notices that
// the program in front of the instances is another one from now on. The answer
// is the open socket itself; then this daemon lets go of everything else.
func (d *Daemon) handover(w http.ResponseWriter, _ *http.Request) {
	// Not in the middle of an operation: the successor would have to undo it.
	for deadline := time.Now().Add(handPatience); !d.op.TryLock(); {
		if time.Now().After(deadline) {
			answer(w, nil, errors.New("it is in the middle of an operation"))
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	defer d.op.Unlock()
	d.mu.Lock()
	l, ok := d.lis.(*net.TCPListener)
	busy := d.st.Canary.Revision != nil || d.st.Warm.Revision != nil
	d.mu.Unlock()
	if busy {
		answer(w, nil, errors.New("a promotion is under way"))
		return
	}
	if !ok {
		answer(w, nil, errors.New("its listener can't be handed over"))
		return
	}
	file, err := l.File()
	if err != nil {
		answer(w, nil, err)
		return
	}
	defer file.Close()
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		answer(w, nil, err)
		return
	}
	defer conn.Close()
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return
	}
	key := rand.Text()
	_, _, err = unix.WriteMsgUnix([]byte("L"+key), syscall.UnixRights(int(file.Fd())), nil)
	if err != nil {
		d.opt.Log.Error("hand over", "error", err)
		return
	}
	// Only when the successor has it for sure does this one let go.
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if b, err := rw.ReadByte(); err != nil || b != 'K' {
		d.opt.Log.Error("hand over: the successor did not take it", "error", err)
		return
	}
	d.successorKey, d.handed = key, true
	d.downOnce.Do(func() { close(d.downAsked) })
}

// handPatience is how long an operation may go on before a handover is refused:
// instances that are being added take a second or two.
const handPatience = 5 * time.Second

// TakeOver asks the running daemon of the environment for its listener, and for
// Options.Predecessor. The error is ErrNoDaemon when there is none to ask.
func TakeOver(ctx context.Context, p Paths) (_ net.Listener, predecessor string, _ error) {
	conn, err := (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, "unix", p.Socket())
	if err != nil {
		return nil, "", fmt.Errorf("%w for %s", ErrNoDaemon, p.Environment)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: daemon\r\nContent-Length: 0\r\n\r\n", pathHand); err != nil {
		return nil, "", fmt.Errorf("take over %s: %w", p.Environment, err)
	}
	unix := conn.(*net.UnixConn)
	buf, oob := make([]byte, 1024), make([]byte, 128)
	n, oobn, _, _, err := unix.ReadMsgUnix(buf, oob)
	if err != nil {
		return nil, "", fmt.Errorf("take over %s: %w", p.Environment, err)
	}
	msgs, err := syscall.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(msgs) != 1 {
		return nil, "", fmt.Errorf("take over %s: the daemon refuses: %.200q", p.Environment, buf[:n])
	}
	fds, err := syscall.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		return nil, "", fmt.Errorf("take over %s: no socket came", p.Environment)
	}
	file := os.NewFile(uintptr(fds[0]), "listener")
	defer file.Close()
	l, err := net.FileListener(file)
	if err != nil {
		return nil, "", fmt.Errorf("take over %s: %w", p.Environment, err)
	}
	if _, err := conn.Write([]byte("K")); err != nil {
		l.Close()
		return nil, "", fmt.Errorf("take over %s: %w", p.Environment, err)
	}
	return l, strings.TrimPrefix(string(buf[:n]), "L"), nil // an older gate sends no key
}

// lingering is the file that a daemon which has handed over locks as long as
// clients have connections to it.
func (p Paths) lingering() string { return p.dir("lingering") }

const (
	followTick  = 50 * time.Millisecond // until the successor serves
	followPause = 250 * time.Millisecond
	// partingTime is how long requests in flight may take once this process is told
	// to end, or the environment is down.
	partingTime = 10 * time.Second
)

// lingers lives on for the connections that were made to this process, until they
// have ended or idled out, ctx ends, or the environment is down. Each answer asks
// the client to connect anew.
func (d *Daemon) lingers(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	parting, part := context.WithCancel(context.Background())
	defer part()
	defer context.AfterFunc(ctx, func() {
		t := time.AfterFunc(partingTime, part)
		context.AfterFunc(parting, func() { t.Stop() })
	})()
	// Its own connections wait for nobody.
	d.prober().CloseIdleConnections()
	// The listener is closed first: what is passed on must not come back here.
	left := make(chan struct{})
	go func() { defer close(left); d.front.Leave(ctx, balancer.Linger) }()
	wg.Go(func() { d.followSuccessor(ctx, cancel) })
	<-left
	if err := d.front.Shutdown(parting); err != nil {
		d.opt.Log.Warn("load balancer", "error", err)
	}
}

// followSuccessor has what still comes go by way of the successor, once that
// serves, and says when the environment is down.
func (d *Daemon) followSuccessor(ctx context.Context, down func()) {
	client, tick := NewClient(d.paths), time.NewTicker(followTick)
	defer tick.Stop()
	address, follows := d.lis.Addr().String(), false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		r, err := client.report(ctx)
		switch {
		case err == nil && !follows && !r.Since.Equal(d.started):
			if follows = d.front.Follow(address, d.successorKey); follows {
				tick.Reset(followPause)
			}
		case err != nil:
			// Down has written that nothing serves before it let go of the socket.
			if s, serr := readState(d.paths.stateFile()); serr == nil && s.Stable.Revision == nil {
				down()
				return
			}
		}
	}
}

// lingerLock says that this process still has connections.
func (d *Daemon) lingerLock() *os.File {
	f, err := os.OpenFile(d.paths.lingering(), os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	}
	if err != nil {
		d.opt.Log.Warn("gate down will not wait for the connections of this process", "error", err)
	}
	return f
}

// awaitLingering waits until no daemon that has handed over is left.
func awaitLingering(ctx context.Context, p Paths) error {
	f, err := os.OpenFile(p.lingering(), os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil // none ever has
	}
	if err != nil {
		return fmt.Errorf("daemons that have handed over: %w", err)
	}
	defer f.Close()
	for deadline := time.Now().Add(endPatience); ; {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case time.Now().After(deadline):
			return fmt.Errorf("a daemon of %s that has handed over still has connections after %s: see %s", p.Environment, endPatience, p.DaemonLog())
		}
		time.Sleep(10 * time.Millisecond)
	}
}
