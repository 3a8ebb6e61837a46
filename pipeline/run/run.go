package run

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/release"
	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/policies"
)

// Executor is what a run needs of the one that executes an environment.
type Executor interface {
	// Ensure sees to it that it runs, and waits until it does.
	Ensure(ctx context.Context, e *environments.Environment) error
	// Poke asks it to look for requests at once; it would look anyway.
	Poke(ctx context.Context)
	Status(ctx context.Context) (target.Status, error)
	// Trust is how to verify the environment's certificate: a name, and roots,
	// nil for the system's; file is where people find the roots.
	Trust(e *environments.Environment) (name string, roots *x509.CertPool, file string, err error)
	// Drills are the capabilities that checks assert.
	Drills() any
}

// Pipeline is everything that a run works with.
type Pipeline struct {
	Clone    *release.Clone
	Store    *release.Store
	Journal  *promotion.Journal
	Judge    *promotion.Judge
	Executor func(environment string) Executor
	Work     string // folder for exports, emptied by whoever made it
	Tools    string // folder for tools that checks install
	By       string // who asks, for people
	Environ  []string
	Now      func() time.Time
	Tell     func(Event)
}

// Goal is how far a run goes.
type Goal string

// Goals.
const (
	GoalAll    Goal = ""       // through the environment, with everything it takes
	GoalBuild  Goal = "build"  // the release alone
	GoalChecks Goal = "checks" // the named checks, on what is there
	GoalDeploy Goal = "deploy" // into the environment, without measuring there
)

// Options are the choices of one run.
type Options struct {
	Revision string // commit to take; empty: what is checked out, uncommitted changes included
	Through  string // environment to end in
	Fresh    bool   // measure anew what is known, and pool it with that
	Goal     Goal
	Checks   []string // with GoalChecks; empty: all of the environment's
	Apart    *Apart   // nil: on the ledger that counts
}

// Apart is a run on a ledger of its own, whose evidence others are to sign.
type Apart struct {
	Nonce string   // repeated by all evidence; only evidence with the same one is reused
	Take  []string // folders with claims of the same call
	Base  string   // commit whose judge and meter these are; empty: the commit's own
}

// Stop ends a run early: something was decided, and nothing is broken.
type Stop struct {
	Code    int
	Summary string
	Next    string
}

func (s *Stop) Error() string { return s.Summary }

// state is one run under way.
type state struct {
	*Pipeline
	opts      Options
	exported  *release.Exported
	decl      *environments.Declarations
	authors   []string
	committed time.Time
	source    string // digest of the exported files without docs

	hasBuilt chan struct{} // closed once record is there

	mu     sync.Mutex
	record *promotion.ReleaseRecord
	digest string // of the record's statement
	result *Result
}

// Run takes the commit through the pipeline. The result is there even when
// err is not nil, as far as it got; a *Stop is part of the result, not an error.
func (p *Pipeline) Run(ctx context.Context, o Options) (*Result, error) {
	s := &state{Pipeline: p, opts: o, hasBuilt: make(chan struct{}), result: &Result{Started: p.Now().UTC(), Through: o.Through}}
	err := s.run(ctx)
	s.result.Finished = p.Now().UTC()
	var stop *Stop
	switch {
	case errors.As(err, &stop):
		s.result.Exit, s.result.Summary, s.result.Next = stop.Code, stop.Summary, stop.Next
		return s.result, nil
	case err != nil:
		s.result.Exit, s.result.Summary = promotion.CodeInternal, err.Error()
		return s.result, err
	}
	return s.result, nil
}

func (s *state) run(ctx context.Context) error {
	if err := s.export(ctx); err != nil {
		return err
	}
	path, err := s.path()
	if err != nil {
		return err
	}
	if len(path) == 0 && s.opts.Goal != GoalBuild {
		return errors.New("no environment was named")
	}
	known, err := s.built(ctx)
	if err != nil {
		return err
	}
	var steps []step
	switch s.opts.Goal {
	case GoalBuild:
		steps = []step{{name: "build", do: s.build(known)}}
	case GoalChecks:
		steps, err = s.measuring(known, path[len(path)-1])
	default:
		steps = s.steps(known, path)
	}
	if err != nil {
		return err
	}
	began := s.Now()
	err = execute(ctx, steps, s.Now, func(e Event) {
		s.mu.Lock()
		s.keep(began, e)
		s.mu.Unlock()
		if s.Tell != nil {
			s.Tell(e)
		}
	})
	s.serving(context.WithoutCancel(ctx))
	return err
}

