package promotion

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/policies"
)

// inspection measures what the target knows of its instances.
type inspection struct {
	target target.Target
	want   map[string]policies.Bound
	least  int64         // requests to each arm, before lines are compared with them
	window time.Duration // over which processors are looked at, at least

	first map[string]target.Usage // instance → as it was when it was first seen
	since time.Time
}

// perArm are sums over the instances of an arm.
type perArm struct {
	n             int
	cpu, memory   float64 // processors, bytes
	lines, errors int64
}

func (i *inspection) measure(ctx context.Context) []Input {
	o, ok := i.target.(target.Inspector)
	if !ok {
		return i.all("the target does not tell what its instances use")
	}
	now := time.Now() // by the clock that nobody sets
	seen, err := o.Inspect(ctx)
	if err != nil {
		return i.all(oneLine(err))
	}
	arms := map[string]*perArm{"baseline": {}, "canary": {}}
	anew := len(seen) != len(i.first)
	for _, u := range seen {
		if arms[u.Arm] == nil {
			return i.all(fmt.Sprintf("instance %s is of neither arm", u.Instance))
		}
		if u.PID == 0 {
			return i.all(fmt.Sprintf("instance %s does not run", u.Instance))
		}
		anew = anew || i.first[u.Instance].PID != u.PID
	}
	if anew {
		i.first, i.since = map[string]target.Usage{}, now
		for _, u := range seen {
			i.first[u.Instance] = u
		}
	}
	for _, u := range seen {
		a := arms[u.Arm]
		a.n++
		if took := now.Sub(i.since); took > 0 {
			a.cpu += (u.CPU - i.first[u.Instance].CPU).Seconds() / took.Seconds()
		}
		a.memory += float64(u.Memory)
		a.lines += u.Lines
		a.errors += u.Errors
	}
	base, can := arms["baseline"], arms["canary"]
	if base.n == 0 || can.n == 0 {
		return i.all("there are no instances of both arms")
	}
	var out []Input
	for _, name := range slices.Sorted(maps.Keys(i.want)) {
		switch name {
		case inputCPU:
			if now.Sub(i.since) < i.window {
				out = append(out, unknown(name, kindSaturation, "it is not looked at for long enough yet"))
				continue
			}
			out = append(out, beside(name, kindSaturation, can.cpu/float64(can.n), base.cpu/float64(base.n)))
		case inputMemory:
			out = append(out, beside(name, kindSaturation, can.memory/float64(can.n), base.memory/float64(base.n)))
		case kindErrorLogs:
			out = append(out, i.logged(ctx, base, can))
		}
	}
	return out
}

// logged are lines at level error for each 1,000 requests.
func (i *inspection) logged(ctx context.Context, base, can *perArm) Input {
	if base.lines == 0 || can.lines == 0 {
		// Silence is no proof: it may be a log that nobody can read.
		return unknown(kindErrorLogs, kindErrorLogs, "the log of one arm holds no line of JSON with a level")
	}
	arms, err := i.target.Arms(ctx)
	if err != nil {
		return unknown(kindErrorLogs, kindErrorLogs, oneLine(err))
	}
	n, m := arms.Canary.Requests, arms.Baseline.Requests
	if least := max(i.least, 1); n < least || m < least {
		return unknown(kindErrorLogs, kindErrorLogs, fmt.Sprintf("%d requests to the canary and %d to the baseline, at least %d", n, m, least))
	}
	return beside(kindErrorLogs, kindErrorLogs, 1000*float64(can.errors)/float64(n), 1000*float64(base.errors)/float64(m))
}

// all are the inputs that the target is asked for, none of them known.
func (i *inspection) all(why string) []Input {
	var out []Input
	for _, name := range []string{inputCPU, inputMemory, kindErrorLogs} {
		if b, ok := i.want[name]; ok {
			out = append(out, unknown(name, b.Kind, why))
		}
	}
	return out
}

// beside is an input with the same of the baseline.
func beside(name, kind string, v, baseline float64) Input {
	in := number(name, kind, v)
	if in.Known {
		in.Baseline = &baseline
	}
	return in
}
