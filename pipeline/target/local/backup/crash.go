package backup

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// Crash kills the copy's server, and returns when it has recovered and answers.
func (c *Copy) Crash(ctx context.Context) error {
	pid := c.db.PID()
	if pid == 0 {
		return errors.New("the copy's server does not run")
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill the copy's server, pid %d: %w", pid, err)
	}
	for {
		err := c.db.EnsureRunning(ctx)
		// A process that has just been killed may seem to run for a moment.
		if err == nil && c.db.PID() != pid && c.db.Ping(ctx) == nil {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("start the copy's server again: %w", err)
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}
