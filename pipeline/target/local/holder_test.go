package local

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/smartcloudops/gate/environments"
)

// asDaemon is the argument by which this program is something that listens and
// has its socket held, to be killed.
const asDaemon = "listen-and-hold"

func TestMain(m *testing.M) {
	if len(os.Args) > 2 {
		switch os.Args[1] {
		case asMigrator:
			var m migrator
			err := json.Unmarshal([]byte(os.Args[2]), &m)
			if err == nil {
				err = m.run()
			}
			fmt.Println(err)
			os.Exit(1)
		case HoldVerb:
			if err := Hold(context.Background()); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		case asDaemon:
			k := &grip{folder: os.Args[2], log: slog.New(slog.DiscardHandler)}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err == nil {
				k.use(l.Addr().String(), l)
				_, err = k.ensure()
			}
			if err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			fmt.Println(l.Addr())
			select {}
		}
	}
	os.Exit(m.Run())
}

// deep is a folder whose path is too long for the address of a unix socket.
func deep(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep/", 30))
	if err := os.MkdirAll(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		k := &grip{folder: dir, log: slog.New(slog.DiscardHandler)}
		k.clear()
	})
	return dir
}

func keeping(t *testing.T, dir string) *grip {
	t.Helper()
	k := &grip{folder: dir, log: slog.New(slog.DiscardHandler)}
	t.Cleanup(func() { k.leave(true) })
	return k
}

// one waits for the only holder of the folder, other than not.
func one(t *testing.T, dir string, not int) int {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		if all := holders(dir); len(all) == 1 && all[0] != not {
			return all[0]
		} else if time.Now().After(deadline) {
			t.Fatalf("holders are %v, want another one than %d", all, not)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// TestWhoConnectsWaitsForTheNextDaemon: the one before was killed.
func TestWhoConnectsWaitsForTheNextDaemon(t *testing.T) {
	t.Parallel()
	dir := deep(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	daemon := exec.Command(self, asDaemon, dir)
	out, err := daemon.StdoutPipe()
	if err == nil {
		err = daemon.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	text, err := bufio.NewReader(out).ReadString('\n')
	address := strings.TrimSpace(text)
	if kerr := daemon.Process.Kill(); err != nil || kerr != nil {
		t.Fatal(text, err, kerr)
	}
	_ = daemon.Wait()
	holder := one(t, dir, 0)
	if fi, err := os.Stat(filepath.Join(dir, holderName)); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the holder's socket: %v, %v", fi, err)
	}
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", holder)); err != nil || len(b) != 0 {
		t.Errorf("the holder knows %q, %v", b, err)
	}

	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "early"); err != nil {
		t.Fatal(err)
	}
	k := keeping(t, dir)
	if l := k.claim("192.0.2.1:1"); l != nil {
		t.Error("claimed an address that is not held")
	}
	k.mu.Lock()
	k.hangUp()
	k.mu.Unlock()
	l := k.claim(address)
	if l == nil {
		t.Fatal("the socket is not to be had")
	}
	defer l.Close()
	k.use(address, l)
	if _, err := k.ensure(); err != nil {
		t.Fatal(err)
	}
	taken, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	b := make([]byte, 5)
	if _, err := io.ReadFull(taken, b); err != nil || string(b) != "early" {
		t.Errorf("%q, %v", b, err)
	}
	if now := one(t, dir, 0); now != holder {
		t.Errorf("holder %d became %d", holder, now)
	}
	l.Close()
	k.leave(true) // as gate down
	if all := holders(dir); len(all) > 0 {
		t.Errorf("holders %v are left", all)
	}
	if c, err := net.Dial("tcp", address); !errors.Is(err, syscall.ECONNREFUSED) {
		if err == nil {
			c.Close()
		}
		t.Errorf("who connects is not refused: %v", err)
	}
}

func TestAHolderThatDiesIsReplaced(t *testing.T) {
	t.Parallel()
	dir := deep(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	k := keeping(t, dir)
	k.use(l.Addr().String(), l)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- k.run(ctx) }()
	first := one(t, dir, 0)
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	one(t, dir, first)
	if _, err := k.ensure(); err != nil { // waits for run's
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	k.leave(false) // as a daemon that is started anew
	l.Close()
	next := keeping(t, dir)
	again := next.claim(l.Addr().String())
	if again == nil {
		t.Fatal("the one that replaced it does not have the socket")
	}
	again.Close()
}

// TestNoHolderKeepsADaemonFromStarting: whatever state it is in.
func TestNoHolderKeepsADaemonFromStarting(t *testing.T) {
	t.Parallel()
	for what, spoil := range map[string]func(t *testing.T, dir string, holder int) error{
		"it hangs": func(_ *testing.T, _ string, holder int) error { return syscall.Kill(holder, syscall.SIGSTOP) },
		"it was killed": func(_ *testing.T, _ string, holder int) error {
			return syscall.Kill(holder, syscall.SIGKILL)
		},
		"its socket is gone": func(_ *testing.T, dir string, _ int) error { return os.Remove(filepath.Join(dir, holderName)) },
		"another's socket": func(t *testing.T, dir string, _ int) error {
			name := filepath.Join(dir, holderName)
			k := &grip{folder: dir}
			short, done, err := k.socket()
			if err != nil {
				return err
			}
			defer done()
			if err := os.Remove(name); err != nil {
				return err
			}
			l, err := net.ListenUnix("unixpacket", short)
			if err != nil {
				return err
			}
			l.SetUnlinkOnClose(false)
			t.Cleanup(func() { l.Close() })
			go func() {
				for {
					c, err := l.AcceptUnix()
					if err != nil {
						return
					}
					_, _ = c.Write([]byte("I am no holder"))
				}
			}()
			return nil
		},
		"its folder is a file's": func(_ *testing.T, dir string, _ int) error {
			name := filepath.Join(dir, holderName)
			return errors.Join(os.Remove(name), os.WriteFile(name, nil, 0o600))
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			state := deep(t)
			paths := Paths{State: state, Environment: "staging"}
			if err := os.MkdirAll(paths.dir(), 0o711); err != nil {
				t.Fatal(err)
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			before := keeping(t, paths.dir())
			before.use(l.Addr().String(), l)
			if _, err := before.ensure(); err != nil {
				t.Fatal(err)
			}
			holder := one(t, paths.dir(), 0)
			before.leave(false)
			l.Close()
			if err := spoil(t, paths.dir(), holder); err != nil {
				t.Fatal(err)
			}
			d := &Daemon{paths: paths, opt: Options{Ledger: "drill"}, grip: keeping(t, paths.dir())}
			e := &environments.Environment{Name: "staging", Listen: l.Addr().String()}
			next, err := d.relisten(t.Context(), e)
			if err != nil {
				t.Fatal(err)
			}
			defer next.Close()
			d.grip.use(e.Listen, next)
			if _, err := d.grip.ensure(); err != nil {
				t.Fatal(err)
			}
			one(t, paths.dir(), holder)
		})
	}
}

func TestAHolderWaitsForDaemonsNotForEver(t *testing.T) {
	t.Parallel()
	k := &grip{folder: t.TempDir(), log: slog.New(slog.DiscardHandler)}
	name, done, err := k.socket()
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	l, err := net.ListenUnix("unixpacket", name)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- hold(t.Context(), l, 300*time.Millisecond) }()
	k.mu.Lock()
	_, _, err = k.connect()
	k.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		t.Fatalf("it ended beside a daemon: %v", err)
	case <-time.After(time.Second):
	}
	k.leave(false)
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it waits for ever")
	}
}
