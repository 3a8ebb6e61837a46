package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/rhysd/actionlint"

	"github.com/smartcloudops/gate/pipeline/github/githubtest"
)

// start makes a run of the workflow and lets it go.
func (r *Runner) start(w *workflow, on occasion) {
	run := &Run{
		File: w.file, Name: w.name, Event: on.event, SHA: on.sha, Ref: on.ref, HeadSHA: on.headSHA, HeadBranch: on.headBranch, Actor: on.actor,
		Status: Queued, Created: time.Now(), w: w, on: on, ID: on.run, Attempt: max(on.attempt, 1),
	}
	run.Started, run.Updated = run.Created, run.Created
	if run.ID == 0 {
		r.mu.Lock()
		r.next++
		run.ID = r.next
		r.mu.Unlock()
	}
	run.Title, run.Why = r.title(run)
	r.mu.Lock()
	r.runs = append(r.runs, run)
	r.mu.Unlock()
	if on.run == 0 {
		r.tick()
		r.o.GitHub.AddRun(githubtest.Run{
			ID: run.ID, Path: workflowDir + w.file, Event: on.event, HeadSHA: on.headSHA, HeadBranch: on.headBranch,
			Status: Queued, Title: run.Title, Actor: on.actor, Created: run.Created, Started: run.Started, Updated: run.Updated,
		})
	}
	ctx, cancel := context.WithCancelCause(r.ctx)
	// At once: which of two began first is what the group goes by.
	s := scope{contexts: object{"github": r.githubContext(run, nil, ""), "inputs": on.inputs, "vars": texts(r.o.Vars)}}
	name, cancels, err := concurrencyOf(s, w.Concurrency)
	at := r.join(cancel, name, cancels)
	r.running.Go(func() {
		defer cancel(nil)
		defer at.leave()
		if err == nil && run.Why == "" {
			err = r.carry(ctx, run, at)
		}
		r.over(ctx, run, err)
	})
}

// Rerun starts a run again that is over, as GitHub does: with the same id, the
// next attempt, and the files of then.
func (r *Runner) Rerun(run *Run) {
	r.t.Helper()
	r.mu.Lock()
	var last *Run
	for _, one := range r.runs {
		if one.ID == run.ID {
			last = one
		}
	}
	r.mu.Unlock()
	if last == nil || last.Status != Completed {
		r.t.Fatalf("run %d is not over", run.ID)
	}
	on := last.on
	on.run, on.attempt = last.ID, last.Attempt+1
	r.start(last.w, on)
}

func (r *Runner) title(run *Run) (title, why string) {
	if run.w.RunName == nil {
		return cmp.Or(run.on.title, run.w.name), ""
	}
	s := scope{contexts: object{"github": r.githubContext(run, nil, ""), "inputs": run.on.inputs, "vars": texts(r.o.Vars)}}
	title, err := s.interpolate(run.w.RunName.Value)
	if err != nil {
		return run.w.name, "run-name: " + err.Error()
	}
	return title, ""
}

// over ends the run.
func (r *Runner) over(ctx context.Context, run *Run, err error) {
	r.mu.Lock()
	if err != nil && run.Why == "" {
		run.Why = err.Error()
	}
	run.Updated, run.held = time.Now(), false
	run.Conclusion = run.conclude()
	if c := context.Cause(ctx); errors.Is(c, errReplaced) || errors.Is(c, errCancelled) || errors.Is(c, errTestOver) {
		run.Conclusion = Cancelled
	} else if run.Why != "" {
		// What this runner does not understand is no run that failed, but a test
		// that shows nothing.
		r.t.Errorf("%s: %s", run.File, run.Why)
	}
	r.mu.Unlock()
	// What the end starts is there before the run counts as over.
	if r.ctx.Err() == nil {
		r.completed(run)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	run.Status = Completed
	r.changed.Broadcast()
}

// carry runs the run's jobs when it is its turn.
func (r *Runner) carry(ctx context.Context, run *Run, at place) error {
	if err := r.waitHeld(ctx, run); err != nil {
		return err
	}
	if err := at.wait(ctx); err != nil {
		return err
	}
	r.mu.Lock()
	run.Status, run.Started = InProgress, time.Now()
	r.mu.Unlock()
	if err := r.knowRepository(run.ID); err != nil {
		return err
	}
	return r.jobsOf(ctx, run, plan{w: run.w, inputs: run.on.inputs})
}

func concurrencyOf(s scope, c *actionlint.Concurrency) (name string, cancels bool, err error) {
	if c == nil {
		return "", false, nil
	}
	if name, err = s.interpolate(c.Group.Value); err != nil {
		return "", false, fmt.Errorf("concurrency: %w", err)
	}
	if b := c.CancelInProgress; b != nil {
		cancels = b.Value
		if b.Expression != nil {
			v, err := s.value(b.Expression.Value)
			if err != nil {
				return "", false, fmt.Errorf("concurrency: %w", err)
			}
			cancels = truthy(v)
		}
	}
	return name, cancels, nil
}

// waitHeld waits while the workflow is paused.
func (r *Runner) waitHeld(ctx context.Context, run *Run) error {
	stop := context.AfterFunc(ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.changed.Broadcast()
	})
	defer stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.paused[run.File] && ctx.Err() == nil {
		if !run.held {
			run.held = true
			r.changed.Broadcast()
		}
		r.changed.Wait()
	}
	run.held = false
	return context.Cause(ctx)
}

// plan are jobs that run together: those of a workflow's file.
type plan struct {
	w      *workflow
	inputs object
	prefix string            // of the ids of jobs, in a reusable workflow
	grant  map[string]string // the most that they may do; nil: what they ask for
}

// jobsOf runs the jobs, each after those that it needs.
func (r *Runner) jobsOf(ctx context.Context, run *Run, p plan) error {
	jobs := map[string]*Job{}
	ended := map[string]chan struct{}{}
	r.mu.Lock()
	for _, id := range sorted(p.w.Jobs) {
		jobs[id] = &Job{ID: p.prefix + p.w.Jobs[id].ID.Value, Status: Queued, src: p.w.Jobs[id], verdict: make(chan string, 1)}
		ended[id] = make(chan struct{})
		run.Jobs = append(run.Jobs, jobs[id])
	}
	r.mu.Unlock()
	errs := make(chan error, len(jobs))
	for id, j := range jobs {
		go func() {
			defer close(ended[id])
			needs := object{}
			for _, n := range j.src.Needs {
				other := strings.ToLower(n.Value)
				<-ended[other]
				r.mu.Lock()
				needs[n.Value] = object{"result": jobs[other].Conclusion, "outputs": object{}}
				r.mu.Unlock()
			}
			errs <- r.job(ctx, run, p, j, needs)
		}()
	}
	var all []error
	for range len(jobs) {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

// change changes a job under the lock.
func (r *Runner) change(j *Job, f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	r.changed.Broadcast()
}

// knowRepository asks the API for the repository's id, which the fake alone
// knows.
func (r *Runner) knowRepository(run int64) error {
	r.mu.Lock()
	known := r.repository != 0
	r.mu.Unlock()
	if known {
		return nil
	}
	var a struct {
		Repository struct {
			ID int64 `json:"id"`
		} `json:"repository"`
	}
	if err := r.ask(fmt.Sprintf("/actions/runs/%d", run), &a); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.repository = a.Repository.ID
	return nil
}

func copied(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return maps.Clone(m)
}
