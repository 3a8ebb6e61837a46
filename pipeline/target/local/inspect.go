package local

import (
	"context"
	"fmt"
	"slices"

	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/pipeline/target/local/supervisor"
)

var _ target.Inspector = (*Daemon)(nil)

// Inspect implements target.Inspector.
func (d *Daemon) Inspect(context.Context) ([]target.Usage, error) {
	s := d.snapshot()
	var all []target.Usage
	for _, in := range d.sup.Instances() {
		u := target.Usage{Instance: in.ID, PID: in.PID}
		switch {
		case slices.Contains(s.Canary.Instances, in.ID):
			u.Arm = "canary"
		case slices.Contains(s.Baseline.Instances, in.ID):
			u.Arm = "baseline"
		default:
			continue
		}
		if u.PID > 0 {
			var err error
			if u.CPU, err = supervisor.CPUTime(u.PID); err != nil {
				return nil, err
			}
			if u.Memory, err = supervisor.Memory(u.PID); err != nil {
				return nil, err
			}
		}
		c, err := d.written.of(in.ID, func() ([]string, error) { return d.sup.LogFiles(in.ID) })
		if err != nil {
			return nil, fmt.Errorf("log of instance %s: %w", in.ID, err)
		}
		u.Lines, u.Errors = c.lines, c.errors
		all = append(all, u)
	}
	d.written.keep(all)
	return all, nil
}