// keep remembers the step's outcome. The caller holds s.mu.
func (s *state) keep(began time.Time, e Event) {
	i := slices.IndexFunc(s.result.Steps, func(x Step) bool { return x.Name == e.Step })
	if e.Kind == Started {
		s.result.Steps = append(s.result.Steps, Step{Name: e.Step, State: Started, Offset: e.At.Sub(began)})
		return
	}
	if e.Kind == Skipped {
		s.result.Steps = append(s.result.Steps, Step{Name: e.Step, State: Skipped})
		return
	}
	if i < 0 {
		return
	}
	x := &s.result.Steps[i]
	if e.Note != "" {
		x.Note = e.Note
	}
	if e.Kind != Noted {
		x.State, x.Took = e.Kind, e.Took
	}
}

func (s *state) export(ctx context.Context) error {
	var err error
	dirty := s.opts.Revision == ""
	if s.exported, err = release.Export(ctx, s.Clone, s.opts.Revision, dirty, filepath.Join(s.Work, "source")); err != nil {
		return err
	}
	if s.decl, err = environments.Read(os.DirFS(s.exported.Dir)); err != nil {
		return err
	}
	if s.source, err = s.exported.SourceDigest(s.decl.App.Docs); err != nil {
		return err
	}
	s.result.App, s.result.Commit, s.result.Dirty = s.decl.App.Name, s.exported.Commit, s.exported.Dirty
	if s.result.Subject, err = s.Clone.Subject(ctx, s.exported.Commit); err != nil {
		return err
	}
	if s.authors, err = s.Clone.Authors(ctx, s.exported.Commit); err != nil {
		return err
	}
	s.committed, err = s.Clone.Committed(ctx, s.exported.Commit)
	return err
}

// path are the environments from the first one to the one asked for.
func (s *state) path() ([]*environments.Environment, error) {
	var path []*environments.Environment
	for name := s.opts.Through; name != ""; {
		e := s.decl.Environment(name)
		if e == nil {
			return nil, fmt.Errorf("%s/%s.yaml: %w at commit %.12s", environments.Dir, name, environments.ErrNotDeclared, s.exported.Commit)
		}
		path = append([]*environments.Environment{e}, path...)
		name = e.Promotion.From
	}
	return path, nil
}

