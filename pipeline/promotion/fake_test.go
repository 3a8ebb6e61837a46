package promotion

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/pipeline/target/conformance"
)

// call is one command that the target was given.
type call struct {
	Op    string
	Token int64
	Rev   string
}

// fake is a target in memory. It keeps the contract: it fences, and does
// nothing twice. What the releases are like, its fields say.
type fake struct {
	mu sync.Mutex

	environment string
	stable      *target.Revision
	canary      *target.Revision
	warm        *target.Revision
	baseline    *target.Revision
	weight      int
	token       int64
	restarts    int
	migrated    map[string]int // release → how often
	notEmpty    bool           // the database was somebody's before

	calls   []call
	serving []string // every release that was ever stable, in order

	fail                  map[string]error     // command → what it fails with
	crashing              map[string]bool      // releases whose instances end under all traffic
	samples               map[string][2]int64  // release → requests and errors as a canary
	observed              []target.Observation // since the canary was started
	earnest               bool                 // nothing is observed but what a test has observed
	keep                  int                  // observations that are kept; 0: all
	canaries              int64                // that were started
	before                func(op string)      // called before a command has its effect
	after                 func(op string)      // and after
	unready, unmigratable string               // releases

	probed   map[string]int                     // arm → synthetic requests
	requests map[string][]environments.Endpoint // arm → what they were
	asked    int                                // clients' requests
	counts   map[string]int                     // those since the canary was started, by arm
}

func newFake(environment string) *fake {
	return &fake{
		environment: environment, migrated: map[string]int{}, fail: map[string]error{}, crashing: map[string]bool{},
		samples: map[string][2]int64{}, probed: map[string]int{},
	}
}

