package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Time limits of the server. idleTimeout is longer than load balancers keep
// idle connections (60 to 90 s): were it shorter, the service would close some
// just as they are used again.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = 15 * time.Second
	idleTimeout       = 120 * time.Second
	maxHeaderBytes    = 16 << 10
	// drainTimeout is how long requests may go on after the listener has closed.
	// A connection on which nothing was ever sent counts as busy for 5 s.
	drainTimeout = 10 * time.Second
)

// Serve answers on ln until ctx ends, then shuts down without dropping a
// request: /readyz answers 503 and every answer closes its connection, while
// new connections are still accepted for the time settle, in which whoever
// spreads the traffic notices; then ln is closed and what is in flight is
// finished. Serve returns nil once all is answered. It owns ln.
func (a *API) Serve(ctx context.Context, ln net.Listener, settle time.Duration) error {
	srv := &http.Server{
		Handler:           a,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(a.Log.Handler(), slog.LevelWarn),
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(ln) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve on %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}

	a.draining.Store(true)
	a.Log.LogAttrs(ctx, slog.LevelInfo, "shutting down", slog.Duration("settle", settle))
	select {
	case err := <-ended:
		return fmt.Errorf("serve on %s while shutting down: %w", ln.Addr(), err)
	case <-time.After(settle):
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	err := srv.Shutdown(limit)
	if err != nil {
		err = errors.Join(fmt.Errorf("requests were still running %s after the listener closed and were cut off: %w", drainTimeout, err), srv.Close())
	}
	if end := <-ended; !errors.Is(end, http.ErrServerClosed) {
		err = errors.Join(err, end)
	}
	return err
}
