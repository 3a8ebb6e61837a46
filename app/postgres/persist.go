package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/smartcloudops/gate/app"
)

// patience is how long a request outwaits a database that restarts or fails
// over.
const patience = 3 * time.Second

// persist calls do until it succeeds, fails for good, or patience or ctx ends.
// do must be safe to repeat even when it may have happened: after a lost
// connection nobody knows.
func persist(ctx context.Context, do func() error) error {
	deadline := time.Now().Add(patience)
	for pause := 25 * time.Millisecond; ; pause = min(2*pause, 400*time.Millisecond) {
		err := do()
		switch {
		case err == nil:
			return nil
		case errors.Is(context.Cause(ctx), context.Canceled):
			return fmt.Errorf("the caller has left: %w", context.Canceled)
		case ctx.Err() != nil, sqlState(err) == queryCanceled:
			return fmt.Errorf("%w: took too long: %w", app.ErrUnavailable, err)
		case !transient(err):
			return err
		case time.Now().Add(pause).After(deadline):
			return fmt.Errorf("%w: %w", app.ErrUnavailable, err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// transient says whether err is about the connection or the moment, not about
// the statement.
func transient(err error) bool {
	code := sqlState(err)
	if code == "" {
		return true // the server did not answer at all
	}
	// Connection exceptions, serialization failure and deadlock, too many
	// connections, server shutting down or starting up.
	return strings.HasPrefix(code, "08") ||
		slices.Contains([]string{"40001", "40P01", "53300", "57P01", "57P02", "57P03"}, code)
}
