package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/target/local"
)

// drilled is an environment as drills see it: its daemon, and what starts one.
type drilled struct {
	*local.Client
	executor *executor
}

var _ checks.Breaker = (*drilled)(nil)

// managerPatience is how long a service manager may take to start the daemon
// again.
const managerPatience = 20 * time.Second

// Mend implements checks.Breaker. Instances are the daemon's to start again, and
// so is its database. The daemon is the service manager's, if there is one; else
// nobody's, and the drill starts it as gate run would.
func (d *drilled) Mend(ctx context.Context, part string) (string, error) {
	if part != checks.PartDaemon {
		return "the daemon", nil
	}
	if d.managed() {
		ctx, cancel := context.WithTimeout(ctx, managerPatience)
		defer cancel()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			if _, err := d.PID(ctx); err == nil {
				return "the service manager", nil
			}
			select {
			case <-ctx.Done():
				return "", fmt.Errorf("the service manager has not started the daemon again after %s: systemctl status", managerPatience)
			case <-tick.C:
			}
		}
	}
	if err := d.executor.spawn(ctx, false); err != nil {
		return "", err
	}
	return "the drill, as gate run would: no service manager runs the daemon here", nil
}

// Break implements checks.Breaker.
func (d *drilled) Break(ctx context.Context, part string) (checks.Broken, error) {
	if part == checks.PartDaemon {
		managed, err := d.Managed(ctx)
		if err != nil {
			return checks.Broken{}, err
		}
		d.executor.managed.Store(managed)
	}
	b, err := d.Client.Break(ctx, part)
	if errors.Is(err, local.ErrNoDaemon) {
		err = fmt.Errorf("%w; it was to kill the %s", err, part)
	}
	return b, err
}

func (d *drilled) managed() bool { return d.executor.managed.Load() }