func (f *fake) command(ctx context.Context, op string, token int64, rev *target.Revision, effect func() error) error {
	f.mu.Lock()
	c := call{Op: op, Token: token}
	if rev != nil {
		c.Rev = rev.Release
	}
	f.calls = append(f.calls, c)
	before, after := f.before, f.after
	f.mu.Unlock()
	if before != nil {
		before(op)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	err := f.locked(func() error {
		if token < f.token {
			return fmt.Errorf("%w: token %d, and %d was seen", target.ErrFenced, token, f.token)
		}
		f.token = token
		if err := f.fail[op]; err != nil {
			return err
		}
		return effect()
	})
	if after != nil {
		after(op)
	}
	return err
}

func (f *fake) locked(do func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return do()
}

func id(r *target.Revision) string {
	if r == nil {
		return ""
	}
	return r.ID()
}

func released(r *target.Revision) string {
	if r == nil {
		return ""
	}
	return r.Release
}

func (f *fake) serve(r *target.Revision) {
	f.stable = r
	f.serving = append(f.serving, released(r))
}

func (f *fake) Migrate(ctx context.Context, token int64, rev target.Revision) error {
	return f.command(ctx, "migrate", token, &rev, func() error {
		if rev.Release == f.unmigratable {
			return target.ErrMigration
		}
		f.migrated[rev.Release]++
		return nil
	})
}

func (f *fake) StartCanary(ctx context.Context, token int64, rev target.Revision, weight int) error {
	return f.command(ctx, "canary", token, &rev, func() error {
		if rev.Release == f.unready {
			return target.ErrNotReady
		}
		if weight != 100 && (weight < 1 || weight > 50) {
			return fmt.Errorf("a canary gets no %d percent", weight)
		}
		if id(f.canary) != rev.ID() {
			f.canaries++
			f.observed, f.counts = nil, map[string]int{}
		}
		f.canary, f.weight, f.baseline = &rev, weight, f.stable
		if weight == 100 {
			f.baseline = nil
		}
		return nil
	})
}

func (f *fake) Complete(ctx context.Context, token int64, rev target.Revision) error {
	return f.command(ctx, "complete", token, &rev, func() error {
		if id(f.stable) == rev.ID() {
			return nil
		}
		if rev.Release == f.unready {
			return target.ErrNotReady
		}
		f.warm, f.canary, f.baseline, f.weight = f.stable, nil, nil, 0
		f.serve(&rev)
		return nil
	})
}

func (f *fake) Withdraw(ctx context.Context, token int64) error {
	return f.command(ctx, "withdraw", token, nil, func() error {
		f.canary, f.baseline, f.weight = nil, nil, 0
		if f.warm != nil {
			f.serve(f.warm)
			f.warm = nil
		}
		return nil
	})
}

func (f *fake) Retire(ctx context.Context, token int64) error {
	return f.command(ctx, "retire", token, nil, func() error {
		f.warm, f.baseline = nil, nil
		return nil
	})
}

func (f *fake) Status(ctx context.Context) (target.Status, error) {
	if err := ctx.Err(); err != nil {
		return target.Status{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fail["status"]; err != nil {
		return target.Status{}, err
	}
	if f.crashing[released(f.stable)] && f.warm != nil {
		f.restarts++
	}
	var schema *target.Schema
	if f.stable != nil {
		schema = &target.Schema{Release: f.stable.Release, Left: "md5:1", Now: "md5:1"}
	}
	return target.Status{
		Schema: schema, Environment: f.environment, Revision: id(f.stable), Stable: released(f.stable), Canary: released(f.canary),
		Warm: released(f.warm), Weight: f.weight, Token: f.token, Restarts: f.restarts,
		Instances: slices.Concat(restarted(instances("stable", f.stable), f.restarts), instances("baseline", f.baseline), f.canaryInstances(), instances("warm", f.warm)),
		Empty:     !f.notEmpty && len(f.migrated) == 0,
	}, nil
}

func instances(role string, r *target.Revision) (out []target.Instance) {
	if r == nil {
		return nil
	}
	n := r.Environment.Instances.Min
	if role == "canary" || role == "baseline" {
		n = 1
	}
	name := role
	if role == "stable" || role == "warm" {
		name = "" // they keep theirs when they lose the traffic, or get it back
	}
	for i := range n {
		out = append(out, target.Instance{ID: fmt.Sprintf("%.12s-%s%d", r.Release, name, i), Release: r.Release, Role: role, Health: target.Healthy})
	}
	return out
}

// canaryInstances are as many as the stable ones with all traffic.
// restarted is the first of the instances, ended unasked n times.
func restarted(all []target.Instance, n int) []target.Instance {
	if len(all) > 0 {
		all[0].Restarts = n
	}
	return all
}

func (f *fake) canaryInstances() []target.Instance {
	all := instances("canary", f.canary)
	if f.weight == 100 && f.canary != nil {
		for i := len(all); i < f.canary.Environment.Instances.Min; i++ {
			in := all[0]
			in.ID = fmt.Sprintf("%.12s-canary%d", in.Release, i)
			all = append(all, in)
		}
	}
	return all
}

const baselineP99 = 0.04

func (f *fake) Arms(ctx context.Context) (target.Arms, error) {
	if err := ctx.Err(); err != nil {
		return target.Arms{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fail["arms"]; err != nil {
		return target.Arms{}, err
	}
	arm := func(r *target.Revision) target.Arm {
		n, ok := f.samples[released(r)]
		if !ok {
			n = [2]int64{3000, 0}
		}
		return target.Arm{Release: released(r), Requests: n[0], Errors: n[1], Mean: 0.01, P50: 0.01, P95: 0.02, P99: 0.03}
	}
	if f.asked > 0 { // in earnest
		count := func(name string, r *target.Revision) target.Arm {
			return target.Arm{Release: released(r), Requests: int64(f.counts[name])}
		}
		return target.Arms{
			Since:  time.Unix(1_700_000_000, 0).UTC(),
			Stable: count("stable", f.stable), Baseline: count("baseline", f.baseline), Canary: count("canary", f.canary),
		}, nil
	}
	arms := target.Arms{Since: time.Unix(1_700_000_000, 0).UTC(), Stable: arm(f.stable)}
	if f.canary != nil {
		arms.Canary = arm(f.canary)
	}
	if f.baseline != nil {
		arms.Baseline = arm(f.baseline)
		arms.Baseline.P99 = baselineP99 // to tell them apart
	}
	return arms, nil
}

// Observe implements target.Observer: what was observed, and lost what is more
// than it keeps.
func (f *fake) Observe(ctx context.Context, cursor int64) (seen []target.Observation, next, lost int64, err error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fail["observe"]; err != nil {
		return nil, 0, 0, err
	}
	if f.canary == nil {
		return nil, 0, 0, errors.New("no canary is observed")
	}
	if !f.earnest {
		f.sampled()
	}
	n := int64(len(f.observed))
	from, first := cursor&(1<<40-1), int64(0)
	if f.keep > 0 {
		first = max(0, n-int64(f.keep))
	}
	if cursor != 0 && cursor>>40 != f.canaries || from > n {
		from, lost = 0, 1
	}
	if from < first {
		from, lost = first, lost+first-from
	}
	return slices.Clone(f.observed[from:]), f.canaries<<40 | n, lost, nil
}

// sampled observes as many requests of each arm as the canary has samples, its
// errors spread over them.
func (f *fake) sampled() {
	n, ok := f.samples[f.canary.Release]
	if !ok {
		n = [2]int64{3000, 0}
	}
	for i := int64(len(f.observed)) / 2; i < n[0]; i++ {
		seconds := 0.01 + 0.001*float64(i%7)
		f.observed = append(f.observed,
			target.Observation{Arm: "baseline", Class: "GET /", Seconds: seconds},
			target.Observation{Arm: "canary", Class: "GET /", Seconds: seconds, Error: (i+1)*n[1]/n[0] != i*n[1]/n[0]})
	}
}

// observe adds requests to what is observed.
func (f *fake) observe(all ...target.Observation) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.observed = append(f.observed, all...)
}

// ask is one client's request, dealt out by the weights.
func (f *fake) ask(class string) (release string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	arm, release := "stable", released(f.stable)
	if f.canary != nil {
		switch place := f.asked%2*50 + f.asked/2*37%50; {
		case place < f.weight:
			arm, release = "canary", f.canary.Release
		case f.baseline != nil && place >= 50 && place-50 < f.weight:
			arm = "baseline"
		}
	}
	if f.counts != nil {
		f.counts[arm]++
	}
	if arm != "stable" {
		f.observed = append(f.observed, target.Observation{Arm: arm, Class: class, Seconds: 0.001})
	}
	return release
}

// Probe implements Prober.
func (f *fake) Probe(ctx context.Context, arm string, r environments.Endpoint) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.probed[arm]++
	if f.requests == nil {
		f.requests = map[string][]environments.Endpoint{}
	}
	f.requests[arm] = append(f.requests[arm], r)
	if arm == "canary" || arm == "baseline" {
		f.observed = append(f.observed, target.Observation{Arm: arm, Class: r.Method + " /", Error: r.Expect.Status != 200, Seconds: 0.001, Synthetic: true})
	}
	if r.Method != "GET" || r.Path == "" || r.Body != "" {
		return errors.New("not what was declared")
	}
	return nil
}

// TestFakeConforms: what the other tests prove on the fake holds for targets.
func TestFakeConforms(t *testing.T) {
	rev := func(c byte) target.Revision { return releaseRecord(c).Revision("production") }
	f := newFake("production")
	f.unready, f.unmigratable, f.earnest = digest('c'), digest('d'), true
	conformance.Run(t, func(*testing.T) target.Target { return f }, conformance.Releases{
		First: rev('a'), Second: rev('b'), Unready: rev('c'), Unmigratable: rev('d'),
		Ask: func(*testing.T) string { return f.ask("GET /") },
	})
}

// ops are the commands so far, in order.
func (f *fake) ops() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, c := range f.calls {
		out = append(out, c.Op)
	}
	return out
}

// served are the releases that were ever stable, in order.
func (f *fake) served() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.serving)
}

// clone is the same target in a world of its own.
func (f *fake) clone() *fake {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := newFake(f.environment)
	n.stable, n.canary, n.warm, n.weight, n.token, n.restarts, n.notEmpty = f.stable, f.canary, f.warm, f.weight, f.token, f.restarts, f.notEmpty
	n.baseline, n.canaries, n.keep, n.observed, n.earnest = f.baseline, f.canaries, f.keep, slices.Clone(f.observed), f.earnest
	for k, v := range f.migrated {
		n.migrated[k] = v
	}
	n.serving = slices.Clone(f.serving)
	return n
}
