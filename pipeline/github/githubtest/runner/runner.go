// Package runner is GitHub Actions for tests: it starts the workflows of a bare
// repository by GitHub's rules and runs their jobs as processes of this machine,
// with a token, secrets and environments as GitHub gives them. It knows what
// gate's workflows use; whatever else a workflow holds is an error, never
// skipped.
package runner

import (
	"cmp"
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/smartcloudops/gate/pipeline/github/githubtest"
)

// Options of a Runner.
type Options struct {
	GitHub     *githubtest.Server // with the same repository, branch and Git
	Repository string             // owner/name
	Branch     string             // default branch; empty: main
	Git        string             // path of the bare repository; its hooks become the runner's
	Root       string             // folder for jobs, open to other users; empty: one that ends with the test
	Vars       map[string]string
	Secrets    map[string]string // of the repository
	// Environments are GitHub's, by name. One that a workflow names and that is
	// not here is made by GitHub, without protection and secrets.
	Environments map[string]Environment
	Labels       []string // of the machines that there are; nil: ubuntu-24.04
	Slots        int      // jobs at once; 0: 2
	Gate         Gate
	// Machine is what a job finds in its environment beside what GitHub gives: a
	// job here has no machine of its own. dir is the job's folder.
	Machine func(dir string) []string
	// Limit ends a job earlier than its workflow does; 0: five minutes.
	Limit time.Duration
	// Bypass may push past rules.
	Bypass []string
}

// Environment is one of GitHub's.
type Environment struct {
	Branches  []string // patterns of branches that may use it; nil: any
	Reviewers []string // one of them must approve each job; nil: none
	Secrets   map[string]string
}

// Runner runs workflows until the test ends.
type Runner struct {
	// URL is the API's address for jobs: githubtest's, with the runs of this
	// runner as they stand.
	URL string

	t       testing.TB
	o       Options
	bare    git
	front   *httptest.Server
	hooks   *hooks
	shim    string
	ctx     context.Context
	end     context.CancelCauseFunc
	running sync.WaitGroup
	slots   chan struct{}

	mu         sync.Mutex
	changed    *sync.Cond
	runs       []*Run
	pulls      map[int]*pull
	groups     map[string]*group
	paused     map[string]bool // by workflow file
	pushers    map[string]pusher
	dispatched int // of the fake's dispatches, how many are begun
	next       int64
	jobs       int
	repository int64 // id; 0: not known yet
	made       []string
	kept       map[string]bool   // artefacts, by run, attempt and name
	secrets    map[string]string // value → name, of all that ever were given
}

// New begins to listen. When the test ends, all jobs end.
func New(t testing.TB, o Options) *Runner {
	t.Helper()
	o.Branch = cmp.Or(o.Branch, "main")
	if o.Labels == nil {
		o.Labels = []string{"ubuntu-24.04"}
	}
	o.Slots, o.Limit = cmp.Or(o.Slots, 2), cmp.Or(o.Limit, 5*time.Minute)
	if o.Root == "" {
		o.Root = shared(t)
	}
	r := &Runner{
		t: t, o: o, bare: git{dir: o.Git}, slots: make(chan struct{}, o.Slots), next: 700000,
		pulls: map[int]*pull{}, groups: map[string]*group{}, paused: map[string]bool{}, pushers: map[string]pusher{}, kept: map[string]bool{}, secrets: map[string]string{},
	}
	r.changed = sync.NewCond(&r.mu)
	r.ctx, r.end = context.WithCancelCause(context.Background())
	for _, e := range sorted(o.Environments) {
		r.announce(e, o.Environments[e])
	}
	r.front = r.serve()
	r.URL = r.front.URL
	var err error
	if r.hooks, err = r.listen(); err == nil {
		r.shim, err = r.makeShim()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	return r
}

// shared is a folder that other users may enter, as t.TempDir is not.
func shared(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gate-actions-")
	if err == nil {
		err = os.Chmod(dir, 0o755) // #nosec G302 -- PostgreSQL and apps run as other users
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// close ends what runs and waits for it.
func (r *Runner) close() {
	r.end(errTestOver)
	r.running.Wait()
	r.hooks.close()
	r.front.CloseClientConnections()
	r.front.Close()
	if r.t.Failed() {
		for _, run := range r.Runs() {
			r.t.Logf("%s", run)
		}
	}
}

// Pause lets runs of the workflow's file wait before they begin.
func (r *Runner) Pause(file string) { r.setPaused(file, true) }

// Resume ends Pause: all that wait begin.
func (r *Runner) Resume(file string) { r.setPaused(file, false) }

func (r *Runner) setPaused(file string, on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.paused[file] = on
	for _, run := range r.runs {
		run.held = run.held && (on || run.File != file)
	}
	r.changed.Broadcast()
}

// Wait returns when nothing is under way but what waits for a reviewer or is
// paused. It fails the test when that takes longer.
func (r *Runner) Wait(limit time.Duration) {
	r.t.Helper()
	if !r.until(limit, r.idle) {
		r.t.Fatalf("after %s, the workflows are not done:\n%s", limit, r.busy())
	}
}

// until waits for the condition, which is asked under the lock.
func (r *Runner) until(limit time.Duration, ok func() bool) bool {
	over := false
	timer := time.AfterFunc(limit, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		over = true
		r.changed.Broadcast()
	})
	defer timer.Stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	for !ok() {
		if over {
			return false
		}
		r.changed.Wait()
	}
	return true
}

func (r *Runner) idle() bool {
	return !slices.ContainsFunc(r.runs, func(run *Run) bool { return !run.still() })
}

func (r *Runner) busy() string {
	var b strings.Builder
	for _, run := range r.Runs() {
		if run.Status != Completed {
			fmt.Fprintln(&b, run)
		}
	}
	return b.String()
}

// Runs are all of them, as they stand, oldest first.
func (r *Runner) Runs() []*Run {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]*Run, len(r.runs))
	for i, run := range r.runs {
		out[i] = run.copied()
	}
	return out
}

// Of are the runs of a workflow's file, oldest first.
func (r *Runner) Of(file string) []*Run {
	return slices.DeleteFunc(r.Runs(), func(run *Run) bool { return run.File != file })
}

// Last is the newest run of a workflow's file. It fails the test when there is
// none.
func (r *Runner) Last(file string) *Run {
	r.t.Helper()
	all := r.Of(file)
	if len(all) == 0 {
		r.t.Fatalf("%s has never run", file)
	}
	return all[len(all)-1]
}

// Made are environments that GitHub made because a workflow named them: without
// protection, and without secrets.
func (r *Runner) Made() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.made)
}

func (r *Runner) folder(elem ...string) string {
	return filepath.Join(append([]string{r.o.Root}, elem...)...)
}
