package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/target/local"
	"github.com/smartcloudops/gate/pipeline/target/local/secrets/awssm"
)

// ServeCmd runs the daemon of an environment in the foreground.
type ServeCmd struct {
	Environment string        `arg:"" help:"The environment to run."`
	TakeOver    bool          `help:"Take over from a daemon that runs, without a request noticing."`
	Unit        bool          `help:"Print a systemd unit for the daemon, instead of running it."`
	Sync        time.Duration `default:"15s" help:"How often the ledger is brought together with its remote, where one is declared."`
	Claim       bool          `help:"Execute here what a daemon on another machine has executed. It must be gone for good: what it left unfinished is ended."`
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
	if c.Sync <= 0 {
		return &Exit{promotion.CodeUsage, fmt.Errorf("--sync %s is no interval", c.Sync)}
	}
	if err := c.belongs(ctx, s); err != nil {
		return err
	}
	v, err := s.identity()
	if err != nil {
		return err
	}
	// It outlives whoever started it, and must keep no folder of theirs busy.
	if err := os.Chdir("/"); err != nil {
		return err
	}
	opt := local.Options{
		Paths: s.paths(c.Environment), App: s.decl.App.Name, Ledger: s.ledger.ID(), Declared: e, Store: s.store,
		Cache: s.cache, Getenv: g.Getenv, Version: v, Log: s.log, Now: time.Now, Hold: true, Reserve: s.reserve,
		AWS:    awssm.New,
		Record: s.uptime(e), Operations: s.operations(c.Environment),
	}
	overseer := s.overseer(e)
	opt.Notices = noticesOf(overseer)
	d, err := c.openDaemon(ctx, opt)
	if err != nil {
		return err
	}
	overseer.Status = d.Status
	wake := make(chan struct{}, 1)
	poke := func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	sync := newSyncer(s.journal, c.Sync, s.log, poke)
	s.journal.Appended = sync.soon
	s.judge.Branch = s.refreshed(s.judge.Branch)
	engine := &promotion.Engine{
		Environment: c.Environment, Journal: s.journal, Judge: s.judge, Target: d, Log: s.log,
		Now: time.Now, Tick: 500 * time.Millisecond, Poke: wake, Provide: s.provide, Refresh: s.refresh, Current: s.current(c.Environment), Claim: c.Claim,
		Degraded: overseer.Reasons,
	}
	overseer.Reconcile = func() {
		engine.Reconcile()
		poke()
	}
	s.log.Info("serving", "environment", c.Environment, "address", e.Listen, "version", v)
	return d.Run(ctx,
		func(ctx context.Context) error {
			return d.ServeAdmin(ctx, func() {
				poke()
				sync.soon()
			})
		},
		sync.run,
		engine.Run,
		overseer.Run,
		func(ctx context.Context) error {
			hangup := make(chan os.Signal, 1)
			signal.Notify(hangup, syscall.SIGHUP)
			defer signal.Stop(hangup)
			for {
				select {
				case <-ctx.Done():
					return nil
				case <-hangup:
					d.Reread()
				}
			}
		},
	)
}

// belongs refuses to begin an environment here that is executed elsewhere, or by
// a machine that nobody trusts to. One that serves here already goes on: what
// its engine may do, it finds out itself.
func (c *ServeCmd) belongs(ctx context.Context, s *session) error {
	err := s.executes(ctx, c.Environment)
	if err == nil || c.Claim && errors.Is(err, promotion.ErrElsewhere) {
		return nil
	}
	if token, terr := s.served(c.Environment); terr == nil && token > 0 {
		return nil
	}
	return err
}

// served is the highest fencing token that the environment has seen here.
func (s *session) served(environment string) (int64, error) {
	return local.Served(s.paths(environment))
}

// openDaemon opens it at once, or takes the listener of the one that runs and
// waits until that has let go of the rest.
func (c *ServeCmd) openDaemon(ctx context.Context, opt local.Options) (*local.Daemon, error) {
	if !c.TakeOver {
		return local.Open(ctx, opt)
	}
	var l net.Listener
	l, key, err := local.TakeOver(ctx, opt.Paths)
	if err != nil && !errors.Is(err, local.ErrNoDaemon) {
		return nil, err
	}
	opt.Listener, opt.Predecessor = l, key
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
# adopted by the next one, and a holder keeps the socket open until then.
KillMode=process
KillSignal=SIGTERM
TimeoutStopSec=30
Restart=always
RestartSec=1
LimitNOFILE=65536

[Install]
WantedBy=multi-user.target
`
