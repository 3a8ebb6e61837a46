package balancer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Limits of what a client may do before it is known to be one. Bodies have no
// limit in time or size: that is for the service to say.
const (
	headTime    = 10 * time.Second // for the TLS handshake, and for the head of a request
	clientIdle  = 3 * time.Minute  // longer than clients commonly keep a connection, so that it is they who close it
	headBytes   = 64 << 10
	h2PingAfter = 30 * time.Second
)

// lifecycle is how far the balancer has come.
type lifecycle struct {
	mu      sync.Mutex
	serving bool
	shut    bool
	shutErr error
	stopped chan struct{} // closed when Shutdown is through
	quiet   chan struct{} // closed when it is leaving and no connection is open
	conns   atomic.Int64
	leaving atomic.Bool // every answer asks the client to connect anew
	deaf    atomic.Bool // and nobody new is accepted
}

func (b *Balancer) prepareServer() {
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	b.life.stopped = make(chan struct{})
	b.life.quiet = make(chan struct{}, 1)
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	b.server = &http.Server{
		Handler:           http.HandlerFunc(b.handle),
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: b.opt.GetCertificate, NextProtos: b.opt.Protocols},
		Protocols:         &protocols,
		ReadHeaderTimeout: headTime,
		IdleTimeout:       clientIdle,
		MaxHeaderBytes:    headBytes,
		// Scanners and aborted handshakes: nothing that an operator can act on.
		ErrorLog:    slog.NewLogLogger(b.opt.Log.Handler(), slog.LevelDebug),
		BaseContext: inContext(ctx),
		ConnState:   b.connState,
		HTTP2:       &http.HTTP2Config{SendPingTimeout: h2PingAfter, WriteByteTimeout: b.opt.Stall},
	}
}

func (b *Balancer) connState(_ net.Conn, s http.ConnState) {
	switch s {
	case http.StateNew:
		b.life.conns.Add(1)
	case http.StateClosed, http.StateHijacked:
		if b.life.conns.Add(-1) == 0 && b.life.leaving.Load() {
			b.life.nowQuiet()
		}
	}
}

func (l *lifecycle) nowQuiet() {
	select {
	case l.quiet <- struct{}{}:
	default:
	}
}

// Serve accepts and serves until Shutdown or Handover has finished, and returns
// nil then. It is called once.
func (b *Balancer) Serve() error {
	b.life.mu.Lock()
	if b.life.serving || b.life.shut {
		b.life.mu.Unlock()
		return fmt.Errorf("serve: %w or served before; make a new one", ErrShut)
	}
	b.life.serving = true
	b.life.mu.Unlock()
	err := b.server.ServeTLS(b.opt.Listener, "", "")
	if b.life.leaving.Load() || errors.Is(err, http.ErrServerClosed) {
		<-b.life.stopped
		return nil
	}
	return fmt.Errorf("load balancer: stopped accepting on %s; check the address and the limit of open files: %w", b.opt.Listener.Addr(), err)
}

// Linger is how long after Leave a connection that brings no request can live: as
// long as it could have before.
const Linger = clientIdle + headTime

// Handover is Leave, and then Shutdown.
func (b *Balancer) Handover(ctx context.Context, linger time.Duration) error {
	b.Leave(ctx, linger)
	return b.Shutdown(ctx)
}

// Leave stops accepting and gives every connection up to linger to bring one more
// request, whose answer asks the client to connect anew. It returns when no
// connection is left, or linger or ctx has ended. With another process accepting
// on the same socket no client notices, not even one that keeps its connection and
// never retries: that is how the balancer itself is upgraded.
func (b *Balancer) Leave(ctx context.Context, linger time.Duration) {
	b.life.leaving.Store(true)
	// Closing is what ends the accepting; that it was closed before is no loss.
	_ = b.opt.Listener.Close()
	b.life.deaf.Store(true)
	timer := time.NewTimer(linger)
	defer timer.Stop()
	if b.life.conns.Load() > 0 {
		select {
		case <-b.life.quiet:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
}

// Shutdown stops accepting, closes idle connections and waits until the
// requests in flight have ended. When ctx ends first they are broken off, and
// its error is returned. Nothing of the balancer runs on afterwards; calling it
// again waits for the first call.
func (b *Balancer) Shutdown(ctx context.Context) error {
	b.life.mu.Lock()
	first := !b.life.shut
	b.life.shut = true
	b.life.mu.Unlock()
	if !first {
		<-b.life.stopped
		return b.life.shutErr
	}
	defer close(b.life.stopped)
	b.life.leaving.Store(true)
	_ = b.opt.Listener.Close()
	err := b.server.Shutdown(ctx)
	if errors.Is(err, net.ErrClosed) { // the listener, just above
		err = nil
	}
	// The server does not know upgraded connections.
	waitErr := b.await(ctx)
	if err == nil {
		err = waitErr
	}
	if err != nil {
		err = fmt.Errorf("load balancer: shut down with %d requests broken off; allow more time: %w", b.counts.inFlight.Load(), err)
	}
	b.cancel()
	_ = b.server.Close() // breaks off what is left; whoever is left is gone then
	// Cancelled, every exchange ends by itself.
	_ = b.await(context.Background())
	b.closeBackends()
	b.life.shutErr = err
	return err
}

// await waits until no request is in flight. It polls as the server's own
// Shutdown does: a request must not pay for a notice that is needed once.
func (b *Balancer) await(ctx context.Context) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for b.counts.inFlight.Load() > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (b *Balancer) closeBackends() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range b.current.Load().arms {
		for _, be := range a.backends {
			be.transport.CloseIdleConnections()
		}
	}
	for _, list := range b.leaving {
		for _, be := range list {
			be.transport.CloseIdleConnections()
		}
	}
}
