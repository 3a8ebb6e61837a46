package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/target/local"
)

// ServeCmd runs the daemon of an environment in the foreground.
type ServeCmd struct {
	Environment string `arg:"" help:"The environment to run."`
	TakeOver    bool   `help:"Take over from a daemon that runs, without a request noticing."`
	Unit        bool   `help:"Print a systemd unit for the daemon, instead of running it."`
}

// Run runs until SIGTERM. Instances and PostgreSQL run on: gate down stops them.
func (c *ServeCmd) Run(ctx context.Context, g *Globals) error {
	s, err := g.open(ctx, c.Environment)
	if err != nil {
		return err
	}
	defer s.close()
	e, err := s.environment(c.Environment)
	if err != nil {
		return err
	}
	if c.Unit {
		return s.unit(e)
	}
	v, err := version()
	if err != nil {
		return err
	}
	// It outlives whoever started it, and must keep no folder of theirs busy.
	if err := os.Chdir("/"); err != nil {
		return err
	}
	opt := local.Options{
		Paths: s.paths(c.Environment), App: s.decl.App.Name, Ledger: s.ledger.ID(), Declared: e, Store: s.store,
		Cache: s.cache, Getenv: g.Getenv, Version: v, Log: s.log, Now: time.Now,
	}
	d, err := c.openDaemon(ctx, opt)
	if err != nil {
		return err
	}
	poke := make(chan struct{}, 1)
	engine := &promotion.Engine{
		Environment: c.Environment, Journal: s.journal, Judge: s.judge, Target: d, Log: s.log,
		Now: time.Now, Tick: 500 * time.Millisecond, Poke: poke,
	}
	s.log.Info("serving", "environment", c.Environment, "address", e.Listen, "version", v)
	return d.Run(ctx,
		func(ctx context.Context) error {
			return d.ServeAdmin(ctx, func() {
				select {
				case poke <- struct{}{}:
				default:
				}
			})
		},
		engine.Run,
	)
}

// openDaemon opens it at once, or takes the listener of the one that runs and
// waits until that has let go of the rest.
func (c *ServeCmd) openDaemon(ctx context.Context, opt local.Options) (*local.Daemon, error) {
	if !c.TakeOver {
		return local.Open(ctx, opt)
	}
	var l net.Listener
	l, err := local.TakeOver(ctx, opt.Paths)
	if err != nil && !errors.Is(err, local.ErrNoDaemon) {
		return nil, err
	}
	opt.Listener = l
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(20 * time.Second)
	for {
		d, err := local.Open(ctx, opt)
		if !errors.Is(err, local.ErrRunning) || time.Now().After(deadline) {
			return d, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}

// unit prints a systemd unit. KillMode=process leaves PostgreSQL and the
// instances alone when the daemon is restarted.
func (s *session) unit(e *environments.Environment) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	fmt.Fprintf(s.Out, unitText, s.decl.App.Name, e.Name, s.clone.Root, s.state, s.cache, self, e.Name)
	return nil
}

const unitText = `[Unit]
Description=gate: %s, environment %s
After=network-online.target
Wants=network-online.target

[Service]
Type=exec
WorkingDirectory=%s
Environment=GATE_STATE=%s
Environment=GATE_CACHE=%s
ExecStart=%s serve %s --take-over
# Only the daemon is stopped: PostgreSQL and the instances serve on and are
# adopted by the next one.
KillMode=process
KillSignal=SIGTERM
TimeoutStopSec=30
Restart=always
RestartSec=1
LimitNOFILE=65536

[Install]
WantedBy=multi-user.target
`
