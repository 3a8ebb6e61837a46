package promotion

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/ledger"
	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/policies"
)

// Simulated: people ask for releases, good and bad ones, go back, hold; the
// engine carries it out on a model of a target and a ledger in memory, by a
// virtual clock; and what can go wrong does, by chance, with a seed. GATE_SEEDS
// says how many are tried; -seed tries one, and tells what happens.
var oneSeed = flag.Uint64("seed", 0, "the one seed that the simulation tries")

const ordinarySeeds = 400

func TestSimulation(t *testing.T) {
	if *oneSeed != 0 {
		simulate(t, *oneSeed, true)
		return
	}
	seeds := uint64(ordinarySeeds)
	if s := os.Getenv("GATE_SEEDS"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		must(t, err)
		seeds = n
	}
	started := time.Now()
	var sum simSum
	t.Run("seeds", func(t *testing.T) {
		const shards = 4
		for shard := range uint64(shards) {
			t.Run(fmt.Sprint(shard), func(t *testing.T) {
				t.Parallel()
				for seed := shard + 1; seed <= seeds; seed += shards {
					t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { sum.add(simulate(t, seed, false)) })
					if t.Failed() {
						return
					}
				}
			})
		}
	})
	t.Logf("%d seeds in %s: %v", seeds, time.Since(started).Round(time.Millisecond), sum.all)
	for _, s := range []string{"succeeded", "rolled_back", "failed", "errored", "aborted", "refused", "killed", "contract", "disk full", "remote away", "rollback"} {
		if sum.all[s] == 0 && !t.Failed() {
			t.Errorf("%s has not happened once", s)
		}
	}
}

// TestSimulationIsReplayable: a seed is the same world each time.
func TestSimulationIsReplayable(t *testing.T) {
	for seed := range uint64(12) {
		a, b := simulate(t, seed+1, false), simulate(t, seed+1, false)
		if a.story != b.story {
			t.Errorf("seed %d:\n%s\nand then\n%s", seed+1, a.story, b.story)
		}
	}
}

// simSum is what has happened in how many worlds.
type simSum struct {
	mu  sync.Mutex
	all map[string]int
}

func (s *simSum) add(r simResult) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[string]int{}
	}
	for k := range r.happened {
		s.all[k]++
	}
}

type simResult struct {
	happened map[string]bool
	story    string
}

func simulate(t *testing.T, seed uint64, aloud bool) (r simResult) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newSimWorld(t, seed)
		w.aloud = aloud
		w.run()
		r = simResult{w.happened, w.story()}
	})
	return r
}

// nature is what a release is like.
type simNature struct {
	fails, unsure                        int // round of the canary; 0: none
	unready, unmigratable, crashes, sick bool
	uncontractable                       bool
}

type span struct{ from, to time.Duration }

type simWorld struct {
	t           *testing.T
	seed        uint64
	aloud       bool
	environment string
	start       time.Time
	ledger      *simLedger
	target      *simTarget
	journal     *Journal // as somebody has it whom nothing happens to
	remote      string
	released    *View // of the releases alone: each process would fold the same
	natures     map[string]simNature
	lossy, slow float64

	diskFull, remoteAway, clock []span
	calm                        time.Duration // from then on nothing goes wrong any more

	said      sync.Mutex // for these
	happened  map[string]bool
	lastFault time.Time
	lines     []string

	state     sync.Mutex // for these, and those of the target
	verdictAt time.Time
	verdictOn string
	passed    map[int64]int
	failed    map[int64]bool
	ended     atomic.Bool
}

const simLetters = "abcdef"