// steps is the graph: what can overlap does, and nothing runs beside a
// measurement that is exclusive.
func (s *state) steps(known string, path []*environments.Environment) []step {
	first := path[0]
	steps, begun := s.beginning(known)
	for _, e := range path {
		steps = append(steps, s.start(e))
	}
	var admission []string
	for _, c := range s.Judge.Checks {
		if onRunning(c) {
			continue
		}
		// Where nothing can be known already, nothing needs the digest before it
		// starts: then it runs beside the build.
		var needs []string
		if known != "" || begun != "build" {
			needs = []string{begun}
		}
		places := path
		if s.opts.Apart != nil && c.Scope == checks.OfEnvironment {
			// Whoever signs it promotes further than this run goes.
			places = s.decl.Environments
		}
		for _, e := range places {
			if c.Scope != checks.OfEnvironment && e != first {
				continue
			}
			name := "check " + c.Name
			if c.Scope == checks.OfEnvironment && len(places) > 1 {
				name += " " + e.Name
			}
			steps = append(steps, s.check(c, e, name, needs))
			if e == first {
				admission = append(admission, name)
			}
		}
	}
	last := "admit " + first.Name
	steps = append(steps, step{name: last, needs: append(admission, begun), do: s.decide(first, policies.Admission)})
	for i, e := range path {
		verb := "deploy "
		if i > 0 {
			verb = "promote to "
		}
		in := verb + e.Name
		needs := []string{last, "start " + e.Name}
		if i > 0 && slices.ContainsFunc(steps, func(x step) bool { return x.name == "check config "+e.Name }) {
			needs = append(needs, "check config "+e.Name)
		}
		steps = append(steps, step{name: in, needs: needs, do: s.request(e)})
		if s.opts.Goal == GoalDeploy && e.Name == s.opts.Through {
			return steps
		}
		var measured []string
		var drills []checks.Check
		for _, c := range s.Judge.Checks {
			if !onRunning(c) {
				continue
			}
			// Load and drills belong to the environment where a release proves
			// itself, not to those that people use.
			if i > 0 && c.Scope == checks.OfRelease {
				continue
			}
			if c.Drill != nil {
				drills = append(drills, c)
				continue
			}
			// How long it has served is asked of what people use.
			if i == 0 && c.Scope == checks.OfService {
				continue
			}
			name := "check " + c.Name + " " + e.Name
			steps = append(steps, s.check(c, e, name, append(after(steps, c, " "+e.Name), in)))
			measured = append(measured, name)
		}
		if len(drills) > 0 {
			name := "drills " + e.Name
			steps = append(steps, s.drills(drills, e, name, []string{in}))
			measured = append(measured, name)
		}
		if s.Judge.Change != nil && i == 0 {
			steps = append(steps, step{name: "decide change", needs: append(slices.Clone(measured), in), do: s.decide(e, policies.Proposal)})
			measured = append(measured, "decide change")
			if s.proposal() {
				return steps // it asks for all that readiness does, and admits what stopped early
			}
		}
		last = "decide " + e.Name
		stage := policies.Readiness
		if i > 0 {
			stage = policies.Serving
		}
		steps = append(steps, step{name: last, needs: append(measured, in), do: s.decide(e, stage)})
	}
	return steps
}

// proposal says whether the run is for the eyes of who judges a change, and
// promotes nothing: then a check may stop once its answer is clear.
func (s *state) proposal() bool {
	if s.Judge.Change == nil || s.opts.Goal != GoalAll || s.decl == nil {
		return false
	}
	e := s.decl.Environment(s.opts.Through)
	return e != nil && e.Promotion.From == ""
}

// measuring are the steps of a run that measures what is there.
func (s *state) measuring(known string, e *environments.Environment) ([]step, error) {
	steps, begun := s.beginning(known)
	var measured, criteria []string
	running := "find " + e.Name
	if s.opts.Apart != nil {
		running = "deploy " + e.Name
	}
	wanted := s.opts.Checks
	for _, name := range wanted {
		if !slices.ContainsFunc(s.Judge.Checks, func(c checks.Check) bool { return c.Name == name }) {
			return nil, &Stop{Code: promotion.CodeUsage, Summary: fmt.Sprintf("there is no check %q", name), Next: "gate verify --help"}
		}
	}
	var drills []checks.Check
	for _, c := range s.Judge.Checks {
		if len(wanted) > 0 && !slices.Contains(wanted, c.Name) {
			continue
		}
		// Drills belong to the environment where a release proves itself.
		if len(wanted) == 0 && c.Drill != nil && e.Promotion.From != "" {
			continue
		}
		if len(wanted) == 0 && c.Scope == checks.OfService && e.Promotion.From == "" {
			continue // nobody asks how long it has served
		}
		needs := []string{begun}
		if onRunning(c) {
			if !slices.ContainsFunc(steps, func(x step) bool { return x.name == running }) {
				steps = append(steps, s.standing(e, running, begun)...)
			}
			needs = []string{running}
		}
		criteria = append(criteria, c.Criterion)
		if c.Drill != nil {
			drills = append(drills, c)
			continue
		}
		name := "check " + c.Name
		steps = append(steps, s.check(c, e, name, append(after(steps, c, ""), needs...)))
		measured = append(measured, name)
	}
	if len(drills) > 0 {
		name := "drills"
		if len(drills) == 1 {
			name = "check " + drills[0].Name
		}
		steps = append(steps, s.drills(drills, e, name, []string{running}))
		measured = append(measured, name)
	}
	stage := policies.Readiness
	if e.Promotion.From != "" {
		stage = policies.Serving
	}
	return append(steps, step{name: "judge", needs: measured, do: s.decide(e, stage, criteria...)}), nil
}

