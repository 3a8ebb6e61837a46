package promotion

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

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
	weight      int
	token       int64
	restarts    int
	migrated    map[string]int // release → how often
	notEmpty    bool           // the database was somebody's before

	calls   []call
	serving []string // every release that was ever stable, in order

	fail                  map[string]error    // command → what it fails with
	crashing              map[string]bool     // releases whose instances end under all traffic
	samples               map[string][2]int64 // release → requests and errors as a canary
	before                func(op string)     // called before a command has its effect
	after                 func(op string)     // and after
	unready, unmigratable string              // releases

	probed map[string]int // arm → synthetic requests
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
		f.canary, f.weight = &rev, weight
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
		f.warm, f.canary, f.weight = f.stable, nil, 0
		f.serve(&rev)
		return nil
	})
}

func (f *fake) Withdraw(ctx context.Context, token int64) error {
	return f.command(ctx, "withdraw", token, nil, func() error {
		f.canary, f.weight = nil, 0
		if f.warm != nil {
			f.serve(f.warm)
			f.warm = nil
		}
		return nil
	})
}

func (f *fake) Retire(ctx context.Context, token int64) error {
	return f.command(ctx, "retire", token, nil, func() error {
		f.warm = nil
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
	return target.Status{
		Environment: f.environment, Revision: id(f.stable), Stable: released(f.stable), Canary: released(f.canary),
		Warm: released(f.warm), Weight: f.weight, Token: f.token, Restarts: f.restarts,
		Instances: slices.Concat(instances("stable", f.stable), instances("canary", f.canary), instances("warm", f.warm)),
		Empty:     !f.notEmpty && len(f.migrated) == 0,
	}, nil
}

func instances(role string, r *target.Revision) (out []target.Instance) {
	if r == nil {
		return nil
	}
	n := r.Environment.Instances.Min
	if role == "canary" {
		n = 1
	}
	for i := range n {
		out = append(out, target.Instance{ID: fmt.Sprintf("%.12s-%d", r.Release, i), Release: r.Release, Role: role, Health: target.Healthy})
	}
	return out
}

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
	arms := target.Arms{Since: time.Unix(1_700_000_000, 0).UTC(), Stable: arm(f.stable)}
	if f.canary != nil {
		arms.Canary = arm(f.canary)
	}
	return arms, nil
}

// Observe implements target.Observer: as many requests of each arm as the canary
// has samples, its errors spread over them.
func (f *fake) Observe(ctx context.Context, cursor int64) (seen []target.Observation, next, lost int64, err error) {
	arms, err := f.Arms(ctx)
	if err != nil {
		return nil, 0, 0, err
	}
	n := arms.Canary.Requests
	for i := cursor; i < n; i++ {
		seconds := 0.01 + 0.001*float64(i%7)
		seen = append(seen,
			target.Observation{Arm: "baseline", Class: "GET /", Seconds: seconds},
			target.Observation{Arm: "canary", Class: "GET /", Seconds: seconds, Error: (i+1)*arms.Canary.Errors/n != i*arms.Canary.Errors/n})
	}
	return seen, max(cursor, n), 0, nil
}

// Probe implements Prober.
func (f *fake) Probe(ctx context.Context, arm, method, path, body string, headers map[string]string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.probed[arm]++
	if method != "GET" || path == "" || body != "" || len(headers) > 0 {
		return errors.New("not what was declared")
	}
	return nil
}

// TestFakeConforms: what the other tests prove on the fake holds for targets.
func TestFakeConforms(t *testing.T) {
	rev := func(c byte) target.Revision { return releaseRecord(c).Revision("production") }
	conformance.Run(t, func(*testing.T) target.Target {
		f := newFake("production")
		f.unready, f.unmigratable = digest('c'), digest('d')
		return f
	}, conformance.Releases{First: rev('a'), Second: rev('b'), Unready: rev('c'), Unmigratable: rev('d')})
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
	for k, v := range f.migrated {
		n.migrated[k] = v
	}
	n.serving = slices.Clone(f.serving)
	return n
}