func newSimWorld(t *testing.T, seed uint64) *simWorld {
	rng := rand.New(rand.NewPCG(seed, 1))
	w := &simWorld{
		t: t, seed: seed, environment: "production", start: time.Now(), natures: map[string]simNature{}, happened: map[string]bool{},
		passed: map[int64]int{}, failed: map[int64]bool{}, calm: time.Duration(60+rng.IntN(90)) * time.Second,
	}
	if rng.IntN(5) == 0 {
		w.environment = "staging"
	}
	if rng.IntN(3) == 0 {
		w.remote = "somewhere"
	}
	if rng.IntN(4) > 0 {
		w.lossy, w.slow = rng.Float64()*0.06, rng.Float64()*0.1
	}
	spans := func(n int) (out []span) {
		for range n {
			from := time.Duration(rng.IntN(int(w.calm)))
			out = append(out, span{from, min(from+time.Duration(rng.IntN(int(25*time.Second))), w.calm)})
		}
		return out
	}
	w.diskFull, w.remoteAway, w.clock = spans(rng.IntN(3)), spans(rng.IntN(3)), spans(rng.IntN(3))
	w.ledger = &simLedger{world: w}
	_, err := w.ledger.append([]ledger.Statement{{Type: "the ledger's beginning"}}, nil)
	must(t, err)
	w.target = newSimTarget(w)
	w.journal = &Journal{in: simAccess{w.ledger, nil}, Now: time.Now}
	for i, c := range simLetters {
		n := simNature{}
		if i > 0 {
			switch rng.IntN(12) {
			case 0, 1:
				n.fails = 1 + rng.IntN(3)
			case 2:
				n.unsure = 1 + rng.IntN(3)
			case 3:
				n.unready = true
			case 4:
				n.unmigratable = true
			case 5:
				n.crashes = true
			case 6:
				n.sick = true
			case 7:
				n.uncontractable = true
			}
		}
		w.natures[digest(byte(c))] = n
		_, err = w.journal.Release(t.Context(), w.release(rng, byte(c)))
		must(t, err)
	}
	w.released, err = w.journal.View(t.Context())
	must(t, err)
	return w
}

// release is what commit c became, with declarations of its own.
func (w *simWorld) release(rng *rand.Rand, c byte) *ReleaseRecord {
	return releaseRecord(c, func(r *ReleaseRecord) {
		p := &r.Declarations.Environment("production").Promotion
		comparison := environments.Canary{Weight: 100, MinSamples: 1, Limit: environments.Duration(8003 * time.Millisecond)}
		p.Canary, p.Soak = &comparison, environments.Duration(rng.IntN(3))*environments.Duration(3007*time.Millisecond)
		if n := rng.IntN(4); n > 0 {
			p.Canary = nil
			for i := range n {
				comparison.Weight = 5 + 15*i
				p.Steps = append(p.Steps, comparison)
			}
		}
		if rng.IntN(6) == 0 {
			r.Declarations.App.Migrate = nil
			return
		}
		if rng.IntN(3) == 0 {
			name := "contract-" + string(c)
			r.Declarations.App.Migrate.Contract = &environments.Contract{Name: name, Args: []string{"contract"}}
			for _, e := range r.Declarations.Environments {
				e.Config["CONTRACT"] = name
			}
		}
	})
}

func (w *simWorld) nature(release string) simNature { return w.natures[release] }

func (w *simWorld) view() *View {
	v, err := w.journal.View(context.Background())
	if err != nil {
		w.fail("the ledger does not fold: %v", err)
		return NewView()
	}
	return v
}

func (w *simWorld) desired() *target.Revision {
	v := w.view()
	r := v.Releases[v.Environment(w.environment).Desired]
	if r == nil {
		return nil
	}
	rev := r.Revision(w.environment)
	return &rev
}

func (w *simWorld) during(all []span) bool {
	at := time.Since(w.start)
	return slices.ContainsFunc(all, func(s span) bool { return s.from <= at && at < s.to })
}

func (w *simWorld) trace(format string, args ...any) {
	line := fmt.Sprintf("%10s %s", time.Since(w.start), fmt.Sprintf(format, args...))
	w.said.Lock()
	defer w.said.Unlock()
	w.lines = append(w.lines, line)
	if w.aloud {
		w.t.Log(line)
	}
}

func (w *simWorld) faulty(what string) {
	w.trace("fault: %s", what)
	w.saw(what)
	w.said.Lock()
	defer w.said.Unlock()
	w.lastFault = time.Now()
}

func (w *simWorld) saw(what string) {
	w.said.Lock()
	defer w.said.Unlock()
	w.happened[what] = true
}

func (w *simWorld) faultySince(t time.Time) bool {
	w.said.Lock()
	defer w.said.Unlock()
	return !w.lastFault.Before(t)
}

func (w *simWorld) fail(format string, args ...any) {
	w.t.Errorf("%s: %s\nreplay: go test -run 'TestSimulation$' ./pipeline/promotion -seed %d", time.Since(w.start), fmt.Sprintf(format, args...), w.seed)
}

// simLife is one process of an engine, from its start until it is killed.
type simLife struct {
	world  *simWorld
	rng    *rand.Rand
	dead   atomic.Bool
	left   int // moments until it is killed; 0: it is not
	cancel context.CancelFunc
}

var errSimDead = errors.New("this process was killed")

// point is a moment at which the process may be killed.
func (l *simLife) point(ctx context.Context, what string) error {
	if l.dead.Load() {
		return errSimDead
	}
	if l.left > 0 {
		if l.left--; l.left == 0 {
			l.kill(what)
			return errSimDead
		}
	}
	return ctx.Err()
}

