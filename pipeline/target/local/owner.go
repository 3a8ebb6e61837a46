package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/target/local/durable"
)

// owner says who listens on an address, for others who would like to.
type owner struct {
	Ledger      string `json:"ledger"`
	Environment string `json:"environment"`
	State       string `json:"state"`
	PID         int    `json:"pid"`
}

func ownerFile(address string) string {
	return filepath.Join(runtimeDir(), "owner-"+strings.NewReplacer(":", "_", "[", "", "]", "", "/", "_").Replace(address)+".json")
}

// listen opens the environment's address and makes it known as its own.
func (d *Daemon) listen(ctx context.Context, e *environments.Environment) (net.Listener, error) {
	if err := ensureRuntimeDir(); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", e.Listen)
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, taken(e, d.opt.Ledger)
		}
		return nil, fmt.Errorf("%w: %s of environment %s: %w; declare another in %s", ErrAddress, e.Listen, e.Name, err, e.File)
	}
	if err := d.own(e); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// relisten is the listener that a holder has kept, or one that is opened anew.
func (d *Daemon) relisten(ctx context.Context, e *environments.Environment) (net.Listener, error) {
	if d.grip == nil {
		return d.listen(ctx, e)
	}
	if l := d.grip.claim(e.Listen); l != nil {
		err := ensureRuntimeDir()
		if err == nil {
			err = d.own(e)
		}
		if err != nil {
			l.Close()
			return nil, err
		}
		return l, nil
	}
	l, err := d.listen(ctx, e)
	if err != nil && d.grip.clear() {
		// It had the address, and did not say so.
		return d.listen(ctx, e)
	}
	return l, err
}

// own leaves word of whose the address is.
func (d *Daemon) own(e *environments.Environment) error {
	b, err := json.Marshal(owner{d.opt.Ledger, e.Name, d.paths.State, os.Getpid()})
	if err != nil {
		return fmt.Errorf("owner of %s: %w", e.Listen, err)
	}
	return durable.Replace(ownerFile(e.Listen), b, 0o600)
}

// taken says by whom, as far as it is known.
func taken(e *environments.Environment, ledger string) error {
	var o owner
	b, err := os.ReadFile(ownerFile(e.Listen))
	if err == nil && json.Unmarshal(b, &o) == nil && o.Ledger != ledger && o.lives() {
		return fmt.Errorf("%w: %s serves %s of ledger %s in the state directory %s (process %d); use that with GATE_STATE=%s, or declare another address in %s",
			ErrForeign, e.Listen, o.Environment, o.Ledger, o.State, o.PID, o.State, e.File)
	}
	return fmt.Errorf("%w: another program listens on %s of environment %s; stop it, or declare another address in %s", ErrAddress, e.Listen, e.Name, e.File)
}

// lives says whether the daemon runs, or a holder waits for the next one.
func (o owner) lives() bool {
	return syscall.Kill(o.PID, 0) == nil || len(holders(Paths{State: o.State, Environment: o.Environment}.dir())) > 0
}
