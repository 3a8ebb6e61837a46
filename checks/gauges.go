package checks

import "context"

// Gauger reads what an environment uses of its machine and its database.
type Gauger interface {
	Gauges(ctx context.Context) (Gauges, error)
}

// Checkpointer has an environment's database write all that is dirty to disk.
type Checkpointer interface {
	// Checkpoint forces a CHECKPOINT, as fast as the disk goes, and returns when it
	// is done. It fails where the role may not do it.
	Checkpoint(ctx context.Context) error
}

// Gauges are one reading. Processor times are in seconds, ever: what is used
// between two readings is their difference.
type Gauges struct {
	Processors int             `json:"processors"` // of the machine
	Busy       float64         `json:"busy"`       // processor time of the whole machine, whoever used it
	Balancer   float64         `json:"balancer"`   // of the process that balances
	Instances  []InstanceGauge `json:"instances"`
	Database   *DatabaseGauge  `json:"database,omitempty"` // nil: it could not be read
}

// InstanceGauge is one instance.
type InstanceGauge struct {
	ID         string  `json:"id"`
	PID        int     `json:"pid"` // a new process counts from 0 again
	Used       float64 `json:"used"`
	Processors int     `json:"processors"` // that it may run on
}

// DatabaseGauge is what the database's own statistics say of the app's
// connections.
type DatabaseGauge struct {
	Used        float64 `json:"used"`        // processor time of its processes; 0: it runs elsewhere
	Connections int     `json:"connections"` // of the app
	Active      int     `json:"active"`      // of those, in a statement or a transaction
	Waiting     int     `json:"waiting"`     // of those, for a lock
	Server      int     `json:"server"`      // of everybody
	Limit       int     `json:"limit"`       // that the server lets anybody but superusers have
}

// Usage is what was used between two readings. Shares are of all of the
// machine's processors, 0 to 1; counts are means of all readings between.
type Usage struct {
	Readings    int     `json:"readings"`
	Machine     float64 `json:"machine"`
	Instances   float64 `json:"instances"`
	Database    float64 `json:"database"`
	Balancer    float64 `json:"balancer"`
	Generator   float64 `json:"generator"`
	Others      float64 `json:"others"`  // processes that have nothing to do with it
	Busiest     float64 `json:"busiest"` // instance, of the processors that it may run on
	Running     int     `json:"running"` // instances at the end
	Connections float64 `json:"connections"`
	Active      float64 `json:"active"`
	Waiting     float64 `json:"waiting"`
	Server      float64 `json:"server"`
	Limit       int     `json:"limit"` // 0: the database could not be read
}

// usage is what was used between the first and the last reading, seconds apart.
// Generator is what this process used meanwhile, as a share of the machine. It
// is nil where there is nothing to tell a difference from.
func usage(readings []Gauges, seconds, generator float64) *Usage {
	if len(readings) < 2 || seconds <= 0 || readings[0].Processors < 1 {
		return nil
	}
	first, last := readings[0], readings[len(readings)-1]
	whole := seconds * float64(last.Processors)
	share := func(from, to float64) float64 { return min(max(to-from, 0)/whole, 1) }
	u := &Usage{
		Readings: len(readings), Machine: share(first.Busy, last.Busy), Balancer: share(first.Balancer, last.Balancer),
		Generator: generator, Running: len(last.Instances),
	}
	before := map[int]float64{}
	for _, in := range first.Instances {
		before[in.PID] = in.Used
	}
	for _, in := range last.Instances {
		u.Instances += share(before[in.PID], in.Used)
		if in.Processors > 0 {
			u.Busiest = max(u.Busiest, min((in.Used-before[in.PID])/(seconds*float64(in.Processors)), 1))
		}
	}
	n := 0.0
	var from, to *DatabaseGauge
	for _, r := range readings {
		if r.Database == nil {
			continue
		}
		if from == nil {
			from = r.Database
		}
		to = r.Database
		n++
		u.Connections += float64(r.Database.Connections)
		u.Active += float64(r.Database.Active)
		u.Waiting += float64(r.Database.Waiting)
		u.Server += float64(r.Database.Server)
	}
	if n > 0 {
		u.Connections, u.Active, u.Waiting, u.Server = u.Connections/n, u.Active/n, u.Waiting/n, u.Server/n
		u.Limit = to.Limit
		u.Database = share(from.Used, to.Used)
	}
	u.Others = max(0, u.Machine-u.Instances-u.Database-u.Balancer-u.Generator)
	return u
}