func (l *simLife) kill(what string) {
	if l.dead.Swap(true) {
		return
	}
	l.world.faulty("killed")
	l.world.trace("killed %s", what)
	l.cancel()
}

func (l *simLife) chance(p float64) bool {
	return time.Since(l.world.start) < l.world.calm && l.rng.Float64() < p
}

// engine is one of the process.
func (w *simWorld) engine(l *simLife) *Engine {
	m := simTargetOf{w.target, l}
	e := &Engine{
		Environment: w.environment, Journal: &Journal{in: simAccess{w.ledger, l}, Now: w.now, view: w.released}, Target: m, Now: w.now, Tick: 500 * time.Millisecond,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if w.aloud {
		e.Log = slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	e.decide = func(_ context.Context, v *View, rec *ReleaseRecord) (DecisionRecord, error) {
		return simDecision(rec, policies.Pass), nil
	}
	e.compare = func(_ context.Context, rec *ReleaseRecord, round int, arms target.Arms) (DecisionRecord, error) {
		return simDecision(rec, w.compare(rec, round, arms)), nil
	}
	return e
}

// now is a clock that is set to and fro.
func (w *simWorld) now() time.Time {
	if w.during(w.clock) {
		w.saw("clock")
		return time.Now().Add(-3 * time.Hour)
	}
	return time.Now()
}

func simDecision(rec *ReleaseRecord, v policies.Verdict) DecisionRecord {
	return DecisionRecord{Decision: policies.Decision{ID: "sha256:" + strings.Repeat("9", 64), Release: rec.Release, Verdict: v}}
}

// compare is what a policy would say.
func (w *simWorld) compare(rec *ReleaseRecord, round int, arms target.Arms) policies.Verdict {
	n, after := w.nature(rec.Release), time.Since(arms.Since)
	a := w.view().Environment(w.environment).Active
	w.state.Lock()
	defer w.state.Unlock()
	soaking := arms.Canary.Release == arms.Stable.Release || w.target.canary == nil
	verdict := policies.Inconclusive
	switch {
	case a == nil || after < 1700*time.Millisecond:
		return verdict
	case soaking && n.sick, !soaking && n.fails == round:
		verdict = policies.Fail
		w.failed[a.Token] = true
		if w.verdictAt.IsZero() {
			w.verdictAt, w.verdictOn = time.Now(), rec.Release
		}
	case !soaking && n.unsure != round:
		verdict = policies.Pass
		w.passed[a.Token] = max(w.passed[a.Token], round)
	}
	return verdict
}

// run lives through it all, and looks at what is left.
func (w *simWorld) run() {
	people := make(chan struct{})
	go func() {
		defer close(people)
		w.people(rand.New(rand.NewPCG(w.seed, 2)))
	}()
	over := make(chan struct{})
	go func() {
		defer close(over)
		w.lives(rand.New(rand.NewPCG(w.seed, 3)))
	}()
	<-people
	time.Sleep(max(0, w.calm-time.Since(w.start)))
	for n := 0; !w.quiet(); n++ {
		if n > 600 {
			w.fail("it never comes to rest: %+v", w.view().Environment(w.environment).Active)
			break
		}
		time.Sleep(time.Second)
	}
	time.Sleep(15 * time.Second) // for what the target and the branch still have to be told
	w.ended.Store(true)
	<-over
	w.check()
}

func (w *simWorld) quiet() bool {
	v := w.view()
	pending, err := w.journal.Pending(context.Background(), v, w.environment)
	must(w.t, err)
	return len(pending) == 0 && v.Environment(w.environment).Active == nil
}

// lives are one process after the other.
func (w *simWorld) lives(rng *rand.Rand) {
	for n := 0; ; n++ {
		ctx, cancel := context.WithCancel(context.Background())
		l := &simLife{world: w, rng: rng, cancel: cancel}
		stop := make(chan struct{})
		if n < 6 && rng.IntN(3) > 0 {
			l.left = 1 + rng.IntN(60)
		}
		when := time.Duration(1+rng.IntN(100))*time.Second + 77*time.Microsecond
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			tick := time.NewTicker(time.Second + 13*time.Microsecond)
			defer tick.Stop()
			at := time.After(when)
			for {
				select {
				case <-stop:
					return
				case <-tick.C:
					if w.ended.Load() {
						cancel()
						return
					}
				case <-at:
					if n < 6 && time.Since(w.start) < w.calm {
						l.kill("at some time")
						return
					}
				}
			}
		}()
		err := w.engine(l).Run(ctx)
		close(stop)
		<-watched
		cancel()
		if err != nil {
			w.fail("the engine ended with %v", err)
		}
		if w.ended.Load() {
			return
		}
		time.Sleep(time.Duration(rng.IntN(4000))*time.Millisecond + 29*time.Microsecond)
	}
}

// people ask for this and that.
func (w *simWorld) people(rng *rand.Rand) {
	ask := func(record string, back bool) {
		v := w.view()
		r := v.Releases[record]
		if r == nil {
			return
		}
		id, err := w.journal.Request(context.Background(), Request{Environment: w.environment, Release: r.Release, Commit: r.Commit, Record: record, By: "ann", Rollback: back})
		must(w.t, err)
		w.trace("asked for %.15s, back: %v (%.6s…%s)", r.Release, back, id, id[36:])
	}
	release := func(c byte) string {
		return w.view().Find(digest(c))[0]
	}
	time.Sleep(53 * time.Microsecond)
	ask(release('a'), false)
	for range 2 + rng.IntN(6) {
		time.Sleep(time.Duration(rng.IntN(25_000))*time.Millisecond + 101*time.Microsecond)
		v := w.view()
		ev := v.Environment(w.environment)
		switch rng.IntN(10) {
		case 0, 1:
			to := v.PreviousRecord(w.environment)
			if ev.Active != nil {
				to = ev.Desired
			}
			if to == "" {
				continue
			}
			w.saw("rollback")
			ask(to, true)
		case 2:
			ask(release(simLetters[rng.IntN(len(simLetters))]), true)
		case 3:
			must(w.t, w.journal.Hold(context.Background(), Hold{Environment: w.environment, Reason: "because", By: "bob"}))
			time.Sleep(time.Duration(rng.IntN(9000))*time.Millisecond + 211*time.Microsecond)
			must(w.t, w.journal.Hold(context.Background(), Hold{Environment: w.environment, By: "bob"}))
		default:
			ask(release(simLetters[rng.IntN(len(simLetters))]), false)
		}
	}
}

// check is what must hold whatever has happened.
func (w *simWorld) check() {
	v, m := w.view(), w.target
	ev := v.Environment(w.environment)
	want := ""
	if d := w.desired(); d != nil {
		want = d.ID()
	}
	if id(m.stable) != want || m.canary != nil || m.warm != nil || m.weight != 0 {
		w.fail("it serves %.15s, canary %.15s, warm %.15s, weight %d; want %.15s alone", id(m.stable), released(m.canary), released(m.warm), m.weight, want)
	}
	for _, t := range ev.History {
		w.happened[string(t.State)] = true
		if t.Contract != "" {
			w.happened["contract"] = true
		}
		if w.failed[t.Token] && t.Token != 0 && t.State == Succeeded {
			w.fail("promotion %d has succeeded against a verdict", t.Token)
		}
		w.trace("%s of %.15s: %s, token %d: %s", t.Kind, t.Release, t.State, t.Token, t.Why)
	}
	// Its requests are consumed once each, and the traffic goes there and back at
	// most by each.
	begun := map[string]int64{}
	for _, r := range w.ledger.entries() {
		if r.Statement.Type != TransitionType {
			continue
		}
		t, err := (&resolver{journal: w.journal}).transition(&r)
		must(w.t, err)
		if t.Step == Begin {
			if begun[t.Request] != 0 {
				w.fail("request %s has begun twice", t.Request)
			}
			begun[t.Request] = r.Entry.Seq
		}
	}
	for token, to := range m.switches {
		if len(to) > 2 {
			w.fail("in promotion %d the traffic went to and fro: %.15v", token, to)
		}
	}
	for name, n := range m.contracts {
		if n > 8 {
			w.fail("contract %s was carried out %d times", name, n)
		}
	}
	// What is desired is what was promoted last and stayed.
	fresh, err := (&Journal{in: simAccess{w.ledger, nil}, Now: time.Now}).View(context.Background())
	if err != nil || fresh.Environment(w.environment).Desired != ev.Desired || len(fresh.Environment(w.environment).History) != len(ev.History) {
		w.fail("folded anew, the ledger says something else: %v", err)
	}
	tip, ok, err := simAccess{w.ledger, nil}.Tip(context.Background(), "")
	must(w.t, err)
	if !ok || !says(tip, ev.Desired, v.Releases[ev.Desired]) {
		w.fail("the branch ends with %+v, and %.15s is desired", tip, want)
	}
}

// story is what has happened, without what is said about it.
func (w *simWorld) story() string {
	var b strings.Builder
	for _, line := range w.lines {
		fmt.Fprintln(&b, line)
	}
	fmt.Fprintln(&b, slices.Sorted(maps.Keys(w.happened)))
	return b.String()
}
