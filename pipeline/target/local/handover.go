package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
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
	_, _, err = unix.WriteMsgUnix([]byte("L"), syscall.UnixRights(int(file.Fd())), nil)
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
	d.handed = true
	d.downOnce.Do(func() { close(d.downAsked) })
}

// handPatience is how long an operation may go on before a handover is refused:
// instances that are being added take a second or two.
const handPatience = 5 * time.Second

// TakeOver asks the running daemon of the environment for its listener. The
// error is ErrNoDaemon when there is none to ask.
func TakeOver(ctx context.Context, p Paths) (net.Listener, error) {
	conn, err := (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, "unix", p.Socket())
	if err != nil {
		return nil, fmt.Errorf("%w for %s", ErrNoDaemon, p.Environment)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: daemon\r\nContent-Length: 0\r\n\r\n", pathHand); err != nil {
		return nil, fmt.Errorf("take over %s: %w", p.Environment, err)
	}
	unix := conn.(*net.UnixConn)
	buf, oob := make([]byte, 1024), make([]byte, 128)
	n, oobn, _, _, err := unix.ReadMsgUnix(buf, oob)
	if err != nil {
		return nil, fmt.Errorf("take over %s: %w", p.Environment, err)
	}
	msgs, err := syscall.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(msgs) != 1 {
		return nil, fmt.Errorf("take over %s: the daemon refuses: %.200q", p.Environment, buf[:n])
	}
	fds, err := syscall.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("take over %s: no socket came", p.Environment)
	}
	file := os.NewFile(uintptr(fds[0]), "listener")
	defer file.Close()
	l, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("take over %s: %w", p.Environment, err)
	}
	if _, err := conn.Write([]byte("K")); err != nil {
		l.Close()
		return nil, fmt.Errorf("take over %s: %w", p.Environment, err)
	}
	return l, nil
}