// after are the steps of the checks that c comes after, as far as there are any.
func after(steps []step, c checks.Check, where string) []string {
	var names []string
	for _, other := range c.After {
		name := "check " + other + where
		if slices.ContainsFunc(steps, func(x step) bool { return x.name == name }) {
			names = append(names, name)
		}
	}
	return names
}

// standing are the steps after which the environment serves what is to be
// measured: on the ledger that counts it must do so already, apart it is made to.
func (s *state) standing(e *environments.Environment, name, needs string) []step {
	if s.opts.Apart == nil {
		return []step{{name: name, needs: []string{needs}, do: s.find(e)}}
	}
	start := s.start(e)
	return []step{start, {name: name, needs: []string{start.name, needs}, do: s.request(e)}}
}

func (s *state) start(e *environments.Environment) step {
	return step{name: "start " + e.Name, do: func(ctx context.Context, note func(string)) (bool, error) {
		return false, s.Executor(e.Name).Ensure(ctx, e)
	}}
}

// beginning are the steps that everything else follows, and the last one's name.
func (s *state) beginning(known string) ([]step, string) {
	steps := []step{{name: "build", do: s.build(known)}}
	if s.opts.Apart != nil && len(s.opts.Apart.Take) > 0 {
		steps = append(steps, step{name: "take evidence", needs: []string{"build"}, do: s.take})
	}
	return steps, steps[len(steps)-1].name
}

// onRunning says whether the check needs the environment to serve.
func onRunning(c checks.Check) bool {
	return c.InEnv || c.Name == "tls" || c.Scope == checks.OfService
}

// find makes sure that the environment serves what is to be measured.
func (s *state) find(e *environments.Environment) func(context.Context, func(string)) (bool, error) {
	return func(ctx context.Context, _ func(string)) (bool, error) {
		st, err := s.Executor(e.Name).Status(ctx)
		if err != nil {
			return false, err
		}
		if want := s.record.Revision(e.Name).ID(); st.Revision != want {
			return false, &Stop{
				Code:    promotion.CodeInconclusive,
				Summary: fmt.Sprintf("%s does not serve release %.19s of this commit, but %.19s", e.Name, s.record.Release, st.Stable),
				Next:    "gate deploy " + e.Name,
			}
		}
		return false, nil
	}
}

// decide judges, and stops the run when the verdict does not promote. Of some
// criteria alone that is no decision, and none is recorded: a decision is about
// all of them.
func (s *state) decide(e *environments.Environment, stage policies.Stage, criteria ...string) func(context.Context, func(string)) (bool, error) {
	return func(ctx context.Context, note func(string)) (bool, error) {
		v, err := s.Journal.View(ctx)
		if err != nil {
			return false, err
		}
		d, err := s.Judge.Decide(ctx, v, s.record, e.Name, stage)
		if err != nil {
			return false, err
		}
		if len(criteria) > 0 {
			d.Decision = d.Decision.Of(criteria)
		} else if _, err := s.Journal.Decision(ctx, d); err != nil {
			return false, err
		}
		s.mu.Lock()
		s.result.Decisions = append(s.result.Decisions, d)
		s.mu.Unlock()
		note(string(d.Decision.Verdict))
		if d.Decision.Verdict.Promotes() {
			return false, nil
		}
		return false, &Stop{
			Code:    promotion.CodeOf(d.Decision.Verdict),
			Summary: fmt.Sprintf("%s for %s: %s", d.Decision.Verdict, e.Name, promotion.Unmet(d.Decision)),
			Next:    "gate explain " + e.Name,
		}
	}
}

// serving says what the environments serve now.
func (s *state) serving(ctx context.Context) {
	if s.decl == nil || s.opts.Apart != nil {
		return // apart they are gone in a moment
	}
	for _, e := range s.decl.Environments {
		x := s.Executor(e.Name)
		st, err := x.Status(ctx)
		if err != nil || st.Stable == "" {
			continue
		}
		_, _, file, err := x.Trust(e)
		if err != nil {
			file = ""
		}
		s.result.Environment = append(s.result.Environment, Serving{Name: e.Name, URL: "https://" + st.Address, Release: st.Stable, CA: file})
	}
}
