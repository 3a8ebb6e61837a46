package local

import (
	"context"
	"crypto/tls"
	"time"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/target/local/certs"
)

const (
	orderTick  = time.Second
	orderAgain = time.Minute // after a failure; doubled with each more
	orderMost  = 6 * time.Hour
)

// ordered makes an ACME authority's certificate the one that is presented. Until
// it has issued one, what was presented before goes on.
func (d *Daemon) ordered(e *environments.Environment) (*certs.Ordered, error) {
	var meanwhile *tls.Certificate
	if get := d.pairs.Load(); get != nil {
		meanwhile, _ = (*get)(nil)
	}
	a := e.TLS.ACME
	return certs.Order(d.paths.dir("acme"), e.TLS.Names, certs.ACME{Directory: a.Directory, Email: a.Email, Roots: a.Roots}, meanwhile, d.opt.Now())
}

// order orders certificates when they are due. Trouble with the authority is
// shown, and takes nothing from what is served.
func (d *Daemon) order(ctx context.Context) error {
	tick := time.NewTicker(orderTick)
	defer tick.Stop()
	var of *certs.Ordered
	var next time.Time
	wait := orderAgain
	for {
		now := d.opt.Now()
		d.mu.Lock()
		o := d.orders
		d.mu.Unlock()
		if o != of {
			// Declared anew: what went wrong before is no longer of interest.
			of, next, wait = o, time.Time{}, orderAgain
			d.trouble("certificate", "")
		}
		if o != nil && !now.Before(next) && o.Due(now) {
			if err := o.Renew(ctx, now); err == nil {
				d.opt.Log.Info("certificate was issued", "until", o.Certificate().Leaf.NotAfter)
				d.trouble("certificate", "")
				wait = orderAgain
			} else if ctx.Err() == nil {
				d.opt.Log.Error("certificate", "error", err, "again_in", wait)
				d.trouble("certificate", err.Error())
				next, wait = d.opt.Now().Add(wait), min(2*wait, orderMost)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// trouble notes what goes wrong beside serving; empty: nothing.
func (d *Daemon) trouble(about, what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.troubles[about] = what
}
